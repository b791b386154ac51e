import type { Build } from './build.ts'
import { startChild } from './child.ts'
import { concurrency, createClient, sendWork, type Plan, type Work } from './load.ts'
import type { Setup, Usage } from './setup.ts'

/** Something that is measured: a program, and what it is sent. */
export interface Contender {
  title: string
  setup: Partial<Setup> & { program: string }
  plan: Plan
  /** False for the build of the plugin that does not seal. */
  sealed?: boolean
}

/** What a contender did, by round. */
export interface Measured {
  contender: Contender
  /** Microseconds of the server's processor time for each request. */
  cpu: number[]
  /** Latencies as the client sees them, in milliseconds. */
  p50: number[]
  p99: number[]
  /** Connections that the Webflow accepted, for each thousand requests. */
  connections: number[]
}

/** How much is measured. */
export interface Extent {
  /** How often all processes are started anew: two processes of one program differ, too. */
  generations: number
  /** With how many requests each process is warmed up. */
  warmUp: number
  /** In each generation. */
  rounds: number
  /** In each round. */
  requests: number
}

/** What a group needs to measure. */
export interface Bench {
  build: Build
  quick: boolean
  /** Scales an extent down when time is short. */
  extent (requests: number, warmUp: number): Extent
}

/** Where the servers find the other parts, and what else they are given. */
export interface Surroundings {
  webflow: { port: number, secure: boolean, ask: () => Promise<Usage> }
  redis?: string
  env?: Record<string, string>
}

/**
 * Measures contenders, all of them in each round and in a new order each time. Each generation also starts them in a new order:
 * the process that is started first is up to a tenth slower than the same program started last.
 */
export async function measure (bench: Bench, contenders: readonly Contender[], around: Surroundings, { generations, warmUp, rounds, requests }: Extent): Promise<Measured[]> {
  const measured = contenders.map((contender): Measured => ({ contender, cpu: [], p50: [], p99: [], connections: [] }))
  for (let generation = 0; generation < generations; generation++) {
    const runners: Array<Awaited<ReturnType<typeof startRunner>>> = []
    try {
      for (const one of shuffled(measured)) runners.push(await startRunner(bench, one, around))
      for (const runner of runners) await runner.warmUp(warmUp)
      // After a pause, the entries of the near cache have expired, so the first requests read from Redis. V8 must have compiled
      // that code too.
      for (const runner of runners) await runner.warmUp(requests)
      for (let round = 0; round < rounds; round++) {
        for (const runner of shuffled(runners)) await runner.run(requests)
      }
    } finally {
      for (const runner of runners) await runner.stop()
    }
  }
  return measured
}

/** Profiles a contender under load: where its server spends its time, by function. */
export async function profile (bench: Bench, contender: Contender, around: Surroundings, { warmUp, requests }: Extent): Promise<Usage['profile']> {
  const runner = await startRunner(bench, { contender, cpu: [], p50: [], p99: [], connections: [] }, around)
  try {
    await runner.warmUp(warmUp)
    return await runner.profile(2 * requests)
  } finally {
    await runner.stop()
  }
}

async function startRunner ({ build }: Bench, { contender, cpu, p50, p99, connections }: Measured, { webflow, redis, env = {} }: Surroundings) {
  const origin = `${webflow.secure ? 'https' : 'http'}://127.0.0.1:${webflow.port}`
  const setup: Setup = { webflow: origin, redis: redis ?? null, introspect: false, store: 'redis', ...contender.setup }
  // While others have their turn, V8 would tidy up, and charge the next round for it: an app in steady traffic has no such pauses.
  const execArgv = ['--no-memory-reducer', '--max-old-space-size=4096']
  const server = await startChild<{ port: number }>(build.program('server', { sealed: contender.sealed ?? true }), [JSON.stringify(setup)], { env, execArgv })
  const client = createClient(server.started.port)
  const source = await contender.plan(client)
  /** Sends some requests first: before those that count, every connection must be open, and the near cache must hold every session. */
  const prepare = async (count: number): Promise<Work> => {
    await sendWork(client, await source(Math.max(2 * concurrency, count / 4)))
    return await source(count)
  }
  return {
    async warmUp (count: number): Promise<void> {
      await sendWork(client, await source(count))
    },
    async run (count: number): Promise<void> {
      const work = await prepare(count)
      const { connections: connectedBefore } = await webflow.ask()
      // No collection of garbage first: after one that is forced, Node is several times slower for thousands of requests.
      const { cpu: before } = await server.ask('usage')
      const latencies = await sendWork(client, work)
      const { cpu: after } = await server.ask('usage')
      const { connections: connectedAfter } = await webflow.ask()
      cpu.push((after - before) / count)
      p50.push(quantile(latencies, 0.5))
      p99.push(quantile(latencies, 0.99))
      connections.push((connectedAfter - connectedBefore) * 1000 / count)
    },
    async profile (count: number): Promise<Usage['profile']> {
      const work = await prepare(count)
      await server.ask('profile')
      await sendWork(client, work)
      return (await server.ask('profiled')).profile
    },
    async stop (): Promise<void> {
      client.close()
      await server.stop()
    }
  }
}

function shuffled<T> (list: readonly T[]): T[] {
  return list.map((item) => ({ item, at: Math.random() })).sort((a, b) => a.at - b.at).map(({ item }) => item)
}

/** The value below which a share of a list lies: the median unless told otherwise. */
export function quantile (list: readonly number[], share = 0.5): number {
  return list.toSorted((a, b) => a - b)[Math.floor((list.length - 1) * share)] ?? NaN
}

import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import { RedisStore } from '../../../stores/redis.ts'
import { startRedis } from '../../support/redis-server.ts'
import { startChild } from '../child.ts'
import { fill } from '../fill.ts'
import { quantile, type Bench } from '../measure.ts'
import { limitRow, plainRow, type Findings } from '../report.ts'
import { credentials, redirectUri, secret } from '../setup.ts'

interface Longest { call: number, stall: number }

/** What a token takes in memory, and how long the store pauses when many expire at once. */
export async function memory (bench: Bench): Promise<Findings> {
  const tokens = bench.quick ? 20_000 : 100_000
  const occupy = async (introspect: boolean) => {
    const child = await startChild<{ bytes: number, idle: Longest, expiring: Longest[], left: number, texts: { key: number, value: number, tags: number } }>(bench.build.program('memory'), [String(tokens), String(introspect)], { execArgv: ['--expose-gc'] })
    await child.stop()
    return child.started
  }
  const [bare, whole] = [await occupy(false), await occupy(true)]
  const count = tokens.toLocaleString('en')
  const textsOf = ({ key, value, tags }: typeof bare.texts) => [key, value, tags].map((length) => length.toFixed(0)).join(' + ')
  return {
    title: 'memory',
    measured: [],
    rows: [
      limitRow(`bytes per token (sealed) in memory at ${count}`, 600, 450, [bare.bytes], ''),
      limitRow(`longest pause for expiry, ${(tokens / 5).toLocaleString('en')} tokens at one moment`, 15, 2, [...bare.expiring, ...whole.expiring].map(({ call }) => call), ' ms', 2),
      plainRow('… of which characters of its key, value and tags (for information)', textsOf(bare.texts)),
      plainRow('… and with installation data (for information)', textsOf(whole.texts)),
      plainRow('bytes per token with installation data (for information)', whole.bytes.toFixed(0)),
      plainRow('longest call while nothing expires (for information)', [bare, whole].map(({ idle }) => `${idle.call.toFixed(2)} ms`).join(', ')),
      plainRow('longest of all calls while tokens expire (for information)', `${Math.max(...[bare, whole].flatMap(({ expiring }) => expiring).map(({ call }) => call)).toFixed(2)} ms`),
      plainRow('longest stall of the event loop: idle, while tokens expire (for information)', [bare, whole].map(({ idle, expiring }) => `${idle.stall.toFixed(1)} ms, ${quantile(expiring.map(({ stall }) => stall)).toFixed(1)} ms`).join('; ')),
      plainRow('tokens that had expired and were still held in the end (for information)', [bare, whole].map(({ left }) => left.toFixed(0)).join(', '))
    ],
    notes: ['Ten moments of expiry, the longest call to the store of each; the median of those counts. A pause of the garbage collector that falls into a call counts, and so does other work on the machine: compare with the calls while nothing expires.']
  }
}

/** What a token takes in Redis, the sets of its tags included. */
export async function redisMemory (bench: Bench): Promise<Findings> {
  const tokens = bench.quick ? 4000 : 20_000
  const server = await startRedis()
  const client = new Redis(server.port, '127.0.0.1')
  try {
    const occupy = async (introspect: boolean) => {
      await client.flushall()
      const used = async () => Number(/^used_memory:(\d+)/m.exec(await client.info('memory'))?.[1])
      const before = await used()
      await fill({ ...credentials, secret, redirectUri, scope: ['sites:read'], introspect, store: new RedisStore({ client }) }, tokens, Fastify().log)
      const bytes = (await used() - before) / tokens
      const sizes: number[] = []
      for (let cursor = '0'; sizes.length < 500;) {
        const [next, keys] = await client.scan(cursor, 'MATCH', 'webflow:token:*', 'COUNT', 500)
        for (const key of keys) sizes.push(Number(await client.memory('USAGE', key)))
        cursor = next
        if (cursor === '0') break
      }
      return { bytes, key: quantile(sizes), keys: await client.dbsize() / tokens }
    }
    const [bare, whole] = [await occupy(false), await occupy(true)]
    return {
      title: 'redis-memory',
      measured: [],
      rows: [
        limitRow('bytes per token in Redis, sealed, without installation data', 700, 550, [bare.bytes], ''),
        plainRow('… of which its own key by MEMORY USAGE, the rest is tables and tags (for information)', `${bare.key.toFixed(0)}, with ${bare.keys.toFixed(2)} keys for each token`),
        limitRow('bytes per token in Redis, sealed, with installation data', 1700, 1200, [whole.bytes], ''),
        plainRow('… of which its own key (for information)', `${whole.key.toFixed(0)}, with ${whole.keys.toFixed(2)} keys for each token`)
      ],
      notes: [`used_memory before and after ${tokens.toLocaleString('en')} tokens, of 64 digits each, divided by their number.`]
    }
  } finally {
    client.disconnect()
    await server.stop()
  }
}

interface Start { wall: number, cpu: number, importing: number, registering: number }

/** What starting costs beyond Fastify, and what is installed beyond it. */
export async function coldStart (bench: Bench): Promise<Findings> {
  const rounds = bench.quick ? 7 : 21
  const entry = bench.build.bundle()
  const starts = { bare: new Array<Start>(), control: new Array<Start>(), plugin: new Array<Start>(), oauth2: new Array<Start>() }
  for (let round = -1; round < rounds; round++) {
    const order = (['bare', 'control', 'plugin', 'oauth2'] as const).map((name) => ({ name, at: Math.random() })).sort((a, b) => a.at - b.at)
    for (const { name } of order) {
      const child = await startChild<Start>(bench.build.program('cold-start'), [name, entry])
      await child.stop()
      if (round >= 0) starts[name].push(child.started)
    }
  }
  type Name = keyof typeof starts
  const beyond = (name: Name, kind: keyof Start) => starts[name].map((start, round) => start[kind] - (starts.bare[round]?.[kind] ?? NaN))
  const partsOf = (name: Name) => (['importing', 'registering'] as const).map((kind) => `${quantile(starts[name].map((start) => start[kind])).toFixed(1)} ms`).join(', ')
  const peer = quantile(beyond('oauth2', 'wall'))
  return {
    title: 'cold-start',
    measured: [],
    rows: [
      limitRow('start of an app over bare Fastify, of that of @fastify/oauth2', 0.5, 0.33, [quantile(beyond('plugin', 'wall')) / peer], '', 2),
      plainRow('start of an app over bare Fastify (for information)', `${quantile(beyond('plugin', 'wall')).toFixed(1)} ms; with @fastify/oauth2 ${peer.toFixed(1)} ms`),
      plainRow('… of which importing, and registering until ready (for information)', `${partsOf('plugin')}; with @fastify/oauth2 ${partsOf('oauth2')}`),
      plainRow('installed packages beyond Fastify (for information)', installedBeyondFastify().toFixed(0)),
      plainRow('bare Fastify over itself (for information)', `${quantile(beyond('control', 'wall')).toFixed(1)} ms`),
      plainRow('bare Fastify, from the start of Node until ready (for information)', `${quantile(starts.bare.map(({ wall }) => wall)).toFixed(0)} ms`)
    ],
    notes: ['Medians of the rounds. The plugin is the bundle that is published. The files are in the cache of the system: a first start from disk takes longer.']
  }
}

/** Walks what the plugin needs at run time, itself included, less what Fastify needs. */
function installedBeyondFastify (): number {
  const root = fileURLToPath(new URL('../../../', import.meta.url))
  const needed = (folder: string, found: Set<string>): Set<string> => {
    if (found.has(folder)) return found
    found.add(folder)
    const { dependencies = {} }: { dependencies?: Record<string, string> } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    for (const name of Object.keys(dependencies)) {
      let from = folder
      while (!existsSync(join(from, 'node_modules', name, 'package.json')) && from !== root) from = dirname(from)
      needed(join(from, 'node_modules', name), found)
    }
    return found
  }
  const base = needed(join(root, 'node_modules/fastify'), new Set<string>())
  return [...needed(root.replace(/\/$/, ''), new Set<string>())].filter((folder) => !base.has(folder)).length
}

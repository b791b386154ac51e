/**
 * Full speed for a long time on both stores, to see that memory stays flat.
 *
 *   npx tsx test/slow/soak.ts                     ten minutes
 *   SOAK_SECONDS=60 npx tsx test/slow/soak.ts     one
 *
 * Each worker connects, uses, reconnects and disconnects, or leaves a flow or a session behind. Fails when the heap or
 * the resident set has grown between the second and the last fifth of the samples.
 */
import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import Fastify, { type FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import webflowOAuth, { MemoryStore, type TokenStore } from '../../lib/index.ts'
import { createSimulator, type Simulator } from '../../lib/simulator/index.ts'
import { RedisStore } from '../../stores/redis.ts'
import { startRedis } from '../support/redis-server.ts'

const seconds = Number(process.env['SOAK_SECONDS'] ?? 600)
const pause = Math.min(30, seconds / 10) * 1000
const workers = 8
const maxHeapGrowth = 3 * 1024 * 1024
const maxResidentGrowth = 48 * 1024 * 1024
const clientId = 'c'.repeat(64)
const clientSecret = 'd'.repeat(64)
const redirectUri = 'https://app.example.com/webflow/callback'
const navigation = { host: 'app.example.com', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document', 'sec-fetch-site': 'none' }

setFlagsFromString('--expose-gc')
const collect: unknown = runInNewContext('gc')

async function startSimulator (port = 0): Promise<Simulator> {
  const webflow = createSimulator({ app: { clientId, clientSecret, redirectUris: [redirectUri], scope: ['sites:read'] } })
  await webflow.listen({ port })
  return webflow
}

async function createApp (webflow: Simulator, store: TokenStore): Promise<FastifyInstance> {
  const app = Fastify()
  // Short lives, so that Redis too comes to hold as much as it will ever hold.
  await app.register(webflowOAuth, { clientId, clientSecret, redirectUri, scope: ['sites:read'], secret: 's'.repeat(32), store, endpoints: webflow.endpoints, flowMaxAge: 1, sessionMaxAge: 5 })
  app.get('/', { preHandler: app.webflowOAuth.requireToken() }, async (request) => request.webflowToken?.scope)
  await app.ready()
  return app
}

const redis = await startRedis()
const client = new Redis(redis.port, '127.0.0.1')
let webflow = await startSimulator()
const port = Number(new URL(webflow.url).port)
const apps = [
  { name: 'MemoryStore', app: await createApp(webflow, new MemoryStore({ maxEntries: 1000 })), requests: 0 },
  { name: 'RedisStore', app: await createApp(webflow, new RedisStore({ client })), requests: 0 }
]

/** One person with one browser. */
async function visit (target: typeof apps[number], turn: number): Promise<void> {
  const cookies = new Map<string, string>()
  const send = async (url: string, method: 'GET' | 'POST', expected: readonly number[]) => {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await target.app.inject({ method, url, headers: { ...navigation, ...(cookie === '' ? {} : { cookie }) } })
    target.requests++
    if (!expected.includes(response.statusCode)) throw new Error(`${target.name}: ${method} ${url.split('?')[0]} was answered with ${response.statusCode}: ${response.body}`)
    for (const { name, value, maxAge } of response.cookies) {
      if (maxAge === 0) cookies.delete(name)
      else cookies.set(name, value)
    }
    return response
  }
  const connect = async () => {
    const { headers } = await send('/webflow/authorize?returnTo=/home', 'GET', [302])
    if (turn % 7 === 0) return null
    const back = await (turn % 5 === 0 ? webflow.deny(String(headers.location)) : webflow.approve(String(headers.location)))
    await send(back, 'GET', [303, 403])
    if (turn % 3 === 0) await send(back, 'GET', [303, 403])
    return back
  }
  if (await connect() === null) return
  // In a full MemoryStore a session may have made room for another, and in Redis five seconds end it.
  for (let use = 0; use < 3; use++) await send('/', 'GET', [200, 401])
  if (turn % 2 === 0) await connect()
  if (turn % 4 !== 0) await send('/webflow/revoke', 'POST', [303])
}

/** Visits at full speed, with so many visitors at once. */
async function load (until: number): Promise<void> {
  let turn = 0
  await Promise.all(apps.flatMap((target) => Array.from({ length: workers / apps.length }, async () => {
    while (performance.now() < until) await visit(target, turn++)
  })))
}

/** What is held when nothing is under way. The simulator remembers every code and token, and so begins anew. */
async function measure () {
  await webflow.close()
  webflow = await startSimulator(port)
  for (let round = 0; round < 4; round++) {
    await setImmediate()
    if (typeof collect === 'function') collect()
  }
  const { heapUsed, rss } = process.memoryUsage()
  return { heapUsed, rss }
}

const mebibytes = (bytes: number) => (bytes / 1024 / 1024).toFixed(1).padStart(7)
const mean = (list: readonly number[]) => list.reduce((sum, value) => sum + value, 0) / Math.max(1, list.length)

/** Prints and judges how a measure went from the second fifth of the samples to the last. */
function isFlat (name: string, list: readonly number[], limit: number): boolean {
  const fifth = Math.max(1, Math.floor(list.length / 5))
  const growth = mean(list.slice(-fifth)) - mean(list.slice(fifth, 2 * fifth))
  const flat = growth < limit
  console.log(`${name} grew by ${mebibytes(growth)} MiB of at most ${mebibytes(limit)}: ${flat ? 'flat' : 'NOT FLAT'}`)
  return flat
}

const samples: Array<{ heapUsed: number, rss: number }> = []
const started = performance.now()
try {
  console.log('   time      heap       RSS  MiB, requests so far')
  while (performance.now() - started < seconds * 1000) {
    await load(performance.now() + pause)
    const sample = await measure()
    samples.push(sample)
    const counts = apps.map(({ name, requests }) => `${name} ${requests}`).join(', ')
    console.log(`${String(Math.round((performance.now() - started) / 1000)).padStart(5)} s  ${mebibytes(sample.heapUsed)}   ${mebibytes(sample.rss)}  ${counts}, keys in Redis ${await client.dbsize()}`)
  }
  const flat = [
    isFlat('heap', samples.map(({ heapUsed }) => heapUsed), maxHeapGrowth),
    isFlat('RSS', samples.map(({ rss }) => rss), maxResidentGrowth)
  ]
  if (flat.includes(false)) process.exitCode = 1
} finally {
  for (const { app } of apps) await app.close()
  await webflow.close()
  client.disconnect()
  await redis.stop()
}

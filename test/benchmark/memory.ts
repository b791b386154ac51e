import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import Fastify from 'fastify'
import { MemoryStore, type TokenStore, type WebflowOAuthOptions } from '../../lib/index.ts'
import { fill } from './fill.ts'
import { credentials, redirectUri, secret, sessionIdOf } from './setup.ts'

// Each of them ends at one moment, an hour after the one before.
const cohorts = 5
const hour = 60 * 60 * 1000
const callsAtOnce = 20

const [, , tokens, introspect] = process.argv
const size = Number(tokens)
const store = new MemoryStore({ maxEntries: 2 * size })
const options: WebflowOAuthOptions = { ...credentials, secret, redirectUri, scope: ['sites:read'], introspect: introspect === 'true', store }

const startedAt = Date.now()
let now = startedAt
Date.now = () => now
// What is compiled and allocated once is no token's.
await fill({ ...options, store: new MemoryStore() }, 1000, Fastify().log)
const before = occupied()
const texts = { key: 0, value: 0, tags: 0 }
/** The store, which also counts what it is given. */
const counting: TokenStore = {
  get: (key) => store.get(key),
  set (key, value, options) {
    texts.key += key.length / size
    texts.value += value.length / size
    for (const tag of options.tags ?? []) texts.tags += tag.length / size
    return store.set(key, value, options)
  },
  delete: (key, options) => store.delete(key, options),
  find: (tag, options) => store.find(tag, options)
}
await fill({ ...options, store: counting }, size, Fastify().log, (number) => startedAt + (number % cohorts) * hour)
const bytes = (occupied() - before) / size

let written = 0
/** Writes and reads while nothing or a cohort has expired; the longest call and the longest stall of the event loop, in milliseconds. */
async function longest () {
  globalThis.gc?.()
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  let call = 0
  for (let calls = 0; calls < size / cohorts / 8; calls += callsAtOnce) {
    for (let turn = 0; turn < callsAtOnce; turn++) {
      const key = `flow:${sessionIdOf(written++)}`
      const began = performance.now()
      if (turn % 10 === 0) await store.get(key)
      else await store.set(key, key, { expiresAt: startedAt + 1000 * hour })
      call = Math.max(call, performance.now() - began)
    }
    await nextTurn()
  }
  // What a store might leave to timers.
  await sleep(250)
  delay.disable()
  return { call, stall: delay.max / 1e6 }
}

const idle = [await longest(), await longest()].at(-1)
const expiring: Array<Awaited<ReturnType<typeof longest>>> = []
for (let cohort = 0; cohort < cohorts; cohort++) {
  now = startedAt + 30 * 24 * hour + cohort * hour + 1
  expiring.push(await longest())
}
process.send?.({ bytes, idle, expiring, left: store.size - written * 0.9, texts })

function occupied (): number {
  globalThis.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

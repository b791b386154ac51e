import { createRequire } from 'node:module'
import { mock } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { Cluster, Redis, type RedisOptions } from 'ioredis'
import t from 'tap'
import { MemoryStore } from '../stores/memory.ts'
import { type RedisClient, RedisStore } from '../stores/redis.ts'
import { findRedis, startRedis } from './support/redis-server.ts'
import { storeContract } from './support/store-contract.ts'

const RedisMock: new (options?: RedisOptions) => Redis = createRequire(import.meta.url)('ioredis-mock')

// Compiles only while the real clients fit the structural type.
export const fits = (redis: Redis, cluster: Cluster): RedisClient[] => [redis, cluster]

let stores = 0
const nextPrefix = () => `store ${++stores}:`
const fakeClock = async (instant: number) => mock.timers.setTime(Math.max(instant, Date.now()))
const realClock = async (instant: number) => {
  while (Date.now() <= instant) await setTimeout(Math.max(1, instant - Date.now()))
}

t.test('on a clock of the test', async (t) => {
  mock.timers.enable({ apis: ['Date'], now: 1_800_000_000_000 })
  t.teardown(() => mock.timers.reset())
  await storeContract((title, body) => t.test(title, body), { name: 'MemoryStore', createStore: () => new MemoryStore(), reach: fakeClock, exact: true })
  const client = new RedisMock()
  await storeContract((title, body) => t.test(title, body), {
    name: 'RedisStore on ioredis-mock',
    createStore: () => new RedisStore({ client, keyPrefix: nextPrefix() }),
    reach: fakeClock,
    exact: true
  })
})

t.test('on a real Redis', async (t) => {
  const server = await startRedis()
  const client = new Redis(server.url)
  t.teardown(async () => { client.disconnect(); await server.stop() })
  await storeContract((title, body) => t.test(title, body), {
    name: 'RedisStore on Redis',
    createStore: () => new RedisStore({ client, keyPrefix: nextPrefix() }),
    reach: realClock,
    exact: false
  })
})

import { createRequire } from 'node:module'
import { mock } from 'node:test'
import type { Redis } from 'ioredis'
import t from 'tap'
import { RedisStore } from '../../stores/redis.ts'
import { testStore } from '../support/strict-store-tests.ts'

const RedisMock: new () => Redis = createRequire(import.meta.url)('ioredis-mock')

t.test('the whole contract on ioredis-mock, on a clock of the test', async (t) => {
  mock.timers.enable({ apis: ['Date'], now: 1_800_000_000_000 })
  t.teardown(() => mock.timers.reset())
  const prefixOf = new WeakMap<RedisStore, string>()
  let stores = 0
  const createStore = (client: Redis, of?: RedisStore): RedisStore => {
    const keyPrefix = (of === undefined ? undefined : prefixOf.get(of)) ?? `store ${++stores}:`
    const store = new RedisStore({ client, keyPrefix })
    prefixOf.set(store, keyPrefix)
    return store
  }
  const client = new RedisMock()
  await testStore(t, 'RedisStore on ioredis-mock', {
    clock: { now: () => Date.now(), advance: (milliseconds) => { mock.timers.tick(milliseconds) } },
    createStore: () => createStore(client),
    connect: (store) => createStore(new RedisMock(), store)
  })
})

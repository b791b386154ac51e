import { mock } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Cluster, Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { storeTests } from '../stores/conformance.ts'
import type { NearCacheOptions } from '../stores/near-cache.ts'
import { RedisStore, type RedisClient } from '../stores/redis.ts'
import { assertNothingLeaked, connect, createApp, startWebflow } from './support/app.ts'
import { Browser } from './support/browser.ts'
import { findRedis, startRedis } from './support/redis-server.ts'

const inAMinute = (): number => Date.now() + 60_000

/** A Redis in memory that counts reads, and can hold back its answers. */
function createRedis () {
  const rows = new Map<string, string>()
  const held: Array<() => void> = []
  const redis = {
    rows,
    reads: 0,
    isHolding: false,
    refuses: false,
    /** Gives the answers that were held back, the oldest first or the newest first. */
    release: async (order: 'oldest' | 'newest' = 'oldest'): Promise<void> => {
      const answers = held.splice(0)
      for (const answer of order === 'oldest' ? answers : answers.reverse()) answer()
      for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => { setImmediate(resolve) })
    }
  }
  const client: RedisClient = {
    async get (key) {
      redis.reads++
      if (redis.refuses) throw new Error('gone')
      const value = rows.get(key) ?? null
      if (redis.isHolding) await new Promise<void>((resolve) => { held.push(resolve) })
      return value
    },
    async set (key: string, value: string) {
      if (redis.refuses) throw new Error('gone')
      rows.set(key, value)
      return 'OK'
    },
    del: async (key) => Number(rows.delete(key)),
    // A conditional write, which this Redis always refuses.
    eval: async () => 0
  }
  return Object.assign(redis, { client })
}

/** A store with a near cache, on such a Redis and on a clock of the test. */
function createStore (t: Test, nearCache: NearCacheOptions = {}) {
  const redis = createRedis()
  const store = new RedisStore({ client: redis.client, nearCache })
  let now = 5000
  const clock = mock.method(performance, 'now', () => now)
  t.teardown(() => { clock.mock.restore() })
  const elsewhere = (key: string, value: string): void => { redis.rows.set(`webflow:${key}`, `\n${value}`) }
  return { redis, store, elsewhere, advance: (milliseconds: number) => { now += milliseconds } }
}

/** Waits until so many reads have reached Redis. */
async function until (condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => { setImmediate(resolve) })
}

t.test('a value that was just read costs no command until it is as old as maxAge', async (t) => {
  for (const [nearCache, maxAge] of [[{}, 1000], [{ maxAge: undefined, maxEntries: undefined }, 1000], [{ maxAge: 20 }, 20], [{ maxAge: 60_000 }, 60_000]] as const) {
    await t.test(`of ${maxAge} ms`, async (t) => {
      const { redis, store, elsewhere, advance } = createStore(t, nearCache)
      elsewhere('key', 'old')
      t.equal(await store.get('key'), 'old')
      elsewhere('key', 'new')
      advance(maxAge - 1)
      t.equal(await store.get('key'), 'old')
      t.equal(store.getSync('key'), 'old')
      t.equal(redis.reads, 1)
      advance(1)
      t.equal(store.getSync('key'), undefined)
      t.equal(await store.get('key'), 'new', 'a change made elsewhere is seen within maxAge')
      t.equal(redis.reads, 2)
    })
  }
})

t.test('the age of a value counts from when Redis was asked, not from when it answered', async (t) => {
  const { redis, store, elsewhere, advance } = createStore(t, { maxAge: 100 })
  elsewhere('key', 'old')
  redis.isHolding = true
  const reading = store.get('key')
  await until(() => redis.reads === 1)
  advance(60)
  await redis.release()
  t.equal(await reading, 'old')
  advance(39)
  t.equal(store.getSync('key'), 'old')
  advance(1)
  t.equal(store.getSync('key'), undefined)
})

t.test('setting the system clock back makes no value younger', async (t) => {
  const { store, elsewhere, advance } = createStore(t, { maxAge: 100 })
  elsewhere('key', 'old')
  await store.get('key')
  const clock = mock.method(Date, 'now', () => 0)
  t.teardown(() => { clock.mock.restore() })
  advance(100)
  t.equal(store.getSync('key'), undefined)
})

t.test('a change made through the store is seen at once', async (t) => {
  const { redis, store, elsewhere } = createStore(t)
  await store.set('key', 'one', { expiresAt: inAMinute() })
  t.equal(store.getSync('key'), undefined, 'a value that was written and not read is not kept')
  t.equal(await store.get('key'), 'one')
  await store.set('key', 'two', { expiresAt: inAMinute() })
  t.equal(store.getSync('key'), undefined)
  t.equal(await store.get('key'), 'two')
  await store.delete('key')
  t.equal(await store.get('key'), null)
  elsewhere('key', 'three')
  t.equal(await store.get('key'), 'three', 'an unknown key is not remembered')
  t.equal(await store.delete('key', { if: 'other' }), false)
  elsewhere('key', 'four')
  t.equal(await store.get('key'), 'four', 'a deletion that was refused drops the copy')
  t.equal(await store.set('key', 'five', { expiresAt: inAMinute(), if: 'three' }), false)
  elsewhere('key', 'six')
  t.equal(await store.get('key'), 'six', 'and so does a write that was refused')
  redis.refuses = true
  await t.rejects(store.set('key', 'seven', { expiresAt: inAMinute() }), { message: 'gone' })
  redis.refuses = false
  elsewhere('key', 'seven')
  t.equal(await store.get('key'), 'seven', 'and a write that failed, which Redis may have carried out')
})

t.test('a read that was under way when a change was made does not bring the old value back', async (t) => {
  for (const change of ['set', 'delete'] as const) {
    const { redis, store, elsewhere } = createStore(t)
    elsewhere('key', 'old')
    redis.isHolding = true
    const early = store.get('key')
    await until(() => redis.reads === 1)
    if (change === 'set') await store.set('key', 'new', { expiresAt: inAMinute() })
    else await store.delete('key')
    const late = store.get('key')
    await until(() => redis.reads === 2)
    await redis.release('newest')
    t.equal(await early, 'old')
    t.equal(await late, change === 'set' ? 'new' : null)
    t.equal(store.getSync('key'), change === 'set' ? 'new' : undefined, change)
  }
})

t.test('a read that found nothing does not remove a newer value from the cache', async (t) => {
  const { redis, store } = createStore(t)
  redis.isHolding = true
  const early = store.get('key')
  await until(() => redis.reads === 1)
  await store.set('key', 'new', { expiresAt: inAMinute() })
  const late = store.get('key')
  await until(() => redis.reads === 2)
  await redis.release('newest')
  t.strictSame(await Promise.all([early, late]), [null, 'new'])
  t.equal(store.getSync('key'), 'new')
})

t.test('a read that begins while a change is under way does not bring the old value back', async (t) => {
  const { redis, store, elsewhere } = createStore(t)
  elsewhere('key', 'old')
  let carryOut = (): void => {}
  const slow = new RedisStore({
    client: { ...redis.client, del: (key) => new Promise((resolve) => { carryOut = () => { resolve(Number(redis.rows.delete(key))) } }) },
    nearCache: {}
  })
  t.equal(await slow.get('key'), 'old')
  const deleting = slow.delete('key')
  t.equal(slow.getSync('key'), undefined)
  t.equal(await slow.get('key'), 'old', 'Redis has not deleted it yet')
  carryOut()
  t.equal(await deleting, true)
  t.equal(slow.getSync('key'), undefined)
  t.equal(await store.get('key'), null)
})

t.test('when several reads of a key run at once, the value of the first is cached, and none waits for another', async (t) => {
  const { redis, store, elsewhere, advance } = createStore(t, { maxAge: 100 })
  elsewhere('key', 'one')
  redis.isHolding = true
  const first = store.get('key')
  await until(() => redis.reads === 1)
  advance(50)
  elsewhere('key', 'two')
  const second = store.get('key')
  await until(() => redis.reads === 2)
  await redis.release('newest')
  t.strictSame(await Promise.all([first, second]), ['one', 'two'])
  t.equal(store.getSync('key'), 'one')
  advance(50)
  t.equal(store.getSync('key'), undefined)
})

t.test('after a read that takes longer than maxAge, the next read is cached', async (t) => {
  const { redis, store, elsewhere, advance } = createStore(t, { maxAge: 100 })
  elsewhere('key', 'one')
  redis.isHolding = true
  const first = store.get('key')
  await until(() => redis.reads === 1)
  advance(100)
  elsewhere('key', 'two')
  const second = store.get('key')
  await until(() => redis.reads === 2)
  await redis.release('newest')
  t.strictSame(await Promise.all([first, second]), ['one', 'two'])
  t.equal(store.getSync('key'), 'two')
})

t.test('a read that fails is not remembered', async (t) => {
  const { redis, store, elsewhere } = createStore(t)
  elsewhere('key', 'value')
  redis.refuses = true
  await t.rejects(store.get('key'), { message: 'gone' })
  redis.refuses = false
  t.equal(await store.get('key'), 'value')
  t.equal(store.getSync('key'), 'value')
})

t.test('an empty value is cached like any other', async (t) => {
  const { redis, store, elsewhere } = createStore(t)
  elsewhere('key', '')
  t.strictSame([await store.get('key'), await store.get('key'), store.getSync('key')], ['', '', ''])
  t.equal(redis.reads, 1)
})

t.test('a full cache drops the value that was read from Redis longest ago', async (t) => {
  const { store, elsewhere, advance } = createStore(t, { maxEntries: 2, maxAge: 100 })
  const known = () => ['a', 'b', 'c'].map((key) => store.getSync(key))
  for (const key of ['a', 'b', 'c']) elsewhere(key, key)
  await store.get('a')
  advance(60)
  await store.get('b')
  await store.get('unknown')
  t.strictSame(known(), [undefined, 'b', undefined], 'a read that is under way takes a place too')
  await store.get('a')
  await store.get('b')
  t.strictSame(known(), ['a', 'b', undefined])
  await store.get('c')
  t.strictSame(known(), ['a', undefined, 'c'])
  advance(100)
  await store.get('a')
  await store.get('b')
  t.strictSame(known(), ['a', 'b', undefined])
})

t.test('a cache holds 10,000 values by default', async (t) => {
  const { store, elsewhere } = createStore(t)
  for (let index = 0; index <= 10_000; index++) {
    elsewhere(`key ${index}`, 'value')
    await store.get(`key ${index}`)
  }
  t.equal(store.getSync('key 0'), undefined)
  t.equal(store.getSync('key 1'), 'value')
})

t.test('getMany and find do not use the cache', async (t) => {
  const { redis, elsewhere } = createStore(t)
  const store = new RedisStore({ client: { ...redis.client, eval: async () => ['key', '7'] }, nearCache: {} })
  redis.rows.set('webflow:key', 'tag \nold')
  t.equal(await store.get('key'), 'old')
  t.strictSame((await store.find('tag')).keys, ['key'])
  elsewhere('key', 'new')
  t.strictSame(await store.getMany(['key', 'unknown', 'key']), ['new', null, 'new'])
  t.strictSame((await store.find('tag')).keys, [])
  t.equal(store.getSync('key'), 'old', 'and leave the copy to its age')
})

t.test('without a near cache, `getSync` knows no value', async (t) => {
  const { redis, elsewhere } = createStore(t)
  const store = new RedisStore({ client: redis.client })
  elsewhere('key', 'value')
  t.equal(await store.get('key'), 'value')
  t.equal(store.getSync('key'), undefined)
  t.equal(await store.get('key'), 'value')
  t.equal(redis.reads, 2)
})

t.test('wrong options are refused', async (t) => {
  const make = (nearCache: unknown) => Reflect.construct(RedisStore, [{ client: createRedis().client, nearCache }])
  for (const nearCache of [null, true, 5]) t.throws(() => make(nearCache), { name: 'TypeError', message: /`nearCache`.*maxAge, maxEntries/ })
  for (const name of ['client', 'maxStaleness']) t.throws(() => make({ [name]: 5 }), { name: 'TypeError', message: new RegExp(`\`nearCache\`.*\`${name}\`.*maxAge, maxEntries`) })
  for (const value of [0, -1, 1.5, NaN, Infinity, '5', null]) {
    t.throws(() => make({ maxAge: value }), { name: 'RangeError', message: /`nearCache\.maxAge`/ })
    t.throws(() => make({ maxEntries: value }), { name: 'RangeError', message: /`nearCache\.maxEntries`/ })
  }
  t.throws(() => make({ maxAge: 60_001 }), { name: 'RangeError', message: /`nearCache\.maxAge`.*60000/ })
})

if (findRedis() !== null) {
  const server = await startRedis()
  t.teardown(() => server.stop())
  // Redis lets a new cluster wait for two seconds.
  const cluster = startRedis({ cluster: true })
  t.teardown(async () => { await (await cluster).stop() })
  let prefixes = 0

  /** Connects to the Redis for the length of a test. */
  const open = (t: Test): Redis => {
    const redis = new Redis(server.port, '127.0.0.1')
    t.teardown(() => { redis.disconnect() })
    return redis
  }
  const nextPrefix = (): string => `near ${++prefixes}:`

  t.test('a store with a near cache keeps the contract within one process', async (t) => {
    const client = open(t)
    // A value may outlive its deadline by maxAge, and the tests wait for 20 ms after a deadline.
    const createStore = () => new RedisStore({ client, keyPrefix: nextPrefix(), nearCache: { maxAge: 15 } })
    for (const { title, run } of storeTests({ createStore })) await t.test(title, async (t) => { await t.resolves(run()) })
  })

  t.test('reading a cached value sends Redis no command, and the store sends none on its own', async (t) => {
    const client = open(t)
    const admin = open(t)
    const store = new RedisStore({ client, keyPrefix: nextPrefix(), nearCache: { maxAge: 60_000 } })
    await store.set('key', 'value', { expiresAt: inAMinute() })
    t.equal(await store.get('key'), 'value')
    const processed = async (): Promise<number> => Number(/total_commands_processed:(\d+)/.exec(await admin.info('stats'))?.[1])
    const before = await processed()
    for (let read = 0; read < 100; read++) t.equal(await store.get('key'), 'value')
    t.equal(await processed() - before, 1, 'the question itself')
  })

  t.test('a cached value outlives its deadline by at most maxAge', async (t) => {
    const store = new RedisStore({ client: open(t), keyPrefix: nextPrefix(), nearCache: { maxAge: 200 } })
    const expiresAt = Date.now() + 100
    await store.set('key', 'value', { expiresAt })
    while (await store.get('key') !== null && Date.now() < expiresAt + 1000) await sleep(1)
    t.ok(Date.now() < expiresAt + 1000, `${Date.now() - expiresAt} ms`)
    t.equal(store.getSync('key'), undefined)
  })

  t.test('on a cluster a change made elsewhere is seen within maxAge', async (t) => {
    const { port } = await cluster
    const [client, other] = [0, 1].map(() => new Cluster([{ host: '127.0.0.1', port }]))
    if (client === undefined || other === undefined) return
    t.teardown(() => { client.disconnect(); other.disconnect() })
    const store = new RedisStore({ client, nearCache: { maxAge: 200 } })
    const elsewhere = new RedisStore({ client: other })
    await elsewhere.set('key', 'one', { expiresAt: inAMinute() })
    t.equal(await store.get('key'), 'one')
    await elsewhere.set('key', 'two', { expiresAt: inAMinute() })
    const changedAt = performance.now()
    while (await store.get('key') === 'one') await sleep(1)
    t.ok(performance.now() - changedAt < 1000)
    t.strictSame(await store.getMany(['key', 'unknown']), ['two', null])
    await store.set('key', 'three', { expiresAt: inAMinute(), if: 'two' })
    t.equal(await store.get('key'), 'three')
  })

  t.test('a token that another replica has revoked can be used for at most maxAge', async (t) => {
    const maxAge = 200
    const webflow = await startWebflow(t)
    const keyPrefix = nextPrefix()
    const [here, there] = await Promise.all([0, 1].map(() => createApp(t, { webflow, options: { store: new RedisStore({ client: open(t), keyPrefix, nearCache: { maxAge } }) } })))
    if (here === undefined || there === undefined) return
    let lateness = 0
    for (let round = 0; round < 5; round++) {
      const browser = new Browser(there)
      await connect(browser, webflow)
      const sameBrowser = browser.clone(here)
      const isConnected = async () => (await sameBrowser.get('/token')).json().connected === true
      t.equal(await isConnected(), true)
      t.strictSame((await browser.request('/webflow/revoke', { method: 'POST' })).json(), { revoked: true, upstream: 'revoked' })
      const revokedAt = performance.now()
      for (let askedAt = revokedAt; await isConnected(); askedAt = performance.now()) {
        lateness = Math.max(lateness, askedAt - revokedAt)
        if (lateness > 5000) break
        await sleep(5)
      }
    }
    t.ok(lateness < maxAge, `the latest request that got a revoked token came ${lateness.toFixed(0)} ms after the revocation`)
    assertNothingLeaked(t)
  })
} else if (process.env['REQUIRE_REDIS'] === '1') {
  t.fail('redis-server is on PATH, as REQUIRE_REDIS=1 demands')
} else {
  t.comment('No redis-server here: the tests of the near cache on it were left out')
}

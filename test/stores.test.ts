import { once } from 'node:events'
import { createRequire } from 'node:module'
import { mock } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Cluster, Redis, type RedisOptions } from 'ioredis'
import t, { type Test } from 'tap'
import { MemoryStore } from '../stores/memory.ts'
import { type RedisClient, RedisStore } from '../stores/redis.ts'
import { PAGE } from '../stores/redis-scripts.ts'
import { findRedis, type RedisServer, startRedis } from './support/redis-server.ts'
import { testStore } from './support/strict-store-tests.ts'

const redis = findRedis()
const RedisMock: new (options?: RedisOptions) => Redis = createRequire(import.meta.url)('ioredis-mock')

// Compiles only while the clients of ioredis fit what the store asks of one.
export const clients = (redis: Redis, cluster: Cluster): RedisClient[] => [redis, cluster]

// These take the longest. The quick tests run them on a plain Redis and in memory, the slow tests on every kind of client.
const heavy = /^(?:a value of 5,000 tags|find pages through 1,100 keys|writers of many keys with the same tags|of many writers of a key at once)/
// These take only the mock as long, which makes a Lua of its own for each script.
const heavyOnMock = new RegExp(`${heavy.source}|^(?:keys, values and tags of any characters|a value of 512 KiB|values that look alike|pages hold keys of any characters)`)
const isQuick = process.env['EVERY_CLIENT'] !== '1' && redis !== null

let prefixes = 0
const nextPrefix = (): string => `store ${++prefixes}:`
const prefixOf = new WeakMap<RedisStore, string>()
const inAMinute = (): number => Date.now() + 60_000

t.test('on a clock that the test moves', async (t) => {
  mock.timers.enable({ apis: ['Date'], now: 1_800_000_000_000 })
  t.teardown(() => mock.timers.reset())
  const clock = { now: () => Date.now(), advance: (milliseconds: number) => { mock.timers.tick(milliseconds) } }

  await testStore(t, 'MemoryStore', { clock, createStore: () => new MemoryStore() })

  const [client, other] = [new RedisMock(), new RedisMock()]
  await testStore(t, 'RedisStore on ioredis-mock', { clock, createStore: () => createStore(client), connect: (store) => createStore(other, store) }, isQuick ? heavyOnMock : undefined)

  t.test('MemoryStore refuses wrong options', async (t) => {
    t.throws(() => Reflect.construct(MemoryStore, [null]), { name: 'TypeError', message: /maxEntries/ })
    t.throws(() => Reflect.construct(MemoryStore, [{ max: 5 }]), { name: 'TypeError', message: /`max`.*maxEntries/ })
    for (const maxEntries of [0, -1, 1.5, NaN, Infinity, '5', null]) {
      t.throws(() => Reflect.construct(MemoryStore, [{ maxEntries }]), { name: 'RangeError', message: /`maxEntries`/ })
    }
    t.ok(new MemoryStore({ maxEntries: undefined }))
  })

  t.test('MemoryStore holds 10,000 entries by default', async (t) => {
    const store = new MemoryStore()
    for (let index = 0; index <= 10_000; index++) await store.set(`key ${index}`, '', { expiresAt: inAMinute() })
    t.equal(store.size, 10_000)
    t.equal(await store.get('key 0'), null)
    t.equal(await store.get('key 1'), '')
  })

  t.test('a full MemoryStore drops the entry with the nearest deadline, even if the new deadline is nearer', async (t) => {
    const store = new MemoryStore({ maxEntries: 3 })
    await store.set('token', '', { expiresAt: inAMinute() + 2, tags: ['tag'] })
    await store.set('flow', '', { expiresAt: inAMinute(), tags: ['tag', 'flows'] })
    await store.set('later token', '', { expiresAt: inAMinute() + 3, tags: ['tag'] })
    await store.set('newcomer', '', { expiresAt: Date.now() + 1, tags: ['tag'] })
    t.strictSame((await store.find('tag')).keys, ['token', 'later token', 'newcomer'])
    t.strictSame(await store.find('flows'), { keys: [], cursor: null })
    t.equal(store.size, 3)
  })

  t.test('a full MemoryStore drops an expired entry first', async (t) => {
    const store = new MemoryStore({ maxEntries: 30 })
    for (let index = 0; index < 20; index++) await store.set(`short ${index}`, '', { expiresAt: Date.now() + 10 })
    for (let index = 0; index < 10; index++) await store.set(`long ${index}`, '', { expiresAt: inAMinute(), tags: ['long'] })
    mock.timers.tick(10)
    await store.set('newcomer', '', { expiresAt: inAMinute(), tags: ['long'] })
    t.equal(store.size, 21, 'ten were dropped, which bounds the work of one write')
    await store.set('another', '', { expiresAt: inAMinute(), tags: ['long'] })
    t.equal(store.size, 12)
    t.equal((await store.find('long')).keys.length, 12)
  })

  t.test('a full MemoryStore drops no entry for a write that adds none', async (t) => {
    const store = new MemoryStore({ maxEntries: 2 })
    await store.set('one', '1', { expiresAt: inAMinute(), tags: ['tag'] })
    await store.set('two', '2', { expiresAt: inAMinute(), tags: ['tag'] })
    await store.set('two', '2', { expiresAt: inAMinute(), tags: ['tag'] })
    await store.set('one', 'taken', { expiresAt: inAMinute(), if: null })
    await store.set('three', '3', { expiresAt: inAMinute(), if: 'nothing' })
    await store.set('three', '3', { expiresAt: Date.now() })
    await t.rejects(store.set('three', '3', { expiresAt: 0.5 }))
    t.strictSame((await store.find('tag')).keys, ['one', 'two'])
  })

  t.test('MemoryStore stays consistent if the clock moves during a write', async (t) => {
    const store = new MemoryStore({ maxEntries: 3 })
    const start = Date.now()
    await store.set('first', '', { expiresAt: start + 100, tags: ['tag'] })
    await store.set('second', '', { expiresAt: start + 200, tags: ['tag'] })
    await store.set('third', '', { expiresAt: start + 300, tags: ['tag'] })
    let now = start + 99
    const clock = mock.method(Date, 'now', () => now++)
    await store.set('first', '', { expiresAt: start + 400, tags: ['tag'] })
    clock.mock.restore()
    await store.set('fourth', '', { expiresAt: start + 500, tags: ['tag'] })
    t.strictSame((await store.find('tag')).keys, ['third', 'first', 'fourth'])
  })

  t.test('RedisStore remembers a limited number of stray tag members, and forgets those of long ago first', async (t) => {
    let first = 0
    const dropped: unknown[] = []
    const page = (): string[] => Array.from({ length: 1000 }, (_, index) => [`key ${first + index}`, '7']).flat()
    const store = new RedisStore({
      client: {
        get: async () => null,
        set: async () => 'OK',
        del: async () => 0,
        eval: async (script: string, _keys: number, _key: string, ...args: Array<string | number>) => script === PAGE ? page() : dropped.push(...args)
      }
    })
    const find = async (from: number): Promise<void> => {
      first = from
      t.strictSame((await store.find('tag', { limit: 1000 })).keys, [])
    }
    for (let from = 0; from <= 10_000; from += 1000) await find(from)
    mock.timers.tick(60_000)
    await find(9000)
    t.equal(dropped.length, 2000, 'seen a minute ago')
    await find(10_000)
    t.equal(dropped.length, 2000, 'there was no room to remember these')
    mock.timers.tick(48 * 60 * 60 * 1000)
    await find(20_000)
    await find(21_000)
    mock.timers.tick(60_000)
    await find(21_000)
    t.equal(dropped.length, 4000, 'after two days the oldest make room')
  })

  t.test('MemoryStore forgets a tag with its last entry', async (t) => {
    setFlagsFromString('--expose-gc')
    const collect: unknown = runInNewContext('gc')
    const used = (): number => {
      if (typeof collect === 'function') collect()
      return getHeapStatistics().used_heap_size
    }
    const store = new MemoryStore()
    const rounds = 20_000
    const write = async (round: number): Promise<void> => {
      for (const key of ['one', 'two']) await store.set(key, '', { expiresAt: inAMinute(), tags: [`alone ${key} ${round}`, `shared ${round}`] })
    }
    await write(0)
    const before = used()
    for (let round = 1; round <= rounds; round++) await write(round)
    const bytes = (used() - before) / rounds
    t.ok(bytes < 50, `${bytes.toFixed(0)} bytes a round`)
    t.strictSame((await store.find(`shared ${rounds}`)).keys, ['one', 'two'])
  })

  t.test('MemoryStore reads thousands of entries of a tag in order, from any entry on, while entries are added and dropped', async (t) => {
    const random = randomOf(7)
    const store = new MemoryStore()
    let model: string[] = []
    for (const [added, kept] of [[3000, 0.9], [10, 0.02], [2000, 0.5], [0, 0]] as const) {
      for (let count = 0; count < added; count++) {
        const key = `key ${random()}`
        await store.set(key, '', { expiresAt: inAMinute(), tags: ['tag'] })
        model.push(key)
      }
      const gone = new Set(model.filter(() => random() >= kept))
      const first = await store.find('tag', { limit: 10 })
      for (const key of gone) await store.delete(key)
      const rest = model.slice(10).filter((key) => !gone.has(key))
      model = model.filter((key) => !gone.has(key))
      t.strictSame((await store.find('tag', { limit: 10_000 })).keys, model)
      t.strictSame((await store.find('tag', { limit: 10_000, cursor: first.cursor ?? '' })).keys, rest, 'a page goes on where the one before ended')
    }
  })

  t.test('MemoryStore behaves like a plain list through 20,000 random steps', async (t) => {
    for (const seed of [1, 2, 3, 4]) t.equal(await firstDifference(seed, 5_000), null, `seed ${seed}`)
  })

  t.test('RedisStore refuses wrong options', async (t) => {
    const refusals: Array<[unknown, RegExp]> = [
      [undefined, /^RedisStore takes .*client, keyPrefix/],
      [{}, /`client`.*missing/],
      [{ client: null }, /`client`.*missing/],
      [{ client: 'redis://localhost' }, /`client`.*missing/],
      [{ client: { get () {}, set () {} } }, /`client`.*ioredis/],
      [{ client: { isOpen: true, get () {}, set () {}, del () {}, eval () {} } }, /`client`.*ioredis/],
      [{ client, keyPrefix: 5 }, /`keyPrefix`/],
      [{ client, prefix: 'app:' }, /`prefix`.*keyPrefix/]
    ]
    for (const [options, message] of refusals) {
      t.throws(() => Reflect.construct(RedisStore, [options]), { name: 'TypeError', message })
    }
  })

  t.test('RedisStore adds one byte to a value without tags, and begins its keys with webflow: by default', async (t) => {
    const client = new RedisMock({ port: 7001 })
    const store = new RedisStore({ client })
    await store.set('token:a', 'value', { expiresAt: inAMinute() })
    await store.set('my-tag:a', 'value', { expiresAt: inAMinute() })
    await store.set('token:b', 'value', { expiresAt: inAMinute(), tags: ['user:é', 'x'] })
    t.equal(await client.get('webflow:token:a'), '\nvalue')
    t.equal(await client.get('webflow:token:b'), 'user%3A%C3%A9 x \nvalue')
    t.strictSame((await client.keys('*')).sort(), ['webflow:my-tag:a', 'webflow:tag:user:é', 'webflow:tag:x', 'webflow:token:a', 'webflow:token:b'])
  })

  t.test('RedisStore reads a value that it did not write as a whole, and finds it by no tag', async (t) => {
    const keyPrefix = nextPrefix()
    const store = new RedisStore({ client, keyPrefix })
    await store.set('key', '', { expiresAt: inAMinute(), tags: ['tag'] })
    await client.set(`${keyPrefix}key`, 'tag [not ours')
    t.equal(await store.get('key'), 'tag [not ours')
    t.strictSame(await store.find('tag'), { keys: [], cursor: null })
    t.equal(await store.delete('key', { if: 'tag [not ours' }), true)
  })

  t.test('RedisStore rejects when Redis answers a script with something other than a list', async (t) => {
    const odd: RedisClient = { get: async () => null, set: async () => 'OK', del: async () => 1, eval: async () => null }
    await t.rejects(new RedisStore({ client: odd }).find('tag'), { name: 'TypeError', message: /list/ })
  })

  t.test('a key whose value could not be written is found by no tag', async (t) => {
    const keyPrefix = nextPrefix()
    const store = new RedisStore({ client, keyPrefix })
    const failing = new RedisStore({ client: { ...methodsOf(client), set: async () => { throw new Error('gone') } }, keyPrefix })
    await store.set('old', 'value', { expiresAt: inAMinute(), tags: ['other'] })
    await t.rejects(failing.set('old', 'value', { expiresAt: inAMinute(), tags: ['tag'] }), { message: 'gone' })
    await t.rejects(failing.set('new', 'value', { expiresAt: inAMinute(), tags: ['tag'] }), { message: 'gone' })
    t.strictSame(await store.find('tag'), { keys: [], cursor: null })
    t.strictSame((await store.find('other')).keys, ['old'])
  })

  t.test('a value is not written if one of its tags cannot be written', async (t) => {
    const store = new RedisStore({ client: { ...methodsOf(client), eval: async () => { throw new Error('gone') } }, keyPrefix: nextPrefix() })
    await t.rejects(store.set('key', 'value', { expiresAt: inAMinute(), tags: ['tag'] }), { message: 'gone' })
    t.equal(await store.get('key'), null)
  })

  t.test('a search between the write of the tag and the write of the value does not remove the tag', async (t) => {
    const keyPrefix = nextPrefix()
    const store = new RedisStore({ client, keyPrefix })
    await store.set('key', 'old', { expiresAt: inAMinute() })
    const between = new RedisStore({
      client: {
        ...methodsOf(client),
        set: async (key: string, value: string, pxat: 'PXAT', deadline: number) => {
          t.strictSame((await store.find('tag')).keys, [])
          return client.set(key, value, pxat, deadline)
        }
      },
      keyPrefix
    })
    await between.set('key', 'new', { expiresAt: inAMinute(), tags: ['tag'] })
    t.strictSame((await store.find('tag')).keys, ['key'])
  })

  t.test('stray tag members are dropped', async (t) => { await dropsStrays(t, client) })

  t.test('when two writers write at once, the value with the later deadline keeps its tag, whichever write is last', async (t) => {
    const keyPrefix = nextPrefix()
    const store = new RedisStore({ client, keyPrefix })
    const late = Date.now() + 600_000
    const overtaken = new RedisStore({
      client: {
        ...methodsOf(client),
        set: async (key: string, value: string, pxat: 'PXAT', deadline: number) => {
          await store.set('key', 'short', { expiresAt: Date.now() + 1000, tags: ['tag'] })
          return client.set(key, value, pxat, deadline)
        }
      },
      keyPrefix
    })
    await overtaken.set('key', 'long', { expiresAt: late, tags: ['tag'] })
    mock.timers.setTime(late - 1)
    await store.set('other', '', { expiresAt: late - 1, tags: ['tag'] })
    t.strictSame((await store.find('tag')).keys, ['key'])
  })
})

if (redis !== null) {
  // Redis lets a new cluster wait for two seconds.
  const cluster = startRedis({ cluster: true })
  t.teardown(async () => { await (await cluster).stop() })

  t.test('on a real Redis', async (t) => {
    const server = await startRedis()
    const client = new Redis(server.url)
    t.teardown(async () => { client.disconnect(); await server.stop() })
    await testOnRedis(t, 'Redis', client)
    await specifics(t, server, client)
  })

  t.test('on a client with a prefix, automatic pipelines and numbers as strings', async (t) => {
    const server = await startRedis()
    const client = new Redis(server.url, { keyPrefix: 'app:', enableAutoPipelining: true, stringNumbers: true })
    t.teardown(async () => { client.disconnect(); await server.stop() })
    await testOnRedis(t, 'such a client', client, isQuick ? heavy : undefined)
    const keys = await client.keys('*')
    t.equal(keys.every((key) => key.startsWith('app:store ')), true)
  })

  t.test('on a cluster, which refuses commands across slots', async (t) => {
    const { port } = await cluster
    const [client, other] = [0, 1].map(() => new Cluster([{ host: '127.0.0.1', port }]))
    if (client === undefined || other === undefined) return
    t.teardown(() => { client.disconnect(); other.disconnect() })
    await testStore(t, 'RedisStore on Cluster', { createStore: () => createStore(client), connect: (store) => createStore(other, store) }, isQuick ? heavy : undefined)
  })
} else if (process.env['REQUIRE_REDIS'] === '1') {
  t.fail('redis-server is on PATH, as REQUIRE_REDIS=1 demands')
} else {
  t.comment('No redis-server on PATH: the tests on a real Redis were left out')
}

/** Makes an empty store, or one on the data of another. */
function createStore (client: RedisClient, of?: RedisStore): RedisStore {
  const keyPrefix = (of === undefined ? undefined : prefixOf.get(of)) ?? nextPrefix()
  const store = new RedisStore({ client, keyPrefix })
  prefixOf.set(store, keyPrefix)
  return store
}

/** Runs the contract over a connection that the server ends, beside another. */
async function testOnRedis (t: Test, name: string, other: Redis, without?: RegExp): Promise<void> {
  const client = other.duplicate({ retryStrategy: () => null })
  t.teardown(() => client.disconnect())
  await testStore(t, `RedisStore on ${name}`, {
    createStore: () => createStore(client),
    connect: (store) => createStore(other, store),
    interrupt: async () => {
      const ended = once(client, 'end')
      await other.call('CLIENT', 'KILL', 'ID', String(await client.client('ID')))
      await ended
      return () => client.connect()
    }
  }, without)
}

/** Date.now() is the test's own here, and Redis has its own clock. */
async function dropsStrays (t: Test, client: Redis): Promise<void> {
  const keyPrefix = nextPrefix()
  const store = new RedisStore({ client, keyPrefix })
  const expiresAt = Date.now() + 600_000
  const members = async () => (await client.zrange(`${keyPrefix}tag:tag`, 0, -1)).sort()
  for (const key of ['kept', 'overwritten', 'deleted', 'again', 'later']) await store.set(key, key, { expiresAt, tags: ['tag', 'other'] })
  for (const key of ['overwritten', 'again', 'later']) await store.set(key, key, { expiresAt, tags: ['other'] })
  await store.delete('deleted')

  t.strictSame((await store.find('tag')).keys, ['kept'])
  mock.timers.tick(59_999)
  t.strictSame((await store.find('tag')).keys, ['kept'])
  t.equal((await members()).length, 5, 'a writer may not be done yet')
  await store.set('again', 'again', { expiresAt, tags: ['tag'] })
  await client.zadd(`${keyPrefix}tag:tag`, expiresAt + 1, 'later')
  mock.timers.tick(1)
  t.strictSame((await store.find('tag')).keys, ['kept', 'again'])
  t.strictSame(await members(), ['again', 'kept', 'later'], 'and what somebody has tagged with another deadline stays, for a minute')
  mock.timers.tick(60_000)
  await store.find('tag', { limit: 1 })
  t.strictSame((await store.find('tag', { limit: 1000 })).keys, ['kept', 'again'])
  t.strictSame(await members(), ['again', 'kept'])
  t.strictSame((await store.find('other')).keys.sort(), ['kept', 'later', 'overwritten'], 'another tag is another matter')
}

async function specifics (t: Test, server: RedisServer, client: Redis): Promise<void> {
  await t.test('stray tag members are dropped', async (t) => {
    mock.timers.enable({ apis: ['Date'], now: Date.now() })
    t.teardown(() => mock.timers.reset())
    await dropsStrays(t, client)
  })

  await t.test('a stray that is tagged again just before it is dropped stays', async (t) => {
    mock.timers.enable({ apis: ['Date'], now: Date.now() })
    t.teardown(() => mock.timers.reset())
    const keyPrefix = nextPrefix()
    const store = new RedisStore({ client, keyPrefix })
    const expiresAt = Date.now() + 600_000
    await store.set('key', 'old', { expiresAt, tags: ['tag'] })
    await store.set('key', 'old', { expiresAt })
    const reader = new RedisStore({
      client: {
        ...methodsOf(client),
        eval: async (...args: Parameters<RedisClient['eval']>) => {
          if (args[0].includes('ZREM\'') && !args[0].includes('ZRANGE')) await store.set('key', 'new', { expiresAt, tags: ['tag'], if: 'old' })
          return client.eval(...args)
        }
      },
      keyPrefix
    })
    await reader.find('tag')
    mock.timers.tick(60_000)
    await reader.find('tag')
    t.strictSame((await reader.find('tag')).keys, ['key'])
  })

  await t.test('a limited number of strays is remembered', async (t) => {
    mock.timers.enable({ apis: ['Date'], now: Date.now() })
    t.teardown(() => mock.timers.reset())
    const keyPrefix = nextPrefix()
    const store = new RedisStore({ client, keyPrefix })
    const deadline = Date.now() + 600_000
    const members = Array.from({ length: 10_001 }, (_, index) => [deadline + index, `stray ${index}`]).flat()
    await client.zadd(`${keyPrefix}tag:tag`, ...members)
    const readAll = async () => {
      for (let cursor: string | null | undefined; cursor !== null;) ({ cursor } = await store.find('tag', { limit: 1000, ...cursor === undefined ? {} : { cursor } }))
    }
    const left = async () => await client.zrange(`${keyPrefix}tag:tag`, 0, -1)
    await readAll()
    mock.timers.tick(60_000)
    await readAll()
    t.strictSame(await left(), ['stray 10000'])
    mock.timers.tick(60_000)
    await readAll()
    t.strictSame(await left(), [])
  })

  await t.test('a stray that was noticed more than two days ago is forgotten for a new one', async (t) => {
    mock.timers.enable({ apis: ['Date'], now: Date.now() })
    t.teardown(() => mock.timers.reset())
    const keyPrefix = nextPrefix()
    const store = new RedisStore({ client, keyPrefix })
    const deadline = Date.now() + 600_000
    for (let page = 0; page < 10; page++) {
      await client.zadd(`${keyPrefix}tag:${page}`, ...Array.from({ length: 1000 }, (_, index) => [deadline, `stray ${index}`]).flat())
      await store.find(String(page), { limit: 1000 })
    }
    await client.zadd(`${keyPrefix}tag:tag`, deadline, 'stray')
    const dropped = async () => {
      await store.find('tag')
      mock.timers.tick(60_000)
      await store.find('tag')
      return await client.zcard(`${keyPrefix}tag:tag`) === 0
    }
    t.equal(await dropped(), false)
    mock.timers.tick(48 * 60 * 60 * 1000 - 60_000)
    t.equal(await dropped(), true)
  })

  await t.test('every command touches exactly one key, and none searches all keys', async (t) => {
    const monitor = await client.monitor()
    t.teardown(() => monitor.disconnect())
    const commands: string[][] = []
    monitor.on('monitor', (_time: string, command: string[]) => commands.push(command))
    const store = new RedisStore({ client, keyPrefix: nextPrefix() })
    const options = { expiresAt: inAMinute(), tags: ['one', 'two'] }
    await store.set('a', '1', options)
    await store.set('b', '1', { ...options, if: null })
    await store.set('b', '2', { ...options, if: '1' })
    await store.get('a')
    await store.find('one', { limit: 1, cursor: (await store.find('one', { limit: 1 })).cursor ?? '' })
    await store.delete('a', { if: '1' })
    await store.delete('b')
    await client.ping()
    while (!commands.some(([name]) => name?.toLowerCase() === 'ping')) await setTimeout(1)

    const sent = commands.filter(([name]) => !['ping', 'time'].includes(name?.toLowerCase() ?? ''))
    const names = new Set(sent.map(([name]) => name?.toLowerCase()))
    t.strictSame([...names].sort(), ['del', 'eval', 'get', 'pexpireat', 'set', 'zadd', 'zcount', 'zrange', 'zrank', 'zscore'])
    for (const [name = '', ...args] of sent) {
      const keys = await client.call('COMMAND', 'GETKEYS', name, ...args)
      t.equal(Array.isArray(keys) && keys.length, 1, name)
    }
  })

  await t.test('the store adds no listener and no command to its client, and does not close it', async (t) => {
    const own = client.duplicate()
    t.teardown(() => own.disconnect())
    await own.ping()
    const before = traitsOf(own)
    const store = new RedisStore({ client: own, keyPrefix: nextPrefix() })
    await store.set('key', 'value', { expiresAt: inAMinute(), tags: ['tag'], if: null })
    await store.find('tag')
    await store.delete('key', { if: 'value' })
    t.strictSame(traitsOf(own), before)
  })

  await t.test('a tag lives a minute longer than its longest member, and no longer', async (t) => {
    const keyPrefix = nextPrefix()
    const store = new RedisStore({ client, keyPrefix })
    const expiresAt = inAMinute()
    for (const deadline of [expiresAt, expiresAt + 5000, expiresAt + 1000]) {
      await store.set('key', '', { expiresAt: deadline, tags: ['tag'] })
      await store.set(`key ${deadline}`, '', { expiresAt: deadline - 1, tags: ['tag'] })
    }
    const ends = Date.now() + await client.pttl(`${keyPrefix}tag:tag`)
    t.equal(Math.abs(ends - (expiresAt + 65_000)) < 1000, true)
    await store.set('key', '', { expiresAt: 0, tags: ['past'] })
    t.equal(await client.exists(`${keyPrefix}tag:past`), 0)
  })

  await t.test('expired tag members are dropped, ten with each write and a page with each search', async (t) => {
    const keyPrefix = nextPrefix()
    const store = new RedisStore({ client, keyPrefix })
    const tag = `${keyPrefix}tag:tag`
    const old = Date.now() - 120_000
    await client.zadd(tag, ...Array.from({ length: 300 }, (_, index) => [old, `stale ${index}`]).flat())
    await client.zadd(tag, Date.now() - 10_000, 'just now')
    await store.set('key', '', { expiresAt: inAMinute(), tags: ['tag'] })
    t.equal(await client.zcard(tag), 292)
    t.strictSame(await store.find('tag', { limit: 50 }), { keys: ['key'], cursor: null })
    t.equal(await client.zcard(tag), 242)
    for (let page = 0; page < 5; page++) await store.find('tag', { limit: 1000 })
    t.strictSame(await client.zrange(tag, 0, -1), ['just now', 'key'], 'the clocks of two nodes may differ')
  })

  await t.test('stores of one client and different prefixes share nothing', async (t) => {
    const one = new RedisStore({ client, keyPrefix: 'one:' })
    const two = new RedisStore({ client, keyPrefix: 'two:' })
    const alsoOne = new RedisStore({ client, keyPrefix: 'one:' })
    await one.set('key', 'value', { expiresAt: inAMinute(), tags: ['tag'] })
    t.equal(await two.get('key'), null)
    t.strictSame((await two.find('tag')).keys, [])
    t.equal(await two.delete('key'), false)
    t.equal(await alsoOne.get('key'), 'value')
    t.strictSame((await alsoOne.find('tag')).keys, ['key'])
  })

  await t.test('calls to a frozen Redis are answered when Redis continues', async (t) => {
    const own = client.duplicate({ commandTimeout: 50 })
    t.teardown(() => own.disconnect())
    const store = new RedisStore({ client: own, keyPrefix: nextPrefix() })
    await store.set('key', 'value', { expiresAt: inAMinute() })
    server.pause()
    await t.rejects(store.get('key'), { message: /timed out/ })
    server.resume()
    t.equal(await new RedisStore({ client }).get('key'), null)
    t.equal(await store.get('key'), 'value')
  })

  await t.test('every method rejects when Redis is gone', async (t) => {
    const gone = await startRedis()
    const own = new Redis(gone.url, { retryStrategy: () => null, maxRetriesPerRequest: 0 })
    own.on('error', () => {})
    t.teardown(() => own.disconnect())
    const store = new RedisStore({ client: own })
    await store.set('key', 'value', { expiresAt: inAMinute(), tags: ['tag'] })
    await gone.stop()
    await gone.stop()
    await t.rejects(store.get('key'))
    await t.rejects(store.set('key', 'value', { expiresAt: inAMinute() }))
    await t.rejects(store.set('key', 'value', { expiresAt: inAMinute(), tags: ['tag'], if: null }))
    await t.rejects(store.set('key', 'value', { expiresAt: inAMinute(), if: 'value' }))
    await t.rejects(store.delete('key'))
    await t.rejects(store.delete('key', { if: 'value' }))
    await t.rejects(store.find('tag'))
  })

  await t.test('the error of a Redis that cannot start says why', async (t) => {
    await t.rejects(startRedis({ port: server.port }), { message: /already in use/ })
  })
}

// Enough for writes without a condition.
function methodsOf (client: Redis): RedisClient {
  return {
    get: (key) => client.get(key),
    set: (key: string, value: string, pxat: 'PXAT', deadline: number) => client.set(key, value, pxat, deadline),
    del: (key) => client.del(key),
    eval: (script, numberOfKeys, ...args) => client.eval(script, numberOfKeys, ...args)
  }
}

function traitsOf (client: Redis): unknown {
  const listeners = client.eventNames().map((name) => [String(name), client.listenerCount(name)])
  return { listeners, status: client.status, properties: Object.keys(client).sort(), scripts: { ...client.scriptsSet } }
}

interface ModelEntry { key: string, value: string, expiresAt: number, tags: string[] }

// Drives a store and a naive list side by side and tells the first step where they part.
async function firstDifference (seed: number, steps: number): Promise<string | null> {
  const maxEntries = 25
  const store = new MemoryStore({ maxEntries })
  let model: ModelEntry[] = []
  const random = randomOf(seed)
  const pick = (length: number): number => Math.floor(random() * length)
  for (let step = 0; step < steps; step++) {
    mock.timers.tick(pick(3))
    const now = Date.now()
    model = model.filter((entry) => entry.expiresAt > now)
    const key = `key ${pick(40)}`
    const current = model.find((entry) => entry.key === key)
    const value = `value ${pick(3)}`
    const condition = [undefined, undefined, null, `value ${pick(3)}`][pick(4)]
    const others = model.filter((entry) => entry !== current)
    let expected: unknown
    let actual: unknown
    if (pick(5) === 0) {
      const met = current !== undefined && (condition == null || condition === current.value)
      if (met) model = others
      expected = met
      actual = await store.delete(key, condition == null ? {} : { if: condition })
    } else {
      const expiresAt = now - 5 + pick(120)
      const tags = ['a', 'b', 'c', 'd'].filter(() => pick(3) === 0)
      const met = condition === undefined || condition === (current?.value ?? null)
      if (met) {
        model = others
        if (expiresAt > now) {
          if (current === undefined && model.length >= maxEntries) model.splice(model.indexOf(nearestOf(model)), 1)
          model.push({ key, value, expiresAt, tags })
        }
      }
      expected = met
      actual = await store.set(key, value, { expiresAt, tags, ...(condition === undefined ? {} : { if: condition }) })
    }
    if (actual !== expected) return `step ${step}: ${actual} instead of ${expected}`
    for (const tag of ['a', 'b', 'c', 'd']) {
      const { keys } = await store.find(tag)
      const tagged = model.filter((entry) => entry.tags.includes(tag)).map((entry) => entry.key)
      if (keys.join() !== tagged.join()) return `step ${step}: ${tag} has ${keys} instead of ${tagged}`
    }
    const read = await store.get(`key ${step % 40}`)
    if (read !== (model.find((entry) => entry.key === `key ${step % 40}`)?.value ?? null)) return `step ${step}: read ${read}`
    if (store.size > maxEntries || store.size < model.length) return `step ${step}: size ${store.size}`
  }
  return null
}

function nearestOf (entries: ModelEntry[]): ModelEntry {
  return entries.reduce((nearest, entry) => entry.expiresAt < nearest.expiresAt ? entry : nearest)
}

// mulberry32
function randomOf (seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6D2B79F5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

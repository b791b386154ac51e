import { mock } from 'node:test'
import { Redis } from 'ioredis'
import t from 'tap'
import { ReadBatch, type ReadingClient } from '../stores/read-batch.ts'
import { RedisStore } from '../stores/redis.ts'
import { findRedis, startRedis } from './support/redis-server.ts'

/** A client that notes what it is asked, and answers a key with its name. */
function createClient (overrides: Partial<ReadingClient> = {}): ReadingClient & { calls: string[] } {
  const calls: string[] = []
  return {
    calls,
    get: async (key) => { calls.push(`GET ${key}`); return key === 'none' ? null : `value of ${key}` },
    mget: async (keys) => { calls.push(`MGET ${keys.join(' ')}`); return keys.map((key) => key === 'none' ? null : `value of ${key}`) },
    ...overrides
  }
}

t.test('keys that are read in one turn of the event loop are requested together', async (t) => {
  const client = createClient()
  const batch = new ReadBatch(client)
  t.strictSame(await Promise.all(['a', 'none', 'b', 'a'].map((key) => batch.get(key))), ['value of a', null, 'value of b', 'value of a'])
  t.equal(await batch.get('alone'), 'value of alone')
  t.strictSame(client.calls, ['MGET a none b a', 'GET alone'])
})

t.test('a batch has a limited number of keys', async (t) => {
  const client = createClient()
  const batch = new ReadBatch(client)
  const keys = Array.from({ length: 1001 }, (_, index) => `${index}`)
  t.strictSame(await Promise.all(keys.map((key) => batch.get(key))), keys.map((key) => `value of ${key}`))
  t.strictSame(client.calls.map((call) => call.split(' ').length - 1), [500, 500, 1])
})

t.test('a cluster and a client without MGET are asked for each key separately', async (t) => {
  for (const overrides of [{ isCluster: true }, { mget: undefined }]) {
    const client = createClient()
    const batch = new ReadBatch(overrides.isCluster === true ? { ...client, isCluster: true } : { get: client.get })
    await Promise.all(['a', 'b'].map((key) => batch.get(key)))
    t.strictSame(client.calls, ['GET a', 'GET b'])
  }
})

t.test('once MGET has been refused, each key is asked for separately', async (t) => {
  for (const refusal of ['CROSSSLOT Keys in request don\'t hash to the same slot', 'NOPERM this user has no permissions to run the \'mget\' command', 'ERR unknown command \'mget\'']) {
    let refused = 0
    const client = createClient({ mget: async () => { refused++; throw new Error(refusal) } })
    const batch = new ReadBatch(client)
    for (let turn = 0; turn < 2; turn++) {
      t.strictSame(await Promise.all(['a', 'b'].map((key) => batch.get(key))), ['value of a', 'value of b'])
    }
    t.equal(refused, 1, refusal)
    t.equal(client.calls.length, 4)
  }
})

t.test('getMany of RedisStore reads 500 keys at a time by MGET, or each key separately without MGET', async (t) => {
  const keys = Array.from({ length: 1001 }, (_, index) => index === 7 ? 'none' : `${index}`)
  const refusing = async (): Promise<never> => { throw new Error('NOPERM this user has no permissions to run the \'mget\' command') }
  for (const [overrides, sizes] of [[{}, [500, 500, 1]], [{ isCluster: true }, keys.map(() => 1)], [{ mget: refusing }, keys.map(() => 1)]] as const) {
    const { calls, ...reading } = createClient(overrides)
    const store = new RedisStore({ keyPrefix: '', client: { ...reading, set: async () => 'OK', del: async () => 0, eval: async () => 0 } })
    t.strictSame(await store.getMany(keys), keys.map((key) => key === 'none' ? null : `value of ${key}`))
    t.strictSame(calls.map((call) => call.split(' ').length - 1), sizes)
  }
})

t.test('getMany of RedisStore rejects when Redis cannot be asked', async (t) => {
  const down = async (): Promise<never> => { throw new Error('Connection is closed.') }
  const store = new RedisStore({ client: { ...createClient({ mget: down }), set: async () => 'OK', del: async () => 0, eval: async () => 0 } })
  await t.rejects(store.getMany(Array.from({ length: 501 }, (_, index) => `${index}`)), { message: 'Connection is closed.' })
})

t.test('a client that throws synchronously rejects the read', async (t) => {
  const broken = (): never => { throw new Error('broken') }
  for (const overrides of [{ get: broken }, { get: broken, isCluster: true }, { get: broken, mget: async () => { throw new Error('CROSSSLOT') } }, { mget: broken }]) {
    const batch = new ReadBatch(createClient(overrides))
    const outcomes = await Promise.allSettled('isCluster' in overrides || !('mget' in overrides) ? [batch.get('a')] : [batch.get('a'), batch.get('b')])
    t.ok(outcomes.every(({ status }) => status === 'rejected'))
  }
})

t.test('reads work while a test has mocked the timers', async (t) => {
  mock.timers.enable()
  t.teardown(() => mock.timers.reset())
  t.equal(await new ReadBatch(createClient()).get('key'), 'value of key')
})

t.test('an outage rejects every read of the batch', async (t) => {
  const client = createClient({ mget: async () => { throw new Error('Connection is closed.') } })
  const batch = new ReadBatch(client)
  const outcomes = await Promise.allSettled(['a', 'b'].map((key) => batch.get(key)))
  t.strictSame(outcomes.map(({ status }) => status), ['rejected', 'rejected'])
  t.strictSame(client.calls, [])

  for (const answer of [[], ['one'], null]) {
    const odd = new ReadBatch(createClient({ mget: async () => Object(answer) }))
    const outcomes = await Promise.allSettled(['a', 'b'].map((key) => odd.get(key)))
    t.strictSame(outcomes.map(({ status }) => status), ['rejected', 'rejected'], JSON.stringify(answer))
  }
})

t.test('a string that cannot be taken apart rejects only its own read', async (t) => {
  const batch = new ReadBatch(createClient({ mget: async () => ['a', 'odd', 'c'] }))
  const partOf = (stored: string) => {
    if (stored === 'odd') throw new RangeError('odd')
    return stored.toUpperCase()
  }
  const outcomes = await Promise.allSettled(['a', 'b', 'c'].map((key) => batch.get(key, partOf)))
  t.match(outcomes, [{ value: 'A' }, { reason: { message: 'odd' } }, { value: 'C' }])
})

if (findRedis() !== null) {
  t.test('keys of several slots can be read from one node of a cluster', async (t) => {
    const server = await startRedis({ cluster: true })
    t.teardown(() => server.stop())
    const client = new Redis(server.port, '127.0.0.1')
    t.teardown(() => { client.disconnect() })
    const store = new RedisStore({ client })
    const keys = ['a', 'b', 'c']
    for (const key of keys) await store.set(key, key, { expiresAt: Date.now() + 60_000 })
    t.strictSame(await Promise.all(keys.map((key) => store.get(key))), keys)
  })
} else if (process.env['REQUIRE_REDIS'] === '1') {
  t.fail('redis-server is on PATH, as REQUIRE_REDIS=1 demands')
}

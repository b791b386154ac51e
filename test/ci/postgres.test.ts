import { Pool } from 'pg'
import t, { type Test } from 'tap'
import type { PostgresStore as Store } from '../../examples/postgres-store.ts'
import { storeTests, type StoreTestsOptions } from '../../stores/conformance.ts'
import { assertNothingLeaked, connect, createApp, startWebflow } from '../support/app.ts'
import { Browser } from '../support/browser.ts'
import { findPostgres, startPostgres } from '../support/postgres-server.ts'
import { createClock } from '../support/wrong-stores.ts'

interface Database {
  pool: Pool
  other: Pool
  /** Ends all connections and takes none, until the function that it resolves with is called. */
  interrupt: () => Promise<() => Promise<void>>
}

if (findPostgres() !== null) {
  // At the same time: each test has a database of its own.
  t.jobs = 3
  // Only here, so that the example counts for the coverage only where it is tested.
  const { PostgresStore } = await import('../../examples/postgres-store.ts')
  const server = await startPostgres()
  const admin = new Pool({ connectionString: server.urlOf('postgres'), max: 1 })
  t.teardown(async () => { await admin.end(); await server.stop() })

  t.test('PostgresStore keeps the contract on a clock that the test moves', async (t) => {
    const database = await createDatabase(t, 'by_the_clock')
    const clock = createClock()
    const tables = createTables({ now: () => clock.now() })
    await passes(t, { ...tables(database), clock, interrupt: database.interrupt })
  })

  t.test('PostgresStore keeps the contract on the real clock', async (t) => {
    const database = await createDatabase(t, 'by_the_real_clock')
    await passes(t, createTables({})(database))
  })

  t.test('`deleteExpired` deletes expired rows and nothing else', async (t) => {
    const { pool } = await createDatabase(t, 'expired')
    const clock = createClock()
    const store = new PostgresStore({ pool, table: 'odd "name', now: () => clock.now() })
    await store.createTable()
    await store.createTable()
    t.equal(await store.deleteExpired(), 0)
    const expiresAt = clock.now() + 1000
    const keys = Array.from({ length: 2100 }, (_, index) => `key ${index}`)
    await Promise.all(keys.map((key) => store.set(key, 'value', { expiresAt, tags: ['tag'] })))
    await store.set('later', 'value', { expiresAt: expiresAt + 1, tags: ['tag'] })
    clock.advance(1000)
    const [deleted, meanwhile, ...claims] = await Promise.all([
      store.deleteExpired(),
      store.deleteExpired(),
      ...keys.slice(0, 100).map((key) => store.set(key, 'new', { expiresAt: expiresAt + 1, if: null }))
    ])
    t.ok(claims.every(Boolean))
    t.equal(await store.deleteExpired() + deleted + meanwhile <= 2100, true)
    const { rows: [row] } = await pool.query('SELECT count(*)::int AS count FROM "odd ""name"')
    t.equal(row.count, 101)
    t.equal(await store.get('key 0'), 'new')
    t.strictSame(await store.find('tag'), { keys: ['later'], cursor: null })
  })

  t.test('any number of processes can create the table at once, and an error leaves no transaction behind', async (t) => {
    const { pool, other } = await createDatabase(t, 'created')
    for (let round = 0; round < 5; round++) {
      const stores = Array.from({ length: 40 }, (_, index) => new PostgresStore({ pool: index % 2 === 0 ? pool : other, table: `it's "${round}` }))
      await Promise.all(stores.map((store) => store.createTable()))
    }
    await pool.query('CREATE VIEW seen AS SELECT 1')
    await t.rejects(Promise.all([pool, other].map((pool) => new PostgresStore({ pool, table: 'seen' }).createTable())), { code: '42809' })
    const { rows: [left] } = await pool.query(`
      SELECT (SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = 'created')) AS locks,
        (SELECT count(*)::int FROM pg_stat_activity WHERE datname = 'created' AND state LIKE 'idle in transaction%') AS transactions`)
    t.strictSame(left, { locks: 0, transactions: 0 })
  })

  t.test('a table with the longest allowed name has its indexes, and a longer name is refused', async (t) => {
    const { pool } = await createDatabase(t, 'named')
    const table = 'é'.repeat(25)
    t.throws(() => new PostgresStore({ pool, table: `${table}x` }), { name: 'TypeError', message: /^`table` of PostgresStore is longer than 50 bytes/ })
    const store = new PostgresStore({ pool, table })
    await store.createTable()
    const { rows } = await pool.query('SELECT indexname FROM pg_indexes WHERE tablename = $1 ORDER BY indexname', [table])
    t.strictSame(rows.map(({ indexname }) => indexname).sort(), ['expires_at', 'pkey', 'tags'].map((name) => `${table}_${name}`))
  })

  t.test('people connect, come back and disconnect, and an outage is no logout', async (t) => {
    const { pool, other, interrupt } = await createDatabase(t, 'app')
    const [store, twin] = [pool, other].map((pool) => new PostgresStore({ pool }))
    t.ok(store && twin)
    if (store === undefined || twin === undefined) return
    await store.createTable()
    const webflow = await startWebflow(t)
    const browser = new Browser(await createApp(t, { webflow, options: { store } }))
    const elsewhere = await createApp(t, { webflow, options: { store: twin } })
    t.equal((await connect(browser, webflow)).statusCode, 303)
    t.equal((await browser.clone(elsewhere).get('/token')).json().connected, true)

    const restore = await interrupt()
    const refused = await browser.get('/token')
    await restore()
    t.equal(refused.statusCode, 503)
    t.equal(refused.json().code, 'WEBFLOW_OAUTH_STORE_UNAVAILABLE')

    t.equal((await browser.get('/token')).json().connected, true)
    t.strictSame((await browser.request('/webflow/revoke', { method: 'POST' })).json(), { revoked: true, upstream: 'revoked' })
    t.equal((await browser.clone(elsewhere).get('/token')).json().connected, false)
  })

  t.test('nothing that was logged holds a secret', { buffered: false }, async (t) => { assertNothingLeaked(t) })

  async function createDatabase (t: Test, name: string): Promise<Database> {
    await admin.query(`CREATE DATABASE ${name}`)
    const pools = [0, 1].map(() => new Pool({ connectionString: server.urlOf(name) }))
    const [pool, other] = pools
    if (pool === undefined || other === undefined) throw new Error('there are two')
    for (const pool of pools) {
      pool.on('error', () => {})
      t.teardown(() => pool.end())
    }
    return {
      pool,
      other,
      interrupt: async () => {
        await admin.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`)
        await admin.query('SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1', [name])
        return async () => {
          await admin.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`)
          // The pools must have noticed which of their connections are dead.
          while (pools.some(({ totalCount }) => totalCount > 0)) await new Promise((resolve) => { setImmediate(resolve) })
        }
      }
    }
  }

  /** Each store has a table of its own, and its twin has the same on the other pool. */
  function createTables (options: { now?: () => number }) {
    const tableOf = new WeakMap<Store, string>()
    let tables = 0
    const create = (pool: Pool, table: string): Store => {
      const store = new PostgresStore({ pool, table, ...options })
      tableOf.set(store, table)
      return store
    }
    return ({ pool, other }: Database) => ({
      createStore: async () => {
        const store = create(pool, `tokens_${++tables}`)
        await store.createTable()
        return store
      },
      connect: (store: Store) => create(other, tableOf.get(store) ?? '')
    })
  }
} else if (process.env['REQUIRE_POSTGRES'] === '1') {
  t.fail('PostgreSQL is installed, as REQUIRE_POSTGRES=1 demands')
} else {
  t.comment('No PostgreSQL here: the tests of the example on it were left out')
}

async function passes (t: Test, options: StoreTestsOptions<Store>): Promise<void> {
  for (const { title, run } of storeTests(options)) await t.test(title, async (t) => { await t.resolves(run()) })
}

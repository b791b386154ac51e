import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mock } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { SqliteStore, type SqliteStatement, type SqliteStoreOptions } from '../stores/sqlite.ts'
import { assertNothingLeaked, connect, createApp, startWebflow } from './support/app.ts'
import { Browser } from './support/browser.ts'
import { startExample } from './support/examples-process.ts'
import { Visitor } from './support/examples-visitor.ts'
import { freePort } from './support/free-port.ts'
import { loader, root, spawnNode } from './support/node-process.ts'
import { hasNodeSqlite, openDatabase, provideSqlite, rowsOf, type TestDatabase } from './support/sqlite.ts'
import { testStore } from './support/strict-store-tests.ts'

const inAnHour = (): number => Date.now() + 3_600_000
const childProgram = join(root, 'test/support/sqlite-child.ts')

// In memory, where the system has such a folder: on a busy disk, each file takes a while to be opened and closed.
const shared = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
const rootFolder = mkdtempSync(join(shared, 'sqlite-store-'))
t.teardown(() => { rmSync(rootFolder, { recursive: true, force: true }) })
let files = 0
const newPath = (): string => join(rootFolder, `${++files}.db`)
/** A folder with nothing else in it, into which a user without rights may look. */
const newFolder = (t: Test): string => {
  const folder = mkdtempSync(join(shared, 'sqlite-store-'))
  t.teardown(() => {
    chmodSync(folder, 0o700)
    rmSync(folder, { recursive: true, force: true })
  })
  return folder
}

/** Opens a store that is closed at the end of the test. */
function open (t: Test, options: SqliteStoreOptions): SqliteStore {
  const store = new SqliteStore(options)
  t.teardown(() => store.close())
  return store
}

/** Opens a connection that is closed at the end of the test. */
function openOwn (t: Test, path: string, options: { readOnly?: boolean } = {}): TestDatabase {
  const database = openDatabase(path, options)
  t.teardown(() => { try { database.close() } catch { /* closed by the test */ } })
  return database
}

/** All files of a folder with their content. */
function contentOf (folder: string): Record<string, string> {
  return Object.fromEntries(readdirSync(folder).sort().map((name) => [name, createHash('sha256').update(readFileSync(join(folder, name))).digest('hex')]))
}

/** Calls something with the rights of nobody in particular, since root may write anywhere. */
function unprivileged<T> (call: () => T): T {
  if (process.getuid?.() !== 0) return call()
  process.seteuid?.(65534)
  try {
    return call()
  } finally {
    process.seteuid?.(0)
  }
}

t.test('the contract', async (t) => {
  mock.timers.enable({ apis: ['Date'], now: 1_800_000_000_000 })
  t.teardown(() => mock.timers.reset())
  const clock = { now: () => Date.now(), advance: (milliseconds: number) => { mock.timers.tick(milliseconds) } }

  // On a file, SQLite as WebAssembly takes milliseconds for a call.
  if (!hasNodeSqlite) {
    const databases = new WeakMap<SqliteStore, TestDatabase>()
    await testStore(t, 'SqliteStore in memory', {
      clock,
      createStore: () => {
        const database = openDatabase(':memory:')
        const store = new SqliteStore({ database })
        databases.set(store, database)
        return store
      },
      closeStore: (store) => { databases.get(store)?.close() }
    })
    return
  }

  const paths = new WeakMap<SqliteStore, string>()
  const onPath = (path: string): SqliteStore => {
    const store = new SqliteStore({ path })
    paths.set(store, path)
    return store
  }
  await testStore(t, 'SqliteStore on a path', {
    clock,
    createStore: () => onPath(newPath()),
    connect: (store) => onPath(paths.get(store) ?? ''),
    closeStore: (store) => {
      store.close()
      rmSync(paths.get(store) ?? '', { force: true })
    }
  })

  const connections = new WeakMap<SqliteStore, TestDatabase>()
  const onDatabase = (path: string): SqliteStore => {
    const database = openDatabase(path)
    // Without WAL, a lock keeps readers out too.
    database.exec('PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF')
    const store = new SqliteStore({ database })
    paths.set(store, path)
    connections.set(store, database)
    return store
  }
  await testStore(t, 'SqliteStore on a database', {
    clock,
    createStore: () => onDatabase(newPath()),
    connect: (store) => onDatabase(paths.get(store) ?? ''),
    interrupt: async (store) => {
      const other = openDatabase(paths.get(store) ?? '')
      other.exec('BEGIN EXCLUSIVE')
      return () => { other.close() }
    },
    closeStore: (store) => {
      connections.get(store)?.close()
      rmSync(paths.get(store) ?? '', { force: true })
    }
  })
})

t.test('wrong options are refused', async (t) => {
  const database = openOwn(t, ':memory:')
  const refusals: Array<[unknown, RegExp]> = [
    [undefined, /^SqliteStore takes .*path, database/],
    [{ file: 'tokens.db' }, /`file`.*path, database/],
    [{}, /either `path` or `database`/],
    [{ path: undefined, database: undefined }, /either `path` or `database`/],
    [{ path: 'tokens.db', database }, /either `path` or `database`/],
    ...['', 5, null, new URL('file:///tokens.db')].map((path): [unknown, RegExp] => [{ path }, /`path`.*string/]),
    ...['tokens.db', null, {}, { exec () {} }, { prepare () {} }].map((database): [unknown, RegExp] => [{ database }, /`database`.*new DatabaseSync/])
  ]
  for (const [options, message] of refusals) t.throws(() => Reflect.construct(SqliteStore, [options]), { name: 'TypeError', message })
})

t.test('on a Node without node:sqlite, a path is refused with a remedy', async (t) => {
  if (hasNodeSqlite) {
    const removed = mock.method(process, 'getBuiltinModule', () => undefined)
    t.teardown(() => { removed.mock.restore() })
  }
  const path = newPath()
  t.throws(() => new SqliteStore({ path }), {
    code: 'SQLITE_STORE_NEEDS_NODE',
    message: `SqliteStore cannot use ${path}: Node ${process.versions.node} has no node:sqlite. Use Node 22.13 or later, or another store: RedisStore, or MemoryStore for development`
  })
  t.notOk(existsSync(path))
})

t.test('with node:sqlite', async (t) => {
  provideSqlite(t)
  t.test('values, deadlines and tags survive closing and reopening the file', async (t) => {
    const path = newPath()
    const expiresAt = inAnHour()
    const before = new SqliteStore({ path })
    await before.set('key', 'value', { expiresAt, tags: ['tag', 'other'] })
    await before.set('gone', 'value', { expiresAt, tags: ['tag'] })
    await before.delete('gone')
    before.close()

    const after = open(t, { path })
    t.equal(await after.get('key'), 'value')
    t.strictSame(await after.find('tag'), { keys: ['key'], cursor: null })
    t.strictSame(await after.find('other'), { keys: ['key'], cursor: null })
    t.equal(await after.set('key', 'new', { expiresAt, if: 'value' }), true)
    t.strictSame((await after.find('tag')).keys, [])
    mock.timers.enable({ apis: ['Date'], now: expiresAt })
    t.teardown(() => mock.timers.reset())
    t.equal(await after.get('key'), null)
  })

  t.test('the store sets its own file to WAL mode, and closing leaves one file', async (t) => {
    const folder = newFolder(t)
    const path = join(folder, 'tokens.db')
    const store = open(t, { path })
    await store.set('key', 'value', { expiresAt: inAnHour() })
    const other = openOwn(t, path)
    // SQLite as WebAssembly has no WAL.
    t.strictSame(rowsOf(other, 'PRAGMA journal_mode'), [[hasNodeSqlite ? 'wal' : 'delete']])
    other.close()
    store.close()
    t.strictSame(readdirSync(folder), ['tokens.db'])
  })

  t.test('a database of the app\'s keeps its settings, its tables and its connection', async (t) => {
    const path = newPath()
    const database = openOwn(t, path)
    database.exec('PRAGMA journal_mode = TRUNCATE; PRAGMA synchronous = EXTRA; PRAGMA busy_timeout = 123; PRAGMA user_version = 7; PRAGMA application_id = 8; CREATE TABLE users (id)')
    const store = new SqliteStore({ database })
    await store.set('key', 'value', { expiresAt: inAnHour() })
    const settings = ['journal_mode', 'synchronous', 'busy_timeout', 'user_version', 'application_id'].map((name) => rowsOf(database, `PRAGMA ${name}`)[0]?.[0])
    t.strictSame(settings, ['truncate', 3, 123, 7, 8])
    store.close()
    store.close()
    t.strictSame(rowsOf(database, 'SELECT count(*) FROM users'), [[0]], 'the connection is open')
    t.equal(await open(t, { database }).get('key'), 'value')
  })

  t.test('after close, every call rejects', async (t) => {
    const database = openOwn(t, newPath())
    for (const options of [{ path: newPath() }, { database }]) {
      const store = new SqliteStore(options)
      store.close()
      store.close()
      const closed = { code: 'SQLITE_STORE_CLOSED', message: /the store was closed$/ }
      await t.rejects(store.get('key'), closed)
      await t.rejects(store.getMany(['key']), closed)
      await t.rejects(store.set('key', 'value', { expiresAt: inAnHour() }), closed)
      await t.rejects(store.delete('key'), closed)
      await t.rejects(store.find('tag'), closed)
    }
  })

  t.test('a connection that the app has closed makes calls reject', async (t) => {
    const database = openDatabase(newPath())
    const store = open(t, { database })
    database.close()
    await t.rejects(store.get('key'), { name: 'SqliteFailure', code: 'SQLITE_ERROR', message: /^SqliteStore cannot use the `database`: ./ })
    t.throws(() => new SqliteStore({ database }), { name: 'SqliteFailure', code: 'SQLITE_ERROR' })
  })

  t.test('expired rows go, ten with each write, and no timer is started', async (t) => {
    mock.timers.enable({ apis: ['Date'], now: Date.now() })
    t.teardown(() => mock.timers.reset())
    const database = openOwn(t, newPath())
    database.exec('PRAGMA synchronous = OFF')
    const store = open(t, { database })
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
    const running = timers()
    for (let index = 0; index < 25; index++) await store.set(`short ${index}`, '', { expiresAt: Date.now() + 10 + index, tags: ['tag', 'other'] })
    t.equal(timers(), running)
    await store.set('long', '', { expiresAt: inAnHour(), tags: ['tag'] })
    mock.timers.tick(100)
    const counts = () => rowsOf(database, 'SELECT (SELECT count(*) FROM webflow_store_1), (SELECT count(*) FROM webflow_store_1_tags)')[0]
    t.strictSame(counts(), [26, 51])
    await store.set('long', '', { expiresAt: inAnHour(), tags: ['tag'] })
    t.strictSame(counts(), [16, 31])
    await store.set('long', '', { expiresAt: inAnHour(), tags: ['tag'], if: 'refused' })
    t.strictSame(counts(), [6, 11])
    t.strictSame(await store.find('tag', { limit: 5 }), { keys: [], cursor: '25' }, 'a page never looks at more rows than its limit')
    t.strictSame(await store.find('tag', { limit: 5, cursor: '25' }), { keys: ['long'], cursor: null })
    await store.set('long', '', { expiresAt: inAnHour(), tags: ['tag'] })
    t.strictSame(counts(), [1, 1])
  })

  t.test('every statement finds its rows by an index', async (t) => {
    const database = openOwn(t, newPath())
    const prepared: string[] = []
    open(t, { database: { exec: (sql) => database.exec(sql), prepare: (sql) => { prepared.push(sql); return database.prepare(sql) } } })
    // Statistics that would mislead the planner of SQLite.
    database.exec('ANALYZE; INSERT INTO sqlite_stat1 VALUES (\'webflow_store_1_tags\', \'webflow_store_1_tags\', \'100000 100000 1\'), (\'webflow_store_1\', NULL, \'3\'); ANALYZE sqlite_schema')
    const statements = prepared.filter((sql) => sql.includes('webflow_store_1'))
    t.equal(statements.length, 8)
    for (const sql of statements) {
      // The fourth column says what a step does.
      const steps = rowsOf(database, `EXPLAIN QUERY PLAN ${sql}`).map((row) => String(row[3])).join('; ')
      t.notMatch(steps, /SCAN|TEMP B-TREE/, sql)
    }
  })

  t.test('a connection may return rows as lists and numbers as bigints', async (t) => {
    const database = openOwn(t, newPath())
    const asList = (row: unknown): unknown => row === undefined ? row : Object.values(Object(row)).map((value) => typeof value === 'number' ? BigInt(value) : value)
    const prepare = (sql: string): SqliteStatement => {
      const statement = database.prepare(sql)
      return {
        get: (...values) => asList(statement.get(...values)),
        all: (...values) => statement.all(...values).map(asList),
        run: (...values) => ({ changes: BigInt(statement.run(...values).changes) })
      }
    }
    const store = open(t, { database: { exec: (sql) => database.exec(sql), prepare } })
    for (const key of ['a', 'b']) t.equal(await store.set(key, key, { expiresAt: inAnHour(), tags: ['tag'], if: null }), true)
    t.equal(await store.set('a', '', { expiresAt: inAnHour(), if: null }), false)
    t.strictSame(await store.getMany(['b', 'c', 'a']), ['b', null, 'a'])
    t.strictSame(await store.find('tag', { limit: 1 }), { keys: ['a'], cursor: '1' })
    t.strictSame(await store.find('tag', { limit: 1, cursor: '1' }), { keys: ['b'], cursor: null })
  })

  t.test('a value that somebody has changed by hand is returned as it is, and does not keep others from being read', async (t) => {
    const database = openOwn(t, newPath())
    const store = open(t, { database })
    for (const key of ['changed', 'other']) await store.set(key, key, { expiresAt: inAnHour(), tags: ['tag'] })
    database.exec('UPDATE webflow_store_1 SET value = \'not "JSON\' WHERE value = \'"changed"\'')
    t.equal(await store.get('changed'), 'not "JSON')
    t.strictSame(await store.getMany((await store.find('tag')).keys), ['not "JSON', 'other'])
    t.equal(await store.delete('changed'), true)
  })

  t.test('a missing folder, or a folder instead of a file, is refused', async (t) => {
    const folder = newFolder(t)
    for (const path of [join(folder, 'missing', 'tokens.db'), folder]) {
      t.throws(() => new SqliteStore({ path }), { code: 'SQLITE_CANTOPEN', message: `SqliteStore cannot use ${path}: it cannot be opened. Does its folder exist, and may this process write the file, and create files beside it?` })
    }
    t.strictSame(readdirSync(folder), [])
  })

  t.test('a file that is not a database is refused and not changed', async (t) => {
    const folder = newFolder(t)
    const path = join(folder, 'notes.txt')
    for (const text of ['Do not lose this.\n', 'Nor this. '.repeat(1000)]) {
      writeFileSync(path, text)
      t.throws(() => new SqliteStore({ path }), { code: 'SQLITE_NOTADB', message: `SqliteStore cannot use ${path}: it is not an SQLite database. Nothing was changed: choose another \`path\`` })
      t.equal(readFileSync(path, 'utf8'), text)
    }
    t.strictSame(readdirSync(folder), ['notes.txt'])
  })

  t.test('an empty file is accepted', async (t) => {
    const path = newPath()
    writeFileSync(path, '')
    t.equal(await open(t, { path }).set('key', 'value', { expiresAt: inAnHour() }), true)
  })

  t.test('a database of another program is refused and not changed', async (t) => {
    for (const mode of ['DELETE', 'WAL']) {
      const folder = newFolder(t)
      const path = join(folder, 'app.db')
      const database = openDatabase(path)
      database.exec(`PRAGMA journal_mode = ${mode}; CREATE TABLE users (name TEXT); INSERT INTO users VALUES ('Ada')`)
      database.close()
      const content = contentOf(folder)
      t.throws(() => new SqliteStore({ path }), { code: 'SQLITE_STORE_FOREIGN', message: `SqliteStore cannot use ${path}: it is a database of another program. Nothing was changed: choose another \`path\`. To share a file with your app, pass its connection as \`database\`` })
      t.strictSame(contentOf(folder), content, mode)
    }
  })

  t.test('a file of the store is accepted even if the app has added tables to it', async (t) => {
    const path = newPath()
    const first = open(t, { path })
    await first.set('key', 'value', { expiresAt: inAnHour() })
    first.close()
    const database = openOwn(t, path)
    database.exec('CREATE TABLE users (name TEXT)')
    database.close()
    t.equal(await open(t, { path }).get('key'), 'value')
  })

  t.test('tables of a newer version are refused and not changed', async (t) => {
    const folder = newFolder(t)
    const path = join(folder, 'tokens.db')
    const database = openOwn(t, path)
    database.exec('CREATE TABLE webflow_store_2 (key, value); CREATE TABLE webflow_store_12_tags (tag)')
    t.throws(() => new SqliteStore({ database }), { code: 'SQLITE_STORE_NEWER', message: 'SqliteStore cannot use the `database`: a newer version of fastify-webflow-oauth has written it. Nothing was changed: use that version' })
    database.close()
    const content = contentOf(folder)
    t.throws(() => new SqliteStore({ path }), { code: 'SQLITE_STORE_NEWER' })
    t.strictSame(contentOf(folder), content)
  })

  t.test('a read-only database is refused', async (t) => {
    const path = newPath()
    openDatabase(path).close()
    const readOnly = { code: 'SQLITE_READONLY', message: 'SqliteStore cannot use the `database`: it is read-only, or was moved or deleted. May this process write the file, and create files beside it?' }
    writeFileSync(path, '')
    t.throws(() => new SqliteStore({ database: openOwn(t, path, { readOnly: true }) }), readOnly)
    open(t, { path }).close()
    t.throws(() => new SqliteStore({ database: openOwn(t, path, { readOnly: true }) }), readOnly, 'also when its tables are there')
  })

  t.test('a read-only file and a read-only folder are refused, and the values stay', async (t) => {
    const folder = newFolder(t)
    const path = join(folder, 'tokens.db')
    const before = new SqliteStore({ path })
    await before.set('key', 'value', { expiresAt: inAnHour() })
    before.close()
    // SQLite as WebAssembly opens no file read-only by itself, and locks by a folder beside the file.
    const codes = hasNodeSqlite ? ['SQLITE_READONLY', 'SQLITE_READONLY'] : ['SQLITE_CANTOPEN', 'SQLITE_IOERR']
    const refusal = (path: string): unknown => {
      try {
        return unprivileged(() => open(t, { path }))
      } catch (error) {
        return error
      }
    }
    chmodSync(path, 0o444)
    chmodSync(folder, 0o777)
    t.match(refusal(path), { name: 'SqliteFailure', code: codes[0] })
    chmodSync(path, 0o666)
    chmodSync(folder, 0o555)
    t.match(refusal(path), { name: 'SqliteFailure', code: codes[1] })
    t.match(refusal(join(folder, 'new.db')), { name: 'SqliteFailure', code: 'SQLITE_CANTOPEN' })
    chmodSync(folder, 0o700)
    t.equal(await open(t, { path }).get('key'), 'value')
  })

  t.test('a damaged file makes calls reject instead of losing keys', async (t) => {
    const path = newPath()
    const before = new SqliteStore({ path })
    for (let index = 0; index < 50; index++) await before.set(`key ${index}`, 'x'.repeat(1000), { expiresAt: inAnHour() })
    before.close()
    const content = readFileSync(path)
    writeFileSync(path, content.fill(0xff, Math.floor(content.length / 2)))
    const store = open(t, { path })
    const outcomes = await Promise.all(Array.from({ length: 50 }, (_, index) => store.get(`key ${index}`).then((value) => String(value).length, (error: unknown) => Object(error).code)))
    t.ok(outcomes.includes('SQLITE_CORRUPT'))
    t.notOk(outcomes.some((outcome) => outcome !== 1000 && outcome !== 'SQLITE_CORRUPT'))
  })

  t.test('a full disk makes a write reject, and nothing is lost', async (t) => {
    const database = openOwn(t, newPath())
    database.exec('PRAGMA synchronous = OFF')
    const store = open(t, { database })
    const value = 'x'.repeat(2000)
    await store.set('kept', value, { expiresAt: inAnHour(), tags: ['tag'] })
    const pages = Number(rowsOf(database, 'PRAGMA page_count')[0]?.[0])
    database.exec(`PRAGMA max_page_count = ${pages + 6}`)
    const written: string[] = []
    let failure: unknown
    while (failure === undefined && written.length < 100) {
      const key = `key ${written.length}`
      await store.set(key, value, { expiresAt: inAnHour(), tags: ['tag'] }).then(() => { written.push(key) }, (error: unknown) => { failure = error })
    }
    t.match(failure, { code: 'SQLITE_FULL', message: 'SqliteStore cannot use the `database`: the disk is full, or the database has reached its largest size. Nothing was written' })
    await t.rejects(store.set('kept', value.repeat(20), { expiresAt: inAnHour(), if: value }), { code: 'SQLITE_FULL' })
    t.ok(written.length > 0)
    t.strictSame(await store.getMany(['kept', ...written, `key ${written.length}`]), [value, ...written.map(() => value), null])
    t.strictSame((await store.find('tag')).keys, ['kept', ...written])

    database.exec('PRAGMA max_page_count = 1000')
    t.equal(await store.set(`key ${written.length}`, value, { expiresAt: inAnHour() }), true, 'and it works again once there is room')
  })

  t.test('on a full disk, dropping expired rows makes room', async (t) => {
    mock.timers.enable({ apis: ['Date'], now: Date.now() })
    t.teardown(() => mock.timers.reset())
    const database = openOwn(t, newPath())
    const store = open(t, { database })
    for (let index = 0; index < 10; index++) await store.set(`short ${index}`, 'x'.repeat(3000), { expiresAt: Date.now() + 10 })
    database.exec(`PRAGMA max_page_count = ${Number(rowsOf(database, 'PRAGMA page_count')[0]?.[0])}`)
    await t.rejects(store.set('key', 'x'.repeat(10_000), { expiresAt: inAnHour() }), { code: 'SQLITE_FULL' })
    mock.timers.tick(10)
    t.equal(await store.set('key', 'x'.repeat(10_000), { expiresAt: inAnHour() }), true)
  })

  /** Locks a file as another program would, for reading and writing. */
  function lock (t: Test, path: string): TestDatabase {
    const other = openOwn(t, path)
    other.exec('BEGIN EXCLUSIVE')
    return other
  }

  /** Counts how often the event loop comes round. */
  function countTurns (t: Test): () => number {
    let turns = 0
    const timer = setInterval(() => { turns++ }, 5)
    t.teardown(() => { clearInterval(timer) })
    return () => turns
  }

  t.test('while another connection holds a lock, a write waits for at most half a second and does not block the event loop', async (t) => {
    const path = newPath()
    const store = open(t, { path })
    await store.set('key', 'old', { expiresAt: inAnHour() })
    const other = lock(t, path)
    const turns = countTurns(t)
    const began = performance.now()
    await t.rejects(store.set('key', 'new', { expiresAt: inAnHour() }), { code: 'SQLITE_BUSY', message: `SqliteStore cannot use ${path}: another connection has kept it locked for 500 ms. Does a program hold a transaction open?` })
    const took = performance.now() - began
    t.ok(took >= 500 && took < 1000, `after ${took} ms`)
    t.ok(turns() > 5, `${turns()} turns`)
    await t.rejects(store.delete('key'), { code: 'SQLITE_BUSY' })
    other.exec('ROLLBACK')
    t.equal(await store.get('key'), 'old')
  })

  t.test('a write succeeds if the lock is released in time', async (t) => {
    const path = newPath()
    const store = open(t, { path })
    const other = lock(t, path)
    const write = store.set('key', 'value', { expiresAt: inAnHour(), tags: ['tag'], if: null })
    await sleep(50)
    other.exec('COMMIT')
    t.equal(await write, true)
    t.equal(await store.get('key'), 'value')
  })

  t.test('a file that is locked when the store is created is opened by the first call', async (t) => {
    const path = newPath()
    const other = lock(t, path)
    const store = open(t, { path })
    await t.rejects(store.get('key'), { code: 'SQLITE_BUSY' })
    const write = store.set('key', 'value', { expiresAt: inAnHour() })
    await sleep(50)
    other.exec('ROLLBACK')
    t.equal(await write, true)
  })

  t.test('a store that is closed while it waits for a lock rejects', async (t) => {
    const path = newPath()
    const store = open(t, { path })
    lock(t, path)
    const write = store.set('key', 'value', { expiresAt: inAnHour() })
    store.close()
    await t.rejects(write, { code: 'SQLITE_STORE_CLOSED' })
  })

  t.test('the store writes nothing while the app has a transaction open', async (t) => {
    const database = openOwn(t, newPath())
    // Node 22.13 does not tell.
    if (database.isTransaction === undefined) return
    database.exec('BEGIN')
    const store = open(t, { database })
    database.exec('ROLLBACK')
    await store.set('key', 'old', { expiresAt: inAnHour() })
    database.exec('BEGIN')
    await t.rejects(store.set('key', 'new', { expiresAt: inAnHour() }), { code: 'SQLITE_BUSY', message: 'SqliteStore cannot use the `database`: the app has left a transaction open on it. Use a connection on which no transaction stays open across an await' })
    t.equal(await store.get('key'), 'old')
    const write = store.set('key', 'new', { expiresAt: inAnHour() })
    await sleep(20)
    database.exec('ROLLBACK')
    t.equal(await write, true)
    t.equal(await store.get('key'), 'new')
  })

  t.test('a user stays connected when the app starts again on the same file', async (t) => {
    const path = newPath()
    const webflow = await startWebflow(t)
    const first = new SqliteStore({ path })
    const before = await createApp(t, { webflow, options: { store: first } })
    const browser = new Browser(before)
    t.equal((await connect(browser, webflow)).statusCode, 303)
    const { id } = (await browser.get('/token')).json()
    await before.close()
    first.close()

    const second = open(t, { path })
    const after = await createApp(t, { webflow, options: { store: second } })
    const later = browser.clone(after)
    t.strictSame((await later.get('/token')).json()['id'], id)
    const tokens = []
    for await (const token of after.webflowOAuth.listTokens()) tokens.push(token.id)
    t.strictSame(tokens, [id])
    t.equal((await later.request('/webflow/revoke', { method: 'POST' })).statusCode, 200)
    t.strictSame((await later.get('/token')).json()['connected'], false)
  })

  t.test('a locked or closed file is STORE_UNAVAILABLE, not a logout', async (t) => {
    const path = newPath()
    const webflow = await startWebflow(t)
    const database = openOwn(t, path)
    const store = open(t, { database })
    const app = await createApp(t, { webflow, options: { store } })
    const browser = new Browser(app)
    await connect(browser, webflow)
    const other = lock(t, path)
    const locked = await browser.get('/token')
    t.equal(locked.statusCode, 503)
    t.equal(locked.json()['code'], 'WEBFLOW_OAUTH_STORE_UNAVAILABLE')
    other.exec('ROLLBACK')
    t.equal((await browser.get('/token')).json()['connected'], true)
    store.close()
    t.equal((await browser.get('/token')).statusCode, 503)
  })
})

if (hasNodeSqlite) {
  t.test('several processes on one file', async (t) => {
    t.test('lose no update, and see each other\'s writes', async (t) => {
      const path = newPath()
      const store = open(t, { path })
      await store.set('count', '0', { expiresAt: inAnHour(), tags: ['numbers'] })
      const children = ['one', 'two'].map((name) => spawnNode([...loader, childProgram, path, 'count', name]))
      const printed = children.map((child) => child.stderr.setEncoding('utf8').toArray())
      const ended = new AbortController()
      let reads = 0
      const watch = async (): Promise<void> => {
        for (let last = 0; !ended.signal.aborted; reads++) {
          const count = Number(await store.get('count'))
          if (!(count >= last)) t.fail(`the count fell from ${last} to ${count}`)
          last = count
          if (!(await store.find('numbers')).keys.includes('count')) t.fail('the count was not found by its tag')
          await sleep(5)
        }
      }
      const watching = watch()
      const codes = await Promise.all(children.map(async (child) => (await once(child, 'exit'))[0]))
      ended.abort()
      await watching
      t.strictSame(codes, [0, 0], String(await Promise.all(printed)))
      t.ok(reads > 5)
      t.equal(await store.get('count'), '400')
      const steps: string[] = []
      for (let cursor: string | null | undefined; cursor !== null;) {
        const page = await store.find('steps', cursor === undefined ? {} : { cursor })
        steps.push(...page.keys)
        cursor = page.cursor
      }
      t.equal(new Set(steps).size, 400)
      t.equal((await store.find('one', { limit: 1000 })).keys.length, 200)
    })

    t.test('a crash in the middle of a write loses nothing that was written, and leaves every value whole', async (t) => {
      const path = newPath()
      for (const name of ['first', 'second', 'third']) {
        const child = spawnNode([...loader, childProgram, path, 'fill', name])
        let printed = ''
        child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
          printed += chunk
          if (printed.split('\n').length > 100) child.kill('SIGKILL')
        })
        const [, signal] = await once(child, 'close')
        t.equal(signal, 'SIGKILL', printed.slice(-200))
        // The last line may have been cut.
        const acknowledged = printed.split('\n').slice(0, -1)
        const store = new SqliteStore({ path })
        const { keys } = await store.find('filled', { limit: 1000 })
        t.strictSame(acknowledged.filter((key) => !keys.includes(key)), [], 'all that resolved is there')
        t.strictSame(await store.getMany(keys), keys.map((key) => `${key} `.repeat(200)), 'and every value is whole')
        store.close()
      }
      const database = openOwn(t, path)
      t.strictSame(rowsOf(database, 'PRAGMA integrity_check'), [['ok']])
      const strays = 'SELECT count(*) FROM webflow_store_1_tags WHERE id NOT IN (SELECT id FROM webflow_store_1)'
      t.strictSame(rowsOf(database, strays), [[0]])
    })

    t.test('a full disk makes a write reject, and keeps earlier writes', async (t) => {
      const path = newPath()
      // The shell allows files of 1 MiB.
      const child = spawn('bash', ['-c', 'ulimit -f 1024; exec env -u NODE_OPTIONS "$0" "$@"', process.execPath, ...loader, childProgram, path, 'fill', 'key'], { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] })
      let printed = ''
      child.stdout.setEncoding('utf8').on('data', (chunk: string) => { printed += chunk })
      const [code] = await once(child, 'close')
      const lines = printed.trimEnd().split('\n')
      t.match(lines.pop(), /^SqliteStore cannot use .*: the disk (?:does not read or write|is full)/)
      t.equal(code, 1)
      t.ok(lines.length > 20)
      const store = open(t, { path })
      t.strictSame(await store.getMany(lines), lines.map((key) => `${key} `.repeat(200)))
    })

    t.test('the demo remembers a visitor over a restart', async (t) => {
      const env = { PORT: String(await freePort()), DEMO_FOLDER: newFolder(t) }
      const start = () => startExample(t, 'examples/demo/main.ts', { env, up: /^Open (http:\S+)/m })
      const visitor = new Visitor()
      const before = await start()
      await visitor.open(before.found)
      await visitor.click('Connect Webflow')
      t.match((await visitor.press('Approve')).text, 'Connected Your Webflow sites')
      t.equal(await before.stop(), 0)

      const after = await start()
      const page = await visitor.open(after.found)
      t.match(page.text, /Connected Your Webflow sites .*Difference Engine/)
      t.match(page.text, 'Tokens are kept in a file')
      await after.printed(/^Tokens are kept in \/.*\.db$/m)
      t.match((await visitor.press('Disconnect')).text, 'Webflow is disconnected')
      t.equal(await after.stop(), 0)
    })

    t.test('many processes may open a new file at once', async (t) => {
      const path = newPath()
      const children = ['one', 'two', 'three'].map((name) => spawnNode([...loader, childProgram, path, 'count', name]))
      const codes = await Promise.all(children.map(async (child) => (await once(child, 'exit'))[0]))
      t.strictSame(codes, [0, 0, 0])
      t.equal(await open(t, { path }).get('count'), '600')
    })
  })
}

t.test('no secret was logged', async (t) => { assertNothingLeaked(t) })

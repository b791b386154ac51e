import { setTimeout as sleep } from 'node:timers/promises'
import { assertCursor, assertExpiresAt, assertLimit, assertOptions } from './assert.ts'
import { assertNoTransaction, openFile, setUp, valuesOf, type OwnDatabase, type SqliteDatabase, type SqliteStatement, type Statements } from './sqlite-database.ts'
import { failureOf, SqliteFailure } from './sqlite-failure.ts'
import type { SetOptions, TokenStore } from './token-store.ts'

export type { SqliteDatabase, SqliteStatement }

/**
 * Options of `SqliteStore`: a `path` or a `database`.
 */
export type SqliteStoreOptions =
  | {
    /**
     * The file of the store. Its folder must exist; the file is created if it is missing. No other program may keep tables in it.
     * Several processes on one host may use it at once. Needs Node 22.13 or later.
     */
    path: string
    database?: undefined
  }
  | {
    /**
     * A connection that the app has made by `new DatabaseSync()` of node:sqlite. The store adds tables whose names begin with
     * `webflow_store_`. It never closes or configures the connection. No transaction may stay open on it across an await.
     */
    database: SqliteDatabase
    path?: undefined
  }

// How long a call tries again while the database is locked, and the pause between two tries, in milliseconds.
const PATIENCE = 500
const PAUSE = 10

// SQLite reads synchronously: a longer page would block the event loop for longer.
const LARGEST_PAGE = 1000

/**
 * Keeps tokens in an SQLite file, for an app on one machine. The tokens survive a restart.
 * Promises reject with an error that says what is wrong with the file, for example that it is locked, read-only, full or damaged.
 * Expired rows are deleted by later writes. The store starts a timer only while the file is locked.
 */
export class SqliteStore implements TokenStore {
  readonly #database: SqliteDatabase
  /** The connection that `close` must close. Null if the connection belongs to the app, or is closed. */
  #own: OwnDatabase | null = null
  readonly #path: string | null
  #statements: Statements | null = null
  #isClosed = false

  /**
   * Opens the file, or uses the app's connection, and creates the tables if they are missing.
   * Throws a TypeError on an unknown option or a wrong type. Throws an Error that says what to do if Node has no node:sqlite, or
   * the database cannot be used: for example, its folder is missing, it is read-only, or it belongs to another program.
   * Does not throw if the database is locked: the first call tries again.
   */
  constructor (options: SqliteStoreOptions) {
    assertOptions('SqliteStore', options, ['path', 'database'])
    assertOneOf(options)
    this.#path = options.path ?? null
    this.#database = options.path === undefined ? options.database : this.#open(options.path)
    try {
      this.#ready()
    } catch (error) {
      const failure = this.#failureOf(error)
      if (failure.code === 'SQLITE_BUSY') return
      this.close()
      throw failure
    }
  }

  // There is no `getSync`: SQLite may have to read from the disk, and `getSync` must never wait for a disk.
  /** Resolves with the value, or with null when the key is unknown or expired. */
  async get (key: string): Promise<string | null> {
    return await this.#call(({ get }) => read(get, key))
  }

  /** Resolves with the value of each key, or null when the key is unknown or expired, in the order of the keys. */
  async getMany (keys: readonly string[]): Promise<Array<string | null>> {
    return await this.#call(({ get }) => keys.map((key) => read(get, key)))
  }

  /**
   * Writes value, deadline and tags together, and resolves whether it wrote.
   * Rejects with a TypeError when `expiresAt` is not an integer.
   */
  async set (key: string, value: string, options: SetOptions): Promise<boolean> {
    const { expiresAt, tags = [] } = options
    assertExpiresAt(expiresAt)
    const row = [encode(value), JSON.stringify(tags.map(encode)), expiresAt] as const
    const condition = options.if
    return await this.#write((statements) => {
      const now = Date.now()
      dropExpired(statements, now)
      if (condition === undefined) return statements.set.run(encode(key), ...row)
      if (condition === null) return statements.setIfUnknown.run(encode(key), ...row, now)
      return statements.setIfEqual.run(...row, encode(key), now, encode(condition))
    })
  }

  /** Deletes the key, with `if` only while its value is exactly that string, and resolves whether it deleted a value. */
  async delete (key: string, options: { if?: string } = {}): Promise<boolean> {
    const condition = options.if
    return await this.#write((statements) => condition === undefined
      ? statements.delete.run(encode(key), Date.now())
      : statements.deleteIfEqual.run(encode(key), Date.now(), encode(condition)))
  }

  /**
   * Resolves with the keys whose current value was set with the tag, in the order in which the keys came.
   * A page may hold fewer keys than the limit, even none. Only the last page has the cursor null.
   * Pages hold 100 keys by default and 1,000 at most. Rejects with a TypeError on an invalid limit or cursor.
   */
  async find (tag: string, options: { limit?: number, cursor?: string } = {}): Promise<{ keys: string[], cursor: string | null }> {
    const { limit = 100, cursor = '0' } = options
    assertLimit(limit)
    assertCursor(cursor, /^\d{1,16}$/)
    const size = Math.min(limit, LARGEST_PAGE)
    // One row more than the page is read: it shows whether there is a next page.
    const rows = await this.#call(({ find }) => find.all(Date.now(), encode(tag), Number(cursor), size + 1).map(valuesOf))
    const page = rows.slice(0, size)
    return {
      keys: page.flatMap(([, key, isLiving]) => Number(isLiving) === 1 ? [decode(key)] : []),
      cursor: rows.length > size ? String(page.at(-1)?.[0]) : null
    }
  }

  /**
   * Closes the file that the store has opened. Leaves a `database` of the app's open. Calls reject from then on.
   * Closing again does nothing.
   */
  close (): void {
    this.#isClosed = true
    this.#own?.close()
    this.#own = null
  }

  async #write (run: (statements: Statements) => { changes: number | bigint }): Promise<boolean> {
    return await this.#call((statements) => {
      assertNoTransaction(this.#database)
      return Number(run(statements).changes) === 1
    })
  }

  /**
   * Calls SQLite, and tries again while the database is locked. SQLite itself would wait by blocking the event loop. Therefore
   * the store's own connection has no busy timeout.
   */
  async #call<T> (run: (statements: Statements) => T): Promise<T> {
    const startedAt = performance.now()
    for (;;) {
      try {
        return run(this.#ready())
      } catch (error) {
        const failure = this.#failureOf(error)
        if (failure.code !== 'SQLITE_BUSY' || performance.now() - startedAt >= PATIENCE) throw failure
      }
      await sleep(PAUSE)
    }
  }

  #open (path: string): SqliteDatabase {
    try {
      this.#own = openFile(path)
      return this.#own
    } catch (error) {
      throw this.#failureOf(error)
    }
  }

  /** Sets the database up, unless the constructor has done so already. The constructor could not if the database was locked. */
  #ready (): Statements {
    if (this.#isClosed) throw new SqliteFailure('SQLITE_STORE_CLOSED', 'the store was closed')
    this.#statements ??= setUp(this.#database, this.#path)
    return this.#statements
  }

  #failureOf (error: unknown): SqliteFailure {
    return failureOf(error, this.#path ?? 'the `database`')
  }
}

function assertOneOf ({ path, database }: { path?: unknown, database?: unknown }): void {
  if ((path === undefined) === (database === undefined)) {
    throw new TypeError('SqliteStore takes either `path` or `database`: pass the path of a file, or a connection made by new DatabaseSync()')
  }
  if (database === undefined) {
    if (typeof path !== 'string' || path === '') throw new TypeError('`path` of SqliteStore is not the path of a file: pass a string, like \'./tokens.db\'')
    return
  }
  const { exec, prepare } = Object(database)
  if (typeof exec !== 'function' || typeof prepare !== 'function') {
    throw new TypeError('`database` of SqliteStore is not a connection of node:sqlite: pass new DatabaseSync(path)')
  }
}

function read (statement: SqliteStatement, key: string): string | null {
  const [value] = valuesOf(statement.get(encode(key), Date.now()))
  return value === undefined ? null : decode(value)
}

/** Drops some expired rows. A failure here is ignored: a write follows at once and reports what is wrong. */
function dropExpired (statements: Statements, now: number): void {
  try {
    statements.dropExpired.run(now)
  } catch {
    // See above.
  }
}

/**
 * Writes a text as JSON. JSON has no NUL, at which node:sqlite would cut the text when it reads it, and no lone surrogates,
 * which are not UTF-8.
 */
function encode (text: string): string {
  return JSON.stringify(text)
}

/** Undoes `encode`. Returns a text that is not JSON as it is: the store has not written it, and its reader finds that out. */
function decode (text: unknown): string {
  try {
    return String(JSON.parse(String(text)))
  } catch {
    return String(text)
  }
}

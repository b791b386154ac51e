import { createRequire } from 'node:module'
import { mock } from 'node:test'
import type { Database, Statement } from 'node-sqlite3-wasm'
import type { Test } from 'tap'
import type { OwnDatabase, SqliteStatement } from '../../stores/sqlite-database.ts'

/** A connection, with the methods that only the tests use. */
export interface TestDatabase extends OwnDatabase {
  readonly isTransaction?: boolean
}

// It is required, because Node would find no named exports with `import`.
const wasm: typeof import('node-sqlite3-wasm') = createRequire(import.meta.url)('node-sqlite3-wasm')
const { DatabaseSync: NodeDatabase } = Object(process.getBuiltinModule('node:sqlite'))

/** Whether this Node has node:sqlite. If not, SQLite runs as WebAssembly, for one process and without WAL. */
export const hasNodeSqlite = typeof NodeDatabase === 'function'

/** Opens a database as an app does, with node:sqlite where Node has it. */
export function openDatabase (path: string, options: { readOnly?: boolean } = {}): TestDatabase {
  return hasNodeSqlite ? new NodeDatabase(path, options) : new WasmDatabase(path, options)
}

/** Lets the option `path` of the store work on a Node without node:sqlite too, for the length of a test. */
export function provideSqlite (t: Test): void {
  if (hasNodeSqlite) return
  const provided = mock.method(process, 'getBuiltinModule', () => ({ DatabaseSync: WasmDatabase }))
  t.teardown(() => { provided.mock.restore() })
}

/** Reads all rows of a query, as lists of columns. */
export function rowsOf (database: TestDatabase, sql: string): unknown[][] {
  return database.prepare(sql).all().map((row) => Object.values(Object(row)))
}

// The codes by the messages of SQLite, because node-sqlite3-wasm does not keep the codes.
const codes: ReadonlyArray<readonly [message: string, errcode: number]> = [
  ['database is locked', 5],
  ['attempt to write a readonly database', 8],
  ['disk I/O error', 10],
  ['database disk image is malformed', 11],
  ['database or disk is full', 13],
  ['ould not open the database', 14],
  ['unable to open database file', 14],
  ['file is not a database', 26]
]

function withCodes<T> (call: () => T): T {
  try {
    return call()
  } catch (error) {
    const { message } = Object(error)
    const errcode = codes.find(([text]) => String(message).includes(text))?.[1] ?? 1
    throw Object.assign(new Error(String(message)), { code: 'ERR_SQLITE_ERROR', errcode })
  }
}

/** Gives node-sqlite3-wasm the interface of node:sqlite's `DatabaseSync`. */
class WasmDatabase implements TestDatabase {
  readonly #database: Database
  readonly #statements = new Set<Statement>()

  constructor (path: string, { readOnly = false }: { readOnly?: boolean } = {}) {
    this.#database = withCodes(() => new wasm.Database(path, { readOnly }))
  }

  get isTransaction (): boolean {
    return this.#database.inTransaction
  }

  exec (sql: string): void {
    withCodes(() => { this.#database.exec(sql) })
  }

  prepare (sql: string): SqliteStatement {
    const prepared = (): Statement => {
      const statement = this.#database.prepare(sql)
      this.#statements.add(statement)
      return statement
    }
    let current: Statement | null = withCodes(prepared)
    const call = <T>(use: (statement: Statement) => T): T => {
      const statement = current ??= withCodes(prepared)
      try {
        return withCodes(() => use(statement))
      } catch (error) {
        // A statement that has failed cannot run again, and throws the same error again when it is finalized.
        this.#statements.delete(statement)
        current = null
        try { statement.finalize() } catch {}
        throw error
      }
    }
    return {
      // The `get` of node-sqlite3-wasm would keep the lock until the statement runs again.
      get: (...values) => call((statement) => statement.all(values)[0]),
      all: (...values) => call((statement) => statement.all(values)),
      run: (...values) => call((statement) => statement.run(values))
    }
  }

  close (): void {
    for (const statement of this.#statements) statement.finalize()
    this.#statements.clear()
    this.#database.close()
  }
}

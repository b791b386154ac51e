/**
 * The error with which `SqliteStore` throws and rejects when the database fails. For a wrong argument it is a TypeError instead.
 */
export class SqliteFailure extends Error {
  override readonly name = 'SqliteFailure'
  /** SQLite's name for the failure, like `SQLITE_FULL`, or a name of the store's own, like `SQLITE_STORE_CLOSED`. */
  readonly code: string

  constructor (code: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
  }
}

/** The code and the explanation of each known failure, by SQLite's primary result code. */
const PROBLEMS: ReadonlyMap<number, readonly [code: string, problem: string]> = new Map([
  [5, ['SQLITE_BUSY', 'another connection has kept it locked for 500 ms. Does a program hold a transaction open?']],
  [8, ['SQLITE_READONLY', 'it is read-only, or was moved or deleted. May this process write the file, and create files beside it?']],
  [10, ['SQLITE_IOERR', 'the disk does not read or write. Is it full or broken, or is it a network file system?']],
  [11, ['SQLITE_CORRUPT', 'it is damaged. Restore a backup']],
  [13, ['SQLITE_FULL', 'the disk is full, or the database has reached its largest size. Nothing was written']],
  [14, ['SQLITE_CANTOPEN', 'it cannot be opened. Does its folder exist, and may this process write the file, and create files beside it?']],
  [26, ['SQLITE_NOTADB', 'it is not an SQLite database. Nothing was changed: choose another `path`']]
])

/**
 * Makes an error that says which database failed, why, and what to do. SQLite's own error is its cause.
 */
export function failureOf (error: unknown, database: string): SqliteFailure {
  if (error instanceof SqliteFailure) return new SqliteFailure(error.code, messageOf(database, error.message))
  const { errcode, message } = Object(error)
  // SQLite's extended codes, like SQLITE_BUSY_RECOVERY, hold the primary code in their lowest byte.
  const [code, problem] = PROBLEMS.get(errcode & 0xff) ?? ['SQLITE_ERROR', String(message)]
  return new SqliteFailure(code, messageOf(database, problem), error)
}

function messageOf (database: string, problem: string): string {
  return `SqliteStore cannot use ${database}: ${problem}`
}

import { SqliteFailure } from './sqlite-failure.ts'

/**
 * The part of a connection that `SqliteStore` uses. `DatabaseSync` of node:sqlite fits.
 */
export interface SqliteDatabase {
  exec (sql: string): unknown
  prepare (sql: string): SqliteStatement
  /** Whether a transaction is open. Node has this property from 22.16 on. */
  readonly isTransaction?: boolean
}

/**
 * The part of a prepared statement that `SqliteStore` uses.
 */
export interface SqliteStatement {
  get (...values: Array<string | number>): unknown
  all (...values: Array<string | number>): unknown[]
  run (...values: Array<string | number>): { changes: number | bigint }
}

/**
 * A connection that the store has opened itself, and must close.
 */
export interface OwnDatabase extends SqliteDatabase {
  close (): unknown
}

/**
 * The statements of the store, prepared.
 */
export type Statements = ReturnType<typeof prepareStatements>

// The tables carry the version of the schema in their names, because `user_version` of a `database` belongs to the app.
const TABLE = 'webflow_store_1'

// Triggers update the table of tags, so that one statement writes a value together with its tags. A crash leaves both or neither.
// `tags` is a JSON list. A row keeps its id as long as it exists, so an id is a cursor that stays right while rows change.
const SCHEMA = `
CREATE TABLE IF NOT EXISTS ${TABLE} (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE,
  value TEXT NOT NULL,
  tags TEXT NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS ${TABLE}_expires_at ON ${TABLE} (expires_at);
CREATE TABLE IF NOT EXISTS ${TABLE}_tags (
  tag TEXT NOT NULL,
  id INTEGER NOT NULL,
  PRIMARY KEY (tag, id)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS ${TABLE}_inserted AFTER INSERT ON ${TABLE} BEGIN
  INSERT INTO ${TABLE}_tags SELECT DISTINCT value, new.id FROM json_each(new.tags);
END;
CREATE TRIGGER IF NOT EXISTS ${TABLE}_updated AFTER UPDATE OF tags ON ${TABLE} WHEN old.tags <> new.tags BEGIN
  DELETE FROM ${TABLE}_tags WHERE id = old.id AND tag IN (SELECT value FROM json_each(old.tags));
  INSERT INTO ${TABLE}_tags SELECT DISTINCT value, new.id FROM json_each(new.tags);
END;
CREATE TRIGGER IF NOT EXISTS ${TABLE}_deleted AFTER DELETE ON ${TABLE} BEGIN
  DELETE FROM ${TABLE}_tags WHERE id = old.id AND tag IN (SELECT value FROM json_each(old.tags));
END`

const UPSERT = `
INSERT INTO ${TABLE} AS current (key, value, tags, expires_at) VALUES (?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, tags = excluded.tags, expires_at = excluded.expires_at`

// How many expired rows each write drops at most. See DROPPED_PER_SET of MemoryStore.
const DROPPED_PER_SET = 10

/**
 * Opens a file by node:sqlite. Creates the file if there is none.
 * Throws a SqliteFailure on a Node without node:sqlite, and SQLite's error when the file cannot be opened.
 */
export function openFile (path: string): OwnDatabase {
  const { DatabaseSync } = Object(process.getBuiltinModule('node:sqlite'))
  if (typeof DatabaseSync !== 'function') {
    throw new SqliteFailure('SQLITE_STORE_NEEDS_NODE', `Node ${process.versions.node} has no node:sqlite. Use Node 22.13 or later, or another store: RedisStore, or MemoryStore for development`)
  }
  return new DatabaseSync(path)
}

/**
 * Creates the tables unless they are there, and prepares the statements. Any number of processes may do so at once.
 * Throws a SqliteFailure when the tables are of a newer version, or when a file of the store's own (`path`) belongs to
 * another program. Nothing has been changed then. Throws SQLite's error when the database cannot be written.
 */
export function setUp (database: SqliteDatabase, path: string | null): Statements {
  assertNoTransaction(database)
  assertOurs(database, path)
  // With NORMAL, a commit does not wait for the disk, which would block the event loop for milliseconds. A crash of the process
  // loses nothing. A power cut may lose the last writes, but never damages the file.
  if (path !== null) database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL')
  // Each statement can be repeated, so a crash between two of them leaves nothing to repair.
  database.exec(SCHEMA)
  const statements = prepareStatements(database)
  // This write makes a read-only database fail now, instead of when the first user connects.
  statements.dropExpired.run(Date.now())
  return statements
}

// The parameters have no numbers, because Node 22.13 mistakes a parameter like ?1 for a named one.
function prepareStatements (database: SqliteDatabase) {
  return {
    get: database.prepare(`SELECT value FROM ${TABLE} WHERE key = ? AND expires_at > ?`),
    set: database.prepare(UPSERT),
    setIfUnknown: database.prepare(`${UPSERT} WHERE current.expires_at <= ?`),
    setIfEqual: database.prepare(`UPDATE ${TABLE} SET value = ?, tags = ?, expires_at = ? WHERE key = ? AND expires_at > ? AND value = ?`),
    delete: database.prepare(`DELETE FROM ${TABLE} WHERE key = ? AND expires_at > ?`),
    deleteIfEqual: database.prepare(`DELETE FROM ${TABLE} WHERE key = ? AND expires_at > ? AND value = ?`),
    // CROSS JOIN makes SQLite begin with the tags, whatever the statistics of the app's ANALYZE say.
    // Expired rows count towards the limit, so that a page never reads more rows than the limit.
    find: database.prepare(`
      SELECT tagged.id, key, expires_at > ? FROM ${TABLE}_tags AS tagged CROSS JOIN ${TABLE} AS current ON current.id = tagged.id
      WHERE tag = ? AND tagged.id > ? ORDER BY tagged.id LIMIT ?`),
    dropExpired: database.prepare(`DELETE FROM ${TABLE} WHERE id IN (SELECT id FROM ${TABLE} WHERE expires_at <= ? ORDER BY expires_at LIMIT ${DROPPED_PER_SET})`)
  }
}

/**
 * Refuses to write while the app has a transaction open. Otherwise the app could roll back the token of a user who already sees
 * "connected". The refusal counts as a lock, because the transaction may end soon.
 */
export function assertNoTransaction (database: SqliteDatabase): void {
  if (database.isTransaction === true) {
    throw new SqliteFailure('SQLITE_BUSY', 'the app has left a transaction open on it. Use a connection on which no transaction stays open across an await')
  }
}

function assertOurs (database: SqliteDatabase, path: string | null): void {
  const names = database.prepare('SELECT name FROM sqlite_schema WHERE name NOT LIKE \'sqlite~_%\' ESCAPE \'~\'').all().map((row) => String(valuesOf(row)[0]))
  const versions = names.flatMap((name) => /^webflow_store_(\d+)/.exec(name)?.[1] ?? [])
  if (versions.some((version) => version !== '1')) {
    throw new SqliteFailure('SQLITE_STORE_NEWER', 'a newer version of fastify-webflow-oauth has written it. Nothing was changed: use that version')
  }
  if (path !== null && names.length > 0 && versions.length === 0) {
    throw new SqliteFailure('SQLITE_STORE_FOREIGN', 'it is a database of another program. Nothing was changed: choose another `path`. To share a file with your app, pass its connection as `database`')
  }
}

/**
 * Returns the columns of a row, in their order; an empty list if the row is missing. Works for rows that are objects and for rows
 * that are lists, because the app chooses what its connection returns.
 */
export function valuesOf (row: unknown): unknown[] {
  return Object.values(Object(row))
}

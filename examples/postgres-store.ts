// A token store on PostgreSQL 12 or later, for an app that has one anyway; copy it into yours.
//
//   const pool = new Pool({ connectionString: process.env.DATABASE_URL, connectionTimeoutMillis: 2000 })
//   pool.on('error', (error) => fastify.log.error(`PostgreSQL: ${error.message}`))
//   await fastify.register(webflowOAuth, { …, store: new PostgresStore({ pool }) })
//
// `createTable()` belongs in a deployment, and `deleteExpired()` in a job of every hour or so: an expired row is
// invisible, but takes room.
import { escapeIdentifier, escapeLiteral, type Pool } from 'pg'
import type { SetOptions, TokenStore } from 'fastify-webflow-oauth'

export interface PostgresStoreOptions {
  /** The app's pool, with the default isolation level. The store never ends or configures it. */
  pool: Pick<Pool, 'query'>
  /**
   * One name in the search path, of 50 bytes at most: never `schema.table`. Defaults to `webflow_tokens`.
   * Stores with the same table share their data.
   */
  table?: string
  /** By which clock values end, in Unix milliseconds: all processes should have the right time. Defaults to `Date.now`. */
  now?: () => number
}

const BATCH = 1000
// PostgreSQL cuts the names of the indexes, which are longer, after 63 bytes.
const LONGEST_NAME = 50

/** Keeps tokens in a table of PostgreSQL, for any number of processes. Rejects with the errors of `pg`. */
export class PostgresStore implements TokenStore {
  readonly #pool: Pick<Pool, 'query'>
  readonly #name: string
  readonly #table: string
  readonly #now: () => number

  constructor ({ pool, table = 'webflow_tokens', now = Date.now }: PostgresStoreOptions) {
    if (Buffer.byteLength(table) > LONGEST_NAME) {
      throw new TypeError(`\`table\` of PostgresStore is longer than ${LONGEST_NAME} bytes: pass a shorter name`)
    }
    this.#pool = pool
    this.#name = table
    this.#table = escapeIdentifier(table)
    this.#now = now
  }

  /** Creates the table with its indexes, unless they are there; any number of processes may at once. */
  async createTable (): Promise<void> {
    // Statements in one text are one transaction, which holds the lock until it ends, well or not.
    // Bytes, not text: no collation says that two of them are equal, and text has no NUL.
    await this.#pool.query(`
      SELECT pg_advisory_xact_lock(hashtext(${escapeLiteral(this.#name)}));
      CREATE TABLE IF NOT EXISTS ${this.#table} (
        key bytea PRIMARY KEY,
        value bytea NOT NULL,
        tags bytea[] NOT NULL,
        expires_at bigint NOT NULL
      );
      CREATE INDEX IF NOT EXISTS ${escapeIdentifier(`${this.#name}_tags`)} ON ${this.#table} USING gin (tags);
      CREATE INDEX IF NOT EXISTS ${escapeIdentifier(`${this.#name}_expires_at`)} ON ${this.#table} (expires_at)`)
  }

  async get (key: string): Promise<string | null> {
    const { rows: [row] } = await this.#pool.query<{ value: Buffer }>(
      `SELECT value FROM ${this.#table} WHERE key = $1 AND expires_at > $2`, [bytes(key), this.#now()])
    return row?.value.toString() ?? null
  }

  // Each of these is one statement: PostgreSQL locks the row and looks at what others have made of it before it writes.
  async set (key: string, value: string, options: SetOptions): Promise<boolean> {
    const row = [bytes(key), bytes(value), (options.tags ?? []).map(bytes), options.expiresAt]
    if (typeof options.if === 'string') {
      return await this.#writes(`
        UPDATE ${this.#table} SET value = $2, tags = $3, expires_at = $4
        WHERE key = $1 AND expires_at > $5 AND value = $6`, [...row, this.#now(), bytes(options.if)])
    }
    const upsert = `
      INSERT INTO ${this.#table} AS current (key, value, tags, expires_at) VALUES ($1, $2, $3, $4)
      ON CONFLICT (key) DO UPDATE SET value = excluded.value, tags = excluded.tags, expires_at = excluded.expires_at`
    if (options.if === undefined) return await this.#writes(upsert, row)
    return await this.#writes(`${upsert} WHERE current.expires_at <= $5`, [...row, this.#now()])
  }

  async delete (key: string, options: { if?: string } = {}): Promise<boolean> {
    const condition = options.if === undefined ? null : bytes(options.if)
    return await this.#writes(`
      DELETE FROM ${this.#table}
      WHERE key = $1 AND expires_at > $2 AND ($3::bytea IS NULL OR value = $3)`, [bytes(key), this.#now(), condition])
  }

  /** In the order of the keys, so that the cursor, the last key of a page, stays right whatever comes and goes. */
  async find (tag: string, { limit = 100, cursor }: { limit?: number, cursor?: string } = {}): Promise<{ keys: string[], cursor: string | null }> {
    const { rows } = await this.#pool.query<{ key: Buffer }>(`
      SELECT key FROM ${this.#table}
      WHERE tags @> ARRAY[$1::bytea] AND expires_at > $2 AND ($3::bytea IS NULL OR key > $3)
      ORDER BY key LIMIT $4`, [bytes(tag), this.#now(), cursor === undefined ? null : bytes(cursor), limit + 1])
    const keys = rows.slice(0, limit).map(({ key }) => key.toString())
    const last = rows.length > limit ? keys.at(-1) : undefined
    return { keys, cursor: last ?? null }
  }

  /** Removes what has expired; resolves with how many rows went. */
  async deleteExpired (): Promise<number> {
    let deleted = 0
    for (let batch = BATCH; batch === BATCH; deleted += batch) {
      // Rows that somebody is writing are left for the next time: nobody waits for anybody.
      const { rowCount } = await this.#pool.query(`
        DELETE FROM ${this.#table} WHERE key = ANY (ARRAY(
          SELECT key FROM ${this.#table} WHERE expires_at <= $1 LIMIT ${BATCH} FOR UPDATE SKIP LOCKED
        ))`, [this.#now()])
      batch = Number(rowCount)
    }
    return deleted
  }

  async #writes (statement: string, values: unknown[]): Promise<boolean> {
    const { rowCount } = await this.#pool.query(statement, values)
    return rowCount === 1
  }
}

function bytes (text: string): Buffer {
  return Buffer.from(text)
}

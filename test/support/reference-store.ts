import type { SetOptions, TokenStore } from '../../stores/token-store.ts'

/** What a reference store keeps. */
export interface Row {
  key: string
  value: string
  tags: readonly string[]
  expiresAt: number
}

/**
 * The small decisions of a store. Each default is right; a test replaces one to make a store that is subtly wrong.
 */
export interface Decisions {
  /** Returns the name under which the store keeps a key. */
  name: (key: string) => string
  /** Returns what the store keeps of a value. */
  kept: (value: string) => string
  /** Tells whether a value is the one that a condition requires. */
  same: (value: string, condition: string) => boolean
  /** Tells whether a deadline has passed. */
  over: (expiresAt: number, now: number) => boolean
  /** Returns the deadline that the store keeps. */
  deadline: (expiresAt: number, now: number, before: Row | undefined) => number
  /** Returns the tags that the store keeps. */
  tags: (tags: readonly string[], before: Row | undefined) => readonly string[]
  /** Tells whether a row has a tag. */
  tagged: (row: Row, tag: string) => boolean
  /** Tells whether `find` returns a row. */
  listed: (isOver: boolean) => boolean
  /** Waits between reading a row and changing it. */
  pause: () => Promise<void> | null
  /** Tells whether a write is allowed. */
  lets: (current: Row | undefined, options: SetOptions, right: boolean) => boolean
  /** Tells whether a deletion is allowed. The row may have expired. */
  forgets: (row: Row | undefined, condition: string | undefined, right: boolean) => boolean
  /** Changes the rows when a row is deleted. */
  forget: (rows: Map<string, Row>, name: string) => void
  /** Changes the rows when a write is refused. */
  refused: (rows: Map<string, Row>, name: string, options: SetOptions) => void
}

const RIGHT: Decisions = {
  name: (key) => key,
  kept: (value) => value,
  same: (value, condition) => value === condition,
  over: (expiresAt, now) => expiresAt <= now,
  deadline: (expiresAt) => expiresAt,
  tags: (tags) => [...tags],
  tagged: (row, tag) => row.tags.includes(tag),
  listed: (isOver) => !isOver,
  pause: () => null,
  lets: (_current, _options, right) => right,
  forgets: (_row, _condition, right) => right,
  forget: (rows, name) => { rows.delete(name) },
  refused: () => {}
}

/**
 * The simplest store that keeps the contract. It is slow. The caller gives the clock and the rows. `decisions` replaces some
 * decisions, to make a wrong store.
 */
export class ReferenceStore implements TokenStore {
  readonly rows: Map<string, Row>
  readonly now: () => number
  readonly #decide: Decisions

  constructor (now: () => number, decisions: Partial<Decisions> = {}, rows: Map<string, Row> = new Map()) {
    this.rows = rows
    this.now = now
    this.#decide = { ...RIGHT, ...decisions }
  }

  async get (key: string): Promise<string | null> {
    return this.getSync(key)
  }

  getSync (key: string): string | null {
    return this.#living(key)?.value ?? null
  }

  async getMany (keys: readonly string[]): Promise<Array<string | null>> {
    return keys.map((key) => this.getSync(key))
  }

  async set (key: string, value: string, options: SetOptions): Promise<boolean> {
    const { name, same, lets, pause, refused, deadline, kept, tags } = this.#decide
    const current = this.#living(key)
    const right = options.if === undefined || (options.if === null ? current === undefined : current !== undefined && same(current.value, options.if))
    const isLet = lets(current, options, right)
    const paused = pause()
    if (paused !== null) await paused
    if (!isLet) {
      refused(this.rows, name(key), options)
      return false
    }
    const before = this.rows.get(name(key))
    this.rows.set(name(key), {
      key,
      value: kept(value),
      tags: tags(options.tags ?? [], before),
      expiresAt: deadline(options.expiresAt, this.now(), before)
    })
    return true
  }

  async delete (key: string, options: { if?: string } = {}): Promise<boolean> {
    const { name, same, forgets, pause, forget } = this.#decide
    const current = this.#living(key)
    const right = current !== undefined && (options.if === undefined || same(current.value, options.if))
    const isLet = forgets(this.rows.get(name(key)), options.if, right)
    const paused = pause()
    if (paused !== null) await paused
    if (isLet) forget(this.rows, name(key))
    return isLet
  }

  async find (tag: string, { limit = 100, cursor }: { limit?: number, cursor?: string } = {}): Promise<{ keys: string[], cursor: string | null }> {
    const keys = this.tagged(tag).filter((key) => cursor === undefined || key > cursor)
    const page = keys.slice(0, limit)
    return { keys: page, cursor: keys.length > limit ? page.at(-1) ?? null : null }
  }

  /** All keys of a tag, in order. */
  tagged (tag: string): string[] {
    const { tagged, listed, over } = this.#decide
    const now = this.now()
    return [...this.rows.values()].filter((row) => listed(over(row.expiresAt, now)) && tagged(row, tag)).map(({ key }) => key).sort()
  }

  #living (key: string): Row | undefined {
    const row = this.rows.get(this.#decide.name(key))
    return row === undefined || this.#decide.over(row.expiresAt, this.now()) ? undefined : row
  }
}

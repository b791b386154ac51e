import { assertCursor, assertExpiresAt, assertLimit, assertOptions, isPositiveInteger } from './assert.ts'
import { DeadlineHeap } from './deadline-heap.ts'
import { ShardedMap } from './sharded-map.ts'
import { TagIndex } from './tag-index.ts'
import type { SetOptions, TokenStore } from './token-store.ts'

/**
 * Options of `MemoryStore`.
 */
export interface MemoryStoreOptions {
  /**
   * How many entries the store holds at most, tokens and pending flows together.
   * When it is full, the entry with the nearest deadline makes room. Defaults to 10,000.
   */
  maxEntries?: number | undefined
}

interface Entry {
  readonly key: string
  readonly value: string
  readonly expiresAt: number
  readonly tags: readonly string[]
  readonly sequence: number
  position: number
}

const NO_TAGS: readonly string[] = Object.freeze([])

// More than one, so that a busy store catches up; few enough to pause for nothing.
const DROPPED_PER_SET = 10

/**
 * Keeps tokens in the memory of this process: for development, tests and apps of a single process.
 * They are gone when it ends and no other process sees them. It starts no timers: what has expired
 * goes when it is read, or a few at a time when something is written.
 */
export class MemoryStore implements TokenStore {
  readonly #maxEntries: number
  readonly #entries = new ShardedMap<Entry>()
  readonly #deadlines = new DeadlineHeap<Entry>()
  readonly #tagged = new TagIndex<Entry>()
  #sequence = 0
  #lastTags: readonly string[] = []

  /**
   * Makes an empty store. Throws a TypeError on an unknown option, a RangeError unless
   * `maxEntries` is a positive integer.
   */
  constructor (options: MemoryStoreOptions = {}) {
    assertOptions('MemoryStore', options, ['maxEntries'])
    const { maxEntries = 10_000 } = options
    if (!isPositiveInteger(maxEntries)) {
      throw new RangeError('`maxEntries` of MemoryStore is not a positive integer: leave it out for 10000')
    }
    this.#maxEntries = maxEntries
  }

  /** How many entries the store holds, those included that have expired and were not dropped yet. */
  get size (): number {
    return this.#entries.size
  }

  /** Resolves with the value, or null when the key is unknown or expired. */
  async get (key: string): Promise<string | null> {
    return this.#living(key)?.value ?? null
  }

  /**
   * Writes value, deadline and tags together; resolves whether it wrote.
   * Rejects with a TypeError when `expiresAt` is not an integer.
   */
  async set (key: string, value: string, options: SetOptions): Promise<boolean> {
    const { expiresAt, tags = NO_TAGS } = options
    assertExpiresAt(expiresAt)
    // Read once: an entry that lived a line ago must not have expired by the next.
    const now = Date.now()
    const current = this.#living(key, now)
    if (options.if !== undefined && options.if !== (current?.value ?? null)) return false
    if (expiresAt <= now) {
      if (current !== undefined) this.#forget(current)
      return true
    }
    this.#dropExpired(now)
    if (current !== undefined) this.#unlink(current)
    else if (this.#entries.size >= this.#maxEntries) this.#evict()
    this.#link({ key, value, expiresAt, tags: this.#listOf(tags), sequence: this.#sequence++, position: 0 })
    return true
  }

  /** Forgets the key, with `if` only while its value is exactly that string; resolves whether it went. */
  async delete (key: string, options: { if?: string } = {}): Promise<boolean> {
    const current = this.#living(key)
    if (current === undefined || (options.if !== undefined && options.if !== current.value)) return false
    this.#forget(current)
    return true
  }

  /**
   * Resolves with the keys whose current value was set with the tag, those first that were set first.
   * A key that is set again while the pages are read may come twice, never not at all.
   * Pages of 100 by default; rejects with a TypeError on a limit or a cursor that cannot be one.
   */
  async find (tag: string, options: { limit?: number, cursor?: string } = {}): Promise<{ keys: string[], cursor: string | null }> {
    const { limit = 100, cursor = '0' } = options
    assertLimit(limit)
    assertCursor(cursor, /^\d{1,16}$/)
    const first = Number(cursor)
    const now = Date.now()
    const keys: string[] = []
    for (const entry of this.#tagged.of(tag, first)) {
      if (entry.expiresAt <= now) continue
      if (keys.length === limit) return { keys, cursor: String(entry.sequence) }
      keys.push(entry.key)
    }
    return { keys, cursor: null }
  }

  /** Copies a list of tags; one that is like the last is shared, as it is by most values. */
  #listOf (tags: readonly string[]): readonly string[] {
    const last = this.#lastTags
    if (last.length !== tags.length || !last.every((tag, index) => tag === tags[index])) this.#lastTags = Object.freeze([...tags])
    return this.#lastTags
  }

  #living (key: string, now = Date.now()): Entry | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined || entry.expiresAt > now) return entry
    this.#forget(entry)
  }

  #dropExpired (now: number): void {
    for (let dropped = 0; dropped < DROPPED_PER_SET; dropped++) {
      const entry = this.#deadlines.nearest
      if (entry === undefined || entry.expiresAt > now) return
      this.#forget(entry)
    }
  }

  #evict (): void {
    const entry = this.#deadlines.nearest
    if (entry !== undefined) this.#forget(entry)
  }

  #forget (entry: Entry): void {
    this.#entries.delete(entry.key)
    this.#unlink(entry)
  }

  #link (entry: Entry): void {
    this.#entries.set(entry.key, entry)
    this.#deadlines.add(entry)
    for (const tag of entry.tags) this.#tagged.add(tag, entry)
  }

  #unlink (entry: Entry): void {
    this.#deadlines.remove(entry)
    for (const tag of entry.tags) this.#tagged.remove(tag, entry)
  }
}

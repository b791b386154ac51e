import { assertCursor, assertExpiresAt, assertLimit, assertOptions, isPositiveInteger } from './assert.ts'
import { DeadlineHeap } from './deadline-heap.ts'
import type { SetOptions, TokenStore } from './token-store.ts'

/**
 * Options of `MemoryStore`.
 */
export interface MemoryStoreOptions {
  /**
   * How many entries the store holds at most, tokens and pending flows together.
   * When the store is full, it drops the entry with the nearest deadline. Defaults to 10,000.
   */
  maxEntries?: number | undefined
}

interface Entry {
  readonly key: string
  readonly value: string
  readonly expiresAt: number
  readonly tags: readonly string[]
  /** Rises with every write. It orders the entries of a tag, and is the cursor of `find`. */
  readonly sequence: number
  /** The index of the entry in the `DeadlineHeap`, which alone changes it. */
  position: number
}

// More than one, so that expired entries are dropped faster than new ones are added. Not many, so that each write stays short.
const DROPPED_PER_SET = 10

/**
 * Keeps tokens in the memory of this process: for development, tests and apps of a single process.
 * The tokens are lost when the process ends, and no other process sees them. The store is built for up to 100,000 entries.
 * It starts no timers: an expired entry is dropped when it is read, or when something else is written.
 */
export class MemoryStore implements TokenStore {
  readonly #maxEntries: number
  readonly #entries = new Map<string, Entry>()
  readonly #deadlines = new DeadlineHeap<Entry>()
  /** The entries of each tag, by rising sequence number. Most tags have a single entry. For them the map holds the entry itself, because a list takes 60 bytes more. */
  readonly #tagged = new Map<string, Entry | Entry[]>()
  #lastTags: readonly string[] = []
  #sequence = 0

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

  /** The number of entries, including expired entries that were not dropped yet. */
  get size (): number {
    return this.#entries.size
  }

  /** True, unless a subclass or a test has replaced `getSync`: then nobody knows whether it answers for every key. */
  get isSynchronous (): boolean {
    return this.getSync === MemoryStore.prototype.getSync
  }

  /** Resolves with the value, or with null when the key is unknown or expired. */
  async get (key: string): Promise<string | null> {
    return this.getSync(key)
  }

  /** Returns the value, or null when the key is unknown or expired. */
  getSync (key: string): string | null {
    return this.#living(key, Date.now())?.value ?? null
  }

  /** Resolves with the value of each key, or null when the key is unknown or expired, in the order of the keys. */
  async getMany (keys: readonly string[]): Promise<Array<string | null>> {
    return keys.map((key) => this.getSync(key))
  }

  /**
   * Writes value, deadline and tags together, and resolves whether it wrote.
   * Rejects with a TypeError when `expiresAt` is not an integer.
   */
  async set (key: string, value: string, options: SetOptions): Promise<boolean> {
    const { expiresAt, tags = [] } = options
    assertExpiresAt(expiresAt)
    // The clock is read only once, because otherwise the current entry could expire between two of these lines.
    const now = Date.now()
    const current = this.#living(key, now)
    if (options.if !== undefined && options.if !== (current?.value ?? null)) return false
    if (current !== undefined) this.#drop(current)
    if (expiresAt <= now) return true
    this.#dropExpired(now)
    const { nearest } = this.#deadlines
    if (nearest !== undefined && this.#entries.size >= this.#maxEntries) this.#drop(nearest)
    this.#add({ key, value, expiresAt, tags: this.#distinct(tags), sequence: this.#sequence++, position: 0 })
    return true
  }

  /** Deletes the key, with `if` only while its value is exactly that string, and resolves whether it deleted a value. */
  async delete (key: string, options: { if?: string } = {}): Promise<boolean> {
    const current = this.#living(key, Date.now())
    if (current === undefined || (options.if !== undefined && options.if !== current.value)) return false
    this.#drop(current)
    return true
  }

  /**
   * Resolves with the keys whose current value was set with the tag, in the order in which the values were set.
   * A key that is set again while the pages are read may be returned twice, but is never skipped.
   * Pages hold 100 keys by default. Rejects with a TypeError on an invalid limit or cursor.
   */
  async find (tag: string, options: { limit?: number, cursor?: string } = {}): Promise<{ keys: string[], cursor: string | null }> {
    const { limit = 100, cursor = '0' } = options
    assertLimit(limit)
    assertCursor(cursor, /^\d{1,16}$/)
    const tagged = this.#tagged.get(tag) ?? []
    const entries = Array.isArray(tagged) ? tagged : [tagged]
    const now = Date.now()
    const keys: string[] = []
    let index = indexOf(entries, Number(cursor))
    for (let entry = entries[index]; entry !== undefined; entry = entries[++index]) {
      if (entry.expiresAt <= now) continue
      if (keys.length === limit) return { keys, cursor: String(entry.sequence) }
      keys.push(entry.key)
    }
    return { keys, cursor: null }
  }

  /** Copies a list of tags without repetitions. A value with the same tags as the value before shares its list, which saves 60 bytes. */
  #distinct (tags: readonly string[]): readonly string[] {
    const distinct = Array.from(new Set(tags))
    const isLast = distinct.length === this.#lastTags.length && distinct.every((tag, index) => tag === this.#lastTags[index])
    if (!isLast) this.#lastTags = distinct
    return this.#lastTags
  }

  #living (key: string, now: number): Entry | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined || entry.expiresAt > now) return entry
    this.#drop(entry)
  }

  #dropExpired (now: number): void {
    for (let dropped = 0; dropped < DROPPED_PER_SET; dropped++) {
      const entry = this.#deadlines.nearest
      if (entry === undefined || entry.expiresAt > now) return
      this.#drop(entry)
    }
  }

  #add (entry: Entry): void {
    this.#entries.set(entry.key, entry)
    this.#deadlines.add(entry)
    for (const tag of entry.tags) {
      const tagged = this.#tagged.get(tag)
      if (tagged === undefined) this.#tagged.set(tag, entry)
      else if (!Array.isArray(tagged)) this.#tagged.set(tag, [tagged, entry])
      else tagged.push(entry)
    }
  }

  #drop (entry: Entry): void {
    this.#entries.delete(entry.key)
    this.#deadlines.remove(entry)
    for (const tag of entry.tags) {
      const tagged = this.#tagged.get(tag)
      if (Array.isArray(tagged)) tagged.splice(indexOf(tagged, entry.sequence), 1)
      if (!Array.isArray(tagged) || tagged.length === 0) this.#tagged.delete(tag)
    }
  }
}

/** Finds the first entry with the sequence number or a higher one, by binary search. */
function indexOf (entries: readonly Entry[], sequence: number): number {
  let [low, high] = [0, entries.length]
  while (low < high) {
    const middle = (low + high) >> 1
    const entry = entries[middle]
    if (entry !== undefined && entry.sequence < sequence) low = middle + 1
    else high = middle
  }
  return low
}

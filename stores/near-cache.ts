import { assertOptions, isPositiveInteger } from './assert.ts'

/**
 * Options of the near cache of `RedisStore`.
 */
export interface NearCacheOptions {
  /**
   * How long a value may be answered from the cache, in milliseconds, counted from when Redis was asked for it.
   * An integer from 1 to 60,000. Defaults to 1000.
   */
  maxAge?: number | undefined
  /** How many values the cache holds at most. When it is full, it drops the value that was read from Redis longest ago. Defaults to 10,000. */
  maxEntries?: number | undefined
}

interface Entry {
  readonly askedAt: number
  /** Null until Redis has answered. */
  value: string | null
}

const LARGEST_AGE = 60_000

/**
 * Caches values that were just read from Redis, in the memory of this process.
 *
 * A read adds its entry before it asks Redis, and fills in the value when Redis answers. A change removes the entry of
 * its key. A read that was under way then fills in an entry that has been removed, so the old value is not kept.
 */
export class NearCache {
  readonly #maxAge: number
  readonly #maxEntries: number
  /** In the order in which Redis was asked. */
  readonly #entries = new Map<string, Entry>()

  /** Makes an empty cache. Throws a TypeError on an unknown option, a RangeError on a number out of its range. */
  constructor (options: NearCacheOptions) {
    assertOptions('`nearCache` of RedisStore', options, ['maxAge', 'maxEntries'])
    const { maxAge = 1000, maxEntries = 10_000 } = options
    if (!isPositiveInteger(maxAge) || maxAge > LARGEST_AGE) {
      throw new RangeError('`nearCache.maxAge` of RedisStore is not an integer from 1 to 60000, in milliseconds: leave it out for 1000')
    }
    if (!isPositiveInteger(maxEntries)) {
      throw new RangeError('`nearCache.maxEntries` of RedisStore is not a positive integer: leave it out for 10000')
    }
    this.#maxAge = maxAge
    this.#maxEntries = maxEntries
  }

  /** Returns a value that is young enough, or undefined when Redis must be asked. */
  get (key: string): string | undefined {
    return this.#freshEntry(key)?.value ?? undefined
  }

  /**
   * Resolves with a value that is young enough, or reads it from Redis. The value is then kept, unless `drop` is called
   * for the key meanwhile. Unknown keys are not remembered.
   */
  async load (key: string, read: () => Promise<string | null>): Promise<string | null> {
    const fresh = this.#freshEntry(key)
    // An entry without a value belongs to another read that is under way. This read does not replace it: if each read did, a
    // key that is read all the time would never be cached.
    if (fresh !== undefined) return fresh.value ?? await read()
    const entry: Entry = { askedAt: performance.now(), value: null }
    this.#add(key, entry)
    try {
      entry.value = await read()
      return entry.value
    } finally {
      if (entry.value === null && this.#entries.get(key) === entry) this.#entries.delete(key)
    }
  }

  /** Removes the copy of a key that the store is about to change, or has changed. */
  drop (key: string): void {
    this.#entries.delete(key)
  }

  #freshEntry (key: string): Entry | undefined {
    const entry = this.#entries.get(key)
    // `performance.now` is monotonic. By the system clock, an entry would seem too young after the clock was set back.
    if (entry === undefined || performance.now() - entry.askedAt < this.#maxAge) return entry
    this.#entries.delete(key)
  }

  #add (key: string, entry: Entry): void {
    const [oldest] = this.#entries.size < this.#maxEntries ? [] : this.#entries.keys()
    if (oldest !== undefined) this.#entries.delete(oldest)
    this.#entries.set(key, entry)
  }
}

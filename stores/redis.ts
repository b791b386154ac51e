import { assertCursor, assertExpiresAt, assertLimit, assertOptions } from './assert.ts'
import { NearCache, type NearCacheOptions } from './near-cache.ts'
import { ReadBatch, type ReadingClient } from './read-batch.ts'
import { DELETE_IF, DROP_STRAYS, INDEX, PAGE, REPLACE_IF } from './redis-scripts.ts'
import type { SetOptions, TokenStore } from './token-store.ts'

/**
 * The part of a client that `RedisStore` uses. `Redis` and `Cluster` of ioredis fit, and so does ioredis-mock.
 */
export interface RedisClient extends ReadingClient {
  set (key: string, value: string, pxat: 'PXAT', milliseconds: number): Promise<unknown>
  set (key: string, value: string, pxat: 'PXAT', milliseconds: number, nx: 'NX'): Promise<unknown>
  del (key: string): Promise<unknown>
  eval (script: string, numberOfKeys: number, key: string, ...args: Array<string | number>): Promise<unknown>
}

/**
 * Options of `RedisStore`.
 */
export interface RedisStoreOptions {
  /** An ioredis client for Redis 6.2 or later. The store never opens, closes or configures it. */
  client: RedisClient
  /**
   * The beginning of every key in Redis: `<keyPrefix><key>` holds a value, `<keyPrefix>tag:<tag>` a tag.
   * When stores share a database, no prefix may begin with the prefix of another store. Defaults to `webflow:`.
   */
  keyPrefix?: string | undefined
  /**
   * Caches values that were just read from Redis, in the memory of this process, so that a busy session does not cost a
   * Redis command for each request. A change made by another process is seen within `nearCache.maxAge` milliseconds.
   * Defaults to no cache.
   */
  nearCache?: NearCacheOptions | undefined
}

const METHODS = ['get', 'set', 'del', 'eval']

// `find` reads the value of each member of a page, on a cluster by one GET each: a longer page would fill the client's queue.
const LARGEST_PAGE = 1000
// How many expired members of a tag each write drops at most.
const DROPPED_PER_SET = 10
// A stray is a member of a tag whose value does not carry the tag. How long a stray is left alone, in milliseconds: see #dropStrays.
const STRAY_AGE = 60_000
// How long a full map remembers a stray, in milliseconds: longer than a day, for a job that searches once a day.
const STRAY_MEMORY = 48 * 60 * 60 * 1000
const MOST_STRAYS = 10_000

/**
 * Keeps tokens in Redis, for any number of processes. Redis expires them by itself, on its own clock.
 * Promises reject with the client's error when Redis cannot be reached.
 */
export class RedisStore implements TokenStore {
  readonly #client: RedisClient
  readonly #keyPrefix: string
  readonly #reads: ReadBatch
  readonly #near: NearCache | null
  /** Tag members whose value no longer carries the tag, with their deadline and the time we first noticed. */
  readonly #strays = new Map<string, { deadline: string, since: number }>()

  /**
   * Makes a store on the app's client. Sends nothing to Redis.
   * Throws a TypeError on an unknown option or a wrong type, a RangeError on a number out of its range.
   */
  constructor (options: RedisStoreOptions) {
    assertOptions('RedisStore', options, ['client', 'keyPrefix', 'nearCache'])
    const { client, keyPrefix = 'webflow:', nearCache } = options
    assertClient(client)
    if (typeof keyPrefix !== 'string') {
      throw new TypeError('`keyPrefix` of RedisStore is not a string: leave it out for "webflow:"')
    }
    this.#client = client
    this.#keyPrefix = keyPrefix
    this.#reads = new ReadBatch(client)
    this.#near = nearCache === undefined ? null : new NearCache(nearCache)
  }

  /** Resolves with the value, or with null when the key is unknown or expired. */
  get (key: string): Promise<string | null> {
    return this.#near === null ? this.#read(key) : this.#near.load(key, () => this.#read(key))
  }

  /** Returns the value if the near cache holds it, else undefined. Never asks Redis. */
  getSync (key: string): string | undefined {
    return this.#near?.get(key)
  }

  /**
   * Resolves with the value of each key, or null when the key is unknown or expired, in the order of the keys.
   * Never answers from the near cache. Reads up to 500 keys by one MGET, where Redis allows it.
   */
  async getMany (keys: readonly string[]): Promise<Array<string | null>> {
    return await Promise.all(keys.map((key) => this.#read(key)))
  }

  #read (key: string): Promise<string | null> {
    return this.#reads.get(this.#keyOf(key), valueIn)
  }

  /**
   * Writes value, deadline and tags together, and resolves whether it wrote.
   * Rejects with a TypeError when `expiresAt` is not an integer.
   */
  async set (key: string, value: string, options: SetOptions): Promise<boolean> {
    const { expiresAt, tags = [] } = options
    assertExpiresAt(expiresAt)
    // Redis accepts a deadline in the past, but only after 1970.
    const deadline = Math.max(expiresAt, 1)
    const stored = `${headerOf(tags)}\n${value}`

    // Tags are written first: if the write then fails, a tag member is left without a value, and find() ignores it.
    // In the other order, a token would be left that no search finds, and that no search could revoke.
    await Promise.all(tags.map((tag) => this.#client.eval(INDEX, 1, this.#tagKeyOf(tag), DROPPED_PER_SET, deadline, key)))
    const condition = options.if
    return await this.#change(key, async (redisKey) => {
      if (condition === undefined) {
        await this.#client.set(redisKey, stored, 'PXAT', deadline)
        return true
      }
      if (condition === null) return await this.#client.set(redisKey, stored, 'PXAT', deadline, 'NX') === 'OK'
      return isOne(await this.#client.eval(REPLACE_IF, 1, redisKey, condition, stored, deadline))
    })
  }

  /** Deletes the key, with `if` only while its value is exactly that string, and resolves whether it deleted a value. */
  async delete (key: string, options: { if?: string } = {}): Promise<boolean> {
    const condition = options.if
    return await this.#change(key, async (redisKey) =>
      isOne(condition === undefined ? await this.#client.del(redisKey) : await this.#client.eval(DELETE_IF, 1, redisKey, condition)))
  }

  /** Drops the cached copy before and after a write, even a refused one: a refusal suggests that the copy is stale. */
  async #change (key: string, change: (redisKey: string) => Promise<boolean>): Promise<boolean> {
    this.#near?.drop(key)
    try {
      return await change(this.#keyOf(key))
    } finally {
      this.#near?.drop(key)
    }
  }

  /**
   * Resolves with the keys whose current value was set with the tag, the nearest deadline first.
   * A page may hold fewer keys than the limit, even none. Only the last page has the cursor null.
   * A key that is set again while the pages are read may be returned twice, but is never skipped.
   * Pages hold 100 keys by default and 1,000 at most. Rejects with a TypeError on an invalid limit or cursor.
   */
  async find (tag: string, options: { limit?: number, cursor?: string } = {}): Promise<{ keys: string[], cursor: string | null }> {
    const { limit = 100, cursor } = options
    assertLimit(limit)
    const size = Math.min(limit, LARGEST_PAGE)
    const page = stringsOf(await this.#client.eval(PAGE, 1, this.#tagKeyOf(tag), size, ...positionOf(cursor)))
    const candidates = page.filter((_, index) => index % 2 === 0)
    const headers = await Promise.all(candidates.map((key) => this.#reads.get(this.#keyOf(key), headerIn)))
    const tagged = candidates.map((_, index) => isTagged(headers[index] ?? '', tag))
    await this.#dropStrays(tag, page.filter((_, index) => tagged[index >> 1] === false))
    return {
      keys: candidates.filter((_, index) => tagged[index]),
      cursor: candidates.length < size ? null : `${page.at(-1)}:${candidates.at(-1)}`
    }
  }

  /**
   * Drops members whose value lacks the tag: the value was overwritten or deleted, or a process crashed before it wrote the value.
   * Waits a minute after a member was first noticed, because another process may have written the tag and not yet the
   * value. A write since then has changed the member's deadline, so the member stays.
   * `members` alternates keys and deadlines.
   */
  async #dropStrays (tag: string, members: readonly string[]): Promise<void> {
    const now = Date.now()
    const old: string[] = []
    for (let index = 0; index < members.length; index += 2) {
      const [key = '', deadline = ''] = members.slice(index, index + 2)
      const name = `${tag}\n${key}`
      const seen = this.#strays.get(name)
      if (seen?.deadline !== deadline) {
        this.#rememberStray(name, deadline, now)
      } else if (now - seen.since >= STRAY_AGE) {
        this.#strays.delete(name)
        old.push(deadline, key)
      }
    }
    if (old.length > 0) await this.#client.eval(DROP_STRAYS, 1, this.#tagKeyOf(tag), ...old)
  }

  /**
   * Records a stray. When the map is full, the oldest entry makes room if it is more than 48 hours old. If it is younger, the
   * new stray is not recorded.
   */
  #rememberStray (name: string, deadline: string, now: number): void {
    this.#strays.delete(name)
    const [oldest] = this.#strays
    if (oldest !== undefined && this.#strays.size >= MOST_STRAYS) {
      const [forgotten, { since }] = oldest
      if (now - since < STRAY_MEMORY) return
      this.#strays.delete(forgotten)
    }
    this.#strays.set(name, { deadline, since: now })
  }

  #keyOf (key: string): string {
    // Keys that start with `tag:` or `key:` are escaped, so that they cannot collide with tag keys.
    return this.#keyPrefix + (/^(?:tag|key):/.test(key) ? 'key:' : '') + key
  }

  #tagKeyOf (tag: string): string {
    return `${this.#keyPrefix}tag:${tag}`
  }
}

function assertClient (client: unknown): void {
  if (typeof client !== 'object' || client === null) {
    throw new TypeError('`client` of RedisStore is missing: pass an ioredis client, like new Redis(process.env.REDIS_URL)')
  }
  // A client of the package redis has all four methods too, but they take other arguments.
  if ('isOpen' in client || !METHODS.every((method) => typeof Reflect.get(client, method) === 'function')) {
    throw new TypeError('`client` of RedisStore is not an ioredis client: pass a Redis or a Cluster from the package ioredis')
  }
}

/** Returns what comes after the header, see `headerOf`. A value that this store did not write may have no header. */
function valueIn (stored: string): string {
  return stored.slice(stored.indexOf('\n') + 1)
}

/**
 * Makes the header of a stored string: each tag, percent-encoded, and a space. A newline ends the header.
 * A value without tags has an empty header, and so is stored with one byte more.
 */
function headerOf (tags: readonly string[]): string {
  return tags.map((tag) => `${encodeURIComponent(tag)} `).join('')
}

/** Returns the header, with its newline. */
function headerIn (stored: string): string {
  return stored.slice(0, stored.indexOf('\n') + 1)
}

function isTagged (header: string, tag: string): boolean {
  return ` ${header}`.includes(` ${headerOf([tag])}`)
}

function positionOf (cursor: string | undefined): string[] {
  if (cursor === undefined) return []
  assertCursor(cursor, /^\d{1,16}:/)
  const colon = cursor.indexOf(':')
  return [cursor.slice(0, colon), cursor.slice(colon + 1)]
}

function stringsOf (reply: unknown): string[] {
  if (!Array.isArray(reply)) throw new TypeError('Redis did not answer a script with a list: is `client` an ioredis client?')
  return reply.map(String)
}

// An ioredis client with the option `stringNumbers` answers '1' instead of 1.
function isOne (reply: unknown): boolean {
  return Number(reply) === 1
}

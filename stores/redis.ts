import { assertCursor, assertExpiresAt, assertLimit, assertOptions, isPositiveInteger } from './assert.ts'
import { NearCache, type DataClient, type NearCacheOptions } from './near-cache.ts'
import { ReadBatch, type ReadingClient } from './read-batch.ts'
import { DELETE_IF, DROP_STRAYS, INDEX, PAGE, REPLACE_IF } from './redis-scripts.ts'
import type { SetOptions, TokenStore } from './token-store.ts'

/**
 * What `RedisStore` uses of a client: `Redis` and `Cluster` of ioredis have it, and so does ioredis-mock.
 */
export interface RedisClient extends ReadingClient, DataClient {
  set (key: string, value: string, pxat: 'PXAT', milliseconds: number): Promise<unknown>
  set (key: string, value: string, pxat: 'PXAT', milliseconds: number, nx: 'NX'): Promise<unknown>
  del (key: string): Promise<unknown>
  pttl? (key: string): Promise<unknown>
  eval (script: string, numberOfKeys: number, key: string, ...args: Array<string | number>): Promise<unknown>
}

/**
 * Options of `RedisStore`.
 */
export interface RedisStoreOptions {
  /** A connected ioredis client, of Redis 6.2 or later. The store never opens, closes or configures it. */
  client: RedisClient
  /**
   * What every key in Redis begins with: `<keyPrefix><key>` holds a value, `<keyPrefix>tag:<tag>` a tag.
   * Stores that share a database need prefixes of which none begins with another. Defaults to `webflow:`.
   */
  keyPrefix?: string | undefined
  /**
   * Keeps what is read often in this process, while Redis tells of changes: not for a `Cluster`. Defaults to none.
   */
  nearCache?: NearCacheOptions | undefined
}

const METHODS = ['get', 'set', 'del', 'eval']

// Each candidate costs a GET: a page must not fill the client's queue.
const LARGEST_PAGE = 1000
const DROPPED_PER_SET = 10
const STRAY_AGE = 60_000
// A walk over all tokens comes back the next night.
const STRAY_MEMORY = 48 * 60 * 60 * 1000
const MOST_STRAYS = 10_000

/**
 * Keeps tokens in Redis, for any number of processes. Redis ends them by itself, on its own clock.
 * A promise rejects with the client's error when Redis cannot be asked.
 */
export class RedisStore implements TokenStore {
  readonly #client: RedisClient
  readonly #keyPrefix: string
  readonly #reads: ReadBatch
  readonly #near: NearCache | null
  /** The members of tags whose value was found without the tag: with which deadline, and when first. */
  readonly #strays = new Map<string, { deadline: string, since: number }>()

  /**
   * Makes a store on the app's client and sends nothing yet.
   * Throws a TypeError on an unknown option and on a client or prefix that cannot be one.
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
    this.#near = nearCache === undefined ? null : new NearCache(checkNearCache(nearCache, client), client, keyPrefix)
  }

  /** Resolves with the value, or null when the key is unknown or expired. */
  async get (key: string): Promise<string | null> {
    const redisKey = this.#keyOf(key)
    const near = this.#near
    const kept = near?.get(redisKey)
    if (kept !== undefined) return kept
    if (near?.isProven === true) return await near.load(redisKey, async () => await this.#readWithTime(redisKey))
    const stored = await this.#reads.get(redisKey)
    return stored === null ? null : valueIn(stored)
  }

  /** Not by a script, which Redis holds back with the writes during a failover. What the time belongs to is no older than the value. */
  async #readWithTime (redisKey: string): Promise<{ value: string, left: number } | null> {
    const [stored, left] = await Promise.all([this.#client.get(redisKey), this.#client.pttl?.(redisKey)])
    return stored === null ? null : { value: valueIn(stored), left: Number(left) }
  }

  /** Whether what is read often is answered from this process now: there is a near cache, and Redis tells of changes. */
  get isCaching (): boolean {
    return this.#near?.isProven ?? false
  }

  /**
   * Writes value, deadline and tags together; resolves whether it wrote.
   * Rejects with a TypeError when `expiresAt` is not an integer.
   */
  async set (key: string, value: string, options: SetOptions): Promise<boolean> {
    const { expiresAt, tags = [] } = options
    assertExpiresAt(expiresAt)
    // Redis takes any instant of the past but refuses those before 1970.
    const deadline = Math.max(expiresAt, 1)
    const stored = `${headerOf(tags)}\n${value}`

    // Tags first: a write that fails half-way leaves a tag that find() sees through,
    // where the other order would leave a token that no revocation finds.
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

  /** Forgets the key, with `if` only while its value is exactly that string; resolves whether it went. */
  async delete (key: string, options: { if?: string } = {}): Promise<boolean> {
    const condition = options.if
    return await this.#change(key, async (redisKey) =>
      isOne(condition === undefined ? await this.#client.del(redisKey) : await this.#client.eval(DELETE_IF, 1, redisKey, condition)))
  }

  /** Changes a value. Whoever reads it from then on asks Redis, also where the change was refused: what is near may be old. */
  async #change (key: string, change: (redisKey: string) => Promise<boolean>): Promise<boolean> {
    const redisKey = this.#keyOf(key)
    this.#near?.drop(redisKey)
    try {
      return await change(redisKey)
    } finally {
      this.#near?.drop(redisKey)
    }
  }

  /**
   * Resolves with the keys whose current value was set with the tag, the nearest deadline first.
   * A page may hold fewer keys than the limit, even none: the last is the one whose cursor is null.
   * A key that is set again while the pages are read may come twice, never not at all.
   * Pages of 100 by default, 1000 at most; rejects with a TypeError on a limit or a cursor that cannot be one.
   */
  async find (tag: string, options: { limit?: number, cursor?: string } = {}): Promise<{ keys: string[], cursor: string | null }> {
    const { limit = 100, cursor } = options
    assertLimit(limit)
    const size = Math.min(limit, LARGEST_PAGE)
    const page = stringsOf(await this.#client.eval(PAGE, 1, this.#tagKeyOf(tag), size, ...positionOf(cursor)))
    const candidates = page.filter((_, index) => index % 2 === 0)
    const values = await Promise.all(candidates.map((key) => this.#reads.get(this.#keyOf(key))))
    const tagged = candidates.map((_, index) => isTagged(values[index] ?? '', tag))
    await this.#dropStrays(tag, page.filter((_, index) => tagged[index >> 1] === false))
    return {
      keys: candidates.filter((_, index) => tagged[index]),
      cursor: candidates.length < size ? null : `${page.at(-1)}:${candidates.at(-1)}`
    }
  }

  /**
   * Drops members whose value lacks the tag: overwritten, revoked, or left behind by a crash. Each was seen
   * so a minute before, with the same deadline: a writer who had written the tag and not yet the value is
   * done by then, and one who has come since has moved the deadline. `members` holds a key and its deadline in turn.
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

  /** When there are too many, those that nobody came back to make room, and the others keep theirs. */
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
    // A key that looks like the name of a tag steps aside.
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
  // The node-redis client has all four methods, and takes other arguments.
  if ('isOpen' in client || !METHODS.every((method) => typeof Reflect.get(client, method) === 'function')) {
    throw new TypeError('`client` of RedisStore is no ioredis client: pass a Redis or Cluster of the package ioredis')
  }
}

function checkNearCache (nearCache: NearCacheOptions, client: RedisClient): NearCacheOptions {
  assertOptions('nearCache', nearCache, ['client', 'maxEntries', 'maxStaleness'])
  const { client: own, maxEntries = 1, maxStaleness = 1 } = nearCache
  if ([client, own].some((each) => each?.isCluster === true)) {
    throw new TypeError('`nearCache` of RedisStore needs a single Redis, or one behind Sentinel: a Cluster tells of changes on each node')
  }
  if (typeof Reflect.get(Object(own), 'subscribe') !== 'function' || Object.is(own, client) || own.listenerCount('messageBuffer') > 0) {
    throw new TypeError('`nearCache.client` of RedisStore must be an ioredis client of its own, for this store alone: pass client.duplicate({ autoResubscribe: false })')
  }
  const optionOf = (name: string): unknown => Reflect.get(Object(own.options), name)
  if (optionOf('protocol') === 3) {
    throw new TypeError('`nearCache.client` of RedisStore must speak RESP2, since ioredis does not tell what Redis sends by RESP3: pass client.duplicate({ autoResubscribe: false, protocol: 2 })')
  }
  if (optionOf('autoResubscribe') !== false) {
    throw new TypeError('`nearCache.client` of RedisStore must not subscribe again by itself, since nobody could catch that it fails: pass client.duplicate({ autoResubscribe: false })')
  }
  for (const [name, value] of Object.entries({ maxEntries, maxStaleness })) {
    if (!isPositiveInteger(value)) throw new RangeError(`\`nearCache.${name}\` of RedisStore is not a positive integer`)
  }
  return nearCache
}

/** The value begins behind the first newline, see `headerOf`. */
function valueIn (stored: string): string {
  return stored.slice(stored.indexOf('\n') + 1)
}

/**
 * What a stored string begins with, up to its first newline: each tag, encoded, and a space.
 * An untagged value pays one byte.
 */
function headerOf (tags: readonly string[]): string {
  return tags.map((tag) => `${encodeURIComponent(tag)} `).join('')
}

function isTagged (stored: string, tag: string): boolean {
  const header = stored.slice(0, stored.indexOf('\n') + 1)
  return ` ${header}`.includes(` ${headerOf([tag])}`)
}

function positionOf (cursor: string | undefined): string[] {
  if (cursor === undefined) return []
  assertCursor(cursor, /^\d{1,16}:/)
  const colon = cursor.indexOf(':')
  return [cursor.slice(0, colon), cursor.slice(colon + 1)]
}

function stringsOf (reply: unknown): string[] {
  if (!Array.isArray(reply)) throw new TypeError('Redis did not answer with a list: is `client` an ioredis client?')
  return reply.map(String)
}

// A client with `stringNumbers` answers '1'.
function isOne (reply: unknown): boolean {
  return Number(reply) === 1
}

import { randomUUID } from 'node:crypto'

/**
 * What a near cache uses of the client on which Redis tells of changes: a `Redis` of ioredis has it.
 */
export interface InvalidationClient {
  readonly isCluster?: boolean
  readonly status: string
  readonly options?: object
  call (command: string, ...args: string[]): Promise<unknown>
  subscribe (channel: string): Promise<unknown>
  unsubscribe (channel: string): Promise<unknown>
  ping (): Promise<unknown>
  listenerCount (event: 'messageBuffer'): number
  on (event: 'messageBuffer', listener: (channel: Buffer, message: unknown) => void): unknown
  on (event: 'ready' | 'close', listener: () => void): unknown
}

/**
 * What a near cache asks of the client whose values it keeps.
 */
export interface DataClient {
  readonly options?: object
  call? (command: string, ...args: string[]): Promise<unknown>
  set (key: string, value: string, pxat: 'PXAT', milliseconds: number): Promise<unknown>
}

/**
 * Options of a near cache.
 */
export interface NearCacheOptions {
  /**
   * An ioredis client of its own, for the same Redis: `client.duplicate({ autoResubscribe: false })`, with ioredis 6
   * `client.duplicate({ autoResubscribe: false, protocol: 2 })`. The store subscribes on it to what Redis tells of
   * changes, so that nothing else can use it, not even another store; it never opens or closes it.
   */
  client: InvalidationClient
  /** How many values are kept at most; the one that has not been read for the longest time makes room. Defaults to 10,000. */
  maxEntries?: number | undefined
  /**
   * How old what the cache answers can be at most, in milliseconds, should Redis fall silent. As a rule a change is
   * seen within a few milliseconds. Defaults to 1000.
   */
  maxStaleness?: number | undefined
}

interface Entry {
  value: string
  /** By the clock of the world, in Unix milliseconds, and by one that is never set back: the earlier decides. */
  expiresAt: number
  endsAt: number
}

/** Reads of a key that overlap. An invalidation takes the mark away, and none of them is kept. */
interface Load {
  readers: number
  /** The latest of them that was kept. */
  kept: number
}

const CHANNEL = '__redis__:invalidate'
const PROOFS_PER_STALENESS = 4

/**
 * Keeps values near that Redis promises to tell changes of, by its client-side caching.
 *
 * One connection carries the promise and its proof. Tracking is switched on for the very connection that is told, so
 * that both end together. At first a value is written through the other client, and must be told of: then the two
 * speak of the same keys. From then on a ping that is answered as to a subscriber proves that what was told before has
 * arrived; and the other client must still ask the same server, over the same connection. Without a fresh proof
 * nothing is answered from here, and where something has changed all begins anew.
 */
export class NearCache {
  readonly #client: InvalidationClient
  readonly #data: DataClient
  readonly #prefix: string
  readonly #maxEntries: number
  readonly #maxStaleness: number
  /** What ioredis puts before every key by itself. */
  readonly #wirePrefix: string
  readonly #entries = new Map<string, Entry>()
  readonly #loads = new Map<string, Load>()
  #sequence = 0
  #timer: NodeJS.Timeout | undefined
  /** When the last proof was asked for, by both clocks: one stands still while the machine sleeps, the other may be set. */
  #provenAt = { monotonic: -Infinity, wall: -Infinity }
  /** Counts connections: what one began is of no use to the next. */
  #connection = 0
  /** The key whose change has to be told of, and what is done then. */
  #canary: { key: string, told: () => void } | null = null

  constructor ({ client, maxEntries = 10_000, maxStaleness = 1000 }: NearCacheOptions, data: DataClient, prefix: string) {
    this.#client = client
    this.#data = data
    this.#prefix = prefix
    this.#maxEntries = maxEntries
    this.#maxStaleness = maxStaleness
    this.#wirePrefix = String(Reflect.get(Object(data.options), 'keyPrefix') ?? '')
    client.on('messageBuffer', (channel, message) => { if (String(channel) === CHANNEL) this.#invalidate(message) })
    client.on('close', () => { this.#end() })
    client.on('ready', () => { this.#begin() })
    if (client.status === 'ready') this.#begin()
  }

  /** Whether Redis has proven of late that it tells of changes. */
  get isProven (): boolean {
    const { monotonic, wall } = this.#provenAt
    const age = Date.now() - wall
    return performance.now() - monotonic <= this.#maxStaleness && age >= 0 && age <= this.#maxStaleness
  }

  /** Returns a value that is near; undefined where Redis must be asked. */
  get (key: string): string | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined || !this.isProven) return undefined
    // The most recently read come last.
    this.#entries.delete(key)
    if (entry.expiresAt <= Date.now() || entry.endsAt <= performance.now()) return undefined
    this.#entries.set(key, entry)
    return entry.value
  }

  /** Reads a value with the milliseconds that it has left, and keeps it unless it changes meanwhile. */
  async load (key: string, read: () => Promise<{ value: string, left: number } | null>): Promise<string | null> {
    const [wall, monotonic] = [Date.now(), performance.now()]
    const sequence = ++this.#sequence
    const load = this.#loads.get(key) ?? { readers: 0, kept: 0 }
    load.readers++
    this.#loads.set(key, load)
    try {
      const found = await read()
      const isUnchanged = this.#loads.get(key) === load && sequence > load.kept
      if (found === null) return null
      // What Redis cannot name to us by the same text is not kept.
      if (isUnchanged && found.left > 0 && this.isProven && Buffer.from(key).toString() === key) {
        load.kept = sequence
        this.#keep(key, { value: found.value, expiresAt: wall + found.left, endsAt: monotonic + found.left })
      }
      return found.value
    } finally {
      load.readers--
      if (load.readers === 0 && this.#loads.get(key) === load) this.#loads.delete(key)
    }
  }

  /** Forgets a value that this process is about to change, or has changed. */
  drop (key: string): void {
    this.#entries.delete(key)
    this.#loads.delete(key)
  }

  #keep (key: string, entry: Entry): void {
    this.#entries.delete(key)
    this.#entries.set(key, entry)
    if (this.#entries.size <= this.#maxEntries) return
    const [oldest] = this.#entries.keys()
    if (oldest !== undefined) this.#entries.delete(oldest)
  }

  #invalidate (message: unknown): void {
    // All of a database was flushed.
    if (!Array.isArray(message)) return this.#clear()
    for (const told of message) {
      const key = String(told).slice(this.#wirePrefix.length)
      this.drop(key)
      if (key === this.#canary?.key) this.#canary.told()
    }
  }

  #clear (): void {
    this.#entries.clear()
    this.#loads.clear()
  }

  #begin (): void {
    this.#end()
    const connection = this.#connection
    const isCurrent = () => connection === this.#connection
    this.#setUp(isCurrent).catch(() => { if (isCurrent()) this.#beginLater() })
  }

  /** Where Redis refuses, is too slow, or is another than it was, it is asked for everything for a while. */
  #beginLater (): void {
    this.#end()
    this.#timer = setTimeout(() => { this.#begin() }, this.#maxStaleness).unref()
  }

  async #setUp (isCurrent: () => boolean): Promise<void> {
    // A set-up that failed may have left it subscribed, and then it can ask for nothing else.
    await this.#client.unsubscribe(CHANNEL)
    const server = readField(await this.#client.call('INFO', 'server'), 'run_id')
    const id = await this.#client.call('CLIENT', 'ID')
    await this.#client.call('CLIENT', 'TRACKING', 'OFF')
    await this.#client.call('CLIENT', 'TRACKING', 'ON', 'REDIRECT', String(id), 'BCAST', 'PREFIX', this.#wirePrefix + this.#prefix)
    await this.#client.subscribe(CHANNEL)
    const place = await this.#placeOfData()
    if (place.server !== server) throw new Error('the two clients ask different servers')
    await this.#hearOfCanary()
    if (!isCurrent()) return
    let isAsking = false
    const prove = async (): Promise<void> => {
      if (isAsking) return
      isAsking = true
      const askedAt = { monotonic: performance.now(), wall: Date.now() }
      try {
        const [{ server, connection }, pong] = await Promise.all([this.#placeOfData(), this.#client.ping()])
        if (!isCurrent()) return
        // Only a subscriber is answered by a list: Redis tells nobody else.
        if (server === place.server && connection === place.connection && Array.isArray(pong)) this.#provenAt = askedAt
        else this.#beginLater()
      } catch {
        // No proof.
      } finally {
        isAsking = false
      }
    }
    await prove()
    if (isCurrent()) this.#timer = setInterval(prove, Math.max(1, this.#maxStaleness / PROOFS_PER_STALENESS)).unref()
  }

  /** Where the other client asks now: a connection that it has opened since, or another database, is another place. */
  async #placeOfData (): Promise<{ server: string, connection: string }> {
    const [server, connection] = await Promise.all([this.#data.call?.('INFO', 'server'), this.#data.call?.('CLIENT', 'INFO')])
    return { server: readField(server, 'run_id'), connection: `${readField(connection, 'id')} ${readField(connection, 'db')}` }
  }

  /** Writes a value through the other client, and resolves when Redis has told of it here. Rejects when it does not. */
  async #hearOfCanary (): Promise<void> {
    // No key of the store begins like this: `key:` stands before those alone that begin with `key:` or `tag:`.
    const key = `${this.#prefix}key:~${randomUUID()}`
    let timer: NodeJS.Timeout | undefined
    const isTold = new Promise<void>((resolve, reject) => {
      this.#canary = { key, told: resolve }
      timer = setTimeout(() => { reject(new Error('Redis did not tell of a change')) }, this.#maxStaleness).unref()
    })
    try {
      await Promise.all([isTold, this.#data.set(key, '', 'PXAT', Date.now() + 60_000)])
    } finally {
      clearTimeout(timer)
      this.#canary = null
    }
  }

  #end (): void {
    this.#connection++
    this.#provenAt = { monotonic: -Infinity, wall: -Infinity }
    clearTimeout(this.#timer)
    this.#clear()
  }
}

/** Reads a field of what Redis says of itself or of a client: `run_id` is new at each start of a server, `id` with each connection. */
function readField (info: unknown, name: string): string {
  const [, value] = new RegExp(`(?:^|\\s)${name}[:=](\\w+)`).exec(String(info)) ?? []
  if (value === undefined) throw new Error(`Redis did not say its ${name}`)
  return value
}

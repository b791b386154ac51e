import { setImmediate } from 'node:timers'

/**
 * The part of a Redis client that reads use. `mget` is used where the client has it, but never on a cluster:
 * the keys of one command would lie on several nodes.
 */
export interface ReadingClient {
  readonly isCluster?: boolean
  get (key: string): Promise<string | null>
  mget? (keys: string[]): Promise<Array<string | null>>
}

interface Read {
  key: string
  answer: (stored: string | null) => void
  reject: (error: unknown) => void
}

// Redis runs one command at a time: a longer MGET would keep other clients waiting.
const LARGEST_BATCH = 500

/**
 * Reads all keys that are asked for in one turn of the event loop by a single MGET. Under load, one more command costs far more
 * than one more key in a command.
 */
export class ReadBatch {
  readonly #client: ReadingClient
  #isBatching: boolean
  #waiting: Read[] = []

  constructor (client: ReadingClient) {
    this.#client = client
    this.#isBatching = client.isCluster !== true && typeof client.mget === 'function'
  }

  /**
   * Reads the string that Redis holds under a key. Resolves with the part of it that `partOf` returns, by default with all of it,
   * or with null when there is no string. Rejects with the client's error.
   */
  get (key: string, partOf: (stored: string) => string = String): Promise<string | null> {
    // Promises are most of what a read costs here. `partOf` is called before this promise resolves, so the caller needs no
    // promise of its own.
    return new Promise((resolve, reject) => {
      const answer = (stored: string | null) => {
        try {
          resolve(stored === null ? null : partOf(stored))
        } catch (error) {
          reject(error)
        }
      }
      const read: Read = { key, answer, reject }
      if (!this.#isBatching) return this.#readAlone(read)
      this.#waiting.push(read)
      if (this.#waiting.length === 1) setImmediate(() => { this.#send(this.#waiting) })
      if (this.#waiting.length === LARGEST_BATCH) this.#send(this.#waiting)
    })
  }

  #send (batch: Read[]): void {
    // `setImmediate` finds no reads here if its batch was full and was therefore sent earlier.
    if (batch.length === 0) return
    this.#waiting = []
    const [only] = batch
    if (batch.length === 1 && only !== undefined) this.#readAlone(only)
    else this.#readTogether(batch)
  }

  async #readAlone ({ key, answer, reject }: Read): Promise<void> {
    try {
      answer(await this.#client.get(key) ?? null)
    } catch (error) {
      reject(error)
    }
  }

  async #readTogether (batch: readonly Read[]): Promise<void> {
    try {
      const values = await this.#client.mget?.(batch.map(({ key }) => key))
      if (!Array.isArray(values) || values.length !== batch.length) throw new TypeError('Redis did not answer MGET with one value for each key')
      for (const [index, { answer }] of batch.entries()) answer(values[index] ?? null)
    } catch (error) {
      if (isRefusal(error)) {
        this.#isBatching = false
        for (const read of batch) this.#readAlone(read)
      } else {
        for (const { reject } of batch) reject(error)
      }
    }
  }
}

/** Tells whether Redis refuses MGET itself: a single node of a cluster, a proxy without the command, or a user without the permission. */
function isRefusal (error: unknown): boolean {
  return error instanceof Error && /^(?:CROSSSLOT|NOPERM|ERR unknown command)/.test(error.message)
}

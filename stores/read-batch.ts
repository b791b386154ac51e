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
  resolve: (value: string | null | Promise<string | null>) => void
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

  /** Resolves with the value of a key, or with null when there is none; rejects with the client's error. */
  get (key: string): Promise<string | null> {
    if (!this.#isBatching) return this.#readAlone(key)
    return new Promise((resolve, reject) => {
      this.#waiting.push({ key, resolve, reject })
      if (this.#waiting.length === 1) setImmediate(() => { this.#send(this.#waiting) })
      if (this.#waiting.length === LARGEST_BATCH) this.#send(this.#waiting)
    })
  }

  #send (batch: Read[]): void {
    // `setImmediate` finds no reads here if its batch was full and was therefore sent earlier.
    if (batch.length === 0) return
    this.#waiting = []
    const [only] = batch
    if (batch.length === 1 && only !== undefined) return only.resolve(this.#readAlone(only.key))
    this.#readTogether(batch.map(({ key }) => key)).then(
      (values) => { for (const [index, { resolve }] of batch.entries()) resolve(values[index] ?? null) },
      (error: unknown) => {
        if (!isRefusal(error)) {
          for (const { reject } of batch) reject(error)
          return
        }
        this.#isBatching = false
        for (const { key, resolve } of batch) resolve(this.#readAlone(key))
      }
    )
  }

  /** Is async so that a client that throws synchronously becomes a rejected promise. */
  async #readAlone (key: string): Promise<string | null> {
    return await this.#client.get(key)
  }

  async #readTogether (keys: string[]): Promise<Array<string | null>> {
    const values = await this.#client.mget?.(keys)
    if (!Array.isArray(values) || values.length !== keys.length) throw new TypeError('Redis did not answer MGET with one value for each key')
    return values
  }
}

/** Tells whether Redis refuses MGET itself: a single node of a cluster, a proxy without the command, or a user without the permission. */
function isRefusal (error: unknown): boolean {
  return error instanceof Error && /^(?:CROSSSLOT|NOPERM|ERR unknown command)/.test(error.message)
}

import { setImmediate } from 'node:timers'

/**
 * What reading takes of a client. `mget` is used where there is one, and never on a cluster, whose keys lie on
 * several nodes.
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

// So many that Redis keeps nobody else waiting meanwhile.
const LARGEST_BATCH = 500

/**
 * Reads keys, those of one turn of the event loop by one command: under load most of what a read costs is its
 * own command, on the way there and back.
 */
export class ReadBatch {
  readonly #client: ReadingClient
  #isBatching: boolean
  #waiting: Read[] = []

  constructor (client: ReadingClient) {
    this.#client = client
    this.#isBatching = client.isCluster !== true && typeof client.mget === 'function'
  }

  /** Resolves with the value of a key, or null; rejects with the client's error. */
  get (key: string): Promise<string | null> {
    if (!this.#isBatching) return this.#readAlone(key)
    return new Promise((resolve, reject) => {
      this.#waiting.push({ key, resolve, reject })
      if (this.#waiting.length === 1) setImmediate(() => { this.#send(this.#waiting) })
      if (this.#waiting.length === LARGEST_BATCH) this.#send(this.#waiting)
    })
  }

  #send (batch: Read[]): void {
    // A full batch was sent before its turn.
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

  /** A client that throws at once rejects all the same. */
  async #readAlone (key: string): Promise<string | null> {
    return await this.#client.get(key)
  }

  async #readTogether (keys: string[]): Promise<Array<string | null>> {
    const values = await this.#client.mget?.(keys)
    if (!Array.isArray(values) || values.length !== keys.length) throw new TypeError('Redis did not answer MGET with as many values as it was asked for')
    return values
  }
}

/** Tells whether this Redis takes no MGET: one node of a cluster, a proxy, or a user who may not. */
function isRefusal (error: unknown): boolean {
  return error instanceof Error && /^(?:CROSSSLOT|NOPERM|ERR unknown command)/.test(error.message)
}

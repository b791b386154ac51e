import type { FastifyBaseLogger } from 'fastify'
import { BoundedMap } from '../collections/bounded-map.ts'
import { unavailable, type CallOptions, type GuardedStore, type KeyPage } from './guarded-store.ts'
import type { Sealer } from './seal.ts'

/** Options for writing a value. */
export interface SealedOptions {
  /** When the value expires, in Unix milliseconds. */
  expiresAt: number
  tags?: readonly string[]
  /**
   * A sealed value: writes only if the store holds exactly this value. Null: writes only if the store has no value.
   * Defaults to writing in any case.
   */
  if?: string | null
}

/** Options of a single write. */
export interface SealedCallOptions {
  /** Called after the plugin has reported the write as failed, if the store has written the value all the same, or may have. */
  afterFailure?: (() => void) | undefined
  /** Whether the store is called even while it rests: for a second after a timeout. Defaults to false. */
  whileResting?: boolean | undefined
}

/** A value from the store. A conditional write compares the sealed form with what the store holds. */
export interface Sealed {
  sealed: string
  text: string
}

/**
 * Seals every value before it reaches the store. A value that was tampered with, or that the plugin did not write, counts as
 * absent and is logged once. A value that was sealed with a secret unknown to this process counts as an outage of the store.
 */
export class SealedStore {
  readonly #store: GuardedStore
  readonly #sealer: Sealer
  readonly #log: FastifyBaseLogger
  readonly #reported = new BoundedMap<true>(1000)

  constructor (store: GuardedStore, sealer: Sealer, log: FastifyBaseLogger) {
    this.#store = store
    this.#sealer = sealer
    this.#log = log
  }

  /** Reads a value without unsealing it. The caller unseals it later, with `unseal`. */
  getSealed (key: string, callOptions?: Pick<CallOptions, 'whileResting'>): Promise<string | null> {
    return this.#store.get(key, callOptions)
  }

  /** Whether `getSealedSync` answers for every key. */
  get isSynchronous (): boolean {
    return this.#store.isSynchronous
  }

  /** Reads a value at once without unsealing it; undefined when the caller must use `getSealed`. */
  getSealedSync (key: string): string | null | undefined {
    return this.#store.getSync(key)
  }

  /** Reads the sealed values of many keys, in their order. */
  getManySealed (keys: readonly string[]): Promise<Array<string | null>> {
    return this.#store.getMany(keys)
  }

  async get (key: string): Promise<Sealed | null> {
    const sealed = await this.#store.get(key)
    const text = sealed === null ? null : this.unseal(key, sealed)
    return sealed === null || text === null ? null : { sealed, text }
  }

  /** Seals a value and writes it. Resolves with the sealed value, or with null when the condition `if` did not hold. */
  async set (key: string, text: string, options: SealedOptions, { afterFailure, whileResting }: SealedCallOptions = {}): Promise<string | null> {
    const sealed = this.#sealer.seal(key, text)
    const written = await this.#store.set(key, sealed, options, {
      whileResting,
      afterFailure: afterFailure && ((written) => { if (written !== false) afterFailure() })
    })
    return written ? sealed : null
  }

  /** Writes a value that is sealed already, to put back a value that was removed or replaced. */
  restore (key: string, sealed: string, options: SealedOptions): Promise<boolean> {
    return this.#store.set(key, sealed, options, { whileResting: true })
  }

  delete (key: string, options?: { if?: string }, callOptions?: CallOptions): Promise<boolean> {
    return this.#store.delete(key, options, callOptions)
  }

  /** Finds the keys of the values that were written with the tag, a page at a time. */
  find (tag: string, options: { limit: number, cursor?: string }): Promise<KeyPage> {
    return this.#store.find(tag, options)
  }

  /**
   * Unseals a value that was read from the store; null when it counts as absent. Throws `WEBFLOW_OAUTH_STORE_UNAVAILABLE`
   * when this process does not have the secret of the value.
   */
  unseal (key: string, sealed: string): string | null {
    const result = this.#sealer.unseal(key, sealed)
    switch (result.kind) {
      case 'unsealed':
        return result.text
      case 'foreign':
        this.#report(key)
        return null
      case 'unknown_key':
        throw unavailable('A stored value was sealed under a secret that this process does not know: add that secret to the list in the option `secret`.')
    }
  }

  #report (key: string): void {
    if (this.#reported.get(key) !== undefined) return
    this.#reported.set(key, true)
    this.#log.error({ key }, 'webflow-oauth: a stored value was not written by this plugin or was changed, so it is ignored. Does something else write to the store under the same prefix?')
  }
}

import type { FastifyBaseLogger } from 'fastify'
import { BoundedMap } from '../collections/bounded-map.ts'
import { unavailable, type CallOptions, type GuardedStore, type Page } from './guarded-store.ts'
import type { Sealer } from './seal.ts'

/** What is said of a value as it is written. */
export interface SealedOptions {
  /** When it ends, in Unix milliseconds. */
  expiresAt: number
  tags?: readonly string[]
  /** Writes only over this sealed value, or only over none. */
  if?: string | null
}

/** How a write differs from others. */
export interface SealedCallOptions {
  /** Called when the write was reported as failed, and may stand in the store all the same. */
  afterFailure?: (() => void) | undefined
  /** Whether the store is called even in its second of rest after a timeout. Defaults to false. */
  whileResting?: boolean | undefined
}

/** A value as it was read: the sealed form is what conditional writes compare with. */
export interface Sealed {
  sealed: string
  text: string
}

/**
 * A store that sees sealed values only. What was tampered with or is foreign counts as absent and is
 * logged once; what was sealed under a secret that this process does not know is an outage.
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

  /** Reads the sealed value, to be opened when somebody asks for it. */
  getSealed (key: string, callOptions?: Pick<CallOptions, 'whileResting'>): Promise<string | null> {
    return this.#store.get(key, callOptions)
  }

  /** Reads the sealed values of many keys, in their order. */
  getManySealed (keys: readonly string[]): Promise<Array<string | null>> {
    return this.#store.getMany(keys)
  }

  async get (key: string): Promise<Sealed | null> {
    const sealed = await this.#store.get(key)
    const text = sealed === null ? null : this.open(key, sealed)
    return sealed === null || text === null ? null : { sealed, text }
  }

  /** Seals and writes; resolves with the sealed value, or null when the condition did not hold. */
  async set (key: string, text: string, options: SealedOptions, { afterFailure, whileResting }: SealedCallOptions = {}): Promise<string | null> {
    const sealed = this.#sealer.seal(key, text)
    const written = await this.#store.set(key, sealed, options, {
      whileResting,
      afterFailure: afterFailure && ((written) => { if (written !== false) afterFailure() })
    })
    return written ? sealed : null
  }

  /** Writes a value that is sealed already, to put back what stood there. */
  restore (key: string, sealed: string, options: SealedOptions): Promise<boolean> {
    return this.#store.set(key, sealed, options, { whileResting: true })
  }

  delete (key: string, options?: { if?: string }, callOptions?: CallOptions): Promise<boolean> {
    return this.#store.delete(key, options, callOptions)
  }

  /** Names the keys whose value was written with the tag, a page at a time. */
  find (tag: string, options: { limit: number, cursor?: string }): Promise<Page> {
    return this.#store.find(tag, options)
  }

  /** Opens a value that was just read; null when it counts as absent. Throws `WEBFLOW_OAUTH_STORE_UNAVAILABLE` when its secret is unknown. */
  open (key: string, sealed: string): string | null {
    const opened = this.#sealer.open(key, sealed)
    switch (opened.kind) {
      case 'opened':
        return opened.text
      case 'foreign':
        this.#report(key)
        return null
      case 'unknown_key':
        throw unavailable('A stored value was sealed under a secret that this process does not know: add the missing one to `secret`.')
    }
  }

  #report (key: string): void {
    if (this.#reported.get(key) !== undefined) return
    this.#reported.set(key, true)
    this.#log.error({ key }, 'webflow-oauth: a stored value was tampered with or is foreign; it counts as absent')
  }
}

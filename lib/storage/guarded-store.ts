import type { SetOptions, TokenStore } from '../../stores/token-store.ts'
import { startDeadline } from '../collections/deadline.ts'
import { isObject } from '../collections/json.ts'
import { diagnostics, type StoreFailure, type StoreMethod } from '../diagnostics.ts'
import { WebflowOAuthError, describeForeign } from '../errors.ts'

const restAfterTimeout = 1000

/** Keys that a store found, and where the next page begins; null after the last. */
export interface Page {
  keys: string[]
  cursor: string | null
}

/** How a call to the store differs from others. */
export interface CallOptions<T = boolean> {
  /**
   * Called after the caller was told that the call failed, once it is known what became of the call: with the late
   * answer, or with null where the store may or may not have carried the call out. Must not throw.
   */
  afterFailure?: ((answer: T | null) => void) | undefined
  /** Whether the store is called even in its second of rest after a timeout. Defaults to false. */
  whileResting?: boolean | undefined
}

type Circuit = 'closed' | 'open' | 'half-open' | 'probing'

/**
 * Gives every call to a store a deadline, and every failure one face: `WEBFLOW_OAUTH_STORE_UNAVAILABLE`.
 * After a timeout further calls fail at once for a second, then one of them probes: while Redis hangs,
 * the app does not.
 */
export class GuardedStore {
  readonly #store: TokenStore
  readonly #timeout: number
  readonly #clientId: string
  #circuit: Circuit = 'closed'

  constructor (store: TokenStore, timeout: number, clientId: string) {
    this.#store = store
    this.#timeout = timeout
    this.#clientId = clientId
  }

  get (key: string, { whileResting }: Pick<CallOptions, 'whileResting'> = {}): Promise<string | null> {
    return this.#call('get', () => this.#store.get(key), isStringOrNull, { whileResting })
  }

  /** Reads many keys, in their order: by one call where the store has one for that. */
  getMany (keys: readonly string[]): Promise<Array<string | null>> {
    if (this.#store.getMany === undefined) return Promise.all(keys.map((key) => this.get(key)))
    return this.#call('get', async () => await this.#store.getMany?.(keys), (value) => isListOf(value, keys.length))
  }

  set (key: string, value: string, options: SetOptions, callOptions?: CallOptions): Promise<boolean> {
    return this.#call('set', () => this.#store.set(key, value, options), isBoolean, callOptions)
  }

  delete (key: string, options?: { if?: string }, callOptions?: CallOptions): Promise<boolean> {
    return this.#call('delete', () => this.#store.delete(key, options), isBoolean, callOptions)
  }

  find (tag: string, options: { limit: number, cursor?: string }): Promise<Page> {
    return this.#call('find', () => this.#store.find(tag, options), isPage)
  }

  #call<T> (method: StoreMethod, run: () => Promise<unknown>, isAnswer: (value: unknown) => value is T, { afterFailure, whileResting = false }: CallOptions<T> = {}): Promise<T> {
    const startedAt = performance.now()
    const publish = (reason: StoreFailure['reason']) => {
      diagnostics.storeFailure.publish({ clientId: this.#clientId, method, reason, duration: performance.now() - startedAt })
    }
    const isResting = this.#circuit === 'open' || this.#circuit === 'probing'
    if (isResting && !whileResting) {
      publish('resting')
      return Promise.reject(unavailable('The token store did not answer a moment ago and is given a second to recover.'))
    }
    const probes = this.#circuit === 'half-open'
    if (probes) this.#circuit = 'probing'

    return new Promise((resolve, reject) => {
      let late = false
      const cancel = startDeadline(this.#timeout, () => {
        late = true
        if (probes || this.#circuit === 'closed') this.#rest()
        reject(unavailable(`The token store did not answer \`${method}\` within ${this.#timeout} ms.`))
        publish('timeout')
      })
      const settle = () => {
        cancel()
        if (probes && this.#circuit === 'probing') this.#circuit = 'closed'
      }
      const fail = (error: unknown) => {
        settle()
        reject(unavailable(`The token store failed to \`${method}\`.`, describeForeign(error)))
        if (!late) publish('error')
        afterFailure?.(null)
      }
      try {
        Promise.resolve(run()).then((value) => {
          if (!isAnswer(value)) return fail(new TypeError('not an answer of a token store'))
          settle()
          resolve(value)
          if (late) afterFailure?.(value)
        }, fail)
      } catch (error) {
        fail(error)
      }
    })
  }

  #rest (): void {
    this.#circuit = 'open'
    setTimeout(() => { this.#circuit = 'half-open' }, restAfterTimeout).unref()
  }
}

/** Makes the error that stands for an outage of the store. */
export function unavailable (message: string, cause?: Error): WebflowOAuthError {
  return new WebflowOAuthError('WEBFLOW_OAUTH_STORE_UNAVAILABLE', message, { cause })
}

function isStringOrNull (value: unknown): value is string | null {
  return value === null || typeof value === 'string'
}

function isListOf (value: unknown, length: number): value is Array<string | null> {
  return Array.isArray(value) && value.length === length && value.every(isStringOrNull)
}

function isBoolean (value: unknown): value is boolean {
  return typeof value === 'boolean'
}

function isPage (value: unknown): value is Page {
  return isObject(value) && isStringOrNull(value.cursor) && Array.isArray(value.keys) && value.keys.every((key) => typeof key === 'string')
}

import type { SetOptions, TokenStore } from '../../stores/token-store.ts'
import { startDeadline } from '../collections/deadline.ts'
import { isObject } from '../collections/json.ts'
import { diagnostics, type StoreFailure, type StoreMethod } from '../diagnostics.ts'
import { WebflowOAuthError, describeForeign } from '../errors.ts'

const restAfterTimeout = 1000

/** One page of the keys that a store found. */
export interface KeyPage {
  keys: string[]
  /** Where the next page begins; null after the last page. */
  cursor: string | null
}

/** Options of a single call to the store. `T` is the type of the answer. */
export interface CallOptions<T = boolean> {
  /**
   * Called after the call has been reported as failed, as soon as the store answers or rejects. It receives the late
   * answer, or null when the store rejected: then nobody knows whether the store carried out the call. It must not throw.
   */
  afterFailure?: ((answer: T | null) => void) | undefined
  /** Whether the store is called even during the second of rest after a timeout. Defaults to false. */
  whileResting?: boolean | undefined
}

/**
 * The state of a circuit breaker. `closed`: calls go to the store. `open`: the store rests, and calls fail at once. `half-open`:
 * the rest is over, and the next call is the probe. `probing`: the probe is running, and other calls fail at once.
 */
type Circuit = 'closed' | 'open' | 'half-open' | 'probing'

/**
 * Gives every call to the store a deadline, and turns every failure into `WEBFLOW_OAUTH_STORE_UNAVAILABLE`.
 * After a timeout the store rests for one second, in which calls fail at once. The next call then tries the store again, and
 * other calls keep failing until it has answered. A Redis that hangs therefore does not make the app hang.
 */
export class GuardedStore {
  readonly #store: TokenStore
  readonly #timeout: number
  readonly #clientId: string
  readonly #get: TokenStore['get']
  readonly #hasSync: boolean
  #circuit: Circuit = 'closed'

  constructor (store: TokenStore, timeout: number, clientId: string) {
    this.#store = store
    this.#get = store.get
    this.#hasSync = store.getSync !== undefined && hasSync(store)
    this.#timeout = timeout
    this.#clientId = clientId
  }

  get (key: string, { whileResting }: Pick<CallOptions, 'whileResting'> = {}): Promise<string | null> {
    return this.#call('get', () => this.#store.get(key), isStringOrNull, { whileResting })
  }

  /** Whether `getSync` answers for every key. */
  get isSynchronous (): boolean {
    return this.#store.isSynchronous === true && this.#canReadSync
  }

  /**
   * Reads a key at once, for the hot path; undefined when `get` must be asked. Throws `WEBFLOW_OAUTH_STORE_UNAVAILABLE` if
   * the store throws, or returns something that its contract does not allow. The store does not rest then, because no call
   * has hung.
   */
  getSync (key: string): string | null | undefined {
    if (!this.#canReadSync) return undefined
    let value: unknown
    try {
      value = this.#store.getSync?.(key)
      if (value === undefined || isStringOrNull(value)) return value
      // If the value is a promise that rejects, it would end the process, because nobody waits for it.
      Promise.resolve(value).catch(() => {})
      throw notAnAnswer()
    } catch (error) {
      diagnostics.storeFailure.publish({ clientId: this.#clientId, method: 'get', reason: 'error', duration: 0 })
      throw failed('getSync', error)
    }
  }

  /** Reads many keys and keeps their order. Calls `getMany` if the store has it, else `get` for each key. */
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

  find (tag: string, options: { limit: number, cursor?: string }): Promise<KeyPage> {
    return this.#call('find', () => this.#store.find(tag, options), isPage)
  }

  get #canReadSync (): boolean {
    // A test of the app may replace `get` later, to make the store fail. `getSync` must not bypass that `get`.
    return this.#hasSync && this.#circuit === 'closed' && this.#store.get === this.#get
  }

  #call<T> (method: StoreMethod, run: () => Promise<unknown>, isAnswer: (value: unknown) => value is T, { afterFailure, whileResting = false }: CallOptions<T> = {}): Promise<T> {
    const startedAt = performance.now()
    const publish = (reason: StoreFailure['reason']) => {
      diagnostics.storeFailure.publish({ clientId: this.#clientId, method, reason, duration: performance.now() - startedAt })
    }
    const isResting = this.#circuit === 'open' || this.#circuit === 'probing'
    if (isResting && !whileResting) {
      publish('resting')
      return Promise.reject(unavailable('The plugin did not call the token store, because a call timed out a moment ago. Is the store overloaded or unreachable?'))
    }
    const probes = this.#circuit === 'half-open'
    if (probes) this.#circuit = 'probing'

    return new Promise((resolve, reject) => {
      let late = false
      const cancel = startDeadline(this.#timeout, () => {
        late = true
        if (probes || this.#circuit === 'closed') this.#rest()
        reject(unavailable(`The token store did not answer \`${method}\` within ${this.#timeout} ms. Is the store overloaded or unreachable?`))
        publish('timeout')
      })
      const settle = () => {
        cancel()
        if (probes && this.#circuit === 'probing') this.#circuit = 'closed'
      }
      const fail = (error: unknown) => {
        settle()
        reject(failed(method, error))
        if (!late) publish('error')
        afterFailure?.(null)
      }
      try {
        Promise.resolve(run()).then((value) => {
          if (!isAnswer(value)) return fail(notAnAnswer())
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

/** Makes the error for a failed call to the store. */
export function unavailable (message: string, cause?: Error): WebflowOAuthError {
  return new WebflowOAuthError('WEBFLOW_OAUTH_STORE_UNAVAILABLE', message, { cause })
}

/**
 * Tells whether the `getSync` of a store can be trusted. If a subclass overrides only `get`, the inherited `getSync` does not
 * know what the new `get` returns.
 */
function hasSync (store: TokenStore): boolean {
  let owner: object | null = store
  while (owner !== null && !Object.hasOwn(owner, 'get') && !Object.hasOwn(owner, 'getSync')) owner = Object.getPrototypeOf(owner)
  return owner !== null && Object.hasOwn(owner, 'getSync')
}

function failed (method: string, error: unknown): WebflowOAuthError {
  return unavailable(`The token store's method \`${method}\` failed. Is the store running, and can this machine reach it?`, describeForeign(error))
}

function notAnAnswer (): TypeError {
  return new TypeError('not an answer of a token store')
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

function isPage (value: unknown): value is KeyPage {
  return isObject(value) && isStringOrNull(value.cursor) && Array.isArray(value.keys) && value.keys.every((key) => typeof key === 'string')
}

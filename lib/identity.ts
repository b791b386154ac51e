import type { FastifyRequest } from 'fastify'
import { WebflowOAuthError, describeForeign } from './errors.ts'
import { mac, storeId, verifyMac, type DerivedKey, type Keyring } from './keyring.ts'
import type { Settings } from './resolve-options.ts'

/**
 * Knows whom a token belongs to: a browser session, or with `identify` a user of the app.
 */
export class Identity {
  readonly #clientId: string
  readonly #identify: Settings['identify']
  readonly #keys: readonly DerivedKey[]

  constructor ({ clientId, identify }: Settings, keyring: Keyring) {
    this.#clientId = clientId
    this.#identify = identify
    this.#keys = keyring('mac user')
  }

  /** Whether tokens belong to users rather than to browser sessions. */
  get byUser (): boolean {
    return this.#identify !== undefined
  }

  /** Asks the app who is behind a request; null for nobody. What is neither is a mistake of the app's. */
  identify (request: FastifyRequest): string | null | Promise<string | null> {
    let answer: unknown
    try {
      answer = this.#identify?.(request)
      if (isThenable(answer)) return Promise.resolve(answer).catch(rejectIdentify).then(checkUser)
    } catch (error) {
      return rejectIdentify(error)
    }
    return checkUser(answer)
  }

  /** The id of the token of a session. */
  sessionTokenId (sessionId: string): string {
    return storeId(this.#clientId, sessionId)
  }

  /** The id of the token of a user. A session id holds no NUL: the two never meet. */
  userTokenId (user: string): string {
    return storeId(this.#clientId, 'user', user)
  }

  /** The keyed hash by which a flow remembers who began it. */
  hash (user: string): string {
    return mac(this.#keys, user).toString('base64url')
  }

  /** Tells whether a keyed hash is that of the user, under any of the secrets. */
  matches (hash: string, user: string): boolean {
    return verifyMac(this.#keys, user, Buffer.from(hash, 'base64url'))
  }
}

function checkUser (answer: unknown): string | null {
  if (answer === null || answer === undefined || answer === '') return null
  if (typeof answer === 'string') return answer
  throw invalid('must name the user by a string, or nobody by null')
}

function isThenable (value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}

function rejectIdentify (error: unknown): never {
  throw invalid('threw an error: for nobody it must answer null', describeForeign(error))
}

function invalid (problem: string, cause?: Error): WebflowOAuthError {
  return new WebflowOAuthError('WEBFLOW_OAUTH_INVALID_OPTION', `\`identify\` ${problem}.`, { cause })
}

import type { FastifyRequest } from 'fastify'
import { WebflowOAuthError, describeForeign } from '../errors.ts'
import type { Settings } from '../options/resolve.ts'
import { mac, storeId, verifyMac, type DerivedKey, type Keyring } from '../storage/keyring.ts'

/** How long the id of a user may be, in bytes of UTF-8: a flow cookie holds it. */
export const maxUserLength = 255

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

/**
 * Tells whether a value can name a user: a string of 1 to 255 bytes in UTF-8. A lone surrogate has no UTF-8 of its own, so
 * that two users whose ids differ in one alone would share a token.
 */
export function isUser (value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.isWellFormed() && Buffer.byteLength(value) <= maxUserLength
}

function checkUser (answer: unknown): string | null {
  if (answer === null || answer === undefined || answer === '') return null
  if (isUser(answer)) return answer
  throw invalid(`must name the user by a well-formed string of at most ${maxUserLength} bytes, or nobody by null`)
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

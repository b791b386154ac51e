import type { FastifyRequest } from 'fastify'
import { BoundedMap } from '../collections/bounded-map.ts'
import { WebflowOAuthError, describeForeign } from '../errors.ts'
import type { Settings } from '../options/resolve.ts'
import { isUser, maxUserLength } from '../options/user.ts'
import { mac, storeId, verifyMac, type DerivedKey, type Keyring } from '../storage/keyring.ts'

/**
 * Finds out to whom a token belongs: to a browser session, or with `identify` to a user of the app.
 */
export class Identity {
  readonly #clientId: string
  readonly #identify: Settings['identify']
  readonly #keys: readonly DerivedKey[]
  /** A cache of token ids by session id. Hashing a session id takes longer than all other work for a request with a session. */
  readonly #sessionTokenIds = new BoundedMap<string>(1000)

  constructor ({ clientId, identify }: Settings, keyring: Keyring) {
    this.#clientId = clientId
    this.#identify = identify
    this.#keys = keyring('mac user')
  }

  /** Whether tokens belong to users rather than to browser sessions. */
  get byUser (): boolean {
    return this.#identify !== undefined
  }

  /**
   * Calls `identify` to find out which user of the app makes a request; null for nobody. Throws or rejects with
   * `WEBFLOW_OAUTH_INVALID_OPTION` if `identify` throws, or returns a value that is neither a user's id nor empty.
   */
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

  /** Returns the id of the token of a browser session. */
  sessionTokenId (sessionId: string): string {
    const known = this.#sessionTokenIds.get(sessionId)
    if (known !== undefined) return known
    const tokenId = storeId(this.#clientId, sessionId)
    // V8 makes the session id a slice of the `Cookie` header, and a slice keeps the whole header in memory. Going through a
    // Buffer makes an independent copy.
    this.#sessionTokenIds.set(Buffer.from(sessionId, 'latin1').toString('latin1'), tokenId)
    return tokenId
  }

  /**
   * Returns the id of the token of a user. It never equals the id for a session: `storeId` joins its parts with NUL
   * characters, and a session id contains none.
   */
  userTokenId (user: string): string {
    return storeId(this.#clientId, 'user', user)
  }

  /** Returns the id of a token that was imported into an app without users. It never equals the id for a session or a user. */
  importedTokenId (accessToken: string): string {
    return storeId(this.#clientId, 'imported', accessToken)
  }

  /** Returns the keyed hash of a user. A flow keeps it in its cookie to remember who began the flow. */
  hash (user: string): string {
    return mac(this.#keys, user)
  }

  /** Tells whether a keyed hash was made for this user with any of the secrets. */
  matches (hash: string, user: string): boolean {
    return verifyMac(this.#keys, user, hash)
  }
}

function checkUser (answer: unknown): string | null {
  if (answer === null || answer === undefined || answer === '') return null
  if (isUser(answer)) return answer
  throw invalid(`must return the user's id, a well-formed string of at most ${maxUserLength} bytes, or null when nobody is signed in`)
}

function isThenable (value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}

function rejectIdentify (error: unknown): never {
  throw invalid('threw an error: it must return null when nobody is signed in', describeForeign(error))
}

function invalid (problem: string, cause?: Error): WebflowOAuthError {
  return new WebflowOAuthError('WEBFLOW_OAUTH_INVALID_OPTION', `\`identify\` ${problem}.`, { cause })
}

import type { FastifyReply, FastifyRequest } from 'fastify'
import { WebflowOAuthError } from '../errors.ts'
import type { Cookies } from '../http/cookies.ts'
import type { WebflowToken } from '../options/webflow-token.ts'
import { unavailable } from '../storage/guarded-store.ts'
import type { TokenRecords } from '../tokens/records.ts'
import type { Introspector } from '../tokens/introspector.ts'
import { isGuest, type DesignerSessions, type Guest } from './designer-sessions.ts'
import type { Identity } from './identity.ts'

/** The property of a request that holds its `Caller`. */
export const callerSlot = Symbol('webflow-oauth.caller')

/** The property of a request that holds its `Stage`. */
export const stageSlot = Symbol('webflow-oauth.stage')

/**
 * How far a request has come. `new`: the plugin's `onRequest` hook has not run. `begun`: it has run, and nobody has sent an
 * answer. `answering`: an answer is being sent.
 */
export type Stage = 'new' | 'begun' | 'answering'

/** What one instance of the plugin knows about the caller of a request. */
export interface Caller {
  /** Identifies the instance of the plugin that wrote this object. Other instances on the same server ignore the object. */
  writer: CallerTokens
  /** True when the plugin has not checked whether the route has opted out, because loading took no call to the store. */
  unchecked: boolean
  /** The app's user; null without `identify` and when nobody is signed in. */
  user: string | null
  /** The id of the token in `sealed`; the empty string when nothing was loaded. */
  tokenId: string
  /** The sealed value that the store returned; null without one. It is opened when somebody first reads the token. */
  sealed: string | null
  /** The error with which loading failed, or null. Reading the token throws it, so that an outage does not look like a logout. */
  failure: unknown
  /** The opened token; undefined until somebody reads it. */
  token: WebflowToken | null | undefined
  /** Set for a request with a session token of the Designer; null for any other request. */
  guest: Guest | null
}

/** The person who has opened a site in the Designer, and the site. */
export interface WebflowDesigner {
  readonly user: { readonly id: string }
  /** The id of the site that is open. The token may open other sites too: use this one. */
  readonly siteId: string
}

declare module 'fastify' {
  interface FastifyRequest {
    [callerSlot]: Caller | undefined
    [stageSlot]: Stage
  }
}

/**
 * Finds the caller's token: loads the sealed value before validation, and opens it when somebody first reads the token. If the
 * store answers without a promise, even loading waits until then, so that a route that never reads the token costs nothing.
 */
export class CallerTokens {
  readonly #cookies: Cookies
  readonly #identity: Identity
  readonly #records: TokenRecords
  readonly #introspector: Introspector
  readonly #sessions: DesignerSessions
  /** Shared by all requests that cannot have a token. */
  readonly #nobody: Caller
  /** Shared by all requests whose caller is loaded when somebody first reads the token. */
  readonly #later: Caller

  constructor (cookies: Cookies, identity: Identity, records: TokenRecords, introspector: Introspector, sessions: DesignerSessions) {
    this.#cookies = cookies
    this.#identity = identity
    this.#records = records
    this.#introspector = introspector
    this.#sessions = sessions
    const nobody = { writer: this, unchecked: true, user: null, tokenId: '', sealed: null, failure: null, token: null, guest: null }
    this.#nobody = Object.freeze({ ...nobody })
    this.#later = Object.freeze({ ...nobody, token: undefined })
  }

  /** Marks a request as begun, and wraps `reply.send` to mark it as `answering` later. */
  begin (request: FastifyRequest, reply: FastifyReply): void {
    request[stageSlot] = 'begun'
    const { send } = reply
    // An `onSend` hook would do this too late: `onSend` hooks that the app added before the plugin would run earlier.
    reply.send = function (payload) {
      this.request[stageSlot] = 'answering'
      return send.call(this, payload)
    }
  }

  /** Loads the caller of a request. It takes a callback instead of returning a promise, because most requests need not wait. */
  load (request: FastifyRequest, done: () => void): void {
    if (this.#identity.byUser || !this.#records.isSynchronous) return this.#loadNow(request, done)
    request[callerSlot] = this.#later
    done()
  }

  /** Calls `identify` again if it named nobody before: a hook of the app may have signed the user in meanwhile. */
  loadAgain (request: FastifyRequest, done: () => void): void {
    const caller = this.#callerOf(request)
    if (caller === undefined || caller.user !== null || caller.guest !== null) return done()
    this.#loadUser(request, done)
  }

  /** Tells whether loading is finished for this request, even if the caller has no token. */
  isLoaded (request: FastifyRequest): boolean {
    const caller = this.#callerOf(request)
    return caller !== undefined && !(caller.unchecked && isOptedOut(request))
  }

  /**
   * Returns the value of the property `request.webflowToken`. If the token was not loaded, this throws in the stage `begun`
   * and returns null in the other stages.
   */
  propertyOf (request: FastifyRequest): WebflowToken | null {
    return request[stageSlot] === 'begun' || this.isLoaded(request) ? this.tokenOf(request) : null
  }

  /**
   * Reads the caller's token; null when there is none. Throws `WEBFLOW_OAUTH_TOKEN_NOT_LOADED` if the token was not loaded,
   * or the error with which loading failed.
   */
  tokenOf (request: FastifyRequest): WebflowToken | null {
    const noted = this.#callerOf(request)
    if (noted === undefined || !this.isLoaded(request)) throw notLoaded(isOptedOut(request))
    const caller = noted === this.#later ? this.#loadAtOnce(request) : noted
    if (caller.failure !== null) throw caller.failure
    if (caller.token === undefined) {
      const opened = this.#records.open(caller.tokenId, caller.sealed)
      const session = caller.guest?.session ?? null
      const stored = opened === null || session === null || this.#sessions.isAlive(session, opened.record) ? opened : null
      if (stored !== null) this.#introspector.completeOnUse(stored)
      caller.token = stored === null ? null : this.#records.present(this.#records.withOwner(stored, caller.user))
    }
    return caller.token
  }

  /**
   * Returns the value of the property `request.webflowDesigner`: who has opened which site in the Designer; null for any other
   * caller, and when the session has ended. Throws like `propertyOf`.
   */
  designerOf (request: FastifyRequest): WebflowDesigner | null {
    if (this.propertyOf(request) === null) return null
    const session = this.#callerOf(request)?.guest?.session ?? null
    return session === null ? null : { user: { id: session.userId }, siteId: session.siteId }
  }

  /** Tells why a request has no token: true if it carries a session token that this route admits, so that the session has ended. */
  hasEndedSession (request: FastifyRequest): boolean {
    return this.#callerOf(request)?.guest?.isAdmitted === true
  }

  /**
   * Returns the app's user who makes a request. Calls `identify` again if it named nobody before: the app's authentication
   * may have run meanwhile. If `identify` now names a user, this also loads the user's token.
   */
  async userOf (request: FastifyRequest): Promise<string | null> {
    if (!this.#identity.byUser || isGuest(request)) return null
    const caller = this.#callerOf(request)
    if (caller !== undefined && caller.user !== null) return caller.user
    const user = await this.#identity.identify(request)
    if (user !== null && caller !== undefined) await new Promise<void>((resolve) => { this.#loadToken(request, user, this.#identity.userTokenId(user), resolve) })
    return user
  }

  /** Returns the id of the token that belongs to the session cookie of a request; null without a session cookie. */
  sessionTokenId (request: FastifyRequest): string | null {
    const sessionId = this.#cookies.readSession(request)
    return sessionId === null ? null : this.#identity.sessionTokenId(sessionId)
  }

  /** Replaces the caller's token for the rest of the request, after the plugin has stored or forgotten a token. */
  replace (request: FastifyRequest, token: WebflowToken | null): void {
    const user = this.#callerOf(request)?.user ?? null
    this.#set(request, { user, token })
  }

  #loadNow (request: FastifyRequest, done: () => void): void {
    const guest = this.#sessions.guestOf(request)
    if (guest !== null) {
      if (isOptedOut(request)) return done()
      return this.#loadGuest(request, guest, done)
    }
    if (this.#identity.byUser) {
      if (isOptedOut(request)) return done()
      return this.#loadUser(request, done)
    }
    const sessionId = this.#cookies.readSession(request)
    if (sessionId === null) {
      request[callerSlot] = this.#nobody
      return done()
    }
    if (isOptedOut(request)) return done()
    this.#loadToken(request, null, this.#identity.sessionTokenId(sessionId), done)
  }

  /** Loads a caller whose loading was put off. Throws if the store did not answer at once, although it says that it always does. */
  #loadAtOnce (request: FastifyRequest): Caller {
    this.#loadNow(request, () => {})
    const caller = this.#callerOf(request)
    if (caller === undefined || caller === this.#later) throw unavailable('The token store has `isSynchronous`, but its `getSync` did not answer. Does the store follow its contract?')
    return caller
  }

  #loadGuest (request: FastifyRequest, guest: Guest, done: () => void): void {
    if (guest.session !== null) return this.#loadToken(request, null, guest.session.tokenId, done, guest)
    this.#set(request, { guest, token: null })
    done()
  }

  #loadUser (request: FastifyRequest, done: () => void): void {
    const fail = (failure: unknown) => {
      this.#set(request, { failure, token: null })
      done()
    }
    const found = (user: string | null) => {
      if (user !== null) {
        this.#loadToken(request, user, this.#identity.userTokenId(user), done)
      } else {
        this.#set(request, { token: null })
        done()
      }
    }
    let user: string | null | Promise<string | null>
    try {
      user = this.#identity.identify(request)
    } catch (error) {
      return fail(error)
    }
    if (user instanceof Promise) user.then(found, fail)
    else found(user)
  }

  #loadToken (request: FastifyRequest, user: string | null, tokenId: string, done: () => void, guest: Guest | null = null): void {
    const loaded = (sealed: string | null) => {
      this.#set(request, { user, tokenId, sealed, guest })
      done()
    }
    const failed = (failure: unknown) => {
      this.#set(request, { user, failure, guest })
      done()
    }
    let sealed: string | null | undefined
    try {
      sealed = this.#records.readSealedSync(tokenId)
    } catch (failure) {
      return failed(failure)
    }
    if (sealed === undefined) this.#records.readSealed(tokenId).then(loaded, failed)
    else loaded(sealed)
  }

  #callerOf (request: FastifyRequest): Caller | undefined {
    const caller = request[callerSlot]
    return caller !== undefined && caller.writer === this ? caller : undefined
  }

  #set (request: FastifyRequest, { user = null, tokenId = '', sealed = null, failure = null, token, guest = null }: Partial<Caller>): void {
    request[callerSlot] = { writer: this, unchecked: false, user, tokenId, sealed, failure, token, guest }
  }
}

/** Tells whether a route has `config: { webflowToken: false }`. */
export function isOptedOut (request: FastifyRequest): boolean {
  return request.routeOptions.config?.webflowToken === false
}

function notLoaded (isOptedOut: boolean): WebflowOAuthError {
  return new WebflowOAuthError('WEBFLOW_OAUTH_TOKEN_NOT_LOADED', isOptedOut
    ? '`request.webflowToken` was read on a route that has `config: { webflowToken: false }`: remove that setting from the route.'
    : '`request.webflowToken` was read before it was loaded: read it in `preValidation` or later, not in `onRequest` or `preParsing`.')
}

import type { FastifyReply, FastifyRequest } from 'fastify'
import { WebflowOAuthError } from '../errors.ts'
import type { Cookies } from '../http/cookies.ts'
import type { WebflowToken } from '../options/webflow-token.ts'
import { ProtectedToken } from '../tokens/record.ts'
import type { TokenRecords } from '../tokens/records.ts'
import type { UntoldTokens } from '../tokens/untold.ts'
import type { Identity } from './identity.ts'

/** Where a request keeps what was found out about its caller. */
export const callerSlot = Symbol('webflow-oauth.caller')

/** Where a request keeps how far it has come. */
export const stageSlot = Symbol('webflow-oauth.stage')

/** How far a request has come: before the plugin's own `onRequest`, before its answer, or with its answer on the way. */
export type Stage = 'new' | 'begun' | 'answering'

/** What an instance of the plugin knows of the caller of a request. */
export interface Caller {
  /** The instance that found it out: to a sibling it says nothing. */
  by: CallerTokens
  /** Whether nobody looked at the route's `config`, since there was nothing to load. */
  unchecked: boolean
  /** The app's user, with `identify`. */
  user: string | null
  /** The id of the token that the caller has, if the store holds one. */
  tokenId: string | null
  /** The sealed value as it was read, opened at the first look. */
  sealed: string | null
  /** Why the token cannot be told: an outage is no logout. */
  failure: unknown
  /** The opened token; undefined until somebody looks. */
  token: WebflowToken | null | undefined
}

declare module 'fastify' {
  interface FastifyRequest {
    [callerSlot]: Caller | undefined
    [stageSlot]: Stage
  }
}

/**
 * Finds the caller's token: loads it before validation, opens it when it is looked at.
 */
export class CallerTokens {
  readonly #cookies: Cookies
  readonly #identity: Identity
  readonly #records: TokenRecords
  readonly #untold: UntoldTokens
  /** Shared by all requests that cannot have a token. */
  readonly #nobody: Caller

  constructor (cookies: Cookies, identity: Identity, records: TokenRecords, untold: UntoldTokens) {
    this.#cookies = cookies
    this.#identity = identity
    this.#records = records
    this.#untold = untold
    this.#nobody = Object.freeze({ by: this, unchecked: true, user: null, tokenId: null, sealed: null, failure: null, token: null })
  }

  /** Notes that a request has begun, and later that it is being answered: from then on nobody loads its token. */
  begin (request: FastifyRequest, reply: FastifyReply): void {
    request[stageSlot] = 'begun'
    const { send } = reply
    // Hooks that were added before the plugin run before its own `onSend`, which would come too late.
    reply.send = function (payload) {
      this.request[stageSlot] = 'answering'
      return send.call(this, payload)
    }
  }

  /** Loads the caller of a request: a hook in callback style, since most requests have nothing to wait for. */
  load (request: FastifyRequest, done: () => void): void {
    if (this.#identity.byUser) {
      if (isOptedOut(request)) return done()
      return this.#loadUser(request, done)
    }
    const mayHaveSession = this.#cookies.mayHaveSession(request)
    if (mayHaveSession && isOptedOut(request)) return done()
    const tokenId = mayHaveSession ? this.sessionTokenId(request) : null
    if (tokenId === null) {
      request[callerSlot] = this.#nobody
      return done()
    }
    this.#loadToken(request, null, tokenId).then(done)
  }

  /** Asks the app once more for its user, when it named nobody before: a later hook may have signed the user in. */
  loadAgain (request: FastifyRequest, done: () => void): void {
    const caller = this.#callerOf(request)
    if (caller === undefined || caller.user !== null) return done()
    this.#loadUser(request, done)
  }

  /** Whether the caller's token was loaded, be it null. */
  isLoaded (request: FastifyRequest): boolean {
    const caller = this.#callerOf(request)
    return caller !== undefined && !(caller.unchecked && isOptedOut(request))
  }

  /** Reads the caller's token for `request.webflowToken`: where nobody loads tokens, a token that was not loaded is null. */
  peek (request: FastifyRequest): WebflowToken | null {
    return request[stageSlot] === 'begun' || this.isLoaded(request) ? this.tokenOf(request) : null
  }

  /** Reads the caller's token. Throws where it was not loaded, and what kept it from being loaded. */
  tokenOf (request: FastifyRequest): WebflowToken | null {
    const caller = this.#callerOf(request)
    if (caller === undefined || !this.isLoaded(request)) throw notLoaded(isOptedOut(request))
    if (caller.failure !== null) throw caller.failure
    if (caller.token === undefined) {
      const { tokenId, sealed } = caller
      const stored = tokenId === null || sealed === null ? null : this.#records.open(tokenId, sealed)
      if (stored !== null) this.#untold.fillIn(stored)
      caller.token = stored === null ? null : new ProtectedToken(stored.tokenId, stored.record)
    }
    return caller.token
  }

  /** The app's user behind a request. Asks once more when there was none yet: authentication may have run meanwhile. */
  async userOf (request: FastifyRequest): Promise<string | null> {
    if (!this.#identity.byUser) return null
    const caller = this.#callerOf(request)
    if (caller !== undefined && caller.user !== null) return caller.user
    const user = await this.#identity.identify(request)
    if (user !== null && caller !== undefined) await this.#loadToken(request, user, this.#identity.userTokenId(user))
    return user
  }

  /** The id of the token that the session cookie of a request stands for; null without one. */
  sessionTokenId (request: FastifyRequest): string | null {
    const sessionId = this.#cookies.readSession(request)
    return sessionId === null ? null : this.#identity.sessionTokenId(sessionId)
  }

  /** Makes the rest of the request see the token it has now. */
  replace (request: FastifyRequest, token: WebflowToken | null): void {
    const user = this.#callerOf(request)?.user ?? null
    this.#set(request, { user, tokenId: token?.id ?? null, token })
  }

  #loadUser (request: FastifyRequest, done: () => void): void {
    const fail = (failure: unknown) => {
      this.#set(request, { failure, token: null })
      done()
    }
    const found = (user: string | null) => {
      if (user !== null) {
        this.#loadToken(request, user, this.#identity.userTokenId(user)).then(done)
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

  #loadToken (request: FastifyRequest, user: string | null, tokenId: string): Promise<void> {
    return this.#records.readSealed(tokenId).then(
      (sealed) => { this.#set(request, { user, tokenId, sealed }) },
      (failure: unknown) => { this.#set(request, { user, tokenId, failure }) }
    )
  }

  #callerOf (request: FastifyRequest): Caller | undefined {
    const caller = request[callerSlot]
    return caller !== undefined && caller.by === this ? caller : undefined
  }

  #set (request: FastifyRequest, { user = null, tokenId = null, sealed = null, failure = null, token }: Partial<Caller>): void {
    request[callerSlot] = { by: this, unchecked: false, user, tokenId, sealed, failure, token }
  }
}

/** Tells whether a route has `config: { webflowToken: false }`. */
export function isOptedOut (request: FastifyRequest): boolean {
  return request.routeOptions.config?.webflowToken === false
}

function notLoaded (isOptedOut: boolean): WebflowOAuthError {
  return new WebflowOAuthError('WEBFLOW_OAUTH_TOKEN_NOT_LOADED', isOptedOut
    ? '`request.webflowToken` was read on a route that has `config: { webflowToken: false }`: take that away.'
    : '`request.webflowToken` was read before it was loaded: it is there from `preValidation` on, not in `onRequest` and `preParsing`.')
}

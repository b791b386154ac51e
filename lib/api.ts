import type { FastifyReply, FastifyRequest } from 'fastify'
import { beginAuthorization } from './caller/begin.ts'
import { createGuard, tokenRequired, type RequireTokenHook, type RequireTokenOptions } from './caller/guard.ts'
import { isUser, maxUserLength } from './caller/identity.ts'
import { withDeadline } from './collections/deadline.ts'
import { refuseOption, refuseUnknown } from './errors.ts'
import type { AnyReply, AnyRequest } from './http/any-server.ts'
import { resolveScope } from './options/resolve.ts'
import type { Scope } from './options/scopes.ts'
import type { WebflowToken } from './options/webflow-token.ts'
import type { Parts } from './routes/parts.ts'
import { resolveQuery, type TokenQuery } from './tokens/query.ts'
import { ProtectedToken } from './tokens/record.ts'
import type { StoredToken } from './tokens/records.ts'
import { findTokens, walkTokens } from './tokens/search.ts'
import { checkStatus, confirmEnded, type TokenStatus } from './tokens/status.ts'
import { forceRevocation, revokeAll, revokeToken, type TokenRevocation } from './tokens/revocation.ts'
import { reportedStatus } from './webflow/reported-status.ts'

/** Names a token outside a request: its `id`, or with `identify` the user it belongs to. */
export type TokenReference = string | { user: string }

/** How an authorization is begun by the app's own route. */
export interface StartAuthorizationOptions {
  /** Where to go in the end, by the rules of the authorize route. Defaults to `successRedirect`. */
  returnTo?: string | undefined
  /** What to ask for instead of the plugin's scope. */
  scope?: readonly Scope[] | undefined
  /** The user the token will belong to, for clients whose callback navigation cannot carry their bearer token. Needs `identify`. */
  user?: string | undefined
}

/** What became of a revocation. */
export interface Revocation {
  /** Whether there was a token, which is now forgotten. */
  revoked: boolean
  /** What Webflow said; `failed` only with `force`. Absent when there was no token. */
  upstream?: 'revoked' | 'already_revoked' | 'failed'
}

/** What the plugin decorates the instance with, as `fastify.webflowOAuth`. */
export interface WebflowOAuth {
  /**
   * Creates a hook for `preValidation` or `preHandler` that lets only requests with a token pass.
   * The others get 401 `WEBFLOW_OAUTH_TOKEN_REQUIRED` or 403 `WEBFLOW_OAUTH_SCOPE_MISSING`.
   */
  requireToken (options?: RequireTokenOptions): RequireTokenHook
  /** Returns the caller's token; throws `WEBFLOW_OAUTH_TOKEN_REQUIRED` when there is none. */
  tokenOf (request: AnyRequest): WebflowToken
  /** Begins a flow from a route of the app's own: sets the flow cookie and resolves with the URL to redirect to. */
  startAuthorization (request: AnyRequest, reply: AnyReply, options?: StartAuthorizationOptions): Promise<string>
  /** Finds a token outside a request, for jobs and webhooks; null when there is none. Counts as use. */
  getToken (reference: TokenReference): Promise<WebflowToken | null>
  /**
   * Finds the tokens that open a site or a workspace, or that a user of Webflow granted: one for each authorization,
   * the newest first. Counts as use. A site that is opened by the grant of its workspace alone is found by `workspaceId`,
   * and not by its own id.
   *
   * Before it looks, it asks Webflow about at most 20 of the tokens of which Webflow has not told yet; the next search
   * goes on with the next 20. Instead of an empty list it rejects with `WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE` when Webflow
   * could not be reached about one of them, and with `WEBFLOW_OAUTH_STORE_UNAVAILABLE` when a token under the id cannot
   * be read. While the store is down it rejects always.
   */
  findTokens (query: TokenQuery): Promise<WebflowToken[]>
  /**
   * Walks over all tokens, reading a page at a time. Counts as use. A token that is written meanwhile may come twice.
   * Rejects in the end with `WEBFLOW_OAUTH_STORE_UNAVAILABLE` if some could not be read.
   */
  listTokens (): AsyncGenerator<WebflowToken, void, undefined>
  /**
   * Asks Webflow whether a token still works, and refreshes what it opens; answers are remembered for a minute.
   * Null when there is no such token. The token is kept, whatever Webflow says.
   */
  checkToken (target: WebflowToken | TokenReference): Promise<TokenStatus | null>
  /**
   * For the moment in which the Data API refused a token: Webflow is asked once more, and if the token has ended,
   * it is forgotten and `onDisconnect` runs. With `reported`, what the app's client threw or returned, only a 401
   * counts; a 403 refreshes the scope, anything else is ignored. Null when there was nothing to ask.
   */
  reportUnauthorized (target: WebflowToken | TokenReference, reported?: unknown): Promise<TokenStatus | null>
  /**
   * Revokes all tokens that match, eight at a time, and tells of each what happened. Every other record that holds one
   * of these access tokens goes too. What Webflow could not be told is kept: calling again finishes the work.
   */
  revokeAll (query: TokenQuery): Promise<TokenRevocation[]>
  /**
   * Revokes a token at Webflow and forgets it. Rejects when Webflow fails, and keeps the token;
   * with `force` it is forgotten all the same.
   */
  revoke (target: WebflowToken | TokenReference, options?: { force?: boolean | undefined }): Promise<Revocation>
  /** Forgets the caller's token and ends the session cookie; Webflow is not told. For the app's own logout. */
  endSession (request: AnyRequest, reply: AnyReply): Promise<void>
}

/** Creates what `fastify.webflowOAuth` is. */
export function createApi (parts: Parts): WebflowOAuth {
  const { callers, cookies, identity, records, settings, untold } = parts
  const statusParts = { ...parts, introspect: settings.introspect }

  const tokenIdOf = (reference: unknown): string => {
    if (typeof reference === 'string') return reference
    if (typeof reference === 'object' && reference !== null && 'user' in reference) return identity.userTokenId(requireUser(reference.user))
    return refuseOption('token', 'must be a token\'s id or `{ user }`')
  }
  const requireUser = (user: unknown): string => {
    if (!identity.byUser) return refuseOption('user', 'needs the option `identify`: without it tokens belong to browser sessions')
    if (!isUser(user)) return refuseOption('user', `must be a well-formed string that is not empty, of at most ${maxUserLength} bytes`)
    return user
  }
  const getToken = async (reference: unknown): Promise<WebflowToken | null> => {
    const tokenId = tokenIdOf(reference)
    // Nothing but a hash ever becomes a key.
    if (!/^[\w-]{43}$/.test(tokenId)) return null
    const stored = await records.read(tokenId)
    if (stored === null) return null
    untold.fillIn(stored)
    return new ProtectedToken(tokenId, stored.record)
  }
  const resolveToken = async (target: WebflowToken | TokenReference) => target instanceof ProtectedToken ? target : await getToken(target)
  const checkQuery = (query: TokenQuery) => {
    if (!settings.introspect) return refuseOption('introspect', 'is false: nobody knows what tokens open')
    return resolveQuery(query)
  }

  const use = (stored: StoredToken): WebflowToken => {
    records.renewIfDue(stored)
    untold.fillIn(stored)
    return new ProtectedToken(stored.tokenId, stored.record)
  }

  return {
    requireToken: (options = {}) => createGuard(parts, options),

    tokenOf (request: FastifyRequest) {
      const token = callers.tokenOf(request)
      if (token === null) throw tokenRequired(settings)
      return token
    },

    async startAuthorization (request: FastifyRequest, reply: FastifyReply, options: StartAuthorizationOptions = {}) {
      refuseUnknown(options, ['returnTo', 'scope', 'user'])
      const { returnTo, scope, user } = options
      return await beginAuthorization(parts, request, reply, {
        trigger: 'app',
        returnTo: returnTo ?? null,
        scope: scope === undefined ? settings.scope : resolveScope('scope', scope),
        user: user === undefined ? undefined : requireUser(user)
      })
    },

    getToken,

    async findTokens (query) {
      const { kind, id } = checkQuery(query)
      return (await findTokens(parts, kind, id)).map(use)
    },

    async * listTokens () {
      for await (const token of walkTokens(parts)) yield use(token)
    },

    async checkToken (target) {
      return await withDeadline(settings.timeout, async (deadline) => {
        const token = await resolveToken(target)
        return token === null ? null : await checkStatus(statusParts, token, { fresh: false, deadline })
      })
    },

    async reportUnauthorized (target, reported) {
      return await withDeadline(settings.timeout, async (deadline) => {
        const status = reported === undefined ? 401 : reportedStatus(reported)
        const token = status === 401 || status === 403 ? await resolveToken(target) : null
        if (token === null) return null
        return status === 401 ? await confirmEnded(statusParts, token, deadline) : await checkStatus(statusParts, token, { fresh: true, deadline })
      })
    },

    async revokeAll (query) {
      const { kind, id } = checkQuery(query)
      return await revokeAll(parts, kind, id)
    },

    async revoke (target, options = {}) {
      refuseUnknown(options, ['force'])
      const token = await resolveToken(target)
      if (token === null) return { revoked: false }
      return { revoked: true, upstream: options.force === true ? await forceRevocation(parts, token) : await revokeToken(parts, token, null) }
    },

    async endSession (request: FastifyRequest, reply: FastifyReply) {
      const user = await callers.userOf(request)
      const tokenId = user === null ? callers.sessionTokenId(request) : identity.userTokenId(user)
      if (tokenId !== null) await records.drop(tokenId)
      if (!identity.byUser) cookies.endSession(request, reply)
      callers.replace(request, null)
    }
  }
}

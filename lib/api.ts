import type { FastifyReply, FastifyRequest } from 'fastify'
import type { AnyReply, AnyRequest } from './any-server.ts'
import { beginAuthorization } from './begin-authorization.ts'
import type { Context } from './context.ts'
import { refuseOption, refuseUnknown } from './errors.ts'
import { resolveScope } from './resolve-options.ts'
import { createGuard, tokenRequired, type RequireTokenHook, type RequireTokenOptions } from './require-token.ts'
import { revokeToken } from './revocation.ts'
import type { Scope } from './scopes.ts'
import { WebflowToken } from './token.ts'

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
   * Revokes a token at Webflow and forgets it. Rejects when Webflow fails, and keeps the token;
   * with `force` it is forgotten all the same.
   */
  revoke (target: WebflowToken | TokenReference, options?: { force?: boolean }): Promise<Revocation>
  /** Forgets the caller's token and ends the session cookie; Webflow is not told. For the app's own logout. */
  endSession (request: AnyRequest, reply: AnyReply): Promise<void>
}

/** Creates what `fastify.webflowOAuth` is. */
export function createApi (context: Context): WebflowOAuth {
  const { callers, cookies, identity, records, settings } = context

  const tokenIdOf = (reference: unknown): string => {
    if (typeof reference === 'string') return reference
    if (typeof reference === 'object' && reference !== null && 'user' in reference) return identity.userTokenId(requireUser(reference.user))
    return refuseOption('token', 'must be a token\'s id or `{ user }`')
  }
  const requireUser = (user: unknown): string => {
    if (!identity.byUser) return refuseOption('user', 'needs the option `identify`: without it tokens belong to browser sessions')
    if (typeof user !== 'string' || user === '') return refuseOption('user', 'must be a string that is not empty')
    return user
  }
  const getToken = async (reference: TokenReference): Promise<WebflowToken | null> => {
    const tokenId = tokenIdOf(reference)
    // Nothing but a hash ever becomes a key.
    if (!/^[\w-]{43}$/.test(tokenId)) return null
    const stored = await records.read(tokenId)
    return stored === null ? null : new WebflowToken(tokenId, stored.record)
  }

  return {
    requireToken: (options = {}) => createGuard(context, options),

    tokenOf (request: FastifyRequest) {
      const token = callers.tokenOf(request)
      if (token === null) throw tokenRequired()
      return token
    },

    async startAuthorization (request: FastifyRequest, reply: FastifyReply, options: StartAuthorizationOptions = {}) {
      refuseUnknown(options, ['returnTo', 'scope', 'user'])
      const { returnTo, scope, user } = options
      return await beginAuthorization(context, request, reply, {
        returnTo: returnTo ?? null,
        scope: scope === undefined ? settings.scope : resolveScope('scope', scope),
        user: user === undefined ? undefined : requireUser(user)
      })
    },

    getToken,

    async revoke (target, options = {}) {
      refuseUnknown(options, ['force'])
      const token = target instanceof WebflowToken ? target : await getToken(target)
      if (token === null) return { revoked: false }
      return { revoked: true, upstream: await revokeToken(context, token, null, options.force === true) }
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

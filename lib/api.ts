import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { beginAuthorization } from './caller/begin.ts'
import { createGuard, sessionEnded, tokenRequired, type RequireTokenHook, type RequireTokenOptions } from './caller/guard.ts'
import { isGuest } from './caller/designer-sessions.ts'
import { readIdTokenRequest } from './caller/id-token-request.ts'
import { withDeadline } from './collections/deadline.ts'
import { isObject } from './collections/json.ts'
import { refuseOption, refuseUnknown } from './errors.ts'
import type { AnyReply, AnyRequest } from './http/any-server.ts'
import { resolveScope } from './options/resolve.ts'
import type { Scope } from './options/scopes.ts'
import { isUser, maxUserLength } from './options/user.ts'
import type { WebhookEvent } from './options/webhook-event.ts'
import type { WebflowToken } from './options/webflow-token.ts'
import type { Parts } from './routes/parts.ts'
import { TokenImports, checkAccessToken, checkCreatedAt, type TokenImport } from './tokens/import.ts'
import { resolveQuery, type TokenQuery } from './tokens/query.ts'
import { ProtectedToken } from './tokens/record.ts'
import type { StoredToken } from './tokens/records.ts'
import { findTokens, walkTokens } from './tokens/search.ts'
import { checkStatus, type TokenStatus } from './tokens/status.ts'
import { revokeAll, revokeToken, type TokenRevocation } from './tokens/revocation.ts'
import type { DesignerUser } from './webflow/id-token-answers.ts'
import { reportedStatus } from './webflow/reported-status.ts'
import { verifyWebhook } from './webflow/webhook.ts'

/** Identifies a token outside a request: by the `id` of the token, or with `identify` by the user to whom it belongs. */
export type TokenReference = string | { user: string }

/** The options of `startAuthorization`. */
export interface StartAuthorizationOptions {
  /** Where the browser goes in the end, by the same rules as on the authorize route. Defaults to `successRedirect`. */
  returnTo?: string | undefined
  /** The scope to request. Defaults to the plugin's option `scope`. */
  scope?: readonly Scope[] | undefined
  /**
   * The user to whom the token will belong. Give it for clients that sign in with a bearer token, because the browser's
   * navigation to the callback does not carry that token. Needs the option `identify`.
   */
  user?: string | undefined
  /**
   * Whether the flow ends in a page that tells its opener how the flow ended and then closes itself, for an app that opens
   * the URL in a popup. Defaults to false.
   */
  popup?: boolean | undefined
}

/** A webhook that a route of the app has received. */
export interface ReceivedWebhook {
  /** The headers as Node gives them, such as `request.headers`. */
  headers: IncomingHttpHeaders
  /** The body as it was sent. JSON that was parsed and written again does not match the signature. */
  body: Buffer | string
}

/** A token that another system has obtained from Webflow, for the same client id. */
export interface ImportTokenOptions {
  /** The access token itself. */
  accessToken: string
  /** The user of the app to whom the token will belong. Required with the option `identify`, and refused without it. */
  user?: string | undefined
  /** The scope of the token, until Webflow says what it granted. Defaults to the plugin's option `scope`. */
  scope?: readonly Scope[] | undefined
  /**
   * When the token was issued. It must not be in the future. It decides whether the token is newer than one that the user has
   * already. Defaults to the time that Webflow tells. If Webflow does not tell, a token that the user has stays.
   */
  createdAt?: Date | undefined
}

/** The result of a revocation. */
export interface Revocation {
  /** Whether there was a token. If there was one, the plugin has forgotten it. */
  revoked: boolean
  /** What Webflow answered. `failed` is possible only with `force`. Absent when there was no token. */
  upstream?: 'revoked' | 'already_revoked' | 'failed'
}

/** The site of an ID token, as the extension has named it. */
export interface ResolveIdTokenOptions {
  /** The id of the site that is open in the Designer: 24 hexadecimal digits. */
  siteId: string
  /** The id of the site's workspace. If it is given, a token that was granted for the whole workspace can be found too. */
  workspaceId?: string | undefined
}

/** Who has opened a site in the Designer, as Webflow has confirmed. */
export interface ResolvedIdToken {
  /** The person, who need not be the one who granted the token. */
  readonly user: DesignerUser
  /** The id of the site that is open. */
  readonly siteId: string
  /** A token that opens the site. It may open other sites too, and its rights are not those of the person. */
  readonly token: WebflowToken
}

/** The interface of `fastify.webflowOAuth`. */
export interface WebflowOAuth {
  /**
   * The URL of the Data API in the plugin's `region`, for the option `baseUrl` of Webflow's SDK: `https://api.webflow.com/v2`
   * or `https://api.eu.webflow.com/v2`. If the option `endpoints.token` is set, this is `/v2` at the origin of that endpoint.
   */
  readonly apiUrl: string
  /**
   * Creates a hook for `preValidation` or `preHandler` that lets only requests with a token pass.
   * Other requests fail with 401 `WEBFLOW_OAUTH_TOKEN_REQUIRED` or 403 `WEBFLOW_OAUTH_SCOPE_MISSING`.
   */
  requireToken (options?: RequireTokenOptions): RequireTokenHook
  /** Returns the caller's token; throws `WEBFLOW_OAUTH_TOKEN_REQUIRED` when there is none. */
  tokenOf (request: AnyRequest): WebflowToken
  /** Begins a flow from one of the app's routes: sets the flow cookie and resolves with the URL to which the app must redirect. */
  startAuthorization (request: AnyRequest, reply: AnyReply, options?: StartAuthorizationOptions): Promise<string>
  /** Finds a token outside a request, for jobs and webhooks; null when there is none. The token counts as used. */
  getToken (reference: TokenReference): Promise<WebflowToken | null>
  /**
   * Finds the tokens that open a site or a workspace, or that a Webflow user granted. Returns one token for each
   * authorization, the newest first. The tokens count as used.
   * An empty list means that there is no such token. If no token was found and Webflow or the store could not be asked, the
   * call rejects, for example with `WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE` or `WEBFLOW_OAUTH_STORE_UNAVAILABLE`.
   * If a token opens a site only through a grant of the whole workspace, search by `workspaceId`: the site's own id does
   * not find the token.
   */
  findTokens (query: TokenQuery): Promise<WebflowToken[]>
  /**
   * Iterates over all tokens and reads them from the store a page at a time. Each token counts as used. A token that is
   * written during the iteration may be returned twice. If some tokens could not be read, the iteration returns all others
   * first and then rejects with `WEBFLOW_OAUTH_STORE_UNAVAILABLE`.
   */
  listTokens (): AsyncGenerator<WebflowToken, void, undefined>
  /**
   * Asks Webflow whether a token still works, and updates what the token opens. Answers are remembered for a minute.
   * Null when there is no such token. The plugin keeps the token, whatever Webflow answers.
   */
  checkToken (target: WebflowToken | TokenReference): Promise<TokenStatus | null>
  /**
   * Call this when the Data API has refused a token. The plugin asks Webflow whether the token still works. If the token has
   * ended, the plugin forgets it and runs `onDisconnect`.
   * `reported` is the value that the app's client threw or returned. If it is given, its status decides: after a 401 the
   * plugin asks Webflow as above, after a 403 it only updates the scope, and any other status is ignored.
   * Null when there was no token or nothing to ask.
   */
  reportUnauthorized (target: WebflowToken | TokenReference, reported?: unknown): Promise<TokenStatus | null>
  /**
   * Revokes all tokens that match a query, a few at a time, and returns the result for each. If a token could not be
   * revoked at Webflow, the plugin keeps it. Call this again to finish the work.
   */
  revokeAll (query: TokenQuery): Promise<TokenRevocation[]>
  /**
   * Revokes a token at Webflow and forgets it. If Webflow fails, the call rejects and the plugin keeps the token. With
   * `force`, the plugin forgets the token even if Webflow fails.
   */
  revoke (target: WebflowToken | TokenReference, options?: { force?: boolean | undefined }): Promise<Revocation>
  /**
   * Stores a token that another system has obtained, and asks Webflow what the token opens. If Webflow cannot be asked, the
   * token is stored all the same. If Webflow has ended the token, it is not stored. A user's newer token stays. Calling this
   * again with the same token is harmless. `beforeStore` and `onSuccess` do not run.
   * Rejects with `WEBFLOW_OAUTH_INVALID_OPTION` for a wrong argument, and with `WEBFLOW_OAUTH_STORE_UNAVAILABLE` if the store fails.
   */
  importToken (options: ImportTokenOptions): Promise<TokenImport>
  /**
   * Asks Webflow who has opened a site in the Designer, by the ID token from `webflow.getIdToken()`. Tries are limited for each
   * access token: ten a minute for each client address, and thirty for all together.
   * Rejects with `WEBFLOW_OAUTH_ID_TOKEN_INVALID` if the ID token is not one for this site. Rejects with
   * `WEBFLOW_OAUTH_TOKEN_REQUIRED` or `WEBFLOW_OAUTH_SCOPE_MISSING` if the plugin has no token with which it can ask. Both errors
   * have an `authorizeUrl`.
   */
  resolveIdToken (request: AnyRequest, idToken: string, options: ResolveIdTokenOptions): Promise<ResolvedIdToken>
  /**
   * Verifies a webhook that a route of the app has received, and resolves with the event. The checks are those of the plugin's own
   * route. Rejects with `WEBFLOW_OAUTH_WEBHOOK_INVALID` if a check fails, and with `WEBFLOW_OAUTH_INVALID_OPTION` if the body is
   * neither a Buffer nor a string. The option `onWebhook` is not needed.
   */
  verifyWebhook (webhook: ReceivedWebhook): Promise<WebhookEvent>
  /** Forgets the caller's token and deletes the session cookie, for the app's own logout. Webflow is not told. */
  endSession (request: AnyRequest, reply: AnyReply): Promise<void>
}

/** Creates `fastify.webflowOAuth`. */
export function createApi (parts: Parts): WebflowOAuth {
  const { background, callers, cookies, idTokens, identity, introspector, records, settings } = parts
  const imports = new TokenImports(parts)

  const resolveReference = (reference: unknown): { tokenId: string, owner: string | null } => {
    if (typeof reference === 'string') return { tokenId: reference, owner: null }
    if (typeof reference !== 'object' || reference === null || !('user' in reference)) return refuseOption('token', 'must be a token\'s id or `{ user }`')
    const owner = requireUser(reference.user)
    return { tokenId: identity.userTokenId(owner), owner }
  }
  const requireUser = (user: unknown): string => {
    if (!identity.byUser) return refuseOption('user', 'needs the option `identify`: without that option, tokens belong to browser sessions')
    if (!isUser(user)) return refuseOption('user', `must be a well-formed string that is not empty, of at most ${maxUserLength} bytes`)
    return user
  }
  const getToken = async (reference: unknown): Promise<WebflowToken | null> => {
    const { tokenId, owner } = resolveReference(reference)
    // Only strings in the form of a token id are used as a store key.
    if (!/^[\w-]{43}$/.test(tokenId)) return null
    const stored = await records.read(tokenId)
    if (stored === null) return null
    introspector.completeOnUse(stored)
    return records.present(records.withOwner(stored, owner))
  }
  const resolveToken = async (target: WebflowToken | TokenReference) => target instanceof ProtectedToken ? target : await getToken(target)
  const checkQuery = (query: TokenQuery) => {
    if (!settings.introspect) return refuseOption('introspect', 'is false, so the plugin does not know what a token opens and cannot search for tokens: leave out this option')
    return resolveQuery(query)
  }

  /** Makes the public form of a token that a search has found, and counts the token as used. */
  const useFound = (stored: StoredToken): WebflowToken => {
    records.renewIfDue(stored)
    introspector.completeOnUse(stored)
    return records.present(stored)
  }

  return {
    apiUrl: new URL('/v2', settings.endpoints.token).href,

    requireToken: (options = {}) => createGuard(parts, options),

    tokenOf (request: FastifyRequest) {
      const token = callers.tokenOf(request)
      if (token === null) throw callers.hasEndedSession(request) ? sessionEnded() : tokenRequired(settings)
      return token
    },

    async startAuthorization (request: FastifyRequest, reply: FastifyReply, options: StartAuthorizationOptions = {}) {
      refuseUnknown(options, ['returnTo', 'scope', 'user', 'popup'])
      const { returnTo, scope, user, popup = false } = options
      if (typeof popup !== 'boolean') return refuseOption('popup', 'must be true or false')
      return await beginAuthorization(parts, request, reply, {
        trigger: 'app',
        returnTo: returnTo ?? null,
        scope: scope === undefined ? settings.scope : resolveScope('scope', scope),
        user: user === undefined ? undefined : requireUser(user),
        popup
      })
    },

    getToken,

    async findTokens (query) {
      const { kind, id } = checkQuery(query)
      return (await findTokens(parts, kind, id)).map(useFound)
    },

    async * listTokens () {
      for await (const token of walkTokens(parts)) yield useFound(token)
    },

    async checkToken (target) {
      return await withDeadline(settings.timeout, async (deadline) => {
        const token = await resolveToken(target)
        return token === null ? null : await checkStatus(parts, token, { deadline, fresh: false, forget: false })
      })
    },

    async reportUnauthorized (target, reported) {
      return await withDeadline(settings.timeout, async (deadline) => {
        const status = reported === undefined ? 401 : reportedStatus(reported)
        const token = status === 401 || status === 403 ? await resolveToken(target) : null
        return token === null ? null : await checkStatus(parts, token, { deadline, fresh: true, forget: status === 401 })
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
      return { revoked: true, upstream: await revokeToken(parts, token, { force: options.force === true }) }
    },

    async importToken (options) {
      if (!isObject(options)) return refuseOption('importToken', 'must be called with `{ accessToken }`')
      refuseUnknown(options, ['accessToken', 'user', 'scope', 'createdAt'])
      const { user, scope } = options
      if (identity.byUser && user === undefined) return refuseOption('user', 'is missing: with `identify`, a token belongs to a user of the app')
      const owner = user === undefined ? null : requireUser(user)
      const accessToken = checkAccessToken(options.accessToken)
      // Closing waits for the import.
      return await background.add(imports.import({
        tokenId: owner === null ? identity.importedTokenId(accessToken) : identity.userTokenId(owner),
        accessToken,
        owner,
        scope: scope === undefined ? settings.scope : resolveScope('scope', scope),
        createdAt: checkCreatedAt(options.createdAt)
      }))
    },

    async resolveIdToken (request: FastifyRequest, idToken, options) {
      if (!settings.introspect) return refuseOption('introspect', 'is false, so the plugin does not know which tokens open a site: leave out this option')
      refuseUnknown(options, ['siteId', 'workspaceId'])
      const { user, siteId, token } = await idTokens.resolve(readIdTokenRequest(request.ip, idToken, options))
      return { user, siteId, token: useFound(token) }
    },

    async verifyWebhook (webhook) {
      if (!isObject(webhook)) return refuseOption('webhook', 'must be `{ headers, body }`')
      const { headers, body } = webhook
      // A `Headers` object of fetch has no members, so every webhook would look unsigned.
      if (!isObject(headers) || typeof headers.get === 'function') return refuseOption('headers', 'must be the headers as Node gives them, such as `request.headers`')
      if (typeof body !== 'string' && !Buffer.isBuffer(body)) return refuseOption('body', 'must be a Buffer or a string with the body as it was sent: add a content type parser with `parseAs: \'buffer\'` to the route\'s scope')
      return verifyWebhook(settings, headers, Buffer.from(body), Date.now())
    },

    async endSession (request: FastifyRequest, reply: FastifyReply) {
      // In the Designer, the token does not belong to the person who makes the request, so that person must not end it.
      if (isGuest(request)) return
      const user = await callers.userOf(request)
      const tokenId = user === null ? callers.sessionTokenId(request) : identity.userTokenId(user)
      if (tokenId !== null) await records.drop(tokenId)
      if (!identity.byUser) cookies.endSession(request, reply)
      callers.replace(request, null)
    }
  }
}

import type { FastifyReply, FastifyRequest } from 'fastify'
import type { TokenStore } from '../../stores/token-store.ts'
import type { DisconnectReason } from '../diagnostics.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { Endpoints } from './endpoints.ts'
import type { Scope } from './scopes.ts'
import type { WebflowToken } from './webflow-token.ts'

/**
 * The options of the plugin. A wrong, missing or unknown one fails `register` with
 * `WEBFLOW_OAUTH_INVALID_OPTION` and a message that names it and the remedy.
 */
export interface WebflowOAuthOptions {
  /** The app's client id, from its settings at Webflow. Required. */
  clientId: string | undefined

  /** The app's client secret, from its settings at Webflow. Required. */
  clientSecret: string | undefined

  /**
   * Where Webflow sends the browser back to, exactly as registered with Webflow. Required.
   * Absolute, without fragment and userinfo; https, or http on a loopback host. Its path is the callback route.
   */
  redirectUri: string | undefined

  /**
   * What the app asks for, such as `sites:read`: scope-tokens of RFC 6749, section 3.3, of at most 100 characters, without a
   * comma. Required, at least one. One that Webflow is not known to have is logged at start-up.
   */
  scope: readonly Scope[]

  /**
   * From which the keys for cookies and stored values are derived: at least 32 bytes, or a list of such.
   * Required. The first makes, all verify: to rotate, append the new one, deploy, move it first, deploy.
   * Never the client secret, with which Webflow signs webhooks.
   */
  secret: string | Buffer | ReadonlyArray<string | Buffer | undefined> | undefined

  /** Where tokens and flows are kept. Defaults to a `MemoryStore`, which one process forgets when it ends. */
  store?: TokenStore | undefined

  /** The path that begins a flow. Defaults to the callback's with its last segment replaced by `authorize`. */
  authorizePath?: string | undefined

  /**
   * The path that revokes the caller's token, or false for none.
   * Defaults to the callback's with its last segment replaced by `revoke`.
   */
  revokePath?: string | false | undefined

  /** The method of the revoke route. Defaults to `POST`. Never GET: a link must not disconnect anybody. */
  revokeMethod?: 'POST' | 'DELETE' | undefined

  /**
   * The path of the callback route within this scope. Defaults to the path of `redirectUri` less the
   * scope's prefix; needed only behind a proxy that rewrites paths.
   */
  callbackPath?: string | undefined

  /** Where a flow that names no `returnTo` ends: a path or an http(s) URL. Defaults to `/`. */
  successRedirect?: string | undefined

  /**
   * Where a browser goes whose callback failed: a path or an http(s) URL, to which `error=<code>` and
   * `reason=<reason>` are added. Defaults to none: the browser gets a small page.
   */
  failureRedirect?: string | undefined

  /** Where a browser goes after revoking: a path or an http(s) URL. Defaults to `/`. */
  revokeRedirect?: string | undefined

  /**
   * Origins, besides that of `redirectUri`, that `returnTo` may lead to and that may call the revoke route.
   * Defaults to none.
   */
  allowedOrigins?: readonly string[] | undefined

  /**
   * What becomes of a callback with a `code` and no `state`: an install that began at Webflow.
   * `restart` drops the code and begins a flow of our own, `reject` answers 400. Defaults to `restart`.
   */
  onMissingState?: 'restart' | 'reject' | undefined

  /**
   * Names the app's own user behind a request; tokens then belong to that user instead of to a browser session.
   * Null, undefined and the empty string are nobody; a user is a well-formed string of at most 255 bytes in UTF-8, anything
   * else is `WEBFLOW_OAUTH_INVALID_OPTION`. Defaults to none.
   */
  identify?: ((request: FastifyRequest) => string | null | undefined | Promise<string | null | undefined>) | undefined

  /** The base name of the cookies. Two apps on one host need two. Defaults to `webflow`. */
  cookieName?: string | undefined

  /** How long an unused token is kept, in seconds. Defaults to 30 days, with `identify` to 365. */
  sessionMaxAge?: number | undefined

  /**
   * How long a person may take to approve the app, in seconds. After that the callback answers
   * `WEBFLOW_OAUTH_STATE_INVALID` with the reason `expired`. Defaults to 900.
   */
  flowMaxAge?: number | undefined

  /** How long one call to Webflow may take, second try and body included, in milliseconds. Defaults to 10000. */
  timeout?: number | undefined

  /**
   * How long one call to the store may take, in milliseconds. After a timeout further calls fail at once
   * for a second. Defaults to 1000.
   */
  storeTimeout?: number | undefined

  /** A Dispatcher of undici 5 to 8 for calls to Webflow: a ProxyAgent, a MockAgent. Never closed by the plugin. Defaults to an own Agent. */
  dispatcher?: Dispatcher | undefined

  /**
   * Whether Webflow is asked after the exchange what the new token opens. False leaves `authorization` and `user`
   * of tokens null, and no token is found by what it opens. Defaults to true.
   */
  introspect?: boolean | undefined

  /** Other endpoints than Webflow's: a simulator, a gateway. Defaults to Webflow's. */
  endpoints?: Partial<Endpoints> | undefined

  /**
   * Runs after the exchange and before the token is stored. If it throws, nothing is stored and the
   * flow fails with that very error, answered by its own `statusCode`.
   */
  beforeStore?: ((token: WebflowToken, request: FastifyRequest) => unknown) | undefined

  /** Runs after the token was stored; may answer by itself. What it throws is logged and changes nothing. */
  onSuccess?: ((token: WebflowToken, request: FastifyRequest, reply: FastifyReply) => unknown) | undefined

  /** Runs for every failed answer of the plugin's routes; may answer by itself. */
  onFailure?: ((error: Error, request: FastifyRequest, reply: FastifyReply) => unknown) | undefined

  /**
   * Runs whenever a revocation made the plugin forget a token; the request is null for
   * `fastify.webflowOAuth.revoke`. What it throws is logged and changes nothing.
   */
  onRevoke?: ((token: WebflowToken, request: FastifyRequest | null) => unknown) | undefined

  /**
   * Runs once for each token that the plugin forgot because Webflow had ended it. What it throws is logged
   * and changes nothing.
   */
  onDisconnect?: ((token: WebflowToken, reason: DisconnectReason) => unknown) | undefined
}

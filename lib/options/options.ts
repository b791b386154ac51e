import type { FastifyReply, FastifyRequest } from 'fastify'
import type { TokenStore } from '../../stores/token-store.ts'
import type { DisconnectReason } from '../diagnostics.ts'
import type { DesignerOptions } from './designer.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { Endpoints } from './endpoints.ts'
import type { Region } from './regions.ts'
import type { RouteConfig } from './route-config.ts'
import type { Scope } from './scopes.ts'
import type { WebflowToken } from './webflow-token.ts'
import type { WebhookEvent } from './webhook-event.ts'

/**
 * The options of the plugin. If an option is wrong, missing or unknown, `register` fails with
 * `WEBFLOW_OAUTH_INVALID_OPTION`. The message names the option and the remedy.
 */
export interface WebflowOAuthOptions {
  /** The client id from the app's settings at Webflow. Required. */
  clientId: string | undefined

  /** The client secret from the app's settings at Webflow. Required. */
  clientSecret: string | undefined

  /**
   * The URL to which Webflow sends the browser back, exactly as registered with Webflow. Required.
   * It must be absolute, without fragment and userinfo, and https, except that a loopback host may use http.
   * Its path becomes the callback route.
   */
  redirectUri: string | undefined

  /**
   * The scopes that the app asks for, such as `sites:read`. Required, at least one. Each is a scope-token of RFC 6749,
   * section 3.3, of at most 100 characters and without a comma. A scope that the plugin does not know is logged at start-up.
   */
  scope: readonly Scope[]

  /**
   * The secret from which the plugin derives its keys for cookies and stored values: at least 32 bytes, or a list of such
   * secrets. Required. New values are made with the first secret. Values that were made with any of the secrets are accepted.
   * To rotate: append the new secret and deploy, then move it to the front and deploy again.
   * The client secret is refused, because Webflow signs webhooks with it.
   */
  secret: string | Buffer | ReadonlyArray<string | Buffer | undefined> | undefined

  /**
   * The region of Webflow in which the app is registered. It decides the hosts of all endpoints that `endpoints` does not
   * name. A token of one region does not work in the other. An app that serves both regions is registered with each of them,
   * and registers the plugin twice. Defaults to `us`.
   */
  region?: Region | undefined

  /** The store for tokens and flows. Defaults to a `MemoryStore`, which is lost when the process ends. */
  store?: TokenStore | undefined

  /** The path that begins a flow. Defaults to the callback's path with its last segment replaced by `authorize`. */
  authorizePath?: string | undefined

  /**
   * The path that revokes the caller's token, or false for no such route.
   * Defaults to the callback's path with its last segment replaced by `revoke`.
   */
  revokePath?: string | false | undefined

  /** The method of the revoke route. Defaults to `POST`. GET is not possible, because a link must not disconnect anybody. */
  revokeMethod?: 'POST' | 'DELETE' | undefined

  /**
   * The path of the callback route within this Fastify scope. Defaults to the path of `redirectUri` without the
   * scope's prefix. Only an app behind a proxy that rewrites paths needs to set it.
   */
  callbackPath?: string | undefined

  /**
   * Fastify's route option `config` for the plugin's routes. Other plugins read it: @fastify/rate-limit, for example, reads
   * `{ authorize: { rateLimit: { max: 10 } } }`. Each route gets its own copy of the plain objects and lists. Functions and
   * instances of classes are passed as they are. The member `webflowToken` is refused. Defaults to none.
   */
  routeConfig?: RouteConfig | undefined

  /** Where a flow without `returnTo` ends: a path or an http(s) URL. Defaults to `/`. */
  successRedirect?: string | undefined

  /**
   * Where the browser goes when its callback has failed: a path or an http(s) URL. The plugin adds `error=<code>` to its query,
   * and `reason=<reason>` and `returnTo=<URL>` where they are known. Defaults to none: the plugin answers with a small page.
   */
  failureRedirect?: string | undefined

  /** Where the browser goes after it has revoked its token: a path or an http(s) URL. Defaults to `/`. */
  revokeRedirect?: string | undefined

  /**
   * The app's sign-in page: a path or an http(s) URL, but no route of the plugin. A browser in which nobody is signed in goes
   * there first. The plugin adds `returnTo` to the query: the URL to which the sign-in page must lead back. Needs the option
   * `identify`. Defaults to none: a flow without a user ends with 401 `WEBFLOW_OAUTH_USER_REQUIRED`.
   */
  signInRedirect?: string | undefined

  /**
   * Further origins, besides that of `redirectUri`. `returnTo` may lead to them, their pages may call the revoke route, and a
   * popup may tell them how its flow ended. Defaults to none.
   */
  allowedOrigins?: readonly string[] | undefined

  /**
   * What the plugin does with a callback that has a `code` but no `state`: such an install began at Webflow.
   * `restart` drops the code and begins a new flow, `reject` answers 400. Defaults to `restart`.
   */
  onMissingState?: 'restart' | 'reject' | undefined

  /**
   * Returns the id of the app's own user who makes a request. With this option, tokens belong to that user instead of to a
   * browser session. Null, undefined and the empty string mean that nobody is signed in. An id is a well-formed string of at
   * most 255 bytes in UTF-8; anything else raises `WEBFLOW_OAUTH_INVALID_OPTION`. Defaults to none.
   */
  identify?: ((request: FastifyRequest) => string | null | undefined | Promise<string | null | undefined>) | undefined

  /** The base name of the cookies. Two apps on one host need different names. Defaults to `webflow`. */
  cookieName?: string | undefined

  /** How long an unused token is kept, in seconds. Defaults to 30 days, or to 365 days with `identify`. */
  sessionMaxAge?: number | undefined

  /**
   * How long a person may take to approve the app, in seconds. After that the callback answers
   * `WEBFLOW_OAUTH_STATE_INVALID` with the reason `expired`. Defaults to 900.
   */
  flowMaxAge?: number | undefined

  /** How long one call to Webflow may take, in milliseconds, including a second try and reading the body. Defaults to 10000. */
  timeout?: number | undefined

  /**
   * How long one call to the store may take, in milliseconds. After a timeout, the plugin does not call the store for one
   * second: further calls fail at once. Defaults to 1000.
   */
  storeTimeout?: number | undefined

  /**
   * A Dispatcher of undici 5 to 8 for calls to Webflow, such as a ProxyAgent or a MockAgent. The plugin never closes it.
   * Defaults to an Agent that the plugin creates.
   */
  dispatcher?: Dispatcher | undefined

  /**
   * Whether the plugin asks Webflow, after the exchange, which sites and workspaces the new token opens. With false, the
   * `authorization` and the `user` of tokens stay null, and `findTokens` and `revokeAll` reject. Defaults to true.
   */
  introspect?: boolean | undefined

  /**
   * Lets the app's Designer Extension call the app. With this option, the plugin adds a route that exchanges the ID token of the
   * extension for a session token. Needs the scope `authorized_user:read`. Defaults to none.
   */
  designer?: DesignerOptions | undefined

  /** Endpoints to use instead of Webflow's, for a simulator or a gateway. Each defaults to that of `region`. */
  endpoints?: Partial<Endpoints> | undefined

  /**
   * Handles a webhook whose signature was verified. With this option, the plugin registers the route `POST webhookPath`.
   * The answer is 200 once the function has resolved. If the function throws, Webflow delivers the webhook again. The answer is
   * then 500, or 502, 503 or 504 if the error is a `WebflowOAuthError` with that status. Defaults to none: no such route.
   */
  onWebhook?: ((event: WebhookEvent, request: FastifyRequest) => unknown) | undefined

  /**
   * The path of the webhook route. Needs `onWebhook`.
   * Defaults to the callback's path with its last segment replaced by `webhook`.
   */
  webhookPath?: string | undefined

  /**
   * More keys that webhooks may be signed with, besides `clientSecret`: the `secretKey` of a webhook that was made with a site
   * token, or an earlier client secret. A string or a list of strings. Defaults to none.
   */
  webhookSecret?: string | ReadonlyArray<string | undefined> | undefined

  /**
   * How far the timestamp of a webhook may be from the present, in seconds, in either direction. Defaults to 300.
   * Webflow repeats a failed delivery after ten minutes. If the repetitions keep the old timestamp, set this option to 2400.
   */
  webhookMaxAge?: number | undefined

  /**
   * Runs after the exchange and before the token is stored. If it throws, nothing is stored and the flow fails with the
   * error that it threw. The `statusCode` of that error is the status of the answer.
   */
  beforeStore?: ((token: WebflowToken, request: FastifyRequest) => unknown) | undefined

  /** Runs after the token was stored. It may send the answer itself. If it throws, the error is logged and changes nothing. */
  onSuccess?: ((token: WebflowToken, request: FastifyRequest, reply: FastifyReply) => unknown) | undefined

  /**
   * Runs whenever one of the plugin's routes fails. It may send the answer itself. On the webhook route it runs after the answer,
   * and does not run for a webhook that the plugin has refused.
   */
  onFailure?: ((error: Error, request: FastifyRequest, reply: FastifyReply) => unknown) | undefined

  /**
   * Runs after a revocation, once for each record that the plugin has deleted. The request is null when the app revoked the
   * token with `revoke` or `revokeAll` of `fastify.webflowOAuth`. If it throws, the error is logged and changes nothing.
   */
  onRevoke?: ((token: WebflowToken, request: FastifyRequest | null) => unknown) | undefined

  /**
   * Runs once for each record that the plugin has deleted because Webflow had ended its token. If it throws, the error is
   * logged and changes nothing.
   */
  onDisconnect?: ((token: WebflowToken, reason: DisconnectReason) => unknown) | undefined
}

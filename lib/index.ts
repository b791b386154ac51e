import type { FastifyInstance, RegisterOptions } from 'fastify'
import fp from 'fastify-plugin'
import { createApi, type WebflowOAuth } from './api.ts'
import { callerSlot, stageSlot, type Stage, type WebflowDesigner } from './caller/caller-tokens.ts'
import { createParts } from './context.ts'
import { refuseOption } from './errors.ts'
import { loadCookieCodec } from './http/cookies.ts'
import type { WebflowOAuthOptions } from './options/options.ts'
import { resolveOptions, type Settings } from './options/resolve.ts'
import { checkSetup } from './options/warnings.ts'
import type { WebflowToken } from './options/webflow-token.ts'
import { Closing } from './routes/closing.ts'
import { registerRoutes } from './routes/index.ts'

export { MemoryStore } from '../stores/memory.ts'
export type { MemoryStoreOptions } from '../stores/memory.ts'
export type { SetOptions, TokenStore } from '../stores/token-store.ts'
export type { ImportTokenOptions, ReceivedWebhook, ResolveIdTokenOptions, ResolvedIdToken, Revocation, StartAuthorizationOptions, TokenReference, WebflowOAuth } from './api.ts'
export { diagnostics } from './diagnostics.ts'
export type { Diagnostics, DiagnosticsChannel, DiagnosticsListener, Disconnect, DisconnectReason, Exchange, FlowEnd, FlowStart, FlowTrigger, Revoke, StoreFailure } from './diagnostics.ts'
export { WebflowOAuthError } from './errors.ts'
export type { ErrorCode, StateReason, WebhookReason } from './errors.ts'
export type { TokenImport } from './tokens/import.ts'
export type { TokenStatus } from './tokens/status.ts'
export type { WebflowOAuthOptions } from './options/options.ts'
export type { WebhookEvent } from './options/webhook-event.ts'
export type { Authorization, WebflowToken, WebflowUser } from './options/webflow-token.ts'
export type { WebflowDesigner } from './caller/caller-tokens.ts'
export type { DesignerOptions } from './options/designer.ts'
export type { PopupMessage } from './http/popup.ts'
export type { RequireTokenHook, RequireTokenOptions } from './caller/guard.ts'
export type { TokenRevocation } from './tokens/revocation.ts'
export type { PluginRouteConfig, RouteConfig } from './options/route-config.ts'
export type { Region } from './options/regions.ts'
export type { KnownScope, Scope } from './options/scopes.ts'
export type { DesignerUser } from './webflow/id-token-answers.ts'
export type { TokenQuery } from './tokens/query.ts'
export type { Endpoints } from './options/endpoints.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The Webflow connections of this app's users. */
    webflowOAuth: WebflowOAuth
  }
  interface FastifyRequest {
    /**
     * The caller's connection to Webflow, or null when there is none. It is available from `preValidation` on. Reading it
     * earlier throws `WEBFLOW_OAUTH_TOKEN_NOT_LOADED`. If the store failed, reading it throws
     * `WEBFLOW_OAUTH_STORE_UNAVAILABLE`.
     */
    readonly webflowToken: WebflowToken | null
    /**
     * Who has opened which site in the Designer. Null unless the request has a session token of the app's Designer Extension and
     * the route has `config: { webflowDesigner: true }`. Reading it throws the same errors as reading `webflowToken`.
     */
    readonly webflowDesigner: WebflowDesigner | null
  }
  interface FastifyContextConfig {
    /** Whether the plugin loads the caller's token on this route. Defaults to true. */
    webflowToken?: boolean
    /** Whether a session token of the app's Designer Extension counts on this route. Defaults to false. */
    webflowDesigner?: boolean
  }
}

/**
 * Connects an app to Webflow. Registers the authorize, callback and revoke routes, and with the options `onWebhook` and
 * `designer` one more route each. Decorates requests with `webflowToken` and `webflowDesigner`, and the Fastify instance with
 * `webflowOAuth`.
 */
export const webflowOAuth = fp(async (fastify: FastifyInstance, options: WebflowOAuthOptions & Pick<RegisterOptions, 'logLevel' | 'logSerializers'>) => {
  if (fastify.hasDecorator('webflowOAuth')) refuseOption('register', 'was called twice in one scope, or again in a scope within it: register each instance in a scope beside the others, with its own `cookieName`')
  const settings = resolveOptions(options, fastify.prefix)
  reserveCookies(fastify, settings)
  checkSetup(fastify, settings, options)
  const parts = createParts(settings, fastify.log, await loadCookieCodec(fastify))

  fastify.decorate('webflowOAuth', createApi(parts))
  fastify.decorateRequest(callerSlot, undefined)
  fastify.decorateRequest<Stage>(stageSlot, 'new')
  fastify.decorateRequest('webflowDesigner', { getter () { return parts.callers.designerOf(this) } })
  fastify.decorateRequest('webflowToken', { getter () { return parts.callers.propertyOf(this) } })
  fastify.addHook('onRequest', (request, reply, done) => {
    parts.callers.begin(request, reply)
    done()
  })
  fastify.addHook('preParsing', (request, _reply, _payload, done) => { parts.callers.load(request, done) })
  if (parts.identity.byUser) fastify.addHook('preHandler', (request, _reply, done) => { parts.callers.loadAgain(request, done) })
  fastify.addHook('onListen', (done) => {
    // Failures are ignored here: the first call to Webflow meets the same error and reports it.
    Promise.allSettled([parts.webflow.prepare()])
    done()
  })
  const closing = new Closing(parts, fastify)
  fastify.addHook('onClose', async () => { await parts.webflow.close() })
  // Fastify runs `onClose` hooks in reverse order. The hooks of `closing` are added last, so they run before the client for
  // Webflow is closed.
  closing.addHooks(fastify)
  // Fastify applies `logLevel` and `logSerializers` to the scope of a plugin. fastify-plugin gives this plugin no scope of its
  // own, so the options are passed on to the scope of the routes.
  const { logLevel, logSerializers } = options
  fastify.register(registerRoutes, {
    parts,
    surrounding: fastify,
    closing,
    ...(logLevel === undefined ? {} : { logLevel }),
    ...(logSerializers === undefined ? {} : { logSerializers })
  })
}, { name: 'fastify-webflow-oauth', fastify: '5.x' })

export default webflowOAuth

/** The cookie names in use on each server, so that no two instances use the same name on one host. */
const reserved = new WeakMap<object, Set<string>>()

function reserveCookies ({ server }: FastifyInstance, { cookieName, host }: Settings): void {
  const names = reserved.get(server) ?? new Set<string>()
  // Browsers send a cookie to all ports of its host.
  const name = `${cookieName} ${host.replace(/:\d+$/, '')}`
  if (names.has(name)) refuseOption('cookieName', `is taken: another instance on this server uses \`${cookieName}\` too. Give each instance a name of its own`)
  reserved.set(server, names.add(name))
}

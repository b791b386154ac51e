// A program that uses the installed package. `.ci/matrix` compiles it against the package's declarations, with several versions
// of TypeScript, Fastify and ioredis. Each `@ts-expect-error` marks a mistake that the types must find.
import { DatabaseSync } from 'node:sqlite'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { Cluster, Redis } from 'ioredis'
import webflowOAuth, {
  MemoryStore, WebflowOAuthError, diagnostics, webflowOAuth as named,
  type Authorization, type DesignerOptions, type DesignerUser, type ErrorCode, type FlowEnd, type ImportTokenOptions, type PopupMessage, type Region, type RouteConfig, type Scope, type StateReason, type TokenImport, type TokenStore, type WebflowDesigner, type WebflowOAuth, type WebflowOAuthOptions, type WebflowToken,
  type WebhookEvent, type WebhookReason
} from 'fastify-webflow-oauth'
import { createSimulator, type Fault, type Simulator } from 'fastify-webflow-oauth/simulator'
import { storeTests } from 'fastify-webflow-oauth/stores/conformance'
import { MemoryStore as FromSubpath } from 'fastify-webflow-oauth/stores/memory'
import { RedisStore } from 'fastify-webflow-oauth/stores/redis'
import { SqliteStore, type SqliteDatabase } from 'fastify-webflow-oauth/stores/sqlite'

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
function assertType<T extends true> (): T | undefined { return undefined }

const stores: TokenStore[] = [new RedisStore({ client: new Redis() }), new RedisStore({ client: new Cluster([]), keyPrefix: 'a:' }), new RedisStore({ client: new Redis(), nearCache: { maxAge: 500 } }), new MemoryStore(), new FromSubpath({ maxEntries: 5 })]
const connection: SqliteDatabase = new DatabaseSync(':memory:')
stores.push(new SqliteStore({ path: './tokens.db' }), new SqliteStore({ database: connection }))
// @ts-expect-error neither a path nor a database
stores.push(new SqliteStore({}))
// @ts-expect-error both of them
stores.push(new SqliteStore({ path: './tokens.db', database: connection }))
const options: WebflowOAuthOptions = {
  // Strings from the environment may be undefined, and are checked at `register`.
  clientId: process.env['ID'],
  clientSecret: process.env['SECRET'],
  redirectUri: 'https://app.example.com/webflow/callback',
  scope: ['sites:read', 'new_thing:read'],
  secret: [process.env['APP_SECRET'], Buffer.alloc(32)],
  region: 'eu',
  routeConfig: { authorize: { anything: { max: 10 } }, callback: { check: () => true } },
  store: stores[0],
  designer: { origins: ['https://0123456789abcdef01234567.webflow-ext.com'], maxAge: 300 },
  identify: async (request: FastifyRequest) => request.ip,
  signInRedirect: '/sign-in',
  beforeStore: async (token, request) => { request.log.info(token.id) },
  onSuccess: (token, _request, reply: FastifyReply) => reply.send(token.scope),
  onFailure: (error) => { if (error instanceof WebflowOAuthError) assertType<Equal<typeof error.code, ErrorCode>>() },
  onRevoke: (_token, request) => { assertType<Equal<typeof request, FastifyRequest | null>>() },
  onDisconnect: (_token, reason) => { assertType<Equal<typeof reason, 'revoked' | 'superseded'>>() },
  onWebhook: async (event, request) => {
    assertType<Equal<typeof event, WebhookEvent>>()
    assertType<Equal<typeof event.payload, unknown>>()
    assertType<Equal<typeof event.siteId, string | null>>()
    assertType<Equal<typeof event.sentAt, Date>>()
    request.log.info(event.bodyId)
  },
  webhookSecret: [process.env['WEBHOOK_KEY'], 'another'],
  webhookMaxAge: 2400
}

const fastify = Fastify({ logger: true })
await fastify.register(webflowOAuth, options)
await fastify.register(named, options)
assertType<Equal<typeof fastify.webflowOAuth, WebflowOAuth>>()

// A handler behind `requireToken()` has a token that is not null, without `!`.
fastify.get('/guarded', { preHandler: fastify.webflowOAuth.requireToken({ scope: ['sites:read'], onMissing: 'redirect' }), config: { webflowToken: true } }, async (request) => {
  const token = fastify.webflowOAuth.tokenOf(request)
  assertType<Equal<typeof token, WebflowToken>>()
  assertType<Equal<typeof token.accessToken, string>>()
  assertType<Equal<typeof token.authorization, Authorization | null>>()
  assertType<Equal<typeof token.expiresAt, Date>>()
  assertType<Equal<typeof token.region, Region>>()
  assertType<Equal<typeof token.owner, string | null>>()
  return token.accessToken
})
fastify.get('/open', async (request) => {
  assertType<Equal<typeof request.webflowToken, WebflowToken | null>>()
  // @ts-expect-error: the token may be null
  return request.webflowToken.accessToken
})
const designer: DesignerOptions = { origins: [], path: '/api/session' }
// @ts-expect-error: an extension has an origin
const withoutOrigins: DesignerOptions = { maxAge: 5 }
fastify.get('/panel', { config: { webflowDesigner: true } }, async (request) => {
  assertType<Equal<typeof request.webflowDesigner, WebflowDesigner | null>>()
  const { user, siteId, token } = await fastify.webflowOAuth.resolveIdToken(request, 'id token', { siteId: 'a', workspaceId: undefined })
  assertType<Equal<typeof user, DesignerUser>>()
  assertType<Equal<typeof user.id, string>>()
  assertType<Equal<typeof token, WebflowToken>>()
  return [siteId, request.webflowDesigner?.siteId, request.webflowDesigner?.user.id]
})
// @ts-expect-error: it is a boolean
fastify.get('/wrong', { config: { webflowDesigner: 'yes' } }, async () => 'no')
// Routes that say what their requests are made of can be guarded too.
fastify.get<{ Params: { id: string }, Querystring: { page: number } }>('/sites/:id', { onRequest: async () => {}, preValidation: [fastify.webflowOAuth.requireToken()] }, async (request) => {
  assertType<Equal<typeof request.params.id, string>>()
  return fastify.webflowOAuth.tokenOf(request).id
})
const plugin = async (scope: FastifyInstance): Promise<void> => { scope.get('/', async (request, reply) => reply.redirect(await scope.webflowOAuth.startAuthorization(request, reply, { returnTo: '/', popup: true }))) }
await fastify.register(plugin)

assertType<Equal<typeof fastify.webflowOAuth.apiUrl, string>>()
fastify.post<{ Body: Buffer }>('/hooks', async ({ headers, body }) => {
  const event = await fastify.webflowOAuth.verifyWebhook({ headers, body })
  assertType<Equal<typeof event, WebhookEvent>>()
  return await fastify.webflowOAuth.verifyWebhook({ headers, body: '' })
})
const webhookReasons: WebhookReason[] = ['signature_missing', 'signature_invalid', 'stale', 'body_invalid']

const scopes: Scope[] = ['cms:write', 'anything:read']
const message: PopupMessage = { source: 'fastify-webflow-oauth', outcome: 'failed', code: 'WEBFLOW_OAUTH_ACCESS_DENIED' }
assertType<Equal<typeof message.outcome, 'connected' | 'failed'>>()
const reasons: StateReason[] = ['expired', 'host_mismatch']
const { revoked, upstream } = await fastify.webflowOAuth.revoke({ user: 'u' }, { force: true })
assertType<Equal<typeof revoked, boolean>>()
assertType<Equal<typeof upstream, 'revoked' | 'already_revoked' | 'failed' | undefined>>()
for (const result of await fastify.webflowOAuth.revokeAll({ userId: '545bbecb7bdd6769632504a7' })) {
  if (result.revoked) assertType<Equal<typeof result.error, null>>()
  else assertType<Equal<typeof result.error, Error>>()
}
for await (const token of fastify.webflowOAuth.listTokens()) assertType<Equal<typeof token, WebflowToken>>()
const row: ImportTokenOptions = { accessToken: 'a', user: undefined, scope: ['sites:read', 'new_thing:read'], createdAt: new Date() }
const imported = await fastify.webflowOAuth.importToken(row)
assertType<Equal<typeof imported, TokenImport>>()
if (imported.outcome === 'revoked') assertType<Equal<typeof imported.token, null>>()
else assertType<Equal<typeof imported.token, WebflowToken>>()
const status = await fastify.webflowOAuth.checkToken('id')
assertType<Equal<typeof status, 'active' | 'revoked' | 'unknown' | null>>()
diagnostics.flowEnd.subscribe((message) => { assertType<Equal<typeof message, FlowEnd>>() })

const simulator: Simulator = createSimulator({ region: 'eu', app: { clientId: 'a', clientSecret: 'b', redirectUris: [], scope: [], extensionUrl: 'http://localhost:1337' }, behavior: { repeatedAuthorization: 'same', webhookRetries: 'same' } })
const { statusCode, attempts } = await simulator.deliver(fastify, { triggerType: 'form_submission', payload: { siteId: '62f3b1f7eafac55d0c64ef91' } }, { retries: 3 })
assertType<Equal<typeof statusCode | typeof attempts, number>>()
const fault: Fault = { status: 503, times: 2 }
simulator.fail('token', fault)
simulator.fail('revoke', 'half_body')
simulator.fail('resolve', { status: 401 })
const idToken: string = simulator.mintIdToken({ siteId: 'a' })
const tests: Array<{ title: string, run: () => Promise<void> }> = storeTests({ createStore: () => new MemoryStore() })
console.log(simulator.endpoints.token, scopes, reasons, webhookReasons, tests.length, designer, withoutOrigins, idToken)

// @ts-expect-error: the token of a request is read-only
fastify.get('/wrong', async (request) => { request.webflowToken = null })
// @ts-expect-error: a redirect URI is required
await fastify.register(webflowOAuth, { clientId: 'a', clientSecret: 'b', scope: ['sites:read'], secret: 'c' })
// @ts-expect-error: an option is misspelled
const misspelled: WebflowOAuthOptions = { ...options, redirectURI: '' }
// @ts-expect-error: a sign-in page is a path or a URL
const signIn: WebflowOAuthOptions = { ...options, signInRedirect: true }
// @ts-expect-error: Webflow's scopes are a list
const spaced: WebflowOAuthOptions = { ...options, scope: 'sites:read cms:read' }
// @ts-expect-error: an app cannot set whether the plugin's routes load the token
const loaded: RouteConfig = { authorize: { webflowToken: false } }
// @ts-expect-error: there is no such route
const misnamed: RouteConfig = { callbacks: {} }
// @ts-expect-error: Webflow has two regions
const elsewhere: WebflowOAuthOptions = { ...options, region: 'asia' }
// @ts-expect-error: a webhook is verified by its bytes
await fastify.webflowOAuth.verifyWebhook({ headers: {}, body: { triggerType: 'x' } })
// @ts-expect-error: a store has four functions
const half: TokenStore = { get: async () => null, set: async () => true, delete: async () => true }
// @ts-expect-error: `getToken` takes an id or a user
await fastify.webflowOAuth.getToken({ id: 'a' })
// @ts-expect-error: a time is a Date
await fastify.webflowOAuth.importToken({ accessToken: 'a', createdAt: '2026-11-23' })
// @ts-expect-error: a token is imported by its value
await fastify.webflowOAuth.importToken({ user: 'u' })
// @ts-expect-error: a query names an id
await fastify.webflowOAuth.findTokens({})
// @ts-expect-error: a popup ends in one of two ways
const unheard: PopupMessage = { source: 'fastify-webflow-oauth', outcome: 'closed' }
// @ts-expect-error: there is no such switch
createSimulator({ app: { clientId: 'a', clientSecret: 'b', redirectUris: [], scope: [] }, behavior: { repeatedAuthorisation: 'same' } })
console.log(misspelled, signIn, spaced, elsewhere, loaded, misnamed, half, unheard)

import { mock } from 'node:test'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { request } from 'undici'
import { withDeadline, type Deadline } from '../lib/collections/deadline.ts'
import { isObject, parseJson } from '../lib/collections/json.ts'
import { WebflowOAuthError, type WebflowOAuthOptions } from '../lib/index.ts'
import type { BehaviorOptions } from '../lib/simulator/index.ts'
import { ResolveLimits } from '../lib/tokens/resolve-limits.ts'
import { MemoryStore } from '../stores/memory.ts'
import { assertNothingLeaked } from './support/app.ts'
import { navigation } from './support/browser.ts'
import { charles, eventually, ids, outage, startBench, stopClock, watchStore, type Pick } from './support/installation.ts'
import { rememberSecrets } from './support/logs.ts'
import { app as simulatedApp, start as startSimulator } from './support/simulator-start.ts'

const ada = { id: ids.ada, email: 'ada@example.com', firstName: 'Ada', lastName: 'Lovelace' }

t.test('the simulator', async (t) => {
  async function start (t: Test, behavior: BehaviorOptions = {}) {
    const clock = { now: Date.now() }
    const bench = await startSimulator(t, { behavior, now: () => clock.now, apps: [{ ...simulatedApp, clientId: 'another app' }] })
    const resolve = async (accessToken: string, idToken: unknown) => {
      const answer = await request(bench.webflow.endpoints.resolve, {
        method: 'POST',
        headers: { authorization: `Bearer ${accessToken}`, 'content-type': 'application/json' },
        body: JSON.stringify({ idToken })
      })
      return { status: answer.statusCode, body: await answer.body.json() }
    }
    return { ...bench, resolve, clock }
  }

  t.test('resolves an ID token, in the shape of a JWT, for a token of the same site', async (t) => {
    const { webflow, connect, resolve } = await start(t)
    const accessToken = await connect({ siteIds: [ids.engine] })
    const idToken = webflow.mintIdToken({ siteId: ids.engine })
    t.match(idToken, /^eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+$/)
    t.strictSame(await resolve(accessToken, idToken), { status: 200, body: { ...ada, siteId: ids.engine } })
    const other = webflow.mintIdToken({ user: charles, siteId: ids.engine })
    t.strictSame(await resolve(accessToken, other), { status: 200, body: { ...charles, siteId: ids.engine } })
    t.equal(webflow.requests.resolve.length, 2)
  })

  t.test('refuses an ID token of 15 minutes ago, of another app, of another site, and anything else', async (t) => {
    const { webflow, connect, resolve, clock } = await start(t)
    const accessToken = await connect({ siteIds: [ids.engine] })
    const old = webflow.mintIdToken({ siteId: ids.engine })
    clock.now += 15 * 60 * 1000
    const foreign = webflow.mintIdToken({ siteId: ids.engine, clientId: 'another app' })
    for (const idToken of [old, foreign, webflow.mintIdToken({ siteId: ids.notes }), 'made up', undefined]) {
      t.match(await resolve(accessToken, idToken), { status: 400, body: { code: 'bad_request' } })
    }
    t.match(await resolve('no token', webflow.mintIdToken({ siteId: ids.engine })), { status: 401, body: { code: 'not_authorized' } })
  })

  t.test('mints no ID token for a site or a user that it does not know', async (t) => {
    const { webflow } = await start(t)
    t.throws(() => webflow.mintIdToken({ siteId: 'nowhere' }), /`siteId` must be the id of a site/)
    t.throws(() => webflow.mintIdToken({ siteId: ids.engine, clientId: 'nobody' }), /has no app/)
  })

  t.test('answers differently with resolvingToken any, resolveNamesSite false and idTokenErrorStatus 401', async (t) => {
    const { webflow, connect, resolve } = await start(t, { resolvingToken: 'any', resolveNamesSite: false, idTokenErrorStatus: 401 })
    const accessToken = await connect({ siteIds: [ids.engine] })
    t.strictSame(await resolve(accessToken, webflow.mintIdToken({ siteId: ids.gardens })), { status: 200, body: ada })
    t.match(await resolve(accessToken, 'made up'), { status: 401, body: { code: 'not_authorized' } })
  })

  t.test('refuses a token without authorized_user:read only if resolveNeedsScope is true', async (t) => {
    for (const resolveNeedsScope of [true, false]) {
      const { webflow, authorizeUrl, exchange, resolve } = await start(t, { resolveNeedsScope })
      const code = new URL(await webflow.approve(authorizeUrl({ scope: 'sites:read' }))).searchParams.get('code')
      const accessToken = String(Object(await exchange(String(code))).body.access_token)
      const { status, body } = await resolve(accessToken, webflow.mintIdToken({ siteId: ids.engine }))
      t.equal(status, resolveNeedsScope ? 403 : 200)
      if (resolveNeedsScope) t.match(body, { code: 'missing_scopes' })
    }
  })

  t.test('shows one site to a token that opens it, by itself or with its workspace, and 404 to any other', async (t) => {
    const { webflow, connect, get } = await start(t)
    const bySite = await connect({ siteIds: [ids.engine] })
    t.match(await get(`/v2/sites/${ids.engine}`, bySite), { status: 200, body: { id: ids.engine, workspaceId: ids.studio } })
    t.match(await get(`/v2/sites/${ids.gardens}`, bySite), { status: 404, body: { code: 'resource_not_found' } })
    const byWorkspace = await connect({ workspaceId: ids.park })
    t.match(await get(`/v2/sites/${ids.gardens}`, byWorkspace), { status: 200, body: { id: ids.gardens } })
    t.match(await get(`/v2/sites/${ids.gardens}`), { status: 401 })
    t.equal(webflow.requests.site.length, 4)
  })
})

const invalid = { statusCode: 401, code: 'WEBFLOW_OAUTH_ID_TOKEN_INVALID' }
const notConnected = { statusCode: 401, code: 'WEBFLOW_OAUTH_TOKEN_REQUIRED', authorizeUrl: 'https://app.example.com/webflow/authorize?popup=1' }
const lacksScope = { ...notConnected, statusCode: 403, code: 'WEBFLOW_OAUTH_SCOPE_MISSING' }

/** Starts an app with a route that resolves ID tokens, as an app without the option `designer` may write it. */
async function startResolving (t: Test, { behavior = {}, options = {} }: { behavior?: BehaviorOptions, options?: Partial<WebflowOAuthOptions> } = {}) {
  const bench = await startBench(t, {
    behavior,
    options: { scope: ['sites:read', 'authorized_user:read'], ...options },
    after (app) {
      app.post('/who', async (request, reply) => {
        const { idToken, ...where } = Object(request.body)
        try {
          const { user, siteId, token } = await app.webflowOAuth.resolveIdToken(request, idToken, where)
          return { user, siteId, tokenId: token.id }
        } catch (error) {
          const { statusCode, code, reason, authorizeUrl, headers, message } = Object(error)
          return reply.send({ statusCode, code, reason, authorizeUrl, headers, message })
        }
      })
    }
  })
  const { app, webflow } = bench
  return {
    ...bench,
    mint (siteId: string = ids.engine, user?: { id: string, email: string, firstName: string, lastName: string }) {
      const idToken = webflow.mintIdToken({ siteId, ...user === undefined ? {} : { user } })
      rememberSecrets(idToken)
      return idToken
    },
    async who (idToken: unknown, where: object = { siteId: ids.engine }, address = '203.0.113.1'): Promise<Record<string, unknown>> {
      const answer: unknown = (await app.inject({ method: 'POST', url: '/who', payload: { idToken, ...where }, remoteAddress: address })).json()
      return isObject(answer) ? answer : {}
    },
    asked: () => webflow.requests.resolve.length
  }
}

t.test('resolveIdToken', async (t) => {
  t.test('names the person who has opened the site, and a token of the site', async (t) => {
    const { install, mint, who, webflow } = await startResolving(t)
    const { token } = await install({ siteIds: [ids.engine] })
    t.strictSame(await who(mint()), { user: ada, siteId: ids.engine, tokenId: token.id })
    t.strictSame(await who(mint(ids.engine, charles), { siteId: ids.engine.toUpperCase() }), { user: charles, siteId: ids.engine, tokenId: token.id })
    t.equal(webflow.requests.site.length, 0, 'Webflow need not confirm a site that the token names')
  })

  t.test('gives the same answer to every ID token that is not one for the site', async (t) => {
    for (const idTokenErrorStatus of [400, 401, 404, 422] as const) {
      const { install, mint, who, webflow } = await startResolving(t, { behavior: { idTokenErrorStatus, resolvingToken: idTokenErrorStatus === 404 ? 'any' : 'site' } })
      await install({ siteIds: [ids.engine] })
      const answers = [await who('made-up'), await who(mint(ids.gardens)), await who('wfd1.something')]
      for (const answer of answers) t.strictSame(answer, answers[0])
      t.match(answers[0], invalid)
      t.equal(webflow.requests.resolve.length, 2, 'a session token is not sent to Webflow')
    }
  })

  t.test('accepts no answer that lacks the user or the site, or that has another form than Webflow\'s', async (t) => {
    const { install, mint, who, webflow } = await startResolving(t)
    await install({ siteIds: [ids.engine] })
    for (const body of [{}, { siteId: ids.engine }, { id: '', siteId: ids.engine }, { id: ids.ada }, { id: ids.ada, siteId: null }, 'html', [], { error: 'x', id: ids.ada, siteId: ids.engine }]) {
      webflow.fail('resolve', { body })
      t.match(await who(mint()), { statusCode: 502, code: 'WEBFLOW_OAUTH_WEBFLOW_RESPONSE_INVALID' }, JSON.stringify(body))
    }
    webflow.fail('resolve', { status: 403, body: { code: 'forbidden' } })
    t.match(await who(mint()), { statusCode: 502 })
  })

  t.test('refuses an ID token or an id that is missing or malformed', async (t) => {
    const { install, mint, who, asked } = await startResolving(t)
    await install({ siteIds: [ids.engine] })
    for (const idToken of [undefined, '', 5, 'two words', 'ä', 'x'.repeat(8193)]) t.match(await who(idToken), { statusCode: 400, code: 'WEBFLOW_OAUTH_INVALID_REQUEST' })
    for (const where of [{}, { siteId: 'site' }, { siteId: [ids.engine] }, { siteId: ids.engine, workspaceId: 5 }]) {
      t.match(await who(mint(), where), { statusCode: 400, code: 'WEBFLOW_OAUTH_INVALID_REQUEST' })
    }
    t.match(await who(mint(), { siteId: ids.engine, site: ids.engine }), { code: 'WEBFLOW_OAUTH_INVALID_OPTION' })
    t.equal(asked(), 0)
  })

  t.test('is refused with `introspect: false`', async (t) => {
    const { mint, who } = await startResolving(t, { options: { introspect: false } })
    t.match(await who(mint()), { code: 'WEBFLOW_OAUTH_INVALID_OPTION', message: /`introspect` is false/ })
  })

  t.test('says where to connect a site that no living token opens', async (t) => {
    const { install, mint, who, webflow, asked } = await startResolving(t)
    t.match(await who(mint()), notConnected)
    const { token } = await install({ siteIds: [ids.engine] })
    t.match(await who(mint(ids.gardens), { siteId: ids.gardens }), notConnected)
    webflow.revokeToken(token.accessToken)
    t.match(await who(mint()), notConnected)
    t.equal(asked(), 1)
  })

  t.test('says where to consent again when the tokens lack the scope, by their records or by Webflow\'s answer', async (t) => {
    const { install, mint, who, webflow, asked } = await startResolving(t, { options: { scope: ['sites:read'] } })
    await install({ siteIds: [ids.engine] })
    t.match(await who(mint()), lacksScope)
    t.equal(asked(), 0)
    const able = await startResolving(t)
    await able.install({ siteIds: [ids.engine] })
    able.webflow.fail('resolve', { status: 403, body: { code: 'missing_scopes' } })
    t.match(await able.who(able.mint()), lacksScope)
    t.equal(webflow.requests.site.length, 0)
  })

  t.test('tries an older token only when a newer one has ended or lacks the scope, and at most three tokens', async (t) => {
    const { install, mint, who, webflow, asked } = await startResolving(t)
    const tokens = []
    for (let i = 0; i < 5; i++) tokens.push((await install({ siteIds: [ids.engine] })).token)
    const [, , third, second, first] = tokens
    t.match(await who('made-up'), invalid)
    t.equal(asked(), 1, 'a verdict by a living token is final')
    webflow.revokeToken(String(first?.accessToken))
    webflow.fail('resolve', { handled: true, delay: 1 })
    webflow.fail('resolve', { status: 403, body: { code: 'missing_scopes' } })
    t.match(await who(mint()), { tokenId: second?.id })
    t.equal(asked(), 4, 'dead, without the scope, good')
    webflow.revokeToken(String(second?.accessToken))
    webflow.revokeToken(String(third?.accessToken))
    t.match(await who(mint()), notConnected)
    t.equal(asked(), 7)
  })

  t.test('does not believe that a token has ended by a 401 alone: introspection must confirm it, and is remembered for a minute', async (t) => {
    const { install, mint, who, webflow } = await startResolving(t)
    await install({ siteIds: [ids.engine] })
    const before = webflow.requests.introspect.length
    for (let i = 0; i < 3; i++) {
      webflow.fail('resolve', { status: 401, body: { code: 'not_authorized' } })
      t.match(await who(mint()), invalid)
    }
    t.equal(webflow.requests.introspect.length, before + 1)
    stopClock(t)
    for (const [fault, code] of [[{ status: 503 }, 'WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE'], [{ status: 403 }, 'WEBFLOW_OAUTH_WEBFLOW_RESPONSE_INVALID']] as const) {
      const other = await startResolving(t)
      await other.install({ siteIds: [ids.engine] })
      other.webflow.fail('resolve', { status: 401 })
      other.webflow.fail('introspect', fault)
      t.match(await other.who(other.mint()), { statusCode: 502, code })
    }
  })

  t.test('rejects when Webflow fails, limits the rate or answers too late, and when the store fails', async (t) => {
    const store = watchStore(new MemoryStore())
    const { install, mint, who, webflow } = await startResolving(t, { options: { store } })
    await install({ siteIds: [ids.engine] })
    webflow.fail('resolve', { status: 500 })
    t.match(await who(mint()), { statusCode: 502, code: 'WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE' })
    webflow.fail('resolve', 'rate_limited')
    t.match(await who(mint()), { statusCode: 502, code: 'WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE' })
    store.down = true
    t.match(await who(mint()), { statusCode: 503, code: 'WEBFLOW_OAUTH_STORE_UNAVAILABLE' })
  })

  t.test('takes at most one `timeout` for all calls together', async (t) => {
    const { install, mint, who, webflow } = await startResolving(t, { options: { timeout: 300 } })
    await install({ workspaceId: ids.studio })
    webflow.fail('site', { delay: 100 })
    webflow.fail('resolve', { hang: true })
    t.match(await who(mint(), { siteId: ids.engine, workspaceId: ids.studio }), { statusCode: 504, code: 'WEBFLOW_OAUTH_WEBFLOW_TIMEOUT', message: /did not resolve the ID token in time/ }, 'the second call does not get a whole timeout of its own')
  })

  t.test('asks about a good ID token only once a minute, as long as the access token is stored', async (t) => {
    const { install, mint, who, asked, connected, app } = await startResolving(t)
    await install({ siteIds: [ids.engine] })
    stopClock(t)
    const idToken = mint()
    for (let i = 0; i < 40; i++) t.match(await who(idToken), { user: ada })
    t.equal(asked(), 1)
    t.match(await who(idToken, { siteId: ids.notes }), notConnected, 'for this site alone')
    const [token] = connected
    if (token !== undefined) await app.webflowOAuth.revoke(token)
    t.match(await who(idToken), notConnected)
  })
})

t.test('a site whose workspace was granted as a whole', async (t) => {
  const where = { siteId: ids.engine, workspaceId: ids.studio }

  t.test('is found by the workspace, once Webflow has confirmed the site', async (t) => {
    const { install, mint, who, webflow } = await startResolving(t)
    const { token } = await install({ workspaceId: ids.studio })
    t.match(await who(mint()), notConnected, 'not without the id of the workspace')
    t.match(await who(mint(), where), { user: ada, tokenId: token.id })
    t.equal(webflow.requests.site.length, 1)
    t.match(await who(mint(ids.gardens), { siteId: ids.gardens, workspaceId: ids.studio }), notConnected, 'a foreign site')
    t.equal(webflow.requests.resolve.length, 1)
  })

  t.test('is found by the workspace when all tokens that name the site have ended', async (t) => {
    const { install, mint, who, webflow, asked } = await startResolving(t)
    const { token: older } = await install({ siteIds: [ids.engine] })
    const { token: ended } = await install({ siteIds: [ids.engine] })
    webflow.signIn(charles)
    const { token } = await install({ workspaceId: ids.studio })
    webflow.revokeToken(ended.accessToken)
    t.match(await who(mint(ids.engine, ada), where), { user: ada, tokenId: older.id }, 'not while one of them still works')
    webflow.revokeToken(older.accessToken)
    t.match(await who(mint(ids.engine, ada)), notConnected)
    const idToken = mint(ids.engine, ada)
    const before = asked()
    for (let i = 0; i < 12; i++) t.match(await who(idToken, where), { user: ada, tokenId: token.id })
    t.equal(asked(), before + 3, 'two that have ended and one that works, and after that the answer is remembered')
    t.match(await who('made-up', where), invalid)
    webflow.revokeToken(token.accessToken)
    t.match(await who(mint(ids.engine, ada), where), notConnected)
  })

  t.test('is remembered for a minute, too', async (t) => {
    const { install, mint, who, webflow, app } = await startResolving(t)
    const { token } = await install({ siteIds: [ids.engine] })
    const idToken = mint()
    t.match(await who(idToken, where), { user: ada })
    t.equal(webflow.requests.site.length, 0)
    webflow.fail('introspect', { body: { authorization: { scope: 'sites:read authorized_user:read', authorizedTo: { workspaceIds: [ids.studio] } } } })
    await app.webflowOAuth.reportUnauthorized(token)
    webflow.fail('site', { body: { id: ids.engine, workspaceId: ids.studio } })
    for (let i = 0; i < 3; i++) t.match(await who(idToken, where), { user: ada })
    t.equal(webflow.requests.site.length, 1, 'the workspace is asked for once')
    t.equal(webflow.requests.resolve.length, 2)
  })

  t.test('is refused when Webflow answers with another site, or not at all', async (t) => {
    const { install, mint, who, webflow } = await startResolving(t)
    await install({ workspaceId: ids.studio })
    for (const [fault, expected] of [
      [{ body: { id: ids.notes } }, notConnected],
      [{ status: 403, body: { code: 'forbidden' } }, notConnected],
      [{ status: 403, body: { code: 'missing_scopes' } }, lacksScope],
      [{ status: 401, body: {} }, notConnected],
      [{ status: 403, body: 'gateway' }, { statusCode: 502 }],
      [{ body: 'html' }, { statusCode: 502 }]
    ] as const) {
      webflow.fail('site', fault)
      t.match(await who(mint(), where), expected, JSON.stringify(fault))
    }
    t.equal(webflow.requests.resolve.length, 0)
  })

  t.test('leads to the newest token of the person, if the site is in the requested workspace', async (t) => {
    for (const [workspaceId, isOwn] of [[ids.studio, true], [ids.park, false], [undefined, false]] as const) {
      const { install, mint, who, webflow } = await startResolving(t)
      const { token: own } = await install({ workspaceId: ids.studio })
      webflow.signIn(charles)
      const { token: newest } = await install({ workspaceId: ids.studio })
      webflow.fail('site', { body: { id: ids.engine, workspaceId } })
      t.match(await who(mint(ids.engine, ada), where), { user: ada, tokenId: isOwn ? own.id : newest.id })
    }
  })
})

t.test('a site that several people have connected', async (t) => {
  const pick: Pick = { siteIds: [ids.engine] }

  t.test('leads to the newest token that the person has granted, or else to the one that has resolved the ID token', async (t) => {
    const { install, mint, who, webflow } = await startResolving(t)
    const { token: own } = await install(pick)
    webflow.signIn(charles)
    const { token: newest } = await install(pick)
    t.match(await who(mint(ids.engine, ada)), { user: ada, tokenId: own.id })
    const stranger = { ...charles, id: 'f'.repeat(24) }
    t.match(await who(mint(ids.engine, stranger)), { user: stranger, tokenId: newest.id })
  })
})

const extension = 'https://0123456789abcdef01234567.webflow-ext.com'

/** Starts an app with a Designer Extension, and with routes on which its sessions count and on which they do not. */
async function startDesigner (t: Test, { behavior = {}, options = {}, before, after }: { behavior?: BehaviorOptions, options?: Partial<WebflowOAuthOptions>, before?: (app: FastifyInstance) => unknown, after?: (app: FastifyInstance) => unknown } = {}) {
  const bench = await startBench(t, {
    behavior,
    options: { scope: ['sites:read', 'authorized_user:read'], designer: { origins: [extension] }, ...options },
    ...before === undefined ? {} : { before },
    after (app) {
      const show = async ({ webflowToken, webflowDesigner }: FastifyRequest) => ({ tokenId: webflowToken?.id ?? null, designer: webflowDesigner })
      app.setErrorHandler((error, { url }, reply) => {
        if (!(error instanceof WebflowOAuthError) || url.startsWith('/webflow')) throw error
        return reply.code(error.statusCode).send({ code: error.code, reason: error.reason })
      })
      app.get('/open', { config: { webflowDesigner: true } }, show)
      app.get('/panel', { config: { webflowDesigner: true }, preHandler: app.webflowOAuth.requireToken({ onMissing: 'redirect' }) }, show)
      app.get('/token-of', { config: { webflowDesigner: true } }, async (request) => ({ tokenId: app.webflowOAuth.tokenOf(request).id }))
      app.get('/elsewhere', show)
      app.get('/guarded-elsewhere', { preHandler: app.webflowOAuth.requireToken() }, show)
      app.post('/logout', { config: { webflowDesigner: true } }, async (request, reply) => {
        await app.webflowOAuth.endSession(request, reply)
        return 'bye'
      })
      after?.(app)
    }
  })
  const { app, webflow } = bench
  const post = (idToken: string | null, payload: string | object = { siteId: ids.engine }, { headers = {}, address = '203.0.113.1', url = '/webflow/designer' }: { headers?: Record<string, string>, address?: string, url?: string } = {}) => app.inject({
    method: 'POST',
    url,
    payload,
    remoteAddress: address,
    headers: { origin: extension, 'content-type': 'application/json', ...idToken === null ? {} : { authorization: `Bearer ${idToken}` }, ...headers }
  })
  const mint = (siteId: string = ids.engine, user = ada) => {
    const idToken = webflow.mintIdToken({ siteId, user })
    rememberSecrets(idToken)
    return idToken
  }
  return {
    ...bench,
    post,
    mint,
    /** Opens a session; resolves with its token. */
    async open (payload?: object, user = ada): Promise<string> {
      const answer = await post(mint(ids.engine, user), payload)
      const { sessionToken } = answer.json()
      rememberSecrets(sessionToken)
      return String(sessionToken)
    },
    async get (url: string, sessionToken: string, headers: Record<string, string> = {}): Promise<{ statusCode: number, body: unknown }> {
      const { statusCode, body } = await app.inject({ url, headers: { authorization: `Bearer ${sessionToken}`, ...headers } })
      return { statusCode, body: parseJson(body) }
    }
  }
}

const ended = { statusCode: 401, body: { code: 'WEBFLOW_OAUTH_TOKEN_REQUIRED', reason: 'session_ended' } }
const nobody = { statusCode: 200, body: { tokenId: null, designer: null } }

t.test('the designer route', async (t) => {
  t.test('exchanges an ID token for a session token that works', async (t) => {
    const { install, mint, post, get, webflow } = await startDesigner(t)
    const { token } = await install({ siteIds: [ids.engine] })
    stopClock(t)
    const answer = await post(mint())
    t.equal(answer.statusCode, 200)
    t.equal(answer.headers['content-type'], 'application/json; charset=utf-8')
    t.equal(answer.headers['cache-control'], 'no-store')
    const { sessionToken, ...rest } = answer.json()
    rememberSecrets(sessionToken)
    t.match(sessionToken, /^wfd1\.[\w.-]+$/)
    t.strictSame(rest, { expiresAt: new Date(Date.now() + 900_000).toISOString(), user: { id: ids.ada }, siteId: ids.engine })
    t.strictSame(await get('/panel', sessionToken), { statusCode: 200, body: { tokenId: token.id, designer: { user: { id: ids.ada }, siteId: ids.engine } } })
    t.strictSame(await get('/token-of', sessionToken), { statusCode: 200, body: { tokenId: token.id } })
    t.equal(webflow.requests.resolve.length, 1)
  })

  t.test('refuses a request without a bearer, and a malformed body', async (t) => {
    const { app, install, mint, post, webflow } = await startDesigner(t)
    await install({ siteIds: [ids.engine] })
    const requests = [
      post(null), post('two words'), post(mint(), ''), post(mint(), '{'), post(mint(), '[]'), post(mint(), { siteId: 'x' }),
      post(mint(), { siteId: ids.engine, workspaceId: 'x' }), post('x'.repeat(8193)), post(null, {}, { headers: { authorization: 'Basic eA==' } })
    ]
    for (const answer of await Promise.all(requests)) {
      t.match({ statusCode: answer.statusCode, ...answer.json() }, { statusCode: 400, code: 'WEBFLOW_OAUTH_INVALID_REQUEST' })
      t.equal(answer.headers['access-control-allow-origin'], extension)
    }
    t.equal((await app.inject({ method: 'POST', url: '/webflow/designer', headers: { authorization: 'Bearer x' } })).statusCode, 400, 'no body')
    t.equal((await post(mint(), 'x'.repeat(5000))).statusCode, 413)
    t.equal((await post(mint(), JSON.stringify({ siteId: ids.engine }), { headers: { 'content-type': 'nonsense' } })).statusCode, 200, 'whatever its content type')
    t.equal(webflow.requests.resolve.length, 1)
  })

  t.test('says what the extension can do: connect, ask for consent, or send another ID token', async (t) => {
    const { install, mint, post, webflow, open } = await startDesigner(t)
    const popup = { authorizeUrl: 'https://app.example.com/webflow/authorize?popup=1' }
    t.match((await post(mint())).json(), { statusCode: 401, code: 'WEBFLOW_OAUTH_TOKEN_REQUIRED', error: 'Unauthorized', ...popup })
    await install({ siteIds: [ids.engine] })
    webflow.fail('resolve', { status: 403, body: { code: 'missing_scopes' } })
    t.match((await post(mint())).json(), { statusCode: 403, code: 'WEBFLOW_OAUTH_SCOPE_MISSING', ...popup })
    const sessionToken = await open()
    const answers = await Promise.all([post('made-up'), post(mint(ids.gardens)), post(sessionToken)])
    for (const answer of answers) {
      t.equal(answer.statusCode, 401)
      t.equal(answer.body, answers[0]?.body)
    }
    t.match(answers[0]?.json(), { code: 'WEBFLOW_OAUTH_ID_TOKEN_INVALID' })
    webflow.fail('resolve', { status: 503 })
    t.equal((await post(mint())).statusCode, 502)
  })

  t.test('runs onFailure, which may answer', async (t) => {
    const codes: unknown[] = []
    const { post } = await startDesigner(t, { options: { onFailure (error, _request, reply) { codes.push(Object(error).code); return reply.code(418).send('tea') } } })
    const answer = await post(null)
    t.equal(answer.statusCode, 418)
    t.equal(answer.headers['access-control-allow-origin'], extension)
    t.strictSame(codes, ['WEBFLOW_OAUTH_INVALID_REQUEST'])
  })

  t.test('is at the path that the app has chosen, and does not exist without the option', async (t) => {
    const { mint, post } = await startDesigner(t, { options: { designer: { origins: [extension], path: '/api/session' } } })
    t.equal((await post(mint(), {}, { url: '/webflow/designer' })).statusCode, 404)
    t.equal((await post(mint(), {}, { url: '/api/session' })).statusCode, 400)
  })
})

t.test('CORS', async (t) => {
  const corsOf = (headers: Record<string, unknown>) => Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith('access-control') || name === 'vary'))
  const allowed = { vary: 'Origin', 'access-control-allow-origin': extension, 'access-control-allow-methods': 'POST', 'access-control-allow-headers': 'authorization, content-type', 'access-control-expose-headers': 'Retry-After' }
  const preflight = (app: FastifyInstance, origin = extension) => app.inject({ method: 'OPTIONS', url: '/webflow/designer', headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization,content-type' } })

  t.test('lets the extension call the route, and nobody else', async (t) => {
    const { app, post, mint } = await startDesigner(t)
    const answer = await preflight(app)
    t.equal(answer.statusCode, 204)
    t.strictSame(corsOf(answer.headers), allowed)
    t.strictSame(corsOf((await post(mint())).headers), allowed)
    for (const origin of ['https://fedcba9876543210fedcba98.webflow-ext.com', 'https://app.example.com', 'null', `${extension}.example.com`, extension.toUpperCase()]) {
      t.strictSame(corsOf((await preflight(app, origin)).headers), { vary: 'Origin' }, origin)
      t.strictSame(corsOf((await post(mint(), {}, { headers: { origin } })).headers), { vary: 'Origin' }, origin)
    }
    t.strictSame(corsOf((await app.inject({ url: '/webflow/authorize', headers: { origin: extension } })).headers), {}, 'for this route alone')
  })

  t.test('is set last, and replaces what a plugin for the whole app has set or answered', async (t) => {
    const { app, post, mint } = await startDesigner(t, {
      before (app) {
        app.addHook('onRequest', async (request, reply) => {
          reply.headers({ 'access-control-allow-origin': '*', 'access-control-allow-credentials': 'true', 'access-control-max-age': '600', vary: ['accept-encoding'] })
          if (request.method === 'OPTIONS') return reply.code(200).type('text/plain').send('preflight')
          if (request.headers['x-blocked'] !== undefined) throw Object.assign(new Error('blocked'), { statusCode: 429 })
        })
        app.addHook('onSend', async (_request, reply) => { reply.header('access-control-allow-origin', '*') })
      }
    })
    const merged = { ...allowed, vary: 'accept-encoding, Origin' }
    const answer = await preflight(app)
    t.equal(answer.statusCode, 204)
    t.equal(answer.body, '')
    t.equal(answer.headers['content-type'], undefined)
    t.strictSame(corsOf(answer.headers), merged)
    t.strictSame(corsOf((await post(mint())).headers), merged)
    const blocked = await post(mint(), {}, { headers: { 'x-blocked': '1' } })
    t.equal(blocked.statusCode, 429)
    t.strictSame(corsOf(blocked.headers), merged)
  })
})

t.test('a session token', async (t) => {
  t.test('counts only on routes that admit it: on other routes the request has no token, whatever cookies it has', async (t) => {
    const { install, open, get } = await startDesigner(t)
    const { browser, token } = await install({ siteIds: [ids.engine] })
    const sessionToken = await open()
    const cookie = { cookie: [...browser.cookies].map(([name, value]) => `${name}=${value}`).join('; ') }
    t.strictSame(await get('/elsewhere', sessionToken, cookie), nobody)
    t.match(await get('/guarded-elsewhere', sessionToken, cookie), { statusCode: 401, body: { code: 'WEBFLOW_OAUTH_TOKEN_REQUIRED', reason: undefined } })
    for (const bad of ['wfd1.', 'wfd1.made.up', `${sessionToken} more`, `${sessionToken}x`]) {
      t.strictSame(await get('/open', bad, cookie), nobody, bad.slice(0, 12))
      t.match(await get('/panel', bad, { ...cookie, ...navigation }), ended)
      t.match(await get('/token-of', bad, cookie), ended)
    }
    t.match(await get('/panel', 'of the app', cookie), { body: { tokenId: token.id, designer: null } }, 'a cookie session works there too')
    t.strictSame(await get('/open', 'of the app'), nobody)
  })

  t.test('takes precedence over `identify`, which is not called', async (t) => {
    const named: string[] = []
    const { install, open, get } = await startDesigner(t, { options: { identify: ({ headers, url }) => { named.push(url); return headers['x-user'] === 'ada' ? 'ada' : null } } })
    const { token } = await install({ siteIds: [ids.engine] }, { headers: { 'x-user': 'ada' } })
    const sessionToken = await open()
    t.strictSame(await get('/panel', 'of the app', { 'x-user': 'ada' }), { statusCode: 200, body: { tokenId: token.id, designer: null } }, 'a user of the app needs no session')
    named.length = 0
    t.match(await get('/panel', sessionToken, { 'x-user': 'ada' }), { statusCode: 200, body: { designer: { siteId: ids.engine } } })
    t.match(await get('/panel', 'wfd1.x', { 'x-user': 'ada' }), ended)
    t.match(await get('/guarded-elsewhere', sessionToken, { 'x-user': 'ada' }), { statusCode: 401 })
    t.strictSame(await get('/elsewhere', sessionToken, { 'x-user': 'ada' }), nobody)
    t.strictSame(named, [])
  })

  t.test('ends after maxAge', async (t) => {
    const { install, open, get } = await startDesigner(t, { options: { designer: { origins: [extension], maxAge: 60 } } })
    await install({ siteIds: [ids.engine] })
    stopClock(t)
    const sessionToken = await open()
    mock.timers.tick(59_999)
    t.match(await get('/panel', sessionToken), { statusCode: 200 })
    mock.timers.tick(1)
    t.match(await get('/panel', sessionToken), ended)
    t.strictSame(await get('/open', sessionToken), nobody)
  })

  t.test('ends when the token of the site is revoked, replaced, or no longer opens the site', async (t) => {
    const revoked = await startDesigner(t)
    const { token } = await revoked.install({ siteIds: [ids.engine] })
    const first = await revoked.open()
    await revoked.app.webflowOAuth.revoke(token)
    t.match(await revoked.get('/panel', first), ended)
    t.match(await revoked.get('/token-of', first), ended)

    const replaced = await startDesigner(t, { options: { identify: ({ headers }) => String(headers['x-user'] ?? '') } })
    await replaced.install({ siteIds: [ids.engine] }, { headers: { 'x-user': 'ada' } })
    const second = await replaced.open()
    await replaced.install({ siteIds: [ids.engine] }, { headers: { 'x-user': 'ada' } })
    t.match(await replaced.get('/panel', second), ended)

    const narrowed = await startDesigner(t)
    const { token: wide } = await narrowed.install({ siteIds: [ids.engine] })
    const third = await narrowed.open()
    for (const siteIds of [[ids.engine], []]) {
      narrowed.webflow.fail('introspect', { body: { authorization: { authorizedTo: { siteIds, workspaceIds: [ids.studio] } } } })
      await narrowed.app.webflowOAuth.reportUnauthorized(wide)
      const answer = await narrowed.get('/panel', third)
      if (siteIds.length > 0) t.match(answer, { statusCode: 200 })
      else t.match(answer, ended)
    }
  })

  t.test('may be bound to a token for the whole workspace', async (t) => {
    const { install, open, get, app, webflow } = await startDesigner(t)
    const { token } = await install({ workspaceId: ids.studio })
    const sessionToken = await open({ siteId: ids.engine, workspaceId: ids.studio })
    t.match(await get('/panel', sessionToken), { statusCode: 200, body: { designer: { siteId: ids.engine } } })
    webflow.fail('introspect', { body: { authorization: { authorizedTo: { siteIds: [], workspaceIds: [ids.park] } } } })
    await app.webflowOAuth.reportUnauthorized(token)
    t.match(await get('/panel', sessionToken), ended)
  })

  t.test('is bound to the workspace of the site, even if the extension has named another workspace of the token', async (t) => {
    const { install, open, get, app, webflow } = await startDesigner(t)
    await install({ workspaceId: ids.park })
    const { token } = await install({ workspaceId: ids.studio })
    const sessionToken = await open({ siteId: ids.engine, workspaceId: ids.park })
    for (const [workspaceId, statusCode] of [[ids.studio, 200], [ids.park, 401]] as const) {
      webflow.fail('introspect', { body: { authorization: { authorizedTo: { siteIds: [], workspaceIds: [workspaceId] } } } })
      await app.webflowOAuth.reportUnauthorized(token)
      t.match(await get('/panel', sessionToken), { statusCode }, workspaceId)
    }
  })

  t.test('does not count for another instance, nor for an app without the option `designer`', async (t) => {
    const store = new MemoryStore()
    const { install, open } = await startDesigner(t, { options: { store } })
    await install({ siteIds: [ids.engine] })
    const sessionToken = await open()
    for (const options of [{ designer: undefined }, { secret: 'another secret of 32 bytes or more' }, { clientId: 'd'.repeat(64) }]) {
      const other = await startDesigner(t, { options: { store, ...options } })
      t.match(await other.get('/panel', sessionToken), ended)
    }
  })

  t.test('disconnects nobody: revoke answers 403, and endSession does nothing', async (t) => {
    const { install, open, app, get } = await startDesigner(t, { options: { allowedOrigins: [extension] } })
    await install({ siteIds: [ids.engine] })
    const sessionToken = await open()
    const headers = { authorization: `Bearer ${sessionToken}`, origin: extension }
    const refused = await app.inject({ method: 'POST', url: '/webflow/revoke', headers })
    t.match({ statusCode: refused.statusCode, ...refused.json() }, { statusCode: 403, code: 'WEBFLOW_OAUTH_CROSS_SITE' })
    const logout = await app.inject({ method: 'POST', url: '/logout', headers })
    t.equal(logout.body, 'bye')
    t.equal(logout.headers['set-cookie'], undefined)
    t.match(await get('/panel', sessionToken), { statusCode: 200 })
  })

  t.test('does not seem to have ended while the store is down', async (t) => {
    const store = watchStore(new MemoryStore())
    const { install, open, get } = await startDesigner(t, { options: { store } })
    await install({ siteIds: [ids.engine] })
    const sessionToken = await open()
    store.down = true
    for (const path of ['/open', '/panel', '/token-of']) t.match(await get(path, sessionToken), { statusCode: 503, body: { code: outage } })
  })

  t.test('is not read where the route has opted out of tokens', async (t) => {
    for (const options of [{}, { identify: () => 'ada' }]) {
      const { install, open, get } = await startDesigner(t, {
        options,
        after (app) { app.get('/off', { config: { webflowToken: false, webflowDesigner: true } }, async ({ webflowDesigner }) => webflowDesigner) }
      })
      await install({ siteIds: [ids.engine] })
      t.match(await get('/off', await open()), { statusCode: 500, body: { code: 'WEBFLOW_OAUTH_TOKEN_NOT_LOADED' } })
    }
  })

  t.test('begins no flow in the name of a user of the app', async (t) => {
    const { install, open, get } = await startDesigner(t, { options: { identify: ({ headers }) => String(headers['x-user'] ?? '') } })
    await install({ siteIds: [ids.engine] }, { headers: { 'x-user': 'ada' } })
    t.match(await get('/webflow/authorize', await open(), { 'x-user': 'ada' }), { statusCode: 302 })
  })
})

t.test('a stranger cannot use up the rate limit of a tenant', async (t) => {
  const address = (index: number) => `203.0.113.${index}`
  const tooMany = { statusCode: 429, code: 'WEBFLOW_OAUTH_TOO_MANY_REQUESTS' }

  t.test('one client address has ten tries a minute, and Retry-After says when it has another', async (t) => {
    const { install, mint, post, webflow } = await startDesigner(t)
    await install({ siteIds: [ids.engine] })
    stopClock(t)
    for (let i = 0; i < 10; i++) {
      t.equal((await post(`made-up-${i}`)).statusCode, 401)
      mock.timers.tick(1000)
    }
    const refused = await post(mint())
    t.match({ statusCode: refused.statusCode, ...refused.json() }, tooMany)
    t.equal(refused.headers['retry-after'], '50')
    t.equal(refused.headers['access-control-expose-headers'], 'Retry-After')
    t.equal(webflow.requests.resolve.length, 10)
    t.equal((await post(mint(), undefined, { address: address(2) })).statusCode, 200, 'another address is not concerned')
    mock.timers.tick(50_000)
    t.equal((await post(mint())).statusCode, 200)
  })

  t.test('Retry-After stays where the app answers errors itself', async (t) => {
    const { install, post } = await startDesigner(t, { options: { onFailure (error, _request, reply) { return reply.code(Object(error).statusCode).send('no') } } })
    await install({ siteIds: [ids.engine] })
    stopClock(t)
    for (let i = 0; i < 10; i++) await post('made-up')
    const refused = await post('made-up')
    t.equal(refused.body, 'no')
    t.equal(refused.headers['retry-after'], '60')
  })

  t.test('all addresses together have thirty, and those with a good answer within the last hour are exempt', async (t) => {
    const { install, mint, post } = await startDesigner(t)
    await install({ siteIds: [ids.engine] })
    stopClock(t)
    const remembered = mint()
    t.equal((await post(remembered, undefined, { address: address(1) })).statusCode, 200)
    for (let i = 0; i < 30; i++) t.equal((await post('made-up', undefined, { address: address(10 + i % 3) })).statusCode, 401)
    t.match((await post(mint(), undefined, { address: address(2) })).json(), tooMany, 'a newcomer waits')
    t.equal((await post(mint(), undefined, { address: address(1) })).statusCode, 200)
    t.equal((await post(remembered, undefined, { address: address(2) })).statusCode, 200, 'an ID token with a good answer is never refused')
    mock.timers.tick(60_000 * 60)
    for (let i = 0; i < 30; i++) await post('made-up', undefined, { address: address(10 + i % 3) })
    t.match((await post(mint(), undefined, { address: address(1) })).json(), tooMany, 'an hour later it is a newcomer again')
  })

  t.test('a newest token that has ended blocks nobody: a good answer by an older token gives its tries back too', async (t) => {
    const { install, mint, post, webflow } = await startDesigner(t)
    await install({ siteIds: [ids.engine] })
    const { token: newest } = await install({ siteIds: [ids.engine] })
    webflow.revokeToken(newest.accessToken)
    stopClock(t)
    for (let i = 0; i < 12; i++) t.equal((await post(mint(), undefined, { address: address(1) })).statusCode, 200)
    for (let i = 0; i < 30; i++) t.equal((await post('made-up', undefined, { address: address(10 + i % 3) })).statusCode, 401)
    t.equal((await post(mint(), undefined, { address: address(1) })).statusCode, 200, 'who had a good answer is exempt')
  })

  t.test('an ID token that is accepted while it waits behind others is not refused', async (t) => {
    const { install, mint, post, webflow } = await startDesigner(t)
    await install({ siteIds: [ids.engine] })
    for (let i = 0; i < 9; i++) await post(`made-up-${i}`)
    const twice = mint()
    const before = webflow.requests.resolve.length
    webflow.fail('resolve', { delay: 50, handled: true })
    t.strictSame((await Promise.all([post(twice), post(twice)])).map(({ statusCode }) => statusCode), [200, 200])
    t.equal(webflow.requests.resolve.length, before + 1, 'the second waited, and asked nobody')
    const idToken = mint()
    webflow.fail('resolve', { delay: 100, handled: true, times: 2 })
    const answers = await Promise.all([post(idToken), post('made-up-too'), post(idToken)])
    t.strictSame([answers[0]?.statusCode, answers[2]?.statusCode], [200, 200])
  })

  t.test('a good answer that arrives after the timeout of its request gives the try back', async (t) => {
    const { install, mint, post, webflow } = await startDesigner(t, { options: { timeout: 500 } })
    await install({ workspaceId: ids.studio })
    const payload = { siteId: ids.engine, workspaceId: ids.studio }
    for (let i = 0; i < 9; i++) t.equal((await post(`made-up-${i}`, payload)).statusCode, 401)
    for (const endpoint of ['site', 'resolve'] as const) webflow.fail(endpoint, { delay: 400, handled: true })
    t.equal((await post(mint(), payload)).statusCode, 504)
    t.ok(await eventually(async () => (await post(mint(), payload)).statusCode === 200))
  })

  t.test('a hundred requests wait for a try, and any further one is refused at once', async (t) => {
    const limits = new ResolveLimits()
    const deadline = { isOver: false, expired: new Promise<void>(() => {}) }
    const begin = async () => await limits.begin('token', address(1), deadline)
    const under = await Promise.all(Array.from({ length: 10 }, begin))
    const waiting = Array.from({ length: 100 }, begin)
    await t.rejects(begin(), tooMany)
    for (const end of under) end('outage')
    const next = await Promise.all(waiting.slice(0, 10))
    for (const end of next) end('spent')
    for (const late of waiting.slice(10)) await t.rejects(late, tooMany)
  })

  t.test('good answers and outages give their tries back', async (t) => {
    const { install, mint, post, webflow } = await startDesigner(t)
    await install({ siteIds: [ids.engine] })
    stopClock(t)
    for (let i = 0; i < 12; i++) t.equal((await post(mint())).statusCode, 200)
    for (let i = 0; i < 12; i++) {
      webflow.fail('resolve', { status: 503 })
      t.equal((await post(mint())).statusCode, 502)
    }
    for (let i = 0; i < 10; i++) {
      webflow.fail('resolve', i % 2 === 0 ? 'rate_limited' : 'html')
      t.equal((await post(mint())).statusCode, 502)
    }
    t.match((await post(mint())).json(), tooMany, 'a 429 of Webflow\'s and a strange answer give nothing back')
  })

  t.test('asking whether a token opens a site counts as a try', async (t) => {
    const { install, mint, post, webflow } = await startDesigner(t)
    await install({ workspaceId: ids.studio })
    stopClock(t)
    for (let i = 0; i < 10; i++) t.equal((await post(mint(ids.gardens), { siteId: ids.gardens, workspaceId: ids.studio })).statusCode, 401)
    t.match((await post(mint(), { siteId: ids.engine, workspaceId: ids.studio })).json(), tooMany)
    t.equal(webflow.requests.site.length, 10)
  })

  t.test('tries are counted for each access token, so another site is not affected', async (t) => {
    const { install, mint, post, webflow } = await startDesigner(t)
    await install({ siteIds: [ids.engine] })
    webflow.signIn(charles)
    await install({ siteIds: [ids.gardens] })
    stopClock(t)
    for (let i = 0; i < 10; i++) await post('made-up')
    t.match((await post(mint())).json(), tooMany)
    t.equal((await post(mint(ids.gardens), { siteId: ids.gardens })).statusCode, 200)
  })

  t.test('requests beyond the limit wait while tries are under way that may be given back', async (t) => {
    const limits = new ResolveLimits(() => 1_000_000)
    const within = <T>(task: (deadline: Deadline) => Promise<T>) => withDeadline(5000, task)
    const begin = (client: number) => within((deadline) => limits.begin('token', address(client), deadline))
    const ends = []
    for (let i = 0; i < 10; i++) ends.push(await begin(1))
    const [first, second, ...others] = ends
    const [next, last] = [begin(1), begin(1)]
    first?.('outage')
    const endNext = await next
    second?.('spent')
    for (const end of others) end('spent')
    endNext('spent')
    await t.rejects(last, { code: tooMany.code, headers: { 'retry-after': '60' } }, 'nothing was left to wait for')
  })

  t.test('waiting ends with the timeout of the request', async (t) => {
    const limits = new ResolveLimits()
    for (let i = 0; i < 10; i++) await withDeadline(1000, (deadline) => limits.begin('token', 'a', deadline))
    await t.rejects(withDeadline(20, (deadline) => limits.begin('token', 'a', deadline)), { code: tooMany.code })
  })

  t.test('resolveIdToken has the same limits', async (t) => {
    const { install, mint, who, asked } = await startResolving(t)
    await install({ siteIds: [ids.engine] })
    stopClock(t)
    for (let i = 0; i < 10; i++) t.match(await who('made-up'), invalid)
    t.match(await who(mint()), { ...tooMany, headers: { 'retry-after': '60' } })
    t.equal(asked(), 10)
  })
})

t.test('no secret is logged', async (t) => { assertNothingLeaked(t) })

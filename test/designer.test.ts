import t, { type Test } from 'tap'
import { request } from 'undici'
import { isObject } from '../lib/collections/json.ts'
import type { WebflowOAuthOptions } from '../lib/index.ts'
import type { BehaviorOptions } from '../lib/simulator/index.ts'
import { MemoryStore } from '../stores/memory.ts'
import { assertNothingLeaked } from './support/app.ts'
import { charles, ids, startBench, stopClock, watchStore, type Pick } from './support/installation.ts'
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

  t.test('resolvingToken any, resolveNamesSite false and idTokenErrorStatus 401 give the other answers', async (t) => {
    const { webflow, connect, resolve } = await start(t, { resolvingToken: 'any', resolveNamesSite: false, idTokenErrorStatus: 401 })
    const accessToken = await connect({ siteIds: [ids.engine] })
    t.strictSame(await resolve(accessToken, webflow.mintIdToken({ siteId: ids.gardens })), { status: 200, body: ada })
    t.match(await resolve(accessToken, 'made up'), { status: 401, body: { code: 'not_authorized' } })
  })

  t.test('resolveNeedsScope: a token without authorized_user:read is refused, or not', async (t) => {
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
    mint (siteId: string = ids.engine, user?: typeof charles | typeof ada) {
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

  t.test('has one and the same answer for every ID token that does not stand for the site', async (t) => {
    for (const idTokenErrorStatus of [400, 401, 404, 422] as const) {
      const { install, mint, who, webflow } = await startResolving(t, { behavior: { idTokenErrorStatus, resolvingToken: idTokenErrorStatus === 404 ? 'any' : 'site' } })
      await install({ siteIds: [ids.engine] })
      const answers = [await who('made-up'), await who(mint(ids.gardens)), await who('wfd1.something')]
      for (const answer of answers) t.strictSame(answer, answers[0])
      t.match(answers[0], invalid)
      t.equal(webflow.requests.resolve.length, 2, 'a session token is not sent to Webflow')
    }
  })

  t.test('fails closed when the answer lacks the user or the site, or is none of Webflow\'s', async (t) => {
    const { install, mint, who, webflow } = await startResolving(t)
    await install({ siteIds: [ids.engine] })
    for (const body of [{}, { siteId: ids.engine }, { id: '', siteId: ids.engine }, { id: ids.ada }, { id: ids.ada, siteId: null }, 'html', [], { error: 'x', id: ids.ada, siteId: ids.engine }]) {
      webflow.fail('resolve', { body })
      t.match(await who(mint()), { statusCode: 502, code: 'WEBFLOW_OAUTH_WEBFLOW_RESPONSE_INVALID' }, JSON.stringify(body))
    }
    webflow.fail('resolve', { status: 403, body: { code: 'forbidden' } })
    t.match(await who(mint()), { statusCode: 502 })
  })

  t.test('refuses what is missing or malformed', async (t) => {
    const { install, mint, who, asked } = await startResolving(t)
    await install({ siteIds: [ids.engine] })
    for (const idToken of [undefined, '', 5, 'two words', 'ä', 'x'.repeat(8193)]) t.match(await who(idToken), { statusCode: 400, code: 'WEBFLOW_OAUTH_INVALID_REQUEST' })
    for (const where of [{}, { siteId: 'site' }, { siteId: [ids.engine] }, { siteId: ids.engine, workspaceId: 5 }]) {
      t.match(await who(mint(), where), { statusCode: 400, code: 'WEBFLOW_OAUTH_INVALID_REQUEST' })
    }
    t.match(await who(mint(), { siteId: ids.engine, site: ids.engine }), { code: 'WEBFLOW_OAUTH_INVALID_OPTION' })
    t.equal(asked(), 0)
  })

  t.test('needs to know what tokens open', async (t) => {
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

  t.test('tries an older token only when a newer one is dead or lacks the scope, and at most three', async (t) => {
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

  t.test('takes no token for dead by a 401 alone: introspection must confirm it, and is remembered for a minute', async (t) => {
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

  t.test('passes on that Webflow fails, answers too often or too late, or that the store fails', async (t) => {
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

  t.test('keeps to one timeout in all', async (t) => {
    const { install, mint, who, webflow } = await startResolving(t, { options: { timeout: 300 } })
    await install({ workspaceId: ids.studio })
    webflow.fail('site', { delay: 200 })
    webflow.fail('resolve', { delay: 200 })
    t.match(await who(mint(), { siteId: ids.engine, workspaceId: ids.studio }), { statusCode: 504, code: 'WEBFLOW_OAUTH_WEBFLOW_TIMEOUT' })
  })

  t.test('asks about the same good ID token once a minute, while the token is there', async (t) => {
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

  t.test('is not believed when Webflow answers with another site, or not at all', async (t) => {
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

  t.test('leads to the newest token of the person, if the site is in this very workspace', async (t) => {
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

  t.test('leads to the newest token that the person has granted, else to the one that has resolved', async (t) => {
    const { install, mint, who, webflow } = await startResolving(t)
    const { token: own } = await install(pick)
    webflow.signIn(charles)
    const { token: newest } = await install(pick)
    t.match(await who(mint(ids.engine, ada)), { user: ada, tokenId: own.id })
    const stranger = { ...charles, id: 'f'.repeat(24) }
    t.match(await who(mint(ids.engine, stranger)), { user: stranger, tokenId: newest.id })
  })
})

t.test('no secret is logged', async (t) => { assertNothingLeaked(t) })

import { mock } from 'node:test'
import Fastify from 'fastify'
import t from 'tap'
import { MemoryStore, type TokenStore, type WebflowToken } from '../lib/index.ts'
import type { Fault } from '../lib/simulator/index.ts'
import { createContext } from '../lib/context.ts'
import { loadCookieCodec } from '../lib/http/cookies.ts'
import { storeId } from '../lib/storage/keyring.ts'
import { resolveOptions } from '../lib/options/resolve.ts'
import { assertNothingLeaked, baseOptions, clientId, createApp } from './support/app.ts'
import { Browser } from './support/browser.ts'
import { charles, eventually, identify, ids, methodsOf, outage, startBench, unavailable, watchStore } from './support/installation.ts'
import { startHttp } from './support/server-http.ts'

/** The ways in which Webflow does not tell what a token opens. */
const silences: ReadonlyArray<readonly [name: string, fault: Fault]> = [
  ['an outage', { status: 503 }],
  ['a limit', { status: 429, headers: { 'retry-after': '60' } }],
  ['a reset', { reset: true }],
  ['silence', { hang: true }],
  ['a page', { body: '<html>' }],
  ['half a body', { body: '{"authorization":{"id":' }],
  ['no authorization', { body: { application: {} } }],
  ['an error with status 200', { body: { error: 'server_error', authorization: {} } }],
  ['too long an answer', { body: { authorization: { id: 'x'.repeat(256 * 1024) } } }],
  ['a 401 of a gateway', { status: 401, body: 'who are you?' }],
  ['a 401 of Webflow\'s', { status: 401, body: { code: 'not_authorized', message: 'Request not authorized' } }]
]

t.test('what a token opens', async (t) => {
  t.test('is known when the user comes back, to the hooks too', async (t) => {
    const seen: Array<WebflowToken['authorization']> = []
    const { webflow, install, app } = await startBench(t, { options: { beforeStore: (token) => { seen.push(token.authorization) } } })
    const { token, browser } = await install({ siteIds: [ids.engine, ids.notes] })
    t.match(token.authorization, { id: /^[\da-f]{24}$/, siteIds: [ids.engine, ids.notes], workspaceIds: [], userIds: [ids.ada], scope: ['sites:read', 'cms:read'] })
    t.ok(Math.abs(Number(token.authorization?.createdOn) - Date.now()) < 60_000)
    t.strictSame(seen, [token.authorization])
    t.equal(token.user, null, 'the scope for that was not asked for')
    t.strictSame([webflow.requests.introspect.length, webflow.requests.authorizedBy.length], [1, 0])
    t.match((await browser.get('/opens')).json(), { authorization: { siteIds: [ids.engine, ids.notes], userIds: [ids.ada] } })
    t.strictSame((await app.webflowOAuth.getToken(token.id))?.authorization, token.authorization)
    t.equal(webflow.requests.introspect.length, 1, 'nobody asks again for what is known')
  })

  t.test('includes who granted it, with the scope for that', async (t) => {
    const { webflow, install } = await startBench(t, { options: { scope: ['sites:read', 'authorized_user:read'] } })
    const { token } = await install()
    t.strictSame({ ...token.user }, { id: ids.ada, email: 'ada@example.com', firstName: 'Ada', lastName: 'Lovelace' })
    t.equal(webflow.requests.authorizedBy.length, 1)
  })

  t.test('the scope is the one that Webflow reported, comma or space between', async (t) => {
    for (const introspectionScopeSeparator of [',', ' '] as const) {
      const { install, webflow } = await startBench(t, { behavior: { repeatedAuthorization: 'same', introspectionScopeSeparator } })
      await install()
      const { token } = await install(undefined, { path: '/webflow/authorize' })
      t.strictSame(token.scope, ['sites:read', 'cms:read'])
      webflow.fail('introspect', { body: { authorization: { scope: ['sites:read', 'pages:write'].join(introspectionScopeSeparator) } } })
      t.strictSame((await install()).token.scope, ['sites:read', 'pages:write'])
      webflow.fail('introspect', { body: { authorization: {} } })
      t.strictSame((await install()).token.scope, ['sites:read', 'cms:read'], 'what Webflow does not say was granted as asked')
    }
  })

  t.test('every field may be missing or nonsense', async (t) => {
    const { install, webflow } = await startBench(t)
    for (const authorization of [{}, { id: 5, createdOn: 'soon', scope: [], authorizedTo: 'all' }, { id: '<b>', createdOn: 1, authorizedTo: { siteIds: 'x', workspaceIds: [5, null, '../x'], userIds: {} } }]) {
      webflow.fail('introspect', { body: { authorization } })
      t.strictSame({ ...(await install()).token.authorization }, { id: null, siteIds: [], workspaceIds: [], userIds: [], scope: [], createdOn: null })
    }
  })

  t.test('a handler cannot change it for others', async (t) => {
    const { app, install } = await startBench(t)
    const { token } = await install()
    t.throws(() => Object.assign(token.authorization ?? {}, { id: 'x' }), TypeError)
    const createdOn = Number(token.authorization?.createdOn)
    const again = await app.webflowOAuth.getToken(token.id)
    again?.authorization?.createdOn?.setTime(0)
    t.equal(Number((await app.webflowOAuth.getToken(token.id))?.authorization?.createdOn), createdOn)
    t.throws(() => Reflect.apply(Array.prototype.push, token.authorization?.siteIds, ['x']), TypeError)
  })

  t.test('is not asked for with `introspect: false`, and nothing is found by it', async (t) => {
    const { app, install, webflow } = await startBench(t, { options: { introspect: false, scope: ['sites:read', 'authorized_user:read'] } })
    const { token, browser } = await install()
    t.strictSame([token.authorization, token.user], [null, null])
    await browser.get('/opens')
    t.equal(await app.webflowOAuth.checkToken(token), 'active', 'a check is asked for by the app')
    t.equal((await app.webflowOAuth.getToken(token.id))?.authorization, null)
    t.strictSame([webflow.requests.introspect.length, webflow.requests.authorizedBy.length], [1, 1], 'only the check asked')
    for (const name of ['findTokens', 'revokeAll'] as const) {
      const refused: Promise<unknown> = app.webflowOAuth[name]({ siteId: ids.engine })
      await t.rejects(refused, { code: 'WEBFLOW_OAUTH_INVALID_OPTION', message: /`introspect` is false/ })
    }
    const listed = []
    for await (const { id } of app.webflowOAuth.listTokens()) listed.push(id)
    t.strictSame(listed, [token.id])
  })

  for (const [name, fault] of silences) {
    t.test(`${name} lets the user connect all the same; a search asks again`, async (t) => {
      const { app, browser, token, webflow, found } = await connectUntold(fault)
      t.strictSame([token.authorization, token.user], [null, null])
      t.strictSame(token.scope, ['sites:read', 'cms:read'])
      t.strictSame(await found({ siteId: ids.engine }), [token.accessToken])
      t.match((await app.webflowOAuth.getToken(token.id))?.authorization, { siteIds: [ids.engine] })
      t.equal(webflow.requests.introspect.length, 2)
      await found({ siteId: ids.engine })
      t.equal(webflow.requests.introspect.length, 2, 'and then no more')
      t.equal((await browser.get('/guarded')).statusCode, 200)
    })

    async function connectUntold (fault: Fault) {
      const bench = await startBench(t, { options: { timeout: 1000 } })
      bench.webflow.fail('introspect', fault)
      return { ...bench, ...await bench.install() }
    }
  }

  t.test('a user whom Webflow did not name is asked for again', async (t) => {
    const { app, install, webflow, found } = await startBench(t, { options: { scope: ['sites:read', 'authorized_user:read'] } })
    webflow.fail('authorizedBy', { status: 500 })
    const { token } = await install()
    t.match(token.authorization, { siteIds: [ids.engine] })
    t.equal(token.user, null)
    t.strictSame(await found({ siteId: ids.engine }), [token.accessToken])
    t.equal((await app.webflowOAuth.getToken(token.id))?.user?.email, 'ada@example.com')
  })

  t.test('that its user is still not known troubles no search by anything else', async (t) => {
    const { found, install, webflow } = await startBench(t, { options: { scope: ['sites:read', 'authorized_user:read'] } })
    webflow.fail('introspect', { status: 503 })
    const { token } = await install()
    webflow.fail('authorizedBy', { status: 503, times: Infinity })
    t.strictSame(await found({ siteId: ids.gardens }), [])
    t.strictSame(await found({ siteId: ids.engine }), [token.accessToken])
    t.strictSame(await found({ userId: ids.ada }), [token.accessToken], 'whom the introspection names')
    t.strictSame(await found({ siteId: ids.gardens }), [])
    t.equal(webflow.requests.authorizedBy.length, 1)
  })

  t.test('a token that may not ask who granted it is not asked again', async (t) => {
    const { install, webflow, found } = await startBench(t, { options: { scope: ['sites:read', 'authorized_user:read'] } })
    webflow.fail('authorizedBy', { status: 403, body: { code: 'missing_scopes', message: 'no' } })
    const { token } = await install()
    t.equal(token.user, null)
    await found({ siteId: ids.engine })
    t.equal(webflow.requests.authorizedBy.length, 1)
  })

  t.test('a 403 of a gateway says nothing of what the token may ask', async (t) => {
    const { install, webflow, found } = await startBench(t, { options: { scope: ['sites:read', 'authorized_user:read'] } })
    webflow.fail('authorizedBy', { status: 403, body: '<html>' })
    await install()
    await found({ siteId: ids.engine })
    t.equal(webflow.requests.authorizedBy.length, 2)
  })

  t.test('an answer about the user that names nobody is none', async (t) => {
    const { install, webflow, found } = await startBench(t, { options: { scope: ['sites:read', 'authorized_user:read'] } })
    webflow.fail('authorizedBy', { body: {} })
    t.equal((await install()).token.user, null)
    await found({ siteId: ids.engine })
    t.equal(webflow.requests.authorizedBy.length, 2)
  })

  t.test('a use of the token asks again in the background, now and then', async (t) => {
    mock.timers.enable({ apis: ['Date'], now: Date.now() })
    t.teardown(() => mock.timers.reset())
    const { app, install, webflow } = await startBench(t)
    const { token: other } = await install()
    let askedOfOther = 1
    const asked = () => webflow.requests.introspect.length - askedOfOther
    webflow.signIn(charles)
    webflow.fail('introspect', { status: 503, times: 2 })
    const { browser, token } = await install()
    t.strictSame((await browser.get('/opens')).json(), { authorization: null, user: null })
    t.ok(await eventually(() => asked() === 2))
    for (let use = 0; use < 3; use++) {
      await browser.get('/opens')
      await app.webflowOAuth.getToken(token.id)
      for await (const walked of app.webflowOAuth.listTokens()) t.ok(walked.id)
      // Whatever was begun before this has come to Webflow before it.
      await app.webflowOAuth.reportUnauthorized(other)
      askedOfOther++
    }
    t.equal(asked(), 2)
    mock.timers.tick(60_000)
    t.equal((await app.webflowOAuth.getToken(token.id))?.authorization, null, 'nobody waits for it')
    t.ok(await eventually(async () => (await app.webflowOAuth.getToken(token.id))?.authorization !== null))
    t.equal(asked(), 3)
  })

  t.test('that it could not be recorded in the background is logged', async (t) => {
    const store = watchStore(new MemoryStore())
    const lines: string[] = []
    const { webflow, install } = await startBench(t)
    const app = await createApp(t, { webflow, options: { store }, server: { logger: { level: 'warn', stream: { write: (line) => { lines.push(line) } } } } })
    webflow.fail('introspect', { status: 503 })
    const browser = new Browser(app)
    const { location } = await browser.navigate('/webflow/authorize')
    await browser.navigate(await webflow.approve(String(location)))
    webflow.fail('introspect', { delay: 50 })
    await browser.get('/token')
    store.down = true
    t.ok(await eventually(() => lines.some((line) => line.includes('what a token opens could not be recorded'))))
    await install()
  })

  t.test('what was asked in the background is kept in no list for longer', async (t) => {
    const { webflow } = await startBench(t)
    const { untold, records, underWay, webflow: client } = createContext(resolveOptions(baseOptions(webflow), ''), Fastify().log, await loadCookieCodec(Fastify()))
    t.teardown(() => client.close())
    const token = await records.write('A'.repeat(43), records.create({ accessToken: 'unknown-to-webflow-7a8b', tokenType: 'bearer', scope: null, expiresIn: null }, ['sites:read'], Date.now()))
    untold.fillIn(token)
    t.equal(underWay.size, 1)
    t.ok(await eventually(() => underWay.size === 0))
  })

  t.test('closing waits for what was asked in the background', async (t) => {
    const store = new MemoryStore()
    const { app, install, webflow } = await startBench(t, { options: { store } })
    webflow.fail('introspect', { status: 503 })
    const { browser, token } = await install()
    webflow.fail('introspect', { delay: 100 })
    await browser.get('/opens')
    await app.close()
    const later = await createApp(t, { webflow, options: { store } })
    t.match((await later.webflowOAuth.getToken(token.id))?.authorization, { siteIds: [ids.engine] })
  })

  t.test('one deadline covers the exchange and what is asked after it', async (t) => {
    const { browser, webflow, app } = await startSlow()
    const { location } = await browser.navigate('/webflow/authorize')
    const url = await webflow.approve(String(location))
    const begun = performance.now()
    t.equal((await browser.navigate(url)).statusCode, 303)
    t.ok(performance.now() - begun < 3000, 'not the 3.5 seconds of two deadlines')
    t.strictSame((await browser.get('/token')).json().connected, true)
    await app.close()

    async function startSlow () {
      const { webflow, app } = await startBench(t, { options: { timeout: 2000 } })
      webflow.fail('token', { delay: 1500 })
      webflow.fail('introspect', { hang: true })
      return { webflow, app, browser: new Browser(app) }
    }
  })

  t.test('a token is shown to no other origin than the one that issued it', async (t) => {
    const { webflow } = await startBench(t)
    const accessToken = 'token-of-a-gateway-1b2c3d'
    const gateway = await startHttp(t, (response, { url }) => {
      response.setHeader('content-type', 'application/json')
      response.end(url === '/oauth/access_token' ? JSON.stringify({ access_token: accessToken, token_type: 'bearer' }) : '{}')
    })
    const app = await createApp(t, { webflow, options: { endpoints: { authorize: webflow.endpoints.authorize, token: `${gateway.url}oauth/access_token` } } })
    const browser = new Browser(app)
    const { location } = await browser.navigate('/webflow/authorize')
    t.equal((await browser.navigate(await webflow.approve(String(location)))).statusCode, 303)
    t.strictSame(gateway.requests.map(({ method, url }) => `${method} ${url}`), ['POST /oauth/access_token', 'GET /v2/token/introspect'])
    t.match(gateway.requests[1]?.headers, { authorization: `Bearer ${accessToken}`, accept: 'application/json' })
  })
})

t.test('finding tokens', async (t) => {
  t.test('by site, workspace, user and authorization, the newest first', async (t) => {
    const { connected, found, install, webflow } = await startBench(t)
    await install({ siteIds: [ids.engine] })
    await install({ siteIds: [ids.notes] })
    webflow.signIn(charles)
    await install({ siteIds: [ids.engine] })
    await install({ workspaceId: ids.park })
    const [first, second, third, fourth] = connected.map(({ accessToken }) => accessToken)
    t.strictSame(await found({ siteId: ids.engine }), [fourth, third, second, first], 'the grant of a user is cumulative: every token of it opens the site')
    t.strictSame(await found({ siteId: ids.notes }), [second, first], 'the older token learned what was added')
    t.strictSame(await found({ userId: ids.ada }), [second, first])
    t.strictSame(await found({ userId: charles.id.toUpperCase() }), [fourth, third])
    t.strictSame(await found({ workspaceId: ids.park }), [fourth, third])
    t.strictSame(await found({ authorizationId: connected[2]?.authorization?.id ?? '' }), [third])
    t.strictSame(await found({ siteId: ids.gardens }), [], 'a site of a workspace that was granted as a whole is found by the workspace')
    t.strictSame(await found({ userId: '0'.repeat(24) }), [])
  })

  t.test('each authorization once, however many sessions hold it', async (t) => {
    for (const behavior of [{ repeatedAuthorization: 'same' }, { authorizationOf: 'grant' }] as const) {
      const { connected, found, install } = await startBench(t, { behavior })
      for (let session = 0; session < 3; session++) await install()
      t.strictSame(await found({ siteId: ids.engine }), [connected.at(-1)?.accessToken])
    }
  })

  t.test('an authorization that has no name at Webflow is known by its token', async (t) => {
    const { connected, found, install, webflow } = await startBench(t, { behavior: { repeatedAuthorization: 'same' } })
    for (let session = 0; session < 2; session++) {
      webflow.fail('introspect', { body: { authorization: { authorizedTo: { siteIds: [ids.notes] } } } })
      await install()
    }
    t.strictSame(await found({ siteId: ids.notes }), [connected[0]?.accessToken])
  })

  t.test('sites of a workspace are found where Webflow lists them', async (t) => {
    const { found, install } = await startBench(t, { behavior: { workspaceGrantListsSites: true } })
    const { token } = await install({ workspaceId: ids.studio })
    for (const query of [{ workspaceId: ids.studio }, { siteId: ids.engine }, { siteId: ids.notes }]) t.strictSame(await found(query), [token.accessToken])
  })

  t.test('what was revoked, ended, replaced or has expired is not found', async (t) => {
    mock.timers.enable({ apis: ['Date'], now: Date.now() })
    t.teardown(() => mock.timers.reset())
    const store = new MemoryStore()
    const { app, found, install, webflow } = await startBench(t, { options: { store, identify, sessionMaxAge: 1000 } })
    const as = (user: string) => ({ headers: { 'x-user': user } })
    await install({ siteIds: [ids.engine] }, as('ada'))
    await app.webflowOAuth.revoke({ user: 'ada' })
    t.strictSame(await found({ siteId: ids.engine }), [])

    webflow.signIn(charles)
    const { token: old } = await install({ siteIds: [ids.engine] }, as('charles'))
    const { token } = await install({ siteIds: [ids.gardens] }, as('charles'))
    t.strictSame(await found({ siteId: ids.gardens }), [token.accessToken])
    t.strictSame(await found({ authorizationId: old.authorization?.id ?? '' }), [])
    mock.timers.tick(999_999)
    t.strictSame(await found({ siteId: ids.gardens }), [token.accessToken], 'which is a use')
    mock.timers.tick(999_999)
    t.strictSame(await found({ siteId: ids.gardens }), [token.accessToken])
    mock.timers.tick(1_000_000)
    t.strictSame(await found({ siteId: ids.gardens }), [])
  })

  t.test('what a crash left behind is not found', async (t) => {
    const inner = new MemoryStore()
    const { found, install } = await startBench(t, {
      options: {
        store: {
          ...methodsOf(inner),
          find: async (tag, options) => {
            const page = await inner.find(tag, options)
            return { ...page, keys: [...page.keys, `token:${'x'.repeat(43)}`, 'flow:1', 'nonsense'] }
          }
        }
      }
    })
    const { token } = await install()
    t.strictSame(await found({ siteId: ids.engine }), [token.accessToken])
  })

  t.test('nor what was tampered with', async (t) => {
    const store = new MemoryStore()
    const { app, found, install } = await startBench(t, { options: { store } })
    const { token } = await install()
    const { keys: [key = ''] } = await store.find(storeId(clientId, 'all'))
    await store.set(key, 'tampered', { expiresAt: Date.now() + 60_000, tags: [storeId(clientId, 'all'), storeId(clientId, 'siteId', ids.engine)] })
    t.strictSame(await found({ siteId: ids.engine }), [])
    t.strictSame((await app.webflowOAuth.listTokens().next()).value, undefined)
    t.equal(key, `token:${token.id}`)
  })

  t.test('a store that names a token that does not match is not believed', async (t) => {
    const inner = new MemoryStore()
    const tags = new Set<string>()
    const { found, install } = await startBench(t, {
      options: {
        store: {
          ...methodsOf(inner),
          find: async () => await inner.find([...tags].at(-1) ?? ''),
          set: (key, value, options) => {
            for (const tag of options.tags ?? []) tags.add(tag)
            return inner.set(key, value, options)
          }
        }
      }
    })
    await install()
    t.strictSame(await found({ siteId: ids.gardens }), [])
  })

  t.test('whatever the number of tokens it costs two reads of an index and one of each match', async (t) => {
    const store = watchStore(new MemoryStore())
    const { found, install, webflow } = await startBench(t, { options: { store } })
    const { token } = await install({ siteIds: [ids.engine] })
    for (const others of [0, 50]) {
      for (let index = 0; index < others; index++) {
        webflow.signIn({ ...charles, id: index.toString(16).padStart(24, 'a') })
        await install({ siteIds: [ids.gardens] })
      }
      Object.assign(store.calls, { get: 0, set: 0, delete: 0, find: 0 })
      t.strictSame(await found({ siteId: ids.engine }), [token.accessToken])
      t.strictSame(store.calls, { get: 1, set: 0, delete: 0, find: 2 })
    }
  })

  t.test('a query that is none is refused before it reaches the store', async (t) => {
    const store = watchStore(new MemoryStore())
    const { app } = await startBench(t, { options: { store } })
    const noId = ['', 'x', ids.engine.slice(1), `${ids.engine}0`, 'g'.repeat(24), ` ${ids.engine}`, `${ids.engine}\n`, null, undefined, 5, {}, [ids.engine], '../../../../../../../../']
    const queries: unknown[] = [undefined, null, 'siteId', ids.engine, {}, [], [ids.engine], { site: ids.engine }, { siteId: ids.engine, userId: ids.ada }, { __proto__: { siteId: ids.engine } }]
    for (const name of ['findTokens', 'revokeAll'] as const) {
      for (const query of queries) {
        await t.rejects(call(name, query), { code: 'WEBFLOW_OAUTH_INVALID_OPTION', statusCode: 500, message: /must have exactly one of siteId, workspaceId, userId, authorizationId/ })
      }
      for (const kind of ['siteId', 'workspaceId', 'userId', 'authorizationId']) {
        for (const id of noId) await t.rejects(call(name, { [kind]: id }), { code: 'WEBFLOW_OAUTH_INVALID_OPTION', statusCode: 400, message: new RegExp(`\`${kind}\` must be an id of Webflow's: 24 hexadecimal digits`) })
      }
    }
    t.strictSame(store.calls, { get: 0, set: 0, delete: 0, find: 0 })

    async function call (name: 'findTokens' | 'revokeAll', query: unknown): Promise<unknown> {
      return await Reflect.apply(app.webflowOAuth[name], null, [query])
    }
  })

  t.test('an empty answer means that there is none: while Webflow cannot tell, it is an error', async (t) => {
    const { app, found, install, webflow } = await startBench(t)
    webflow.fail('introspect', { status: 503 })
    await install({ siteIds: [ids.notes] })
    webflow.fail('introspect', { status: 503, times: 2 })
    for (const siteId of [ids.notes, ids.gardens]) await t.rejects(app.webflowOAuth.findTokens({ siteId }), { code: unavailable, statusCode: 502, cause: { code: unavailable } })
    webflow.signIn(charles)
    const { token } = await install({ siteIds: [ids.engine] })
    webflow.fail('introspect', { reset: true })
    t.strictSame(await found({ siteId: ids.engine }), [token.accessToken], 'what is known to match is enough')
    await t.rejects(app.webflowOAuth.findTokens({ siteId: ids.gardens }), { code: unavailable })
    t.strictSame(await found({ siteId: ids.gardens }), [])
    t.equal((await found({ siteId: ids.notes })).length, 1)
  })

  t.test('a Webflow that hangs does not hold up a search that has found something', async (t) => {
    const { app, found, install, webflow } = await startBench(t, { options: { timeout: 5000 } })
    webflow.fail('introspect', { status: 503 })
    await install()
    webflow.signIn(charles)
    const { token } = await install({ siteIds: [ids.notes] })
    webflow.fail('introspect', { hang: true })
    // This one began it, and waits for longer.
    const waiting = app.webflowOAuth.revokeAll({ siteId: ids.gardens })
    t.ok(await eventually(() => webflow.requests.introspect.length === 3))
    t.strictSame(await found({ siteId: ids.notes }), [token.accessToken])
    const asked = webflow.requests.introspect.length
    t.strictSame(await found({ siteId: ids.notes }), [token.accessToken])
    t.equal(webflow.requests.introspect.length, asked, 'nor does it ask again soon')
    const late = Symbol('still waiting')
    t.equal(await Promise.race([waiting, Promise.resolve(late)]), late)
    await webflow.close()
    t.match(await waiting, [{ upstream: 'unknown' }])
  })

  t.test('a token that has ended before Webflow told what it opens troubles no search', async (t) => {
    const { app, found, install, webflow } = await startBench(t)
    webflow.fail('introspect', { status: 503 })
    const { token } = await install()
    webflow.uninstall()
    await t.rejects(found({ siteId: ids.engine }), { code: unavailable }, 'a token that is new may not be known to all of Webflow')
    mock.timers.enable({ apis: ['Date'], now: Date.now() + 60_000 })
    t.teardown(() => mock.timers.reset())
    for (let search = 0; search < 3; search++) t.strictSame(await found({ siteId: ids.engine }), [])
    t.equal(webflow.requests.introspect.length, 3, 'nor Webflow, again and again')
    t.strictSame(await app.webflowOAuth.revokeAll({ siteId: ids.engine }), [])
    t.equal((await app.webflowOAuth.getToken(token.id))?.id, token.id, 'and is kept: only a 401 that the app has seen as well counts')
  })

  t.test('nor does one of which Webflow will not tell', async (t) => {
    const { app, found, install, webflow } = await startBench(t)
    webflow.fail('introspect', { status: 403, body: { code: 'forbidden' }, times: Infinity })
    const { token } = await install()
    for (let search = 0; search < 3; search++) t.strictSame(await found({ siteId: ids.engine }), [])
    t.equal(webflow.requests.introspect.length, 2)
    t.equal(await app.webflowOAuth.checkToken(token), 'unknown')
  })

  t.test('a token that is revoked while Webflow is asked about it is not found', async (t) => {
    const { app, found, install, webflow } = await startBench(t)
    webflow.fail('introspect', { status: 503 })
    const { token } = await install()
    const authorization = { authorizedTo: { siteIds: [ids.engine] } }
    webflow.fail('introspect', { delay: 200, body: { authorization } })
    const searching = found({ siteId: ids.engine })
    t.ok(await eventually(() => webflow.requests.introspect.length === 2))
    await app.webflowOAuth.revoke(token)
    t.strictSame(await searching, [])
  })

  t.test('of many tokens of which Webflow has not told, a search asks for a hundred', async (t) => {
    const { app, install, webflow } = await startBench(t)
    webflow.fail('introspect', { status: 503, times: 105 })
    for (let index = 0; index < 105; index++) {
      webflow.signIn({ ...charles, id: index.toString(16).padStart(24, 'a') })
      await install({ siteIds: [ids.engine] })
    }
    await t.rejects(app.webflowOAuth.findTokens({ siteId: ids.gardens }), { code: unavailable })
    t.equal(webflow.requests.introspect.length, 205)
    t.strictSame(await app.webflowOAuth.findTokens({ siteId: ids.gardens }), [])
    t.equal((await app.webflowOAuth.findTokens({ siteId: ids.engine })).length, 105)
  })

  t.test('of more than a hundred that have ended before Webflow told none hides a living one for long', async (t) => {
    const { app, found, install, webflow } = await startBench(t)
    webflow.fail('introspect', { status: 503, times: 103 })
    for (let index = 0; index < 102; index++) {
      webflow.signIn({ ...charles, id: index.toString(16).padStart(24, 'a') })
      await install()
      webflow.uninstall()
    }
    webflow.signIn(charles)
    const { token } = await install({ siteIds: [ids.gardens] })
    mock.timers.enable({ apis: ['Date'], now: Date.now() + 60_000 })
    t.teardown(() => mock.timers.reset())
    await t.rejects(app.webflowOAuth.findTokens({ siteId: ids.gardens }), { code: unavailable })
    mock.timers.tick(60_000)
    t.strictSame(await found({ siteId: ids.gardens }), [token.accessToken], 'those not asked about yet have their turn')
  })

  t.test('while the store is down it is an error too', async (t) => {
    const store = watchStore(new MemoryStore())
    const { app, install } = await startBench(t, { options: { store } })
    await install()
    store.down = true
    const { findTokens, listTokens, revokeAll } = app.webflowOAuth
    const calls: Array<Promise<unknown>> = [findTokens({ siteId: ids.engine }), revokeAll({ siteId: ids.engine }), listTokens().next()]
    await Promise.all(calls.map((call) => t.rejects(call, { code: outage })))
  })

  t.test('an index that is none is an outage', async (t) => {
    for (const answer of [null, {}, { keys: 'x', cursor: null }, { keys: [5], cursor: null }, { keys: [] }, { keys: [], cursor: 5 }]) {
      const { app } = await startBench(t, { options: { store: Object.assign(methodsOf(new MemoryStore()), { find: async () => answer }) } })
      await t.rejects(app.webflowOAuth.findTokens({ siteId: ids.engine }), { code: outage })
    }
  })

  t.test('a token under a secret that is not known is an outage, unless another is found', async (t) => {
    const store = new MemoryStore()
    const { install, webflow } = await startBench(t, { options: { store, secret: 'another secret, of another deploy' } })
    const { token: foreign } = await install({ siteIds: [ids.engine] })
    const { app, found, install: installHere } = await startBench(t, { options: { store } })
    await t.rejects(app.webflowOAuth.findTokens({ siteId: ids.engine }), { code: outage, message: /add the missing one to `secret`/ })
    t.match(await app.webflowOAuth.revokeAll({ siteId: ids.engine }), [{ id: foreign.id, revoked: false, upstream: 'unknown', error: { code: outage } }])
    t.equal(webflow.requests.revoke.length, 0)
    const { token } = await installHere({ siteIds: [ids.engine] })
    t.strictSame(await found({ siteId: ids.engine }), [token.accessToken])
    const listed: string[] = []
    const walk = async () => { for await (const { id } of app.webflowOAuth.listTokens()) listed.push(id) }
    await t.rejects(walk(), { code: outage })
    t.strictSame(listed, [token.id], 'a walk comes to all others before it fails')
  })

  t.test('nor can it be told whether one matches of which Webflow had not told yet', async (t) => {
    const store = new MemoryStore()
    const { install, webflow } = await startBench(t, { options: { store, secret: 'another secret, of another deploy' } })
    webflow.fail('introspect', { status: 503 })
    await install()
    const { app } = await startBench(t, { options: { store } })
    await t.rejects(app.webflowOAuth.findTokens({ siteId: ids.gardens }), { code: outage })
  })

  t.test('tokens from before `introspect` was turned on are asked about', async (t) => {
    const store = new MemoryStore()
    const { install, webflow } = await startBench(t, { options: { store, introspect: false } })
    const { token } = await install()
    const app = await createApp(t, { webflow, options: { store } })
    t.strictSame((await app.webflowOAuth.findTokens({ siteId: ids.engine })).map(({ id }) => id), [token.id])
  })

  t.test('a token that another process completes at that moment is found', async (t) => {
    const inner = new MemoryStore()
    const { app, install, webflow } = await startBench(t, { options: { store: inner } })
    webflow.fail('introspect', { status: 503 })
    const { token } = await install()
    let finds = 0
    const store: TokenStore = {
      ...methodsOf(inner),
      find: async (...args) => {
        // Whatever this search reads first, by the second reading the token is complete.
        if (++finds === 2) await app.webflowOAuth.checkToken(token.id)
        return await inner.find(...args)
      }
    }
    webflow.fail('introspect', { delay: 1 })
    const replica = await createApp(t, { webflow, options: { store } })
    t.strictSame((await replica.webflowOAuth.findTokens({ siteId: ids.engine })).map(({ id }) => id), [token.id])
  })

  t.test('two apps on one store find nothing of each other', async (t) => {
    const store = new MemoryStore()
    const { app, install, webflow } = await startBench(t, { options: { store } })
    await install()
    const other = await createApp(t, { webflow, options: { store, clientId: 'd'.repeat(64) } })
    t.strictSame(await other.webflowOAuth.findTokens({ siteId: ids.engine }), [])
    t.strictSame(await other.webflowOAuth.revokeAll({ siteId: ids.engine }), [])
    for await (const token of other.webflowOAuth.listTokens()) t.fail(token.id)
    t.equal((await app.webflowOAuth.findTokens({ siteId: ids.engine })).length, 1)
  })
})

t.test('walking over all tokens', async (t) => {
  t.test('comes to each, a page at a time, and reads no page before it is needed', async (t) => {
    const store = watchStore(new MemoryStore())
    const { app, connected, install, webflow } = await startBench(t, { options: { store } })
    for (let index = 0; index < 120; index++) {
      webflow.signIn({ ...charles, id: index.toString(16).padStart(24, 'a') })
      await install()
    }
    Object.assign(store.calls, { get: 0, find: 0 })
    const walk = app.webflowOAuth.listTokens()
    t.equal((await walk.next()).value?.id, connected[0]?.id)
    t.strictSame([store.calls.find, store.calls.get], [1, 100])
    const rest = []
    for await (const { id } of walk) rest.push(id)
    t.strictSame([connected[0]?.id, ...rest], connected.map(({ id }) => id))
    t.strictSame([store.calls.find, store.calls.get], [2, 120])
  })

  t.test('counts as use', async (t) => {
    mock.timers.enable({ apis: ['Date'], now: Date.now() })
    t.teardown(() => mock.timers.reset())
    const { app, install } = await startBench(t, { options: { sessionMaxAge: 1000 } })
    const { token } = await install()
    for (let night = 0; night < 3; night++) {
      mock.timers.tick(999_999)
      const [walked] = [await app.webflowOAuth.listTokens().next()]
      t.equal(walked?.value?.accessToken, token.accessToken)
    }
  })
})

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

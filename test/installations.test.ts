import { withDeadline } from '../lib/collections/deadline.ts'
import { mock } from 'node:test'
import { setImmediate, setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { MemoryStore, type Authorization, type TokenStore, type WebflowOAuthOptions, type WebflowToken } from '../lib/index.ts'
import { BackgroundTasks } from '../lib/collections/background-tasks.ts'
import type { Fault } from '../lib/simulator/index.ts'
import { storeId } from '../lib/storage/keyring.ts'
import { assertNothingLeaked, clientId, createApp } from './support/app.ts'
import { Browser } from './support/browser.ts'
import { charles, eventually, idOf, identify, ids, methodsOf, nothing, opens, outage, startBench, startParts, stopClock, unavailable, watchStore, type MadeUpAnswer } from './support/installation.ts'
import { logged } from './support/logs.ts'
import { startHttp } from './support/server-http.ts'

/** The ways in which Webflow does not tell what a token opens. */
const silences: ReadonlyArray<readonly [name: string, fault: Fault, isOutage: boolean]> = [
  ['an outage', { status: 503 }, true],
  ['a reset', { reset: true }, true],
  ['silence', { hang: true }, true],
  ['a limit', { status: 429, headers: { 'retry-after': '60' } }, false],
  ['a 400', { status: 400 }, false],
  ['a 403', { status: 403, body: { code: 'forbidden' } }, false],
  ['a 404', { status: 404, body: { code: 'not_authorized' } }, false],
  ['a 401 of a gateway', { status: 401, body: 'who are you?' }, false],
  ['a 401 with another code', { status: 401, body: { code: 'unauthorized' } }, false],
  ['a 401 of Webflow\'s', { status: 401, body: { code: 'not_authorized', message: 'Request not authorized' } }, false],
  ['a page', { body: '<html>' }, false],
  ['half a body', { body: '{"authorization":{"id":' }, false],
  ['no authorization', { body: { application: {} } }, false],
  ['an error with status 200', { body: { error: 'server_error', authorization: {} } }, false],
  ['too long an answer', { body: { authorization: { id: 'x'.repeat(256 * 1024) } } }, false]
]

t.test('what a token opens', async (t) => {
  t.test('is known when the callback ends, in the hooks too', async (t) => {
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

  t.test('includes the user who granted it, if the scope allows that question', async (t) => {
    const { webflow, install } = await startBench(t, { options: { scope: ['sites:read', 'authorized_user:read'] } })
    const { token } = await install()
    t.strictSame({ ...token.user }, { id: ids.ada, email: 'ada@example.com', firstName: 'Ada', lastName: 'Lovelace' })
    t.equal(webflow.requests.authorizedBy.length, 1)
  })

  t.test('has the scope that Webflow reported, separated by commas or spaces', async (t) => {
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

  t.test('is read even if any field is missing or malformed', async (t) => {
    const { install, webflow } = await startBench(t)
    for (const authorization of [{}, { id: 5, createdOn: 'soon', scope: [], authorizedTo: 'all' }, { id: '<b>', createdOn: 1, authorizedTo: { siteIds: 'x', workspaceIds: [5, null, '../x'], userIds: {} } }]) {
      webflow.fail('introspect', { body: { authorization } })
      t.strictSame({ ...(await install()).token.authorization }, { id: null, siteIds: [], workspaceIds: [], userIds: [], scope: [], createdOn: null })
    }
  })

  t.test('cannot be changed by a handler for other requests', async (t) => {
    const { app, install } = await startBench(t)
    const { token } = await install()
    t.throws(() => Object.assign(token.authorization ?? {}, { id: 'x' }), TypeError)
    const createdOn = Number(token.authorization?.createdOn)
    const again = await app.webflowOAuth.getToken(token.id)
    again?.authorization?.createdOn?.setTime(0)
    t.equal(Number((await app.webflowOAuth.getToken(token.id))?.authorization?.createdOn), createdOn)
    t.throws(() => Reflect.apply(Array.prototype.push, token.authorization?.siteIds, ['x']), TypeError)
  })

  t.test('is not asked for with `introspect: false`, and searches are refused', async (t) => {
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

  for (const [name, fault, isOutage] of silences) {
    t.test(`is not known after ${name}: the user is connected all the same, and a search asks again after a second`, async (t) => {
      stopClock(t)
      const { app, found, install, webflow } = await startBench(t, { options: { timeout: 300 } })
      webflow.fail('introspect', fault)
      const { browser, token } = await install()
      t.strictSame([token.authorization, token.user], [null, null])
      t.strictSame(token.scope, ['sites:read', 'cms:read'])
      if (isOutage) await t.rejects(found({ siteId: ids.engine }), { code: unavailable, statusCode: 502, cause: { code: /^WEBFLOW_OAUTH_WEBFLOW_(UNAVAILABLE|TIMEOUT)$/ } })
      else t.strictSame(await found({ siteId: ids.engine }), [])
      t.equal(webflow.requests.introspect.length, 1)
      mock.timers.tick(1000)
      t.strictSame(await found({ siteId: ids.engine }), [token.accessToken])
      t.match((await app.webflowOAuth.getToken(token.id))?.authorization, { siteIds: [ids.engine] })
      await found({ siteId: ids.engine })
      t.equal(webflow.requests.introspect.length, 2, 'and then no more')
      t.equal((await browser.get('/guarded')).statusCode, 200)
    })
  }

  t.test('is asked for again if Webflow did not name the user', async (t) => {
    stopClock(t)
    const { app, install, webflow, found } = await startBench(t, { options: { scope: ['sites:read', 'authorized_user:read'] } })
    webflow.fail('authorizedBy', { status: 500 })
    const { token } = await install()
    t.match(token.authorization, { siteIds: [ids.engine] })
    t.equal(token.user, null)
    mock.timers.tick(1000)
    t.strictSame(await found({ siteId: ids.engine }), [token.accessToken])
    t.equal((await app.webflowOAuth.getToken(token.id))?.user?.email, 'ada@example.com')
  })

  t.test('can be searched while the user is not known', async (t) => {
    stopClock(t)
    const { found, install, webflow } = await startBench(t, { options: { scope: ['sites:read', 'authorized_user:read'] } })
    webflow.fail('introspect', { status: 503 })
    const { token } = await install()
    webflow.fail('authorizedBy', { status: 503, times: Infinity })
    mock.timers.tick(1000)
    t.strictSame(await found({ siteId: ids.gardens }), [])
    t.strictSame(await found({ siteId: ids.engine }), [token.accessToken])
    t.strictSame(await found({ userId: ids.ada }), [token.accessToken], 'whom the introspection names')
    t.strictSame(await found({ userId: charles.id }), [])
    t.equal(webflow.requests.authorizedBy.length, 1)
    mock.timers.tick(2000)
    webflow.fail('introspect', { status: 503 })
    t.strictSame(await found({ siteId: ids.gardens }), [], 'nor that Webflow cannot be reached later')
    t.equal(webflow.requests.introspect.length, 3)
  })

  t.test('is not asked for again if the scope does not allow asking for the user', async (t) => {
    const { install, webflow, found } = await startBench(t, { options: { scope: ['sites:read', 'authorized_user:read'] } })
    webflow.fail('authorizedBy', { status: 403, body: { code: 'missing_scopes', message: 'no' } })
    const { token } = await install()
    t.equal(token.user, null)
    await found({ siteId: ids.engine })
    t.equal(webflow.requests.authorizedBy.length, 1)
  })

  t.test('is asked for again after a 403 of a gateway, which says nothing about the scope', async (t) => {
    stopClock(t)
    const { install, webflow, found } = await startBench(t, { options: { scope: ['sites:read', 'authorized_user:read'] } })
    webflow.fail('authorizedBy', { status: 403, body: '<html>' })
    await install()
    mock.timers.tick(1000)
    await found({ siteId: ids.engine })
    t.equal(webflow.requests.authorizedBy.length, 2)
  })

  t.test('is asked for again if the answer about the user names nobody', async (t) => {
    stopClock(t)
    const { install, webflow, found } = await startBench(t, { options: { scope: ['sites:read', 'authorized_user:read'] } })
    webflow.fail('authorizedBy', { body: {} })
    t.equal((await install()).token.user, null)
    mock.timers.tick(1000)
    await found({ siteId: ids.engine })
    t.equal(webflow.requests.authorizedBy.length, 2)
  })

  t.test('is asked for again in the background by a use of the token, once after each pause', async (t) => {
    stopClock(t)
    const { parts, api, asked, write } = await startParts(t, async () => answer)
    let answer: MadeUpAnswer = { statusCode: 503, body: {} }
    const id = await write('mine')
    /** Uses the token in every way; resolves when nothing is under way any more. */
    const use = async () => {
      t.equal((await api.getToken(id))?.authorization, null, 'nobody waits for it')
      for await (const walked of api.listTokens()) t.equal(walked.id, id)
      await parts.background.settled()
      return asked.length
    }
    t.equal(await use(), 1)
    for (const pause of [1000, 2000, 4000]) {
      const before = asked.length
      mock.timers.tick(pause - 1)
      t.equal(await use(), before)
      mock.timers.tick(1)
      t.equal(await use(), before + 1)
    }
    answer = opens(ids.engine)
    mock.timers.tick(8000)
    await use()
    t.match((await api.getToken(id))?.authorization, { siteIds: [ids.engine] })
    mock.timers.tick(60_000)
    await api.getToken(id)
    t.equal(asked.length, 5, 'and then no more')
    t.equal(parts.background.size, 0)
  })

  t.test('is asked for again by a request of the caller', async (t) => {
    stopClock(t)
    const { app, install, webflow } = await startBench(t)
    webflow.fail('introspect', { status: 503 })
    const { browser, token } = await install()
    t.strictSame((await browser.get('/opens')).json(), { authorization: null, user: null })
    mock.timers.tick(1000)
    await browser.get('/opens')
    t.ok(await eventually(async () => (await app.webflowOAuth.getToken(token.id))?.authorization !== null))
    t.equal(webflow.requests.introspect.length, 2)
  })

  t.test('is asked for a few tokens at a time if very many are used, and for the others at later uses', async (t) => {
    let answer = (_answer: MadeUpAnswer) => {}
    const answered = new Promise<MadeUpAnswer>((resolve) => { answer = resolve })
    const { parts, api, asked, most, write } = await startParts(t, () => answered)
    for (let index = 0; index < 100; index++) await write(`token ${index}`)
    const walk = async () => { for await (const { id } of api.listTokens()) t.ok(id) }
    await walk()
    t.equal(parts.background.size, 40)
    t.strictSame(await api.findTokens({ siteId: ids.engine }), [], 'a search does not wait for more of them either')
    answer(nothing)
    await parts.background.settled()
    t.strictSame([asked.length, most()], [40, 8])
    await walk()
    await parts.background.settled()
    t.ok(asked.length > 40)
  })

  t.test('is asked for again in the background, after pauses that grow up to ten minutes', async (t) => {
    mock.timers.enable({ apis: ['Date', 'setTimeout'], now: Date.now() })
    t.teardown(() => mock.timers.reset())
    const { asked, connect, pass } = await startSeconds(t, () => ({ statusCode: 503, body: {} }))
    await connect('mine')
    const times: number[] = []
    for (let second = 1; second <= 3000; second++) {
      const before = asked.length
      await pass(1)
      if (asked.length > before) times.push(second)
    }
    t.strictSame(times, [1, 3, 7, 15, 31, 63, 127, 255, 511, 1023])
  })

  t.test('is not asked for in the background once Webflow has answered, or the token has ended or is deleted', async (t) => {
    mock.timers.enable({ apis: ['Date', 'setTimeout'], now: Date.now() })
    t.teardown(() => mock.timers.reset())
    const { asked, connect, parts, pass } = await startSeconds(t, (accessToken) => accessToken.startsWith('tells') && seconds > 2
      ? opens(ids.engine)
      : accessToken === 'ended' ? { statusCode: 401, body: { code: 'not_authorized' } } : { statusCode: 503, body: {} })
    let seconds = 0
    const [told, gone, learned] = [await connect('tells'), await connect('gone'), await connect('tells too')]
    await connect('ended')
    await pass(1)
    await parts.records.drop(gone)
    await parts.records.change(learned, 'tells too', (record) => ({ ...record, complete: true }))
    for (seconds = 1; seconds < 300; seconds++) await pass(1)
    const countOf = (name: string) => asked.filter((accessToken) => accessToken === name).length
    t.match(await parts.records.peek(told), { record: { complete: true } })
    t.strictSame(['tells', 'gone', 'tells too', 'ended'].map(countOf), [4, 2, 2, 7], 'one that is older than a minute and unknown to Webflow has ended')
  })

  t.test('is asked for in the background even if the store fails meanwhile', async (t) => {
    mock.timers.enable({ apis: ['Date', 'setTimeout'], now: Date.now() })
    t.teardown(() => mock.timers.reset())
    const store = watchStore(new MemoryStore())
    const { asked, connect, parts, pass } = await startSeconds(t, () => opens(ids.engine), { store })
    let isSilent = true
    t.equal(asked.length, 0)
    const id = await connect('mine', () => isSilent)
    isSilent = false
    store.down = true
    await pass(1)
    store.down = false
    t.match(await parts.records.peek(id), { record: { complete: false } })
    await pass(2)
    t.match(await parts.records.peek(id), { record: { complete: true } })
    t.match(logged(), 'the store could not record what a token opens')
  })

  t.test('is asked for without a pause when the user of the app gets a new token, even if the old one is in a pause', async (t) => {
    stopClock(t)
    const { parts, asked, found, write } = await startParts(t, () => ({ statusCode: 400, body: {} }))
    const id = await write('old')
    for (const pause of [0, 1000, 2000, 4000]) {
      mock.timers.tick(pause)
      await found({ siteId: ids.engine })
    }
    const { record } = Object(await parts.records.peek(id))
    await withDeadline(1000, (deadline) => parts.introspector.introspect(id, { ...record, accessToken: 'new' }, { since: Date.now(), deadline }))
    await write('new', {}, id)
    mock.timers.tick(1000)
    await found({ siteId: ids.engine })
    t.strictSame(asked, ['old', 'old', 'old', 'old', 'new', 'new'])
  })

  t.test('a failed task in the background is given up without a pause once the app has closed', async (t) => {
    const background = new BackgroundTasks()
    const givenUp: unknown[] = []
    const insist = (name: string) => { background.insist(async () => await Promise.reject(new Error(name)), (error) => { givenUp.push(error) }) }
    insist('early')
    await setImmediate()
    t.strictSame(givenUp, [])
    background.stop()
    t.match(givenUp, [{ message: 'early' }])
    insist('late')
    await setImmediate()
    t.match(givenUp, [{ message: 'early' }, { message: 'late' }])
  })

  t.test('is not asked for in the background once the app has closed', async (t) => {
    mock.timers.enable({ apis: ['Date', 'setTimeout'], now: Date.now() })
    t.teardown(() => mock.timers.reset())
    const { asked, connect, parts, pass } = await startSeconds(t, () => ({ statusCode: 503, body: {} }))
    await connect('mine')
    parts.background.stop()
    await pass(10)
    await connect('another')
    await pass(10)
    t.strictSame(asked, ['mine', 'another'])
  })

  t.test('is asked for again within seconds of the real clock', { jobs: 3 }, async (t) => {
    t.test('closing waits for a running question in the background, but not for a pause', { buffered: true }, async (t) => {
      const store = new MemoryStore()
      const { app, install, webflow } = await startBench(t, { options: { store } })
      webflow.fail('introspect', { status: 503, times: 2 })
      const { token } = await install()
      webflow.signIn(charles)
      await install()
      webflow.fail('introspect', { delay: 300, times: 2 })
      t.ok(await eventually(() => webflow.requests.introspect.length >= 3), 'a second later')
      await app.close()
      const later = await createApp(t, { webflow, options: { store, introspect: false } })
      t.match((await later.webflowOAuth.getToken(token.id))?.authorization, { siteIds: [ids.engine] })
    })

    t.test('an app that has closed asks Webflow nothing', { buffered: true }, async (t) => {
      const store = watchStore(new MemoryStore())
      const { app, install, webflow } = await startBench(t, { options: { store } })
      webflow.fail('introspect', { status: 503 })
      await install()
      await app.close()
      const { get } = store.calls
      await setTimeout(1200)
      t.equal(store.calls.get, get, 'the store is not read for it')
    })

    t.test('the exchange and the questions after it share one deadline', { buffered: true }, async (t) => {
      const { browser, webflow, app } = await startSlow()
      const { location } = await browser.navigate('/webflow/authorize')
      const url = await webflow.approve(String(location))
      const begun = performance.now()
      t.equal((await browser.navigate(url)).statusCode, 303)
      t.ok(performance.now() - begun < 1800, 'not the 2.1 seconds of two deadlines')
      t.strictSame((await browser.get('/token')).json().connected, true)
      await app.close()

      async function startSlow () {
        const { webflow, app } = await startBench(t, { options: { timeout: 1200 } })
        webflow.fail('token', { delay: 900 })
        webflow.fail('introspect', { hang: true })
        return { webflow, app, browser: new Browser(app) }
      }
    })
  })

  t.test('a token is sent to no other origin than the one that issued it', async (t) => {
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
  t.test('works by site, workspace, user and authorization, the newest first', async (t) => {
    const { connected, found, install, webflow } = await startBench(t)
    await install({ siteIds: [ids.engine] })
    await install({ siteIds: [ids.notes] })
    webflow.signIn(charles)
    await install({ siteIds: [ids.engine] })
    await install({ workspaceId: ids.park })
    const [first, second, third, fourth] = connected.map(({ accessToken }) => accessToken)
    t.ok(await eventually(async () => (await found({ siteId: ids.notes })).length === 2), 'the older token learns what was added')
    t.strictSame(await found({ siteId: ids.engine }), [fourth, third, second, first], 'the grant of a user is cumulative: every token of it opens the site')
    t.strictSame(await found({ siteId: ids.notes }), [second, first])
    t.ok(await eventually(async () => (await found({ workspaceId: ids.park })).length === 2))
    t.strictSame(await found({ userId: ids.ada }), [second, first])
    t.strictSame(await found({ userId: charles.id.toUpperCase() }), [fourth, third])
    t.strictSame(await found({ workspaceId: ids.park }), [fourth, third])
    t.strictSame(await found({ authorizationId: connected[2]?.authorization?.id ?? '' }), [third])
    t.strictSame(await found({ siteId: ids.gardens }), [], 'a site of a workspace that was granted as a whole is found by the workspace')
    t.strictSame(await found({ userId: '0'.repeat(24) }), [])
  })

  t.test('returns each authorization once, no matter how many sessions hold it', async (t) => {
    for (const behavior of [{ repeatedAuthorization: 'same' }, { authorizationOf: 'grant' }] as const) {
      const { connected, found, install } = await startBench(t, { behavior })
      for (let session = 0; session < 3; session++) await install()
      t.strictSame(await found({ siteId: ids.engine }), [connected.at(-1)?.accessToken])
    }
  })

  t.test('tells authorizations without an id apart by their tokens', async (t) => {
    const { connected, found, install, webflow } = await startBench(t, { behavior: { repeatedAuthorization: 'same' } })
    for (let session = 0; session < 2; session++) {
      webflow.fail('introspect', { body: { authorization: { authorizedTo: { siteIds: [ids.notes] } } } })
      await install()
    }
    t.strictSame(await found({ siteId: ids.notes }), [connected[0]?.accessToken])
  })

  t.test('finds the sites of a workspace if Webflow lists them', async (t) => {
    const { found, install } = await startBench(t, { behavior: { workspaceGrantListsSites: true } })
    const { token } = await install({ workspaceId: ids.studio })
    for (const query of [{ workspaceId: ids.studio }, { siteId: ids.engine }, { siteId: ids.notes }]) t.strictSame(await found(query), [token.accessToken])
  })

  t.test('does not find a token that was revoked or replaced, or has ended or expired', async (t) => {
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

  t.test('does not find what a crash has left behind', async (t) => {
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

  t.test('does not find a record that was tampered with', async (t) => {
    const store = new MemoryStore()
    const { app, found, install } = await startBench(t, { options: { store } })
    const { token } = await install()
    const { keys: [key = ''] } = await store.find(storeId(clientId, 'all'))
    await store.set(key, 'tampered', { expiresAt: Date.now() + 60_000, tags: [storeId(clientId, 'all'), storeId(clientId, 'siteId', ids.engine)] })
    t.strictSame(await found({ siteId: ids.engine }), [])
    t.strictSame((await app.webflowOAuth.listTokens().next()).value, undefined)
    t.equal(key, `token:${token.id}`)
  })

  t.test('a token that the store returns by mistake is left out', async (t) => {
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

  t.test('costs two reads of an index and one read of each match, for any number of tokens', async (t) => {
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

  t.test('a malformed query is refused before it reaches the store', async (t) => {
    const store = watchStore(new MemoryStore())
    const { app } = await startBench(t, { options: { store } })
    const noId = ['', 'x', ids.engine.slice(1), `${ids.engine}0`, 'g'.repeat(24), ` ${ids.engine}`, `${ids.engine}\n`, null, undefined, 5, {}, [ids.engine], '../../../../../../../../']
    const queries: unknown[] = [undefined, null, 'siteId', ids.engine, {}, [], [ids.engine], { site: ids.engine }, { siteId: ids.engine, userId: ids.ada }, { __proto__: { siteId: ids.engine } }]
    for (const name of ['findTokens', 'revokeAll'] as const) {
      for (const query of queries) {
        await t.rejects(call(name, query), { code: 'WEBFLOW_OAUTH_INVALID_OPTION', statusCode: 500, message: /must have exactly one of siteId, workspaceId, userId, authorizationId/ })
      }
      for (const kind of ['siteId', 'workspaceId', 'userId', 'authorizationId']) {
        for (const id of noId) await t.rejects(call(name, { [kind]: id }), { code: 'WEBFLOW_OAUTH_INVALID_OPTION', statusCode: 400, message: new RegExp(`\`${kind}\` must be an id from Webflow: 24 hexadecimal digits`) })
      }
    }
    t.strictSame(store.calls, { get: 0, set: 0, delete: 0, find: 0 })

    async function call (name: 'findTokens' | 'revokeAll', query: unknown): Promise<unknown> {
      return await Reflect.apply(app.webflowOAuth[name], null, [query])
    }
  })

  t.test('an empty answer is an error only while Webflow could not be reached about a token of which nothing is known', async (t) => {
    stopClock(t)
    const { found, write } = await startParts(t, async () => answer)
    let answer: MadeUpAnswer = { statusCode: 503, body: {} }
    await write('untold')
    for (let search = 0; search < 2; search++) {
      for (const siteId of [ids.notes, ids.gardens]) await t.rejects(found({ siteId }), { code: unavailable, statusCode: 502, cause: { code: unavailable } })
    }
    await write('told', { complete: true, authorization: authorizationOf(ids.engine) })
    t.strictSame(await found({ siteId: ids.engine }), ['told'], 'what is known to match is enough')
    answer = { statusCode: 429, body: {} }
    mock.timers.tick(1000)
    t.strictSame(await found({ siteId: ids.gardens }), [], 'Webflow is there, and will not tell')
    answer = opens(ids.notes)
    mock.timers.tick(2000)
    t.strictSame(await found({ siteId: ids.notes }), ['untold'])
  })

  for (const [name, fault, isOutage] of silences) {
    if (isOutage) continue
    t.test(`${name} for one token never fails a search for another, and costs one call after each growing pause`, async (t) => {
      stopClock(t)
      const { asked, found, write } = await startParts(t, async (accessToken) => accessToken === 'trouble' ? { statusCode: fault.status ?? 200, body: fault.body ?? '' } : opens(ids.engine))
      await write('trouble', { createdAt: Date.now() - (name.endsWith('Webflow\'s') ? 0 : 3_600_000) })
      const times: number[] = []
      for (let second = 0; second < 40; second++) {
        const before = asked.length
        t.strictSame(await found({ siteId: ids.gardens }), [])
        if (asked.length > before) times.push(second)
        mock.timers.tick(1000)
      }
      t.strictSame(times, [0, 1, 3, 7, 15, 31])
      await write('another tenant')
      t.strictSame(await found({ siteId: ids.engine }), ['another tenant'])
    })
  }

  t.test('pauses grow to ten minutes', async (t) => {
    stopClock(t)
    const { asked, found, write } = await startParts(t, () => ({ statusCode: 400, body: {} }))
    await write('trouble')
    for (let minute = 0; minute < 60; minute++) {
      await found({ siteId: ids.engine })
      mock.timers.tick(60_000)
    }
    const before = asked.length
    for (let minute = 0; minute < 60; minute++) {
      await found({ siteId: ids.engine })
      mock.timers.tick(60_000)
    }
    t.equal(asked.length - before, 6)
  })

  t.test('a Webflow that hangs delays a search by at most `timeout`, and the next search not at all', async (t) => {
    let asked = 0
    const { found, write } = await startParts(t, () => { asked++; return new Promise<MadeUpAnswer>(() => {}) }, { timeout: 300 })
    await write('untold')
    await write('told', { complete: true, authorization: authorizationOf(ids.notes) })
    // The clock stands still, so that the pause does not pass.
    mock.timers.enable({ apis: ['Date'], now: Date.now() })
    t.teardown(() => mock.timers.reset())
    for (let search = 0; search < 2; search++) {
      t.strictSame(await found({ siteId: ids.notes }), ['told'])
      t.equal(asked, 1, 'the second search asks nobody')
    }
    await t.rejects(found({ siteId: ids.gardens }), { code: unavailable, cause: { code: 'WEBFLOW_OAUTH_WEBFLOW_TIMEOUT' } })
  })

  t.test('a search asks about twenty of 5,000 incomplete tokens, eight at a time, and the next search continues after them', async (t) => {
    stopClock(t)
    const inner = new MemoryStore()
    const reads: number[] = []
    const store = Object.assign(methodsOf(inner), { getMany: async (keys: readonly string[]) => { reads.push(keys.length); return await inner.getMany(keys) } })
    const { asked, found, most, write } = await startParts(t, async () => opens(ids.gardens), { store })
    for (let index = 0; index < 5000; index++) await write(`token ${index}`)
    for (let search = 1; search <= 5; search++) {
      t.strictSame(await found({ siteId: ids.engine }), [])
      t.equal(asked.length, search * 20)
    }
    t.equal(new Set(asked).size, 100)
    t.equal(most(), 8)
    t.ok(reads.every((keys) => keys <= 20))
  })

  t.test('searches reach every incomplete token in the end, and then start over', async (t) => {
    stopClock(t)
    for (const size of [40, 50]) {
      const { asked, found, write } = await startParts(t, async (accessToken) => ({ statusCode: isSilent ? 400 : 200, body: opens(accessToken === last ? ids.engine : ids.gardens).body }))
      let isSilent = true
      let last = ''
      for (let index = 0; index < size; index++) await write(`token ${index}`)
      for (let search = 0; search < 3; search++) await found({ siteId: ids.engine })
      t.equal(new Set(asked).size, size)
      last = asked.at(-1) ?? ''
      isSilent = false
      mock.timers.tick(1000)
      const answers = []
      for (let search = 0; search < 4; search++) answers.push((await found({ siteId: ids.engine })).length)
      t.equal(answers.at(-1), 1)
      t.equal(asked.length, 2 * size)
    }
  })

  t.test('a search starts over if no incomplete token is left after the place where the last one ended', async (t) => {
    const { asked, found, parts, write } = await startParts(t, () => ({ statusCode: 503, body: {} }))
    const written = new Map<string, string>()
    for (let index = 0; index < 21; index++) written.set(`token ${index}`, await write(`token ${index}`))
    await t.rejects(found({ siteId: ids.engine }), { code: unavailable })
    const [last] = [...written.keys()].filter((accessToken) => !asked.includes(accessToken))
    await parts.records.drop(written.get(last ?? '') ?? '')
    await t.rejects(found({ siteId: ids.engine }), { code: unavailable })
    t.equal(asked.length, 20, 'though all of them are in their pause')
  })

  t.test('a page of incomplete tokens that cannot be read does not keep searches from the pages after it', async (t) => {
    stopClock(t)
    const store = new MemoryStore()
    const { write: writeForeign } = await startParts(t, () => nothing, { store, secret: 'another secret, of another deploy' })
    const { asked, found, write } = await startParts(t, () => opens(ids.engine), { store })
    // In the order of the index, whatever it is.
    const order = []
    for (let index = 0; index < 65; index++) await writeForeign(`token ${index}`)
    const { keys } = await store.find(storeId(clientId, 'incomplete'), { limit: 100 })
    for (const key of [...keys.slice(0, 5), ...keys.slice(45)]) order.push(await write(`readable ${key}`, {}, key.slice('token:'.length)))
    for (let search = 0; search < 4; search++) await found({ siteId: ids.gardens })
    t.equal(asked.length, order.length)
  })

  t.test('an answer of Webflow that the store could not record fails only searches that find nothing', async (t) => {
    stopClock(t)
    const inner = new MemoryStore()
    const store = methodsOf(inner)
    const { asked, found, write } = await startParts(t, () => opens(ids.gardens), { store })
    await write('untold')
    await write('told', { complete: true, authorization: authorizationOf(ids.engine) })
    store.set = async () => await Promise.reject(new Error('value too large'))
    t.strictSame(await found({ siteId: ids.engine }), ['told'])
    for (const siteId of [ids.gardens, ids.notes]) await t.rejects(found({ siteId }), { code: outage })
    t.equal(asked.length, 1, 'nor is Webflow asked again at once')
    store.set = inner.set.bind(inner)
    mock.timers.tick(1000)
    t.strictSame(await found({ siteId: ids.gardens }), ['untold'])
  })

  t.test('a token that Webflow does not know counts as incomplete in its first minute, and as ended later', async (t) => {
    stopClock(t)
    const { api, asked, found, write } = await startParts(t, () => ({ statusCode: 401, body: { code: 'not_authorized' } }))
    const id = await write('mine')
    t.strictSame(await found({ siteId: ids.engine }), [])
    t.match(await api.revokeAll({ siteId: ids.engine }), [{ id, upstream: 'unknown' }])
    mock.timers.tick(60_000)
    for (let search = 0; search < 3; search++) t.strictSame(await found({ siteId: ids.engine }), [])
    t.equal(asked.length, 3)
    t.strictSame(await api.revokeAll({ siteId: ids.engine }), [])
    t.equal((await api.getToken(id))?.id, id, 'and is kept: only a 401 that the app has seen as well counts')
  })

  t.test('a token that is revoked while Webflow is asked about it is not found', async (t) => {
    stopClock(t)
    const { app, found, install, webflow } = await startBench(t)
    webflow.fail('introspect', { status: 503 })
    const { token } = await install()
    const authorization = { authorizedTo: { siteIds: [ids.engine] } }
    webflow.fail('introspect', { delay: 200, body: { authorization } })
    mock.timers.tick(1000)
    const searching = found({ siteId: ids.engine })
    t.ok(await eventually(() => webflow.requests.introspect.length === 2))
    await app.webflowOAuth.revoke(token)
    t.strictSame(await searching, [])
  })

  t.test('a search is an error while the store is down', async (t) => {
    const store = watchStore(new MemoryStore())
    const { app, install } = await startBench(t, { options: { store } })
    await install()
    store.down = true
    const { findTokens, listTokens, revokeAll } = app.webflowOAuth
    const calls: Array<Promise<unknown>> = [findTokens({ siteId: ids.engine }), revokeAll({ siteId: ids.engine }), listTokens().next()]
    await Promise.all(calls.map((call) => t.rejects(call, { code: outage })))
  })

  t.test('a malformed answer of the store\'s `find` is an outage', async (t) => {
    for (const answer of [null, {}, { keys: 'x', cursor: null }, { keys: [5], cursor: null }, { keys: [] }, { keys: [], cursor: 5 }]) {
      const { app } = await startBench(t, { options: { store: Object.assign(methodsOf(new MemoryStore()), { find: async () => answer }) } })
      await t.rejects(app.webflowOAuth.findTokens({ siteId: ids.engine }), { code: outage })
    }
  })

  t.test('a token that was sealed with an unknown secret is an outage, unless another token is found', async (t) => {
    const store = new MemoryStore()
    const { install, webflow } = await startBench(t, { options: { store, secret: 'another secret, of another deploy' } })
    const { token: foreign } = await install({ siteIds: [ids.engine] })
    const { app, found, install: installHere } = await startBench(t, { options: { store } })
    await t.rejects(app.webflowOAuth.findTokens({ siteId: ids.engine }), { code: outage, message: /add that secret to the list in the option `secret`/ })
    t.match(await app.webflowOAuth.revokeAll({ siteId: ids.engine }), [{ id: foreign.id, revoked: false, upstream: 'unknown', error: { code: outage } }])
    t.equal(webflow.requests.revoke.length, 0)
    const { token } = await installHere({ siteIds: [ids.engine] })
    t.strictSame(await found({ siteId: ids.engine }), [token.accessToken])
    const listed: string[] = []
    const walk = async () => { for await (const { id } of app.webflowOAuth.listTokens()) listed.push(id) }
    await t.rejects(walk(), { code: outage })
    t.strictSame(listed, [token.id], 'a walk comes to all others before it fails')
  })

  t.test('an incomplete token that was sealed with an unknown secret fails no search', async (t) => {
    const store = new MemoryStore()
    const { write } = await startParts(t, () => nothing, { store, secret: 'another secret, of another deploy' })
    const foreign = await write('foreign')
    const { api, found } = await startParts(t, () => nothing, { store })
    t.strictSame(await found({ siteId: ids.gardens }), [])
    t.match(await api.revokeAll({ siteId: ids.gardens }), [{ id: foreign, revoked: false, upstream: 'unknown', error: { code: outage } }])
  })

  t.test('a complete token that version 0.1 kept among the incomplete ones is not asked about', async (t) => {
    const inner = new MemoryStore()
    const store = methodsOf(inner)
    store.set = (key, value, options) => inner.set(key, value, { ...options, tags: [...options.tags ?? [], storeId(clientId, 'incomplete')] })
    const { asked, found, write } = await startParts(t, () => nothing, { store })
    await write('told', { complete: true, authorization: authorizationOf(ids.engine) })
    t.strictSame(await found({ siteId: ids.engine }), ['told'])
    t.strictSame(await found({ siteId: ids.gardens }), [])
    t.strictSame(asked, [])
  })

  t.test('tokens from before `introspect` was turned on are asked about', async (t) => {
    const store = new MemoryStore()
    const { install, webflow } = await startBench(t, { options: { store, introspect: false } })
    const { token } = await install()
    const app = await createApp(t, { webflow, options: { store } })
    t.strictSame((await app.webflowOAuth.findTokens({ siteId: ids.engine })).map(({ id }) => id), [token.id])
  })

  t.test('a token that another process completes during the search is found', async (t) => {
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
  t.test('reaches each token, reads in batches, and reads no batch before it is needed', async (t) => {
    for (const hasGetMany of [true, false]) {
      const inner = new MemoryStore()
      const store = watchStore(inner)
      const batches: number[] = []
      const getMany = async (keys: readonly string[]) => { batches.push(keys.length); return await inner.getMany(keys) }
      const { api, write } = await startParts(t, () => nothing, { store: hasGetMany ? Object.assign(store, { getMany }) : store, introspect: false })
      const written: string[] = []
      for (let index = 0; index < 120; index++) written.push(await write(`token ${index}`))
      Object.assign(store.calls, { get: 0, find: 0 })
      const walk = api.listTokens()
      const seen = [(await walk.next()).value?.id]
      t.strictSame([store.calls.find, store.calls.get, batches], hasGetMany ? [1, 0, [100]] : [1, 100, []])
      for await (const { id } of walk) seen.push(id)
      t.strictSame(seen.sort(), written.sort())
      t.strictSame([store.calls.find, store.calls.get, batches], hasGetMany ? [2, 0, [100, 20]] : [2, 120, []])
    }
  })

  t.test('counts as a use of each token', async (t) => {
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

/** What a token that opens a site is told to be. */
function authorizationOf (siteId: string): Authorization {
  return { id: null, siteIds: [siteId], workspaceIds: [], userIds: [], scope: [], createdOn: null }
}

/** Parts whose clock and timers are the test's: `pass` lets seconds pass. */
async function startSeconds (t: Test, webflow: (accessToken: string) => MadeUpAnswer, options: Partial<WebflowOAuthOptions> = {}) {
  let isSilent = () => false
  const bench = await startParts(t, (accessToken) => isSilent() ? { statusCode: 503, body: {} } : webflow(accessToken), options)
  const { parts } = bench
  return {
    ...bench,
    /** Stores a token as a callback does; resolves with its id. */
    async connect (accessToken: string, silent = isSilent): Promise<string> {
      isSilent = silent
      const created = parts.records.create({ accessToken, tokenType: 'bearer', scope: null, expiresIn: null }, ['sites:read'], Date.now())
      const record = await withDeadline(1000, (deadline) => parts.introspector.introspect(idOf(accessToken), created, { since: Date.now(), deadline }))
      parts.introspector.completeSoon(await parts.records.write(idOf(accessToken), record))
      return idOf(accessToken)
    },
    async pass (seconds: number): Promise<void> {
      for (let second = 0; second < seconds; second++) {
        mock.timers.tick(1000)
        for (let turn = 0; turn < 3; turn++) await setImmediate()
      }
    }
  }
}

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

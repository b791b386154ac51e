import { mock } from 'node:test'
import t, { type Test } from 'tap'
import { request } from 'undici'
import { WebflowClient } from 'webflow-api'
import { MemoryStore, WebflowOAuthError, type TokenStore, type WebflowToken } from '../lib/index.ts'
import type { Fault } from '../lib/simulator/index.ts'
import { TokenChecks, type AskOptions } from '../lib/webflow/token-checks.ts'
import { WebflowClient as OwnClient } from '../lib/webflow/client.ts'
import { assertNothingLeaked, clientId, clientSecret, createApp, redirectUri, secret, startWebflow } from './support/app.ts'
import { Browser } from './support/browser.ts'
import { charles, eventually, identify, ids, methodsOf, outage, startBench, startCrowded, unavailable, watchStore, type Bench } from './support/installation.ts'
import { rememberSecrets } from './support/logs.ts'
import { startOtherThread } from './support/other-thread.ts'
import { startHttp } from './support/server-http.ts'

/** Answers that say nothing of a token. */
const silences: ReadonlyArray<readonly [name: string, fault: Fault]> = [
  ['an outage', { status: 503 }],
  ['a limit', { status: 429, headers: { 'retry-after': '60' } }],
  ['a reset', { reset: true }],
  ['silence', { hang: true }],
  ['a page', { body: '<html>' }],
  ['a 401 of a gateway', { status: 401, body: '<html>' }],
  ['a 401 with another code', { status: 401, body: { code: 'unauthorized' } }],
  ['a 403', { status: 403, body: { code: 'forbidden' } }],
  ['a 404', { status: 404, body: { code: 'not_authorized' } }]
]

/** Questions about tokens to a server that hangs, fails or answers, for each token in turn. */
async function startChecks (t: Test, answers: Record<string, ReadonlyArray<'hangs' | 'fails' | 'tells' | number>>) {
  const asked: string[] = []
  const server = await startHttp(t, (response, { headers }) => {
    const token = String(headers.authorization).replace('Bearer ', '')
    const nth = asked.filter((name) => name === token).length
    asked.push(token)
    const answer = answers[token]?.[nth] ?? 'hangs'
    const tell = () => response.end('{"authorization":{}}')
    if (answer === 'fails') response.writeHead(503).end()
    else if (answer === 'tells') tell()
    else if (answer !== 'hangs') setTimeout(tell, answer)
  })
  const timeout = 1000
  const client = new OwnClient({ clientId, clientSecret, redirectUri, endpoints: { authorize: server.url, token: server.url, revoke: server.url, introspect: server.url, authorizedBy: server.url }, timeout, dispatcher: null })
  t.teardown(() => client.close())
  const checks = new TokenChecks(client, timeout)
  return {
    asked,
    /** Asks with so many milliseconds; resolves with what was told and how long it took. */
    async ask (token: string, milliseconds: number, options: Omit<AskOptions, 'deadline'> = {}) {
      const begun = performance.now()
      const { kind } = await checks.ask(token, [], { deadline: Date.now() + milliseconds, ...options })
      return { kind, took: performance.now() - begun }
    }
  }
}

t.test('the time that a question may take', async (t) => {
  t.test('is its own: it is asked again when somebody else\'s ended without telling', async (t) => {
    const { ask, asked } = await startChecks(t, { x: ['hangs', 'tells'] })
    const [first, second] = await Promise.all([ask('x', 150), ask('x', 900, { queue: 'none' }), ask('x', 900, { queue: 'none' })])
    t.equal(first.kind, 'unknown')
    t.ok(first.took < 500, 'whoever had less time did not wait longer')
    t.equal(second.kind, 'active')
    t.strictSame(asked, ['x', 'x'], 'those who went on share one question')
  })

  t.test('is not used for another question when too little is left, nor after a failure that was told', async (t) => {
    const { ask, asked } = await startChecks(t, { y: ['fails', 'tells'] })
    t.strictSame((await Promise.all([ask('x', 300), ask('x', 350)])).map(({ kind }) => kind), ['unknown', 'unknown'])
    t.strictSame((await Promise.all(Array.from({ length: 10 }, (_, index) => ask('y', 300 + index * 60)))).map(({ kind }) => kind), Array(10).fill('unknown'))
    t.strictSame(asked, ['x', 'y'])
  })

  t.test('is shared: a question that waits for its turn begins for whoever cannot wait, with the longer time', async (t) => {
    const { ask, asked } = await startChecks(t, { late: [400] })
    const background = Array.from({ length: 8 }, (_, index) => ask(`background ${index}`, 900))
    const [waiting, urgent] = await Promise.all([ask('late', 150), ask('late', 900, { queue: 'none' })])
    t.equal(waiting.kind, 'unknown')
    t.equal(urgent.kind, 'active')
    t.ok(urgent.took < 850)
    t.equal(asked.filter((token) => token === 'late').length, 1)
    await Promise.all(background)
    t.equal(asked.length, 9, 'what nobody waits for any more is not asked')
  })

  t.test('is enough for a check of the app though a search is waiting', async (t) => {
    const { ask } = await startChecks(t, { mine: ['tells'] })
    const background = Array.from({ length: 30 }, (_, index) => ask(`background ${index}`, 600))
    const { kind, took } = await ask('mine', 900, { queue: 'checks' })
    t.equal(kind, 'active')
    t.ok(took < 500)
    await Promise.all(background)
  })

  for (const [name, expected] of [['checkToken', 'unknown'], ['reportUnauthorized', 'active']] as const) {
    t.test(`is \`timeout\` for \`${name}\`, from when it is called, behind a job whose tokens hang`, async (t) => {
      const { app, connected, install } = await startBench(t)
      for (let index = 0; index < 25; index++) await install()
      await app.close()
      const mine = connected.at(-1)
      const server = await startHttp(t, (response, { headers }) => { if (headers.authorization === `Bearer ${mine?.accessToken}`) response.end('{"authorization":{}}') })
      const timeout = 400
      const elsewhere = await createApp(t, { options: { timeout, endpoints: { introspect: server.url } } })
      const job = connected.slice(0, -1).map((token) => elsewhere.webflowOAuth.checkToken(token))
      const begun = performance.now()
      t.equal(mine === undefined ? null : await elsewhere.webflowOAuth[name](mine), expected)
      t.ok(performance.now() - begun < 2 * timeout, 'three turns of eight hanging calls would take three times as long')
      t.strictSame([...new Set(await Promise.all(job))], ['unknown'])
      t.ok(performance.now() - begun < 2 * timeout, 'nor does the job wait longer')
    })
  }

  t.test('is not prolonged by what else a check of the app finds to ask', async (t) => {
    const timeout = 1000
    const { app, install, webflow } = await startBench(t, { options: { timeout } })
    await install()
    webflow.fail('introspect', { status: 503 })
    const { token } = await install()
    t.equal(token.authorization, null)
    webflow.fail('introspect', { delay: 700 })
    webflow.fail('introspect', { hang: true, times: 5 })
    const begun = performance.now()
    t.equal(await app.webflowOAuth.checkToken(token), 'active')
    t.ok(performance.now() - begun < 1.5 * timeout, 'the other token of the user is left for later')
    t.equal(webflow.requests.introspect.length, 4, 'though it was asked about')
  })

  t.test('does not pass while the process is blocked and Webflow answers', async (t) => {
    const { app, install } = await startBench(t)
    const { token } = await install()
    await app.close()
    const server = await startOtherThread(t, { late: '{"authorization":{}}' })
    const timeout = 200
    const elsewhere = await createApp(t, { options: { timeout, endpoints: { introspect: server.url } } })
    const check = elsewhere.webflowOAuth.checkToken(token)
    await server.asked()
    server.answerWhileBlocked(3 * timeout)
    t.equal(await check, 'active')
  })
})

t.test('checking a token', async (t) => {
  t.test('tells whether it is alive, and keeps it', async (t) => {
    const { app, disconnected, install, webflow } = await startBench(t, { options: { identify } })
    const { token } = await install(undefined, { headers: { 'x-user': 'ada' } })
    for (const target of [token, token.id, { user: 'ada' }]) t.equal(await app.webflowOAuth.checkToken(target), 'active')
    webflow.uninstall()
    mock.timers.enable({ apis: ['Date'], now: Date.now() + 60_000 })
    t.teardown(() => mock.timers.reset())
    for (const target of [token, token.id, { user: 'ada' }]) t.equal(await app.webflowOAuth.checkToken(target), 'revoked')
    t.equal((await app.webflowOAuth.getToken(token.id))?.accessToken, token.accessToken)
    t.strictSame(disconnected, [])
  })

  t.test('is null where there is none, and refuses what names none', async (t) => {
    const { app, webflow } = await startBench(t)
    for (const id of ['A'.repeat(43), 'nonsense', '']) {
      t.equal(await app.webflowOAuth.checkToken(id), null)
      t.equal(await app.webflowOAuth.reportUnauthorized(id), null)
    }
    for (const target of [undefined, null, 5, {}, { user: 'ada' }]) {
      for (const name of ['checkToken', 'reportUnauthorized'] as const) {
        await t.rejects(Promise.resolve(Reflect.apply(app.webflowOAuth[name], null, [target])), { code: 'WEBFLOW_OAUTH_INVALID_OPTION' })
      }
    }
    t.equal(webflow.requests.introspect.length, 0)
  })

  for (const [name, fault] of silences) {
    t.test(`${name} is never taken for a revocation, nor remembered`, async (t) => {
      const { app, disconnected, install, webflow } = await startBench(t, { options: { timeout: 500 } })
      const { browser, token } = await install()
      webflow.fail('introspect', { ...fault, times: 2 })
      t.equal(await app.webflowOAuth.checkToken(token), 'unknown')
      t.equal(await app.webflowOAuth.reportUnauthorized(token), 'unknown')
      t.equal((await browser.get('/guarded')).statusCode, 200)
      t.strictSame(disconnected, [])
      t.equal(await app.webflowOAuth.checkToken(token), 'active')
    })
  }

  t.test('remembers answers for a minute', async (t) => {
    mock.timers.enable({ apis: ['Date'], now: Date.now() })
    t.teardown(() => mock.timers.reset())
    const { app, install, webflow } = await startBench(t)
    const { token } = await install()
    const asked = () => webflow.requests.introspect.length - 1
    for (let call = 0; call < 3; call++) await app.webflowOAuth.checkToken(token.id)
    t.equal(asked(), 1, 'what was asked at the callback is not remembered')
    webflow.uninstall()
    mock.timers.tick(59_999)
    t.equal(await app.webflowOAuth.checkToken(token.id), 'active')
    mock.timers.tick(1)
    t.equal(await app.webflowOAuth.checkToken(token.id), 'revoked')
    t.equal(await app.webflowOAuth.checkToken(token.id), 'revoked')
    t.equal(asked(), 2)
  })

  t.test('does not remember that a token was alive which the app has revoked since', async (t) => {
    const { app, install } = await startBench(t)
    const { token } = await install()
    t.equal(await app.webflowOAuth.checkToken(token), 'active')
    await app.webflowOAuth.revoke(token)
    t.equal(await app.webflowOAuth.checkToken(token), 'revoked')
    t.equal(await app.webflowOAuth.checkToken(token.id), null)
  })

  t.test('is one call, however many check at one time', async (t) => {
    const { app, install, webflow } = await startBench(t)
    const { token } = await install()
    webflow.fail('introspect', { delay: 50 })
    const answers = await Promise.all(Array.from({ length: 30 }, () => app.webflowOAuth.checkToken(token)))
    t.strictSame([...new Set(answers)], ['active'])
    t.equal(webflow.requests.introspect.length, 2)
  })

  t.test('asks about eight tokens at a time at most', async (t) => {
    const server = await startCrowded(t, '{"authorization":{}}')
    const { app, connected, install, webflow } = await startBench(t)
    for (let index = 0; index < 30; index++) {
      webflow.signIn({ ...charles, id: index.toString(16).padStart(24, 'a') })
      await install()
    }
    const elsewhere = await createApp(t, { options: { endpoints: { introspect: server.url } } })
    const answers = await Promise.all(connected.map((token) => elsewhere.webflowOAuth.checkToken(token)))
    t.strictSame([...new Set(answers)], ['active'])
    t.equal(server.most(), 8)
    await app.close()
  })

  t.test('records what the token opens now', async (t) => {
    const { app, found, install, webflow } = await startBench(t, { behavior: { repeatedAuthorization: 'same' } })
    const { browser, token } = await install({ siteIds: [ids.engine] })
    // Another app of the same client, with a store of its own, lets the user add a site.
    const elsewhere = await createApp(t, { webflow })
    const visitor = new Browser(elsewhere)
    await visitor.navigate(await webflow.approve(String((await visitor.navigate('/webflow/authorize')).location), { siteIds: [ids.notes] }))
    t.strictSame(await found({ siteId: ids.notes }), [])
    t.equal(await app.webflowOAuth.checkToken(token.id), 'active')
    t.strictSame(await found({ siteId: ids.notes }), [token.accessToken])
    t.strictSame((await browser.get('/opens')).json().authorization, JSON.parse(JSON.stringify({ ...token.authorization, siteIds: [ids.engine, ids.notes] })))
  })

  t.test('an older answer does not undo a newer one', async (t) => {
    const { app, found, install } = await startBench(t, { behavior: { repeatedAuthorization: 'same' } })
    const { token } = await install({ siteIds: [ids.engine] })
    await app.webflowOAuth.checkToken(token.id)
    const { token: again } = await install({ siteIds: [ids.notes] })
    t.equal(again.accessToken, token.accessToken)
    t.equal(await app.webflowOAuth.checkToken(token.id), 'active', 'remembered from before')
    t.strictSame(await found({ siteId: ids.notes }), [token.accessToken])
    t.match((await app.webflowOAuth.getToken(token.id))?.authorization, { siteIds: [ids.engine, ids.notes] })
  })

  t.test('tells what Webflow said, though it could not be recorded', async (t) => {
    const store = watchStore(new MemoryStore())
    const { app, install } = await startBench(t, { options: { store } })
    const { token } = await install()
    store.down = true
    t.equal(await app.webflowOAuth.checkToken(token), 'active')
    await t.rejects(app.webflowOAuth.checkToken(token.id), { code: outage }, 'whether there is such a token is not known')
  })
})

t.test('reporting a token that Webflow refused', async (t) => {
  t.test('forgets it once that is confirmed, tells the app once, and asks the user to connect again', async (t) => {
    const { app, disconnected, found, install, webflow } = await startBench(t)
    const { browser, token } = await install()
    t.equal(await app.webflowOAuth.checkToken(token), 'active')
    webflow.uninstall()
    t.equal((await browser.get('/guarded')).statusCode, 200, 'nobody has noticed yet')
    webflow.fail('introspect', { delay: 50, status: 401, body: { code: 'not_authorized' } })
    const asked = webflow.requests.introspect.length
    const answers = await Promise.all(Array.from({ length: 20 }, (_, index) => app.webflowOAuth.reportUnauthorized(index % 2 === 0 ? token : token.id)))
    t.strictSame([...new Set(answers)], ['revoked'])
    t.equal(webflow.requests.introspect.length, asked + 1, 'an answer from before is not believed, and one is asked for')
    t.strictSame(disconnected, [{ id: token.id, accessToken: token.accessToken, reason: 'revoked' }])
    t.match((await browser.get('/guarded')).json(), { statusCode: 401, code: 'WEBFLOW_OAUTH_TOKEN_REQUIRED' })
    t.strictSame(await found({ siteId: ids.engine }), [])
    t.equal(await app.webflowOAuth.reportUnauthorized(token.id), null)
    t.equal(await app.webflowOAuth.checkToken(token), 'revoked')
    t.equal(disconnected.length, 1)
    t.equal(webflow.requests.revoke.length, 0)
  })

  t.test('keeps a token that Webflow takes', async (t) => {
    const { app, disconnected, install } = await startBench(t)
    const { browser, token } = await install()
    t.equal(await app.webflowOAuth.reportUnauthorized(token), 'active')
    t.equal((await browser.get('/guarded')).statusCode, 200)
    t.strictSame(disconnected, [])
  })

  t.test('takes the errors and responses of clients as they are', async (t) => {
    const { app, disconnected, install, webflow } = await startBench(t)
    const reports: ReadonlyArray<(accessToken: string) => Promise<unknown>> = [
      async (accessToken) => await new WebflowClient({ accessToken, baseUrl: `${webflow.url}/v2`, maxRetries: 0 }).sites.list().catch((error: unknown) => error),
      async (accessToken) => await fetch(`${webflow.url}/v2/sites`, { headers: { authorization: `Bearer ${accessToken}` } }),
      async (accessToken) => {
        const response = await request(`${webflow.url}/v2/sites`, { headers: { authorization: `Bearer ${accessToken}` } })
        await response.body.dump()
        return response
      },
      async () => Object.assign(new Error('Response status code 401'), { name: 'ResponseError', code: 'UND_ERR_RESPONSE', statusCode: 401 }),
      async () => Object.assign(new Error('Request failed'), { response: { status: 401 } }),
      async () => undefined
    ]
    for (const report of reports) {
      const { token } = await install()
      webflow.uninstall()
      t.equal(await app.webflowOAuth.reportUnauthorized(token, await report(token.accessToken)), 'revoked')
      t.equal(disconnected.at(-1)?.id, token.id)
    }
    t.equal(disconnected.length, reports.length)
  })

  t.test('takes no other error for a refusal', async (t) => {
    const { app, disconnected, install, webflow } = await startBench(t)
    const { token } = await install()
    webflow.uninstall()
    const asked = webflow.requests.introspect.length
    const cyclic: { response?: unknown } = {}
    cyclic.response = cyclic
    const others: unknown[] = [
      null, 401, '401', [], {}, new Error('401'), { statusCode: '401' }, { status: 500 }, { statusCode: 429 }, { response: {} }, { response: null }, { response: { response: { status: 401 } } }, cyclic,
      new WebflowOAuthError('WEBFLOW_OAUTH_TOKEN_REQUIRED', 'ours'), new Response(null, { status: 404 })
    ]
    for (const other of others) t.equal(await app.webflowOAuth.reportUnauthorized(token, other), null)
    t.equal(webflow.requests.introspect.length, asked)
    t.strictSame(disconnected, [])
  })

  t.test('a 403 leads to a consent, and the wider token replaces the narrower', async (t) => {
    const disconnected: string[] = []
    const webflow = await startWebflow(t)
    const app = await createApp(t, {
      webflow,
      options: { onDisconnect: (token) => { disconnected.push(token.id) } },
      after: (app) => {
        app.get('/edit', { preHandler: app.webflowOAuth.requireToken({ scope: ['cms:write'], onMissing: 'redirect' }) }, async (request) => {
          const token = app.webflowOAuth.tokenOf(request)
          return { scope: token.scope, id: token.id }
        })
      }
    })
    const visitor = new Browser(app)
    // The plugin is made to believe in more than was granted.
    webflow.fail('introspect', { body: { authorization: { id: 'f'.repeat(24), scope: 'sites:read cms:read cms:write' } } })
    await visitor.navigate(await webflow.approve(String((await visitor.navigate('/webflow/authorize')).location)))
    const first = (await visitor.get('/edit')).json()
    t.strictSame(first.scope, ['sites:read', 'cms:read', 'cms:write'])
    webflow.fail('introspect', { body: { authorization: { id: 'f'.repeat(24), scope: 'sites:read cms:read cms:write' } } })
    t.equal(await app.webflowOAuth.checkToken(String(first.id)), 'active', 'which is remembered')
    const missing = Object.assign(new Error('Forbidden'), { statusCode: 403, body: { code: 'missing_scopes' } })
    t.equal(await app.webflowOAuth.reportUnauthorized(String(first.id), missing), 'active')
    t.match((await visitor.get('/edit')).json(), { statusCode: 403, code: 'WEBFLOW_OAUTH_SCOPE_MISSING' })

    const { location } = await visitor.navigate('/edit')
    t.equal(new URL(String(location)).searchParams.get('scope'), 'sites:read cms:read cms:write')
    const back = await visitor.navigate(await webflow.approve(String(location)))
    t.equal(back.location, 'https://app.example.com/edit')
    const second = (await visitor.get('/edit')).json()
    t.strictSame(second.scope, ['sites:read', 'cms:read', 'cms:write'])
    t.not(second.id, first.id)
    t.equal(await app.webflowOAuth.getToken(String(first.id)), null)
    t.equal((await app.webflowOAuth.findTokens({ siteId: ids.engine })).length, 1)
    t.strictSame(disconnected, [])
  })

  t.test('a 403 is no disconnect, even if the token has ended', async (t) => {
    const { app, disconnected, install, webflow } = await startBench(t)
    const { token } = await install()
    webflow.uninstall()
    t.equal(await app.webflowOAuth.reportUnauthorized(token, { status: 403 }), 'revoked')
    t.equal((await app.webflowOAuth.getToken(token.id))?.id, token.id)
    t.strictSame(disconnected, [])
  })

  t.test('forgets every session that holds the token, and no newer token', async (t) => {
    const { app, disconnected, install, webflow } = await startBench(t, { behavior: { repeatedAuthorization: 'same' } })
    const { browser: one, token: first } = await install()
    const { browser: two, token: second } = await install()
    t.equal(first.accessToken, second.accessToken)
    webflow.uninstall()
    const { browser: three, token: newer } = await install()
    t.not(newer.accessToken, first.accessToken)
    // The new connection has noticed already.
    t.strictSame(disconnected.map(({ id, reason }) => [id, reason]).sort(), [[first.id, 'superseded'], [second.id, 'superseded']].sort())
    t.equal(await app.webflowOAuth.reportUnauthorized(first), 'revoked')
    t.equal(disconnected.length, 2)
    for (const [browser, status] of [[one, 401], [two, 401], [three, 200]] as const) t.equal((await browser.get('/guarded')).statusCode, status)

    webflow.uninstall()
    t.equal(await app.webflowOAuth.reportUnauthorized(newer.id), 'revoked')
    t.strictSame(disconnected.slice(2), [{ id: newer.id, accessToken: newer.accessToken, reason: 'revoked' }])
  })

  t.test('finds a session with the same token of which Webflow has not told', async (t) => {
    const { app, disconnected, install, webflow } = await startBench(t, { behavior: { repeatedAuthorization: 'same' } })
    const { token } = await install()
    webflow.fail('introspect', { status: 503 })
    const { browser } = await install()
    webflow.uninstall()
    t.equal(await app.webflowOAuth.reportUnauthorized(token), 'revoked')
    t.equal(disconnected.length, 2)
    t.equal((await browser.get('/guarded')).statusCode, 401)
  })

  t.test('finds every session though the app holds the token from before Webflow told', async (t) => {
    const { app, disconnected, found, install, webflow } = await startBench(t, { behavior: { repeatedAuthorization: 'same' } })
    webflow.fail('introspect', { status: 503 })
    const { token: early } = await install()
    await install()
    await found({ siteId: ids.engine })
    webflow.uninstall()
    t.equal(early.authorization, null)
    t.equal(await app.webflowOAuth.reportUnauthorized(early), 'revoked')
    t.equal(disconnected.length, 2)
    t.strictSame(await found({ siteId: ids.engine }), [])
  })

  t.test('with `identify` a user who has connected again meanwhile stays connected', async (t) => {
    const { app, disconnected, install, webflow } = await startBench(t, { options: { identify } })
    const headers = { 'x-user': 'ada' }
    const { token: old } = await install(undefined, { headers })
    webflow.uninstall()
    const { browser } = await install(undefined, { headers })
    t.equal(await app.webflowOAuth.reportUnauthorized(old), 'revoked')
    t.equal((await browser.get('/guarded', headers)).statusCode, 200)
    t.strictSame(disconnected, [])
  })

  t.test('of two replicas one tells the app', async (t) => {
    const store = new MemoryStore()
    const { app, disconnected, install, webflow } = await startBench(t, { options: { store } })
    const { token } = await install()
    const replica = await createApp(t, { webflow, options: { store, onDisconnect (token, reason) { disconnected.push({ id: token.id, accessToken: token.accessToken, reason }) } } })
    webflow.uninstall()
    t.strictSame(await Promise.all([app, replica, app, replica].map(({ webflowOAuth }) => webflowOAuth.reportUnauthorized(token))), ['revoked', 'revoked', 'revoked', 'revoked'])
    t.equal(disconnected.length, 1)
  })

  t.test('what `onDisconnect` throws changes nothing', async (t) => {
    const { app, install, webflow } = await startBench(t, { options: { onDisconnect: async () => { throw new Error('mail server down') } } })
    const { token } = await install()
    webflow.uninstall()
    t.equal(await app.webflowOAuth.reportUnauthorized(token), 'revoked')
    t.equal(await app.webflowOAuth.getToken(token.id), null)
  })

  t.test('while the store is down it fails, and may be repeated', async (t) => {
    const store = watchStore(new MemoryStore())
    const { app, disconnected, install, webflow } = await startBench(t, { options: { store } })
    const { token } = await install()
    webflow.uninstall()
    store.down = true
    await t.rejects(app.webflowOAuth.reportUnauthorized(token), { code: outage })
    store.down = false
    t.equal(await app.webflowOAuth.reportUnauthorized(token), 'revoked')
    t.equal(disconnected.length, 1)
  })
})

t.test('revoking all', async (t) => {
  t.test('revokes and forgets every token that matches, and no other', async (t) => {
    const revoked: string[] = []
    const { app, found, install, webflow } = await startBench(t, { options: { onRevoke: (token, request) => { revoked.push(`${token.id} ${request}`) } } })
    const tokens = []
    for (let index = 0; index < 20; index++) tokens.push((await install()).token)
    webflow.signIn(charles)
    const { token: other } = await install()
    const result = await app.webflowOAuth.revokeAll({ userId: ids.ada })
    t.strictSame(result.map(({ id }) => id).sort(), tokens.map(({ id }) => id).sort())
    for (const { id, ...rest } of result) t.strictSame(rest, { revoked: true, upstream: 'revoked', error: null }, id)
    t.strictSame(revoked.sort(), tokens.map(({ id }) => `${id} null`).sort())
    t.strictSame(await found({ siteId: ids.engine }), [other.accessToken])
    t.equal(webflow.requests.revoke.length, 20)
    t.strictSame(await app.webflowOAuth.revokeAll({ userId: ids.ada }), [])
  })

  t.test('by site, workspace and authorization too', async (t) => {
    const { app, install } = await startBench(t)
    for (const pick of [{ siteIds: [ids.notes] }, { workspaceId: ids.park }] as const) {
      const { token } = await install(pick)
      const query = 'siteIds' in pick ? { siteId: ids.notes } : { workspaceId: ids.park }
      t.ok((await app.webflowOAuth.revokeAll(query)).some(({ id, revoked }) => id === token.id && revoked))
    }
    const { token } = await install()
    t.match(await app.webflowOAuth.revokeAll({ authorizationId: token.authorization?.id ?? '' }), [{ id: token.id, revoked: true }])
  })

  t.test('eight at a time', async (t) => {
    const server = await startCrowded(t, '{"did_revoke":true}')
    const store = new MemoryStore()
    const { install } = await startBench(t, { options: { store } })
    for (let index = 0; index < 30; index++) await install()
    const elsewhere = await createApp(t, { options: { store, endpoints: { revoke: server.url } } })
    t.equal((await elsewhere.webflowOAuth.revokeAll({ siteId: ids.engine })).filter(({ revoked }) => revoked).length, 30)
    t.equal(server.most(), 8)
  })

  t.test('keeps what Webflow could not be told, and finishes when it is called again', async (t) => {
    const { app, found, install, webflow } = await startBench(t, { options: { timeout: 500 } })
    for (let index = 0; index < 6; index++) await install()
    for (const fault of [{ status: 503 }, { reset: true }, { hang: true }]) webflow.fail('revoke', fault)
    const first = await app.webflowOAuth.revokeAll({ siteId: ids.engine })
    t.equal(first.length, 6)
    const failed = first.filter(({ revoked }) => !revoked)
    t.strictSame(failed.map(({ upstream }) => upstream), ['failed', 'failed', 'failed'])
    t.strictSame(failed.map(({ error }) => error instanceof WebflowOAuthError && error.code).sort(), [unavailable, unavailable, 'WEBFLOW_OAUTH_WEBFLOW_TIMEOUT'].sort())
    t.equal((await found({ siteId: ids.engine })).length, 3)
    t.strictSame((await app.webflowOAuth.revokeAll({ siteId: ids.engine })).map(({ upstream }) => upstream), ['revoked', 'revoked', 'revoked'])
    t.strictSame(await found({ siteId: ids.engine }), [])
  })

  t.test('forgets what Webflow no longer knows', async (t) => {
    const { app, install, webflow } = await startBench(t)
    await install()
    webflow.uninstall()
    t.match(await app.webflowOAuth.revokeAll({ siteId: ids.engine }), [{ revoked: true, upstream: 'already_revoked', error: null }])
  })

  t.test('several sessions with one token, and tokens that end each other, all go', async (t) => {
    for (const behavior of [{ repeatedAuthorization: 'same' }, { revocationEndsSiblings: true }] as const) {
      const { app, found, install } = await startBench(t, { behavior })
      const tokens = []
      for (let index = 0; index < 3; index++) tokens.push((await install()).token)
      const result = await app.webflowOAuth.revokeAll({ siteId: ids.engine })
      t.ok(result.every(({ revoked }) => revoked))
      t.equal(result.length, 3)
      t.strictSame(await found({ siteId: ids.engine }), [])
      for (const { id } of tokens) t.equal(await app.webflowOAuth.getToken(id), null)
    }
  })

  t.test('tells of the tokens of which nobody can say whether they match', async (t) => {
    const { app, install, webflow } = await startBench(t)
    webflow.fail('introspect', { status: 503 })
    const { token: untold } = await install()
    webflow.signIn(charles)
    const { token } = await install()
    webflow.fail('introspect', { status: 503 })
    const result = await app.webflowOAuth.revokeAll({ siteId: ids.engine })
    t.match(result, [{ id: token.id, revoked: true }, { id: untold.id, revoked: false, upstream: 'unknown', error: { code: unavailable } }])
    t.match(await app.webflowOAuth.revokeAll({ siteId: ids.engine }), [{ id: untold.id, revoked: true, upstream: 'revoked' }])
  })

  t.test('asks again about a token of which Webflow would not tell, and tells of it', async (t) => {
    const { app, install, webflow } = await startBench(t)
    webflow.fail('introspect', { status: 403, body: { code: 'forbidden' }, times: 3 })
    const { token } = await install()
    for (let call = 0; call < 2; call++) {
      t.match(await app.webflowOAuth.revokeAll({ siteId: ids.engine }), [{ id: token.id, revoked: false, upstream: 'unknown' }])
    }
    t.match(await app.webflowOAuth.revokeAll({ siteId: ids.engine }), [{ id: token.id, revoked: true }])
  })

  t.test('tells of a token of which Webflow has not named the user', async (t) => {
    const { app, install, webflow } = await startBench(t, { behavior: { introspectionListsUsers: false }, options: { scope: ['sites:read', 'authorized_user:read'] } })
    webflow.fail('authorizedBy', { status: 503, times: 4 })
    const { token } = await install()
    t.match(await app.webflowOAuth.revokeAll({ userId: ids.ada }), [{ id: token.id, revoked: false, upstream: 'unknown' }])
    for (let search = 0; search < 2; search++) await t.rejects(app.webflowOAuth.findTokens({ userId: ids.ada }), { code: unavailable })
    t.equal(webflow.requests.authorizedBy.length, 2, 'asked twice in a minute by nobody but `revokeAll`')
    t.equal((await app.webflowOAuth.findTokens({ siteId: ids.engine })).length, 1)
    for (let call = 0; call < 2; call++) await app.webflowOAuth.revokeAll({ siteId: ids.gardens })
    t.match(await app.webflowOAuth.revokeAll({ userId: ids.ada }), [{ id: token.id, revoked: true }])
  })

  t.test('a store that fails after Webflow agreed is told of, and the next call finishes', async (t) => {
    const inner = new MemoryStore()
    const store = methodsOf(inner)
    const { app, install } = await startBench(t, { options: { store } })
    const { token } = await install()
    store.delete = async () => { throw new Error('down') }
    t.match(await app.webflowOAuth.revokeAll({ siteId: ids.engine }), [{ id: token.id, revoked: false, upstream: 'failed', error: { code: outage } }])
    store.delete = inner.delete.bind(inner)
    t.match(await app.webflowOAuth.revokeAll({ siteId: ids.engine }), [{ id: token.id, revoked: true, upstream: 'already_revoked' }])
  })
})

t.test('revoking one token', async (t) => {
  t.test('ends every session that holds it', async (t) => {
    const revoked: string[] = []
    const { disconnected, install } = await startBench(t, { behavior: { repeatedAuthorization: 'same' }, options: { onRevoke: (token, request) => { revoked.push(`${token.id} ${request?.method}`) } } })
    const { browser: one, token: first } = await install()
    const { browser: two, token: second } = await install()
    t.strictSame((await one.request('/webflow/revoke', { method: 'POST' })).json(), { revoked: true, upstream: 'revoked' })
    for (const browser of [one, two]) t.equal((await browser.get('/guarded')).statusCode, 401)
    t.strictSame(revoked.sort(), [`${first.id} POST`, `${second.id} POST`].sort())
    t.strictSame(disconnected, [])
  })

  t.test('works for one of which Webflow has not told, and though a hook throws', async (t) => {
    const { app, install, webflow } = await startBench(t, { options: { onRevoke: () => { throw new Error('mail server down') } } })
    webflow.fail('introspect', { status: 503 })
    const { token } = await install()
    t.strictSame(await app.webflowOAuth.revoke(token), { revoked: true, upstream: 'revoked' })
    t.equal(await app.webflowOAuth.getToken(token.id), null)
  })

  t.test('reads none of the other tokens where Webflow is not asked what they open', async (t) => {
    const store = watchStore(new MemoryStore())
    const { app, install } = await startBench(t, { options: { store, introspect: false } })
    for (let index = 0; index < 5; index++) await install()
    const { token } = await install()
    Object.assign(store.calls, { get: 0, set: 0, delete: 0, find: 0 })
    t.strictSame(await app.webflowOAuth.revoke(token), { revoked: true, upstream: 'revoked' })
    t.strictSame(store.calls, { get: 2, set: 0, delete: 1, find: 0 })
  })

  t.test('works though the other sessions that hold it cannot be found, and the log tells', async (t) => {
    const inner = new MemoryStore()
    const lines: string[] = []
    const webflow = await startWebflow(t, { repeatedAuthorization: 'same' })
    const store: TokenStore = { ...methodsOf(inner), find: async () => await Promise.reject(new Error('down')) }
    const app = await createApp(t, { webflow, server: { logger: { level: 'warn', stream: { write: (line) => { lines.push(line) } } } }, options: { store } })
    const browser = new Browser(app)
    const { location } = await browser.navigate('/webflow/authorize')
    await browser.navigate(await webflow.approve(String(location)))
    t.strictSame((await browser.request('/webflow/revoke', { method: 'POST' })).json(), { revoked: true, upstream: 'revoked' })
    t.equal((await browser.get('/token')).json().connected, false)
    t.match(lines.join(''), 'could not be found; they end when they are used')
  })

  t.test('by force is like any other where Webflow agrees', async (t) => {
    const { app, install } = await startBench(t, { behavior: { repeatedAuthorization: 'same' } })
    const { token } = await install()
    const { browser } = await install()
    t.strictSame(await app.webflowOAuth.revoke(token, { force: true }), { revoked: true, upstream: 'revoked' })
    t.equal((await browser.get('/guarded')).statusCode, 401)
  })

  t.test('by force forgets none but its own session, for Webflow may still take the token', async (t) => {
    const { app, install, webflow } = await startBench(t, { behavior: { repeatedAuthorization: 'same' } })
    const { token } = await install()
    const { browser } = await install()
    webflow.fail('revoke', { status: 503 })
    t.match(await app.webflowOAuth.revoke(token, { force: true }), { upstream: 'failed' })
    t.equal((await browser.get('/guarded')).statusCode, 200)
  })
})

t.test('connecting again', async (t) => {
  for (const repeatedAuthorization of ['same', 'new', 'new-ends-old'] as const) {
    for (const authorizationOf of ['token', 'grant'] as const) {
      const behavior = { repeatedAuthorization, authorizationOf }
      const name = `${repeatedAuthorization}, an authorization for each ${authorizationOf}`

      t.test(`in the same browser leaves the newest token (${name})`, async (t) => {
        const bench = await startBench(t, { behavior })
        const { browser, token: old } = await bench.install()
        const { token } = await bench.install(undefined, { browser })
        t.equal(await bench.app.webflowOAuth.getToken(old.id), null)
        await assertOnlyTheLiving(t, bench, [token.accessToken])
        t.equal((await browser.get('/guarded')).statusCode, 200)
        t.strictSame(bench.disconnected, [], 'what the old session held was dropped, as ever')
      })

      t.test(`in another browser keeps what is alive and forgets what is not (${name})`, async (t) => {
        const bench = await startBench(t, { behavior })
        const { browser: one, token: old } = await bench.install()
        const { browser: two, token } = await bench.install()
        const oldLives = repeatedAuthorization !== 'new-ends-old'
        const living = oldLives && repeatedAuthorization === 'new' && authorizationOf === 'token' ? [token.accessToken, old.accessToken] : [token.accessToken]
        await assertOnlyTheLiving(t, bench, living)
        t.equal((await one.get('/guarded')).statusCode, oldLives ? 200 : 401)
        t.equal((await two.get('/guarded')).statusCode, 200)
        t.strictSame(bench.disconnected, oldLives ? [] : [{ id: old.id, accessToken: old.accessToken, reason: 'superseded' }])
      })

      t.test(`as the same user of the app leaves the newest token (${name})`, async (t) => {
        const bench = await startBench(t, { behavior, options: { identify } })
        const headers = { 'x-user': 'ada' }
        await bench.install(undefined, { headers })
        const { token, browser } = await bench.install(undefined, { headers })
        await assertOnlyTheLiving(t, bench, [token.accessToken])
        t.equal((await browser.get('/guarded', headers)).statusCode, 200)
      })
    }
  }

  async function assertOnlyTheLiving (t: Test, { app, found, webflow }: Bench, living: string[]): Promise<void> {
    for (const query of [{ siteId: ids.engine }, { userId: ids.ada }]) t.strictSame(await found(query), living)
    for (const token of await app.webflowOAuth.findTokens({ siteId: ids.engine })) {
      const { statusCode, body } = await request(`${webflow.url}/v2/sites`, { headers: { authorization: `Bearer ${token.accessToken}` } })
      await body.dump()
      t.equal(statusCode, 200)
    }
    t.equal(webflow.requests.revoke.length, 0)
  }

  t.test('a token that another connection has ended before it was stored goes as well', async (t) => {
    const gate: { open: () => void, held: boolean } = { open: () => {}, held: false }
    const opened = new Promise<void>((resolve) => { gate.open = resolve })
    const { app, connected, disconnected, found, webflow } = await startBench(t, {
      behavior: { repeatedAuthorization: 'new-ends-old' },
      options: {
        async beforeStore () {
          if (gate.held) return
          gate.held = true
          await opened
        }
      }
    })
    const begin = async () => {
      const browser = new Browser(app)
      return { browser, url: await webflow.approve(String((await browser.navigate('/webflow/authorize')).location)) }
    }
    const [slow, fast] = [await begin(), await begin()]
    const slowly = slow.browser.navigate(slow.url)
    t.ok(await eventually(() => gate.held))
    await fast.browser.navigate(fast.url)
    gate.open()
    t.equal((await slowly).statusCode, 303)
    t.strictSame(await found({ siteId: ids.engine }), [connected[0]?.accessToken])
    t.strictSame(disconnected.map(({ id, reason }) => [id, reason]), [[connected[1]?.id, 'superseded']])
    t.strictSame(await Promise.all([slow, fast].map(async ({ browser }) => (await browser.get('/guarded')).statusCode)), [401, 200])
  })

  t.test('a hook that takes all the time there is leaves the other tokens to the next search', async (t) => {
    const { disconnected, found, install } = await startBench(t, {
      behavior: { repeatedAuthorization: 'new-ends-old' },
      options: { timeout: 300, beforeStore: async () => { await new Promise((resolve) => { setTimeout(resolve, 310) }) } }
    })
    await install()
    const { token } = await install()
    t.strictSame(disconnected, [])
    t.strictSame(await found({ siteId: ids.engine }), [token.accessToken])
    t.equal(disconnected.length, 1)
  })

  t.test('asks about each of fifty other tokens, and of more about all only where one of the newest has ended', async (t) => {
    const { app, disconnected, install, webflow } = await startBench(t)
    const tokens: WebflowToken[] = []
    const installMany = async (count: number) => { for (let index = 0; index < count; index++) tokens.push((await install()).token) }
    await installMany(50)
    // The simulator remembers a thousand requests.
    const askedSince = (last: unknown) => webflow.requests.introspect.length - 1 - webflow.requests.introspect.findIndex((request) => request === last)
    let last = webflow.requests.introspect.at(-1)
    await installMany(1)
    t.equal(askedSince(last), 51)
    last = webflow.requests.introspect.at(-1)
    await installMany(4)
    t.equal(askedSince(last), 4 * 4)
    webflow.revokeToken(tokens[3]?.accessToken ?? '')
    await installMany(1)
    t.strictSame(disconnected, [], 'one that ended by itself is noticed when it is used')
    webflow.uninstall()
    last = webflow.requests.introspect.at(-1)
    await installMany(1)
    t.equal(askedSince(last), 1 + 56)
    t.strictSame(disconnected.map(({ id }) => id).sort(), tokens.slice(0, -1).map(({ id }) => id).sort())
    t.strictSame((await app.webflowOAuth.findTokens({ userId: ids.ada })).map(({ id }) => id), [tokens.at(-1)?.id])
  })

  t.test('of hundreds of tokens none that has ended stays, however many searches it takes', async (t) => {
    const store = new MemoryStore({ maxEntries: 1000 })
    const { found, install, webflow } = await startBench(t, { options: { store } })
    for (let index = 0; index < 250; index++) await install()
    webflow.uninstall()
    const { token } = await install()
    let left = await found({ siteId: ids.engine })
    for (let searches = 0; left.length > 1 && searches < 5; searches++) left = await found({ siteId: ids.engine })
    t.strictSame(left, [token.accessToken])
  })

  t.test('a token that could not be judged then is judged by the next search', async (t) => {
    const { disconnected, found, install, webflow } = await startBench(t, { behavior: { repeatedAuthorization: 'new-ends-old' } })
    const { token: old } = await install()
    const answer = { authorization: { id: 'e'.repeat(24), authorizedTo: { siteIds: [ids.engine], userIds: [ids.ada] } } }
    webflow.fail('introspect', { body: answer })
    webflow.fail('introspect', { status: 503 })
    const { token } = await install()
    t.strictSame(disconnected, [])
    t.strictSame(await found({ siteId: ids.engine }), [token.accessToken])
    t.strictSame(disconnected.map(({ id }) => id), [old.id])
    const asked = webflow.requests.introspect.length
    await found({ siteId: ids.engine })
    t.equal(webflow.requests.introspect.length, asked, 'and that is that')
  })

  t.test('a store that fails for a moment leaves the other tokens to the next search', async (t) => {
    const inner = new MemoryStore()
    let failures = 0
    const store: TokenStore = {
      ...methodsOf(inner),
      find: async (...args) => failures-- > 0 ? await Promise.reject(new Error('down')) : await inner.find(...args)
    }
    const { disconnected, found, install } = await startBench(t, { behavior: { repeatedAuthorization: 'new-ends-old' }, options: { store } })
    await install()
    failures = 2
    const { token } = await install()
    t.strictSame(disconnected, [])
    t.strictSame(await found({ siteId: ids.engine }), [token.accessToken])
    t.equal(disconnected.length, 1)
  })

  t.test('a check of a token judges the others too, where that is left to do', async (t) => {
    const { app, disconnected, install, webflow } = await startBench(t, { behavior: { repeatedAuthorization: 'new-ends-old' } })
    await install()
    webflow.fail('introspect', { status: 503 })
    const { token } = await install()
    t.strictSame(disconnected, [])
    t.equal(await app.webflowOAuth.checkToken(token.id), 'active')
    t.equal(disconnected.length, 1)
  })

  t.test('every session with the same token learns what was added', async (t) => {
    for (const behavior of [{ repeatedAuthorization: 'same' }, {}] as const) {
      const { app, install, webflow } = await startBench(t, { behavior })
      const { token: first } = await install({ siteIds: [ids.engine] })
      await install({ siteIds: [ids.notes] })
      t.strictSame((await app.webflowOAuth.getToken(first.id))?.authorization?.siteIds, [ids.engine, ids.notes])
      const asked = webflow.requests.introspect.length
      t.equal((await app.webflowOAuth.findTokens({ siteId: ids.notes }))[0]?.user, null)
      t.equal(webflow.requests.introspect.length, asked, 'nothing is left to ask')
    }
  })

  t.test('what is known of a token is kept where Webflow does not tell at its next connection', async (t) => {
    const { app, found, install, webflow } = await startBench(t, { behavior: { repeatedAuthorization: 'same' }, options: { identify } })
    const headers = { 'x-user': 'ada' }
    const { token } = await install({ siteIds: [ids.engine] }, { headers })
    webflow.fail('introspect', { status: 503 })
    await install({ siteIds: [ids.notes] }, { headers })
    t.match((await app.webflowOAuth.getToken({ user: 'ada' }))?.authorization, { id: token.authorization?.id, siteIds: [ids.engine] })
    t.ok(await eventually(async () => (await app.webflowOAuth.getToken({ user: 'ada' }))?.authorization?.siteIds.length === 2), 'and it is asked again')
    t.strictSame(await found({ siteId: ids.notes }), [token.accessToken])
  })

  t.test('tokens that cannot be read are judged once they can be', async (t) => {
    const store = new MemoryStore()
    const behavior = { repeatedAuthorization: 'new-ends-old' } as const
    const oldSecret = 'the secret before, of another deploy'
    const { app: before, webflow, install, connected } = await startBench(t, { behavior, options: { store, secret: oldSecret } })
    await install()
    const without = await createApp(t, { webflow, options: { store, onSuccess: (token) => { connected.push(token) } } })
    await install(undefined, { app: without })
    await before.close()
    const both = await createApp(t, { webflow, options: { store, secret: [secret, oldSecret] } })
    t.strictSame((await both.webflowOAuth.findTokens({ userId: ids.ada })).map(({ accessToken }) => accessToken), [connected.at(-1)?.accessToken])
  })

  t.test('an answer from before the user consented does not count, though it comes later', async (t) => {
    const { app, found, install, webflow } = await startBench(t, { behavior: { repeatedAuthorization: 'same' } })
    const { token } = await install({ siteIds: [ids.engine] })
    const introspection = { authorization: { id: token.authorization?.id, createdOn: token.authorization?.createdOn, authorizedTo: { siteIds: [ids.engine], userIds: [ids.ada] } } }
    webflow.fail('introspect', { delay: 300, body: introspection })
    const early = app.webflowOAuth.checkToken(token)
    t.ok(await eventually(() => webflow.requests.introspect.length === 2))
    await install({ siteIds: [ids.notes] })
    t.strictSame(await found({ siteId: ids.notes }), [token.accessToken])
    t.equal(await early, 'active')
    t.strictSame(await found({ siteId: ids.notes }), [token.accessToken])
  })

  t.test('nor does one about another token of the user', async (t) => {
    const { app, disconnected, install, webflow } = await startBench(t, { behavior: { repeatedAuthorization: 'new-ends-old' } })
    const { token: old } = await install()
    webflow.fail('introspect', { delay: 300, body: { authorization: { id: old.authorization?.id } } })
    const early = app.webflowOAuth.checkToken(old)
    t.ok(await eventually(() => webflow.requests.introspect.length === 2))
    await install()
    t.strictSame(disconnected.map(({ id }) => id), [old.id])
    t.equal(await early, 'active')
  })

  t.test('that a token was alive is not remembered once it was found to be superseded', async (t) => {
    const { app, install } = await startBench(t, { behavior: { repeatedAuthorization: 'new-ends-old' } })
    const { token: old } = await install()
    t.equal(await app.webflowOAuth.checkToken(old), 'active')
    await install()
    t.equal(await app.webflowOAuth.checkToken(old), 'revoked')
  })

  t.test('that the other tokens could not be checked keeps nobody from connecting, and the log tells', async (t) => {
    const inner = new MemoryStore()
    const lines: string[] = []
    const webflow = await startWebflow(t)
    const app = await createApp(t, {
      webflow,
      server: { logger: { level: 'warn', stream: { write: (line) => { lines.push(line) } } } },
      options: { store: { ...methodsOf(inner), find: async () => await Promise.reject(new Error('down')) } }
    })
    const browser = new Browser(app)
    const { location } = await browser.navigate('/webflow/authorize')
    t.equal((await browser.navigate(await webflow.approve(String(location)))).statusCode, 303)
    t.equal((await browser.get('/token')).json().connected, true)
    t.match(lines.join(''), 'the other tokens of the user could not be checked')
  })

  t.test('when Webflow names no users, an old token is noticed when it is used', async (t) => {
    const { app, disconnected, found, install } = await startBench(t, { behavior: { repeatedAuthorization: 'new-ends-old', introspectionListsUsers: false } })
    const { token: old } = await install()
    const { token } = await install()
    t.strictSame(await found({ siteId: ids.engine }), [token.accessToken, old.accessToken])
    t.equal(await app.webflowOAuth.reportUnauthorized(old), 'revoked')
    t.strictSame(await found({ siteId: ids.engine }), [token.accessToken])
    t.equal(disconnected.length, 1)
  })

  t.test('the user that `authorized_by` names will do', async (t) => {
    const { disconnected, install } = await startBench(t, { behavior: { repeatedAuthorization: 'new-ends-old', introspectionListsUsers: false }, options: { scope: ['sites:read', 'authorized_user:read'] } })
    const { token: old } = await install()
    await install()
    t.strictSame(disconnected.map(({ id }) => id), [old.id])
  })

  t.test('in two browsers at one moment leaves the one that Webflow left', async (t) => {
    const bench = await startBench(t, { behavior: { repeatedAuthorization: 'new-ends-old' } })
    const { app, webflow } = bench
    for (let round = 0; round < 5; round++) {
      const browsers = await Promise.all(Array.from({ length: 4 }, async () => {
        const browser = new Browser(app)
        const { location } = await browser.navigate('/webflow/authorize')
        return { browser, url: await webflow.approve(String(location)) }
      }))
      await Promise.all(browsers.map(({ browser, url }) => browser.navigate(url)))
      const [alive, ...more] = await app.webflowOAuth.findTokens({ userId: ids.ada })
      t.strictSame(more, [])
      t.equal(alive === undefined ? null : await app.webflowOAuth.reportUnauthorized(alive), 'active')
    }
  })

  for (const introspect of [true, false]) {
    t.test(`a slow callback does not overwrite the newer token of the user, with \`introspect: ${introspect}\``, async (t) => {
      const slowToken = 'the-slow-token-4d5e6f'
      rememberSecrets(slowToken)
      const gate: { open: () => void } = { open: () => {} }
      const opened = new Promise<void>((resolve) => { gate.open = resolve })
      const { app, connected, found, webflow } = await startBench(t, {
        options: { identify, introspect, beforeStore: async (token) => { if (token.accessToken === slowToken) await opened } }
      })
      const headers = { 'x-user': 'ada' }
      const begin = async () => {
        const browser = new Browser(app)
        const { location } = await browser.navigate('/webflow/authorize', headers)
        return { browser, url: await webflow.approve(String(location)) }
      }
      const [first, second] = [await begin(), await begin()]
      webflow.fail('token', { body: { access_token: slowToken, token_type: 'bearer' } })
      if (introspect) webflow.fail('introspect', { body: { authorization: { id: 'd'.repeat(24), createdOn: '2020-01-01T00:00:00.000Z' } } })
      const began = Date.now()
      const slowly = first.browser.navigate(first.url, headers)
      t.ok(await eventually(() => webflow.requests.token.length === 1 && Date.now() > began))
      await second.browser.navigate(second.url, headers)
      const newest = connected.at(-1)
      t.not(newest?.accessToken, slowToken)
      gate.open()
      t.equal((await slowly).statusCode, 303)
      t.equal((await app.webflowOAuth.getToken({ user: 'ada' }))?.accessToken, newest?.accessToken)
      t.strictSame(connected.map(({ accessToken }) => accessToken), [newest?.accessToken, newest?.accessToken], '`onSuccess` is told of the token that stands')
      if (introspect) t.strictSame(await found({ siteId: ids.engine }), [newest?.accessToken])
    })
  }

  t.test('a callback whose exchange was slow keeps the token that it got last', async (t) => {
    const { app, connected, webflow } = await startBench(t, { behavior: { repeatedAuthorization: 'new-ends-old' }, options: { identify, introspect: false } })
    const headers = { 'x-user': 'ada' }
    const begin = async () => {
      const browser = new Browser(app)
      return { browser, url: await webflow.approve(String((await browser.navigate('/webflow/authorize', headers)).location)) }
    }
    const [slow, fast] = [await begin(), await begin()]
    // Webflow handles it when the delay is over.
    webflow.fail('token', { delay: 200 })
    const slowly = slow.browser.navigate(slow.url, headers)
    t.ok(await eventually(() => webflow.requests.token.length === 1))
    await fast.browser.navigate(fast.url, headers)
    await slowly
    const kept = await app.webflowOAuth.getToken({ user: 'ada' })
    t.equal(kept?.accessToken, connected.at(-1)?.accessToken)
    t.equal(kept === null ? null : await app.webflowOAuth.checkToken(kept), 'active')
  })

  t.test('a slow callback that got the same token does not undo what a newer one learned', async (t) => {
    const gate: { open: () => void, held: boolean } = { open: () => {}, held: false }
    const opened = new Promise<void>((resolve) => { gate.open = resolve })
    const { app, found, install, webflow } = await startBench(t, {
      behavior: { repeatedAuthorization: 'same' },
      options: {
        identify,
        async beforeStore ({ authorization }) {
          if (gate.held || authorization?.siteIds.length !== 2) return
          gate.held = true
          await opened
        }
      }
    })
    const headers = { 'x-user': 'ada' }
    await install({ siteIds: [ids.engine] }, { headers })
    const browser = new Browser(app)
    const url = await webflow.approve(String((await browser.navigate('/webflow/authorize', headers)).location), { siteIds: [ids.notes] })
    const slowly = browser.navigate(url, headers)
    t.ok(await eventually(() => gate.held))
    await install({ workspaceId: ids.park }, { headers })
    t.equal((await found({ workspaceId: ids.park })).length, 1)
    gate.open()
    t.equal((await slowly).statusCode, 303)
    t.equal((await found({ workspaceId: ids.park })).length, 1)
  })

  t.test('a record that could not be read before is written over', async (t) => {
    const inner = new MemoryStore()
    const store = methodsOf(inner)
    const { app, install, webflow } = await startBench(t, { options: { identify, store } })
    const headers = { 'x-user': 'ada' }
    await install(undefined, { headers })
    webflow.signIn(charles)
    webflow.fail('introspect', { body: { authorization: { id: 'a'.repeat(24), createdOn: '2020-01-01T00:00:00.000Z', authorizedTo: { userIds: [charles.id] } } } })
    const browser = new Browser(app)
    const url = await webflow.approve(String((await browser.navigate('/webflow/authorize')).location))
    // The first read is of the caller, the second of what is to be replaced.
    let reads = 0
    store.get = async (key) => key.startsWith('token:') && ++reads === 2 ? await Promise.reject(new Error('down')) : await inner.get(key)
    await browser.navigate(url, headers)
    t.strictSame((await app.webflowOAuth.getToken({ user: 'ada' }))?.authorization?.userIds, [charles.id])
  })

  t.test('a user whose token a replica with a fast clock has stored can connect again', async (t) => {
    const { app, install, webflow } = await startBench(t, { options: { identify, introspect: false } })
    const headers = { 'x-user': 'ada' }
    mock.timers.enable({ apis: ['Date'], now: Date.now() + 600_000 })
    t.teardown(() => mock.timers.reset())
    const { token: old } = await install(undefined, { headers })
    mock.timers.reset()
    const { token } = await install(undefined, { headers })
    t.not(token.accessToken, old.accessToken)
    t.equal((await app.webflowOAuth.getToken({ user: 'ada' }))?.accessToken, token.accessToken)
    t.equal(webflow.requests.token.length, 2)
  })
})

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

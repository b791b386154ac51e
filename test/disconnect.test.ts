import { Readable } from 'node:stream'
import { mock } from 'node:test'
import t, { type Test } from 'tap'
import { Redis } from 'ioredis'
import { Agent, request } from 'undici'
import { WebflowClient } from 'webflow-api'
import { MemoryStore, WebflowOAuthError, type Authorization, type TokenStore, type WebflowOAuthOptions, type WebflowToken } from '../lib/index.ts'
import type { Fault, Simulator } from '../lib/simulator/index.ts'
import { storeId } from '../lib/storage/keyring.ts'
import { checkEarlierTokens } from '../lib/tokens/earlier.ts'
import { withDeadline } from '../lib/collections/deadline.ts'
import { TokenChecks, type AskOptions } from '../lib/webflow/token-checks.ts'
import { WebflowClient as OwnClient } from '../lib/webflow/client.ts'
import { RedisStore } from '../stores/redis.ts'
import { assertNothingLeaked, clientId, clientSecret, createApp, redirectUri, startWebflow } from './support/app.ts'
import { Browser } from './support/browser.ts'
import { FaultyStore } from './support/faulty-store.ts'
import { charles, eventually, idOf, identify, ids, methodsOf, nothing, opens, outage, startBench, startCrowded, startParts, stopClock, unavailable, watchStore, type Bench } from './support/installation.ts'
import { rememberSecrets } from './support/logs.ts'
import { startOtherThread } from './support/other-thread.ts'
import { findRedis, startRedis } from './support/redis-server.ts'
import { turn } from './support/turns.ts'

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

/** What is told of a token that opens a site. */
const told: { complete: true, authorization: Authorization } = { complete: true, authorization: { id: null, siteIds: [ids.engine], workspaceIds: [], userIds: [ids.ada], scope: [], createdOn: null } }

/** Takes the clock and the timers into the test's hands. */
function stopTime (t: Test): void {
  mock.timers.enable({ apis: ['Date', 'setTimeout'], now: Date.now() })
  t.teardown(() => { mock.timers.reset() })
}

/** Lets the stopped time go on until a promise has settled. */
async function pass<T> (promise: Promise<T>): Promise<T> {
  const state = { isSettled: false }
  const settle = () => { state.isSettled = true }
  promise.then(settle, settle)
  while (!state.isSettled) {
    await turn()
    mock.timers.tick(1)
  }
  return await promise
}

/** Questions about tokens to a Webflow that hangs, fails or answers, for each token in turn, while the time is stopped. */
function startChecks (t: Test, answers: Record<string, ReadonlyArray<'hangs' | 'fails' | 'tells' | number>>) {
  stopTime(t)
  const asked: string[] = []
  const dispatcher: NonNullable<WebflowOAuthOptions['dispatcher']> = {
    async request ({ headers }) {
      const token = String(headers.authorization).replace('Bearer ', '')
      const nth = asked.filter((name) => name === token).length
      asked.push(token)
      const answer = answers[token]?.[nth] ?? 'hangs'
      if (answer === 'hangs') await new Promise(() => {})
      if (typeof answer === 'number') await new Promise((resolve) => { setTimeout(resolve, answer) })
      return { statusCode: answer === 'fails' ? 503 : 200, body: Readable.from([Buffer.from('{"authorization":{}}')]) }
    }
  }
  const timeout = 1000
  const url = 'https://webflow.example/'
  const client = new OwnClient({ clientId, clientSecret, redirectUri, endpoints: { authorize: url, token: url, revoke: url, introspect: url, authorizedBy: url, resolve: url }, timeout, dispatcher })
  const checks = new TokenChecks(client)
  return {
    asked,
    /** Asks with so many milliseconds; resolves with what was told and how long it took. */
    async ask (token: string, milliseconds: number, options: Omit<AskOptions, 'deadline'> = {}) {
      const begun = Date.now()
      const { kind } = await withDeadline(milliseconds, (deadline) => checks.ask(token, [], { deadline, ...options }))
      return { kind, took: Date.now() - begun }
    }
  }
}

t.test('the time limit of a question to Webflow', async (t) => {
  t.test('is each caller\'s own: a caller with less time gives up alone', async (t) => {
    const { ask, asked } = startChecks(t, { x: [600], y: ['fails', 'tells'] })
    const ended: string[] = []
    const note = async (name: string, answer: ReturnType<typeof ask>) => { ended.push(`${name} ${(await answer).kind}`) }
    await pass(Promise.all([note('first', ask('x', 50)), note('second', ask('x', 5000, { queue: 'none' })), note('third', ask('x', 5000))]))
    t.strictSame(ended, ['first unknown', 'second active', 'third active'])
    t.strictSame(asked, ['x'], 'all share one question')
    t.strictSame((await pass(Promise.all(Array.from({ length: 10 }, () => ask('y', 300))))).map(({ kind }) => kind), Array(10).fill('unknown'))
    t.strictSame(asked, ['x', 'y'], 'and one failure that was told')
  })

  t.test('is not shortened by an older question that ends in a timeout: Webflow is asked again', async (t) => {
    const { ask, asked } = startChecks(t, { x: ['hangs', 'tells'] })
    const older = ask('x', 900)
    await pass(new Promise((resolve) => { setTimeout(resolve, 300) }))
    t.equal((await pass(ask('x', 900, { queue: 'none' }))).kind, 'active')
    t.equal((await pass(older)).kind, 'unknown')
    t.strictSame(asked, ['x', 'x'])
  })

  t.test('lets a waiting question begin at once for a caller that may not wait, with the longer of both limits', async (t) => {
    const { ask, asked } = startChecks(t, { late: [400] })
    const background = Array.from({ length: 8 }, (_, index) => ask(`background ${index}`, 900))
    const [waiting, urgent] = await pass(Promise.all([ask('late', 50), ask('late', 5000, { queue: 'none' })]))
    t.equal(waiting.kind, 'unknown')
    t.equal(urgent.kind, 'active')
    await pass(Promise.all(background))
    t.equal(asked.filter((token) => token === 'late').length, 1)
  })

  t.test('is enough for a check by the app while a search is waiting', async (t) => {
    const { ask } = startChecks(t, { mine: ['tells'] })
    const background = Array.from({ length: 30 }, (_, index) => ask(`background ${index}`, 600))
    const { kind, took } = await pass(ask('mine', 900, { queue: 'checks' }))
    t.equal(kind, 'active')
    t.ok(took < 500)
    await pass(Promise.all(background))
  })

  for (const [name, expected] of [['checkToken', 'unknown'], ['reportUnauthorized', 'active']] as const) {
    t.test(`is \`timeout\` for \`${name}\`, counted from the call, even behind a job whose tokens hang`, async (t) => {
      stopTime(t)
      const timeout = 400
      const { api, write } = await startParts(t, async (accessToken) => accessToken === 'mine' ? nothing : await new Promise(() => {}), { timeout })
      for (let index = 0; index < 24; index++) await write(`token ${index}`, told)
      const mine = await write('mine', told)
      const job = Array.from({ length: 24 }, (_, index) => api.checkToken(idOf(`token ${index}`)))
      const begun = Date.now()
      t.equal(await pass(api[name](mine)), expected)
      t.ok(Date.now() - begun < 2.5 * timeout, 'three turns of eight hanging calls would take three times as long')
      t.strictSame([...new Set(await pass(Promise.all(job)))], ['unknown'])
      t.ok(Date.now() - begun < 2.5 * timeout, 'nor does the job wait longer')
    })
  }

  t.test('is not spent on waiting for other callers that ask about one token: together they take one place in the queue', async (t) => {
    const { ask, asked } = startChecks(t, { mine: ['tells'] })
    const others = Array.from({ length: 20 }, () => ask('hangs', 400, { queue: 'checks' }))
    t.equal((await pass(ask('mine', 300, { queue: 'checks' }))).kind, 'active')
    await pass(Promise.all(others))
    t.strictSame(asked, ['hangs', 'mine'])
  })

  t.test('does not run out while the process is blocked and Webflow answers', async (t) => {
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
  t.test('says whether the token is alive, and keeps the token', async (t) => {
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

  t.test('returns null if the token does not exist, and refuses a value that cannot name a token', async (t) => {
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
    t.test(`${name} never counts as a revocation, and is not remembered`, async (t) => {
      const { app, disconnected, install, webflow } = await startBench(t, { options: { timeout: 'hang' in fault ? 200 : 500 } })
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

  t.test('forgets that a token was alive once the app has revoked it', async (t) => {
    const { app, install } = await startBench(t)
    const { token } = await install()
    t.equal(await app.webflowOAuth.checkToken(token), 'active')
    await app.webflowOAuth.revoke(token)
    t.equal(await app.webflowOAuth.checkToken(token), 'revoked')
    t.equal(await app.webflowOAuth.checkToken(token.id), null)
  })

  t.test('makes one call for any number of checks at the same moment', async (t) => {
    const { app, install, webflow } = await startBench(t)
    const { token } = await install()
    webflow.fail('introspect', { delay: 50 })
    const answers = await Promise.all(Array.from({ length: 30 }, () => app.webflowOAuth.checkToken(token)))
    t.strictSame([...new Set(answers)], ['active'])
    t.equal(webflow.requests.introspect.length, 2)
  })

  t.test('asks about at most eight tokens at a time', async (t) => {
    const server = await startCrowded(t, '{"authorization":{}}')
    const store = new MemoryStore()
    const { write } = await startParts(t, () => nothing, { store })
    const written = await Promise.all(Array.from({ length: 30 }, (_, index) => write(`token ${index}`, told)))
    const app = await createApp(t, { options: { store, endpoints: { introspect: server.url } } })
    const answers = await Promise.all(written.map((id) => app.webflowOAuth.checkToken(id)))
    t.strictSame([...new Set(answers)], ['active'])
    t.equal(server.most(), 8)
  })

  t.test('records what the token opens by now', async (t) => {
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

  t.test('does not let an older answer overwrite a newer one', async (t) => {
    const { app, found, install } = await startBench(t, { behavior: { repeatedAuthorization: 'same' } })
    const { token } = await install({ siteIds: [ids.engine] })
    await app.webflowOAuth.checkToken(token.id)
    const { token: again } = await install({ siteIds: [ids.notes] })
    t.equal(again.accessToken, token.accessToken)
    t.equal(await app.webflowOAuth.checkToken(token.id), 'active', 'remembered from before')
    t.strictSame(await found({ siteId: ids.notes }), [token.accessToken])
    t.match((await app.webflowOAuth.getToken(token.id))?.authorization, { siteIds: [ids.engine, ids.notes] })
  })

  t.test('returns Webflow\'s answer even if the store cannot record it', async (t) => {
    const store = watchStore(new MemoryStore())
    const { app, install } = await startBench(t, { options: { store } })
    const { token } = await install()
    store.down = true
    t.equal(await app.webflowOAuth.checkToken(token), 'active')
    await t.rejects(app.webflowOAuth.checkToken(token.id), { code: outage }, 'whether there is such a token is not known')
  })
})

t.test('reporting a token that Webflow refused', async (t) => {
  t.test('deletes the token once Webflow has confirmed it, runs `onDisconnect` once, and asks the user to connect again', async (t) => {
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

  t.test('keeps a token that Webflow accepts', async (t) => {
    const { app, disconnected, install } = await startBench(t)
    const { browser, token } = await install()
    t.equal(await app.webflowOAuth.reportUnauthorized(token), 'active')
    t.equal((await browser.get('/guarded')).statusCode, 200)
    t.strictSame(disconnected, [])
  })

  t.test('accepts the errors and responses of HTTP clients as they are', async (t) => {
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

  t.test('treats no other error as a refusal', async (t) => {
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

  t.test('after a 403 the user consents again, and the token with more scopes replaces the other', async (t) => {
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

  t.test('a 403 does not count as a disconnect, even if the token has ended', async (t) => {
    const { app, disconnected, install, webflow } = await startBench(t)
    const { token } = await install()
    webflow.uninstall()
    t.equal(await app.webflowOAuth.reportUnauthorized(token, { status: 403 }), 'revoked')
    t.equal((await app.webflowOAuth.getToken(token.id))?.id, token.id)
    t.strictSame(disconnected, [])
  })

  t.test('forgets every session that holds the token, but no newer token', async (t) => {
    const { app, disconnected, install, webflow } = await startBench(t, { behavior: { repeatedAuthorization: 'same' } })
    const { browser: one, token: first } = await install()
    const { browser: two, token: second } = await install()
    t.equal(first.accessToken, second.accessToken)
    webflow.uninstall()
    const { browser: three, token: newer } = await install()
    t.not(newer.accessToken, first.accessToken)
    t.ok(await eventually(() => disconnected.length === 2), 'the new connection notices')
    t.strictSame(disconnected.map(({ id, reason }) => [id, reason]).sort(), [[first.id, 'superseded'], [second.id, 'superseded']].sort())
    t.equal(await app.webflowOAuth.reportUnauthorized(first), 'revoked')
    t.equal(disconnected.length, 2)
    for (const [browser, status] of [[one, 401], [two, 401], [three, 200]] as const) t.equal((await browser.get('/guarded')).statusCode, status)

    webflow.uninstall()
    t.equal(await app.webflowOAuth.reportUnauthorized(newer.id), 'revoked')
    t.strictSame(disconnected.slice(2), [{ id: newer.id, accessToken: newer.accessToken, reason: 'revoked' }])
  })

  t.test('finds another session with the same token even if Webflow has not said what that one opens', async (t) => {
    const { app, disconnected, install, webflow } = await startBench(t, { behavior: { repeatedAuthorization: 'same' } })
    const { token } = await install()
    webflow.fail('introspect', { status: 503 })
    const { browser } = await install()
    webflow.uninstall()
    t.equal(await app.webflowOAuth.reportUnauthorized(token), 'revoked')
    t.equal(disconnected.length, 2)
    t.equal((await browser.get('/guarded')).statusCode, 401)
  })

  t.test('finds every session even if the app read the token before Webflow said what it opens', async (t) => {
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

  t.test('runs `onDisconnect` on one of two replicas', async (t) => {
    const store = new MemoryStore()
    const { app, disconnected, install, webflow } = await startBench(t, { options: { store } })
    const { token } = await install()
    const replica = await createApp(t, { webflow, options: { store, onDisconnect (token, reason) { disconnected.push({ id: token.id, accessToken: token.accessToken, reason }) } } })
    webflow.uninstall()
    t.strictSame(await Promise.all([app, replica, app, replica].map(({ webflowOAuth }) => webflowOAuth.reportUnauthorized(token))), ['revoked', 'revoked', 'revoked', 'revoked'])
    t.equal(disconnected.length, 1)
  })

  t.test('an error of `onDisconnect` changes nothing', async (t) => {
    const { app, install, webflow } = await startBench(t, { options: { onDisconnect: async () => { throw new Error('mail server down') } } })
    const { token } = await install()
    webflow.uninstall()
    t.equal(await app.webflowOAuth.reportUnauthorized(token), 'revoked')
    t.equal(await app.webflowOAuth.getToken(token.id), null)
  })

  t.test('fails while the store is down, and can be repeated', async (t) => {
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
  t.test('revokes and forgets every token that matches, and no other token', async (t) => {
    const revoked: string[] = []
    const { app, found, install, webflow } = await startBench(t, { options: { onRevoke: (token, request) => { revoked.push(`${token.id} ${request}`) } } })
    const tokens = []
    for (let index = 0; index < 5; index++) tokens.push((await install()).token)
    webflow.signIn(charles)
    const { token: other } = await install()
    const result = await app.webflowOAuth.revokeAll({ userId: ids.ada })
    t.strictSame(result.map(({ id }) => id).sort(), tokens.map(({ id }) => id).sort())
    for (const { id, ...rest } of result) t.strictSame(rest, { revoked: true, upstream: 'revoked', error: null }, id)
    t.strictSame(revoked.sort(), tokens.map(({ id }) => `${id} null`).sort())
    t.strictSame(await found({ siteId: ids.engine }), [other.accessToken])
    t.equal(webflow.requests.revoke.length, 5)
    t.strictSame(await app.webflowOAuth.revokeAll({ userId: ids.ada }), [])
  })

  t.test('revokes by site, workspace and authorization too', async (t) => {
    const { app, install } = await startBench(t)
    for (const pick of [{ siteIds: [ids.notes] }, { workspaceId: ids.park }] as const) {
      const { token } = await install(pick)
      const query = 'siteIds' in pick ? { siteId: ids.notes } : { workspaceId: ids.park }
      t.ok((await app.webflowOAuth.revokeAll(query)).some(({ id, revoked }) => id === token.id && revoked))
    }
    const { token } = await install()
    t.match(await app.webflowOAuth.revokeAll({ authorizationId: token.authorization?.id ?? '' }), [{ id: token.id, revoked: true }])
  })

  t.test('revokes eight tokens at a time', async (t) => {
    const server = await startCrowded(t, '{"did_revoke":true}')
    const store = new MemoryStore()
    const { write } = await startParts(t, () => nothing, { store })
    for (let index = 0; index < 30; index++) await write(`token ${index}`, told)
    const elsewhere = await createApp(t, { options: { store, endpoints: { revoke: server.url } } })
    t.equal((await elsewhere.webflowOAuth.revokeAll({ siteId: ids.engine })).filter(({ revoked }) => revoked).length, 30)
    t.equal(server.most(), 8)
  })

  t.test('keeps the tokens that Webflow could not be asked to revoke, and revokes them when it is called again', async (t) => {
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

  t.test('forgets tokens that Webflow no longer knows', async (t) => {
    const { app, install, webflow } = await startBench(t)
    await install()
    webflow.uninstall()
    t.match(await app.webflowOAuth.revokeAll({ siteId: ids.engine }), [{ revoked: true, upstream: 'already_revoked', error: null }])
  })

  t.test('deletes several sessions with one token, and tokens whose revocation ends each other', async (t) => {
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

  t.test('asks about every incomplete token, a page at a time and eight at once, and reports those about which Webflow could not be asked', async (t) => {
    stopClock(t)
    const { api, asked, most, write } = await startParts(t, (accessToken, path) => {
      if (path.includes('revoke')) return { body: { did_revoke: true } }
      return isDown && accessToken.endsWith('7') ? { statusCode: 503, body: {} } : opens(accessToken.endsWith('9') ? ids.gardens : ids.engine)
    })
    let isDown = true
    for (let index = 0; index < 250; index++) await write(`token ${index}`)
    const first = await api.revokeAll({ siteId: ids.engine })
    t.strictSame(asked.slice(0, 250).sort(), Array.from({ length: 250 }, (_, index) => `token ${index}`).sort())
    t.equal(most(), 8)
    t.equal(first.filter(({ revoked }) => revoked).length, 200)
    t.match(first.filter(({ revoked }) => !revoked), Array(25).fill({ revoked: false, upstream: 'unknown', error: { code: unavailable } }))
    t.equal(new Set(first.map(({ id }) => id)).size, 225)
    isDown = false
    const second = await api.revokeAll({ siteId: ids.engine })
    t.strictSame(second.map(({ revoked, upstream }) => `${revoked} ${upstream}`), Array(25).fill('true revoked'), 'calling again finishes the work, pauses or not')
    t.strictSame(await api.revokeAll({ siteId: ids.engine }), [])
  })

  t.test('gives each question the whole `timeout`, no matter how many wait', async (t) => {
    const { api, write } = await startParts(t, async (_accessToken, path) => {
      if (path.includes('revoke')) return { body: { did_revoke: true } }
      await new Promise((resolve) => { setTimeout(resolve, 60) })
      return opens(ids.engine)
    }, { timeout: 200 })
    for (let index = 0; index < 48; index++) await write(`token ${index}`)
    t.ok((await api.revokeAll({ siteId: ids.engine })).every(({ revoked }) => revoked), 'six turns of eight')
  })

  t.test('reports each record once, even an incomplete one that holds a revoked token', async (t) => {
    const { api, write } = await startParts(t, (_accessToken, path) => path.includes('revoke') ? { body: { did_revoke: true } } : { statusCode: 503, body: {} })
    await write('same', told, idOf('one'))
    await write('same', {}, idOf('two'))
    await write('untold')
    const results = await api.revokeAll({ siteId: ids.engine })
    t.strictSame(results.map(({ id, upstream }) => [id, upstream]).sort(), [[idOf('one'), 'revoked'], [idOf('two'), 'revoked'], [idOf('untold'), 'unknown']].sort())
  })

  t.test('finds matching records that lack the tag of their access token, like those of version 0.1', async (t) => {
    const inner = new MemoryStore()
    const store = methodsOf(inner)
    store.set = (key, value, options) => inner.set(key, value, { ...options, tags: options.tags?.filter((tag) => tag !== storeId(clientId, 'accessToken', 'same')) ?? [] })
    const { api, asked, write } = await startParts(t, () => ({ body: { did_revoke: true } }), { store })
    for (const name of ['one', 'two', 'three']) await write('same', told, idOf(name))
    t.strictSame((await api.revokeAll({ siteId: ids.engine })).map(({ id, revoked }) => [id, revoked]).sort(), ['one', 'two', 'three'].map((name) => [idOf(name), true]).sort())
    t.strictSame(asked, ['same'])
  })

  t.test('ignores a record of another access token that the store returns by mistake', async (t) => {
    const inner = new MemoryStore()
    const store = methodsOf(inner)
    store.set = (key, value, options) => inner.set(key, value, { ...options, tags: [...options.tags ?? [], storeId(clientId, 'accessToken', 'mine')] })
    const { api, write } = await startParts(t, () => ({ body: { did_revoke: true } }), { store })
    const mine = await write('mine', told)
    const other = await write('other', { complete: true })
    t.strictSame((await api.revokeAll({ siteId: ids.engine })).map(({ id }) => id), [mine])
    t.equal((await api.getToken(other))?.accessToken, 'other')
  })

  t.test('finds a record that an earlier call could not delete, even if the record itself does not match', async (t) => {
    const inner = new MemoryStore()
    const store = methodsOf(inner)
    const revoked: string[] = []
    const { api, write } = await startParts(t, (_accessToken, path) => path.includes('revoke') ? answers.shift() ?? nothing : nothing, { store, onRevoke: ({ id }) => { revoked.push(id) } })
    const answers = [{ body: { did_revoke: true } }, { statusCode: 400, body: { error: 'invalid_token' } }, { statusCode: 400, body: { error: 'invalid_token' } }]
    const matching = await write('same', told, idOf('matching'))
    const another = await write('same', { complete: true }, idOf('another'))
    store.delete = async (key, options) => key.endsWith(another) ? await Promise.reject(new Error('down')) : await inner.delete(key, options)
    t.match(await api.revokeAll({ siteId: ids.engine }), [another, matching].map((id) => ({ id, revoked: false, upstream: 'failed', error: { code: outage } })))
    store.delete = inner.delete.bind(inner)
    store.find = async (tag, options) => tag === storeId(clientId, 'accessToken', 'same') ? await Promise.reject(new Error('down')) : await inner.find(tag, options)
    t.match(await api.revokeAll({ siteId: ids.engine }), [{ id: matching, revoked: false, upstream: 'failed', error: { code: outage } }])
    store.find = inner.find.bind(inner)
    t.match(await api.revokeAll({ siteId: ids.engine }), [another, matching].map((id) => ({ id, revoked: true, upstream: 'already_revoked' })))
    t.strictSame(revoked, [another, matching])
  })

  t.test('reports a token whose user Webflow has not named, but only when it searches by user', async (t) => {
    stopClock(t)
    const { app, install, webflow } = await startBench(t, { behavior: { introspectionListsUsers: false }, options: { scope: ['sites:read', 'authorized_user:read'] } })
    webflow.fail('authorizedBy', { status: 503, times: 3 })
    const { token } = await install()
    t.match(await app.webflowOAuth.revokeAll({ userId: ids.ada }), [{ id: token.id, revoked: false, upstream: 'unknown' }])
    t.strictSame(await app.webflowOAuth.revokeAll({ siteId: ids.gardens }), [])
    t.match(await app.webflowOAuth.revokeAll({ userId: ids.ada }), [{ id: token.id, revoked: true }])
  })

  t.test('revokes a thousand sessions in seconds, with one call to Webflow for each access token', { skip: findRedis() === null && 'no redis-server on PATH' }, async (t) => {
    const redis = await startRedis()
    t.teardown(() => redis.stop())
    const client = new Redis(redis.port, '127.0.0.1')
    t.teardown(() => { client.disconnect() })
    const agent = new Agent()
    t.teardown(() => agent.close())
    const webflow = await startWebflow(t, { authorizationOf: 'grant' })
    const redisStore = new RedisStore({ client })
    const store = { ...watchStore(redisStore), keysRead: 0 }
    const getMany = async (keys: readonly string[]) => {
      store.keysRead += keys.length
      return await redisStore.getMany(keys)
    }
    const revoked = new Map<string, number>()
    const onRevoke = ({ id }: WebflowToken) => { revoked.set(id, (revoked.get(id) ?? 0) + 1) }
    const { api, write } = await startParts(t, () => nothing, { store: Object.assign(store, { getMany }), endpoints: webflow.endpoints, dispatcher: agent, onRevoke })
    const authorization = { ...told.authorization, id: 'a'.repeat(24) }
    const written: string[] = []
    for (let index = 0; index < 100; index++) {
      const accessToken = await issueToken(webflow)
      // Of eleven sessions of each token one has not learned what the others know.
      written.push(...await Promise.all(Array.from({ length: 11 }, (_, session) => write(accessToken, { complete: true, authorization: session === 0 ? { ...authorization, id: null } : authorization }, idOf(`${accessToken} ${session}`)))))
    }
    Object.assign(store.calls, { get: 0, set: 0, delete: 0, find: 0 })
    const results = await api.revokeAll({ authorizationId: 'a'.repeat(24) })
    t.strictSame(results.map(({ id }) => id).sort(), written.sort())
    t.ok(results.every(({ revoked, upstream }) => revoked && upstream === 'revoked'))
    t.ok([...revoked.values()].every((times) => times === 1) && revoked.size === 1100)
    t.equal(webflow.requests.revoke.length, 100)
    t.ok(store.keysRead === 1000 + 1100 && store.calls.get === 1100 && store.calls.delete === 1100 && store.calls.find < 110, JSON.stringify([store.keysRead, store.calls]))
  })

  t.test('reports a store that fails after Webflow has revoked, and the next call deletes the record', async (t) => {
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
  t.test('ends every session that holds the token', async (t) => {
    const revoked: string[] = []
    const { disconnected, install } = await startBench(t, { behavior: { repeatedAuthorization: 'same' }, options: { onRevoke: (token, request) => { revoked.push(`${token.id} ${request?.method}`) } } })
    const { browser: one, token: first } = await install()
    const { browser: two, token: second } = await install()
    t.strictSame((await one.request('/webflow/revoke', { method: 'POST' })).json(), { revoked: true, upstream: 'revoked' })
    for (const browser of [one, two]) t.equal((await browser.get('/guarded')).statusCode, 401)
    t.strictSame(revoked.sort(), [`${first.id} POST`, `${second.id} POST`].sort())
    t.strictSame(disconnected, [])
  })

  t.test('works if Webflow has not said what the token opens, and if a hook throws', async (t) => {
    const { app, install, webflow } = await startBench(t, { options: { onRevoke: () => { throw new Error('mail server down') } } })
    webflow.fail('introspect', { status: 503 })
    const { token } = await install()
    t.strictSame(await app.webflowOAuth.revoke(token), { revoked: true, upstream: 'revoked' })
    t.equal(await app.webflowOAuth.getToken(token.id), null)
  })

  t.test('reads no other token', async (t) => {
    const store = watchStore(new MemoryStore())
    const { app, install } = await startBench(t, { options: { store, introspect: false } })
    for (let index = 0; index < 5; index++) await install()
    const { token } = await install()
    Object.assign(store.calls, { get: 0, set: 0, delete: 0, find: 0 })
    t.strictSame(await app.webflowOAuth.revoke(token), { revoked: true, upstream: 'revoked' })
    t.strictSame(store.calls, { get: 2, set: 0, delete: 1, find: 1 })
  })

  t.test('works if the other sessions with the token cannot be found, and logs it', async (t) => {
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
    t.match(lines.join(''), 'could not find the other sessions with the same token. They stay until the app reports their tokens')
  })

  t.test('runs no hook for a late deletion that finds nothing left to delete', async (t) => {
    const store = new FaultyStore()
    const revoked: string[] = []
    const { api, parts, write } = await startParts(t, () => ({ body: { did_revoke: true } }), { store, storeTimeout: 50, onRevoke: ({ id }) => { revoked.push(id) } })
    const id = await write('mine', told)
    const deletion = store.hold('delete', 'token:')
    await t.rejects(api.revoke(id), { code: outage })
    await store.memory.delete(`token:${id}`)
    await deletion.carryOut()
    await parts.background.settled()
    t.strictSame(revoked, [])
  })

  t.test('with `force` is like any other revocation if Webflow revokes the token', async (t) => {
    const { app, install } = await startBench(t, { behavior: { repeatedAuthorization: 'same' } })
    const { token } = await install()
    const { browser } = await install()
    t.strictSame(await app.webflowOAuth.revoke(token, { force: true }), { revoked: true, upstream: 'revoked' })
    t.equal((await browser.get('/guarded')).statusCode, 401)
  })

  t.test('with `force` deletes only its own session if Webflow fails, because the token may still be valid', async (t) => {
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

      t.test(`in the same browser keeps only the newest token (${name})`, async (t) => {
        const bench = await startBench(t, { behavior })
        const { browser, token: old } = await bench.install()
        const { token } = await bench.install(undefined, { browser })
        t.equal(await bench.app.webflowOAuth.getToken(old.id), null)
        await assertOnlyTheLiving(t, bench, [token.accessToken])
        t.equal((await browser.get('/guarded')).statusCode, 200)
        t.strictSame(bench.disconnected, [], 'what the old session held was dropped, as ever')
      })

      t.test(`in another browser keeps the living tokens and forgets those that have ended (${name})`, async (t) => {
        const bench = await startBench(t, { behavior })
        const { browser: one, token: old } = await bench.install()
        const { browser: two, token } = await bench.install()
        const oldLives = repeatedAuthorization !== 'new-ends-old'
        t.ok(await eventually(() => oldLives || bench.disconnected.length > 0))
        const living = oldLives && repeatedAuthorization === 'new' && authorizationOf === 'token' ? [token.accessToken, old.accessToken] : [token.accessToken]
        await assertOnlyTheLiving(t, bench, living)
        t.equal((await one.get('/guarded')).statusCode, oldLives ? 200 : 401)
        t.equal((await two.get('/guarded')).statusCode, 200)
        t.strictSame(bench.disconnected, oldLives ? [] : [{ id: old.id, accessToken: old.accessToken, reason: 'superseded' }])
      })

      t.test(`as the same user of the app keeps only the newest token (${name})`, async (t) => {
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

  t.test('checks at most five of the user\'s other tokens, the newest first, after the answer was sent', async (t) => {
    const { app, connected, disconnected, install, webflow } = await startBench(t)
    for (let index = 0; index < 8; index++) await install()
    webflow.signIn(charles)
    await install()
    webflow.signIn({ ...charles, id: ids.ada })
    // Before that each connection has checked those before it.
    t.ok(await eventually(() => webflow.requests.introspect.length === 9 + 1 + 2 + 3 + 4 + 5 + 5 + 5))
    webflow.uninstall()
    webflow.fail('introspect', { body: { authorization: { id: 'e'.repeat(24), authorizedTo: { siteIds: [ids.engine], userIds: [ids.ada] } } } })
    webflow.fail('introspect', { delay: 100, status: 401, body: { code: 'not_authorized' }, times: 5 })
    const asked = webflow.requests.introspect.length
    const { token } = await install()
    t.equal(webflow.requests.introspect.length, asked + 1)
    t.strictSame(disconnected, [])
    t.ok(await eventually(() => disconnected.length === 5))
    t.equal(webflow.requests.introspect.length, asked + 6)
    t.strictSame(disconnected.map(({ id, reason }) => [id, reason]).sort(), connected.slice(3, 8).map(({ id }) => [id, 'superseded']).sort())
    t.equal((await app.webflowOAuth.findTokens({ userId: ids.ada }))[0]?.id, token.id)
    t.equal((await app.webflowOAuth.findTokens({ userId: ids.ada })).length, 4, 'any other dead token goes when it is reported')
  })

  t.test('asks nothing about the other tokens before the answer was sent', async (t) => {
    const store = new MemoryStore()
    const { connected, install, webflow } = await startBench(t, { options: { store } })
    await install()
    const askedBefore: number[] = []
    const slow = await createApp(t, {
      webflow,
      options: { store, onSuccess: (token) => { connected.push(token) } },
      before: (app) => app.addHook('onSend', async ({ url }) => {
        if (!url.startsWith('/webflow/callback')) return
        await new Promise((resolve) => { setTimeout(resolve, 100) })
        askedBefore.push(webflow.requests.introspect.length)
      })
    })
    const asked = webflow.requests.introspect.length
    await install(undefined, { app: slow })
    t.strictSame(askedBefore, [asked + 1])
    t.ok(await eventually(() => webflow.requests.introspect.length === asked + 2))
  })

  t.test('checks a token that several sessions hold once, and deletes those sessions together', async (t) => {
    const { parts, asked, write } = await startParts(t, () => ({ statusCode: 401, body: { code: 'not_authorized' } }))
    for (let session = 0; session < 7; session++) await write('old', { ...told, createdAt: 1000 + session }, idOf(`session ${session}`))
    for (let index = 0; index < 5; index++) await write(`older ${index}`, { ...told, createdAt: 500 - index })
    const stored = await parts.records.read(await write('new', told))
    if (stored === null) throw new Error('nothing was stored')
    await checkEarlierTokens(parts, stored)
    t.strictSame(asked, ['old', 'older 0', 'older 1', 'older 2', 'older 3'])
    for (let session = 0; session < 7; session++) t.equal(await parts.records.peek(idOf(`session ${session}`)), null)
  })

  t.test('reads a limited number of records, even if the user has thousands', async (t) => {
    const { parts, asked, write } = await startParts(t, () => nothing)
    for (let index = 0; index < 1250; index++) await write(`old ${index}`, told)
    const id = await write('new', told)
    const page = parts.records.page.bind(parts.records)
    let pages = 0
    parts.records.page = async (...args) => {
      pages++
      return await page(...args)
    }
    const stored = await parts.records.read(id)
    if (stored === null) throw new Error('nothing was stored')
    await checkEarlierTokens(parts, stored)
    t.strictSame([pages, asked.length], [10, 5])
  })

  t.test('records what the living tokens open by now', async (t) => {
    const { app, install } = await startBench(t)
    const { token: first } = await install({ siteIds: [ids.engine] })
    await install({ siteIds: [ids.notes] })
    t.ok(await eventually(async () => (await app.webflowOAuth.getToken(first.id))?.authorization?.siteIds.length === 2))
  })

  t.test('an earlier token is kept if Webflow does not say that it has ended', async (t) => {
    for (const fault of silences.map(([, fault]) => fault)) {
      const { app, disconnected, install, webflow } = await startBench(t, { options: { timeout: 200 } })
      const { token: old } = await install()
      webflow.fail('introspect', { body: { authorization: { authorizedTo: { userIds: [ids.ada] } } } })
      webflow.fail('introspect', fault)
      await install()
      t.ok(await eventually(() => webflow.requests.introspect.length === 3))
      await app.close()
      t.strictSame(disconnected, [], old.id)
    }
  })

  t.test('keeps what is known of a token if Webflow does not answer at the next connection', async (t) => {
    const { app, found, install, webflow } = await startBench(t, { behavior: { repeatedAuthorization: 'same' }, options: { identify } })
    const headers = { 'x-user': 'ada' }
    const { token } = await install({ siteIds: [ids.engine] }, { headers })
    webflow.fail('introspect', { status: 503 })
    await install({ siteIds: [ids.notes] }, { headers })
    t.match((await app.webflowOAuth.getToken({ user: 'ada' }))?.authorization, { id: token.authorization?.id, siteIds: [ids.engine] })
    t.ok(await eventually(async () => (await app.webflowOAuth.getToken({ user: 'ada' }))?.authorization?.siteIds.length === 2), 'and it is asked again')
    t.strictSame(await found({ siteId: ids.notes }), [token.accessToken])
  })

  t.test('ignores an answer that Webflow gave before the user consented, even if it arrives later', async (t) => {
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

  t.test('ignores an answer about another token of the user', async (t) => {
    const { app, disconnected, install, webflow } = await startBench(t, { behavior: { repeatedAuthorization: 'new-ends-old' } })
    const { token: old } = await install()
    webflow.fail('introspect', { delay: 300, body: { authorization: { id: old.authorization?.id } } })
    const early = app.webflowOAuth.checkToken(old)
    t.ok(await eventually(() => webflow.requests.introspect.length === 2))
    await install()
    t.ok(await eventually(() => disconnected.length > 0))
    t.strictSame(disconnected.map(({ id }) => id), [old.id])
    t.equal(await early, 'active')
  })

  t.test('does not rely on an earlier answer that a token is alive, and forgets that answer once the token is superseded', async (t) => {
    const { app, disconnected, install } = await startBench(t, { behavior: { repeatedAuthorization: 'new-ends-old' } })
    const { token: old } = await install()
    t.equal(await app.webflowOAuth.checkToken(old), 'active')
    await install()
    t.ok(await eventually(() => disconnected.length > 0))
    t.equal(await app.webflowOAuth.checkToken(old), 'revoked')
  })

  t.test('succeeds if the other tokens cannot be checked, and logs it', async (t) => {
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
    t.ok(await eventually(() => lines.join('').includes('the earlier tokens of the user could not be checked')))
  })

  t.test('notices an ended token when it is used, if Webflow names no users', async (t) => {
    const { app, disconnected, found, install } = await startBench(t, { behavior: { repeatedAuthorization: 'new-ends-old', introspectionListsUsers: false } })
    const { token: old } = await install()
    const { token } = await install()
    t.strictSame(await found({ siteId: ids.engine }), [token.accessToken, old.accessToken])
    t.equal(await app.webflowOAuth.reportUnauthorized(old), 'revoked')
    t.strictSame(await found({ siteId: ids.engine }), [token.accessToken])
    t.equal(disconnected.length, 1)
  })

  t.test('recognises the user by `authorized_by` alone', async (t) => {
    const { disconnected, install } = await startBench(t, { behavior: { repeatedAuthorization: 'new-ends-old', introspectionListsUsers: false }, options: { scope: ['sites:read', 'authorized_user:read'] } })
    const { token: old } = await install()
    await install()
    t.ok(await eventually(() => disconnected.length > 0))
    t.strictSame(disconnected.map(({ id }) => id), [old.id])
  })

  for (const introspect of [true, false]) {
    t.test(`a slow callback does not overwrite the newer token of the user, with \`introspect: ${introspect}\``, async (t) => {
      const slowToken = 'the-slow-token-4d5e6f'
      rememberSecrets(slowToken)
      const gate: { open: () => void } = { open: () => {} }
      const opened = new Promise<void>((resolve) => { gate.open = resolve })
      // The slow token was made before it is held.
      let heldAt = Infinity
      const { app, connected, found, webflow } = await startBench(t, {
        options: {
          identify,
          introspect,
          beforeStore: async (token) => {
            if (token.accessToken !== slowToken) return
            heldAt = Date.now()
            await opened
          }
        }
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
      const slowly = first.browser.navigate(first.url, headers)
      t.ok(await eventually(() => Date.now() > heldAt))
      t.equal(webflow.requests.token.length, 1)
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

  t.test('a slow callback that got the same token does not overwrite what a newer callback has recorded', async (t) => {
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

  t.test('a record that could not be read is overwritten', async (t) => {
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

/** Obtains an access token as an app without the plugin does. */
async function issueToken (webflow: Simulator): Promise<string> {
  const query = new URLSearchParams({ response_type: 'code', client_id: clientId, redirect_uri: redirectUri, scope: 'sites:read', state: 's' })
  const code = new URL(await webflow.approve(`${webflow.endpoints.authorize}?${query.toString()}`)).searchParams.get('code')
  const { body } = await request(webflow.endpoints.token, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ client_id: clientId, client_secret: clientSecret, code, grant_type: 'authorization_code', redirect_uri: redirectUri })
  })
  const accessToken = String(Object(await body.json()).access_token)
  rememberSecrets(accessToken)
  return accessToken
}

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

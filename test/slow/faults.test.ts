import { execFile } from 'node:child_process'
import { readFileSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer as createHttpsServer } from 'node:https'
import { createServer, connect as dial, type AddressInfo, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import type { Simulator } from '../../lib/simulator/index.ts'
import { assertNothingLeaked, clientId, clientSecret, redirectUri, scope, secret, startWebflow } from '../support/app.ts'
import { RemoteBrowser, startChildApp, type ChildConfig, type RemoteAnswer } from '../support/child-app.ts'
import { rememberSecrets } from '../support/logs.ts'
import { findRedis, startRedis, type RedisServer } from '../support/redis-server.ts'
import { closedUrl, startTcp } from '../support/server-http.ts'

const timeout = 1500
const storeTimeout = 500
/** What a busy machine may add to a deadline, in milliseconds. */
const noise = 3000
/** The longest that a claim, an exchange, a write and a settlement take together: each has its deadline. */
const callbackLimit = timeout + 3 * storeTimeout

interface Row { fault: string, answer: string, took: number, limit: number, left: string }
const rows: Row[] = []

/** Tests one answer of an app before a fault, and that it came in time; a row of the table. */
function judge (t: Test, fault: string, answer: RemoteAnswer, { status, code, limit, left }: { status: number, code?: string, limit: number, left: string }): void {
  t.equal(answer.status, status, `${fault}: ${answer.status}`)
  if (code !== undefined) t.equal(answer.json.code, `WEBFLOW_OAUTH_${code}`, fault)
  t.ok(answer.took < limit + noise, `${fault}: ${Math.round(answer.took)} ms, the limit is ${limit} ms`)
  rows.push({ fault, answer: code === undefined ? `${status}` : `${status} ${code}`, took: answer.took, limit, left })
}

function configOf (webflow: Simulator | null, config: Partial<ChildConfig> = {}): ChildConfig {
  return { clientId, clientSecret, redirectUri, scope, secret, endpoints: webflow === null ? {} : webflow.endpoints, timeout, storeTimeout, ...config }
}

/** Counts the tokens that Redis holds. */
async function countTokens (client: Redis): Promise<number> {
  return (await client.keys('webflow:token:*')).length
}

/** Asks until the answer is no 503 any more. */
async function untilServed (ask: () => Promise<RemoteAnswer>, limit = 15_000): Promise<RemoteAnswer> {
  const began = performance.now()
  for (;;) {
    const answer = await ask()
    if (answer.status !== 503 || performance.now() - began > limit) return answer
    await sleep(50)
  }
}

t.test('when Webflow fails', async (t) => {
  const webflow = await startWebflow(t)
  const app = await startChildApp(t, configOf(webflow))
  const open = () => new RemoteBrowser(app.url)

  /** Lets a callback meet a fault, and the same callback come again, and a new flow after it. */
  const callbackMeets = async (t: Test, fault: string, status: number, code: string, { calls = 1 }: { calls?: number } = {}) => {
    const browser = open()
    const url = await browser.approve(webflow)
    const before = webflow.requests.token.length
    const answer = await browser.get(url)
    judge(t, `Webflow ${fault}: callback`, answer, { status, code, limit: callbackLimit, left: 'nothing stored; the same callback gets the same answer, the next flow connects' })
    const again = await browser.get(url)
    t.equal(again.status, status, 'the same callback gets the same answer')
    t.equal(again.json.code, answer.json.code)
    t.equal(webflow.requests.token.length - before, calls, 'and the code is never sent twice')
    t.equal((await browser.get('/token')).json.connected, false)
    t.equal((await browser.connect(webflow)).status, 303, 'the next flow connects')
    t.equal((await browser.get('/token')).json.connected, true)
  }

  /** Lets a revoke meet a fault, and be tried again. */
  const revokeMeets = async (t: Test, fault: string, status: number, code: string, upstream: string) => {
    const browser = open()
    await browser.connect(webflow)
    judge(t, `Webflow ${fault}: revoke`, await browser.post('/webflow/revoke'), { status, code, limit: timeout + storeTimeout, left: `token and cookie; the next try gets ${upstream}` })
    t.equal((await browser.get('/token')).json.connected, true, 'the token is kept')
    t.strictSame((await browser.post('/webflow/revoke')).json, { revoked: true, upstream }, 'the next try revokes')
    t.equal((await browser.get('/token')).json.connected, false)
  }

  await t.test('slowness within the deadline costs nothing but time', async (t) => {
    const browser = open()
    const url = await browser.approve(webflow)
    webflow.fail('token', { delay: 500 })
    judge(t, 'Webflow slow (500 ms): callback', await browser.get(url), { status: 303, limit: callbackLimit, left: 'the token' })
    t.equal((await browser.get('/token')).json.connected, true)
  })

  await t.test('silence ends with the deadline', async (t) => {
    webflow.fail('token', { hang: true })
    await callbackMeets(t, 'silent', 504, 'WEBFLOW_TIMEOUT')
    webflow.fail('token', { hang: true, handled: true })
    await callbackMeets(t, 'silent after the exchange', 504, 'WEBFLOW_TIMEOUT')
    webflow.fail('token', { delay: timeout + 500 })
    await callbackMeets(t, 'slower than the deadline', 504, 'WEBFLOW_TIMEOUT')
    webflow.fail('revoke', { hang: true })
    await revokeMeets(t, 'silent', 504, 'WEBFLOW_TIMEOUT', 'revoked')
    webflow.fail('revoke', { hang: true, handled: true })
    await revokeMeets(t, 'silent after the revocation', 504, 'WEBFLOW_TIMEOUT', 'already_revoked')
  })

  await t.test('a connection that breaks is no second exchange', async (t) => {
    webflow.fail('token', { reset: true })
    await callbackMeets(t, 'resets during the request', 502, 'WEBFLOW_UNAVAILABLE')
    webflow.fail('token', { reset: true, handled: true })
    await callbackMeets(t, 'resets after the exchange', 502, 'WEBFLOW_UNAVAILABLE')
    webflow.fail('revoke', { reset: true })
    await revokeMeets(t, 'resets during the request', 502, 'WEBFLOW_UNAVAILABLE', 'revoked')
    webflow.fail('revoke', { reset: true, handled: true })
    await revokeMeets(t, 'resets after the revocation', 502, 'WEBFLOW_UNAVAILABLE', 'already_revoked')
  })

  await t.test('an answer that says so is an outage', async (t) => {
    webflow.fail('token', { status: 503 })
    await callbackMeets(t, 'answers 503', 502, 'WEBFLOW_UNAVAILABLE')
    webflow.fail('token', { status: 429 })
    await callbackMeets(t, 'answers 429', 502, 'WEBFLOW_UNAVAILABLE')
    webflow.fail('revoke', { status: 503 })
    await revokeMeets(t, 'answers 503', 502, 'WEBFLOW_UNAVAILABLE', 'revoked')
  })
})

t.test('when Webflow cannot be reached', async (t) => {
  const webflow = await startWebflow(t)

  const unreachable = async (t: Test, fault: string, origin: string, { codes = ['WEBFLOW_UNAVAILABLE'], limit = timeout + 2 * storeTimeout }: { codes?: string[], limit?: number } = {}) => {
    const app = await startChildApp(t, configOf(webflow, { endpoints: { ...webflow.endpoints, token: `${origin}oauth/access_token` } }))
    const browser = new RemoteBrowser(app.url)
    const url = await browser.approve(webflow)
    const answer = await browser.get(url)
    const code = String(answer.json.code).replace('WEBFLOW_OAUTH_', '')
    t.ok(codes.includes(code), code)
    judge(t, `Webflow ${fault}: callback`, answer, { status: code === 'WEBFLOW_TIMEOUT' ? 504 : 502, code, limit, left: 'nothing stored' })
    const again = await browser.get(url)
    t.equal(again.json.code, answer.json.code, 'the same callback gets the same answer')
    t.equal((await browser.get('/token')).json.connected, false)
  }

  await t.test('a refused connection', async (t) => {
    await unreachable(t, 'refuses connections', await closedUrl())
  })

  await t.test('a name that does not resolve', async (t) => {
    // How long a resolver tries is its own affair; the deadline holds all the same.
    await unreachable(t, 'has a name that does not resolve', 'https://webflow.invalid/', { codes: ['WEBFLOW_UNAVAILABLE', 'WEBFLOW_TIMEOUT'] })
  })

  await t.test('a connection that is reset before the request', async (t) => {
    const { url, sockets } = await startTcp(t, (socket) => socket.resetAndDestroy())
    await unreachable(t, 'resets before the request', url)
    t.ok(sockets.length >= 1)
  })

  await t.test('a limit of connections', async (t) => {
    const server = createServer(() => {}).listen(0, '127.0.0.1')
    server.maxConnections = 1
    await once(server, 'listening')
    const port = portOf(server)
    const occupant = dial(port, '127.0.0.1')
    await once(occupant, 'connect')
    t.teardown(() => { occupant.destroy(); server.close() })
    await unreachable(t, 'has no connection left', `http://127.0.0.1:${port}/`)
  })

  await t.test('a server that accepts and says nothing', async (t) => {
    const { url } = await startTcp(t, (socket) => socket.resume())
    await unreachable(t, 'accepts and says nothing', url, { codes: ['WEBFLOW_TIMEOUT'] })
  })

  await t.test('a certificate that nobody signed', async (t) => {
    const pair = await createCertificate()
    if (pair === null) return t.comment('no openssl on PATH: the wrong certificate was left out')
    let requests = 0
    const server = createHttpsServer(pair, (_request, response) => { requests++; response.end() }).listen(0, '127.0.0.1')
    server.on('tlsClientError', () => {})
    await once(server, 'listening')
    t.teardown(() => { server.closeAllConnections(); server.close() })
    await unreachable(t, 'shows a wrong certificate', `https://localhost:${portOf(server)}/`)
    t.equal(requests, 0, 'nothing was sent to it')
  })
})

if (findRedis() === null) {
  if (process.env.REQUIRE_REDIS === '1') t.fail('REQUIRE_REDIS=1, but there is no redis-server on PATH')
  else t.comment('no redis-server on PATH: the faults of Redis were left out')
} else {
  /** Starts a Redis, a Webflow and an app, and opens a browser. */
  const startAll = async (t: Test, config: Partial<ChildConfig>) => {
    const webflow = await startWebflow(t)
    const redis = await startRedis()
    t.teardown(() => redis.stop())
    const client = clientOf(t, redis)
    const app = await startChildApp(t, configOf(webflow, { redis: { port: redis.port }, ...config }))
    return { webflow, redis, client, app, browser: new RemoteBrowser(app.url) }
  }

  t.test('when Redis fails', async (t) => {
    /** Starts all there is, and connects a browser. */
    const start = async (t: Test, config: Partial<ChildConfig> = {}) => {
      const parts = await startAll(t, config)
      t.equal((await parts.browser.connect(parts.webflow)).status, 303)
      return parts
    }

    await t.test('Redis absent at the start is an outage until it comes', async (t) => {
      const webflow = await startWebflow(t)
      const port = Number(new URL(await closedUrl()).port)
      const app = await startChildApp(t, configOf(webflow, { redis: { port } }))
      const browser = new RemoteBrowser(app.url)
      const session = new RemoteBrowser(app.url, { cookies: new Map([['__Host-webflow', 'a'.repeat(43)]]) })
      judge(t, 'Redis absent at start: app\'s route', await session.get('/token'), { status: 503, code: 'STORE_UNAVAILABLE', limit: storeTimeout, left: 'the cookie' })
      t.equal((await session.get('/free')).status, 200, 'pages that need no token live on')
      t.equal((await browser.get('/token')).json.connected, false, 'who has no cookie has no token')
      const url = await browser.approve(webflow)
      judge(t, 'Redis absent at start: callback', await browser.get(url), { status: 503, code: 'STORE_UNAVAILABLE', limit: 2 * storeTimeout, left: 'the code, unspent; the same callback connects later' })
      t.equal(webflow.requests.token.length, 0)
      const redis = await startRedis({ port })
      t.teardown(() => redis.stop())
      t.equal((await untilServed(() => browser.get(url))).status, 303, 'the same callback connects once Redis is there')
      t.equal((await browser.get('/token')).json.connected, true)
      t.equal(webflow.requests.token.length, 1)
      t.equal((await session.get('/token')).json.connected, false)
    })

    await t.test('Redis stopped, then restarted empty', async (t) => {
      const { webflow, redis, browser, app } = await start(t)
      const url = await browser.approve(webflow)
      await redis.stop()
      judge(t, 'Redis stopped: app\'s route', await browser.get('/token'), { status: 503, code: 'STORE_UNAVAILABLE', limit: storeTimeout, left: 'the cookie' })
      judge(t, 'Redis stopped: callback', await browser.get(url), { status: 503, code: 'STORE_UNAVAILABLE', limit: 2 * storeTimeout, left: 'the code, unspent' })
      judge(t, 'Redis stopped: revoke', await browser.post('/webflow/revoke'), { status: 503, code: 'STORE_UNAVAILABLE', limit: storeTimeout, left: 'token and cookie; Webflow was not told' })
      t.equal(webflow.requests.revoke.length, 0)
      t.equal((await browser.get('/free')).status, 200)
      const empty = await startRedis({ port: redis.port })
      t.teardown(() => empty.stop())
      const answer = await untilServed(() => browser.get('/token'))
      rows.push({ fault: 'Redis restarted empty: app\'s route', answer: `${answer.status} connected: ${answer.json.connected}`, took: answer.took, limit: storeTimeout, left: 'what Redis lost is lost; a new flow connects' })
      t.equal(answer.json.connected, false)
      t.equal((await untilServed(() => browser.get(url))).status, 303, 'the code that was not spent connects')
      t.equal((await new RemoteBrowser(app.url).connect(webflow)).status, 303)
    })

    await t.test('Redis frozen is an outage that ends with the freeze', async (t) => {
      const { webflow, redis, client, browser } = await start(t)
      const { accessToken } = (await browser.get('/token')).json
      const url = await browser.approve(webflow)
      redis.pause()
      t.teardown(() => redis.resume())
      judge(t, 'Redis frozen: app\'s route', await browser.get('/token'), { status: 503, code: 'STORE_UNAVAILABLE', limit: storeTimeout, left: 'token and cookie' })
      const answers = await Promise.all(Array.from({ length: 20 }, () => browser.get('/token')))
      t.ok(answers.every(({ status }) => status === 503))
      const slowest = answers.reduce((slow, answer) => answer.took > slow.took ? answer : slow)
      judge(t, 'Redis frozen: twenty more at once', slowest, { status: 503, code: 'STORE_UNAVAILABLE', limit: storeTimeout, left: 'token and cookie' })
      judge(t, 'Redis frozen: callback', await browser.get(url), { status: 503, code: 'STORE_UNAVAILABLE', limit: 2 * storeTimeout, left: 'the code, unspent' })
      t.equal(webflow.requests.token.length, 1)
      redis.resume()
      t.equal((await untilServed(() => browser.get('/token'))).json.accessToken, accessToken)
      t.equal((await untilServed(() => browser.get(url))).status, 303)
      t.equal(webflow.requests.token.length, 2)
      t.equal(await countTokens(client), 1, 'the token of the session before was dropped')
    })

    await t.test('Redis that freezes in the middle of a callback', async (t) => {
      const { webflow, redis, client, app, browser } = await start(t)
      const { accessToken } = (await browser.get('/token')).json
      const url = await browser.approve(webflow)
      webflow.fail('token', { delay: 700 })
      const pending = browser.get(url)
      await untilAsked(webflow, 'token', 2)
      redis.pause()
      t.teardown(() => redis.resume())
      judge(t, 'Redis frozen between claim and storing: callback', await pending, { status: 503, code: 'STORE_UNAVAILABLE', limit: callbackLimit, left: 'the old token; the new one is alive at Webflow, the log names its id' })
      t.match(app.output(), /a token that Webflow has issued could not be stored/)
      redis.resume()
      t.equal((await untilServed(() => browser.get('/token'))).json.accessToken, accessToken, 'the old session lives on')
      t.ok((await untilServed(() => browser.connect(webflow))).status === 303, 'the next flow connects')
      t.ok(await countTokens(client) <= 2, 'beside the new token at most the one that was written late, which no cookie opens')
    })

    await t.test('Redis out of memory refuses what is new and keeps what there is', async (t) => {
      const { webflow, client, browser } = await start(t)
      const url = await browser.approve(webflow)
      await client.config('SET', 'maxmemory-policy', 'noeviction')
      await client.config('SET', 'maxmemory', '1')
      judge(t, 'Redis out of memory: app\'s route', await browser.get('/token'), { status: 200, limit: storeTimeout, left: 'everything' })
      judge(t, 'Redis out of memory: callback', await browser.get(url), { status: 503, code: 'STORE_UNAVAILABLE', limit: 2 * storeTimeout, left: 'the code, unspent' })
      t.equal(webflow.requests.token.length, 1)
      judge(t, 'Redis out of memory: revoke', await browser.post('/webflow/revoke'), { status: 200, limit: timeout + 3 * storeTimeout, left: 'nothing: deleting needs no memory' })
      t.equal(await countTokens(client), 0)
      await client.config('SET', 'maxmemory', '0')
      t.equal((await untilServed(() => browser.get(url))).status, 303)
    })

    await t.test('Redis out of memory in the middle of a callback', async (t) => {
      const { webflow, client, app, browser } = await start(t)
      const { accessToken } = (await browser.get('/token')).json
      const url = await browser.approve(webflow)
      webflow.fail('token', { delay: 500 })
      const pending = browser.get(url)
      await untilAsked(webflow, 'token', 2)
      await client.config('SET', 'maxmemory', '1')
      judge(t, 'Redis out of memory between claim and storing: callback', await pending, { status: 503, code: 'STORE_UNAVAILABLE', limit: callbackLimit, left: 'the old token; the new one is alive at Webflow, the log names its id' })
      t.match(app.output(), /a token that Webflow has issued could not be stored/)
      t.equal((await browser.get('/token')).json.accessToken, accessToken)
      await client.config('SET', 'maxmemory', '0')
      t.equal((await browser.connect(webflow)).status, 303)
      t.equal(await countTokens(client), 1)
    })

    await t.test('Redis that became a replica reads and does not write', async (t) => {
      const { webflow, client, browser } = await start(t)
      const url = await browser.approve(webflow)
      await client.replicaof('127.0.0.1', 1)
      judge(t, 'Redis read-only: app\'s route', await browser.get('/token'), { status: 200, limit: storeTimeout, left: 'everything' })
      judge(t, 'Redis read-only: callback', await browser.get(url), { status: 503, code: 'STORE_UNAVAILABLE', limit: 2 * storeTimeout, left: 'the code, unspent' })
      judge(t, 'Redis read-only: revoke', await browser.post('/webflow/revoke'), { status: 503, code: 'STORE_UNAVAILABLE', limit: timeout + 3 * storeTimeout, left: 'the record; Webflow has revoked, the next try gets already_revoked' })
      t.equal(webflow.requests.token.length, 1)
      await client.replicaof('NO', 'ONE')
      t.strictSame((await browser.post('/webflow/revoke')).json, { revoked: true, upstream: 'already_revoked' })
      t.equal((await browser.get(url)).status, 303)
    })

    await t.test('Redis slow within the deadline costs time, beyond it is an outage', async (t) => {
      const webflow = await startWebflow(t)
      const redis = await startRedis()
      t.teardown(() => redis.stop())
      const proxy = await startProxy(t, redis.port)
      const app = await startChildApp(t, configOf(webflow, { redis: { port: proxy.port } }))
      const browser = new RemoteBrowser(app.url)
      proxy.delay = 150
      const url = await browser.approve(webflow)
      judge(t, 'Redis slow (150 ms): callback', await browser.get(url), { status: 303, limit: callbackLimit, left: 'the token' })
      judge(t, 'Redis slow (150 ms): app\'s route', await browser.get('/token'), { status: 200, limit: storeTimeout, left: 'the token' })
      const next = await browser.approve(webflow)
      proxy.delay = 3 * storeTimeout
      judge(t, 'Redis slower than the deadline: app\'s route', await browser.get('/token'), { status: 503, code: 'STORE_UNAVAILABLE', limit: storeTimeout, left: 'token and cookie' })
      await sleep(1100)
      judge(t, 'Redis slower than the deadline: callback', await browser.get(next), { status: 503, code: 'STORE_UNAVAILABLE', limit: 2 * storeTimeout, left: 'the code, unspent' })
      t.equal(webflow.requests.token.length, 1)
      proxy.delay = 0
      t.equal((await untilServed(() => browser.get('/token'))).json.connected, true)
      t.equal((await untilServed(() => browser.get(next))).status, 303)
      t.equal(webflow.requests.token.length, 2)
    })

    for (const { path, command } of [{ path: '/webflow/revoke', command: /eval/i }]) {
      await t.test(`what Redis carries out late of ${path} leaves a newer token alone`, async (t) => {
        const webflow = await startWebflow(t)
        const redis = await startRedis()
        t.teardown(() => redis.stop())
        const proxy = await startProxy(t, redis.port)
        const [slow, fast] = await Promise.all([proxy.port, redis.port].map((port) => startChildApp(t, configOf(webflow, { redis: { port }, byUser: true }))))
        t.ok(slow && fast)
        if (slow === undefined || fast === undefined) return
        const headers = { 'x-user': 'somebody', authorization: 'none' }
        const [browser, other] = [new RemoteBrowser(slow.url, { headers }), new RemoteBrowser(fast.url, { headers })]
        t.equal((await other.connect(webflow)).status, 303)
        t.equal((await browser.get('/token')).json.connected, true)
        proxy.holds = command
        judge(t, `Redis holds the deletion back: ${path}`, await browser.post(path), { status: 503, code: 'STORE_UNAVAILABLE', limit: timeout + 3 * storeTimeout, left: 'the token; what is carried out late deletes no newer one' })
        proxy.holds = null
        t.equal((await other.connect(webflow)).status, 303)
        const { accessToken } = (await other.get('/token')).json
        await proxy.released()
        await sleep(200)
        t.equal((await other.get('/token')).json.accessToken, accessToken, 'the newer token stands')
      })
    }

    await t.test('a connection to Redis that breaks is made again', async (t) => {
      const webflow = await startWebflow(t)
      const redis = await startRedis()
      t.teardown(() => redis.stop())
      const proxy = await startProxy(t, redis.port)
      const app = await startChildApp(t, configOf(webflow, { redis: { port: proxy.port } }))
      const browser = new RemoteBrowser(app.url)
      await browser.connect(webflow)
      proxy.break()
      const answer = await browser.get('/token')
      judge(t, 'connection to Redis reset: app\'s route', answer, { status: 200, limit: storeTimeout, left: 'the token' })
      t.equal(answer.json.connected, true)
    })
  })

  t.test('when the app is closed in the middle of a callback', async (t) => {
    /** Starts a callback that waits for Webflow. */
    const start = async (t: Test, config: Partial<ChildConfig> = {}) => {
      const { webflow, redis, client, app, browser } = await startAll(t, config)
      const url = await browser.approve(webflow)
      webflow.fail('token', { delay: 600 })
      const began = performance.now()
      const pending = browser.get(url).catch(() => null)
      await untilAsked(webflow, 'token', 1)
      const next = async () => browser.at((await startChildApp(t, configOf(webflow, { redis: { port: redis.port } }))).url)
      return { webflow, client, app, browser, url, pending, next, began }
    }

    for (const config of [{}, { forceClose: true }, { forceClose: true, beforeStore: 300 }]) {
      await t.test(`SIGTERM lets it finish: ${JSON.stringify(config)}`, async (t) => {
        const { client, app, browser, pending, next } = await start(t, config)
        t.equal(await app.stop('SIGTERM'), 0)
        const answer = await pending
        t.ok(answer)
        if (answer === null) return
        judge(t, `app gets SIGTERM, ${JSON.stringify(config)}: callback`, answer, { status: 303, limit: callbackLimit + 300, left: 'the token; the process ended with 0' })
        t.ok(browser.cookies.has('__Host-webflow'))
        t.equal(await countTokens(client), 1)
        t.equal((await (await next()).get('/token')).json.connected, true, 'the next process knows the token')
      })
    }

    await t.test('SIGKILL leaves a flow that is used up and a browser that can begin again', async (t) => {
      const { webflow, client, app, pending, url, next, began } = await start(t)
      await app.stop('SIGKILL')
      t.equal(await pending, null)
      rows.push({ fault: 'app gets SIGKILL: callback', answer: 'connection closed', took: performance.now() - began, limit: callbackLimit, left: 'a token at Webflow that nobody knows; the flow is used up' })
      t.equal(await countTokens(client), 0)
      const browser = await next()
      judge(t, 'app got SIGKILL: the same callback on another process', await browser.get(url), { status: 400, code: 'STATE_INVALID', limit: timeout + 4 * storeTimeout, left: 'already_used: the code is never sent twice' })
      t.equal(webflow.requests.token.length, 1)
      t.equal((await browser.connect(webflow)).status, 303)
    })
  })
}

t.test('nothing that was logged or answered holds a secret', async (t) => {
  assertNothingLeaked(t)
})

t.teardown(() => {
  t.comment('| fault | answer | time (ms) | deadline (ms) | what is left |')
  t.comment('| --- | --- | --- | --- | --- |')
  for (const { fault, answer, took, limit, left } of rows) t.comment(`| ${fault} | ${answer} | ${Math.round(took)} | ${limit} | ${left} |`)
})

function clientOf (t: Test, redis: RedisServer): Redis {
  const client = new Redis(redis.url)
  client.on('error', () => {})
  t.teardown(() => client.disconnect())
  return client
}

/** Resolves once an endpoint was asked that many times in all. */
async function untilAsked (webflow: Simulator, endpoint: 'token' | 'revoke', times: number): Promise<void> {
  while (webflow.requests[endpoint].length < times) await sleep(5)
}

interface Proxy {
  port: number
  /** How much later each command is answered, in milliseconds. */
  delay: number
  /** What commands are held back beyond the deadline. */
  holds: RegExp | null
  /** Resolves when no command is held back any more. */
  released (): Promise<void>
  /** Resets every connection. */
  break (): void
}

/** Starts a TCP proxy before a Redis. */
async function startProxy (t: Test, target: number): Promise<Proxy> {
  const sockets = new Set<Socket>()
  const held = new Set<Buffer>()
  const server = createServer((near) => {
    const far = dial(target, '127.0.0.1')
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => { sockets.delete(socket); near.destroy(); far.destroy() })
    }
    near.on('data', (chunk: Buffer) => {
      const isHeld = proxy.holds?.test(String(chunk)) === true
      if (isHeld) held.add(chunk)
      setTimeout(() => {
        held.delete(chunk)
        if (far.writable) far.write(chunk)
      }, isHeld ? 4 * storeTimeout : proxy.delay / 2)
    })
    far.on('data', (chunk) => { setTimeout(() => { if (near.writable) near.write(chunk) }, proxy.delay / 2) })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const proxy: Proxy = {
    port: portOf(server),
    delay: 0,
    holds: null,
    async released () { while (held.size > 0) await sleep(10) },
    break () { for (const socket of sockets) socket.resetAndDestroy() }
  }
  t.teardown(() => { proxy.break(); server.close() })
  return proxy
}

function portOf (server: Pick<Server, 'address'>): number {
  const address: AddressInfo | string | null = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}

/** Makes a certificate that signs itself; null without openssl. */
async function createCertificate (): Promise<{ key: string, cert: string } | null> {
  const folder = mkdtempSync(join(tmpdir(), 'certificate-'))
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  try {
    await promisify(execFile)('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', key, '-out', cert, '-days', '1', '-subj', '/CN=localhost'])
    const pair = { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') }
    rememberSecrets(pair.key)
    return pair
  } catch {
    return null
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

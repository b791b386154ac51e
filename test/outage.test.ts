import { readFile } from 'node:fs'
import { mock } from 'node:test'
import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import type { WebflowOAuthOptions } from '../lib/index.ts'
import { startDeadline } from '../lib/collections/deadline.ts'
import { BackgroundTasks } from '../lib/collections/background-tasks.ts'
import { RedisStore } from '../stores/redis.ts'
import { assertNothingLeaked, baseOptions, clientId, clientSecret, connect, createApp, scope, secret, startWebflow } from './support/app.ts'
import { Browser, type Answer } from './support/browser.ts'
import { startChildApp, RemoteBrowser } from './support/child-app.ts'
import { tick } from './support/clock.ts'
import { FaultyStore } from './support/faulty-store.ts'
import { findRedis, startRedis, type RedisServer } from './support/redis-server.ts'

const storeTimeout = 40
const outage = 'WEBFLOW_OAUTH_STORE_UNAVAILABLE'
const byHeader: WebflowOAuthOptions['identify'] = ({ headers }) => typeof headers['x-user'] === 'string' ? headers['x-user'] : null

function session ({ cookies }: Answer): string | undefined {
  return cookies.find(({ name }) => name === '__Host-webflow')?.value
}

/** Waits until something holds, for at most two seconds. */
async function eventually (holds: () => boolean | Promise<boolean>): Promise<boolean> {
  for (let tries = 0; tries < 400; tries++) {
    if (await holds()) return true
    await sleep(5)
  }
  return false
}

/** Blocks this process: no timer fires and no socket is read. */
function block (milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds)
}

const tokensIn = async ({ memory }: FaultyStore, app: FastifyInstance) => {
  const tokens = []
  for await (const token of app.webflowOAuth.listTokens()) tokens.push(token.id)
  return { size: memory.size, tokens }
}

t.test('a deadline', async (t) => {
  t.test('expires when its time is over, and not before', async (t) => {
    mock.timers.enable({ apis: ['setTimeout'] })
    t.teardown(() => mock.timers.reset())
    for (const milliseconds of [1, 7, 10, 333, 1000]) {
      let passed = 0
      startDeadline(milliseconds, () => { passed++ })
      tick(milliseconds - 1)
      await setImmediate()
      t.equal(passed, 0)
      tick(1)
      await setImmediate()
      t.equal(passed, 1)
      tick(5000)
      await setImmediate()
      t.equal(passed, 1, 'once')
    }
  })

  t.test('never expires once it was cancelled, not even after its last slice', async (t) => {
    mock.timers.enable({ apis: ['setTimeout'] })
    t.teardown(() => mock.timers.reset())
    let passed = 0
    const cancel = startDeadline(100, () => { passed++ })
    tick(50)
    cancel()
    const cancelLate = startDeadline(100, () => { passed++ })
    tick(100)
    cancelLate()
    tick(1000)
    await setImmediate()
    t.equal(passed, 0)
  })

  t.test('does not count the time in which the process was blocked', async (t) => {
    const begun = performance.now()
    const passed = new Promise<number>((resolve) => { startDeadline(200, () => { resolve(performance.now() - begun) }) })
    block(600)
    t.ok(await passed >= 750, 'of 600 ms at most one slice of 20 ms counted')
  })
})

t.test('the ready answer of a hook is sent even if the process was blocked for longer than 500 ms', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, {
    webflow,
    options: {
      onSuccess: (_token, _request, reply) => {
        readFile(new URL('../package.json', import.meta.url), () => { reply.send('an answer of the app') })
        globalThis.setImmediate(() => { block(700) })
        return reply
      }
    }
  }))
  t.equal((await connect(browser, webflow)).statusCode, 200)
})

t.test('work in the background', async (t) => {
  t.test('is tried again after growing pauses, and then given up', async (t) => {
    mock.timers.enable({ apis: ['setTimeout'] })
    t.teardown(() => mock.timers.reset())
    const background = new BackgroundTasks()
    let tries = 0
    const errors: unknown[] = []
    background.insist(async () => { throw new Error(`try ${++tries}`) }, (error) => { errors.push(error) })
    for (const pause of [250, 1000, 4000, 15_000]) {
      t.equal(background.size, 1)
      await background.settled()
      await setImmediate()
      t.equal(background.size, 0, 'closing waits for no pause')
      t.strictSame(errors, [])
      tick(pause - 1)
      t.equal(background.size, 0)
      tick(1)
    }
    await setImmediate()
    t.equal(tries, 5)
    t.match(errors, [{ message: 'try 5' }])
  })
})

const present = findRedis() !== null
if (!present) t.not(process.env.REQUIRE_REDIS, '1', 'a redis-server is not required')

let redis: RedisServer
if (present) {
  t.before(async () => { redis = await startRedis() })
  t.teardown(() => redis.stop())
}

// Most of these wait, so they wait together. None of them blocks the process or mocks its timers.
t.test('a store that hangs or loses its answers', { jobs: 20 }, async (t) => {
  t.test('a token whose write took too long', { buffered: true, jobs: 20 }, async (t) => {
    t.test('is deleted when the store carries the write out late, so that no token is left that no browser holds', { buffered: true }, async (t) => {
      const webflow = await startWebflow(t)
      const store = new FaultyStore()
      const app = await createApp(t, { webflow, options: { store, storeTimeout } })
      const browser = new Browser(app)
      const url = await webflow.approve(String((await browser.navigate('/webflow/authorize')).location))
      const write = store.hold('set', 'token:')
      const failed = await browser.get(url)
      t.equal(failed.statusCode, 503)
      t.equal(session(failed), undefined)
      await write.carryOut()
      t.ok(await eventually(() => store.memory.size === 1), 'the flow alone is left')
      const repeated = await browser.get(url)
      t.strictSame([repeated.statusCode, repeated.json().code], [503, outage])
      await sleep(1000)
      t.match((await browser.get(url)).json(), { statusCode: 503, code: outage, message: /failed with this error before/ }, 'how the flow ended was recorded, although the store rested')
      t.equal(webflow.requests.token.length, 1)
      t.equal(webflow.requests.revoke.length, 0)
    })

    for (const settle of ['carryOut', 'fail'] as const) {
      t.test(`gives way to the user's earlier token, with its tags (${settle})`, { buffered: true }, async (t) => {
        const webflow = await startWebflow(t)
        const store = new FaultyStore()
        const app = await createApp(t, { webflow, options: { store, storeTimeout, identify: byHeader } })
        const browser = new Browser(app)
        const headers = { 'x-user': 'ada' }
        await connect(browser, webflow, { headers })
        const before = (await browser.get('/token', headers)).json()
        const url = await webflow.approve(String((await browser.navigate('/webflow/authorize', headers)).location))
        const write = store.hold('set', 'token:')
        t.equal((await browser.get(url, headers)).json().code, outage)
        await (settle === 'carryOut' ? write.carryOut() : write.fail({ carriedOut: true }))
        t.ok(await eventually(async () => (await app.webflowOAuth.getToken({ user: 'ada' }).catch(() => null))?.accessToken === before.accessToken))
        t.strictSame((await tokensIn(store, app)).tokens, [before.id])
      })
    }

    t.test('leaves later writes alone if the store never wrote it', { buffered: true }, async (t) => {
      const webflow = await startWebflow(t)
      const store = new FaultyStore()
      const app = await createApp(t, { webflow, options: { store, storeTimeout, identify: byHeader } })
      const browser = new Browser(app)
      const headers = { 'x-user': 'ada' }
      const urls = [await webflow.approve(String((await browser.navigate('/webflow/authorize', headers)).location)), await webflow.approve(String((await browser.navigate('/webflow/authorize', headers)).location))]
      const write = store.hold('set', 'token:')
      t.equal((await browser.get(String(urls[0]), headers)).statusCode, 503)
      await sleep(1000)
      t.equal((await browser.get(String(urls[1]), headers)).statusCode, 303)
      const { accessToken } = (await browser.get('/token', headers)).json()
      t.type(accessToken, 'string')
      await write.carryOut()
      await sleep(20)
      t.equal((await browser.get('/token', headers)).json().accessToken, accessToken)
    })
  })

  t.test('a token whose write was carried out is deleted if the answer was lost', { buffered: true }, async (t) => {
    const webflow = await startWebflow(t)
    const store = new FaultyStore()
    const app = await createApp(t, { webflow, options: { store } })
    const browser = new Browser(app)
    const url = await webflow.approve(String((await browser.navigate('/webflow/authorize')).location))
    store.lose('set', 'token:')
    // The connection comes back a moment later.
    store.lose('delete', 'token:', { carriedOut: false })
    t.equal((await browser.get(url)).json().code, outage)
    t.strictSame((await tokensIn(store, app)).tokens.length, 1)
    t.ok(await eventually(() => store.memory.size === 1))
    t.strictSame((await tokensIn(store, app)).tokens, [])
  })

  t.test('a token whose write failed is deleted even if another replica has completed its record meanwhile', { buffered: true }, async (t) => {
    const webflow = await startWebflow(t)
    const store = new FaultyStore()
    const app = await createApp(t, { webflow, options: { store } })
    const replica = await createApp(t, { webflow, options: { store: store.memory } })
    const browser = new Browser(app)
    const url = await webflow.approve(String((await browser.navigate('/webflow/authorize')).location))
    webflow.fail('introspect', { status: 503 })
    store.lose('set', 'token:')
    // The first look and the first deletion fail; the replica writes the record anew in between.
    const look = store.hold('get', 'token:')
    t.equal((await browser.get(url)).json().code, outage)
    for await (const token of replica.webflowOAuth.listTokens()) t.equal(await replica.webflowOAuth.checkToken(token), 'active')
    await look.called
    await look.fail()
    t.ok(await eventually(() => store.memory.size === 1))
    t.strictSame((await tokensIn(store, app)).tokens, [])
  })

  t.test('a token that changes while it is being deleted is deleted by the next try', { buffered: true }, async (t) => {
    const webflow = await startWebflow(t)
    const store = new FaultyStore()
    const app = await createApp(t, { webflow, options: { store } })
    const browser = new Browser(app)
    const url = await webflow.approve(String((await browser.navigate('/webflow/authorize')).location))
    store.lose('set', 'token:')
    const { memory } = store
    const remove = memory.delete.bind(memory)
    memory.delete = async (...call) => {
      memory.delete = remove
      return call[0] === ''
    }
    t.equal((await browser.get(url)).json().code, outage)
    t.equal((await tokensIn(store, app)).tokens.length, 1)
    t.ok(await eventually(() => memory.size === 1))
  })

  t.test('a claim whose answer was lost is deleted, so that the same callback can connect', { buffered: true }, async (t) => {
    const webflow = await startWebflow(t)
    const store = new FaultyStore()
    const browser = new Browser(await createApp(t, { webflow, options: { store, storeTimeout } }))
    const url = await webflow.approve(String((await browser.navigate('/webflow/authorize')).location))
    store.lose('set', 'flow:')
    t.equal((await browser.get(url)).statusCode, 503)
    t.equal(webflow.requests.token.length, 0, 'the code is unspent')
    t.equal((await browser.get(url)).statusCode, 303)

    const second = await webflow.approve(String((await browser.navigate('/webflow/authorize')).location))
    const claim = store.hold('set', 'flow:')
    t.equal((await browser.get(second)).statusCode, 503)
    await claim.carryOut()
    await sleep(1000)
    t.equal((await browser.get(second)).statusCode, 303)
  })

  t.test('a rest of the store disturbs neither a running callback nor another callback that waits for it', { buffered: true }, async (t) => {
    const webflow = await startWebflow(t)
    const store = new FaultyStore()
    const app = await createApp(t, { webflow, options: { store, storeTimeout } })
    const browser = new Browser(app)
    const url = await webflow.approve(String((await browser.navigate('/webflow/authorize')).location))
    webflow.fail('token', { delay: 300, handled: true })
    const first = browser.clone().navigate(url)
    const second = browser.clone().navigate(url)
    await eventually(() => store.calls.filter((call) => call.startsWith('get flow:')).length > 1)
    const slow = store.hold('get', 'token:')
    t.equal((await browser.get('/token', { cookie: `__Host-webflow=${'A'.repeat(43)}` })).statusCode, 503, 'somebody else meets a timeout')
    t.equal((await first).statusCode, 303)
    const answer = await second
    t.equal(answer.statusCode, 303)
    t.equal(session(answer), session(await first))
    await slow.fail()
  })

  t.test('a deletion that the plugin has reported as failed', { buffered: true, jobs: 20 }, async (t) => {
    /** Connects a browser in an app that notes what its hooks are told. */
    const setUp = async (t: Test, options: Partial<WebflowOAuthOptions> = {}) => {
      const webflow = await startWebflow(t)
      const store = new FaultyStore()
      const told: string[] = []
      const app = await createApp(t, {
        webflow,
        options: {
          store,
          storeTimeout,
          onRevoke: ({ id }, request) => { told.push(`revoked ${id} ${request === null ? 'by the app' : request.url}`) },
          onDisconnect: ({ id }, reason) => { told.push(`${reason} ${id}`) },
          ...options
        }
      })
      const browser = new Browser(app)
      await connect(browser, webflow)
      const { id, accessToken } = (await browser.get('/token')).json()
      return { webflow, store, told, app, browser, id: String(id), accessToken: String(accessToken) }
    }

    const ways: Array<{ name: string, told: string, run: (parts: Awaited<ReturnType<typeof setUp>>) => Promise<unknown> }> = [
      { name: 'of the revoke route', told: 'revoked ID /webflow/revoke', run: async ({ browser }) => (await browser.request('/webflow/revoke', { method: 'POST' })).json().code },
      { name: 'of `revoke`', told: 'revoked ID by the app', run: ({ app, id }) => app.webflowOAuth.revoke(id).catch(({ code }) => code) },
      {
        name: 'of `revoke` with `force`',
        told: 'revoked ID by the app',
        run: ({ app, id, webflow }) => {
          webflow.fail('revoke', { status: 503 })
          return app.webflowOAuth.revoke(id, { force: true }).catch(({ code }) => code)
        }
      },
      {
        name: 'of `revokeAll`',
        told: 'revoked ID by the app',
        run: async ({ app, id }) => {
          const authorizationId = (await app.webflowOAuth.getToken(id))?.authorization?.id ?? ''
          const [result] = await app.webflowOAuth.revokeAll({ authorizationId })
          return result?.error instanceof Error && 'code' in result.error ? result.error.code : null
        }
      },
      {
        name: 'of a token that Webflow has ended',
        told: 'revoked ID',
        run: ({ app, id, webflow, accessToken }) => {
          webflow.revokeToken(accessToken)
          return app.webflowOAuth.reportUnauthorized(id).catch(({ code }) => code)
        }
      }
    ]

    for (const { name, told: expected, run } of ways) {
      t.test(`${name} runs the hook once if the store carries it out late`, { buffered: true }, async (t) => {
        const parts = await setUp(t)
        const { store, told, id } = parts
        const deletion = store.hold('delete', 'token:')
        t.equal(await run(parts), outage)
        t.strictSame(told, [], 'nobody knows yet')
        await deletion.carryOut()
        t.ok(await eventually(() => told.length > 0))
        t.strictSame(told, [expected.replace('ID', id)])
      })

      t.test(`${name} runs the hook once if its answer was lost`, { buffered: true }, async (t) => {
        const parts = await setUp(t)
        const { store, told, id } = parts
        store.lose('delete', 'token:')
        t.equal(await run(parts), outage)
        t.ok(await eventually(() => told.length > 0))
        t.strictSame(told, [expected.replace('ID', id)])
      })
    }

    t.test('runs no hook if the store never carries it out, and the next try finds the token', { buffered: true }, async (t) => {
      for (const isLate of [false, true]) {
        const { store, told, browser, id } = await setUp(t)
        const held = isLate ? store.hold('delete', 'token:') : null
        if (!isLate) store.lose('delete', 'token:', { carriedOut: false })
        t.equal((await browser.request('/webflow/revoke', { method: 'POST' })).statusCode, 503)
        await held?.fail()
        if (isLate) await sleep(1000)
        await setImmediate()
        t.strictSame(told, [])
        t.strictSame((await browser.request('/webflow/revoke', { method: 'POST' })).json(), { revoked: true, upstream: 'already_revoked' })
        t.strictSame(told, [`revoked ${id} /webflow/revoke`])
      }
    })

    t.test('runs no hook if the store never carries it out and a replica has renewed the record meanwhile', { buffered: true }, async (t) => {
      const { store, told, browser, app, webflow } = await setUp(t)
      const replica = await createApp(t, { webflow, options: { store: store.memory, sessionMaxAge: 365 * 24 * 60 * 60 } })
      store.lose('delete', 'token:', { carriedOut: false })
      const deletion = browser.request('/webflow/revoke', { method: 'POST' })
      for await (const token of replica.webflowOAuth.listTokens()) t.type(token.id, 'string')
      t.equal((await deletion).statusCode, 503)
      await sleep(400)
      t.strictSame(told, [])
      t.equal((await browser.request('/webflow/revoke', { method: 'POST' })).json().upstream, 'already_revoked')
      t.equal(told.length, 1)
      await app.close()
    })

    t.test('runs the hook once if a later deletion was carried out first', { buffered: true }, async (t) => {
      const { store, told, browser } = await setUp(t)
      const deletion = store.hold('delete', 'token:')
      t.equal((await browser.request('/webflow/revoke', { method: 'POST' })).statusCode, 503)
      // While the store rests nobody can look what became of the deletion. The retry comes before the next look.
      await deletion.fail()
      t.ok(await eventually(async () => (await browser.request('/webflow/revoke', { method: 'POST' })).statusCode === 200))
      t.equal(told.length, 1)
      await sleep(300)
      t.equal(told.length, 1)
    })

    t.test('keeps the app from closing until it is settled', { buffered: true }, async (t) => {
      let finished = false
      const { store, browser, app } = await setUp(t, { onRevoke: async () => { await sleep(50); finished = true } })
      const deletion = store.hold('delete', 'token:')
      await browser.request('/webflow/revoke', { method: 'POST' })
      await deletion.carryOut()
      await setImmediate()
      await app.close()
      t.equal(finished, true)
    })
  })

  if (present) {
    t.test('a process that was frozen continues without an error', { buffered: true }, async (t) => {
      const webflow = await startWebflow(t, {}, ['http://localhost:3000/webflow/callback'])
      const { endpoints } = baseOptions(webflow)
      const app = await startChildApp(t, { clientId, clientSecret, secret: String(secret), scope, redirectUri: 'http://localhost:3000/webflow/callback', endpoints: endpoints ?? {}, redis: { port: redis.port }, storeTimeout: 200 })
      const browser = new RemoteBrowser(app.url)
      t.equal((await browser.connect(webflow)).status, 303)
      for (let turn = 0; turn < 3; turn++) {
        const under = Array.from({ length: 10 }, () => browser.get('/token'))
        await sleep(5)
        app.signal('SIGSTOP')
        await sleep(300)
        app.signal('SIGCONT')
        for (const { status } of await Promise.all(under)) t.equal(status, 200)
        t.equal((await browser.get('/token')).status, 200)
      }
    })
  }
})

t.test('nothing is deleted if the failed write of a token was never carried out', async (t) => {
  const webflow = await startWebflow(t)
  const store = new FaultyStore()
  const app = await createApp(t, { webflow, options: { store } })
  const browser = new Browser(app)
  const url = await webflow.approve(String((await browser.navigate('/webflow/authorize')).location))
  store.lose('set', 'token:', { carriedOut: false })
  t.equal((await browser.get(url)).json().code, outage)
  await setImmediate()
  t.strictSame((await tokensIn(store, app)).tokens, [])
})

t.test('a user who gets the very same token again keeps it, although its write was reported as failed', async (t) => {
  const webflow = await startWebflow(t, { repeatedAuthorization: 'same' })
  const store = new FaultyStore()
  const app = await createApp(t, { webflow, options: { store, identify: byHeader } })
  const browser = new Browser(app)
  const headers = { 'x-user': 'ada' }
  await connect(browser, webflow, { headers })
  const { accessToken } = (await browser.get('/token', headers)).json()
  for (const carriedOut of [true, false]) {
    const url = await webflow.approve(String((await browser.navigate('/webflow/authorize', headers)).location))
    store.lose('set', 'token:', { carriedOut })
    t.equal((await browser.get(url, headers)).json().code, outage)
    await setImmediate()
    t.equal((await browser.get('/token', headers)).json().accessToken, accessToken)
  }
})

t.test('a token that cannot be deleted after a failed write is logged', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const lines: string[] = []
  const store = new FaultyStore()
  const webflow = await startWebflow(t)
  const app = await createApp(t, { webflow, options: { store }, server: { logger: { level: 'warn', stream: { write: (line: string) => lines.push(line) } }, trustProxy: true } })
  const browser = new Browser(app)
  const url = await webflow.approve(String((await browser.navigate('/webflow/authorize')).location))
  store.lose('set', 'token:')
  store.lose('delete', 'token:', { carriedOut: false, times: 5 })
  t.equal((await browser.get(url)).json().code, outage)
  lines.length = 0
  for (const pause of [250, 1000, 4000, 15_000]) {
    await setImmediate()
    tick(pause)
  }
  t.ok(await eventuallyWithoutTimers(() => lines.length > 0))
  t.match(lines.map((line) => JSON.parse(line)), [{ level: 40, tokenId: /^[\w-]{43}$/, msg: /could not be removed from the store/ }])
})

/** Waits for something without a timer, for tests on a clock of their own. */
async function eventuallyWithoutTimers (holds: () => boolean): Promise<boolean> {
  for (let tries = 0; tries < 1000 && !holds(); tries++) await setImmediate()
  return holds()
}

t.test('a user\'s earlier token that cannot be read is not put back: the new token stays', async (t) => {
  const webflow = await startWebflow(t)
  const store = new FaultyStore()
  const app = await createApp(t, { webflow, options: { store, identify: byHeader } })
  const browser = new Browser(app)
  const headers = { 'x-user': 'ada' }
  await connect(browser, webflow, { headers })
  const { id } = (await browser.get('/token', headers)).json()
  await store.memory.set(`token:${String(id)}`, 'foreign', { expiresAt: Date.now() + 60_000 })
  const refused = store.hold('set', 'token:')
  const url = await webflow.approve(String((await browser.navigate('/webflow/authorize', headers)).location))
  const answer = browser.get(url, headers)
  await refused.called
  store.lose('set', 'token:')
  await refused.carryOut()
  t.equal((await answer).statusCode, 503)
  await setImmediate()
  t.equal((await browser.get('/token', headers)).json().connected, true)
})

t.test('waiting for another callback ends in time while the store fails', async (t) => {
  const webflow = await startWebflow(t)
  const store = new FaultyStore()
  const browser = new Browser(await createApp(t, { webflow, options: { store, storeTimeout, timeout: 150 } }))
  const url = await webflow.approve(String((await browser.navigate('/webflow/authorize')).location))
  webflow.fail('token', { hang: true })
  const first = browser.clone().get(url)
  await eventually(() => webflow.requests.token.length === 1)
  // The second callback sees that the flow is claimed. From then on the store fails.
  const look = store.hold('get', 'flow:')
  store.lose('get', 'flow:', { times: 1000, carriedOut: false })
  const second = browser.clone().get(url)
  await look.called
  await look.carryOut()
  t.equal((await second).json().code, outage)
  t.equal((await first).statusCode, 504)
})

t.test('a deletion whose result never becomes known is logged', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const lines: string[] = []
  const store = new FaultyStore()
  const webflow = await startWebflow(t)
  const app = await createApp(t, { webflow, options: { store }, server: { logger: { level: 'warn', stream: { write: (line: string) => lines.push(line) } }, trustProxy: true } })
  const browser = new Browser(app)
  await connect(browser, webflow)
  const { id } = (await browser.get('/token')).json()
  const deletion = store.hold('delete', 'token:')
  const revocation = app.webflowOAuth.revoke(String(id)).then(() => null, ({ code }) => code)
  await deletion.called
  store.lose('get', 'token:', { times: 5 })
  await deletion.fail()
  t.equal(await revocation, outage)
  for (const pause of [250, 1000, 4000, 15_000]) {
    await setImmediate()
    tick(pause)
  }
  t.ok(await eventuallyWithoutTimers(() => lines.length > 0))
  t.match(lines.map((line) => JSON.parse(line)), [{ level: 40, tokenId: id, msg: /not known whether the store has deleted/ }])
})

t.test('a used flow stays used for a store whose clock is minutes ahead', async (t) => {
  const webflow = await startWebflow(t)
  const store = new FaultyStore()
  const { memory } = store
  // Redis ends records by its own clock: here they end 400 seconds too early.
  const set = memory.set.bind(memory)
  memory.set = (key, value, options) => set(key, value, { ...options, expiresAt: options.expiresAt - 400_000 })
  const browser = new Browser(await createApp(t, { webflow, options: { store, flowMaxAge: 300 } }))
  const url = await webflow.approve(String((await browser.navigate('/webflow/authorize')).location))
  const answers = []
  for (let turn = 0; turn < 5; turn++) answers.push((await browser.get(url)).statusCode)
  t.strictSame(answers, [303, 303, 303, 303, 303])
  t.equal(webflow.requests.token.length, 1)
})

if (present) {
  t.test('a call to a store that hangs still fails in time', async (t) => {
    const own = await startRedis()
    t.teardown(() => own.stop())
    const client = new Redis(own.port)
    t.teardown(() => client.disconnect())
    const webflow = await startWebflow(t)
    const browser = new Browser(await createApp(t, { webflow, options: { store: new RedisStore({ client }), storeTimeout: 200 } }))
    await connect(browser, webflow)
    own.pause()
    const begun = performance.now()
    t.equal((await browser.get('/token')).statusCode, 503)
    t.ok(performance.now() - begun < 1000)
    own.resume()
  })

  t.test('a handler that blocks the process for longer than `storeTimeout` makes no request fail', async (t) => {
    const client = new Redis(redis.port)
    t.teardown(() => client.disconnect())
    const webflow = await startWebflow(t)
    const app = await createApp(t, {
      webflow,
      options: { store: new RedisStore({ client }), storeTimeout: 300 },
      after: (app) => { app.get('/busy', async () => { block(500); return {} }) }
    })
    const browser = new Browser(app)
    await connect(browser, webflow)
    const answers = await Promise.all([...Array.from({ length: 20 }, () => browser.get('/token')), browser.get('/busy'), ...Array.from({ length: 20 }, () => browser.get('/token'))])
    t.strictSame(answers.filter(({ statusCode }) => statusCode !== 200), [])
    for (let turn = 0; turn < 3; turn++) {
      const under = browser.get('/token')
      block(500)
      t.equal((await under).statusCode, 200)
      t.equal((await browser.get('/token')).json().connected, true)
    }
  })
}

t.test('no secret was logged', async (t) => { assertNothingLeaked(t) })

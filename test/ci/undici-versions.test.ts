import { createServer, request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import t, { type Test } from 'tap'
import * as undici7 from 'undici'
import * as undici5 from 'undici-5'
import * as undici6 from 'undici-6'
import type * as undici8Types from 'undici-8'
import { WebflowOAuthError, type WebflowOAuthOptions } from '../../lib/index.ts'
import type { Dispatcher } from '../../lib/options/dispatcher.ts'
import { WebflowClient } from '../../lib/webflow/client.ts'
import { clientId, clientSecret, createApp, redirectUri } from '../support/app.ts'
import { startHttp, type TestServer } from '../support/server-http.ts'

const code = 'code-41d0c9be72'
const accessToken = 'token-7a3e55f1c8'
const tooLong = 1024 * 1024

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
// undici 8 names Node 22.19 as the oldest that it runs on; on Node 20 it throws while it is imported.
const runsUndici8 = major > 22 || (major === 22 && minor >= 19)
/** What a version makes, under types that all versions share. */
interface Kit {
  version: string
  agent: () => Owned
  pool: (origin: string) => Owned
  client: (origin: string) => Owned
  proxy: (url: string) => Owned
  mock: () => Mock
  /** An Agent that follows redirects unless it is told not to. */
  following: () => Owned
  /** What versions from 6 on have: a RetryAgent, and an Agent that an interceptor leads to another path. */
  composed: (path: string) => Owned[]
}

type Owned = Dispatcher & { destroy (): Promise<void> }

interface Mock extends Dispatcher {
  close (): Promise<void>
  disableNetConnect (): void
  get (origin: string): { intercept (options: { path: string, method: string }): { reply (status: number, body: object): unknown } }
}

type Accepted = NonNullable<WebflowOAuthOptions['dispatcher']>

// Each constructor is typed as its own version types it: the types of all fit the option.
const kit5: Kit = {
  version: '5',
  agent: () => new undici5.Agent(),
  pool: (origin) => new undici5.Pool(origin),
  client: (origin) => new undici5.Client(origin),
  proxy: (url) => new undici5.ProxyAgent(url),
  mock: () => new undici5.MockAgent(),
  following: () => new undici5.Agent({ maxRedirections: 3 }),
  composed: () => []
}
const kit6: Kit = {
  version: '6',
  agent: () => new undici6.Agent(),
  pool: (origin) => new undici6.Pool(origin),
  client: (origin) => new undici6.Client(origin),
  proxy: (url) => new undici6.ProxyAgent(url),
  mock: () => new undici6.MockAgent(),
  following: () => new undici6.Agent({ maxRedirections: 3 }),
  composed: (path) => [
    new undici6.RetryAgent(new undici6.Agent()),
    new undici6.Agent().compose(undici6.interceptors.retry({}), (dispatch) => (options, handler) => dispatch({ ...options, path }, handler))
  ]
}
const kit7: Kit = {
  version: '7',
  agent: () => new undici7.Agent(),
  pool: (origin) => new undici7.Pool(origin),
  client: (origin) => new undici7.Client(origin),
  proxy: (url) => new undici7.ProxyAgent(url),
  mock: () => new undici7.MockAgent(),
  following: () => new undici7.Agent().compose(undici7.interceptors.redirect({ maxRedirections: 3 })),
  composed: (path) => [
    new undici7.RetryAgent(new undici7.Agent()),
    new undici7.Agent().compose(undici7.interceptors.retry(), (dispatch) => (options, handler) => dispatch({ ...options, path }, handler))
  ]
}
const createKit8 = (undici8: typeof undici8Types): Kit => ({
  version: '8',
  agent: () => new undici8.Agent(),
  pool: (origin) => new undici8.Pool(origin),
  client: (origin) => new undici8.Client(origin),
  proxy: (url) => new undici8.ProxyAgent(url),
  mock: () => new undici8.MockAgent(),
  following: () => new undici8.Agent().compose(undici8.interceptors.redirect({ maxRedirections: 3 })),
  composed: (path) => [
    new undici8.RetryAgent(new undici8.Agent()),
    new undici8.Agent().compose(undici8.interceptors.retry(), (dispatch) => (options, handler) => dispatch({ ...options, path }, handler))
  ]
})
const kits = [kit5, kit6, kit7, ...runsUndici8 ? [createKit8(await import('undici-8'))] : []]

function createClient (url: string, dispatcher: Dispatcher, timeout = 5000): WebflowClient {
  const endpoints = { authorize: url, token: url, revoke: url, introspect: url, authorizedBy: url, resolve: url }
  return new WebflowClient({ clientId, clientSecret, redirectUri, endpoints, timeout, dispatcher })
}

/** Keeps a dispatcher for the length of a test. */
function use<T extends { destroy (): Promise<void> }> (t: Test, dispatcher: T): T {
  t.teardown(() => dispatcher.destroy())
  return dispatcher
}

const codeOf = (call: Promise<unknown>) => call.then(() => null, (error: unknown) => error instanceof WebflowOAuthError ? error.code : error)

/** Waits until the connections of so many requests are closed. undici 5 opens another at once, which it does not use. */
async function closedFor (server: TestServer, requests: number): Promise<void> {
  while (server.requests.length < requests || server.sockets.filter(({ destroyed }) => destroyed).length < requests) await setImmediate()
}

/** A server that knows the token; what is asked for with a query is answered with its status and length. */
const startServer = (t: Test) => startHttp(t, (response, { url = '' }) => {
  const { searchParams } = new URL(url, 'http://localhost')
  response.writeHead(Number(searchParams.get('status') ?? 200)).end(JSON.stringify({ access_token: accessToken, did_revoke: true, authorization: {} }).padEnd(Number(searchParams.get('length'))))
})

/** A proxy on loopback, which takes tunnels and plain requests; counts what comes through. */
async function startProxy (t: Test): Promise<{ url: string, passed: () => number }> {
  let passed = 0
  const server = createServer((request, response) => {
    passed++
    const { method, headers, url = '' } = request
    request.pipe(httpRequest(url, { method, headers }, (answer) => answer.pipe(response)))
  })
  server.on('connect', ({ url = '' }, socket) => {
    passed++
    const [host = '', port = ''] = url.split(':')
    const target = connect(Number(port), host, () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
      target.pipe(socket).pipe(target)
    })
    for (const end of [socket, target]) end.on('error', () => {})
  })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => { server.close() })
  const address = server.address()
  return { url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`, passed: () => passed }
}

t.test('the compiler refuses a dispatcher without `request`', async (t) => {
  // @ts-expect-error: a dispatcher of another kind than undici's.
  const dispatcher: Accepted = { dispatch: () => true }
  await t.rejects(createApp(t, { options: { dispatcher } }), { code: 'WEBFLOW_OAUTH_INVALID_OPTION', message: /`dispatcher` must be a Dispatcher of undici 5 to 8, with the method `request`: / })
})

for (const { version, agent, client, composed, following, mock, pool, proxy } of kits) {
  t.test(`undici ${version}: an Agent, a Pool and a Client carry every call`, async (t) => {
    const server = await startServer(t)
    const { origin } = new URL(server.url)
    for (const dispatcher of [agent(), pool(origin), client(origin)]) {
      const client = createClient(`${server.url}path?query=1`, use(t, dispatcher))
      t.equal((await client.exchange(code)).accessToken, accessToken)
      t.equal(await client.revoke(accessToken), 'revoked')
      t.equal((await client.introspect(accessToken)).kind, 'active')
    }
    t.equal(server.requests.length, 9)
    t.ok(server.requests.every(({ url }) => url === '/path?query=1'))
    t.strictSame(server.requests.slice(0, 3).map(({ method, headers }) => [method, headers.accept, headers.authorization]), [
      ['POST', 'application/json', undefined], ['POST', 'application/json', undefined], ['GET', 'application/json', `Bearer ${accessToken}`]
    ])
  })

  t.test(`undici ${version}: a MockAgent answers expected calls, and other calls fail`, async (t) => {
    const dispatcher = mock()
    t.teardown(() => dispatcher.close())
    dispatcher.disableNetConnect()
    dispatcher.get('https://webflow.example').intercept({ path: '/token?tenant=1', method: 'POST' }).reply(200, { access_token: accessToken })
    const client = createClient('https://webflow.example/token?tenant=1', dispatcher)
    t.equal((await client.exchange(code)).accessToken, accessToken)
    t.equal(await codeOf(client.exchange(code)), 'WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE')
  })

  t.test(`undici ${version}: a ProxyAgent leads every call through its proxy`, async (t) => {
    const server = await startServer(t)
    const between = await startProxy(t)
    const client = createClient(server.url, use(t, proxy(between.url)))
    t.equal((await client.exchange(code)).accessToken, accessToken)
    t.ok(between.passed() > 0)
  })

  t.test(`undici ${version}: an answer that is too long is judged by its status, and the connection is closed`, async (t) => {
    const server = await startServer(t)
    const dispatcher = use(t, agent())
    for (const [status, expected] of [[200, 'RESPONSE_INVALID'], [500, 'UNAVAILABLE']] as const) {
      t.equal(await codeOf(createClient(`${server.url}?status=${status}&length=${tooLong}`, dispatcher).exchange(code)), `WEBFLOW_OAUTH_WEBFLOW_${expected}`)
    }
    await closedFor(server, 2)
  })

  t.test(`undici ${version}: a server that hangs before its headers or in its body runs into the timeout`, async (t) => {
    const dispatcher = use(t, agent())
    for (const hang of ['before the head', 'in the body']) {
      const server = await startHttp(t, (response) => { if (hang === 'in the body') response.writeHead(200).write('{') })
      const begun = performance.now()
      t.equal(await codeOf(createClient(server.url, dispatcher, 100).exchange(code)), 'WEBFLOW_OAUTH_WEBFLOW_TIMEOUT', hang)
      const took = performance.now() - begun
      t.ok(took >= 95 && took < 2000, `${hang}, after ${took} ms`)
      await closedFor(server, 1)
    }
  })

  t.test(`undici ${version}: a dispatcher that follows redirects by default follows none, because they would carry the credentials along`, async (t) => {
    const elsewhere = await startServer(t)
    const server = await startHttp(t, (response) => response.writeHead(307, { location: elsewhere.url }).end())
    t.equal(await codeOf(createClient(server.url, use(t, following())).exchange(code)), 'WEBFLOW_OAUTH_WEBFLOW_RESPONSE_INVALID')
    t.equal(server.requests.length, 1)
    t.strictSame(elsewhere.requests, [])
  })

  t.test(`undici ${version}: a RetryAgent and a composed dispatcher carry calls, if this version has them`, async (t) => {
    const server = await startServer(t)
    const dispatchers = composed('/changed')
    for (const dispatcher of dispatchers) t.equal((await createClient(server.url, use(t, dispatcher)).exchange(code)).accessToken, accessToken)
    t.strictSame(server.requests.map(({ url }) => url), ['/', '/changed'].slice(0, dispatchers.length))
  })
}

t.test('the dispatcher that is built into Node works if it has `request`, and is refused at `register` otherwise', async (t) => {
  // Node makes it when it is first needed.
  await fetch('data:,')
  const dispatcher: unknown = Reflect.get(globalThis, Symbol.for('undici.globalDispatcher.1'))
  const server = await startServer(t)
  const register = createApp(t, { options: { ...Object(dispatcher) === dispatcher ? { dispatcher: Object(dispatcher) } : {}, endpoints: { token: server.url } } })
  if (typeof Reflect.get(Object(dispatcher), 'request') !== 'function') {
    await t.rejects(register, { code: 'WEBFLOW_OAUTH_INVALID_OPTION', message: /`dispatcher` must be a Dispatcher of undici 5 to 8, with the method `request`/ })
    return
  }
  await register
  t.equal((await createClient(server.url, Object(dispatcher)).exchange(code)).accessToken, accessToken)
})

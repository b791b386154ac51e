import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import dns from 'node:dns'
import { once } from 'node:events'
import { mock } from 'node:test'
import { Readable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { inspect } from 'node:util'
import t, { type Test } from 'tap'
import { Agent, MockAgent, buildConnector, errors } from 'undici'
import { WebflowOAuthError } from '../lib/index.ts'
import type { Dispatcher } from '../lib/options/dispatcher.ts'
import { WebflowClient, type ClientOptions } from '../lib/webflow/client.ts'
import { clientId, clientSecret, redirectUri, startWebflow } from './support/app.ts'
import { startOtherThread } from './support/other-thread.ts'
import { closedUrl, startHttp, startTcp, type TestServer } from './support/server-http.ts'

const code = 'code-9f2c7a51e0'
const accessToken = 'token-b1d84c03f6'
// What an answer says belongs into no message.
const said = 'said-5e7f90aa42'

/** A client that speaks to one URL, whatever it asks for. */
function createClient (t: Test, url: string, options: Partial<ClientOptions> = {}): WebflowClient {
  const endpoints = { authorize: url, token: url, revoke: url, introspect: url, authorizedBy: url, resolve: url }
  const client = new WebflowClient({ clientId, clientSecret, redirectUri, endpoints, timeout: 5000, dispatcher: null, ...options })
  // Some tests have closed it already, and undici closes nothing twice.
  t.teardown(() => client.close().catch(() => {}))
  return client
}

/** A server that gives one answer to all. */
const answering = (t: Test, status: number, body: string, headers: Record<string, string> = {}) =>
  startHttp(t, (response) => response.writeHead(status, headers).end(body))

/** What a call failed with; it holds nothing secret, however it is printed. */
async function failureOf (t: Test, call: Promise<unknown>): Promise<WebflowOAuthError> {
  const error: unknown = await call.then(() => null, (thrown: unknown) => thrown)
  if (!(error instanceof WebflowOAuthError)) throw new TypeError('The call did not fail as it should')
  const text = inspect(error, { depth: null, showHidden: true, getters: true }) + String(error.stack) + JSON.stringify(error)
  t.notOk([clientSecret, code, accessToken, said].some((secret) => text.includes(secret)), 'the error holds no secret')
  return error
}

/** A dispatcher whose connections are made by the test. */
function connecting (t: Test, connect: (attempt: number) => Error | 'real' | 'never'): { dispatcher: Dispatcher, attempts: () => number } {
  const real = buildConnector({})
  let attempts = 0
  const dispatcher = new Agent({
    connect (options, callback) {
      const outcome = connect(++attempts)
      if (outcome === 'real') real(options, callback)
      else if (outcome !== 'never') callback(outcome, null)
    }
  })
  t.teardown(() => dispatcher.destroy())
  return { dispatcher, attempts: () => attempts }
}

const failing = (code: string) => Object.assign(new Error(`connect ${code} ${said}`), { code })

/** Waits for something that a server is told by the network. */
async function until (holds: () => boolean): Promise<void> {
  while (!holds()) await setImmediate()
}

/** How many connections of a server are closed. undici may open another at once, which it does not use. */
const closed = ({ sockets }: TestServer) => sockets.filter(({ destroyed }) => destroyed).length

async function openIdleConnection (t: Test): Promise<{ server: TestServer, since: number, closed: Promise<number> }> {
  const server = await answering(t, 200, '{"access_token":"x"}')
  await createClient(t, server.url).exchange(code)
  const [socket] = server.sockets
  const since = Date.now()
  const closed = socket === undefined ? Promise.reject(new Error('no connection')) : once(socket, 'close').then(() => Date.now())
  return { server, since, closed }
}

/** Asks for a host whose name nobody looks up. */
async function openNoConnection (t: Test): Promise<{ error: WebflowOAuthError, lookups: number, life: number }> {
  const { lookup } = dns
  let lookups = 0
  const { mock: mocked } = mock.method(dns, 'lookup', (...args: unknown[]) => {
    if (args[0] === 'webflow.test') lookups++
    else Reflect.apply(lookup, dns, args)
  })
  t.teardown(() => mocked.restore())
  const begun = Date.now()
  const error = await failureOf(t, createClient(t, 'http://webflow.test/', { timeout: 6000 }).exchange(code))
  return { error, lookups, life: Date.now() - begun }
}

// Begun first and looked at last, so that nobody waits for them.
const idle = openIdleConnection(t)
const unopened = openNoConnection(t)

t.test('an exchange is one POST of JSON with the fields of RFC 6749, redirect_uri included', async (t) => {
  const server = await answering(t, 200, JSON.stringify({ access_token: accessToken, token_type: 'bearer' }))
  const grant = await createClient(t, `${server.url}oauth/access_token?tenant=1`).exchange(code)
  t.strictSame(grant, { accessToken, tokenType: 'bearer', scope: null, expiresIn: null })
  t.equal(server.requests.length, 1)
  const { method, url, headers, body = '' } = server.requests[0] ?? {}
  t.equal(method, 'POST')
  t.equal(url, '/oauth/access_token?tenant=1')
  t.equal(headers?.['content-type'], 'application/json')
  t.equal(headers?.accept, 'application/json')
  t.equal(headers?.['user-agent'], 'fastify-webflow-oauth')
  t.equal(headers?.authorization, undefined, 'the credentials go in the body')
  t.strictSame(JSON.parse(body), { client_id: clientId, client_secret: clientSecret, code, grant_type: 'authorization_code', redirect_uri: redirectUri })
})

t.test('a revocation is one POST of JSON in Webflow\'s own form', async (t) => {
  const server = await answering(t, 200, '{"did_revoke":true}')
  t.equal(await createClient(t, server.url).revoke(accessToken), 'revoked')
  t.equal(server.requests.length, 1)
  const { method, headers, body = '' } = server.requests[0] ?? {}
  t.equal(method, 'POST')
  t.equal(headers?.['content-type'], 'application/json')
  t.equal(headers?.authorization, undefined)
  t.strictSame(JSON.parse(body), { client_id: clientId, client_secret: clientSecret, access_token: accessToken })
})

type Refusal = readonly [title: string, status: number, body: unknown, code: string, message: RegExp]

const rejected = 'WEBFLOW_OAUTH_CODE_REJECTED'
const credentials = 'WEBFLOW_OAUTH_CLIENT_REJECTED'
const unavailable = 'WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE'
const invalid = 'WEBFLOW_OAUTH_WEBFLOW_RESPONSE_INVALID'
const threeCauses = /used before.*older than 15 minutes.*`redirectUri` \(https:\/\/app\.example\.com\/webflow\/callback\) is not exactly the one registered/
const checkBoth = /check `clientId` and `clientSecret`/
const token = { access_token: accessToken, token_type: 'bearer' }
const html = `<!doctype html><title>${said}</title>`

const refusals: readonly Refusal[] = [
  ['invalid_grant', 400, { error: 'invalid_grant', error_description: said }, rejected, threeCauses],
  ['invalid_grant beside any status', 503, { error: 'invalid_grant' }, rejected, threeCauses],
  ['invalid_grant with 401', 401, { error: 'invalid_grant' }, rejected, threeCauses],
  ['invalid_grant with 200 and a token', 200, { error: 'invalid_grant', ...token }, rejected, threeCauses],
  ['invalid_client', 401, { error: 'invalid_client', error_description: said }, credentials, checkBoth],
  ['invalid_client with 400', 400, { error: 'invalid_client' }, credentials, checkBoth],
  ['invalid_client with 500', 500, { error: 'invalid_client' }, credentials, checkBoth],
  ['invalid_client with 200', 200, { error: 'invalid_client', ...token }, credentials, checkBoth],
  ['unauthorized_client', 400, { error: 'unauthorized_client' }, credentials, checkBoth],
  ['another error with 401', 401, { error: said }, credentials, checkBoth],
  ['another error with 403', 403, { error: said }, credentials, checkBoth],
  ['HTML with 401', 401, html, credentials, checkBoth],
  ['nothing with 403', 403, '', credentials, checkBoth],
  ['429', 429, { error: 'too_many_requests', message: said }, unavailable, /status 429/],
  ['HTML with 429', 429, html, unavailable, /status 429/],
  ['500', 500, { message: said, code: 'internal_error' }, unavailable, /status 500/],
  ['HTML with 502', 502, html, unavailable, /status 502/],
  ['nothing with 503', 503, '', unavailable, /status 503/],
  ['a token with 500', 500, token, unavailable, /status 500/],
  ['another error with 599', 599, { error: said }, unavailable, /status 599/],
  ['another error with 400', 400, { error: 'invalid_request', error_description: said }, invalid, /status 400/],
  ['a token with 400', 400, token, invalid, /status 400/],
  ['an unknown error with 200', 200, { error: said, ...token }, invalid, /status 200/],
  ['an empty error with 200', 200, { error: '', ...token }, invalid, /status 200/],
  ['HTML with 200', 200, html, invalid, /status 200/],
  ['a form with 200', 200, `access_token=${accessToken}`, invalid, /status 200/],
  ['nothing with 200', 200, '', invalid, /status 200/],
  ['nothing with 204', 204, '', invalid, /status 204/],
  ['JSON that was cut', 200, `{"access_token":"${accessToken}`, invalid, /status 200/],
  ['no token with 200', 200, { token_type: 'bearer', note: said }, invalid, /status 200/],
  ['an empty token', 200, { access_token: '' }, invalid, /status 200/],
  ['a token that is null', 200, { access_token: null }, invalid, /status 200/],
  ['a token that is a number', 200, { access_token: 5 }, invalid, /status 200/],
  ['a token that is a list', 200, { access_token: [accessToken] }, invalid, /status 200/],
  ['a list', 200, [token], invalid, /status 200/],
  ['null', 200, 'null', invalid, /status 200/],
  ['a string', 200, `"${accessToken}"`, invalid, /status 200/],
  ['a number', 200, '5', invalid, /status 200/],
  ['a page that is not there', 404, html, invalid, /status 404/],
  ['304', 304, '', invalid, /status 304/]
]

t.test('an answer without a token is judged by its member `error` first, then by its status', async (t) => {
  for (const [title, status, body, expected, message] of refusals) {
    const server = await answering(t, status, typeof body === 'string' ? body : JSON.stringify(body), { 'content-type': typeof body === 'string' ? 'text/html' : 'application/json' })
    const error = await failureOf(t, createClient(t, server.url).exchange(code))
    t.equal(error.code, expected, title)
    t.match(error.message, message, title)
    t.equal(error.cause, undefined, title)
    t.equal(server.requests.length, 1, `${title}: a code is not tried twice`)
  }
})

t.test('an answer that is not a revocation is judged in the same way', async (t) => {
  const rows: ReadonlyArray<readonly [title: string, status: number, body: unknown, code: string]> = [
    ['invalid_client', 401, { error: 'invalid_client' }, credentials],
    ['invalid_client with 200', 200, { error: 'invalid_client', did_revoke: true }, credentials],
    ['401', 401, html, credentials],
    ['invalid_request', 400, { error: 'invalid_request' }, invalid],
    ['an error beside did_revoke', 200, { error: said, did_revoke: true }, invalid],
    ['did_revoke false', 200, { did_revoke: false }, invalid],
    ['did_revoke as a string', 200, { did_revoke: 'true' }, invalid],
    ['did_revoke with 400', 400, { did_revoke: true }, invalid],
    ['did_revoke with 500', 500, { did_revoke: true }, unavailable],
    ['an empty object', 200, {}, invalid],
    ['nothing', 200, '', invalid],
    ['a list', 200, [{ did_revoke: true }], invalid],
    ['429', 429, '', unavailable],
    ['503', 503, html, unavailable]
  ]
  for (const [title, status, body, expected] of rows) {
    const server = await answering(t, status, typeof body === 'string' ? body : JSON.stringify(body))
    t.equal((await failureOf(t, createClient(t, server.url).revoke(accessToken))).code, expected, title)
    t.equal(server.requests.length, 1, title)
  }
})

t.test('an answer to a revocation says whether the token was revoked now or before', async (t) => {
  const rows = [
    [200, { did_revoke: true }, 'revoked'],
    [200, { didRevoke: true }, 'revoked'],
    [201, { did_revoke: true, didRevoke: false }, 'revoked'],
    [299, { did_revoke: true }, 'revoked'],
    [400, { error: 'invalid_token', error_description: said }, 'already_revoked'],
    [401, { error: 'invalid_token' }, 'already_revoked'],
    [404, { error: 'invalid_token' }, 'already_revoked'],
    [200, { error: 'invalid_token', did_revoke: false }, 'already_revoked']
  ] as const
  for (const [status, body, upstream] of rows) {
    const server = await answering(t, status, JSON.stringify(body))
    t.equal(await createClient(t, server.url).revoke(accessToken), upstream, `${status} ${Object.keys(body).join(' ')}`)
  }
})

t.test('members beside the token are read if they make sense', async (t) => {
  const rows: ReadonlyArray<readonly [title: string, more: object, expected: object]> = [
    ['nothing', { token_type: undefined }, {}],
    ['another token type', { token_type: 'Bearer' }, { tokenType: 'Bearer' }],
    ['an empty token type', { token_type: '' }, {}],
    ['a token type that is no string', { token_type: 5 }, {}],
    ['scope by space', { scope: 'sites:read cms:read' }, { scope: ['sites:read', 'cms:read'] }],
    ['scope by comma', { scope: 'sites:read,cms:read' }, { scope: ['sites:read', 'cms:read'] }],
    ['scope by both', { scope: ' sites:read, cms:read ,' }, { scope: ['sites:read', 'cms:read'] }],
    ['an empty scope', { scope: '' }, {}],
    ['a blank scope', { scope: ' , ' }, {}],
    ['a scope that is null', { scope: null }, {}],
    ['a scope that is a number', { scope: 5 }, {}],
    ['expires_in', { expires_in: 3600 }, { expiresIn: 3600 }],
    ['expires_in as a string', { expires_in: '3600' }, { expiresIn: 3600 }],
    ['expires_in of a fraction', { expires_in: 0.5 }, { expiresIn: 0.5 }],
    ...[0, -1, '', 'soon', null, true, [], {}].map((value) => [`expires_in: ${JSON.stringify(value)}`, { expires_in: value }, {}] as const),
    ['an error that is null', { error: null }, {}],
    ['members nobody knows', { refresh_token: said, id: 5 }, {}]
  ]
  for (const [title, more, expected] of rows) {
    const server = await answering(t, 200, JSON.stringify({ ...token, ...more }))
    t.strictSame(await createClient(t, server.url).exchange(code), { accessToken, tokenType: 'bearer', scope: null, expiresIn: null, ...expected }, title)
  }
  const marked = await answering(t, 201, `\uFEFF${JSON.stringify(token)}`)
  t.equal((await createClient(t, marked.url).exchange(code)).accessToken, accessToken, 'a byte order mark')
})

t.test('a redirect is not followed, so the credentials go to no other server', async (t) => {
  const elsewhere = await answering(t, 200, JSON.stringify(token))
  for (const status of [301, 302, 303, 307, 308]) {
    const server = await answering(t, status, '', { location: elsewhere.url })
    t.equal((await failureOf(t, createClient(t, server.url).exchange(code))).code, invalid, `${status}`)
  }
  t.equal(elsewhere.sockets.length, 0)
})

t.test('an answer of 64 KiB is read', async (t) => {
  const padding = ' '.repeat(64 * 1024 - JSON.stringify(token).length)
  const server = await answering(t, 200, JSON.stringify(token) + padding)
  t.equal((await createClient(t, server.url).exchange(code)).accessToken, accessToken)
})

t.test('a longer answer is cut off as it arrives', async (t) => {
  const oneMore = await answering(t, 200, JSON.stringify(token).padEnd(64 * 1024 + 1))
  const error = await failureOf(t, createClient(t, oneMore.url).exchange(code))
  t.equal(error.code, invalid)
  t.match(error.message, /more than 65536 bytes/)

  let sent = 0
  const endless = await startHttp(t, (response) => {
    const write = () => {
      if (response.destroyed) return
      sent += 1024
      response.write(said.padEnd(1024), () => { setImmediate().then(write) })
    }
    write()
  })
  t.equal((await failureOf(t, createClient(t, endless.url).exchange(code))).code, invalid)
  await until(() => endless.sockets[0]?.destroyed === true)
  t.ok(sent < 10 * 1024 * 1024, 'the connection is cut')
  t.equal(endless.requests.length, 1)
})

t.test('an answer that is too long is judged by its status first', async (t) => {
  const long = said.padEnd(1024 * 1024)
  const rows = [
    [500, unavailable, /status 500/],
    [503, unavailable, /status 503/],
    [429, unavailable, /status 429/],
    [401, credentials, checkBoth],
    [403, credentials, checkBoth],
    [404, invalid, /status 404/],
    [200, invalid, /more than 65536 bytes/],
    [201, invalid, /more than 65536 bytes/]
  ] as const
  for (const [status, expected, message] of rows) {
    const server = await answering(t, status, long)
    const client = createClient(t, server.url)
    for (const call of [() => client.exchange(code), () => client.revoke(accessToken)]) {
      const error = await failureOf(t, call())
      t.equal(error.code, expected, `${status}`)
      t.match(error.message, message, `${status}`)
    }
    await until(() => closed(server) >= 2)
  }
})

t.test('a long page with status 401 or 403 says nothing about a token', async (t) => {
  const long = JSON.stringify({ code: 'not_authorized' }).padEnd(1024 * 1024)
  for (const [status, expected, message] of [[500, unavailable, /status 500/], [429, unavailable, /status 429/], [401, invalid, /status 401/], [403, invalid, /status 403/], [200, invalid, /more than 262144 bytes/]] as const) {
    const server = await answering(t, status, long)
    const client = createClient(t, server.url)
    // A refusal says nothing of the token. Only the user's endpoint has no word for it.
    const isRefusal = status >= 400 && status <= 499
    if (isRefusal) t.strictSame(await client.introspect(accessToken), { kind: 'refused' })
    for (const call of [...isRefusal ? [] : [() => client.introspect(accessToken)], () => client.authorizedBy(accessToken)]) {
      const error = await failureOf(t, call())
      t.equal(error.code, expected, `${status}`)
      t.match(error.message, message, `${status}`)
    }
    await until(() => closed(server) >= 2)
  }
})

t.test('half a body counts as a broken connection, and the call is not repeated', async (t) => {
  const server = await startHttp(t, (response) => {
    response.writeHead(200, { 'content-length': '1000' })
    response.write(JSON.stringify(token), () => response.destroy())
  })
  const error = await failureOf(t, createClient(t, server.url).exchange(code))
  t.equal(error.code, unavailable)
  t.ok(error.cause instanceof Error)
  t.equal(server.requests.length, 1)
})

t.test('a code that may have been sent is not sent again', async (t) => {
  const resetting = await startHttp(t, (response) => response.socket?.resetAndDestroy())
  t.equal((await failureOf(t, createClient(t, resetting.url).exchange(code))).code, unavailable, 'a reset after the request')
  t.equal(resetting.requests.length, 1)
  t.equal(resetting.sockets.length, 1)

  const ending = await startHttp(t, (response) => response.socket?.end())
  t.equal((await failureOf(t, createClient(t, ending.url).exchange(code))).code, unavailable, 'an end after the request')
  t.equal(ending.requests.length, 1)
  t.equal(ending.sockets.length, 1)

  const deaf = await startTcp(t, (socket) => { socket.destroy() })
  t.equal((await failureOf(t, createClient(t, deaf.url).exchange(code))).code, unavailable, 'an end before the request')
  t.equal(deaf.sockets.length, 1)

  const nonsense = await startTcp(t, (socket) => { socket.end(`${said}\r\n\r\n`) })
  t.equal((await failureOf(t, createClient(t, nonsense.url).exchange(code))).code, unavailable, 'what is no HTTP')
  t.equal(nonsense.sockets.length, 1)
})

t.test('a revocation whose connection breaks is not sent again', async (t) => {
  const server = await startHttp(t, (response) => response.socket?.resetAndDestroy())
  t.equal((await failureOf(t, createClient(t, server.url).revoke(accessToken))).code, unavailable)
  t.equal(server.requests.length, 1)
})

t.test('a request on a connection that the server has closed is not sent again', async (t) => {
  const server = await startHttp(t, (response) => {
    if (server.requests.length === 1) response.end(JSON.stringify(token))
    else response.socket?.resetAndDestroy()
  })
  const client = createClient(t, server.url)
  await client.exchange(code)
  t.equal((await failureOf(t, client.exchange(code))).code, unavailable)
  t.equal(server.requests.length, 2)
})

t.test('a connection is tried twice if nobody listens', async (t) => {
  const url = await closedUrl()
  const { dispatcher, attempts } = connecting(t, () => 'real')
  const error = await failureOf(t, createClient(t, url, { dispatcher }).exchange(code))
  t.equal(error.code, unavailable)
  t.equal(attempts(), 2)
  t.match(error.cause, { message: 'Error ECONNREFUSED' })
  t.equal((await failureOf(t, createClient(t, url).exchange(code))).code, unavailable, 'with the own agent too')
})

t.test('an unknown host name is looked up twice', async (t) => {
  let lookups = 0
  const dispatcher = new Agent({ connect: { lookup: (_hostname, _options, done) => { lookups++; done(failing('ENOTFOUND'), '') } } })
  t.teardown(() => dispatcher.destroy())
  t.equal((await failureOf(t, createClient(t, 'http://webflow.test/', { dispatcher }).exchange(code))).code, unavailable)
  t.equal(lookups, 2)
})

t.test('a second try is made only when no connection was opened', async (t) => {
  for (const name of ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH']) {
    const { dispatcher, attempts } = connecting(t, () => failing(name))
    const error = await failureOf(t, createClient(t, 'http://webflow.test/', { dispatcher }).exchange(code))
    t.equal(error.code, unavailable, name)
    t.match(error.cause, { message: `Error ${name}` }, name)
    t.equal(attempts(), 2, name)
  }
  for (const name of ['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'EACCES', 'DEPTH_ZERO_SELF_SIGNED_CERT', 'CERT_HAS_EXPIRED']) {
    const { dispatcher, attempts } = connecting(t, () => failing(name))
    const error = await failureOf(t, createClient(t, 'http://webflow.test/', { dispatcher }).exchange(code))
    t.equal(error.code, unavailable, name)
    t.equal(attempts(), 1, name)
  }
})

t.test('a host with several addresses is tried again only if none of them accepts a connection', async (t) => {
  const rows = [[['ECONNREFUSED', 'ENETUNREACH'], 2], [['ETIMEDOUT', 'ECONNREFUSED'], 2], [['ECONNREFUSED', 'EACCES'], 1], [[], 1]] as const
  for (const [names, expected] of rows) {
    const { dispatcher, attempts } = connecting(t, () => new AggregateError(names.map(failing), said))
    t.equal((await failureOf(t, createClient(t, 'http://webflow.test/', { dispatcher }).exchange(code))).code, unavailable, names.join(' '))
    t.equal(attempts(), expected, names.join(' '))
  }
})

t.test('the second try can succeed, and one request is sent in all', async (t) => {
  const server = await answering(t, 200, JSON.stringify(token))
  const { dispatcher, attempts } = connecting(t, (attempt) => attempt === 1 ? failing('ECONNREFUSED') : 'real')
  t.equal((await createClient(t, server.url, { dispatcher }).exchange(code)).accessToken, accessToken)
  t.equal(attempts(), 2)
  t.equal(server.requests.length, 1)
})

t.test('there is no third try', async (t) => {
  const server = await startHttp(t, (response) => response.socket?.resetAndDestroy())
  const { dispatcher, attempts } = connecting(t, (attempt) => attempt === 1 ? failing('ECONNREFUSED') : 'real')
  t.equal((await failureOf(t, createClient(t, server.url, { dispatcher }).exchange(code))).code, unavailable)
  t.equal(attempts(), 2)
  t.equal(server.requests.length, 1)
})

t.test('`timeout` covers a server that is silent', async (t) => {
  const server = await startHttp(t, () => {})
  const begun = Date.now()
  const error = await failureOf(t, createClient(t, server.url, { timeout: 60 }).exchange(code))
  t.equal(error.code, 'WEBFLOW_OAUTH_WEBFLOW_TIMEOUT')
  t.equal(error.statusCode, 504)
  t.match(error.message, /did not answer within 60 ms/)
  const took = Date.now() - begun
  t.ok(took > 55 && took < 2000, `after ${took} ms`)
  t.equal(server.requests.length, 1, 'it is not asked again')
  await until(() => server.sockets[0]?.destroyed === true)
  t.pass('the connection is closed')
})

t.test('timeout covers a body and a head that drip', async (t) => {
  const body = await startHttp(t, (response) => {
    response.writeHead(200)
    const drip = setInterval(() => response.write(' '), 10)
    response.on('close', () => clearInterval(drip))
  })
  t.equal((await failureOf(t, createClient(t, body.url, { timeout: 80 }).exchange(code))).code, 'WEBFLOW_OAUTH_WEBFLOW_TIMEOUT', 'a body')
  t.equal(body.requests.length, 1)
  await until(() => body.sockets[0]?.destroyed === true)

  const head = await startTcp(t, (socket) => {
    socket.write('HTTP/1.1 200 OK\r\nx: ')
    const drip = setInterval(() => socket.write('x'), 10)
    socket.on('close', () => clearInterval(drip))
  })
  t.equal((await failureOf(t, createClient(t, head.url, { timeout: 80 }).exchange(code))).code, 'WEBFLOW_OAUTH_WEBFLOW_TIMEOUT', 'a head')
  await until(() => head.sockets[0]?.destroyed === true)
})

t.test('`timeout` covers a body that hangs', async (t) => {
  const server = await startHttp(t, (response) => response.writeHead(200).write('{'))
  const begun = Date.now()
  t.equal((await failureOf(t, createClient(t, server.url, { timeout: 60 }).exchange(code))).code, 'WEBFLOW_OAUTH_WEBFLOW_TIMEOUT')
  const took = Date.now() - begun
  t.ok(took > 55 && took < 2000, `after ${took} ms`)
  await until(() => server.sockets[0]?.destroyed === true)
})

t.test('time in which the process was blocked while Webflow answered does not count as a timeout', async (t) => {
  const timeout = 200
  const whole = JSON.stringify(token)
  for (const [title, early, late] of [['before the head', '', whole], ['in the body', whole.slice(0, 5), whole.slice(5)]] as const) {
    for (const dispatcher of [null, new Agent()]) {
      t.teardown(() => dispatcher?.close())
      const server = await startOtherThread(t, { early, late })
      let hasHead = false
      const onHead = () => { hasHead = true }
      subscribe('undici:request:headers', onHead)
      t.teardown(() => unsubscribe('undici:request:headers', onHead))
      const exchange = createClient(t, server.url, { timeout, dispatcher }).exchange(code)
      await server.asked()
      await until(() => hasHead === (early !== ''))
      server.answerWhileBlocked(3 * timeout)
      t.equal((await exchange).accessToken, accessToken, `${title}, ${dispatcher === null ? 'with the own agent' : 'with a dispatcher that was given'}`)
      unsubscribe('undici:request:headers', onHead)
    }
  }
})

t.test('a dispatcher is told to use no timeout of its own and to follow no redirect', async (t) => {
  const asked: unknown[] = []
  const dispatcher: Dispatcher = {
    async request ({ signal, ...options }) {
      asked.push({ ...options, canAbort: signal.listenerCount('abort') === 0 })
      return { statusCode: 200, body: Readable.from([Buffer.from(JSON.stringify(token))]) }
    }
  }
  await createClient(t, 'https://webflow.example:8443/token?tenant=1', { dispatcher }).exchange(code)
  t.match(asked, [{ origin: 'https://webflow.example:8443', path: '/token?tenant=1', method: 'POST', headersTimeout: 0, bodyTimeout: 0, maxRedirections: 0, canAbort: true }])
  t.equal(asked.length, 1)
})

t.test('any value that a dispatcher throws counts as a Webflow that cannot be reached', async (t) => {
  const { proxy: revoked, revoke } = Proxy.revocable({}, {})
  revoke()
  const hostile = [null, undefined, said, revoked, Object.create(null), Object.assign(new Error(said), { errors: said, code: {} }), Object.defineProperty(new Error(said), 'errors', { get () { throw new Error(said) } })]
  for (const thrown of hostile) {
    const error = await failureOf(t, createClient(t, 'http://webflow.test/', { dispatcher: { request: () => Promise.reject(thrown) } }).exchange(code))
    t.equal(error.code, unavailable)
  }
})

t.test('timeout covers both tries together', async (t) => {
  const { dispatcher, attempts } = connecting(t, (attempt) => attempt === 1 ? failing('ECONNREFUSED') : 'never')
  const begun = Date.now()
  t.equal((await failureOf(t, createClient(t, 'http://webflow.test/', { dispatcher, timeout: 60 }).exchange(code))).code, 'WEBFLOW_OAUTH_WEBFLOW_TIMEOUT')
  t.equal(attempts(), 2)
  t.ok(Date.now() - begun < 2000)
})

t.test('a timeout of the dispatcher itself is reported as a timeout', async (t) => {
  for (const timeout of [new errors.HeadersTimeoutError(), new errors.BodyTimeoutError()]) {
    const dispatcher = new MockAgent()
    dispatcher.disableNetConnect()
    t.teardown(() => dispatcher.close())
    dispatcher.get('https://api.webflow.com').intercept({ path: '/token', method: 'POST' }).replyWithError(timeout)
    t.equal((await failureOf(t, createClient(t, 'https://api.webflow.com/token', { dispatcher }).exchange(code))).code, 'WEBFLOW_OAUTH_WEBFLOW_TIMEOUT', timeout.name)
  }
})

t.test('a connection is reused', async (t) => {
  const server = await answering(t, 200, JSON.stringify({ ...token, did_revoke: true }))
  const client = createClient(t, server.url)
  await client.exchange(code)
  // undici gives the connection back a moment after the last byte.
  await setImmediate()
  await client.revoke(accessToken)
  t.equal(server.requests.length, 2)
  t.equal(server.sockets.length, 1)
})

t.test('close waits for running calls and closes every connection of the plugin', async (t) => {
  const server = await startHttp(t, (response) => { setImmediate().then(() => response.end(JSON.stringify(token))) })
  const client = createClient(t, server.url)
  const exchange = client.exchange(code)
  await until(() => server.requests.length === 1)
  await client.close()
  t.equal((await exchange).accessToken, accessToken)
  await until(() => server.sockets[0]?.destroyed === true)
  t.equal((await failureOf(t, client.exchange(code))).code, unavailable, 'and nothing is sent any more')
  t.equal(server.requests.length, 1)
})

t.test('a dispatcher of the app is used, and never closed', async (t) => {
  const dispatcher = new MockAgent()
  dispatcher.disableNetConnect()
  t.teardown(() => dispatcher.close())
  const webflow = dispatcher.get('https://webflow.example')
  webflow.intercept({ path: '/token', method: 'POST' }).reply(200, token).times(2)
  webflow.intercept({ path: '/revoke', method: 'POST' }).reply(200, { did_revoke: true })
  const origin = 'https://webflow.example'
  const endpoints = { authorize: `${origin}/`, token: `${origin}/token`, revoke: `${origin}/revoke`, introspect: `${origin}/introspect`, authorizedBy: `${origin}/authorized_by`, resolve: `${origin}/resolve` }
  const client = createClient(t, '', { dispatcher, endpoints })
  t.equal((await client.exchange(code)).accessToken, accessToken)
  t.equal(await client.revoke(accessToken), 'revoked')
  await client.close()
  t.equal((await client.exchange(code)).accessToken, accessToken, 'it still works')
  dispatcher.assertNoPendingInterceptors()
  t.equal((await failureOf(t, client.exchange(code))).code, unavailable, 'what the mock does not expect fails')
})

t.test('a dispatcher that throws counts as a Webflow that cannot be reached', async (t) => {
  const dispatcher = new MockAgent()
  await dispatcher.close()
  t.equal((await failureOf(t, createClient(t, 'https://webflow.example/', { dispatcher }).exchange(code))).code, unavailable)
})

t.test('against a local Webflow a code is exchanged once', async (t) => {
  const webflow = await startWebflow(t)
  const client = createClient(t, '', { endpoints: webflow.endpoints })
  const query = new URLSearchParams({ response_type: 'code', client_id: clientId, redirect_uri: redirectUri, scope: 'sites:read' })
  const newCode = async () => String(new URL(await webflow.approve(`${webflow.endpoints.authorize}?${query}`)).searchParams.get('code'))

  const first = await newCode()
  const { accessToken } = await client.exchange(first)
  t.equal((await failureOf(t, client.exchange(first))).code, rejected, 'the second time')
  t.equal(await client.revoke(accessToken), 'revoked')
  t.equal(await client.revoke(accessToken), 'already_revoked')

  webflow.fail('token', { reset: true, handled: true })
  const lost = await newCode()
  t.equal((await failureOf(t, client.exchange(lost))).code, unavailable, 'an answer that is lost')
  t.equal((await failureOf(t, client.exchange(lost))).code, rejected, 'the code is spent all the same')

  const elsewhere = createClient(t, '', { endpoints: webflow.endpoints, redirectUri: `${redirectUri}/` })
  t.equal((await failureOf(t, elsewhere.exchange(await newCode()))).code, rejected, 'another redirect_uri')
})

t.test('wrong credentials have an error of their own if Webflow names them', async (t) => {
  for (const [wrongCredentials, expected] of [['invalid_grant', rejected], ['invalid_client', credentials]] as const) {
    const webflow = await startWebflow(t, { wrongCredentials })
    const client = createClient(t, '', { endpoints: webflow.endpoints, clientSecret: 'another' })
    t.equal((await failureOf(t, client.exchange(code))).code, expected, wrongCredentials)
    t.equal((await failureOf(t, client.revoke(accessToken))).code, credentials, 'for a revocation')
  }
})

t.test('an idle connection is closed before a server would', async (t) => {
  const { server, since, closed } = await idle
  t.equal(server.sockets.length, 1)
  const life = await closed - since
  t.ok(life > 1000, 'it was kept for a while')
  t.ok(life < 5500, 'it was closed after four seconds, by the second at which undici looks')
})

t.test('a connection that does not open is given up well before the timeout, twice', async (t) => {
  const { error, lookups, life } = await unopened
  t.equal(error.code, unavailable, 'there was time for the second try')
  t.match(error.cause, { message: 'ConnectTimeoutError UND_ERR_CONNECT_TIMEOUT' })
  t.equal(lookups, 2)
  t.ok(life < 6000)
})

import { once } from 'node:events'
import { connect as connectSocket } from 'node:net'
import { PassThrough, Readable } from 'node:stream'
import { mock } from 'node:test'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { MemoryStore, type TokenStore, type WebflowToken } from '../lib/index.ts'
import { assertNothingLeaked, connect, createApp, startWebflow } from './support/app.ts'
import { Browser, navigation } from './support/browser.ts'
import { tick } from './support/clock.ts'

const revokePath = '/webflow/revoke'
const sessionCookie = '__Host-webflow'

/** The answers of Webflow to a revocation that leave the token where it is. */
const failures = [
  { name: 'an outage', fault: { status: 503, body: 'oops' }, statusCode: 502, code: 'WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE' },
  { name: 'a reset', fault: { reset: true }, statusCode: 502, code: 'WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE' },
  { name: 'silence', fault: { hang: true }, statusCode: 504, code: 'WEBFLOW_OAUTH_WEBFLOW_TIMEOUT' },
  { name: 'rejected credentials', fault: { status: 401, body: { error: 'invalid_client' } }, statusCode: 500, code: 'WEBFLOW_OAUTH_CLIENT_REJECTED' },
  { name: 'a page', fault: { body: '<html>' }, statusCode: 502, code: 'WEBFLOW_OAUTH_WEBFLOW_RESPONSE_INVALID' },
  { name: 'did_revoke: false', fault: { body: { did_revoke: false } }, statusCode: 502, code: 'WEBFLOW_OAUTH_WEBFLOW_RESPONSE_INVALID' }
]

for (const { name, fault, statusCode, code } of failures) {
  t.test(`${name} keeps token and cookie`, async (t) => {
    const webflow = await startWebflow(t)
    const browser = new Browser(await createApp(t, { webflow, options: { timeout: 1000 } }))
    await connect(browser, webflow)
    webflow.fail('revoke', fault)
    const answer = await browser.request(revokePath, { method: 'POST' })
    t.equal(answer.statusCode, statusCode)
    t.equal(answer.json().code, code)
    t.strictSame(answer.cookies, [])
    t.equal((await browser.get('/token')).json().connected, true)
    t.strictSame((await browser.request(revokePath, { method: 'POST' })).json(), { revoked: true, upstream: 'revoked' })
  })
}

t.test('a token that Webflow no longer knows is deleted all the same', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))
  await connect(browser, webflow)
  webflow.uninstall()
  const answer = await browser.request(revokePath, { method: 'POST' })
  t.strictSame(answer.json(), { revoked: true, upstream: 'already_revoked' })
  t.notOk(browser.cookies.has(sessionCookie))
  t.equal((await browser.get('/token')).json().connected, false)
})

t.test('without a token, revoke answers `revoked: false`', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))
  const answer = await browser.request(revokePath, { method: 'POST' })
  t.equal(answer.statusCode, 200)
  t.strictSame(answer.json(), { revoked: false })
  t.strictSame(answer.cookies, [])
  browser.cookies.set(sessionCookie, 'A'.repeat(43))
  t.strictSame((await browser.request(revokePath, { method: 'POST' })).json(), { revoked: false })
  t.notOk(browser.cookies.has(sessionCookie), 'a cookie without a token is ended')
  t.equal(webflow.requests.revoke.length, 0)
})

t.test('a browser is redirected to `revokeRedirect`', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { revokeRedirect: '/bye' } }))
  await connect(browser, webflow)
  for (let i = 0; i < 2; i++) {
    const answer = await browser.request(revokePath, { method: 'POST', headers: { ...navigation, 'sec-fetch-site': 'same-origin', 'content-type': 'application/x-www-form-urlencoded' } })
    t.equal(answer.statusCode, 303)
    t.equal(answer.location, 'https://app.example.com/bye')
  }
})

t.test('with `revokeMethod: DELETE` only DELETE revokes', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { revokeMethod: 'DELETE', revokePath: '/connection' } }))
  await connect(browser, webflow)
  t.equal((await browser.request('/connection', { method: 'POST' })).statusCode, 404)
  t.strictSame((await browser.request('/connection', { method: 'DELETE', headers: { 'content-type': 'application/json' }, body: '{' })).json(), { revoked: true, upstream: 'revoked' })
  t.equal((await browser.get('/connection')).statusCode, 404, 'a link never disconnects')
})

t.test('revoke accepts any content type and any body, whatever parsers the app has', async (t) => {
  const webflow = await startWebflow(t)
  const app = await createApp(t, {
    webflow,
    server: { bodyLimit: 10 },
    before: (app) => {
      app.addHook('onRequest', async (request) => { request.log.debug(request.mediaType) })
      app.removeAllContentTypeParsers()
      app.addContentTypeParser(/^.*/, (_request, _payload, done) => { done(new Error('a parser of the app')) })
    }
  })
  const bodies: Array<[string | null, string]> = [
    ['application/json', '{"broken'], ['application/json', ''], ['application/x-www-form-urlencoded', 'a=b&a=b'], ['multipart/form-data', 'x'],
    ['text/plain', 'y'.repeat(100_000)], ['foo', 'x'], [';;;', 'x'], ['a/b/c', 'x'], ['', 'x'], ['application/octet-stream', '\0\0'], [null, 'no type']
  ]
  for (const [type, body] of bodies) {
    const browser = new Browser(app)
    await connect(browser, webflow)
    const answer = await browser.request(revokePath, { method: 'POST', headers: type === null ? {} : { 'content-type': type }, body })
    t.strictSame(answer.json(), { revoked: true, upstream: 'revoked' })
  }
})

t.test('over a real socket, revoke accepts a chunked, a missing and an unfinished body', async (t) => {
  const app = await createApp(t)
  await app.listen({ port: 0 })
  const address = app.server.address()
  t.ok(address !== null && typeof address === 'object')
  const port = typeof address === 'object' ? address?.port ?? 0 : 0
  const heads = [
    'Content-Length: 0\r\n\r\n',
    '\r\n',
    'Content-Type: nonsense\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
    'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"a'
  ]
  for (const head of heads) {
    const socket = connectSocket(port, 'localhost')
    socket.write(`POST ${revokePath} HTTP/1.1\r\nHost: app.example.com\r\nConnection: close\r\n${head}`)
    const [chunk] = await once(socket, 'data')
    t.match(String(chunk), /^HTTP\/1\.1 200 OK/)
    socket.destroy()
  }
})

const formType = 'application/x-www-form-urlencoded'

/** Starts an app on a real port that remembers what the hooks of the app see of each request to revoke. */
async function listenForForms (t: Test, before?: (app: FastifyInstance) => void) {
  const seen: Array<{ body: unknown, type: string | undefined }> = []
  const app = await createApp(t, {
    server: { bodyLimit: 10 },
    before: (app) => {
      before?.(app)
      app.addHook('preValidation', async ({ body, headers }) => { seen.push({ body, type: headers['content-type'] }) })
    }
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const port = app.addresses().map((address) => typeof address === 'string' ? 0 : address.port)[0]
  return { app, seen, port }
}

/** Opens a connection that reads answers one by one. */
async function openConnection (t: Test, port: number | undefined) {
  const socket = connectSocket({ port: port ?? 0, host: '127.0.0.1' })
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  return {
    write: (text: string) => { socket.write(text) },
    async statusOfAnswer () {
      const [chunk] = await once(socket, 'data')
      return /^HTTP\/1\.1 (\d+)/.exec(String(chunk))?.[1]
    }
  }
}

const head = (...lines: string[]) => [`POST ${revokePath} HTTP/1.1`, 'Host: app.example.com', ...lines, '', ''].join('\r\n')

t.test('a hook of the app finds the fields of a form in `request.body` and can refuse the request', async (t) => {
  const webflow = await startWebflow(t)
  for (const revokeMethod of ['POST', 'DELETE'] as const) {
    const app = await createApp(t, {
      webflow,
      options: { revokeMethod },
      before: (app) => {
        app.addHook('preHandler', async (request) => {
          if (request.method === revokeMethod && Reflect.get(Object(request.body), '_csrf') !== 'a-token') throw Object.assign(new Error('no token'), { statusCode: 403, code: 'NO_TOKEN' })
        })
      }
    })
    const browser = new Browser(app)
    await connect(browser, webflow)
    const headers = { 'content-type': formType }
    const refused = await browser.request(revokePath, { method: revokeMethod, headers, body: '_csrf=another' })
    t.match([refused.statusCode, refused.json().code], [403, 'NO_TOKEN'])
    t.equal((await browser.request(revokePath, { method: revokeMethod })).statusCode, 403)
    t.equal((await browser.get('/token')).json().connected, true)
    const passed = await browser.request(revokePath, { method: revokeMethod, headers, body: 'a=b&_csrf=a-token' })
    t.strictSame(passed.json(), { revoked: true, upstream: 'revoked' })
  }
})

t.test('a form is parsed for every spelling of its content type, and no field name does harm', async (t) => {
  const { app, seen } = await listenForForms(t, (app) => { app.addContentTypeParser(formType, (_request, _payload, done) => { done(new Error('a parser of the app')) }) })
  const browser = new Browser(app)
  const rows: Array<[type: string, body: string, fields: Record<string, string>]> = [
    [formType, 'a=1&b=%C3%A4+%2B&a=2', { a: '2', b: 'ä +' }],
    ['Application/X-WWW-Form-URLencoded; Charset=UTF-8', 'a=ü', { a: 'ü' }],
    [` ${formType} ;x`, '=&a&=x', { '': 'x', a: '' }],
    [formType, '%=%E0%A4%A&b=%zz', { '%': '\ufffd%A', b: '%zz' }],
    [formType, `a=${'x'.repeat(16 * 1024 - 2)}`, { a: 'x'.repeat(16 * 1024 - 2) }],
    [formType, '', {}]
  ]
  for (const [type, body, fields] of rows) {
    t.equal((await browser.request(revokePath, { method: 'POST', headers: { 'content-type': type }, body })).statusCode, 200)
    t.strictSame({ ...Object(seen.at(-1)?.body) }, fields, type)
    t.equal(seen.at(-1)?.type?.trim(), type.trim(), 'the hooks see the header')
  }
  await browser.request(revokePath, { method: 'POST', headers: { 'content-type': formType }, body: '__proto__=x&constructor=y&__proto__[z]=1' })
  const body = Object(seen.at(-1)?.body)
  t.equal(Object.getPrototypeOf(body), null)
  t.strictSame(Object.entries(body), [['__proto__', 'x'], ['constructor', 'y'], ['__proto__[z]', '1']])
  t.equal(Reflect.get({}, 'z'), undefined)
})

t.test('a body that is not a form or is too long is ignored, and hooks see its content type if it is well-formed', async (t) => {
  const { app, seen } = await listenForForms(t)
  const browser = new Browser(app)
  const rows: Array<[type: string, body: string, visible: string | undefined]> = [
    ['application/json', '{"_csrf":"x"}', 'application/json'],
    [`multipart/form-data; boundary=${formType}`, 'a=b', `multipart/form-data; boundary=${formType}`],
    [`${formType}x`, 'a=b', `${formType}x`],
    [formType, `a=${'x'.repeat(16 * 1024 - 1)}`, formType],
    [`x ${formType}`, 'a=b', undefined],
    [`${formType}/x`, 'a=b', undefined],
    ['', 'a=b', undefined]
  ]
  for (const [type, body, visible] of rows) {
    t.equal((await browser.request(revokePath, { method: 'POST', headers: { 'content-type': type }, body })).statusCode, 200)
    t.strictSame(seen.at(-1), { body: undefined, type: visible }, type)
  }
})

t.test('a chunked form is read, a chunked form that is too long is not, and the connection stays usable', async (t) => {
  const { seen, port } = await listenForForms(t, (app) => { app.addHook('preHandler', async ({ headers, raw }) => { if (headers['x-slow'] !== undefined) await once(raw, 'end') }) })
  const connection = await openConnection(t, port)
  const piece = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`
  connection.write(head(`Content-Type: ${formType}`, 'Transfer-Encoding: chunked') + piece('_csrf=a-') + piece('token') + piece(''))
  t.equal(await connection.statusOfAnswer(), '200')
  t.strictSame({ ...Object(seen.at(-1)?.body) }, { _csrf: 'a-token' })
  connection.write(head(`Content-Type: ${formType}`, 'Transfer-Encoding: chunked') + piece(`_csrf=${'x'.repeat(16 * 1024)}`))
  t.equal(await connection.statusOfAnswer(), '200', 'revoke does not wait for the end of the form')
  t.equal(seen.at(-1)?.body, undefined)
  connection.write(piece('x'.repeat(500_000)) + piece('') + head('Content-Length: 0'))
  t.equal(await connection.statusOfAnswer(), '200', 'the connection takes the next request')
  connection.write(head('X-Slow: 1', `Content-Type: ${formType}`, 'Transfer-Encoding: chunked') + piece(`_csrf=${'x'.repeat(16 * 1024)}`) + piece('more') + piece(''))
  t.equal(await connection.statusOfAnswer(), '200')
  t.equal(seen.length, 4, 'each request is handled once')
})

t.test('revoke does not wait for a body that is not a form or is declared too long, and the connection stays usable', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const { seen, port } = await listenForForms(t)
  for (const [type, length] of [[formType, 16 * 1024 + 1], ['application/json', 20], ['application/octet-stream', 1_000_000]] as const) {
    const connection = await openConnection(t, port)
    connection.write(head(`Content-Type: ${type}`, `Content-Length: ${length}`) + 'a=b')
    t.equal(await connection.statusOfAnswer(), '200')
    t.equal(seen.at(-1)?.body, undefined)
    connection.write('x'.repeat(length - 3) + head('Content-Length: 0'))
    t.equal(await connection.statusOfAnswer(), '200', 'the connection takes the next request')
  }
})

t.test('revoke waits five seconds for the end of a form', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  let parse = () => {}
  const parsing = new Promise<void>((resolve) => { parse = resolve })
  const { seen, port } = await listenForForms(t, (app) => { app.addHook('preParsing', async () => { parse() }) })
  const connection = await openConnection(t, port)
  connection.write(head(`Content-Type: ${formType}`, 'Content-Length: 20') + 'a=b')
  await parsing
  const turn = () => new Promise((resolve) => { setImmediate(resolve) })
  await turn()
  tick(4999)
  await turn()
  t.equal(seen.length, 0)
  tick(1)
  t.equal(await connection.statusOfAnswer(), '200')
  t.strictSame(seen, [{ body: undefined, type: formType }])
  connection.write('x'.repeat(17) + head('Content-Length: 0'))
  t.equal(await connection.statusOfAnswer(), '200', 'the connection takes the next request')
})

t.test('revoke does not wait for a form that has broken off', async (t) => {
  let see = (_body: unknown) => {}
  const body = new Promise<unknown>((resolve) => { see = resolve })
  const { port } = await listenForForms(t, (app) => { app.addHook('preValidation', async (request) => { see(request.body) }) })
  const socket = connectSocket({ port: port ?? 0, host: '127.0.0.1' })
  socket.write(head(`Content-Type: ${formType}`, 'Content-Length: 20') + 'a=b', () => { socket.destroy() })
  t.equal(await body, undefined)
})

t.test('a hook may replace the body by another stream, which may fail', async (t) => {
  const streams = [
    () => Readable.from(['a=', 'b']),
    () => {
      const stream = new PassThrough()
      setImmediate(() => { stream.destroy(new Error('not gzip')) })
      return stream
    }
  ]
  for (const [type, bodies] of [[formType, [{ a: 'b' }, {}]], ['application/json', [{}, {}]]] as const) {
    for (const [i, create] of streams.entries()) {
      const { app, seen } = await listenForForms(t, (app) => { app.addHook('preParsing', async () => create()) })
      t.equal((await new Browser(app).request(revokePath, { method: 'POST', headers: { 'content-type': type }, body: 'x' })).statusCode, 200)
      t.strictSame({ ...Object(seen.at(-1)?.body) }, bodies[i])
    }
  }
})

t.test('a request that another site makes a browser send is refused', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { allowedOrigins: ['https://spa.example.com'] } }))
  await connect(browser, webflow)
  const refused = [
    { 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site' }, { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' }, { 'sec-fetch-site': 'anything' },
    { origin: 'https://evil.example' }, { origin: 'null' }, { origin: 'https://app.example.com.evil.example' }, { origin: 'http://app.example.com' },
    { 'sec-fetch-site': 'cross-site', authorization: 'Bearer x' }
  ]
  for (const headers of refused) {
    const answer = await browser.request(revokePath, { method: 'POST', headers: { ...headers } })
    t.equal(answer.statusCode, 403)
    t.equal(answer.json().code, 'WEBFLOW_OAUTH_CROSS_SITE')
    t.match(answer.json().message, /came from another site/)
    t.strictSame(answer.cookies, [])
  }
  t.equal(webflow.requests.revoke.length, 0)
})

for (const headers of [{ 'sec-fetch-site': 'same-origin' }, { 'sec-fetch-site': 'none' }, { 'sec-fetch-site': 'same-origin', origin: 'https://evil.example' }, { origin: 'https://app.example.com' }, { 'sec-fetch-site': 'cross-site', origin: 'https://spa.example.com' }, {}]) {
  t.test(`the app's own request passes: ${JSON.stringify(headers)}`, async (t) => {
    const webflow = await startWebflow(t)
    const browser = new Browser(await createApp(t, { webflow, options: { allowedOrigins: ['https://spa.example.com'] } }))
    await connect(browser, webflow)
    t.equal((await browser.request(revokePath, { method: 'POST', headers: { ...headers } })).statusCode, 200)
  })
}

t.test('with `identify` a request without fetch metadata needs an Authorization header', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { identify: () => 'ada' } }))
  const refused = await browser.request(revokePath, { method: 'POST' })
  t.equal(refused.statusCode, 403)
  t.match(refused.json().message, /a program must send an `Authorization` header/)
  const passed = await browser.request(revokePath, { method: 'POST', headers: { authorization: 'Bearer x' } })
  t.equal(passed.statusCode, 200)
  t.strictSame(passed.cookies, [], 'there is no session cookie to end')
  t.equal(passed.headers['content-type'], 'application/json; charset=utf-8')
})

t.test('if the store fails after Webflow has revoked, the cookie stays and a second request finishes', async (t) => {
  const memory = new MemoryStore()
  let down = false
  const store: TokenStore = {
    get: (key) => memory.get(key),
    set: (key, value, options) => memory.set(key, value, options),
    delete: async (key, options) => down ? await Promise.reject(new Error('down')) : await memory.delete(key, options),
    find: (tag, options) => memory.find(tag, options)
  }
  const revoked: string[] = []
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { store, onRevoke: (token) => { revoked.push(token.id) } } }))
  await connect(browser, webflow)
  down = true
  const failed = await browser.request(revokePath, { method: 'POST' })
  t.equal(failed.statusCode, 503)
  t.strictSame(failed.cookies, [])
  t.equal(revoked.length, 0)
  down = false
  t.strictSame((await browser.request(revokePath, { method: 'POST' })).json(), { revoked: true, upstream: 'already_revoked' })
  t.equal(revoked.length, 1)
})

t.test('`onRevoke` runs once although two requests revoke at the same moment, and may throw', async (t) => {
  const revoked: Array<string | undefined> = []
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, {
    webflow,
    options: {
      onRevoke (_token, request) {
        revoked.push(request?.method)
        throw new Error('mail server down')
      }
    }
  }))
  await connect(browser, webflow)
  const answers = await Promise.all([browser.clone().request(revokePath, { method: 'POST' }), browser.request(revokePath, { method: 'POST' })])
  t.strictSame(answers.map(({ statusCode }) => statusCode), [200, 200])
  t.strictSame(revoked, ['POST'])
})

t.test('`revoke` outside a request accepts a token, an id and `force`', async (t) => {
  const revoked: unknown[] = []
  const tokens: WebflowToken[] = []
  const webflow = await startWebflow(t)
  const app = await createApp(t, { webflow, options: { onSuccess: (token) => { tokens.push(token) }, onRevoke: (_token, request) => { revoked.push(request) } } })
  const connected = async () => {
    await connect(new Browser(app), webflow)
    const token = tokens.at(-1)
    if (token === undefined) throw new Error('there is a token')
    return token
  }
  const first = await connected()
  t.equal((await app.webflowOAuth.getToken(first.id))?.accessToken, first.accessToken)
  t.strictSame(await app.webflowOAuth.revoke(first), { revoked: true, upstream: 'revoked' })
  t.equal(await app.webflowOAuth.getToken(first.id), null)
  t.strictSame(await app.webflowOAuth.revoke(first), { revoked: true, upstream: 'already_revoked' })
  t.strictSame(await app.webflowOAuth.revoke(first.id), { revoked: false })

  const second = await connected()
  webflow.fail('revoke', { status: 500 })
  await t.rejects(app.webflowOAuth.revoke(second.id), { code: 'WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE' })
  t.equal((await app.webflowOAuth.getToken(second.id))?.id, second.id)
  webflow.fail('revoke', { status: 500 })
  t.strictSame(await app.webflowOAuth.revoke(second.id, { force: true }), { revoked: true, upstream: 'failed' })
  t.equal(await app.webflowOAuth.getToken(second.id), null)
  t.strictSame(revoked, [null, null])
  t.equal(await app.webflowOAuth.getToken('../../no-id'), null)
})

t.test('a malformed reference is refused', async (t) => {
  const app = await createApp(t)
  for (const reference of [undefined, null, 5, {}, []]) {
    const { getToken } = app.webflowOAuth
    await t.rejects(Promise.resolve(Reflect.apply(getToken, null, [reference])), { code: 'WEBFLOW_OAUTH_INVALID_OPTION' })
  }
})

t.test('`endSession` deletes the token and does not call Webflow', async (t) => {
  const revoked: string[] = []
  const webflow = await startWebflow(t)
  const app = await createApp(t, {
    webflow,
    options: { onRevoke: (token) => { revoked.push(token.id) } },
    after: (app) => {
      app.post('/logout', async (request, reply) => {
        await app.webflowOAuth.endSession(request, reply)
        return { connected: request.webflowToken !== null }
      })
    }
  })
  const browser = new Browser(app)
  await connect(browser, webflow)
  const old = browser.clone()
  t.strictSame((await browser.request('/logout', { method: 'POST' })).json(), { connected: false })
  t.notOk(browser.cookies.has(sessionCookie))
  t.equal((await old.get('/token')).json().connected, false)
  t.strictSame((await browser.request('/logout', { method: 'POST' })).cookies, [], 'there is no session left to end')
  t.equal(webflow.requests.revoke.length, 0)
  t.strictSame(revoked, [])
})

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

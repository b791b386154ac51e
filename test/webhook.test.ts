import { once } from 'node:events'
import { request as sendRequest } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import { connect as connectSocket } from 'node:net'
import { mock } from 'node:test'
import { inspect } from 'node:util'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import webflowOAuth, { WebflowOAuthError, type WebflowOAuthOptions, type WebhookEvent } from '../lib/index.ts'
import { assertNothingLeaked, baseOptions, clientId, clientSecret, createApp, secret, startWebflow, type AppOptions } from './support/app.ts'
import { tick } from './support/clock.ts'
import { logged } from './support/logs.ts'
import { turns, until } from './support/turns.ts'
import { post, sign, siteId, submission, submitted, webhookPath } from './support/webhooks.ts'

const body = JSON.stringify(submission)
const code = 'WEBFLOW_OAUTH_WEBHOOK_INVALID'

/** Builds an app that keeps the events it receives. */
async function createReceiver (t: Test, { options = {}, ...rest }: AppOptions = {}): Promise<{ app: FastifyInstance, events: WebhookEvent[] }> {
  const events: WebhookEvent[] = []
  return { events, app: await createApp(t, { options: { onWebhook: (event) => { events.push(event) }, ...options }, ...rest }) }
}

/** Starts to listen; returns the port. */
async function listen (app: FastifyInstance): Promise<number> {
  await app.listen({ port: 0, host: '127.0.0.1' })
  const [address] = app.addresses()
  return address === undefined || typeof address === 'string' ? 0 : address.port
}

t.test('a webhook that Webflow has signed reaches `onWebhook`, and the answer is 200 with an empty object', async (t) => {
  const webflow = await startWebflow(t)
  const { app, events } = await createReceiver(t, { webflow })
  t.strictSame(await webflow.deliver(app, submission), { statusCode: 200, attempts: 1 })
  t.match(events, [{ triggerType: 'form_submission', payload: submission.payload, siteId, secretIndex: 0 }])

  const answer = await post(app, body, sign(body))
  t.equal(answer.statusCode, 200)
  t.equal(answer.body, '{}')
  t.match(answer.headers, { 'cache-control': 'no-store', 'referrer-policy': 'no-referrer', 'content-type': 'application/json; charset=utf-8', 'content-length': '2' })
  for (const method of ['GET', 'PUT', 'DELETE'] as const) t.equal((await app.inject({ method, url: webhookPath })).statusCode, 404, method)
})

t.test('without `onWebhook` there is no route, and `webhookPath` is refused', async (t) => {
  const app = await createApp(t)
  t.equal((await app.inject({ method: 'POST', url: webhookPath })).statusCode, 404)
  await t.rejects(createApp(t, { options: { webhookPath: '/hooks' } }), { code: 'WEBFLOW_OAUTH_INVALID_OPTION', message: /`webhookPath` needs `onWebhook`/ })
})

t.test('`webhookPath` moves the route, and must not be the path of another route or the target of a redirect', async (t) => {
  const { app } = await createReceiver(t, { options: { webhookPath: '/hooks/:all' } })
  t.equal((await post(app, body, sign(body), '/hooks/:all')).statusCode, 200)
  t.equal((await app.inject({ method: 'POST', url: webhookPath })).statusCode, 404)
  for (const options of [{ webhookPath: '/webflow/revoke' }, { webhookPath: '/webflow/callback/' }, { revokePath: webhookPath }] as const) {
    await t.rejects(createReceiver(t, { options }), { code: 'WEBFLOW_OAUTH_INVALID_OPTION', message: /`webhookPath` must differ/ })
  }
  await t.rejects(createReceiver(t, { options: { webhookPath: 'hooks' } }), { message: /^`webhookPath` must be a path/ })
  await t.rejects(createReceiver(t, { options: { successRedirect: webhookPath } }), { message: /^`successRedirect` leads to one of the plugin's own routes/ })
})

t.test('the options of webhooks are checked at `register`', async (t) => {
  const wrong: Array<[Partial<Record<keyof WebflowOAuthOptions, unknown>>, RegExp]> = [
    [{ onWebhook: 'x' }, /^`onWebhook` must be a function/],
    [{ webhookSecret: '' }, /^`webhookSecret` is empty or has an empty or missing entry/],
    [{ webhookSecret: [clientSecret, ''] }, /^`webhookSecret` is empty or has an empty or missing entry/],
    [{ webhookSecret: [undefined] }, /^`webhookSecret` is empty or has an empty or missing entry/],
    [{ webhookSecret: [null] }, /^`webhookSecret` is empty or has an empty or missing entry/],
    [{ webhookSecret: [] }, /^`webhookSecret` is an empty list/],
    [{ webhookSecret: 5 }, /^`webhookSecret` must be a string/],
    [{ webhookSecret: 'a-key\n' }, /^`webhookSecret` must be a string of visible ASCII/],
    [{ webhookSecret: secret }, /^`webhookSecret` holds a value of `secret`/],
    [{ webhookSecret: 'a-key-of-a-webhook', scope: ['a-key-of-a-webhook'] }, /^`scope` holds one of the app's secrets/],
    [{ webhookMaxAge: 0 }, /^`webhookMaxAge` must be a whole number of seconds/],
    [{ webhookMaxAge: '300' }, /^`webhookMaxAge` must be a whole number of seconds/]
  ]
  for (const [options, message] of wrong) {
    await t.rejects(createApp(t, { options: { onWebhook: () => {}, ...Object(options) } }), { code: 'WEBFLOW_OAUTH_INVALID_OPTION', message })
  }
})

/** The parsers that an app may have. */
const parsers: Record<string, (app: FastifyInstance) => unknown> = {
  'no parsers of its own': () => {},
  'no parsers at all': (app) => { app.removeAllContentTypeParsers() },
  'a parser for every type': (app) => { app.addContentTypeParser('*', (_request, _payload, done) => { done(new Error('a parser of the app')) }) },
  'a parser by a pattern': (app) => { app.addContentTypeParser(/^.*/, { parseAs: 'string' }, (_request, text, done) => { done(null, text) }) },
  'a parser of forms, like @fastify/formbody': (app) => { app.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, (_request, text, done) => { done(null, Object.fromEntries(new URLSearchParams(String(text)))) }) },
  'a JSON parser of its own': (app) => {
    app.removeContentTypeParser('application/json')
    app.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, text, done) => { done(null, JSON.parse(String(text))) })
  }
}

for (const [name, before] of Object.entries(parsers)) {
  t.test(`the signature is checked over the bytes as they were sent, in an app with ${name}`, async (t) => {
    const { app, events } = await createReceiver(t, { before, server: { bodyLimit: 20 } })
    // No serializer writes JSON like this.
    const odd = `\n{ "triggerType":"form_submission" , "payload" : {"n":1.0, "escaped":"\\u00e9", "text":"é ✓ ${submitted}"} }\r\n`
    for (const type of ['application/json', 'application/json; charset=utf-8', 'text/plain', 'application/x-www-form-urlencoded', 'application/octet-stream', ';;;', '']) {
      t.equal((await post(app, odd, { ...sign(odd), 'content-type': type })).statusCode, 200, type)
    }
    t.equal((await app.inject({ method: 'POST', url: webhookPath, headers: sign(odd), payload: Buffer.from(odd) })).statusCode, 200, 'no type')
    t.equal(events.length, 8)
    t.ok(events.every(({ payload }) => inspect(payload) === inspect({ n: 1, escaped: 'é', text: `é ✓ ${submitted}` })))
    t.equal((await post(app, JSON.stringify(JSON.parse(odd)), sign(odd))).statusCode, 401, 'JSON that was written again is another text')
  })
}

t.test('the event names the site, the time and the secret, and its ids distinguish a repetition from another webhook', async (t) => {
  const keys = ['k'.repeat(64), 'an-old-client-secret']
  const { app, events } = await createReceiver(t, { options: { webhookSecret: keys } })
  const timestamp = String(Date.now() - 60_000)
  for (const key of [clientSecret, ...keys]) t.equal((await post(app, body, sign(body, { secret: key, timestamp }))).statusCode, 200)
  t.equal((await post(app, body, sign(body, { secret: keys.join() }))).statusCode, 401)
  t.strictSame(events.map(({ secretIndex }) => secretIndex), [0, 1, 2])
  t.strictSame(events[0]?.sentAt, new Date(Number(timestamp)))
  t.strictSame(Object.keys(events[0] ?? {}).sort(), ['bodyId', 'id', 'payload', 'secretIndex', 'sentAt', 'siteId', 'triggerType'])

  const [again, other] = [sign(body, { timestamp: String(Number(timestamp) + 1) }), `${body} `]
  await post(app, body, again)
  await post(app, other, sign(other, { timestamp }))
  const [first, second, , repeated, different] = events
  t.equal(first?.id, second?.id)
  t.not(repeated?.id, first?.id, 'another time is another delivery')
  t.equal(repeated?.bodyId, first?.bodyId, 'of the same webhook')
  t.not(different?.id, first?.id)
  t.not(different?.bodyId, first?.bodyId)
  for (const event of events) for (const id of [event.id, event.bodyId]) t.match(id, /^[\w-]{43}$/)
})

t.test('`siteId` is an id of Webflow\'s or null', async (t) => {
  const { app, events } = await createReceiver(t)
  const other = '62f3b1f7eafac55d0c64ef92'
  const payloads: Array<[unknown, string | null]> = [
    [{ siteId }, siteId], [{ site: siteId }, siteId], [{ siteId, site: other }, siteId], [{ siteId: 'x', site: other }, other],
    [{ siteId: `${siteId}0` }, null], [{ siteId: `${siteId}\n` }, null], [{ siteId: [siteId] }, null], [{ orderId: siteId }, null],
    [undefined, null], [null, null], ['text', null], [[{ siteId }], null]
  ]
  for (const [payload, expected] of payloads) {
    const text = JSON.stringify({ triggerType: '', payload })
    t.equal((await post(app, text, sign(text))).statusCode, 200)
    t.strictSame(events.at(-1)?.siteId, expected)
    t.strictSame(events.at(-1)?.payload, payload ?? null)
  }
})

t.test('a member `__proto__` of a payload is left out, so that a copy of the payload keeps its prototype', async (t) => {
  const { app, events } = await createReceiver(t)
  const text = '{"triggerType":"x","payload":{"data":{"__proto__":{"admin":true},"\\u005f_proto__":1,"a":1}}}'
  t.equal((await post(app, text, sign(text))).statusCode, 200)
  t.strictSame(events[0]?.payload, { data: { a: 1 } })
  t.equal(Reflect.get(Object.assign({}, Reflect.get(Object(events[0]?.payload), 'data')), 'admin'), undefined)
})

/** Headers that are refused, and why. */
const refusals: Array<[title: string, reason: string, change: (headers: ReturnType<typeof sign>) => Record<string, string | undefined>]> = [
  ['no timestamp', 'signature_missing', () => ({ 'x-webflow-timestamp': undefined })],
  ['no signature', 'signature_missing', () => ({ 'x-webflow-signature': undefined })],
  ['neither', 'signature_missing', () => ({ 'x-webflow-timestamp': undefined, 'x-webflow-signature': undefined })],
  ['an empty timestamp', 'signature_missing', () => ({ 'x-webflow-timestamp': '' })],
  ['an empty signature', 'signature_missing', () => ({ 'x-webflow-signature': '' })],
  ['an empty timestamp and no hex', 'signature_missing', () => ({ 'x-webflow-timestamp': '', 'x-webflow-signature': 'x' })],
  ['a timestamp that is a date', 'signature_invalid', () => ({ 'x-webflow-timestamp': new Date().toISOString() })],
  ['a negative timestamp', 'signature_invalid', (headers) => ({ 'x-webflow-timestamp': `-${headers['x-webflow-timestamp']}` })],
  ['a timestamp with a fraction', 'signature_invalid', (headers) => ({ 'x-webflow-timestamp': `${headers['x-webflow-timestamp']}.5` })],
  ['a timestamp in hex', 'signature_invalid', () => ({ 'x-webflow-timestamp': '0x19' })],
  ['a doubled timestamp', 'signature_invalid', (headers) => ({ 'x-webflow-timestamp': `${headers['x-webflow-timestamp']}, ${headers['x-webflow-timestamp']}` })],
  ['another timestamp', 'signature_invalid', (headers) => ({ 'x-webflow-timestamp': String(Number(headers['x-webflow-timestamp']) + 1) })],
  ['an overlong timestamp', 'signature_invalid', () => ({ 'x-webflow-timestamp': '1'.repeat(8000) })],
  ['an old timestamp', 'signature_invalid', () => ({ 'x-webflow-timestamp': '0' })],
  ['a timestamp that is not ASCII', 'signature_invalid', () => ({ 'x-webflow-timestamp': '\u00b2\u00b9' })],
  ['another signature', 'signature_invalid', () => ({ 'x-webflow-signature': 'f'.repeat(64) })],
  ['a signature by another secret', 'signature_invalid', () => sign(body, { secret })],
  ['a signature by no secret', 'signature_invalid', () => sign(body, { secret: '' })],
  ['a signature that is too short', 'signature_invalid', (headers) => ({ 'x-webflow-signature': headers['x-webflow-signature'].slice(1) })],
  ['a signature that is too long', 'signature_invalid', (headers) => ({ 'x-webflow-signature': `${headers['x-webflow-signature']}0` })],
  ['an overlong signature', 'signature_invalid', () => ({ 'x-webflow-signature': 'f'.repeat(8000) })],
  ['a doubled signature', 'signature_invalid', (headers) => ({ 'x-webflow-signature': `${headers['x-webflow-signature']}, ${headers['x-webflow-signature']}` })],
  ['a signature that is not hex', 'signature_invalid', () => ({ 'x-webflow-signature': 'g'.repeat(64) })],
  ['a signature that is not ASCII', 'signature_invalid', () => ({ 'x-webflow-signature': '\u00ff'.repeat(64) })],
  ['a signature with a prefix', 'signature_invalid', (headers) => ({ 'x-webflow-signature': `sha256=${headers['x-webflow-signature']}` })]
]

for (const [title, reason, change] of refusals) {
  t.test(`a webhook with ${title} is refused: ${reason}`, async (t) => {
    const failures: Error[] = []
    const { app, events } = await createReceiver(t, { options: { onFailure: (error) => { failures.push(error) }, failureRedirect: '/failed' } })
    const headers = Object.entries({ ...sign(body), ...change(sign(body)) }).filter(([, value]) => value !== undefined)
    for (const given of [{}, { accept: 'text/html' }]) {
      const answer = await post(app, body, { ...Object.fromEntries(headers), ...given })
      t.equal(answer.statusCode, 401)
      t.match(answer.json, { statusCode: 401, code, error: 'Unauthorized', message: String, reason })
    }
    await t.rejects(app.webflowOAuth.verifyWebhook({ headers: Object.fromEntries(headers), body }), { code, reason, statusCode: 401 })
    t.strictSame([events, failures], [[], []], 'neither hook is told')
  })
}

t.test('a webhook that is signed with an unknown secret reaches no hook', async (t) => {
  const { app, events } = await createReceiver(t, { options: { webhookSecret: 'a-key-of-a-webhook' } })
  for (const guess of ['', 'undefined', clientId, secret, clientSecret.toUpperCase(), 'a-key-of-a-webhook ']) {
    t.match(await post(app, body, sign(body, { secret: guess })), { statusCode: 401, json: { reason: 'signature_invalid' } })
  }
  t.strictSame(events, [])
})

t.test('a signature may be written in upper case', async (t) => {
  const { app } = await createReceiver(t)
  const headers = sign(body)
  t.equal((await post(app, body, { ...headers, 'x-webflow-signature': headers['x-webflow-signature'].toUpperCase() })).statusCode, 200)
})

t.test('headers that arrive twice are refused over a real socket', async (t) => {
  const { app } = await createReceiver(t)
  const port = await listen(app)
  const headers = sign(body)
  const { 'x-webflow-timestamp': timestamp, 'x-webflow-signature': signature } = headers
  for (const doubled of [{ 'x-webflow-timestamp': [timestamp, timestamp] }, { 'x-webflow-signature': [signature, signature] }, { 'x-webflow-signature': ['', signature] }]) {
    const sent = sendRequest({ agent: false, port, method: 'POST', path: webhookPath, headers: { ...headers, ...doubled } }).end(body)
    const [answer] = await once(sent, 'response')
    t.equal(answer.statusCode, 401)
    answer.resume()
    await t.rejects(app.webflowOAuth.verifyWebhook({ headers: Object.assign({}, headers, doubled), body }), { code, reason: 'signature_invalid' }, 'and as lists')
  }
})

t.test('a webhook is stale when its timestamp is more than `webhookMaxAge` from now, in either direction', async (t) => {
  mock.timers.enable({ apis: ['Date'], now: 1_800_000_000_000 })
  t.teardown(() => { mock.timers.reset() })
  for (const [webhookMaxAge, bound] of [[undefined, 300_000], [2400, 2_400_000]] as const) {
    const { app } = await createReceiver(t, { options: { webhookMaxAge } })
    for (const distance of [bound, -bound]) {
      t.equal((await post(app, body, sign(body, { timestamp: String(Date.now() + distance) }))).statusCode, 200)
      const answer = await post(app, body, sign(body, { timestamp: String(Date.now() + distance + Math.sign(distance)) }))
      t.match(answer, { statusCode: 401, json: { code, reason: 'stale' } })
    }
    for (const timestamp of ['0', '9'.repeat(400)]) t.match(await post(app, body, sign(body, { timestamp })), { statusCode: 401, json: { reason: 'stale' } }, 'whatever was signed')
  }
})

t.test('a repetition with a new signature is accepted, and one with the first signature only if `webhookMaxAge` allows it', async (t) => {
  const tenMinutesAgo = Date.now() - 10 * 60_000
  for (const [webhookRetries, webhookMaxAge, expected] of [
    ['signed-anew', 300, { statusCode: 200, attempts: 2 }],
    ['same', 300, { statusCode: 401, attempts: 2 }],
    ['same', 2400, { statusCode: 200, attempts: 1 }]
  ] as const) {
    const webflow = await startWebflow(t, { webhookRetries })
    const { app } = await createReceiver(t, { webflow, options: { webhookMaxAge } })
    t.strictSame(await webflow.deliver(app, submission, { timestamp: tenMinutesAgo, retries: 1 }), expected, webhookRetries)
  }
})

t.test('a webhook whose handling failed is delivered again with the same `bodyId`', async (t) => {
  const webflow = await startWebflow(t, { webhookRetries: 'same' })
  const events: WebhookEvent[] = []
  const app = await createApp(t, {
    webflow,
    options: {
      onWebhook: (event) => {
        events.push(event)
        if (events.length === 1) throw new Error('not yet')
      }
    }
  })
  t.strictSame(await webflow.deliver(app, submission, { retries: 3 }), { statusCode: 200, attempts: 2 })
  t.strictSame(events[0], events[1])
})

t.test('a signed body that is not a JSON object in UTF-8 with a string `triggerType` is refused', async (t) => {
  const { app, events } = await createReceiver(t)
  const bodies: Array<string | Uint8Array> = [
    '', '{', 'null', '[]', '"text"', '5', '{}', '{"triggerType":5}', '{"triggerType":null,"payload":{}}', '[{"triggerType":"x"}]', `${body}x`, `form=${submitted}`,
    Buffer.from('{"triggerType":"\xff"}', 'latin1'), Buffer.from(body, 'utf16le'), Buffer.from([0xc0, 0x80]), Buffer.alloc(10)
  ]
  for (const given of bodies) {
    t.match(await post(app, given, sign(given)), { statusCode: 401, json: { code, reason: 'body_invalid' } }, inspect(given))
    await t.rejects(app.webflowOAuth.verifyWebhook({ headers: sign(given), body: Buffer.from(given) }), { code, reason: 'body_invalid' })
  }
  const without = await app.inject({ method: 'POST', url: webhookPath, headers: sign('') })
  t.match(without.json(), { statusCode: 401, reason: 'body_invalid' })
  t.match((await app.inject({ method: 'POST', url: webhookPath })).json(), { statusCode: 401, reason: 'signature_missing' })
  t.strictSame(events, [])
})

t.test('a body of 1 MiB is read, and a longer one gets 413', async (t) => {
  const failures: Error[] = []
  const { app, events } = await createReceiver(t, { options: { onFailure: (error) => { failures.push(error) } } })
  const padded = (length: number) => body + ' '.repeat(length - Buffer.byteLength(body))
  const [fits, long] = [padded(1024 * 1024), padded(1024 * 1024 + 1)]
  t.equal((await post(app, fits, sign(fits))).statusCode, 200)
  const refused = await post(app, long, sign(long))
  t.match(refused, { statusCode: 413, json: { statusCode: 413, code: 'FST_ERR_CTP_BODY_TOO_LARGE', error: 'Payload Too Large' } })
  t.equal(events.length, 1)
  t.strictSame(failures, [])

  const port = await listen(app)
  const sent = sendRequest({ agent: false, port, method: 'POST', path: webhookPath, headers: { ...sign(long), 'transfer-encoding': 'chunked' } })
  sent.write(long)
  const [answer] = await once(sent, 'response')
  t.equal(answer.statusCode, 413, 'before the body has ended')
  sent.end()
  answer.resume()
  await once(answer, 'end')
})

t.test('the connection of a body that is too long is closed, so that the app can close', async (t) => {
  for (const headers of [{ 'transfer-encoding': 'chunked' }, { 'content-length': '99999999' }]) {
    const { app } = await createReceiver(t)
    const port = await listen(app)
    const sent = sendRequest({ port, method: 'POST', path: webhookPath, headers })
    sent.on('error', () => {})
    sent.write('x'.repeat(1024 * 1024 + 1))
    const [answer] = await once(sent, 'response')
    t.equal(answer.statusCode, 413)
    t.equal(answer.headers.connection, 'close')
    answer.resume()
    await app.close()
  }
})

t.test('the answer leaves out a header that a hook has set and that HTTP does not allow', async (t) => {
  const { app } = await createReceiver(t, { before: (app) => { app.addHook('onRequest', async (_request, reply) => { reply.header('x-locale', '\u20ac').header('x-other', 'kept') }) } })
  const port = await listen(app)
  const answer = await fetch(`http://127.0.0.1:${port}${webhookPath}`, { method: 'POST', body, headers: sign(body) })
  t.equal(answer.status, 200)
  t.equal(answer.headers.get('x-other'), 'kept')
  t.equal(answer.headers.get('x-locale'), null)
})

t.test('over HTTP/2 a webhook needs neither a content type nor a length', async (t) => {
  const events: WebhookEvent[] = []
  const app = Fastify({ http2: true })
  t.teardown(() => app.close())
  await app.register(webflowOAuth, { ...baseOptions(null), onWebhook: (event) => { events.push(event) } })
  const session = connectHttp2(await app.listen({ port: 0, host: '127.0.0.1' }))
  t.teardown(() => session.close())
  const long = body + ' '.repeat(1024 * 1024)
  for (const [given, headers, expected] of [
    [body, sign(body), 200], [body, { ...sign(body), 'content-type': 'application/json' }, 200], [long, sign(long), 413], ['', sign(body), 401]
  ] as const) {
    const stream = session.request({ ':method': 'POST', ':path': webhookPath, ...headers })
    stream.on('error', () => {}).end(given)
    const [answer] = await once(stream, 'response')
    t.equal(answer[':status'], expected)
    stream.resume()
  }
  t.equal(events.length, 2)
})

t.test('a body that is broken off is refused, and reaches no hook', async (t) => {
  const { app, events } = await createReceiver(t)
  const port = await listen(app)
  const before = logged().length
  const sent = sendRequest({ agent: false, port, method: 'POST', path: webhookPath, headers: { ...sign(body), 'content-length': Buffer.byteLength(body) + 1 } })
  sent.on('error', () => {})
  const isReading = new Promise<void>((resolve) => { app.server.prependOnceListener('request', (request) => { request.once('data', () => { resolve() }) }) })
  sent.write(body)
  await isReading
  sent.destroy()
  await until(() => logged().slice(before).includes('a webhook was refused'))
  t.strictSame(events, [])
  t.notMatch(logged().slice(before), /"level":50/, 'which is no error')
})

t.test('a body has ten seconds to arrive, and is refused after that', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => { mock.timers.reset() })
  const { app, events } = await createReceiver(t)
  let reading = 0
  app.server.prependListener('request', (request) => { request.on('data', () => { reading++ }) })
  const port = await listen(app)
  for (const [wait, status, signature, reason] of [[9999, '200', sign(body), ''], [10_000, '401', sign(body), 'signature_invalid'], [10_000, '401', {}, 'signature_missing']] as const) {
    const headers = Object.entries({ host: 'x', 'content-length': String(Buffer.byteLength(body)), ...signature }).map(([name, value]) => `${name}: ${value}\r\n`).join('')
    reading = 0
    const socket = connectSocket(port, '127.0.0.1')
    let answer = ''
    socket.setEncoding('utf8').on('data', (text) => { answer += text })
    const closed = once(socket, 'close')
    socket.write(`POST ${webhookPath} HTTP/1.1\r\n${headers}\r\n${body.slice(0, 10)}`)
    await until(() => reading === 1)
    await turns()
    tick(wait)
    await turns()
    if (status === '200') socket.write(Buffer.from(body).subarray(10))
    await until(() => answer.includes('\r\n\r\n'))
    t.ok(answer.startsWith(`HTTP/1.1 ${status} `) && answer.includes(reason), answer)
    if (status === '200') socket.destroy()
    await closed
  }
  t.equal(events.length, 1)
})

t.test('nothing of body or signature reaches a log, whatever serializers the logger has', async (t) => {
  const lines: string[] = []
  const dump = (value: object) => {
    process.noDeprecation = true
    const seen = new Set<unknown>()
    const read = (owner: object, depth: number): unknown[] => {
      if (seen.has(owner) || depth > 6) return []
      seen.add(owner)
      const members: unknown[] = []
      for (const key of Reflect.ownKeys(owner)) {
        if (key === 'server') continue
        let member: unknown
        try { member = Reflect.get(owner, key) } catch { continue }
        members.push(String(key), typeof member === 'object' && member !== null ? read(member, depth + 1) : String(member))
      }
      return members
    }
    const body: unknown = Reflect.get(value, 'body')
    const text = [inspect(value, { depth: 8, showHidden: true, getters: true }), JSON.stringify(read(value, 0)), JSON.stringify(Reflect.get(value, 'headers') ?? null), String(body)].join('\n')
    process.noDeprecation = false
    return { text }
  }
  let inspectBody: unknown = 'none'
  const { app } = await createReceiver(t, {
    server: { logger: { level: 'trace', stream: { write: (line) => { lines.push(line) } }, serializers: { req: dump, res: dump, err: (error) => ({ type: error.name, message: error.message, stack: String(error.stack), ...dump(error) }) } } },
    before: (app) => {
      app.addHook('preParsing', async (request, reply) => { request.log.info({ req: request, res: reply, raw: request.raw }, 'early') })
      app.addHook('preHandler', async (request, reply) => {
        inspectBody = request.body
        request.log.info({ req: request, res: reply, headers: request.headers, raw: request.raw }, `late: ${String(request.headers['x-webflow-signature'])}`)
      })
    },
    options: {
      onWebhook: (event, request) => {
        request.log.info({ req: request }, 'handling')
        if (event.triggerType !== 'form_submission') throw Object.assign(new RangeError(`cannot handle ${JSON.stringify(event.payload)}`), { code: 'E_ODD', payload: event.payload, cause: new Error(submitted) })
      },
      onFailure: (_error, request) => { request.log.info({ req: request }, 'failed') }
    }
  })
  const port = await listen(app)
  const bad = JSON.stringify({ triggerType: 'odd', payload: { text: submitted } })
  const invalid = `{"triggerType":5,"payload":"${submitted}"`
  const signatures: string[] = []
  for (const [given, statusCode, signed = given] of [[body, 200], [bad, 500], [invalid, 401], [body, 401, bad]] as const) {
    const headers = sign(signed)
    signatures.push(headers['x-webflow-signature'])
    t.equal((await post(app, given, headers)).statusCode, statusCode)
    const sent = sendRequest({ agent: false, port, method: 'POST', path: webhookPath, headers: { ...headers, 'x-webflow-signature': statusCode === 200 ? headers['x-webflow-signature'] : [headers['x-webflow-signature']] } }).end(given)
    const [answer] = await once(sent, 'response')
    t.equal(answer.statusCode, statusCode)
    answer.resume()
    await once(answer, 'end')
  }
  const text = lines.join('')
  t.equal(inspectBody, undefined, 'the body is not on the request')
  t.match(text, 'RangeError E_ODD', 'the error of the app is logged by its name and code')
  t.match(text, '"reason":"signature_invalid"')
  for (const one of [submitted, ...signatures]) t.equal(text.includes(one), false, text.slice(text.indexOf(one) - 300, text.indexOf(one) + 50))
})

/** What `onWebhook` may throw, and the status that Webflow gets. */
const thrown: Array<[string, unknown, number]> = [
  ['an error', new Error(submitted), 500],
  ['an error that claims to be a success', Object.assign(new Error(submitted), { statusCode: 200 }), 500],
  ['an error of the app with a status', Object.assign(new Error(submitted), { statusCode: 503 }), 500],
  ['an error of the app with 404', Object.assign(new Error(submitted), { statusCode: 404 }), 500],
  ['nothing', undefined, 500],
  ['an outage of the store', new WebflowOAuthError('WEBFLOW_OAUTH_STORE_UNAVAILABLE', 'The store is down.'), 503],
  ['an outage of Webflow', new WebflowOAuthError('WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE', 'Webflow is down.'), 502],
  ['a timeout of Webflow', new WebflowOAuthError('WEBFLOW_OAUTH_WEBFLOW_TIMEOUT', 'Webflow is slow.'), 504],
  ['a token that is missing', new WebflowOAuthError('WEBFLOW_OAUTH_TOKEN_REQUIRED', 'There is no token.'), 500],
  ['a webhook that is invalid', new WebflowOAuthError('WEBFLOW_OAUTH_WEBHOOK_INVALID', 'No.', { reason: 'stale' }), 500]
]

for (const [title, error, statusCode] of thrown) {
  t.test(`when \`onWebhook\` throws ${title}, the answer is ${statusCode}, and \`onFailure\` runs afterwards`, async (t) => {
    const told: Array<{ error: Error, sent: boolean }> = []
    const failing: Partial<WebflowOAuthOptions> = {
      failureRedirect: '/failed',
      onWebhook: async () => { throw error },
      onFailure: (error, _request, reply) => {
        told.push({ error, sent: reply.raw.writableEnded })
        return reply.code(200).send({})
      }
    }
    const { app } = await createReceiver(t, {
      options: failing,
      after: (app) => {
        app.setErrorHandler((_error, _request, reply) => reply.code(200).send({ handled: true }))
        app.addHook('onError', async (_request, reply) => { reply.code(200) })
        app.addHook('onSend', async (_request, reply, payload) => {
          reply.code(200)
          return payload
        })
      }
    })
    for (const headers of [{}, { accept: 'text/html' }, { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' }]) {
      const answer = await post(app, body, { ...sign(body), ...headers })
      t.equal(answer.statusCode, statusCode)
      t.equal(answer.json['statusCode'], statusCode)
      t.equal(answer.body.includes(submitted), false)
      t.equal(answer.headers.location, undefined)
    }
    await until(() => told.length === 3)
    t.ok(told.every(({ sent }) => sent), 'the response has finished')
    if (error instanceof Error) t.equal(told[0]?.error, error)
  })
}

t.test('an `onFailure` that throws changes nothing, and closing waits for one that is slow', async (t) => {
  let go = () => {}
  const gone = new Promise<void>((resolve) => { go = resolve })
  let isDone = false
  const { app } = await createReceiver(t, {
    options: {
      onWebhook: () => { throw new Error('no') },
      onFailure: async () => {
        await gone
        isDone = true
        throw new TypeError(submitted)
      }
    }
  })
  t.equal((await post(app, body, sign(body))).statusCode, 500)
  const closed = app.close()
  await turns()
  go()
  await closed
  t.equal(isDone, true)
  t.match(logged(), '`onFailure` threw an error')
})

t.test('hooks of the app change no answer: not the payload, not the status, not by an error', async (t) => {
  const { app, events } = await createReceiver(t, {
    before: (app) => {
      app.addHook('onRequest', async (_request, reply) => { reply.headers({ 'x-ratelimit-limit': '10', 'cache-control': 'public', 'content-encoding': 'gzip', 'set-cookie': ['a=b', 'c=d'] }) })
      app.addHook('onSend', async () => { throw new Error('a hook that fails') })
      app.addHook('preSerialization', async () => ({ wrapped: true }))
    }
  })
  const answer = await post(app, body, sign(body))
  t.equal(answer.statusCode, 200)
  t.equal(answer.body, '{}')
  t.match(answer.headers, { 'x-ratelimit-limit': '10', 'cache-control': 'no-store', 'set-cookie': ['a=b', 'c=d'] }, 'the headers that a hook has set stay')
  t.equal(answer.headers['content-encoding'], undefined)
  t.equal(events.length, 1)
})

t.test('a hook of the app may refuse a webhook with a status and headers, but never with a success', async (t) => {
  const failures: Error[] = []
  const refuse = (error: unknown, status = 200) => createReceiver(t, {
    options: { onFailure: (error) => { failures.push(error) } },
    before: (app) => {
      app.addHook('onRequest', async (_request, reply) => {
        reply.code(status)
        throw error
      })
    },
    after: (app) => { app.setErrorHandler((_error, _request, reply) => reply.code(200).send({})) }
  })
  const limited = await refuse(Object.assign(new Error(submitted), { statusCode: 429, headers: { 'retry-after': '30' } }))
  t.match(await post(limited.app, body, sign(body)), { statusCode: 429, headers: { 'retry-after': '30' }, json: { message: 'Too Many Requests' } })
  const plain = await refuse({ statusCode: 429, message: 'x' })
  t.equal((await post(plain.app, body, sign(body))).statusCode, 429, 'by a plain object too')
  const unknown = await refuse(Object.assign(new Error(submitted), { statusCode: 599, code: 'E_ODD' }))
  t.match(await post(unknown.app, body, sign(body)), { statusCode: 599, json: { code: 'E_ODD', error: 'Error' } })
  const coded = await refuse(new Error(submitted), 403)
  t.equal((await post(coded.app, body, sign(body))).statusCode, 403, 'or by a status that it has set')
  const failed = await refuse(new Error(submitted))
  t.equal((await post(failed.app, body, sign(body))).statusCode, 500)
  await until(() => failures.length === 5)
  const strange = await refuse(Object.assign(new Error(submitted), { statusCode: 401 }))
  t.equal((await post(strange.app, body, sign(body))).statusCode, 401)
  await turns()
  t.equal(failures.length, 5, '`onFailure` is not told of a 401')
})

t.test('an `onWebhook` that ends after `handlerTimeout` changes nothing, whether it resolves or throws', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => { mock.timers.reset() })
  const failures: Error[] = []
  const ends: Array<(error?: Error) => void> = []
  const { app } = await createReceiver(t, {
    before: (app) => { app.addHook('onRoute', (route) => { if (route.url === webhookPath) route.handlerTimeout = 300 }) },
    options: {
      onWebhook: () => new Promise<void>((resolve, reject) => { ends.push((error) => { error === undefined ? resolve() : reject(error) }) }),
      onFailure: (error) => { failures.push(error) }
    }
  })
  for (const [count, error] of [undefined, new Error('late')].entries()) {
    const answer = post(app, body, sign(body))
    await until(() => ends.length === count + 1)
    tick(300)
    t.match(await answer, { statusCode: 503, json: { code: 'FST_ERR_HANDLER_TIMEOUT' } })
    ends[count]?.(error)
    await turns()
    t.equal(failures.length, count + 1)
  }
})

t.test('closing waits for a webhook that is under way, and answers 503 if the webhook takes too long', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => { mock.timers.reset() })
  for (const isSlow of [false, true]) {
    const ends: Array<() => void> = []
    const { app } = await createReceiver(t, { options: { timeout: 10, storeTimeout: 10, onWebhook: () => new Promise<void>((resolve) => { ends.push(resolve) }) } })
    const answer = post(app, body, { ...sign(body), accept: 'text/html' })
    await until(() => ends.length === 1)
    const closing = app.close()
    await turns()
    if (isSlow) tick(10 + 2 * 10 + 5000)
    else ends[0]?.()
    t.match(await answer, isSlow ? { statusCode: 503, json: { statusCode: 503 } } : { statusCode: 200, json: {} })
    await closing
    ends[0]?.()
    await turns()
  }
})

t.test('an answer that a hook of the app has begun stays as it is', async (t) => {
  const { app, events } = await createReceiver(t, {
    before: (app) => {
      app.addHook('preHandler', async ({ headers }, reply) => {
        reply.raw.writeHead(202)
        if (headers['x-ends'] === undefined) setImmediate(() => { reply.raw.end('by a hook') })
        else reply.raw.end('by a hook')
      })
    }
  })
  for (const headers of [{}, { 'x-ends': '1' }]) {
    const response = await app.inject({ method: 'POST', url: webhookPath, payload: body, headers: { ...sign(body), ...headers } })
    t.strictSame([response.statusCode, response.body], [202, 'by a hook'])
  }
  t.equal(events.length, 1)
})

t.test('`verifyWebhook` verifies a webhook that a route of the app has received', async (t) => {
  const app = await createApp(t, {
    options: { webhookSecret: 'a-key-of-a-webhook' },
    after: async (app) => {
      await app.register(async (scope) => {
        scope.removeAllContentTypeParsers()
        scope.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => { done(null, body) })
        scope.post<{ Body: Buffer }>('/own', async ({ headers, body }) => {
          const { triggerType, secretIndex } = await scope.webflowOAuth.verifyWebhook({ headers, body })
          return { triggerType, secretIndex }
        })
      })
    }
  })
  t.strictSame((await post(app, body, sign(body, { secret: 'a-key-of-a-webhook' }), '/own')).json, { triggerType: 'form_submission', secretIndex: 1 })
  t.match((await post(app, body, sign(`${body} `), '/own')).json, { statusCode: 401, code })
  t.match(await app.webflowOAuth.verifyWebhook({ headers: sign(body), body }), { siteId, payload: submission.payload }, 'a string is taken as UTF-8')
})

t.test('`verifyWebhook` refuses a body that was parsed, and headers that are not Node\'s', async (t) => {
  const { webflowOAuth } = await createApp(t)
  const headers = sign(body)
  const wrong: Array<[string, object]> = [
    ['body', { headers, body: submission }], ['body', { headers, body: undefined }], ['body', { headers, body: null }], ['body', { headers, body: new Uint8Array(5) }],
    ['headers', { headers: new Headers(headers), body }], ['headers', { body }], ['headers', { headers: Object.entries(headers), body }]
  ]
  for (const given of [undefined, null]) await t.rejects(Reflect.apply(webflowOAuth.verifyWebhook, webflowOAuth, [given]), { code: 'WEBFLOW_OAUTH_INVALID_OPTION' })
  await t.rejects(Reflect.apply(webflowOAuth.verifyWebhook, webflowOAuth, [{ headers: { 'x-webflow-timestamp': null, 'x-webflow-signature': null }, body }]), { code: 'WEBFLOW_OAUTH_WEBHOOK_INVALID', message: /is missing/ })
  for (const [name, given] of wrong) {
    await t.rejects(Reflect.apply(webflowOAuth.verifyWebhook, webflowOAuth, [given]), { code: 'WEBFLOW_OAUTH_INVALID_OPTION', message: new RegExp(`^\`${name}\` must`) })
  }
})

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

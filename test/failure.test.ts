import { createHash } from 'node:crypto'
import { mock } from 'node:test'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import t from 'tap'
import webflowOAuth, { MemoryStore, WebflowOAuthError, type ErrorCode, type WebflowOAuthOptions } from '../lib/index.ts'
import { assertNothingLeaked, baseOptions, connect, createApp, startWebflow, withoutRequestLogs } from './support/app.ts'
import { Browser, navigation, type Answer } from './support/browser.ts'
import { recordingLogger } from './support/logs.ts'

/** A navigation that a service worker has passed on by `fetch(event.request)`. */
const passedOn = { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'empty', accept: 'text/html' }
const broken = '/webflow/callback?state=%3Cscript%3Ealert(1)%3C%2Fscript%3E&code=x'

t.test('a program gets JSON with code and reason', async (t) => {
  const answer = await new Browser(await createApp(t)).get(broken)
  t.equal(answer.statusCode, 400)
  t.match(answer.headers['content-type'], 'application/json')
  const { message, ...rest } = answer.json()
  t.strictSame(rest, { statusCode: 400, code: 'WEBFLOW_OAUTH_STATE_INVALID', error: 'Bad Request', reason: 'malformed' })
  t.match(message, /secret/, 'the message names the likely cause')
})

t.test('a person gets a small page that holds nothing of the request', async (t) => {
  const answer = await new Browser(await createApp(t)).navigate(broken)
  t.equal(answer.statusCode, 400)
  t.equal(answer.headers['content-type'], 'text/html; charset=utf-8')
  t.equal(answer.headers['x-content-type-options'], 'nosniff')
  const style = /<style>([^]*)<\/style>/.exec(answer.body)?.[1] ?? ''
  t.match(String(answer.headers['content-security-policy']), 'default-src \'none\'')
  t.ok(String(answer.headers['content-security-policy']).includes(`style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'`), 'the policy allows the page\'s own style')
  t.match(answer.body, '<a href="https://app.example.com/webflow/authorize">Try again</a>')
  t.match(answer.body, 'WEBFLOW_OAUTH_STATE_INVALID · malformed')
  t.notMatch(answer.body, 'alert')
  t.notMatch(answer.body, '<script')
})

t.test('a person is recognised by fetch metadata, or without them by `Accept`', async (t) => {
  const browser = new Browser(await createApp(t))
  const pages: Array<Record<string, string>> = [navigation, passedOn, { accept: 'text/html,application/xhtml+xml' }, { accept: 'Text/HTML' }]
  const programs: Array<Record<string, string>> = [
    {}, { accept: '*/*' }, { 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty', accept: 'text/html' },
    { 'sec-fetch-mode': 'navigate', accept: 'text/html' }, { 'sec-fetch-dest': 'document', accept: 'text/html' }, { 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'document', accept: 'text/html' }, { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'iframe', accept: 'text/html' }
  ]
  for (const headers of pages) t.match((await browser.get(broken, headers)).headers['content-type'], 'text/html')
  for (const headers of programs) t.match((await browser.get(broken, headers)).headers['content-type'], 'json')
})

t.test('each failure has a page of its own', async (t) => {
  const webflow = await startWebflow(t)
  const app = await createApp(t, { webflow, options: { timeout: 1000, beforeStore: (_token, request) => { if (request.headers['x-plan'] !== undefined) throw new Error('<b>no</b>') } } })
  const answers = [
    await new Browser(app).navigate('/webflow/callback'),
    await new Browser(app).navigate('/webflow/callback?error=access_denied'),
    await new Browser(app).request('/webflow/revoke', { method: 'POST', headers: { ...navigation, 'sec-fetch-site': 'cross-site' } })
  ]
  const outcomes: Array<(url: string) => Promise<string>> = [
    (url) => webflow.deny(url),
    async (url) => {
      webflow.fail('token', { status: 503 })
      return await webflow.approve(url)
    },
    async (url) => {
      webflow.fail('token', { hang: true })
      return await webflow.approve(url)
    },
    async (url) => {
      webflow.fail('token', { status: 401 })
      return await webflow.approve(url)
    }
  ]
  for (const outcome of outcomes) {
    const browser = new Browser(app)
    const { location } = await browser.navigate('/webflow/authorize')
    answers.push(await browser.navigate(await outcome(String(location))))
  }
  const refused = await connect(new Browser(app), webflow, { headers: { 'x-plan': 'free' } })
  answers.push(refused)
  t.strictSame(answers.map(({ statusCode }) => statusCode), [400, 400, 403, 403, 502, 504, 500, 500])
  const titles = answers.map(({ body }) => /<h1>(.*)<\/h1>/.exec(body)?.[1])
  t.strictSame(titles, [
    'This link is not complete', 'Webflow was not connected', 'This request came from another site', 'Webflow was not connected',
    'Webflow cannot be reached right now', 'Webflow cannot be reached right now', 'Something went wrong', 'Something went wrong'
  ])
  t.notMatch(refused.body, '<b>no</b>')
  t.match(answers[2]?.body, '<a href="https://app.example.com/">Try again</a>', 'a failed revocation leads back to the app')
})

const connectionFailed = 'Webflow was not connected'
const unreachable = 'Webflow cannot be reached right now'
const wrong = 'Something went wrong'
/** What a person reads, and what the developer finds in the log. */
const words: Array<{ code: ErrorCode, reason?: string, title: string, text: string }> = [
  { code: 'WEBFLOW_OAUTH_INVALID_CALLBACK', title: 'This link is not complete', text: 'It does not look like a link from Webflow.' },
  { code: 'WEBFLOW_OAUTH_ACCESS_DENIED', title: connectionFailed, text: 'The request for access was declined.' },
  { code: 'WEBFLOW_OAUTH_AUTHORIZATION_FAILED', title: connectionFailed, text: 'Webflow did not grant the access that was asked for.' },
  { code: 'WEBFLOW_OAUTH_CODE_REJECTED', title: connectionFailed, text: 'Webflow no longer accepted this attempt.' },
  { code: 'WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE', title: unreachable, text: 'Please try again in a moment.' },
  { code: 'WEBFLOW_OAUTH_WEBFLOW_TIMEOUT', title: unreachable, text: 'Please try again in a moment.' },
  { code: 'WEBFLOW_OAUTH_WEBFLOW_RESPONSE_INVALID', title: unreachable, text: 'Please try again in a moment.' },
  { code: 'WEBFLOW_OAUTH_STORE_UNAVAILABLE', title: 'The app is having trouble', text: 'It cannot reach its own storage right now.' },
  { code: 'WEBFLOW_OAUTH_USER_REQUIRED', title: 'Please sign in first', text: 'Sign in to the app in this browser' },
  { code: 'WEBFLOW_OAUTH_CROSS_SITE', title: 'This request came from another site', text: 'For your safety it was not carried out.' },
  { code: 'WEBFLOW_OAUTH_CLIENT_REJECTED', title: wrong, text: 'The request could not be completed.' },
  { code: 'WEBFLOW_OAUTH_STATE_INVALID', title: wrong, text: 'The request could not be completed.' },
  { code: 'WEBFLOW_OAUTH_STATE_INVALID', reason: 'toString', title: wrong, text: 'The request could not be completed.' },
  { code: 'WEBFLOW_OAUTH_STATE_INVALID', reason: 'state_missing', title: connectionFailed, text: 'could not be matched with a request of this browser' },
  { code: 'WEBFLOW_OAUTH_STATE_INVALID', reason: 'malformed', title: 'This link is not valid', text: 'does not belong to a request of this app' },
  { code: 'WEBFLOW_OAUTH_STATE_INVALID', reason: 'expired', title: 'This took too long', text: 'The attempt to connect has expired.' },
  { code: 'WEBFLOW_OAUTH_STATE_INVALID', reason: 'already_used', title: 'This link was used before', text: 'The attempt to connect has already ended.' },
  { code: 'WEBFLOW_OAUTH_STATE_INVALID', reason: 'host_mismatch', title: 'You came back to another address', text: 'Please open the app at its usual address, app.example.com, and connect once more' },
  { code: 'WEBFLOW_OAUTH_STATE_INVALID', reason: 'cookie_missing', title: 'Your browser sent no cookies', text: 'open the app at its usual address, app.example.com, and connect once more' },
  { code: 'WEBFLOW_OAUTH_STATE_INVALID', reason: 'other_browser', title: 'This attempt began somewhere else', text: 'It began in another browser, or under another address.' },
  { code: 'WEBFLOW_OAUTH_STATE_INVALID', reason: 'other_user', title: 'This attempt began under another account', text: 'signed in as the user who should be connected' }
]

t.test('a person reads what to do, the developer finds code, reason and remedy in the log', async (t) => {
  const webflow = await startWebflow(t)
  const lines: Array<Record<string, unknown>> = []
  let failure: Error = new Error('none yet')
  const server = { logger: { level: 'info', stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } }, ...withoutRequestLogs }
  const app = await createApp(t, { webflow, server, options: { beforeStore: () => { throw failure } } })
  for (const { code, reason, title, text } of words) {
    failure = new WebflowOAuthError(code, 'the remedy', { reason })
    lines.length = 0
    const { statusCode, body, headers } = await connect(new Browser(app), webflow)
    const { statusCode: status } = new WebflowOAuthError(code, '')
    t.equal(statusCode, status)
    t.ok(body.includes(`<title>${title}</title>`) && body.includes(`<h1>${title}</h1>`) && body.includes(text), `${code} ${reason}`)
    t.ok(body.includes(`<small>${[code, reason].filter((word) => word !== undefined).join(' · ')}</small>`))
    const style = /<style>([^]*)<\/style>/.exec(body)?.[1] ?? ''
    t.match(style, 'color-scheme')
    t.equal(headers['content-security-policy'], `default-src 'none'; style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`)
    t.notMatch(body, 'http-equiv="refresh"')
    const [, line] = lines
    t.match(lines[0]?.msg, '`beforeStore` threw an error, so a token that Webflow has issued is not stored')
    if (status < 500) t.match(line, { level: 30, code, reason: reason ?? null, msg: 'webflow-oauth: the remedy' })
    else t.match(line, { level: 50, err: { code, message: 'the remedy' }, msg: 'webflow-oauth: a request failed' })
  }
  failure = Object.assign(new TypeError('free text'), { code: 'ECONNRESET' })
  lines.length = 0
  t.match((await connect(new Browser(app), webflow)).body, wrong)
  t.match(lines[1], { level: 50, err: { message: 'TypeError ECONNRESET' } })
  t.notMatch(JSON.stringify(lines), 'free text')
})

t.test('an error of a hook is logged with the name of the hook and without its message', async (t) => {
  const webflow = await startWebflow(t)
  const lines: Array<Record<string, unknown>> = []
  const fail = () => { throw new RangeError('free text') }
  const server = { logger: { level: 'error', stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } } }
  const browser = new Browser(await createApp(t, { webflow, server, options: { onSuccess: fail, onRevoke: fail, onFailure: fail } }))
  await connect(browser, webflow)
  await browser.request('/webflow/revoke', { method: 'POST' })
  await browser.get(broken)
  t.match(lines, ['onSuccess', 'onRevoke', 'onFailure'].map((name) => ({ err: { message: 'RangeError' }, msg: `webflow-oauth: \`${name}\` threw an error` })))
  t.notMatch(JSON.stringify(lines), 'free text')
})

t.test('`failureRedirect` gets browsers that fail at the callback, with code and reason', async (t) => {
  const webflow = await startWebflow(t)
  const app = await createApp(t, {
    webflow,
    options: {
      failureRedirect: '/oops?from=webflow#top',
      beforeStore (_token, request) {
        if (request.headers['x-coded'] !== undefined) throw Object.assign(new Error('no'), { code: 'PLAN_LIMIT', statusCode: 402 })
        throw new Error('no')
      }
    }
  })
  const browser = new Browser(app)
  const answer = await browser.navigate(broken)
  t.equal(answer.statusCode, 303)
  t.equal(answer.location, 'https://app.example.com/oops?from=webflow&error=WEBFLOW_OAUTH_STATE_INVALID&reason=malformed#top')
  t.equal((await browser.navigate('/webflow/callback')).location, 'https://app.example.com/oops?from=webflow&error=WEBFLOW_OAUTH_INVALID_CALLBACK#top')
  t.equal((await connect(browser, webflow, { headers: { 'x-coded': '1' } })).location, 'https://app.example.com/oops?from=webflow&error=PLAN_LIMIT#top')
  t.equal((await connect(browser, webflow)).location, 'https://app.example.com/oops?from=webflow&error=WEBFLOW_OAUTH_AUTHORIZATION_FAILED#top')
  t.equal((await browser.get(broken)).statusCode, 400, 'a program is not redirected')
  const revoke = await browser.request('/webflow/revoke', { method: 'POST', headers: { ...navigation, 'sec-fetch-site': 'cross-site' } })
  t.equal(revoke.statusCode, 403, 'other routes are not redirected')
})

t.test('`onFailure` comes first and may answer by itself', async (t) => {
  const seen: Array<[string, string]> = []
  const browser = new Browser(await createApp(t, {
    options: {
      failureRedirect: '/oops',
      async onFailure (error, request, reply) {
        if (error instanceof WebflowOAuthError) seen.push([error.code, request.method])
        if (request.headers['x-answer'] !== undefined) return await reply.code(418).send({ teapot: true })
      }
    },
    after: (app) => { app.addHook('onSend', async () => { await new Promise((resolve) => { setImmediate(resolve) }) }) }
  }))
  const answered = await browser.navigate(broken, { 'x-answer': '1' })
  t.equal(answered.statusCode, 418)
  t.strictSame(answered.json(), { teapot: true })
  t.equal(answered.headers['cache-control'], 'no-store')
  t.equal((await browser.navigate(broken)).location, 'https://app.example.com/oops?error=WEBFLOW_OAUTH_STATE_INVALID&reason=malformed')
  t.equal((await browser.request('/webflow/revoke', { method: 'POST', headers: { origin: 'https://evil.example' } })).statusCode, 403)
  t.strictSame(seen, [['WEBFLOW_OAUTH_STATE_INVALID', 'GET'], ['WEBFLOW_OAUTH_STATE_INVALID', 'GET'], ['WEBFLOW_OAUTH_CROSS_SITE', 'POST']])
})

t.test('`onFailure` may send, redirect, hijack, throw or reject', async (t) => {
  const cases: Array<[string, NonNullable<WebflowOAuthOptions['onFailure']>, number]> = [
    ['sends', (_error, _request, reply) => { reply.code(409).send('mine') }, 409],
    ['redirects', (_error, _request, reply) => { reply.redirect('/mine') }, 302],
    ['hijacks', (_error, _request, reply) => { reply.hijack().raw.writeHead(410).end() }, 410],
    ['throws', () => { throw new Error('a bug of the app') }, 400],
    ['rejects', async () => { throw new Error('a bug of the app') }, 400]
  ]
  for (const [name, onFailure, statusCode] of cases) {
    const browser = new Browser(await createApp(t, { options: { onFailure } }))
    t.equal((await browser.get(broken)).statusCode, statusCode, name)
  }
})

t.test('the app\'s error handler is asked last, even if it is set after the plugin', async (t) => {
  const app = await createApp(t, {
    after: (app) => {
      app.setErrorHandler(async (error, _request, reply) => {
        t.ok(error instanceof WebflowOAuthError)
        return await reply.code(499).send({ problem: error instanceof WebflowOAuthError ? error.code : 'other', list: [1, { deep: true }] })
      })
    }
  })
  const browser = new Browser(app)
  const answer = await browser.get(broken)
  t.equal(answer.statusCode, 499)
  t.strictSame(answer.json(), { problem: 'WEBFLOW_OAUTH_STATE_INVALID', list: [1, { deep: true }] })
  t.match((await browser.navigate(broken)).headers['content-type'], 'text/html', 'a person gets the page all the same')
})

t.test('an error handler that passes the error on is asked once', async (t) => {
  for (const moment of ['before', 'after'] as const) {
    let asked = 0
    const browser = new Browser(await createApp(t, {
      [moment]: (app: FastifyInstance) => {
        app.setErrorHandler((error, _request, reply) => {
          asked++
          reply.send(error)
        })
      }
    }))
    t.equal((await browser.get(broken)).json().reason, 'malformed')
    t.equal(asked, 1, moment)
  }
})

t.test('serializers and envelopes of the app do not change the plugin\'s answers', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, {
    webflow,
    before: (app) => {
      app.setSerializerCompiler(() => () => 'serialized by the app')
      app.setValidatorCompiler(() => () => { throw new Error('validated by the app') })
      app.addHook('preSerialization', async (_request, _reply, payload) => ({ envelope: payload }))
    }
  }))
  t.equal((await browser.get(broken)).json().reason, 'malformed')
  await connect(browser, webflow)
  t.strictSame((await browser.request('/webflow/revoke', { method: 'POST' })).json(), { revoked: true, upstream: 'revoked' })
})

t.test('caches do not keep the answer when an `onSend` hook of the app fails', async (t) => {
  const browser = new Browser(await createApp(t, { before: (app) => { app.addHook('onSend', async (_request, reply) => { if (reply.statusCode < 500) throw new Error('a bug of the app') }) } }))
  const { statusCode, headers } = await browser.get('/webflow/authorize')
  t.equal(statusCode, 500)
  t.equal(headers['cache-control'], 'no-store')
  t.equal(headers['referrer-policy'], 'no-referrer')
})

t.test('security headers of the app do not break the page', async (t) => {
  const browser = new Browser(await createApp(t, {
    before: (app) => { app.addHook('onRequest', async (_request, reply) => { reply.headers({ 'content-security-policy': 'default-src \'self\'', 'referrer-policy': 'unsafe-url', 'cache-control': 'public' }) }) }
  }))
  const { headers } = await browser.navigate(broken)
  t.match(headers['content-security-policy'], 'sha256-')
  t.equal(headers['referrer-policy'], 'no-referrer')
  t.equal(headers['cache-control'], 'no-store')
})

/** An error as a rate limiter throws it: a status of its own, and headers that were set before. */
function limit (reply: FastifyReply): never {
  reply.headers({ 'retry-after': '60', 'x-ratelimit-remaining': '0' })
  throw Object.assign(new Error('Rate limit exceeded, retry in 1 minute'), { statusCode: 429 })
}

t.test('an error that another plugin\'s hook throws on the plugin\'s routes is answered like one of its own', async (t) => {
  for (const name of ['onRequest', 'preParsing', 'preValidation', 'preHandler'] as const) {
    const seen: Array<[string, string]> = []
    const errors: string[] = []
    const browser = new Browser(await createApp(t, {
      before: (app) => {
        app.addHook('onError', async (_request, _reply, error) => { errors.push(error.message) })
        app.addHook(name, async (_request: FastifyRequest, reply: FastifyReply) => limit(reply))
      },
      options: { onFailure: (error, request) => { seen.push([error.message, request.method]) } }
    }))
    const page = await browser.navigate('/webflow/callback?code=x')
    const json = await browser.get('/webflow/authorize')
    const post = await browser.request('/webflow/revoke', { method: 'POST', headers: navigation })
    const head = await browser.request('/webflow/callback', { method: 'HEAD' })
    for (const { statusCode, headers } of [page, json, post, head]) {
      t.equal(statusCode, 429, name)
      t.equal(headers['retry-after'], '60')
      t.equal(headers['x-ratelimit-remaining'], '0')
      t.equal(headers['cache-control'], 'no-store')
    }
    t.match(page.body, '<h1>Too many attempts</h1>')
    t.notMatch(page.body, 'Rate limit')
    t.match(post.body, '<a href="https://app.example.com/">Try again</a>')
    t.strictSame(json.json(), { statusCode: 429, error: 'Too Many Requests', message: 'Rate limit exceeded, retry in 1 minute' })
    t.strictSame(seen.map(([, method]) => method), ['GET', 'GET', 'POST', 'HEAD'], 'each error once')
    t.equal(errors.length, 4, '`onError` hooks get each error once')
  }
})

t.test('`failureRedirect` and `onFailure` apply to errors of other plugins', async (t) => {
  const browser = new Browser(await createApp(t, {
    before: (app) => { app.addHook('onRequest', async () => { throw Object.assign(new Error('no'), { statusCode: 401, code: 'NO_LOGIN' }) }) },
    options: {
      failureRedirect: '/oops',
      onFailure: (_error, request, reply) => request.headers['x-answer'] === undefined ? undefined : reply.code(418).send('mine')
    }
  }))
  t.equal((await browser.navigate(broken)).location, 'https://app.example.com/oops?error=NO_LOGIN')
  t.equal((await browser.navigate('/webflow/authorize')).statusCode, 401)
  t.equal((await browser.navigate('/webflow/authorize', { 'x-answer': '1' })).statusCode, 418)
})

t.test('`failureRedirect` gets the status of a foreign error that has no code', async (t) => {
  const failures: Array<[(reply: FastifyReply) => void, string]> = [
    [(reply) => limit(reply), 'HTTP_429'],
    [(reply) => {
      reply.code(403)
      throw new Error('no')
    }, 'HTTP_403'],
    [() => { throw Object.assign(new Error('no'), { statusCode: 503, code: 'NOT_NOW' }) }, 'NOT_NOW'],
    [() => { throw new Error('no') }, 'WEBFLOW_OAUTH_AUTHORIZATION_FAILED']
  ]
  for (const [fail, error] of failures) {
    const browser = new Browser(await createApp(t, { before: (app) => { app.addHook('onRequest', async (_request, reply) => { fail(reply) }) }, options: { failureRedirect: '/oops' } }))
    t.equal((await browser.navigate(broken)).location, `https://app.example.com/oops?error=${error}`)
  }
})

t.test('`onFailure` gets the message of a plain object that was thrown', async (t) => {
  const seen: Array<Record<string, unknown>> = []
  const app = await createApp(t, {
    before: (app) => { app.addHook('onRequest', async ({ headers }) => { throw { statusCode: 429, code: 'SLOW', message: headers['x-message'] === undefined ? 429 : 'slow down' } }) }, // eslint-disable-line no-throw-literal
    options: { onFailure: (error) => { seen.push({ isError: error instanceof Error, ...error, message: error.message }) } }
  })
  await new Browser(app).get(broken, { 'x-message': '1' })
  await new Browser(app).get(broken)
  t.strictSame(seen, [
    { isError: true, statusCode: 429, status: undefined, code: 'SLOW', message: 'slow down' },
    { isError: true, statusCode: 429, status: undefined, code: 'SLOW', message: 'Something that is not an Error was thrown.' }
  ])
})

t.test('the status of a foreign failure is the one that Fastify would send', async (t) => {
  const failures: Array<[string, (reply: FastifyReply) => void, number]> = [
    ['no status', () => { throw new Error('no') }, 500],
    ['`status`', () => { throw Object.assign(new Error('no'), { status: 402 }) }, 402],
    ['a status set before', (reply) => {
      reply.code(403)
      throw new Error('no')
    }, 403],
    ['a status of both', (reply) => {
      reply.code(403)
      throw Object.assign(new Error('no'), { statusCode: 429 })
    }, 429],
    ['a plain object', () => { throw { statusCode: 429, message: 'slow down' } }, 429], // eslint-disable-line no-throw-literal
    ['a string', () => { throw 'no' }, 500] // eslint-disable-line no-throw-literal
  ]
  for (const [name, fail, statusCode] of failures) {
    const app = await createApp(t, {
      before: (app) => { app.addHook('onRequest', async (_request, reply) => { fail(reply) }) },
      after: (app) => { app.get('/app', async () => null) }
    })
    const browser = new Browser(app)
    const [page, ours, theirs] = [await browser.navigate('/webflow/authorize'), await browser.get('/webflow/authorize'), await browser.get('/app')]
    t.strictSame([page.statusCode, ours.statusCode, theirs.statusCode], [statusCode, statusCode, statusCode], name)
    t.match(page.headers['content-type'], 'text/html')
    t.equal(ours.body, theirs.body, 'a program gets the same answer as on any other route of the app')
  }
})

t.test('the headers that an error names are sent with the page', async (t) => {
  const error = Object.assign(new Error('no'), { statusCode: 401, headers: { 'www-authenticate': 'Basic' } })
  const browser = new Browser(await createApp(t, { before: (app) => { app.addHook('onRequest', async () => { throw error }) } }))
  for (const answer of [await browser.navigate(broken), await browser.get(broken)]) t.equal(answer.headers['www-authenticate'], 'Basic')
})

t.test('a foreign error is answered with a page even if reading its members throws', async (t) => {
  const refuse = { get () { throw new Error('do not read me') } }
  const members = ['headers', 'reason', 'statusCode', 'status', 'code']
  const errors: object[] = [
    ...members.map((name) => Object.defineProperty(new Error('no'), name, refuse)),
    ...members.map((name) => Object.defineProperty({ message: 'no' }, name, refuse)),
    Object.assign(new Error('no'), { headers: Object.defineProperty({ 'x-kept': 'yes' }, 'x-broken', { ...refuse, enumerable: true }) })
  ]
  for (const error of errors) {
    const seen: Error[] = []
    const browser = new Browser(await createApp(t, {
      server: { logger: false },
      before: (app) => { app.addHook('onRequest', async () => { throw error }) },
      options: { onFailure: (error) => { seen.push(error) } }
    }))
    const answer = await browser.navigate(broken)
    t.equal(answer.statusCode, 500)
    t.match(answer.body, '<h1>Something went wrong</h1>')
    t.equal(seen.length, 1)
    if ('headers' in error && errors.indexOf(error) === errors.length - 1) t.equal(answer.headers['x-kept'], 'yes')
  }
})

t.test('a request that a hook of the app refuses gets a page that says so, and its status is in the log', async (t) => {
  const lines: Array<Record<string, unknown>> = []
  const browser = new Browser(await createApp(t, {
    server: { logger: { level: 'info', stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } }, ...withoutRequestLogs },
    before: (app) => { app.addHook('onRequest', async () => { throw Object.assign(new Error('Missing csrf secret'), { statusCode: 403 }) }) }
  }))
  const answer = await browser.navigate('/webflow/authorize')
  t.equal(answer.statusCode, 403)
  t.match(answer.body, '<h1>The app refused this request</h1>')
  t.ok(lines.some(({ msg }) => msg === 'webflow-oauth: a hook of the app refused the request with status 403'))
})

t.test('a page has a small line only for an error with a code', async (t) => {
  const browser = new Browser(await createApp(t, { before: (app) => { app.addHook('onRequest', async (_request, reply) => limit(reply)) } }))
  const { statusCode, body } = await browser.navigate(broken)
  t.equal(statusCode, 429)
  t.notMatch(body, '<small>')
})

t.test('a flow that the app began for a named user has no link to try again, because only the app can begin it', async (t) => {
  const webflow = await startWebflow(t)
  const app = await createApp(t, {
    webflow,
    options: { identify: ({ headers }) => typeof headers.authorization === 'string' ? headers.authorization : null },
    after: (app) => {
      app.get<{ Querystring: { user?: string } }>('/connect', async (request, reply) => reply.redirect(await app.webflowOAuth.startAuthorization(request, reply, { ...request.query, returnTo: '/done' })))
    }
  })
  for (const [path, hasLink] of [['/connect?user=ada', false], ['/connect', true]] as const) {
    const browser = new Browser(app)
    const denied = await webflow.deny(String((await browser.navigate(path)).location))
    const { statusCode, body } = await browser.navigate(denied, hasLink ? { authorization: 'ada' } : {})
    t.equal(statusCode, 403)
    t.equal(body.includes('Try again</a>'), hasLink, path)
    t.match(body, 'WEBFLOW_OAUTH_ACCESS_DENIED')
  }
})

t.test('an error handler of a scope passes errors on to the outer scope\'s handler, and each is asked once', async (t) => {
  const passing: Array<[string, (error: unknown, reply: FastifyReply) => unknown]> = [
    ['sends', (error, reply) => { reply.send(error) }],
    ['returns', (error) => error],
    ['throws', (error) => { throw error }],
    ['rejects', async (error) => { throw error }],
    ['sends later', (error, reply) => { setImmediate(() => { reply.send(error) }) }]
  ]
  for (const [name, pass] of passing) {
    for (const answers of [true, false]) {
      const asked: string[] = []
      const app = Fastify({ logger: recordingLogger })
      t.teardown(() => app.close())
      app.setErrorHandler((error, _request, reply) => {
        asked.push('outer')
        return answers ? reply.code(499).send({ outer: true }) : pass(error, reply)
      })
      await app.register(async (scope) => {
        scope.setErrorHandler((error, _request, reply) => {
          asked.push('inner')
          return pass(error, reply)
        })
        await scope.register(webflowOAuth, baseOptions(null))
      })
      const answer = await new Browser(app).get(broken)
      t.strictSame(asked, ['inner', 'outer'], name)
      if (answers) t.strictSame([answer.statusCode, answer.json()], [499, { outer: true }])
      else t.match(answer.json(), { statusCode: 400, code: 'WEBFLOW_OAUTH_STATE_INVALID', reason: 'malformed' })
    }
  }
})

t.test('JSON that the app makes of an error stays as the app made it', async (t) => {
  const { message } = (await new Browser(await createApp(t)).get(broken)).json()
  const own = { statusCode: 400, code: 'WEBFLOW_OAUTH_STATE_INVALID', error: 'Bad Request', message }
  const cases: Array<[string, (app: FastifyInstance) => unknown, unknown]> = [
    ['by an error handler', (app) => app.setErrorHandler((_error, _request, reply) => { reply.code(400).send(own) }), own],
    ['by a hook', (app) => app.addHook('onSend', async (_request, _reply, payload) => JSON.stringify({ wrapped: JSON.parse(String(payload)) })), { wrapped: own }],
    ['by a hook, as text', (app) => app.addHook('onSend', async () => '"nothing to see"'), 'nothing to see'],
    ['by a hook, as bytes', (app) => app.addHook('onSend', async () => Buffer.from('{}')), {}]
  ]
  for (const [name, before, expected] of cases) {
    t.strictSame((await new Browser(await createApp(t, { before })).get(broken)).json(), expected, name)
  }
})

t.test('the routes have no response schema', async (t) => {
  const schemas: unknown[] = []
  await createApp(t, { before: (app) => { app.addHook('onRoute', ({ url, schema }) => { if (url.startsWith('/webflow/')) schemas.push(schema?.response) }) } })
  t.strictSame(schemas, schemas.map(() => undefined))
  t.ok(schemas.length >= 4)
})

t.test('an `onSend` hook that always fails causes no loop', async (t) => {
  let sendings = 0
  let failures = 0
  const browser = new Browser(await createApp(t, {
    before: (app) => {
      app.addHook('onSend', async () => {
        sendings++
        throw new Error('a bug of the app')
      })
    },
    options: { onFailure: () => { failures++ } }
  }))
  // As on any route, an error without a status of its own keeps a status that was set before.
  const opens: Array<[() => Promise<Answer>, number]> = [[() => browser.navigate(broken), 400], [() => browser.get(broken), 400], [() => browser.get('/webflow/authorize'), 500]]
  for (const [open, expected] of opens) {
    sendings = failures = 0
    const { statusCode, headers } = await open()
    t.equal(statusCode, expected)
    t.equal(headers['cache-control'], 'no-store')
    t.equal(failures, 1)
    t.ok(sendings <= 3, `${sendings} times`)
  }
})

t.test('the page and `failureRedirect` keep the flow\'s `returnTo`', async (t) => {
  const webflow = await startWebflow(t)
  const wanted = '/welcome?a=1&b="2"\'<c>'
  const link = 'https://app.example.com/webflow/authorize?returnTo=https%3A%2F%2Fapp.example.com%2Fwelcome%3Fa%3D1%26b%3D%25222%2522%2527%253Cc%253E'
  for (const failureRedirect of [undefined, '/oops']) {
    const app = await createApp(t, { webflow, options: { failureRedirect, allowedOrigins: ['https://other.example'] } })
    const check = (answer: Answer, { page, returnTo }: { page: string, returnTo: string | null }) => {
      if (failureRedirect === undefined) t.equal(/<a href="([^"]*)">Try again/.exec(answer.body)?.[1], page)
      else t.equal(new URL(String(answer.location)).searchParams.get('returnTo'), returnTo)
    }
    const begin = async (browser: Browser, returnTo: string) => String((await browser.navigate(`/webflow/authorize?returnTo=${encodeURIComponent(returnTo)}`)).location)

    const browser = new Browser(app)
    const denied = await webflow.deny(await begin(browser, wanted))
    const other = browser.clone()
    check(await browser.navigate(denied), { page: link, returnTo: 'https://app.example.com/welcome?a=1&b=%222%22%27%3Cc%3E' })
    check(await browser.navigate(denied), { page: link, returnTo: 'https://app.example.com/welcome?a=1&b=%222%22%27%3Cc%3E' })
    check(await new Browser(app).navigate(denied), { page: 'https://app.example.com/webflow/authorize', returnTo: null })
    check(await other.navigate(`${denied}x`), { page: 'https://app.example.com/webflow/authorize', returnTo: null })

    const elsewhere = new Browser(app)
    check(await elsewhere.navigate(await webflow.deny(await begin(elsewhere, 'https://other.example/'))), { page: 'https://app.example.com/webflow/authorize?returnTo=https%3A%2F%2Fother.example%2F', returnTo: 'https://other.example/' })
    const nowhere = new Browser(app)
    check(await nowhere.navigate(await webflow.deny(await begin(nowhere, 'https://evil.example/'))), { page: 'https://app.example.com/webflow/authorize', returnTo: null })
  }
})

t.test('`returnTo` is kept when a flow expires, the store fails or a rate limit refuses the callback', async (t) => {
  const webflow = await startWebflow(t)
  const store = new MemoryStore()
  let isDown = false
  const { set } = store
  store.set = async (...call) => {
    if (isDown) throw new Error('down')
    return await set.apply(store, call)
  }
  const app = await createApp(t, { webflow, options: { store }, before: (app) => { app.addHook('onRequest', async (request, reply) => { if (request.headers['x-limit'] !== undefined) limit(reply) }) } })
  const browser = new Browser(app)
  const url = await webflow.approve(String((await browser.navigate('/webflow/authorize?returnTo=/welcome')).location))
  const link = '<a href="https://app.example.com/webflow/authorize?returnTo=https%3A%2F%2Fapp.example.com%2Fwelcome">Try again</a>'
  const limited = await browser.navigate(url, { 'x-limit': '1' })
  t.equal(limited.statusCode, 429)
  t.match(limited.body, link)
  isDown = true
  const failed = await browser.navigate(url)
  t.equal(failed.statusCode, 503)
  t.match(failed.body, link)
  isDown = false
  mock.timers.enable({ apis: ['Date'], now: Date.now() + 901_000 })
  t.teardown(() => { mock.timers.reset() })
  const expired = await browser.navigate(url)
  t.match(expired.body, 'This took too long')
  t.match(expired.body, link)
})

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

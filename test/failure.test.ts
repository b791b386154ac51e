import { createHash } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { WebflowOAuthError, type WebflowOAuthOptions } from '../lib/index.ts'
import { assertNothingLeaked, connect, createApp, startWebflow } from './support/app.ts'
import { Browser, navigation } from './support/browser.ts'

const broken = '/webflow/callback?state=%3Cscript%3Ealert(1)%3C%2Fscript%3E&code=x'

t.test('a program gets JSON with code and reason', async (t) => {
  const answer = await new Browser(await createApp(t)).get(broken)
  t.equal(answer.statusCode, 400)
  t.match(answer.headers['content-type'], 'application/json')
  const { message, ...rest } = answer.json()
  t.strictSame(rest, { statusCode: 400, code: 'WEBFLOW_OAUTH_STATE_INVALID', error: 'Bad Request', reason: 'malformed' })
  t.match(message, /secret/, 'the message says what to look at')
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

t.test('fetch metadata tells a person from a program, and `Accept` where there is none', async (t) => {
  const browser = new Browser(await createApp(t))
  const pages: Array<Record<string, string>> = [navigation, { accept: 'text/html,application/xhtml+xml' }, { accept: 'Text/HTML' }]
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

t.test('`failureRedirect` takes people from the callback, with code and reason', async (t) => {
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

t.test('an `onFailure` that answers without waiting, hijacks, or throws is understood', async (t) => {
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

t.test('the app\'s error handler is asked last, one that is set after the plugin too', async (t) => {
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

t.test('serializers and envelopes of the app do not change what we answer', async (t) => {
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

t.test('an `onSend` hook of the app that fails does not open the answer to caches', async (t) => {
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

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

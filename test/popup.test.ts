import { createHash } from 'node:crypto'
import { runInNewContext } from 'node:vm'
import helmet from '@fastify/helmet'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { MemoryStore, type WebflowOAuthOptions } from '../lib/index.ts'
import type { Simulator } from '../lib/simulator/index.ts'
import { assertNothingLeaked, connect, createApp, startWebflow } from './support/app.ts'
import { Browser, type Answer } from './support/browser.ts'
import { logged } from './support/logs.ts'

const openerHeader = 'cross-origin-opener-policy'
const source = 'fastify-webflow-oauth'
const popup = '/webflow/authorize?popup=1'
const spa = 'https://spa.example.com'

/** Starts a Webflow, an app that has helmet's defaults, and a browser. */
async function open (t: Test, options: Partial<WebflowOAuthOptions> = {}, after?: (app: FastifyInstance) => unknown): Promise<{ app: FastifyInstance, browser: Browser, webflow: Simulator }> {
  const webflow = await startWebflow(t)
  const app = await createApp(t, { webflow, options: { allowedOrigins: [spa], ...options }, before: (app) => app.register(helmet), ...(after === undefined ? {} : { after }) })
  return { app, browser: new Browser(app), webflow }
}

const unescape = (text: string) => text.replaceAll('&quot;', '"').replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&')

/** What a page did in a popup. */
interface Performance {
  /** Each message with the origin that may receive it. */
  messages: Array<[Record<string, string>, string]>
  hasClosed: boolean
}

/** Runs the script of a page that its own policy allows; null if the page is not one that closes itself. */
function perform ({ body, headers }: Answer): Performance | null {
  const [, script] = /<script>([^]*)<\/script>/.exec(body) ?? []
  if (script === undefined) return null
  const policy = String(headers['content-security-policy'])
  if (!policy.includes(`script-src 'sha256-${createHash('sha256').update(script).digest('base64')}'`)) throw new Error('The policy forbids the script')
  const dataset = Object.fromEntries(Array.from(body.matchAll(/ data-(\w+)="([^"]*)"/g), ([, name = '', value = '']) => [name, unescape(value)]))
  const done: Performance = { messages: [], hasClosed: false }
  const window = {
    opener: { postMessage: (message: unknown, origin: string) => { done.messages.push([JSON.parse(JSON.stringify(message)), origin]) } },
    close: () => { done.hasClosed = true }
  }
  runInNewContext(script, { document: { body: { dataset } }, window })
  // Without an opener, the page still closes.
  runInNewContext(script, { document: { body: { dataset } }, window: { ...window, opener: null } })
  return done
}

const told = (message: Record<string, string>): Performance => ({
  messages: ['https://app.example.com', spa].map((origin) => [{ source, ...message }, origin]),
  hasClosed: true
})

t.test('a flow in a popup ends in a page that sends its opener a message and closes itself', async (t) => {
  const { browser, webflow } = await open(t)
  const answer = await connect(browser, webflow, { path: `${popup}&returnTo=/sites` })
  t.equal(answer.statusCode, 200)
  t.strictSame(perform(answer), told({ outcome: 'connected' }))
  t.match(answer.body, '<h1>Webflow is connected</h1>')
  t.match(answer.body, '<a href="https://app.example.com/sites">Go on</a>')
  t.match(String(answer.headers['content-security-policy']), /^default-src 'none'; .*frame-ancestors 'none'$/)
  t.match((await browser.get('/token')).json(), { connected: true })
})

t.test('no secret is in the page of a popup', async (t) => {
  const { browser, webflow } = await open(t)
  const url = await webflow.approve(String((await browser.navigate(popup)).location))
  const { body } = await browser.navigate(url)
  const { accessToken } = (await browser.get('/token')).json()
  for (const secret of [String(accessToken), ...new URL(url).searchParams.values(), ...browser.cookies.values()]) t.notMatch(body, secret)
})

t.test('every answer of a flow in a popup keeps the opener, also under helmet', async (t) => {
  const { app, browser, webflow } = await open(t)
  const begun = await browser.navigate(popup)
  t.equal(begun.statusCode, 302)
  t.equal(begun.headers[openerHeader], 'unsafe-none')
  const url = await webflow.approve(String(begun.location))
  t.equal((await browser.navigate(url)).headers[openerHeader], 'unsafe-none')
  t.equal((await browser.navigate(url)).headers[openerHeader], 'unsafe-none', 'the repeated callback')
  for (const method of ['HEAD', 'GET'] as const) {
    t.equal((await browser.request(popup, { method, headers: { 'sec-purpose': 'prefetch' } })).headers[openerHeader], 'unsafe-none')
  }
  t.equal((await new Browser(app).navigate('/webflow/authorize')).headers[openerHeader], 'same-origin', 'other flows keep the header of helmet')
  t.equal((await connect(new Browser(app), webflow)).headers[openerHeader], 'same-origin')
})

t.test('only `popup=1`, given once, asks for a popup', async (t) => {
  const { app, webflow } = await open(t)
  for (const query of ['popup=0', 'popup', 'popup=true', 'popup=1&popup=1']) {
    const answer = await connect(new Browser(app), webflow, { path: `/webflow/authorize?${query}` })
    t.equal(answer.statusCode, 303, query)
    t.equal(answer.headers[openerHeader], 'same-origin', query)
  }
})

t.test('an app begins a flow in a popup by `startAuthorization`', async (t) => {
  const { browser, webflow } = await open(t, {}, (app) => {
    app.get('/connect', async (request, reply) => reply.redirect(await app.webflowOAuth.startAuthorization(request, reply, { popup: true, returnTo: '/done' })))
    app.get('/wrong', async (request, reply) => await app.webflowOAuth.startAuthorization(request, reply, { popup: JSON.parse('"1"') }))
  })
  const begun = await browser.navigate('/connect')
  t.equal(begun.headers[openerHeader], 'unsafe-none')
  const answer = await browser.navigate(await webflow.approve(String(begun.location)))
  t.strictSame(perform(answer), told({ outcome: 'connected' }))
  t.match(answer.body, 'href="https://app.example.com/done"')
  t.match((await browser.get('/wrong')).json(), { statusCode: 500, code: 'WEBFLOW_OAUTH_INVALID_OPTION', message: '`popup` must be true or false.' })
})

t.test('a popup in which the user declines gets the page with the status of the error, and not `failureRedirect`', async (t) => {
  const { browser, webflow } = await open(t, { failureRedirect: '/failed' })
  const url = await webflow.deny(String((await browser.navigate(`${popup}&returnTo=/sites`)).location))
  for (const answer of [await browser.navigate(url), await browser.navigate(url)]) {
    t.equal(answer.statusCode, 403)
    t.strictSame(perform(answer), told({ outcome: 'failed', code: 'WEBFLOW_OAUTH_ACCESS_DENIED' }))
    t.match(answer.body, '<a href="https://app.example.com/webflow/authorize?returnTo=https%3A%2F%2Fapp.example.com%2Fsites&amp;popup=1">Try again</a>')
    t.match(answer.body, 'You can also close this window.')
    t.equal(answer.headers[openerHeader], 'unsafe-none')
  }
})

t.test('a popup gets the page when the exchange fails, and the same page for a repeated callback', async (t) => {
  const { browser, webflow } = await open(t)
  const url = await webflow.approve(String((await browser.navigate(popup)).location))
  webflow.fail('token', { status: 503 })
  for (const answer of [await browser.navigate(url), await browser.navigate(url)]) {
    t.equal(answer.statusCode, 502)
    t.strictSame(perform(answer), told({ outcome: 'failed', code: 'WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE' }))
  }
  t.equal(webflow.requests.token.length, 1)
})

t.test('a popup gets the page when the store or a hook of the app fails', async (t) => {
  let isDown = false
  const store = new MemoryStore()
  const { app, browser, webflow } = await open(t, {
    store: { get: (key) => isDown ? Promise.reject(new Error('down')) : store.get(key), set: (...args) => isDown ? Promise.reject(new Error('down')) : store.set(...args), delete: (...args) => store.delete(...args), find: (...args) => store.find(...args) },
    beforeStore: () => { throw Object.assign(new Error('no plan'), { statusCode: 402 }) }
  })
  const refused = await connect(browser, webflow, { path: popup })
  t.equal(refused.statusCode, 402)
  t.strictSame(perform(refused), told({ outcome: 'failed' }), 'an error without a code')
  const other = new Browser(app)
  const url = await webflow.approve(String((await other.navigate(popup)).location))
  isDown = true
  const failed = await other.navigate(url)
  t.equal(failed.statusCode, 503)
  t.strictSame(perform(failed), told({ outcome: 'failed', code: 'WEBFLOW_OAUTH_STORE_UNAVAILABLE' }))
})

t.test('a failure without the verified cookie of its flow does not count as a popup', async (t) => {
  const { app, browser, webflow } = await open(t, { failureRedirect: '/failed' })
  const url = await webflow.approve(String((await browser.navigate(popup)).location))
  for (const [path, visitor] of [[url, new Browser(app)], [`${url}&popup=1`, new Browser(app)], ['/webflow/callback?error=access_denied&popup=1', browser], ['/webflow/callback', browser]] as const) {
    const answer = await visitor.navigate(path)
    t.equal(answer.statusCode, 303, path)
    t.equal(answer.headers[openerHeader], 'same-origin')
  }
  const [[name = '', value = ''] = []] = browser.cookies
  const forged = new Browser(app)
  forged.cookies.set(name, `${value.slice(0, -44)}A${value.slice(-43)}`)
  t.equal((await forged.navigate(url)).statusCode, 303)
})

t.test('a popup that fails at the authorize route sends its opener a message, and stays a popup', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, before: (app) => { app.addHook('onRequest', async (request) => { if (request.headers['x-limit'] !== undefined) throw Object.assign(new Error('slower'), { statusCode: 429 }) }) } }))
  const answer = await browser.navigate(popup, { 'x-limit': '1' })
  t.equal(answer.statusCode, 429)
  t.match(answer.body, /data-message="[^"]*failed/)
  t.match(answer.body, 'href="https://app.example.com/webflow/authorize?popup=1"')
})

t.test('the answer of `onSuccess` or `onFailure` is sent instead of the page', async (t) => {
  const { app, browser, webflow } = await open(t, {
    onSuccess: (_token, _request, reply) => reply.send('welcome'),
    onFailure: (_error, _request, reply) => reply.code(418).send('sorry')
  })
  const welcome = await connect(browser, webflow, { path: popup })
  t.equal(welcome.body, 'welcome')
  t.equal(welcome.headers[openerHeader], 'unsafe-none')
  const other = new Browser(app)
  const sorry = await other.navigate(await webflow.deny(String((await other.navigate(popup)).location)))
  t.equal(sorry.body, 'sorry')
  t.equal(sorry.headers[openerHeader], 'unsafe-none')
})

t.test('a program gets JSON even if the flow is in a popup', async (t) => {
  const { browser, webflow } = await open(t)
  const answer = await browser.get(await webflow.deny(String((await browser.navigate(popup)).location)))
  t.match(answer.json(), { statusCode: 403, code: 'WEBFLOW_OAUTH_ACCESS_DENIED' })
})

t.test('the page of a flow that only the app can begin again leads back to the app', async (t) => {
  const { browser, webflow } = await open(t, { identify: () => null }, (app) => {
    app.get('/connect', async (request, reply) => reply.redirect(await app.webflowOAuth.startAuthorization(request, reply, { popup: true, user: 'ada', returnTo: '/done' })))
  })
  const answer = await browser.navigate(await webflow.deny(String((await browser.navigate('/connect')).location)))
  t.match(answer.body, '<a href="https://app.example.com/done">Back to the app</a>')
})

t.test('a popup whose user has signed out gets the page of WEBFLOW_OAUTH_USER_REQUIRED', async (t) => {
  let user: string | null = 'ada'
  const { browser, webflow } = await open(t, { identify: () => user })
  const url = await webflow.approve(String((await browser.navigate(popup)).location))
  user = null
  const bridge = await browser.navigate(url, { 'sec-fetch-site': 'cross-site' })
  t.match(bridge, { statusCode: 200, headers: { [openerHeader]: 'unsafe-none' } }, 'the page that reloads keeps the opener')
  t.equal(perform(bridge), null)
  const answer = await browser.navigate(url)
  t.equal(answer.statusCode, 401)
  t.strictSame(perform(answer), told({ outcome: 'failed', code: 'WEBFLOW_OAUTH_USER_REQUIRED' }))
  t.match(answer.body, '<a href="">Try again</a>')
  user = 'ada'
  t.strictSame(perform(await browser.navigate(url)), told({ outcome: 'connected' }), 'the code was not spent')
})

t.test('the answer of another plugin\'s hook keeps the opener too', async (t) => {
  const { browser } = await open(t)
  const limited = await createApp(t, {
    before: (app) => {
      app.register(helmet)
      app.addHook('onRequest', async () => { throw Object.assign(new Error('slow down'), { statusCode: 429 }) })
    }
  })
  t.match(await new Browser(limited).navigate(popup), { statusCode: 429, headers: { [openerHeader]: 'unsafe-none' } })
  t.match(await browser.request('/webflow/revoke', { method: 'POST' }), { headers: { [openerHeader]: 'same-origin' } })
})

t.test('the flow cookie of a popup never has more than 4,096 bytes', async (t) => {
  const app = await createApp(t)
  for (let length = 1700; length < 2048; length++) {
    const { headers } = await app.inject(`${popup}&returnTo=/${'x'.repeat(length)}`)
    t.ok(String(headers['set-cookie']).length <= 4096)
  }
})

t.test('a scope with which the app starts leaves room in the cookie for a popup', async (t) => {
  const scopeOf = (length: number) => Array.from({ length: Math.ceil(length / 100) }, (_, index) => `${index}:`.padEnd(Math.min(100, length - index * 100), 'x'))
  const fits = async (length: number, popup: boolean) => {
    try {
      const app = await createApp(t, {
        options: { scope: scopeOf(length), identify: () => null },
        // No flow cookie holds more than that of a flow which the app begins for a user.
        after: (app) => { app.get('/connect', async (request, reply) => reply.redirect(await app.webflowOAuth.startAuthorization(request, reply, { user: 'ada', popup }))) }
      })
      const { headers, statusCode } = await app.inject('/connect')
      t.ok(String(headers['set-cookie']).length <= 4096)
      return statusCode === 302
    } catch {
      return false
    }
  }
  let longest = 2000
  for (let step = 512; step >= 1; step /= 2) if (await fits(longest + step, false)) longest += step
  t.ok(await fits(longest, true), 'the longest scope with which the app starts has room for a popup')
  t.notOk(await fits(longest + 1, true))
})

t.test('no secret was logged', { buffered: false }, async (t) => {
  t.ok(logged().length > 0)
  assertNothingLeaked(t)
})

import type { FastifyRequest } from 'fastify'
import { mock } from 'node:test'
import t, { type Test } from 'tap'
import type { WebflowOAuthOptions } from '../lib/index.ts'
import { assertNothingLeaked, clientId, connect, createApp, redirectUri, startWebflow } from './support/app.ts'
import { Browser, navigation } from './support/browser.ts'

const callbackPath = '/webflow/callback'

/** The part of a callback URL that a test changes. */
function withParameters (url: string, change: (parameters: URLSearchParams) => void): string {
  const changed = new URL(url)
  change(changed.searchParams)
  return changed.href
}

t.test('a user connects, a handler uses the token, the user disconnects', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))

  const begun = await browser.navigate('/webflow/authorize?returnTo=/welcome')
  t.equal(begun.statusCode, 302)
  const url = new URL(String(begun.location))
  t.strictSame(Object.fromEntries([...url.searchParams].filter(([name]) => name !== 'state')),
    { response_type: 'code', client_id: clientId, redirect_uri: redirectUri, scope: 'sites:read cms:read' })
  t.match(url.search, 'scope=sites%3Aread%20cms%3Aread', 'a space is never spelled as a plus')

  const back = await browser.navigate(await webflow.approve(url.href))
  t.equal(back.statusCode, 303)
  t.equal(back.location, 'https://app.example.com/welcome')
  t.strictSame(webflow.requests.token.length, 1)

  const token = (await browser.get('/token')).json()
  t.equal(token.connected, true)
  t.strictSame(token.scope, ['sites:read', 'cms:read'])

  const gone = await browser.request('/webflow/revoke', { method: 'POST' })
  t.equal(gone.statusCode, 200)
  t.strictSame(gone.json(), { revoked: true, upstream: 'revoked' })
  t.equal((await browser.get('/token')).json().connected, false)
  t.strictSame([...browser.cookies.keys()].filter((name) => !name.includes('_flow_')), [], 'the session cookie is gone')
})

t.test('every answer forbids caching and tells no other site where it came from', async (t) => {
  const webflow = await startWebflow(t)
  const app = await createApp(t, { webflow })
  const browser = new Browser(app)
  const { location } = await browser.navigate('/webflow/authorize')
  const back = await webflow.approve(String(location))
  const answers = [
    await browser.navigate('/webflow/authorize'),
    await browser.request('/webflow/authorize', { method: 'HEAD' }),
    await browser.navigate(back),
    await browser.get(callbackPath),
    await browser.navigate(callbackPath),
    await browser.request('/webflow/revoke', { method: 'POST' }),
    await browser.request('/webflow/revoke', { method: 'POST', headers: { origin: 'https://evil.example' } })
  ]
  for (const { headers } of answers) {
    t.equal(headers['cache-control'], 'no-store')
    t.equal(headers['referrer-policy'], 'no-referrer')
  }
})

t.test('the answers of hooks of the app on our routes carry the headers too', async (t) => {
  const app = await createApp(t, {
    before: (app) => app.addHook('onRequest', async (request, reply) => { if (request.headers['x-stop'] !== undefined) return reply.code(401).send({ stop: true }) })
  })
  const answer = await new Browser(app).get(callbackPath, { 'x-stop': '1' })
  t.equal(answer.statusCode, 401)
  t.equal(answer.headers['cache-control'], 'no-store')
  t.equal(answer.headers['referrer-policy'], 'no-referrer')
})

t.test('cookies of an https app are bound to its host and unreadable by scripts', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))
  const { location, cookies: [flow] } = await browser.navigate('/webflow/authorize')
  t.match(flow?.name, /^__Host-webflow_flow_[\w-]{16}$/)
  t.strictSame(flow?.attributes.sort(), ['HttpOnly', 'Max-Age=900', 'Path=/', 'SameSite=Lax', 'Secure'])

  const { cookies } = await browser.navigate(await webflow.approve(String(location)))
  const session = cookies.find(({ name }) => name === '__Host-webflow')
  t.match(session?.value, /^[\w-]{43}$/)
  t.strictSame(session?.attributes.sort(), ['HttpOnly', `Max-Age=${400 * 24 * 60 * 60}`, 'Path=/', 'SameSite=Lax', 'Secure'])
  t.ok(cookies.find(({ name }) => name === flow?.name)?.attributes.includes('Max-Age=60'), 'the flow cookie is shortened')
})

t.test('on loopback http the cookies carry neither prefix nor Secure', async (t) => {
  const local = 'http://localhost:3000/webflow/callback'
  const webflow = await startWebflow(t, {}, [local])
  const browser = new Browser(await createApp(t, { webflow, options: { redirectUri: local, cookieName: 'demo' } }))
  const { location, cookies: [flow] } = await browser.navigate('http://localhost:3000/webflow/authorize')
  t.match(flow?.name, /^demo_flow_/)
  t.notOk(flow?.attributes.includes('Secure'))
  const { cookies } = await browser.navigate(await webflow.approve(String(location)))
  t.ok(cookies.some(({ name }) => name === 'demo'))

  const second = await browser.navigate('http://localhost:3000/webflow/authorize')
  const elsewhere = await new Browser(browser.app).get(await webflow.approve(String(second.location)), { host: '127.0.0.1:3000' })
  t.equal(elsewhere.json().reason, 'host_mismatch')
  t.match(elsewhere.json().message, /localhost:3000.*127\.0\.0\.1:3000/)
})

t.test('HEAD on the authorize route redirects to Webflow and begins no flow', async (t) => {
  const answer = await new Browser(await createApp(t)).request('/webflow/authorize', { method: 'HEAD' })
  t.equal(answer.statusCode, 302)
  const url = new URL(String(answer.location))
  t.equal(url.origin + url.pathname, 'https://webflow.com/oauth/authorize')
  t.equal(url.searchParams.get('client_id'), clientId)
  t.notOk(url.searchParams.has('state'))
  t.strictSame(answer.cookies, [])
})

t.test('HEAD is not exposed on the callback, and leaves no trace of the query', async (t) => {
  const lines: string[] = []
  const app = await createApp(t, { server: { logger: { level: 'trace', stream: { write: (line: string) => lines.push(line) } } } })
  const answer = await new Browser(app).request(`${callbackPath}?code=very-secret`, { method: 'HEAD' })
  t.equal(answer.statusCode, 404)
  t.ok(lines.length > 0)
  t.notMatch(lines.join(''), 'very-secret')
})

t.test('a request that Fastify gave up on is not answered twice', { jobs: 3 }, async (t) => {
  const createImpatientApp = async (t: Test, options: Partial<WebflowOAuthOptions> = {}) => {
    const lines: string[] = []
    const webflow = await startWebflow(t)
    const app = await createApp(t, { webflow, options, server: { handlerTimeout: 300, logger: { level: 'trace', stream: { write: (line: string) => lines.push(line) } } } })
    return { lines, webflow, browser: new Browser(app) }
  }

  for (const [name, outcome] of [['connects', { delay: 600, handled: true }], ['fails', { delay: 600, status: 500 }]] as const) {
    t.test(`when the callback ${name} later`, { buffered: true }, async (t) => {
      const { lines, webflow, browser } = await createImpatientApp(t)
      const { location } = await browser.navigate('/webflow/authorize')
      webflow.fail('token', outcome)
      const url = await webflow.approve(String(location))
      t.equal((await browser.navigate(url)).statusCode, 503)
      // What the handler came to is there once the same callback gets its answer.
      let answer = await browser.get(url)
      for (let tries = 0; answer.statusCode === 503 && tries < 50; tries++) answer = await browser.get(url)
      t.equal(answer.statusCode, 'status' in outcome ? 502 : 303)
      await browser.app.close()
      t.notMatch(lines.join(''), /already sent|state=/)
    })
  }

  t.test('when `identify` resolves later', { buffered: true }, async (t) => {
    // Who is asked once more by the handler takes his time.
    const asked = new WeakSet<object>()
    const pauses: Array<Promise<unknown>> = []
    const identify = async (request: FastifyRequest) => {
      const isSecond = asked.has(request)
      asked.add(request)
      const pause = new Promise((resolve) => { setTimeout(resolve, isSecond ? 600 : 0) })
      pauses.push(pause)
      await pause
      return request.headers['x-user'] === undefined ? null : 'ada'
    }
    const { lines, webflow, browser } = await createImpatientApp(t, { identify })
    const { location } = await browser.navigate('/webflow/authorize', { 'x-user': 'ada' })
    const url = await webflow.approve(String(location))
    t.equal((await browser.navigate(url, { 'sec-fetch-site': 'cross-site' })).statusCode, 503)
    t.equal((await browser.request('/webflow/revoke', { method: 'POST', headers: { authorization: 'x' } })).statusCode, 503)
    t.equal((await browser.navigate('/webflow/authorize')).statusCode, 503)
    await Promise.all(pauses)
    await new Promise((resolve) => { setImmediate(resolve) })
    t.notMatch(lines.join(''), /already sent|state=/)
  })
})

for (const headers of [{ 'sec-purpose': 'prefetch' }, { 'sec-purpose': 'prefetch;prerender' }, { purpose: 'prefetch' }]) {
  t.test(`a prefetch begins no flow: ${JSON.stringify(headers)}`, async (t) => {
    const answer = await new Browser(await createApp(t)).navigate('/webflow/authorize', headers)
    t.equal(answer.statusCode, 503)
    t.equal(answer.body, '')
    t.strictSame(answer.cookies, [])
  })
}

t.test('two tabs connect side by side', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))
  const first = await browser.navigate('/webflow/authorize?returnTo=/one')
  const second = await browser.navigate('/webflow/authorize?returnTo=/two')
  t.equal((await browser.navigate(await webflow.approve(String(first.location)))).location, 'https://app.example.com/one')
  t.equal((await browser.navigate(await webflow.approve(String(second.location)))).location, 'https://app.example.com/two')
})

t.test('a browser holds at most five flows: the oldest is ended', async (t) => {
  mock.timers.enable({ apis: ['Date'], now: Date.now() })
  t.teardown(() => mock.timers.reset())
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))
  const locations: string[] = []
  for (let i = 0; i < 7; i++) {
    mock.timers.tick(1000)
    locations.push(String((await browser.navigate('/webflow/authorize')).location))
  }
  t.equal(browser.cookies.size, 5)
  const [oldest = '', , third = ''] = locations
  t.equal((await browser.get(await webflow.approve(oldest))).json().reason, 'other_browser')
  t.equal((await browser.get(await webflow.approve(third))).statusCode, 303)
})

t.test('finished flows make room before pending ones, and long flows make room for each other', async (t) => {
  mock.timers.enable({ apis: ['Date'], now: Date.now() })
  t.teardown(() => mock.timers.reset())
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))
  const pending = String((await browser.navigate('/webflow/authorize')).location)
  for (let i = 0; i < 5; i++) {
    mock.timers.tick(1000)
    await connect(browser, webflow)
  }
  t.equal((await browser.navigate(await webflow.approve(pending))).statusCode, 303)

  const hostile = new Browser(browser.app)
  for (let i = 0; i < 5; i++) {
    mock.timers.tick(1000)
    await hostile.navigate(`/webflow/authorize?returnTo=/${'a'.repeat(2040)}`)
  }
  const header = [...hostile.cookies].map(([name, value]) => `${name}=${value}`)
  t.ok(header.every((cookie) => cookie.length < 4096), 'each is one that browsers keep')
  t.ok(header.join('; ').length <= 8300, 'together they leave room for other headers')
  t.ok(header.length > 1)
})

t.test('forged flow cookies are deleted first', async (t) => {
  const browser = new Browser(await createApp(t))
  for (let i = 0; i < 9; i++) browser.cookies.set(`__Host-webflow_flow_${'x'.repeat(15)}${i}`, ['', 'garbage', 'bnVsbA.x', 'e30.x', Buffer.from('{"returnTo":"/","scope":"","startedAt":1,"user":5}').toString('base64url')][i % 5] ?? '')
  const { statusCode, cookies } = await browser.navigate('/webflow/authorize')
  t.equal(statusCode, 302)
  t.equal(cookies.filter(({ attributes }) => attributes.includes('Max-Age=0')).length, 5)
})

t.test('a cookie whose name only begins like that of a flow is left alone', async (t) => {
  const browser = new Browser(await createApp(t))
  for (const end of ['', 'a b', '\u00e9', 'x'.repeat(17), `${'x'.repeat(15)}!`, '1', '2']) browser.cookies.set(`__Host-webflow_flow_${end}`, 'x'.repeat(2000))
  const { statusCode, cookies } = await browser.navigate('/webflow/authorize')
  t.equal(statusCode, 302)
  t.equal(cookies.length, 1)
})

t.test('a callback that Webflow would not make is refused, and nothing is touched', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))
  const { location } = await browser.navigate('/webflow/authorize')
  const good = await webflow.approve(String(location))
  const state = String(new URL(good).searchParams.get('state'))
  const queries = [
    '', '?', '?state=x', `?state=${state}`, '?code=', `?code=&state=${state}`, '?error=', `?error=&state=${state}`,
    `?code=a&error=b&state=${state}`, `?code=a&code=b&state=${state}`, `?code=a&state=${state}&state=${state}`,
    `?error=a&error=b&state=${state}`, `?error=a&error_description=b&error_description=c&state=${state}`,
    `?code=${'a'.repeat(2049)}&state=${state}`, `?code=a%20b&state=${state}`, `?code=a+b&state=${state}`, `?code=%00&state=${state}`,
    `?code=%C3%A9&state=${state}`, `?code=%FF&state=${state}`, `?code[]=a&state=${state}`, `?code[a]=b&state=${state}`, `?__proto__=a&state=${state}`
  ]
  for (const query of queries) {
    const answer = await browser.get(callbackPath + query)
    t.equal(answer.statusCode, 400)
    t.equal(answer.json().code, 'WEBFLOW_OAUTH_INVALID_CALLBACK')
    t.strictSame(answer.cookies, [])
  }
  t.equal((await browser.navigate(good)).statusCode, 303, 'the flow is unharmed')
})

t.test('a query parser of the app does not hide a repeated parameter', async (t) => {
  const app = await createApp(t, { server: { routerOptions: { querystringParser: () => ({ code: 'one', state: 'two' }) } } })
  t.equal((await new Browser(app).get(`${callbackPath}?code=a&code=b&state=c`)).json().code, 'WEBFLOW_OAUTH_INVALID_CALLBACK')
})

t.test('a code of 2,048 visible characters is accepted', async (t) => {
  const answer = await new Browser(await createApp(t)).get(`${callbackPath}?code=${'~'.repeat(2048)}&state=x`)
  t.equal(answer.json().reason, 'malformed')
})

t.test('a state that the app did not make is malformed', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))
  const { location } = await browser.navigate('/webflow/authorize')
  const good = await webflow.approve(String(location))
  const state = String(new URL(good).searchParams.get('state'))
  const other = new Browser(await createApp(t, { webflow, options: { secret: 'another secret of at least 32 bytes' } }))
  const { location: foreign } = await other.navigate('/webflow/authorize')
  const swapped = (state.startsWith('A') ? 'B' : 'A') + state.slice(1)
  for (const value of ['', 'x', state.slice(1), `${state}A`, swapped, state.toLowerCase(), ` ${state}`, String(new URL(String(foreign)).searchParams.get('state'))]) {
    const answer = await browser.get(withParameters(good, (parameters) => parameters.set('state', value)))
    t.equal(answer.statusCode, 400)
    t.equal(answer.json().code, 'WEBFLOW_OAUTH_STATE_INVALID')
    t.equal(answer.json().reason, 'malformed')
  }
  t.equal((await browser.navigate(good)).statusCode, 303)
})

t.test('a flow can be finished until `flowMaxAge` and not after', async (t) => {
  mock.timers.enable({ apis: ['Date'], now: Date.now() })
  t.teardown(() => mock.timers.reset())
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { flowMaxAge: 100 } }))
  const one = await webflow.approve(String((await browser.navigate('/webflow/authorize')).location))
  const two = await webflow.approve(String((await browser.navigate('/webflow/authorize')).location))
  mock.timers.tick(100_000)
  t.equal((await browser.get(one)).statusCode, 303)
  mock.timers.tick(1)
  t.equal((await browser.get(two)).json().reason, 'expired')
  t.equal((await new Browser(browser.app).get(two)).json().reason, 'expired', 'whoever asks')
  t.equal(webflow.requests.token.length, 1)
})

t.test('a stranger who knows the state learns why it is refused, and cannot use up the flow', async (t) => {
  const webflow = await startWebflow(t)
  const app = await createApp(t, { webflow })
  const browser = new Browser(app)
  const { location, cookies: [flow] } = await browser.navigate('/webflow/authorize')
  const good = await webflow.approve(String(location))

  const stranger = new Browser(app)
  t.equal((await stranger.get(good)).json().reason, 'cookie_missing')
  stranger.cookies.set('theme', 'dark')
  t.equal((await stranger.get(good)).json().reason, 'other_browser')
  stranger.cookies.set(String(flow?.name), `${flow?.value}x`)
  t.equal((await stranger.get(good)).json().reason, 'other_browser', 'a wrong flow cookie is no cookie')
  t.equal((await stranger.get(good, { host: 'www.example.com' })).json().reason, 'host_mismatch')
  t.match((await stranger.get(good, { host: 'www.example.com' })).json().message, /app\.example\.com.*www\.example\.com/)
  for (const host of ['<evil>', 'evil.example/x', 'x y', 'evil@app.example.com', 'e'.repeat(256)]) {
    const { reason, message } = (await stranger.get(good, { host })).json()
    t.equal(reason, 'host_mismatch')
    t.notOk(String(message).includes(host) || String(message).includes('asked for'), 'what is no host is not repeated')
  }
  t.notMatch((await stranger.get(good, { host: '<evil>' })).json().message, 'evil')
  t.equal((await stranger.get(good, { host: 'APP.example.com:443' })).json().reason, 'other_browser', 'spellings of the same host are one')

  t.equal((await browser.navigate(good)).statusCode, 303, 'the flow is unharmed')
  t.equal((await stranger.get(good)).json().reason, 'already_used')
})

t.test('a flow cookie is worthless without its state, and a state is worthless with the cookie of another flow', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))
  const first = await browser.navigate('/webflow/authorize')
  const second = await browser.navigate('/webflow/authorize')
  const [one] = first.cookies
  const [two] = second.cookies
  browser.cookies.set(String(one?.name), String(two?.value))
  t.equal((await browser.get(await webflow.approve(String(first.location)))).json().reason, 'other_browser')
})

t.test('another host in front of the app does not keep a user from connecting', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))
  const { location } = await browser.navigate('/webflow/authorize', { host: 'internal:8080' })
  t.equal((await browser.navigate(await webflow.approve(String(location)), { host: 'internal:8080' })).statusCode, 303)
})

t.test('a user who declines gets ACCESS_DENIED, the same one again, and no token', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))
  const { location } = await browser.navigate('/webflow/authorize')
  const denied = await webflow.deny(String(location))
  for (const answer of [await browser.get(denied), await browser.get(denied)]) {
    t.equal(answer.statusCode, 403)
    t.equal(answer.json().code, 'WEBFLOW_OAUTH_ACCESS_DENIED')
    t.notOk(answer.cookies.some(({ name }) => name === '__Host-webflow'))
  }
  t.equal(webflow.requests.token.length, 0)
})

t.test('any other error is AUTHORIZATION_FAILED, and its reason is the error if RFC 6749 has it', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))
  for (const [error, reason] of [...['invalid_request', 'unauthorized_client', 'unsupported_response_type', 'invalid_scope', 'server_error', 'temporarily_unavailable'].map((known) => [known, known] as const), ['<script>alert(1)</script>', undefined]] as const) {
    const { location } = await browser.navigate('/webflow/authorize')
    const state = new URL(String(location)).searchParams.get('state')
    const answer = await browser.get(`${callbackPath}?${new URLSearchParams({ error, error_description: '<b>free text</b>', state: String(state) })}`)
    t.equal(answer.statusCode, 400)
    t.equal(answer.json().code, 'WEBFLOW_OAUTH_AUTHORIZATION_FAILED')
    t.equal(answer.json().reason, reason)
    t.match(answer.json().message, ['server_error', 'temporarily_unavailable'].includes(error) ? 'This is a temporary failure: try again later.' : 'The app asked for the scope sites:read cms:read: compare it')
    t.notMatch(answer.body, 'script')
    t.notMatch(answer.body, 'free text')
  }
})

t.test('an error is not believed without a state, nor without the flow\'s cookie', async (t) => {
  const app = await createApp(t)
  const browser = new Browser(app)
  t.equal((await browser.get(`${callbackPath}?error=access_denied`)).json().reason, 'state_missing')
  const state = new URL(String((await browser.navigate('/webflow/authorize')).location)).searchParams.get('state')
  t.equal((await new Browser(app).get(`${callbackPath}?error=access_denied&state=${state}`)).json().reason, 'cookie_missing')
})

t.test('an install that began at Webflow is begun again with a state of the app', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { successRedirect: '/hello' } }))
  const installed = await webflow.install()
  t.notOk(new URL(installed).searchParams.has('state'))
  const restarted = await browser.navigate(installed)
  t.equal(restarted.statusCode, 302)
  t.ok(new URL(String(restarted.location)).searchParams.has('state'))
  t.ok(restarted.cookies.find(({ name }) => name === '__Host-webflow_restart')?.attributes.includes('Max-Age=60'))
  const back = await browser.navigate(await webflow.approve(String(restarted.location)))
  t.equal(back.location, 'https://app.example.com/hello')
  t.notOk(browser.cookies.has('__Host-webflow_restart'), 'the marker is ended')
  t.equal(webflow.requests.token.length, 1, 'the code without a state was dropped')
})

t.test('a repeated callback deletes the marker of the install if the browser has discarded the first answer', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))
  const restarted = await browser.navigate(await webflow.install())
  const url = await webflow.approve(String(restarted.location))
  await browser.clone().navigate(url)
  t.equal((await browser.navigate(url)).statusCode, 303)
  t.notOk(browser.cookies.has('__Host-webflow_restart'))
})

t.test('an install that could not be begun again leaves no marker behind', async (t) => {
  let broken = true
  const identify = () => {
    if (broken) throw new Error('a bug of the app')
    return null
  }
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { identify } }))
  const failed = await browser.get(await webflow.install())
  t.equal(failed.statusCode, 500)
  t.strictSame(failed.cookies, [])
  broken = false
  t.equal((await browser.get(await webflow.install())).statusCode, 302)
})

t.test('a Webflow that loses every state causes no loop', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))
  t.equal((await browser.get(await webflow.install())).statusCode, 302)
  const again = await browser.get(await webflow.install())
  t.equal(again.statusCode, 400)
  t.equal(again.json().reason, 'state_missing')
})

t.test('with `onMissingState: reject` a callback without a state is refused', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { onMissingState: 'reject' } }))
  const answer = await browser.get(await webflow.install())
  t.equal(answer.statusCode, 400)
  t.equal(answer.json().reason, 'state_missing')
  t.strictSame(answer.cookies, [])
})

t.test('connecting again gives a new session and deletes the token of the old one', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))
  await connect(browser, webflow)
  const old = browser.clone()
  await connect(browser, webflow)
  t.not(browser.cookies.get('__Host-webflow'), old.cookies.get('__Host-webflow'))
  t.equal((await browser.get('/token')).json().connected, true)
  t.equal((await old.get('/token')).json().connected, false)
  t.equal(webflow.requests.revoke.length, 0, 'nothing is revoked by itself')
})

t.test('a session id that was planted before the flow is not used', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))
  const planted = 'A'.repeat(43)
  browser.cookies.set('__Host-webflow', planted)
  await connect(browser, webflow)
  t.not(browser.cookies.get('__Host-webflow'), planted)
})

t.test('when Webflow rejects the code the callback says so, and says the same again', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))
  const { location } = await browser.navigate('/webflow/authorize')
  const state = new URL(String(location)).searchParams.get('state')
  const first = await browser.get(`${callbackPath}?code=unknown&state=${state}`)
  t.equal(first.statusCode, 400)
  t.equal(first.json().code, 'WEBFLOW_OAUTH_CODE_REJECTED')
  const second = await browser.get(`${callbackPath}?code=unknown&state=${state}`)
  t.match(second.json(), { statusCode: 400, code: 'WEBFLOW_OAUTH_CODE_REJECTED' })
  t.equal(webflow.requests.token.length, 1)
})

t.test('scope and lifetime are those that Webflow names in its answer, if it names them', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, after: (app) => app.get('/life', async (request) => ({ life: Number(request.webflowToken?.expiresAt) - Number(request.webflowToken?.createdAt) })) }))
  webflow.fail('token', { body: { access_token: 'a token that ends soon', token_type: 'Bearer', scope: 'sites:read,cms:write', expires_in: 60 } })
  await connect(browser, webflow)
  t.strictSame((await browser.get('/token')).json().scope, ['sites:read', 'cms:write'])
  t.equal((await browser.get('/life')).json().life, 60_000)
})

t.test('the plugin\'s routes log their path without the query', async (t) => {
  const lines: string[] = []
  const app = await createApp(t, { server: { logger: { level: 'trace', stream: { write: (line: string) => lines.push(line) } } } })
  await new Browser(app).get(`${callbackPath}?code=very-secret-code&state=very-secret-state`)
  await new Browser(app).navigate(`${callbackPath}?code=very-secret-code&state=very-secret-state`)
  t.match(lines.join(''), '"url":"/webflow/callback"')
  t.notMatch(lines.join(''), 'very-secret')
})

t.test('a POST to the authorize or callback route gets 404', async (t) => {
  const browser = new Browser(await createApp(t))
  t.equal((await browser.request('/webflow/authorize', { method: 'POST', headers: navigation })).statusCode, 404)
  t.equal((await browser.request(callbackPath, { method: 'POST', headers: navigation })).statusCode, 404)
})

t.test('a navigation that a service worker forwards counts as one of a person, at the guard, the callback and the revoke route', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, {
    webflow,
    after: (app) => { app.get('/page', { preHandler: app.webflowOAuth.requireToken({ onMissing: 'redirect' }) }, async () => null) }
  }))
  const passedOn = { ...navigation, 'sec-fetch-dest': 'empty' }
  const guarded = await browser.get('/page', passedOn)
  t.equal(guarded.statusCode, 302)
  const denied = await browser.get(await webflow.deny(String(guarded.location)), passedOn)
  t.equal(denied.statusCode, 403)
  t.match(denied.headers['content-type'], 'text/html')
  const again = await browser.get('/page', passedOn)
  t.equal((await browser.get(await webflow.approve(String(again.location)), passedOn)).location, 'https://app.example.com/page')
  t.equal((await browser.request('/webflow/revoke', { method: 'POST', headers: passedOn })).statusCode, 303)
})

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

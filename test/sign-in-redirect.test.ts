import { mock } from 'node:test'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { MemoryStore, type WebflowOAuthOptions } from '../lib/index.ts'
import type { Simulator } from '../lib/simulator/index.ts'
import { assertNothingLeaked, connect, createApp, startWebflow } from './support/app.ts'
import { Browser, type Answer } from './support/browser.ts'
import { logged } from './support/logs.ts'

const home = 'https://app.example.com'
const login = `${home}/login`
const invalid = { code: 'WEBFLOW_OAUTH_INVALID_OPTION' }

/** An app whose user is whoever the test says. */
interface Stage {
  app: FastifyInstance
  browser: Browser
  webflow: Simulator
  /** Signs a user in, or out by null. */
  signIn (user: string | null): void
}

async function open (t: Test, options: Partial<WebflowOAuthOptions> = {}): Promise<Stage> {
  let user: string | null = null
  const webflow = await startWebflow(t)
  const app = await createApp(t, {
    webflow,
    options: { identify: () => user, signInRedirect: '/login', ...options },
    after: (app) => {
      const { requireToken } = app.webflowOAuth
      app.get('/sites', { preHandler: requireToken({ onMissing: 'redirect' }) }, async () => 'sites')
      app.get('/login', { preHandler: requireToken({ onMissing: 'redirect' }) }, async () => 'login')
    }
  })
  return { app, browser: new Browser(app), webflow, signIn: (next) => { user = next } }
}

/** Reads where a redirect to the sign-in page leads back to. */
function nextOf ({ location }: Answer, page = login): URL {
  const url = new URL(String(location))
  if (url.origin + url.pathname !== page) throw new Error(`No sign-in page, but ${url.origin}${url.pathname}`)
  return new URL(url.searchParams.get('returnTo') ?? '', home)
}

const begins = ({ statusCode, location }: Answer, webflow: Simulator) => statusCode === 302 && String(location).startsWith(`${webflow.url}/oauth/authorize?`)

t.test('`signInRedirect` is refused without `identify`, and where it leads to a route of the plugin', async (t) => {
  await t.rejects(createApp(t, { options: { signInRedirect: '/login' } }), { ...invalid, message: /^`signInRedirect` needs the option `identify`/ })
  for (const signInRedirect of ['/webflow/authorize', `${home}/webflow/callback?a=b`, '/Webflow/revoke/', 'login', '//evil.example', 'javascript:alert(1)']) {
    await t.rejects(createApp(t, { options: { identify: () => null, signInRedirect } }), { ...invalid, message: /^`signInRedirect` / }, signInRedirect)
  }
})

t.test('a browser without a user signs in first, and then connects with one consent', async (t) => {
  const { browser, webflow, signIn } = await open(t)
  const answer = await browser.navigate('/webflow/authorize?returnTo=/sites%3Fa=b')
  t.equal(answer.statusCode, 302)
  t.strictSame(answer.cookies, [], 'no flow has begun')
  const next = nextOf(answer)
  t.equal(next.href, `${home}/webflow/authorize?returnTo=%2Fsites%3Fa%3Db&resume=1`)
  t.equal(new URL(String(answer.location)).searchParams.get('returnTo'), next.pathname + next.search, 'a path, since the sign-in page is on the same origin')
  signIn('ada')
  const back = await connect(browser, webflow, { path: next.href })
  t.match(back, { statusCode: 303, location: `${home}/sites?a=b` })
  t.match((await browser.get('/token')).json(), { connected: true })
})

t.test('a sign-in page on another origin gets an absolute URL, and keeps its own query and fragment', async (t) => {
  const { browser } = await open(t, { signInRedirect: 'https://login.example.com/start?app=5&returnTo=x#form' })
  const url = new URL(String((await browser.navigate('/webflow/authorize')).location))
  t.equal(url.origin + url.pathname + url.hash, 'https://login.example.com/start#form')
  t.strictSame([...url.searchParams], [['app', '5'], ['returnTo', `${home}/webflow/authorize?resume=1`]])
})

t.test('the `returnTo` of the sign-in page has the prefix that a proxy removes', async (t) => {
  const { browser } = await open(t, { redirectUri: `${home}/api/webflow/callback`, callbackPath: '/webflow/callback' })
  t.equal(nextOf(await browser.navigate('/webflow/authorize')).pathname, '/api/webflow/authorize')
})

t.test('a popup stays a popup through the sign-in page', async (t) => {
  const { browser, webflow, signIn } = await open(t)
  const answer = await browser.navigate('/webflow/authorize?popup=1&returnTo=/sites')
  t.equal(answer.headers['cross-origin-opener-policy'], 'unsafe-none')
  const next = nextOf(answer)
  t.equal(next.search, '?returnTo=%2Fsites&popup=1&resume=1')
  signIn('ada')
  const { statusCode, body } = await connect(browser, webflow, { path: next.href })
  t.equal(statusCode, 200)
  t.match(body, 'Webflow is connected')
})

t.test('a `returnTo` that the plugin does not allow is left out of the URL of the sign-in page', async (t) => {
  const { browser } = await open(t)
  for (const returnTo of ['https://evil.example/', '/webflow/authorize', '%2F%2Fevil.example']) {
    t.equal(nextOf(await browser.navigate(`/webflow/authorize?returnTo=${returnTo}`)).search, '?resume=1', returnTo)
  }
  t.equal(nextOf(await browser.navigate(`/webflow/authorize?returnTo=/${'x'.repeat(2048)}`)).search, '?resume=1')
  t.match(logged(), 'the URL to return to has more than 2,048 characters and was dropped')
})

t.test('a browser that comes back from the sign-in page without a user gets 401, so that nothing loops', async (t) => {
  const { browser, webflow, signIn } = await open(t)
  for (const resume of ['1', 'guard']) {
    const path = `/webflow/authorize?returnTo=/sites&resume=${resume}`
    const answer = await browser.navigate(path)
    t.equal(answer.statusCode, 401)
    t.match(answer.body, '<a href="">Try again</a>')
    t.match((await browser.get(path)).json(), { statusCode: 401, code: 'WEBFLOW_OAUTH_USER_REQUIRED' })
    signIn('ada')
    t.ok(begins(await browser.navigate(path), webflow), 'the same URL goes on once the user is known')
    signIn(null)
  }
})

t.test('installs that lose their state end after a few flows, even if nobody is signed in at the callback', async (t) => {
  const { browser, webflow, signIn } = await open(t)
  let answers = 0
  for (; answers < 10; answers++) {
    signIn(null)
    const answer = await browser.navigate('/webflow/callback?code=lost')
    if (answer.statusCode !== 302 || begins(answer, webflow)) break
    signIn('ada')
    t.ok(begins(await browser.navigate(nextOf(answer).href), webflow))
  }
  t.ok(answers <= 3, 'the way through the sign-in page ends')
})

t.test('a guard sends a browser without a user to sign in, and a user who is connected comes back without another consent', async (t) => {
  const { app, browser, webflow, signIn } = await open(t)
  const answer = await browser.navigate('/sites?a=b')
  t.equal(answer.statusCode, 302)
  t.match(answer.headers, { 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' })
  const next = nextOf(answer)
  t.equal(next.search, '?returnTo=%2Fsites%3Fa%3Db&resume=guard')
  signIn('ada')
  const back = await connect(browser, webflow, { path: next.href })
  t.match(back, { statusCode: 303, location: `${home}/sites?a=b` })

  signIn(null)
  const other = new Browser(app)
  const again = nextOf(await other.navigate('/sites?a=b'))
  signIn('ada')
  t.match(await other.navigate(again.href), { statusCode: 303, location: `${home}/sites?a=b` })
  t.match(await other.navigate('/sites?a=b'), { statusCode: 200, body: 'sites' })
  t.match(await other.navigate('/webflow/authorize?returnTo=https://evil.example/&resume=guard'), { statusCode: 303, location: `${home}/` }, 'and never to a foreign page')
  t.match(await other.navigate('/webflow/authorize?resume=guard'), { statusCode: 303, location: `${home}/` })
  t.ok(begins(await other.navigate('/webflow/authorize?returnTo=/sites&resume=1'), webflow), 'whoever asked to connect connects again')
})

t.test('a guard sends a signed-in user who is not connected straight to Webflow', async (t) => {
  const { browser, webflow, signIn } = await open(t)
  signIn('ada')
  t.ok(begins(await browser.navigate('/sites'), webflow))
})

t.test('an outage of the store is not mistaken for a user who is not connected', async (t) => {
  const { browser, signIn } = await open(t, { store: Object.assign(new MemoryStore(), { get: () => Promise.reject(new Error('down')), getSync: undefined }) })
  signIn('ada')
  t.equal((await browser.navigate('/webflow/authorize?resume=guard')).statusCode, 503)
})

t.test('a guard on the sign-in page itself is an error instead of a loop', async (t) => {
  const { browser } = await open(t)
  t.match((await browser.navigate('/login?returnTo=/')).body, 'The sign-in page has a guard that redirects to the sign-in page')
  const elsewhere = await open(t, { signInRedirect: 'https://login.example.com/login' })
  t.equal((await elsewhere.browser.navigate('/login')).statusCode, 302)
})

t.test('an install without a state signs in first: the code is dropped, and the user consents once for the app', async (t) => {
  const { browser, webflow, signIn } = await open(t)
  const url = await webflow.install()
  const answer = await browser.navigate(url, { 'sec-fetch-site': 'cross-site' })
  t.equal(answer.statusCode, 302)
  t.strictSame(answer.cookies, [])
  t.equal(nextOf(answer).search, '?resume=1')
  t.notMatch(answer.location, new URL(url).searchParams.get('code') ?? url)
  signIn('ada')
  t.equal((await connect(browser, webflow, { path: nextOf(answer).href })).statusCode, 303)
  t.equal(webflow.requests.token.length, 1)

  t.ok(begins(await browser.navigate(await webflow.install()), webflow), 'a user who is signed in goes on to Webflow at once')
  signIn(null)
  t.match((await browser.navigate(url)).body, 'state_missing', 'an install that was begun again is still refused')
  const strict = await open(t, { onMissingState: 'reject' })
  t.equal((await strict.browser.navigate(await strict.webflow.install())).statusCode, 400)
})

t.test('a callback without a user leads to the sign-in page instead of 401, without code and state', async (t) => {
  const { browser, webflow, signIn } = await open(t)
  signIn('ada')
  for (const [query, expected] of [['?returnTo=/sites', '?returnTo=%2Fsites&resume=1'], ['?popup=1', '?popup=1&resume=1']]) {
    const url = await webflow.approve(String((await browser.navigate(`/webflow/authorize${query}`)).location))
    signIn(null)
    t.equal((await browser.navigate(url, { 'sec-fetch-site': 'cross-site' })).statusCode, 200, 'the page that reloads comes first: the cookie may be SameSite=Strict')
    const answer = await browser.navigate(url)
    t.equal(answer.statusCode, 302)
    t.equal(nextOf(answer).search, expected)
    for (const name of ['code', 'state']) t.notMatch(answer.location, new URL(url).searchParams.get(name) ?? url)
    t.equal(answer.headers['cross-origin-opener-policy'], query?.includes('popup') ? 'unsafe-none' : undefined)
    t.equal(webflow.requests.token.length, 0, 'the code is not spent')
    t.match((await browser.get(url)).json(), { statusCode: 401, code: 'WEBFLOW_OAUTH_USER_REQUIRED' }, 'a program gets JSON')
    signIn('ada')
  }
})

t.test('a flow that the app began for a user needs no sign-in', async (t) => {
  const webflow = await startWebflow(t)
  const app = await createApp(t, {
    webflow,
    options: { identify: () => null, signInRedirect: '/login' },
    after: (app) => { app.get('/connect', async (request, reply) => reply.redirect(await app.webflowOAuth.startAuthorization(request, reply, { user: 'ada' }))) }
  })
  t.match(await connect(new Browser(app), webflow, { path: '/connect' }), { statusCode: 303, location: `${home}/` })
})

t.test('if `identify` names nobody at the callback, the third round within a minute ends in 401', async (t) => {
  mock.timers.enable({ apis: ['Date'], now: Date.now() })
  t.teardown(() => mock.timers.reset())
  const webflow = await startWebflow(t)
  const app = await createApp(t, {
    webflow,
    options: { identify: (request) => request.url.startsWith('/webflow/callback') ? null : 'ada', signInRedirect: '/login' }
  })
  const browser = new Browser(app)
  const round = async () => await connect(browser, webflow, { path: '/webflow/authorize?resume=1' })
  t.strictSame([(await round()).statusCode, (await round()).statusCode, (await round()).statusCode], [302, 302, 401])
  mock.timers.tick(61_000)
  t.equal((await round()).statusCode, 302, 'but a minute later the user may sign in again')
})

t.test('where `identify` names a connected user on the plugin\'s routes alone, the way between guard and sign-in page ends in 401 after three rounds within a minute', async (t) => {
  mock.timers.enable({ apis: ['Date'], now: Date.now() })
  t.teardown(() => mock.timers.reset())
  const webflow = await startWebflow(t)
  const app = await createApp(t, {
    webflow,
    options: { identify: (request) => request.url.startsWith('/webflow/') ? 'ada' : null, signInRedirect: '/login' },
    after: (app) => { app.get('/sites', { preHandler: app.webflowOAuth.requireToken({ onMissing: 'redirect' }) }, async () => 'sites') }
  })
  const [browser, other] = [new Browser(app), new Browser(app)]
  t.equal((await connect(other, webflow)).statusCode, 303)
  const round = async () => {
    const answer = await browser.navigate('/sites')
    if (answer.statusCode !== 302) return answer
    const back = await browser.navigate(nextOf(answer).href)
    t.match(back, { statusCode: 303, location: `${home}/sites` })
    return answer
  }
  // As from tabs in which Webflow's page is still open.
  for (let flows = 0; flows < 4; flows++) t.ok(begins(await browser.navigate('/webflow/authorize'), webflow))
  t.strictSame([(await round()).statusCode, (await round()).statusCode, (await round()).statusCode], [302, 302, 302])
  t.match(await round(), { statusCode: 401, body: /WEBFLOW_OAUTH_TOKEN_REQUIRED/ })
  t.strictSame((await browser.navigate('/webflow/authorize?returnTo=/sites&resume=guard')).cookies, [], 'no more cookies than it takes')
  mock.timers.tick(61_000)
  t.equal((await round()).statusCode, 302, 'but a minute later the user may sign in again')
})

t.test('flows that have ended do not count as rounds', async (t) => {
  const { browser, webflow, signIn } = await open(t)
  signIn('ada')
  for (let flows = 0; flows < 3; flows++) t.equal((await connect(browser, webflow)).statusCode, 303)
  const url = await webflow.approve(String((await browser.navigate('/webflow/authorize')).location))
  signIn(null)
  t.equal(nextOf(await browser.navigate(url)).search, '?resume=1')
})

t.test('programs, HEAD and prefetches are not sent to the sign-in page', async (t) => {
  const { browser, webflow } = await open(t)
  t.ok(begins(await browser.get('/webflow/authorize'), webflow))
  t.ok(begins(await browser.request('/webflow/authorize', { method: 'HEAD', headers: { accept: 'text/html' } }), webflow))
  t.equal((await browser.navigate('/webflow/authorize', { 'sec-purpose': 'prefetch' })).statusCode, 503)
  t.match((await browser.get('/sites')).json(), { statusCode: 401, code: 'WEBFLOW_OAUTH_TOKEN_REQUIRED' })
  t.ok(begins(await browser.get(await webflow.install()), webflow))
})

t.test('without the option, `resume` means nothing', async (t) => {
  const webflow = await startWebflow(t)
  const app = await createApp(t, { webflow, options: { identify: () => null } })
  t.ok(begins(await new Browser(app).navigate('/webflow/authorize?resume=1'), webflow))
})

t.test('no secret was logged', { buffered: false }, async (t) => { assertNothingLeaked(t) })

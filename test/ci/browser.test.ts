import Fastify, { type FastifyInstance } from 'fastify'
import type { BrowserContext, BrowserContextOptions } from 'playwright-core'
import t, { type Test } from 'tap'
import { request } from 'undici'
import type { WebflowOAuthOptions } from '../../lib/index.ts'
import { createSimulator } from '../../lib/simulator/index.ts'
import { assertNothingLeaked, clientId, clientSecret, createApp } from '../support/app.ts'
import { createPlay, findChromium, type PlayOptions, press, screenshotFolder, takeScreenshot, takeScreenshots, takesScreenshots } from '../support/chromium.ts'
import { freePort } from '../support/free-port.ts'
import { logged } from '../support/logs.ts'
import { Traffic } from '../support/traffic.ts'

const callbackPath = '/webflow/callback'
const tokenPath = '/oauth/access_token'
const phone: BrowserContextOptions = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }

/** Finds what a finger would miss: the least that WCAG 2.2 asks for in 2.5.8 is 24 pixels. */
const tooSmall = `[...document.querySelectorAll('a, button, label')]
  .filter((element) => element.getBoundingClientRect().height < 24 || element.getBoundingClientRect().width < 24)
  .map((element) => element.textContent)`

/** Finds text with less contrast than the 4.5 to 1 that WCAG 2.2 asks for in 1.4.3. */
const tooPale = `(() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number)
  const over = ([r, g, b, a = 1], below) => [r, g, b].map((value, index) => value * a + below[index] * (1 - a))
  const lineage = (element) => element === null ? [] : [...lineage(element.parentElement), element]
  const luminance = (color) => color.map((value) => value / 255)
    .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0)
  const contrast = (element) => {
    let paper = [255, 255, 255]
    let opacity = 1
    for (const ancestor of lineage(element)) {
      const { backgroundColor, opacity: own } = getComputedStyle(ancestor)
      paper = over(parse(backgroundColor), paper)
      opacity *= Number(own)
    }
    const [r, g, b, a = 1] = parse(getComputedStyle(element).color)
    const [light, dark] = [luminance(over([r, g, b, a * opacity], paper)), luminance(paper)].sort((one, other) => other - one)
    return (light + 0.05) / (dark + 0.05)
  }
  const speaks = (element) => [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim() !== '')
  return [...document.body.querySelectorAll('*')].filter((element) => speaks(element) && contrast(element) < 4.5).map((element) => element.textContent)
})()`

/** What is special about a stage. */
interface StageOptions extends PlayOptions {
  readonly options?: Partial<WebflowOAuthOptions>
}

if (findChromium() !== null) {
  const play = createPlay(t, startServers)

  play('a person connects, and nothing of it can be seen afterwards', {}, async (t, { context, home, page, traffic, upstream, webflow }) => {
    await page.goto(home)
    await press(page, 'Your sites')
    t.match(page.url(), `${webflow.url}/oauth/authorize?`, 'a guarded page leads to Webflow')
    await takeScreenshots(page, 'consent')
    const called = page.waitForRequest((request) => request.url().startsWith(home + callbackPath))
    await press(page, 'Approve')
    t.equal(page.url(), `${home}/sites?from=start`, 'and Webflow back to the same page')
    t.equal(await page.title(), 'Connected')

    const callback = new URL((await called).url())
    const cookies = await context.cookies(home)
    const accessToken = await readAccessToken(context, home)
    const secrets = [callback.searchParams.get('code'), callback.searchParams.get('state'), accessToken, ...cookies.map(({ value }) => value)]
    const visible = JSON.stringify([await page.content(), await page.evaluate('[document.cookie, document.referrer, Object.entries(localStorage), navigation.entries().map(({ url }) => url)]')])
    for (const secret of secrets) t.notOk(secret === null || secret.length < 16 || visible.includes(secret), 'the page holds no secret')
    t.equal(await page.evaluate('document.cookie'), '')
    t.strictSame(new Set(cookies.map(({ name, httpOnly, sameSite, secure, path, domain }) => `${name.replace(/_flow_.*/, '_flow')} ${httpOnly} ${sameSite} ${secure} ${path} ${domain}`)),
      new Set(['webflow true Lax false / localhost', 'webflow_flow true Lax false / localhost']))

    await press(page, 'Go on')
    await press(page, 'Another site')
    t.equal(page.url(), `${webflow.url}/`)
    t.equal(traffic.to('/sites').at(-1)?.headers.referer, undefined, 'the page after the callback learns nothing')
    t.equal(traffic.to('/third')[0]?.headers.referer, `${home}/sites?from=start`, 'the third page learns of the second')
    t.equal(upstream.to('/')[0]?.headers.referer, `${home}/`, 'another site learns of the host alone')
    t.equal(upstream.to('/oauth/authorize')[0]?.headers.referer, undefined, 'and Webflow learns nothing from a guard')
    const referers = [...traffic.arrivals, ...upstream.arrivals].map(({ headers }) => headers.referer ?? '')
    t.notOk(referers.some((referer) => /code=|state=|webflow\//.test(referer)), 'nobody learns of the callback')
  })

  play('two tabs connect at once, each to its own page', {}, async (t, { home, newTab, page, webflow }) => {
    const other = await newTab()
    await page.goto(`${home}/sites?tab=one`)
    await other.goto(`${home}/sites?tab=two`)
    await press(other, 'Approve')
    await press(page, 'Approve')
    for (const [tab, name] of [[page, 'one'], [other, 'two']] as const) {
      t.equal(tab.url(), `${home}/sites?tab=${name}`)
      await tab.reload()
      t.equal(await tab.title(), 'Connected')
    }
    t.equal(webflow.requests.token.length, 2)
    t.equal(webflow.requests.authorize.length, 2, 'neither had to begin again')
  })

  play('a callback that is opened again gives the same session, by one exchange', {}, async (t, { context, home, newTab, page, webflow }) => {
    await page.goto(`${home}/sites`)
    const called = page.waitForRequest((request) => request.url().startsWith(home + callbackPath))
    await press(page, 'Approve')
    const before = await sessionOf(context, home)
    const copy = await newTab()
    await copy.goto((await called).url())
    for (const tab of [copy, page]) {
      t.equal(tab.url(), `${home}/sites`)
      await tab.reload()
      t.equal(await tab.title(), 'Connected')
    }
    t.equal(await sessionOf(context, home), before)
    t.equal(webflow.requests.token.length, 1)
  })

  play('a callback that is loaded again while it is under way ends connected, by one exchange', {}, async (t, { home, page, traffic, upstream, webflow }) => {
    await page.goto(`${home}/sites`)
    const called = page.waitForRequest((request) => request.url().startsWith(home + callbackPath))
    const exchange = upstream.hold(tokenPath)
    const first = page.getByRole('button', { name: 'Approve' }).click()
    await exchange.arrived
    const again = traffic.hold(callbackPath)
    const second = page.goto((await called).url())
    await again.arrived
    again.release()
    exchange.release()
    await Promise.all([first, second])
    t.equal(page.url(), `${home}/sites`)
    t.equal(await page.title(), 'Connected')
    t.equal(traffic.to(callbackPath).length, 2)
    t.equal(webflow.requests.token.length, 1)
  })

  play('a person who approves twice in a hurry ends connected, by one exchange', {}, async (t, { home, page, traffic, upstream, webflow }) => {
    await page.goto(`${home}/sites`)
    const exchange = upstream.hold(tokenPath)
    await page.getByRole('button', { name: 'Approve' }).focus()
    await page.keyboard.press('Enter')
    await exchange.arrived
    const again = traffic.hold(callbackPath)
    const loaded = page.waitForEvent('load')
    await page.keyboard.press('Enter')
    await again.arrived
    again.release()
    exchange.release()
    await loaded
    t.equal(page.url(), `${home}/sites`)
    t.equal(await page.title(), 'Connected')
    const [one, two] = traffic.to(callbackPath).map(({ query }) => query)
    t.equal(one?.get('state'), two?.get('state'))
    t.not(one?.get('code'), two?.get('code'))
    t.equal(webflow.requests.token.length, 1)
  })

  play('a person who denies gets a page, the same after a reload, from which they can try again', {}, async (t, { home, page, traffic, webflow }) => {
    await page.goto(`${home}/sites`)
    await press(page, 'Deny')
    const denied = await page.content()
    t.match(denied, 'Webflow was not connected')
    t.match(denied, 'WEBFLOW_OAUTH_ACCESS_DENIED')
    await takeScreenshots(page, 'denied')
    const reloaded = await page.reload()
    t.equal(reloaded?.status(), 403)
    t.equal(await page.content(), denied)
    t.equal(traffic.to(callbackPath).length, 2)

    await press(page, 'Try again')
    t.match(page.url(), `${webflow.url}/oauth/authorize?`)
    await press(page, 'Approve')
    t.equal(page.url(), `${home}/sites`)
    t.match(await page.content(), 'Connected', 'on the page that the person wanted')
    t.equal(webflow.requests.token.length, 1)
  })

  play('the back button leads to pages that still work', {}, async (t, { context, home, page, webflow }) => {
    await page.goto(home)
    await press(page, 'Your sites')
    await press(page, 'Approve')
    const session = await sessionOf(context, home)
    await page.goBack()
    t.match(page.url(), `${webflow.url}/oauth/authorize?`)
    await press(page, 'Approve')
    t.equal(page.url(), `${home}/sites?from=start`)
    t.equal(await page.title(), 'Connected', 'approving once more changes nothing')
    t.equal(await sessionOf(context, home), session)
    t.equal(webflow.requests.token.length, 1)

    await page.goBack()
    // As a minute later.
    await context.clearCookies({ name: /_flow_/ })
    await press(page, 'Approve')
    t.match(await page.content(), 'already_used')
    await takeScreenshots(page, 'already-used')
    await press(page, 'Try again')
    await press(page, 'Approve')
    t.match(await page.content(), 'Webflow is connected')
    t.equal(webflow.requests.token.length, 2)
    t.not(await sessionOf(context, home), session)
  })

  play('an install that began at Webflow is begun again, and connects', {}, async (t, { home, newTab, page, webflow }) => {
    await page.goto(webflow.url)
    await takeScreenshots(page, 'simulator-apps')
    await press(page, 'Install')
    t.notOk(new URL(page.url()).searchParams.has('state'))
    await press(page, 'Approve')
    t.ok(new URL(page.url()).searchParams.has('state'), 'Webflow asks once more, for the app')
    await press(page, 'Approve')
    t.equal(page.url(), `${home}/`)
    t.match(await page.content(), 'Webflow is connected')
    t.equal(webflow.requests.token.length, 1)

    await page.goto(webflow.url)
    t.match(await page.content(), 'Uninstall')
    await takeScreenshots(page, 'simulator-apps-installed')
    await press(page, 'Uninstall')
    t.match(await page.content(), 'Not installed')

    const other = await newTab()
    await other.goto(await webflow.install())
    await press(other, 'Approve')
    t.match(await other.content(), 'Webflow is connected', 'a link from anywhere does as well')
  })

  play('a person makes Webflow fail, sees the page for it, and tries again', { expected: ['502 /webflow/callback'] }, async (t, { home, page, webflow }) => {
    await page.goto(webflow.url)
    await page.getByLabel('Endpoint').selectOption('token')
    await page.getByLabel('Fault').selectOption('unavailable')
    await press(page, 'Break it')
    t.equal(page.url(), `${webflow.url}/`)
    await takeScreenshots(page, 'simulator-apps-broken')
    await page.goto(`${home}/sites`)
    await press(page, 'Approve')
    t.match(await page.content(), 'Webflow cannot be reached right now')
    await takeScreenshots(page, 'unavailable')
    await press(page, 'Try again')
    await press(page, 'Approve')
    t.match(await page.content(), 'Connected')
    await page.goto(webflow.url)
    await takeScreenshots(page, 'simulator-apps-used')
    await press(page, 'Sign in as Grace Hopper')
    await page.goto(`${webflow.url}/`)
    await press(page, 'Install')
    t.match(await page.content(), 'You are signed in as Grace Hopper')
  })

  play('a person disconnects by a form', {}, async (t, { context, home, page, webflow }) => {
    await page.goto(`${home}/sites`)
    await press(page, 'Approve')
    const accessToken = await readAccessToken(context, home)
    await page.goto(`${home}/account`)
    await press(page, 'Disconnect')
    t.equal(page.url(), `${home}/goodbye`)
    t.equal(await sessionOf(context, home), undefined)
    t.equal(webflow.requests.revoke.length, 1)
    t.notOk(webflow.revokeToken(accessToken), 'the token has ended at Webflow')
    await page.goto(`${home}/sites`)
    t.match(page.url(), `${webflow.url}/oauth/authorize?`)
    await page.goto(`${home}/account`)
    await press(page, 'Disconnect')
    t.equal(page.url(), `${home}/goodbye`, 'a second time is no failure')
  })

  play('a form of another site disconnects nobody', {}, async (t, { context, home, page, traffic, webflow }) => {
    await page.goto(`${home}/sites`)
    await press(page, 'Approve')
    const port = await startPages(t, {
      '/': `<form method="post" action="${home}/webflow/revoke"><button>Win a prize</button></form>`,
      '/at-once': `<form method="post" action="${home}/webflow/revoke"></form><script>document.forms[0].submit()</script>`,
      '/hidden': `<iframe name="hidden"></iframe><form method="post" action="${home}/webflow/revoke" target="hidden"></form><script>document.forms[0].submit()</script>`
    })
    const sites: ReadonlyArray<readonly [string, string]> = [['127.0.0.1', 'cross-site'], ['localhost', 'same-site']]
    for (const [host, site] of sites) {
      await page.goto(`http://${host}:${port}/`)
      await press(page, 'Win a prize')
      t.equal(page.url(), `${home}/webflow/revoke`)
      t.match(await page.content(), 'This request came from another site')
      t.match(traffic.to('/webflow/revoke').at(-1), { headers: { 'sec-fetch-site': site } })
      if (site === 'cross-site') await takeScreenshots(page, 'cross-site')

      for (const path of ['/at-once', '/hidden']) {
        const refused = page.waitForResponse(`${home}/webflow/revoke`)
        await page.goto(`http://${host}:${port}${path}`)
        t.equal((await refused).status(), 403, `${path} at ${host}`)
      }
    }
    t.equal(traffic.to('/webflow/revoke').filter(({ headers }) => headers.cookie !== undefined).length, 3, 'the cookie came along from the same site')
    t.equal(webflow.requests.revoke.length, 0)
    await page.goto(`${home}/sites`)
    t.equal(await page.title(), 'Connected')
    t.not(await sessionOf(context, home), undefined)
  })

  play('everything works on a phone without JavaScript', { profile: { ...phone, javaScriptEnabled: false } }, async (t, { home, page, webflow }) => {
    await page.goto(home)
    await press(page, 'Your sites')
    await page.getByLabel('Difference Engine').uncheck()
    await press(page, 'Approve')
    t.match(await page.content(), 'Pick at least one site', 'Webflow asks for a choice')
    await takeScreenshot(page, 'consent-phone-nothing-picked')
    await page.getByText('The whole workspace').first().tap()
    await press(page, 'Approve')
    t.equal(await page.title(), 'Connected')
    await page.goto(`${home}/account`)
    await press(page, 'Disconnect')
    t.equal(page.url(), `${home}/goodbye`)
    t.equal(webflow.requests.revoke.length, 1)
    await page.goto(`${home}/sites`)
    await press(page, 'Deny')
    await press(page, 'Try again')
    await press(page, 'Approve')
    t.match(await page.content(), 'Connected')
  })

  // The slow tests look at a wider phone too.
  for (const width of takesScreenshots ? [320, 360] : [320]) {
    play(`no page is wider than a phone of ${width} pixels`, { profile: { ...phone, viewport: { width, height: 640 } }, expected: ['502 /webflow/callback', '502 /webflow/callback'] }, async (t, { context, home, page, webflow }) => {
      const fits = async (name: string) => {
        await takeScreenshot(page, `phone-${width}-${name}`)
        t.equal(await page.evaluate('document.documentElement.scrollWidth'), width, `${name} does not scroll sideways`)
        t.strictSame(await page.evaluate(tooSmall), [], `a finger hits what ${name} has`)
      }
      await page.goto(webflow.url)
      await fits('simulator-apps')
      await page.goto(`${webflow.url}/oauth/authorize`)
      await fits('simulator-error')
      await page.goto(`${webflow.url}/designer/${clientId}/62f3b1f7eafac55d0c64ef91`)
      await fits('designer-without-extension')
      await page.getByLabel('Extension').fill(`${home}/account`)
      await press(page, 'Open')
      await fits('designer')
      await page.goto(`${webflow.url}/oauth/authorize?client_id=${clientId}&redirect_uri=${'x'.repeat(200)}`)
      await fits('simulator-error-long')
      await page.goto(`${home}/sites`)
      await fits('consent')
      await press(page, 'Deny')
      await fits('denied')
      await page.goto(`${home}${callbackPath}`)
      await fits('incomplete')
      await page.goto(`${home}${callbackPath}?code=one&state=two`)
      await fits('malformed')
      await page.goto(`${home}/sites`)
      await context.clearCookies()
      await press(page, 'Approve')
      await fits('cookie-missing')
      await page.goto(`${home}/sites`)
      webflow.fail('token', { status: 503 })
      await press(page, 'Approve')
      await fits('unavailable')
      webflow.fail('token', { body: 'What?' })
      await page.goto(`${home}/sites`)
      await press(page, 'Approve')
      await fits('response-invalid')
      await page.goto(webflow.url)
      await fits('simulator-apps-used')
    })
  }

  play('a user whose cookie is SameSite=Strict ends connected', { options: { identify: ({ headers }) => /(?:^|; )user=(\w+)/.exec(headers.cookie ?? '')?.[1] } }, async (t, { home, newTab, page, traffic, webflow }) => {
    await page.goto(`${home}/sign-in`)
    await page.goto(`${home}/sites`)
    const held = traffic.hold(callbackPath)
    const arrived = page.waitForURL(`${home}/sites`)
    await page.getByRole('button', { name: 'Approve' }).click({ noWaitAfter: true })
    await held.arrived
    // A page that is loaded again at once does not hold still for a picture: what the browser asks is asked once more.
    const [asked] = traffic.to(callbackPath)
    const bridge = await request(`${home}${callbackPath}?${String(asked?.query)}`, { headers: asked?.headers ?? {} })
    const still = await newTab()
    await still.setContent((await bridge.body.text()).replace(/<meta http-equiv="refresh"[^>]*>/, ''))
    t.equal(bridge.statusCode, 200)
    t.equal(await still.title(), 'Connecting Webflow', 'a page bridges the gap')
    await takeScreenshots(still, 'reload')
    t.equal(webflow.requests.token.length, 0)
    held.release()
    await arrived
    t.equal(await page.title(), 'Connected')
    t.strictSame(traffic.to(callbackPath).map(({ headers }) => [headers['sec-fetch-site'], headers.cookie?.includes('user=ada') ?? false]),
      [['cross-site', false], ['cross-site', false], ['same-origin', true]], 'the cookie is there the second time')
    t.equal(webflow.requests.token.length, 1)
  })

  play('a user without JavaScript whose cookie is SameSite=Strict ends connected', {
    options: { identify: ({ headers }) => /(?:^|; )user=(\w+)/.exec(headers.cookie ?? '')?.[1] },
    profile: { javaScriptEnabled: false }
  }, async (t, { home, page }) => {
    await page.goto(`${home}/sign-in`)
    await page.goto(`${home}/sites`)
    const arrived = page.waitForURL(`${home}/sites`)
    await page.getByRole('button', { name: 'Approve' }).click()
    await arrived
    t.equal(await page.title(), 'Connected')
  })

  play('a person who began at another host name learns why it failed', {}, async (t, { home, page, webflow }) => {
    const { host, port } = new URL(home)
    await page.goto(`http://127.0.0.1:${port}/webflow/authorize`)
    const called = page.waitForRequest((request) => request.url().startsWith(home + callbackPath))
    await press(page, 'Approve')
    t.match(await page.content(), 'WEBFLOW_OAUTH_STATE_INVALID · cookie_missing')
    t.match(logged(), `so begin at ${host}, the host of`, 'the log names the host')
    await takeScreenshots(page, 'cookie-missing')

    const callback = new URL((await called).url())
    callback.hostname = '127.0.0.1'
    await page.context().clearCookies()
    await page.goto(callback.href)
    t.match(await page.content(), 'WEBFLOW_OAUTH_STATE_INVALID · host_mismatch')
    t.match(logged(), `names ${host}, the request came in for 127.0.0.1:${port}`, 'the log names both')
    await takeScreenshots(page, 'host-mismatch')
    await press(page, 'Try again')
    await press(page, 'Approve')
    t.equal(page.url(), `${home}/`)
    t.match(await page.content(), 'Webflow is connected', 'trying again leads to the right one')
    t.equal(webflow.requests.token.length, 1)
  })

  play('a page that looks ahead does not spoil the click', { expected: ['503 /webflow/authorize', '503 /sites'] }, async (t, { context, home, page, traffic, upstream, webflow }) => {
    const ahead = (path: string) => page.waitForResponse(home + path)
    const [authorize, guarded] = [ahead('/webflow/authorize'), ahead('/sites')]
    await page.goto(`${home}/ahead`)
    t.strictSame([(await authorize).status(), (await guarded).status()], [503, 503])
    t.match(traffic.to('/webflow/authorize'), [{ headers: { 'sec-purpose': 'prefetch' } }])
    t.strictSame(await context.cookies(), [], 'no flow has begun')
    await press(page, 'Connect')
    t.equal(upstream.to('/oauth/authorize').at(-1)?.headers.referer, undefined, 'Webflow learns nothing from the authorize route')
    await press(page, 'Approve')
    t.match(await page.content(), 'Webflow is connected')
    t.equal(webflow.requests.token.length, 1)
  })

  play('a person whom a rate limiter refuses gets a page, in a popup too', {}, async (t, { context, home, page }) => {
    await context.addCookies([{ name: 'hasty', value: '1', url: home }])
    for (const query of ['', '?popup=1']) {
      const answer = await page.goto(`${home}/webflow/authorize${query}`)
      t.equal(answer?.status(), 429)
      t.equal(await page.title(), 'Too many attempts')
      await takeScreenshots(page, query === '' ? 'too-many' : 'popup-too-many')
    }
    await context.clearCookies()
    await press(page, 'Try again')
    t.equal(await page.getByRole('button', { name: 'Approve' }).isVisible(), true)
  })

  for (const colorScheme of ['light', 'dark'] as const) {
    play(`the pages have contrast in a ${colorScheme} scheme`, { profile: { colorScheme } }, async (t, { home, page, webflow }) => {
      const legible = async (name: string) => {
        t.strictSame(await page.evaluate(tooPale), [], name)
      }
      await page.goto(webflow.url)
      await legible('simulator-apps')
      await page.goto(`${webflow.url}/oauth/authorize`)
      await legible('simulator-error')
      await page.goto(`${webflow.url}/designer/${clientId}/62f3b1f7eafac55d0c64ef91`)
      await legible('designer')
      await page.goto(`${home}/sites`)
      await legible('consent')
      await press(page, 'Deny')
      await legible('denied')
    })
  }

  t.test('no secret was logged', { buffered: false }, async (t) => {
    if (takesScreenshots) t.comment(`The screenshots are in ${screenshotFolder}`)
    assertNothingLeaked(t)
  })
} else if (process.env['REQUIRE_CHROMIUM'] === '1') {
  t.fail('chromium is on PATH, as REQUIRE_CHROMIUM=1 demands')
} else {
  t.plan(0, 'No chromium on PATH: the tests in a browser were left out')
}

/** Starts an app at localhost and a Webflow at 127.0.0.1, which is another site. `traffic` is what reaches the app, `upstream` what reaches Webflow. */
async function startServers (t: Test, { options = {} }: StageOptions) {
  const port = await freePort()
  const home = `http://localhost:${port}`
  const redirectUri = home + callbackPath
  const webflow = createSimulator({ app: { clientId, clientSecret, redirectUris: [redirectUri], scope: ['sites:read', 'cms:read'] } })
  const upstream = new Traffic(webflow.server)
  await webflow.listen()
  t.teardown(() => webflow.close())

  let traffic: Traffic | undefined
  const app = await createApp(t, {
    webflow,
    // A slow machine is no outage, and the sockets that Chromium opens ahead are no reason to wait.
    options: { redirectUri, revokeRedirect: '/goodbye', timeout: 60_000, ...options },
    server: { forceCloseConnections: true },
    before: (app) => {
      traffic = new Traffic(app)
      app.addHook('onRequest', async ({ headers }) => {
        if (headers.cookie?.includes('hasty=1') === true) throw Object.assign(new Error('Slow down'), { statusCode: 429 })
      })
    },
    after: (app) => addPages(app, webflow.url)
  })
  await app.listen({ port, host: '127.0.0.1' })
  if (traffic === undefined) throw new Error('The app was made without its traffic being watched')
  return { home, webflow, traffic, upstream }
}

/** The pages of the app. */
function addPages (app: FastifyInstance, elsewhere: string): void {
  const guarded = { preHandler: app.webflowOAuth.requireToken({ onMissing: 'redirect' }) }
  const pages = {
    '/goodbye': draw('Goodbye', 'Webflow is disconnected.'),
    '/account': draw('Account', '<form method="post" action="/webflow/revoke"><button>Disconnect</button></form>'),
    '/third': draw('Third', `<a href="/">Home</a> <a href="${elsewhere}/">Another site</a>`),
    '/ahead': draw('Ahead', '<link rel="prefetch" href="/webflow/authorize"><link rel="prefetch" href="/sites"><a href="/webflow/authorize">Connect</a>')
  }
  for (const [path, page] of Object.entries(pages)) app.get(path, (_request, reply) => reply.type('text/html').send(page))
  app.get('/', (request, reply) => reply.type('text/html').send(draw('Home', `
    <p>Webflow is ${request.webflowToken === null ? 'not connected' : 'connected'}.</p><a href="/sites?from=start">Your sites</a>`)))
  app.get('/sites', guarded, (_request, reply) => reply.type('text/html').send(draw('Connected', '<a href="/third">Go on</a>')))
  app.get('/sign-in', (_request, reply) => reply.type('text/html').header('set-cookie', 'user=ada; Path=/; HttpOnly; SameSite=Strict').send(draw('Signed in', '')))
}

/** Draws a page. */
function draw (title: string, content: string): string {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,"><title>${title}</title><h1>${title}</h1>${content}`
}

/** Serves pages of somebody else's, at 127.0.0.1 and at localhost; resolves with their port. */
async function startPages (t: Test, pages: Readonly<Record<string, string>>): Promise<number> {
  const server = Fastify({ forceCloseConnections: true })
  for (const [path, content] of Object.entries(pages)) server.get(path, (_request, reply) => reply.type('text/html').send(draw('A game', content)))
  const url = await server.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(() => server.close())
  return Number(new URL(url).port)
}

/** Reads the session cookie of the app. */
async function sessionOf (context: BrowserContext, home: string): Promise<string | undefined> {
  return (await context.cookies(home)).find(({ name }) => name === 'webflow')?.value
}

/** Reads the caller's access token, which no page shows. */
async function readAccessToken (context: BrowserContext, home: string): Promise<string> {
  const { accessToken } = await (await context.request.get(`${home}/token`)).json()
  return String(accessToken)
}

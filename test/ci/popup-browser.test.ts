import { readFile } from 'node:fs/promises'
import helmet from '@fastify/helmet'
import Fastify from 'fastify'
import type { BrowserContextOptions, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import type { WebflowOAuthOptions } from '../../lib/index.ts'
import { assertNothingLeaked, createApp, startWebflow } from '../support/app.ts'
import { createPlay, findChromium, type PlayOptions, press, takeScreenshots } from '../support/chromium.ts'
import { freePort } from '../support/free-port.ts'

interface StageOptions extends PlayOptions {
  readonly options?: Partial<WebflowOAuthOptions>
  /** The `Cross-Origin-Opener-Policy` of helmet. Defaults to helmet's own default. */
  readonly openerPolicy?: 'same-origin-allow-popups'
}

// A message for another origin than the opener's is dropped by the browser, which says so.
const isMismatch = (line: string) => line.includes('does not match the recipient window\'s origin')
const isRefusedFrame = (line: string) => line.includes('frame-ancestors \'none\'')

/** The opener's code as the documentation gives it. */
const [, snippet = ''] = /<!-- opener -->\n```js\n([^]*?)```/.exec(await readFile(new URL('../../docs/flow.md', import.meta.url), 'utf8')) ?? []

if (findChromium() !== null) {
  const play = createPlay(t, startServers, (trouble) => isMismatch(trouble) || isRefusedFrame(trouble))

  play('a page on an allowed origin learns from the popup, which closes itself, that Webflow is connected', {}, async (t, { page, spa, home }) => {
    await page.goto(spa)
    await page.getByText('Webflow is not connected.').waitFor()
    const popup = await openPopup(page)
    const closed = popup.waitForEvent('close')
    await popup.getByRole('button', { name: 'Approve' }).click()
    await closed
    await page.getByText('Webflow is connected.').waitFor()
    t.strictSame(await page.evaluate('messages'), [{ origin: home, data: { source: 'fastify-webflow-oauth', outcome: 'connected' } }])
  })

  play('a page learns from the popup that the user declined', {}, async (t, { page, spa, home, webflow }) => {
    await page.goto(spa)
    const popup = await openPopup(page)
    const closed = popup.waitForEvent('close')
    await popup.getByRole('button', { name: 'Deny' }).click()
    await closed
    await page.getByText('Webflow was not connected: WEBFLOW_OAUTH_ACCESS_DENIED').waitFor()
    t.strictSame(await page.evaluate('messages'), [{ origin: home, data: { source: 'fastify-webflow-oauth', outcome: 'failed', code: 'WEBFLOW_OAUTH_ACCESS_DENIED' } }])
    t.equal(webflow.requests.token.length, 0)
  })

  play('a page learns from the popup that the exchange failed', { expected: ['502 /webflow/callback'] }, async (_t, { page, spa, webflow }) => {
    webflow.fail('token', { status: 503 })
    await page.goto(spa)
    const popup = await openPopup(page)
    const closed = popup.waitForEvent('close')
    await popup.getByRole('button', { name: 'Approve' }).click()
    await closed
    await page.getByText('Webflow was not connected: WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE').waitFor()
  })

  play('a page of the app itself hears the popup if its own policy allows popups', { openerPolicy: 'same-origin-allow-popups' }, async (t, { page, home }) => {
    await page.goto(`${home}/opener`)
    const popup = await openPopup(page)
    const closed = popup.waitForEvent('close')
    await popup.getByRole('button', { name: 'Approve' }).click()
    await closed
    await page.getByText('Webflow is connected.').waitFor()
    t.equal(await page.evaluate('messages.length'), 1)
  })

  play('a page of the app itself under helmet\'s defaults hears nothing, and learns by asking again', {}, async (t, { page, home }) => {
    await page.goto(`${home}/opener`)
    const popup = await openPopup(page)
    const closed = popup.waitForEvent('close')
    await popup.getByRole('button', { name: 'Approve' }).click()
    await closed
    await page.evaluate('window.dispatchEvent(new Event("focus"))')
    await page.getByText('Webflow is connected.').waitFor()
    t.strictSame(await page.evaluate('messages'), [])
  })

  play('a popup in which the user signs in first still tells its opener', {
    options: { identify: ({ headers }) => /(?:^|; )user=(\w+)/.exec(headers.cookie ?? '')?.[1], signInRedirect: '/sign-in' }
  }, async (t, { context, page, spa, home }) => {
    await page.goto(spa)
    const opened = context.waitForEvent('page')
    await page.getByText('Connect Webflow').click()
    const popup = await opened
    const closed = popup.waitForEvent('close')
    await popup.getByText('Sign in').click()
    await popup.getByRole('button', { name: 'Approve' }).click()
    await closed
    await page.getByText('Webflow is connected.').waitFor()
    t.strictSame(await page.evaluate('messages'), [{ origin: home, data: { source: 'fastify-webflow-oauth', outcome: 'connected' } }])
  })

  play('a popup without an opener shows a sentence and a link', {}, async (t, { page, home }) => {
    await page.goto(`${home}/start`)
    await page.goto(`${home}/webflow/authorize?popup=1&returnTo=/done`)
    await press(page, 'Approve')
    t.equal(await page.title(), 'Webflow is connected')
    t.match(await page.locator('p').textContent(), 'You can close this window')
    await press(page, 'Go on')
    t.equal(page.url(), `${home}/done`)
  })

  play('a foreign page that opens the popup hears nothing', {}, async (t, { context, page, home, spa }) => {
    await page.goto(`${spa.replace('localhost', '127.0.0.1')}/foreign`)
    const popup = await openPopup(page)
    const closed = popup.waitForEvent('close')
    await popup.getByRole('button', { name: 'Approve' }).click()
    await closed
    const status = await context.newPage()
    await status.goto(`${home}/connection`)
    t.match(await status.textContent('body'), '"connected":true', 'the visitor is connected')
    t.strictSame(await page.evaluate('messages'), [])
  })

  play('a message of another window changes nothing for the opener', {}, async (t, { page, spa }) => {
    await page.goto(spa)
    await page.getByText('Webflow is not connected.').waitFor()
    await page.evaluate(`window.open(${JSON.stringify(`${spa.replace('localhost', '127.0.0.1')}/forger`)})`)
    await page.waitForFunction('messages.length === 1')
    t.match(await page.evaluate('messages[0].data'), { source: 'fastify-webflow-oauth', outcome: 'failed' })
    t.equal(await page.locator('#status').textContent(), 'Webflow is not connected.')
  })

  play('a foreign page cannot frame the page of a popup', {}, async (t, { context, page, home, spa, webflow }) => {
    await page.goto(`${home}/start`)
    await page.goto(`${home}/webflow/authorize?popup=1`)
    const called = page.waitForRequest((request) => request.url().startsWith(`${home}/webflow/callback`))
    await press(page, 'Approve')
    const url = (await called).url()
    const framing = await context.newPage()
    await framing.goto(spa)
    const refused = framing.waitForEvent('console', { predicate: (message) => isRefusedFrame(message.text()) })
    await framing.evaluate(`{ const frame = document.createElement('iframe'); frame.src = ${JSON.stringify(url)}; document.body.append(frame) }`)
    await refused
    t.strictSame(await framing.evaluate('messages'), [])
    t.equal(webflow.requests.token.length, 1)
  })

  for (const [name, profile] of Object.entries<BrowserContextOptions>({
    desktop: {},
    phone: { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }
  })) {
    play(`a popup in which scripts are blocked shows a sentence and a link (${name})`, { profile: { ...profile, javaScriptEnabled: false } }, async (t, { page, spa, home }) => {
      const begun = new URL('/webflow/authorize?popup=1&returnTo=/done', home).href
      await page.goto(spa)
      await page.goto(begun)
      await press(page, 'Deny')
      t.equal(await page.title(), 'Webflow was not connected')
      t.match(await page.locator('p').textContent(), 'You can also close this window.')
      if (name === 'desktop') await takeScreenshots(page, 'popup-denied')
      await press(page, 'Try again')
      await press(page, 'Approve')
      t.equal(await page.title(), 'Webflow is connected')
      if (name === 'desktop') await takeScreenshots(page, 'popup-connected')
      t.equal(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), true, 'nothing is wider than the screen')
      await press(page, 'Go on')
      t.equal(page.url(), `${home}/done`)
    })
  }

  t.test('no secret was logged', { buffered: false }, async (t) => { assertNothingLeaked(t) })
} else if (process.env['REQUIRE_CHROMIUM'] === '1') {
  t.fail('chromium is on PATH, as REQUIRE_CHROMIUM=1 demands')
} else {
  t.plan(0, 'No chromium on PATH: the tests in a browser were left out')
}

/** Clicks the link "Connect Webflow"; resolves with the popup once it shows the consent page. */
async function openPopup (page: Page): Promise<Page> {
  const opened = page.context().waitForEvent('page')
  await page.getByText('Connect Webflow').click()
  const popup = await opened
  await popup.getByRole('button', { name: 'Approve' }).waitFor()
  return popup
}

/** Starts an app at localhost with helmet, a page on another origin (`spa`) that opens the popup, and a Webflow at 127.0.0.1, which is another site. */
async function startServers (t: Test, { options = {}, openerPolicy }: StageOptions) {
  const port = await freePort()
  const home = `http://localhost:${port}`
  const redirectUri = `${home}/webflow/callback`
  const webflow = await startWebflow(t, {}, [redirectUri])

  const listener = 'const messages = []; window.addEventListener(\'message\', ({ origin, data }) => messages.push({ origin, data }))'
  const script = `${listener}
    ${snippet.replaceAll('https://app.example.com', home)}`
  const opener = `<!doctype html><html lang="en"><meta charset="utf-8"><link rel="icon" href="data:,"><title>Opener</title>
    <a id="connect" href="${home}/webflow/authorize?popup=1" target="_blank" rel="opener">Connect Webflow</a><p id="status"></p><script src="/opener.js"></script>`
  const other = Fastify({ forceCloseConnections: true })
  other.get('/', (_request, reply) => reply.type('text/html').send(opener))
  other.get('/opener.js', (_request, reply) => reply.type('text/javascript').send(script))
  other.get('/foreign', (_request, reply) => reply.type('text/html').send(opener.replace(' src="/opener.js">', `>${listener}`)))
  other.get('/forger', (_request, reply) => reply.type('text/html').send('<!doctype html><link rel="icon" href="data:,"><title>Forger</title><script>opener.postMessage({ source: \'fastify-webflow-oauth\', outcome: \'failed\', code: \'FORGED\' }, \'*\')</script>'))
  const spa = (await other.listen({ host: '127.0.0.1', port: 0 })).replace('127.0.0.1', 'localhost')
  t.teardown(() => other.close())

  const app = await createApp(t, {
    webflow,
    options: { redirectUri, allowedOrigins: [spa], timeout: 60_000, ...options },
    server: { forceCloseConnections: true },
    before: (app) => app.register(helmet, openerPolicy === undefined ? {} : { crossOriginOpenerPolicy: { policy: openerPolicy } }),
    after: (app) => {
      app.get('/opener', (_request, reply) => reply.type('text/html').send(opener))
      app.get('/opener.js', (_request, reply) => reply.type('text/javascript').send(script))
      app.get('/connection', (request, reply) => reply.headers({ 'access-control-allow-origin': spa, 'access-control-allow-credentials': 'true' }).send({ connected: request.webflowToken !== null }))
      // Both say that the popup keeps its opener, as the documentation asks.
      const keepOpener = { 'cross-origin-opener-policy': 'unsafe-none' }
      app.get<{ Querystring: { returnTo: string } }>('/sign-in', ({ query }, reply) => reply.headers(keepOpener).type('text/html')
        .send(`<!doctype html><link rel="icon" href="data:,"><title>Sign in</title><a href="/signed-in?returnTo=${encodeURIComponent(query.returnTo)}">Sign in</a>`))
      app.get<{ Querystring: { returnTo: string } }>('/signed-in', ({ query }, reply) => reply.headers({ ...keepOpener, 'set-cookie': 'user=ada; Path=/; HttpOnly; SameSite=Lax' }).redirect(query.returnTo, 303))
      for (const path of ['/start', '/done']) app.get(path, (_request, reply) => reply.type('text/html').send('<!doctype html><link rel="icon" href="data:,"><title>Page</title>'))
    }
  })
  await app.listen({ port, host: '127.0.0.1' })
  return { home, spa, webflow }
}

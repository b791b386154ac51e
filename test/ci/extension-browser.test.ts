import { randomBytes } from 'node:crypto'
import Fastify from 'fastify'
import type { Frame, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { createSimulator } from '../../lib/simulator/index.ts'
import { blockThirdPartyCookies, createPlay, findChromium, press, takeScreenshots } from '../support/chromium.ts'
import { startExample } from '../support/examples-process.ts'
import { freePort } from '../support/free-port.ts'

const sites = { engine: '62f3b1f7eafac55d0c64ef91', notes: '62f3b1f7eafac55d0c64ef92', gardens: '62f3b1f7eafac55d0c64ef93' } as const
const credentials = { clientId: 'c'.repeat(64), clientSecret: 's'.repeat(64) } as const

// A popup tells each origin that may hear of it, and the browser drops the message for the others, and says so.
const isMismatch = (line: string) => line.includes('does not match the recipient window\'s origin')

if (findChromium() !== null) {
  const play = createPlay(t, async () => ({}), isMismatch)

  play('the example extension, in the Designer of another site than its own, with the app on a third site', { expected: ['502 /api/site'] }, async (t, { context, newTab, page }) => {
    const { app, extension, output, webflow, witness } = await startExtension(t)
    const shown = page.frameLocator('iframe')
    const state = (text: string) => shown.getByRole('status').and(shown.getByText(text, { exact: true })).waitFor()
    const answers: string[] = []
    context.on('response', (response) => {
      const { origin, pathname } = new URL(response.url())
      if (origin === app && response.request().method() !== 'OPTIONS') answers.push(`${response.status()} ${pathname}`)
    })
    const inFrame = async <T> (script: string): Promise<T> => await frameOf(page, extension).evaluate(script)

    await t.test('third-party cookies are blocked', async (t) => {
      const read = `fetch('${witness}/read', { credentials: 'include' }).then((answer) => answer.text())`
      await page.goto(`${witness}/set`)
      await openDesigner(page, webflow.url, 'Difference Engine')
      await state('Not connected')
      t.equal(await inFrame(read), 'probe=1', 'without the block, a cookie with SameSite=None reaches the frame')
      await blockThirdPartyCookies(page)
      await page.reload()
      await state('Not connected')
      t.equal(await inFrame(read), 'none')
    })

    await t.test('a person who denies in the popup stays unconnected, and learns why', async (t) => {
      await takeScreenshots(page, 'extension-not-connected')
      const popup = await connectIn(page)
      await closes(popup, 'Deny')
      await shown.getByText('Access was declined, so nothing was connected.').waitFor()
      t.equal(webflow.requests.token.length, 0)
      await takeScreenshots(page, 'extension-denied')
    })

    await t.test('a person connects in the popup, and the frame shows the site', async (t) => {
      answers.length = 0
      const popup = await connectIn(page)
      await popup.getByLabel('Notes by A. A. L.').check()
      await closes(popup, 'Approve')
      await state('Connected')
      t.match(await shown.locator('main').innerText(), /Difference Engine[^]*difference-engine\.webflow\.io[^]*545bbecb7bdd6769632504a7/)
      t.ok(answers.includes('200 /webflow/designer') && answers.includes('200 /api/site'))
      t.strictSame(await inFrame('[document.cookie, localStorage.length, sessionStorage.length]'), ['', 0, 0], 'nothing is kept beyond the page')
      await takeScreenshots(page, 'extension-connected')
    })

    await t.test('a reload opens another session', async (t) => {
      answers.length = 0
      await page.reload()
      await state('Connected')
      t.strictSame(answers, ['200 /webflow/designer', '200 /api/site'])
    })

    await t.test('a session that has ended is renewed without the person', async (t) => {
      const tab = await newTab()
      await tab.goto(`${app}/webflow/authorize`)
      await tab.getByLabel('Notes by A. A. L.').check()
      await press(tab, 'Approve')
      await tab.close()
      answers.length = 0
      await shown.getByRole('button', { name: 'Ask again' }).click()
      await page.waitForResponse((response) => response.url() === `${app}/api/site` && response.status() === 200)
      await state('Connected')
      t.strictSame(answers, ['401 /api/site', '200 /webflow/designer', '200 /api/site'])
    })

    await t.test('the id of a site that is not open in the Designer is refused', async (t) => {
      const exchange = (siteId: string) => inFrame(`webflow.getIdToken().then(async (idToken) => {
        const answer = await fetch('${app}/webflow/designer', { method: 'POST', headers: { authorization: 'Bearer ' + idToken, 'content-type': 'application/json' }, body: '{"siteId":"${siteId}"}' })
        const { code = null } = await answer.json()
        return [answer.status, code]
      })`)
      t.strictSame(await exchange(sites.engine), [200, null])
      t.strictSame(await exchange(sites.notes), [401, 'WEBFLOW_OAUTH_ID_TOKEN_INVALID'], 'though the app is connected to it')
      await inFrame(`session = null; webflow.getSiteInfo = async () => ({ siteId: '${sites.notes}' })`)
      await shown.getByRole('button', { name: 'Ask again' }).click()
      await shown.getByText('The app does not accept the answer of the Designer.').waitFor()
      await takeScreenshots(page, 'extension-refused')
    })

    await t.test('another site of the token is open in the Designer of its own, and a third site is not', async () => {
      await openDesigner(page, webflow.url, 'Notes by A. A. L.')
      await state('Connected')
      await shown.getByText('notes-by-aal.webflow.io').waitFor()
      await openDesigner(page, webflow.url, 'Ockham Gardens')
      await state('Not connected')
    })

    await t.test('the Designer gives an ID token to the page in its frame, and to nobody else', async (t) => {
      const ask = `new Promise((resolve) => {
        const { port1, port2 } = new MessageChannel()
        port1.onmessage = ({ data }) => resolve(data)
        target.postMessage({ source: 'designer-extension', method }, origin, [port2])
        setTimeout(resolve, 300, 'silence')
      })`
      const asked = (target: string, method: string) => ask.replace('target', target).replace('{ source', `{ method: '${method}', source`).replace(', method }', ' }').replace('origin', '\'*\'')
      t.match(await inFrame(asked('parent', 'getIdToken')), { result: /^ey/ })
      t.match(await inFrame(asked('parent', 'getElements')), { error: /knows getIdToken and getSiteInfo only/ })
      t.equal(await page.evaluate(asked('window', 'getIdToken')), 'silence')
      t.equal(await page.evaluate(`fetch('${webflow.url}/designer/${credentials.clientId}/${sites.engine}', { method: 'HEAD' }).then(({ headers }) => headers.get('content-security-policy').includes("frame-ancestors 'none'"))`), true)
    })

    await t.test('an app that was uninstalled at Webflow is no longer connected, and connects by a link if popups are blocked', async () => {
      await openDesigner(page, webflow.url, 'Difference Engine')
      await state('Connected')
      webflow.uninstall()
      await shown.getByRole('button', { name: 'Ask again' }).click()
      await state('Not connected')
      await inFrame('window.open = () => null')
      await shown.getByRole('button', { name: 'Connect Webflow' }).click()
      await shown.getByText('Your browser has blocked the window.').waitFor()
      await takeScreenshots(page, 'extension-popup-blocked')
      const opened = context.waitForEvent('page')
      await shown.getByRole('link', { name: 'Open it in a tab' }).click()
      await (await opened).getByRole('button', { name: 'Approve' }).click()
      await state('Connected')
    })

    await t.test('an app that does not answer is trouble, and no reason to connect', async (t) => {
      webflow.fail('site', { status: 503 })
      await shown.getByRole('button', { name: 'Ask again' }).click()
      await state('Trouble')
      t.notOk(await shown.getByRole('button', { name: 'Connect Webflow' }).isVisible())
    })

    await t.test('outside of the Designer the extension says where it belongs, and asks no page of another machine for an ID token', async () => {
      const words = 'This page is an extension of Webflow\'s Designer: open it there.'
      await page.goto(extension)
      await page.getByText(words).waitFor()
      await page.goto(`${witness.replace('witness.localhost', 'witness.test')}/frame`)
      await shown.getByText(words).waitFor()
    })

    const printed = output.stdout + output.stderr
    const secrets = [credentials.clientSecret, ...webflow.requests.token.map(({ parameters }) => parameters['code']), ...webflow.requests.resolve.flatMap(({ headers, parameters }) => [headers.authorization?.replace('Bearer ', ''), parameters['idToken']])]
    t.ok(secrets.length > 5)
    t.notOk(secrets.some((secret) => printed.includes(String(secret))), 'no secret is printed')
  })

  play('the demo', {}, async (t, { page }) => {
    const { found: home } = await startExample(t, 'examples/demo/main.ts', { env: { PORT: '0', DEMO_FOLDER: t.testdir() }, up: /^Open (https?:\/\/\S+)/m })
    const openPopup = async () => {
      const opened = page.context().waitForEvent('page')
      await page.getByRole('link', { name: 'Connect in a popup' }).click()
      return await opened
    }

    await t.test('connects in a popup, and shows how a popup ended in which the user denied', async (t) => {
      await page.goto(home)
      await takeScreenshots(page, 'demo-start')
      await closes(await openPopup(), 'Deny')
      await page.getByText('You declined, so nothing was connected.').waitFor()
      await takeScreenshots(page, 'demo-popup-denied')
      await closes(await openPopup(), 'Approve')
      await page.getByText('Your Webflow sites').waitFor()
      t.equal(page.url(), `${home}/`)
    })

    await t.test('shows a webhook that arrives', async () => {
      await press(page, 'Send one about Difference Engine')
      await page.getByText('form_submission').waitFor()
      await takeScreenshots(page, 'demo-connected')
    })

    await t.test('shows the site to its extension in the Designer', async () => {
      await press(page, 'Open a site in the Designer')
      await page.frameLocator('iframe').getByText('difference-engine.webflow.io').waitFor()
      await takeScreenshots(page, 'demo-designer')
    })

    await t.test('has a page for each failure', async () => {
      await page.goto(home)
      await press(page, 'Disconnect')
      await takeScreenshots(page, 'demo-goodbye')
      await page.goto(`${home}/webflow/authorize`)
      await press(page, 'Deny')
      await takeScreenshots(page, 'demo-failed')
      await page.goto(`${home}/nowhere`)
      await takeScreenshots(page, 'demo-missing')
    })
  })

  play('the Designer of the simulator says what is missing without scripts', { profile: { javaScriptEnabled: false } }, async (t, { page }) => {
    const webflow = createSimulator({ app: { ...credentials, redirectUris: ['https://app.example.com/webflow/callback'], scope: ['sites:read'], extensionUrl: 'http://localhost:1' } })
    t.teardown(() => webflow.close())
    await page.goto(`${await webflow.listen()}/designer/${credentials.clientId}/${sites.engine}`)
    await page.getByText('Scripts are blocked, so the Designer can give the extension no ID token.').waitFor()
    await takeScreenshots(page, 'designer-without-scripts')
  })
} else if (process.env['REQUIRE_CHROMIUM'] === '1') {
  t.fail('chromium is on PATH, as REQUIRE_CHROMIUM=1 demands')
} else {
  t.plan(0, 'No chromium on PATH: the tests in a browser were left out')
}

/** Opens a site in the Designer, from the start page of the simulator. */
async function openDesigner (page: Page, webflowUrl: string, site: string): Promise<void> {
  await page.goto(webflowUrl)
  await page.getByRole('link', { name: site, exact: true }).click()
}

/** Finds the frame of the extension. */
function frameOf (page: Page, extension: string): Frame {
  const frame = page.frames().find((frame) => frame.url().startsWith(extension))
  if (frame === undefined) throw new Error('The page shows no extension')
  return frame
}

/** Presses "Connect Webflow" in the extension; resolves with the popup once it shows the consent page. */
async function connectIn (page: Page): Promise<Page> {
  const opened = page.context().waitForEvent('page')
  await page.frameLocator('iframe').getByRole('button', { name: 'Connect Webflow' }).click()
  const popup = await opened
  await popup.getByRole('button', { name: 'Approve' }).waitFor()
  return popup
}

/** Decides in a popup, and waits until it has closed itself. */
async function closes (popup: Page, decision: 'Approve' | 'Deny'): Promise<void> {
  const closed = popup.waitForEvent('close')
  await popup.getByRole('button', { name: decision }).click()
  await closed
}

/**
 * Starts the example with its extension, the simulator, and a witness that gives cookies to whoever asks, each on a site of
 * its own: to a browser, names below localhost are sites, as names below com are.
 */
async function startExtension (t: Test) {
  const port = await freePort()
  const app = `http://app.localhost:${port}`
  const extension = `http://extension.localhost:${await freePort()}`
  const redirectUri = `${app}/webflow/callback`
  const webflow = createSimulator({ app: { ...credentials, name: 'Site Facts', redirectUris: [redirectUri], scope: ['sites:read', 'authorized_user:read'], extensionUrl: extension } })
  t.teardown(() => webflow.close())
  const url = await webflow.listen()
  const { output } = await startExample(t, 'examples/designer/main.ts', {
    env: {
      WEBFLOW_CLIENT_ID: credentials.clientId,
      WEBFLOW_CLIENT_SECRET: credentials.clientSecret,
      APP_SECRET: randomBytes(32).toString('base64'),
      WEBFLOW_URL: url,
      WEBFLOW_REDIRECT_URI: redirectUri,
      PORT: String(port),
      EXTENSION_ORIGIN: extension
    },
    up: /Server listening at (http:\/\/[^"]+)/
  })

  const server = Fastify({ forceCloseConnections: true })
  server.get('/set', async (_request, reply) => reply.type('text/html').header('set-cookie', 'probe=1; SameSite=None; Secure').send('<!doctype html><link rel="icon" href="data:,"><title>Set</title>'))
  server.get('/frame', async (_request, reply) => reply.type('text/html').send(`<!doctype html><link rel="icon" href="data:,"><title>Frame</title><iframe src="${extension}" referrerpolicy="origin"></iframe>`))
  server.get('/read', async ({ headers }, reply) => reply.headers({ 'access-control-allow-origin': extension, 'access-control-allow-credentials': 'true' }).send(headers.cookie ?? 'none'))
  const witness = (await server.listen({ host: '127.0.0.1', port: 0 })).replace('127.0.0.1', 'witness.localhost')
  t.teardown(() => server.close())
  return { app, extension, output, webflow, witness }
}

import { randomBytes } from 'node:crypto'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import type { BrowserContextOptions } from 'playwright-core'
import t, { type Test } from 'tap'
import { request } from 'undici'
import { RedisStore } from '../../stores/redis.ts'
import { fill } from '../benchmark/fill.ts'
import { findChromium, newPerson, press, startChromium, takeScreenshot } from '../support/chromium.ts'
import { startExample } from '../support/examples-process.ts'
import { Visitor } from '../support/examples-visitor.ts'
import { ada, grace, startWebflow } from '../support/examples-webflow.ts'
import { findRedis, startRedis } from '../support/redis-server.ts'

// The examples are programs of their own, which run at the same time.
t.jobs = 4

const listening = /Server listening at (http:\/\/[^"]+)/
const password = randomBytes(12).toString('hex')
const credentials = {
  WEBFLOW_CLIENT_ID: 'c'.repeat(64),
  WEBFLOW_CLIENT_SECRET: 's'.repeat(64),
  APP_SECRET: randomBytes(32).toString('base64')
}
const basic = `Basic ${Buffer.from(`admin:${password}`).toString('base64')}`

/** Starts the example and a Webflow that knows it. */
async function startAdmin (t: Test, env: Record<string, string> = {}) {
  const surroundings = await startWebflow(t, credentials)
  const example = await startExample(t, 'examples/admin.ts', { env: { ...surroundings.env, ADMIN_PASSWORD: password, ...env }, up: listening })
  const { home, webflow } = surroundings
  /** Asks as the admin's browser does, and follows no redirect. */
  const ask = async (path: string, { method = 'GET', headers = {}, body = null }: { method?: 'GET' | 'POST', headers?: Record<string, string>, body?: string | null } = {}) => {
    const answer = await request(home + path, { method, body, headers: { authorization: basic, ...(body === null ? {} : { 'content-type': 'application/x-www-form-urlencoded' }), ...headers } })
    return { status: answer.statusCode, headers: answer.headers, html: await answer.body.text() }
  }
  /** Somebody connects. */
  const connect = async (user: typeof ada | typeof grace = ada) => {
    webflow.signIn(user)
    const visitor = new Visitor()
    await visitor.open(`${home}/webflow/authorize`)
    t.match((await visitor.press('Approve')).text, '{"connected":true}')
  }
  return { ...surroundings, example, ask, connect }
}

const idsIn = (html: string) => [...new Set([...html.matchAll(/name="id" value="([^"]*)"/g)].map(([, id = '']) => id))]

t.test('the page for admins', async (t) => {
  const { ask, assertNothingPrinted, connect, example, home, webflow } = await startAdmin(t)
  const own = { 'sec-fetch-site': 'same-origin' }
  await connect()

  await t.test('refuses everybody without the password', async (t) => {
    for (const authorization of ['', 'Basic', `Basic ${btoa('admin:wrong password')}`, `Basic ${btoa(`root:${password}`)}`]) {
      for (const [path, method] of [['/admin', 'GET'], ['/admin?page=2', 'GET'], ['/admin/style.css', 'GET'], ['/admin/revoke', 'POST'], ['/admin/reconnect', 'POST']] as const) {
        const { status, headers, html } = await ask(path, { method, headers: { authorization, ...own } })
        t.equal(status, 401, path)
        t.match(headers['www-authenticate'], 'Basic realm="Installations"')
        t.notMatch(html, /example\.com/)
      }
    }
  })

  await t.test('lists the installations, and shows no access token', async (t) => {
    const { status, headers, html } = await ask('/admin')
    t.equal(status, 200)
    t.match(headers, { 'content-type': /^text\/html/, 'cache-control': 'no-store', 'content-security-policy': /^default-src 'none'; style-src 'self';/ })
    for (const text of ['ada@example.com', 'Active', '1 site', 'sites:read authorized_user:read', '62f3b1f7eafac55d0c64ef91']) t.match(html, text)
    t.equal(idsIn(html).length, 1)
    assertNothingPrinted(t, { stdout: html, stderr: JSON.stringify(headers) })
  })

  await t.test('obeys no form of another page, though the browser adds the password', async (t) => {
    const [id = ''] = idsIn((await ask('/admin')).html)
    const foreign: Array<Record<string, string>> = [{}, { 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site', origin: home }, { 'sec-fetch-site': 'none' }, { origin: 'https://evil.example.org' }, { origin: 'null' }]
    for (const headers of foreign) for (const path of ['/admin/revoke', '/admin/reconnect']) t.equal((await ask(path, { method: 'POST', headers, body: `id=${id}` })).status, 403)
    t.equal(webflow.requests.revoke.length, 0)
    t.match((await ask('/admin/reconnect', { method: 'POST', headers: { origin: home }, body: `id=${id}` })).headers.location, `${webflow.url}/oauth/authorize`, 'a browser without Sec-Fetch-Site says its origin')
  })

  await t.test('escapes text that comes from outside', async (t) => {
    const email = '<img src=x onerror=alert(1)>"\'&@example.com'
    webflow.signIn({ ...grace, email })
    const visitor = new Visitor()
    await visitor.open(`${home}/webflow/authorize`)
    await visitor.press('Approve')
    for (const path of ['/admin', `/admin?opens=${encodeURIComponent('"><script>')}`, '/admin?opens=62f3b1f7eafac55d0c64ef91']) t.notMatch((await ask(path)).html, /<img|<script/)
    t.match((await ask('/admin')).html, '&lt;img src=x onerror=alert(1)&gt;')
    t.equal((await ask('/admin?notice=%3Cb%3ECall%20555%3C/b%3E')).status, 400)
    t.equal((await ask('/admin?page=-1')).status, 400)
  })

  await t.test('finds an installation by its site, or says that there is none', async (t) => {
    t.equal(idsIn((await ask('/admin?opens=62f3b1f7eafac55d0c64ef91')).html).length, 2)
    t.match((await ask(`/admin?opens=${'f'.repeat(24)}`)).html, 'No installation opens this id')
    t.match((await ask('/admin?opens=me')).html, 'No installation opens this id')
  })

  await t.test('shows which tokens Webflow has ended, keeps those that it cannot revoke, and forgets those that it has revoked', async (t) => {
    const [id = ''] = idsIn((await ask('/admin')).html)
    const revoke = () => ask('/admin/revoke', { method: 'POST', headers: own, body: `id=${id}` })
    webflow.fail('revoke', { status: 503 })
    t.equal((await revoke()).headers.location, '/admin?notice=kept')
    t.ok(idsIn((await ask('/admin?notice=kept')).html).includes(id))
    t.equal((await revoke()).headers.location, '/admin?notice=revoked')
    t.notOk(idsIn((await ask('/admin')).html).includes(id))
    t.equal((await revoke()).headers.location, '/admin?notice=gone')
    t.equal((await ask('/admin/reconnect', { method: 'POST', headers: own, body: 'id=' })).headers.location, '/admin?notice=gone')
    for (const path of ['/admin/revoke', '/admin/reconnect']) t.equal((await ask(path, { method: 'POST', headers: own })).status, 400, 'a form without an id')
  })

  await t.test('prints no secret', async (t) => {
    assertNothingPrinted(t, example.output)
    t.notMatch(example.output.stdout + example.output.stderr, password)
  })
})

t.test('the example refuses to start with a weak password', async (t) => {
  await t.rejects(startAdmin(t, { ADMIN_PASSWORD: 'short' }), { message: /Set ADMIN_PASSWORD/ })
})

if (findRedis() !== null) {
  t.test('10,000 installations are listed a page at a time, and a store that is down has a page of its own', async (t) => {
    const redis = await startRedis()
    t.teardown(() => redis.stop())
    const { ask, env, webflow } = await startAdmin(t, { REDIS_URL: redis.url })
    const client = new Redis(redis.url)
    await fill({
      clientId: credentials.WEBFLOW_CLIENT_ID,
      clientSecret: credentials.WEBFLOW_CLIENT_SECRET,
      redirectUri: env['WEBFLOW_REDIRECT_URI'],
      scope: ['sites:read'],
      secret: credentials.APP_SECRET,
      store: new RedisStore({ client }),
      endpoints: webflow.endpoints
    }, 10_000, Fastify().log)
    client.disconnect()

    const first = await ask('/admin')
    t.equal(idsIn(first.html).length, 25)
    t.match(first.html, '/admin?page=2')
    t.equal(webflow.requests.introspect.length, 25, 'Webflow is asked about those that are shown')
    const last = await ask('/admin?page=400')
    t.equal(idsIn(last.html).length, 25)
    t.notMatch(last.html, '/admin?page=401')
    t.match((await ask('/admin?page=401')).html, 'There are no installations on this page')
    t.strictSame(idsIn(last.html).filter((id) => idsIn(first.html).includes(id)), [])

    await redis.stop()
    const trouble = await ask('/admin')
    t.equal(trouble.status, 200)
    t.match(trouble.html, 'This list is not complete')
  })
} else if (process.env['REQUIRE_REDIS'] === '1') {
  t.fail('redis-server is on PATH, as REQUIRE_REDIS=1 demands')
}

if (findChromium() !== null) {
  t.test('in Chromium', async (t) => {
    const browser = await startChromium()
    t.teardown(() => browser.close())
    const { connect, home, webflow } = await startAdmin(t)
    const httpCredentials = { username: 'admin', password }
    const { page, troubles } = await newPerson(t, browser, { httpCredentials })
    const rows = page.locator('tbody tr')

    await t.test('the page says that there are no installations yet', async (t) => {
      await page.goto(`${home}/admin`)
      t.match(await page.locator('main').textContent(), 'There are no installations')
    })

    await t.test('it shows each installation with its state, on any screen', async (t) => {
      await connect(grace)
      webflow.uninstall()
      await connect(ada)
      const desktop = { viewport: { width: 1280, height: 800 } }
      const phone = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }
      for (const [name, profile] of Object.entries<BrowserContextOptions>({ light: desktop, dark: { ...desktop, colorScheme: 'dark' }, phone, 'phone-dark': { ...phone, colorScheme: 'dark' } })) {
        const { page, troubles } = await newPerson(t, browser, { ...profile, httpCredentials })
        await page.goto(`${home}/admin`)
        t.strictSame((await page.locator('.state').allTextContents()).sort(), ['Active', 'Ended'])
        await page.locator('td details:not(.sure) summary').first().click()
        await page.locator('.sure summary').first().click()
        t.equal(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), true, 'nothing is wider than the screen')
        await takeScreenshot(page, `admin-${name}`)
        t.strictSame(await troubles(), [])
      }
    })

    await t.test('an admin reconnects one and revokes another', async (t) => {
      await page.goto(`${home}/admin`)
      await rows.filter({ hasText: 'ada' }).getByRole('button', { name: 'Reconnect' }).click()
      await page.getByRole('button', { name: 'Approve' }).waitFor()
      await press(page, 'Approve')
      t.equal(page.url(), `${home}/admin`)
      t.equal(await rows.filter({ hasText: 'ada' }).count(), 2)

      const ended = rows.filter({ hasText: 'Ended' })
      await ended.locator('.sure summary').click()
      await ended.getByRole('button', { name: 'Yes, revoke it' }).click()
      await page.getByRole('status').waitFor()
      t.match(await page.getByRole('status').textContent(), 'revoked and forgotten')
      t.equal(await ended.count(), 0)
      t.equal(await rows.count(), 2)
      await takeScreenshot(page, 'admin-revoked')
      t.strictSame(await troubles(), [], 'nothing went wrong in the browser')
    })
  })
} else if (process.env['REQUIRE_CHROMIUM'] === '1') {
  t.fail('chromium is on PATH, as REQUIRE_CHROMIUM=1 demands')
}

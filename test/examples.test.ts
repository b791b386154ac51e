import { once } from 'node:events'
import { createServer } from 'node:net'
import t, { type Test } from 'tap'
import { request } from 'undici'
import { buildPackage, startExample } from './support/examples-process.ts'
import { Visitor } from './support/examples-visitor.ts'
import { findRedis, startRedis } from './support/redis-server.ts'
import { freePort } from './support/free-port.ts'

const opened = /^Open (https?:\/\/\S+)/m
const listening = /Server listening at (http:\/\/[^"]+)/
const credentials = {
  WEBFLOW_CLIENT_ID: 'c'.repeat(64),
  WEBFLOW_CLIENT_SECRET: 's'.repeat(64),
  APP_SECRET: 'not a secret, but 32 bytes of one'
}

const startDemo = (t: Test, env: Record<string, string> = {}) => startExample(t, 'examples/demo/main.ts', { env: { PORT: '0', ...env }, up: opened })

await buildPackage()

t.test('the demo', async (t) => {
  const demo = await startDemo(t)
  const home = demo.found
  const connect = async (visitor: Visitor) => {
    await visitor.open(home)
    await visitor.click('Connect Webflow')
    return await visitor.press('Approve')
  }

  t.test('connects, lists the sites and disconnects', async (t) => {
    const visitor = new Visitor()
    const start = await visitor.open(home)
    t.equal(start.status, 200)
    t.match(start.text, 'Not connected')
    t.match(start.text, 'Tokens are kept in memory')

    const consent = await visitor.click('Connect Webflow')
    t.equal(consent.status, 200)
    t.match(consent.text, 'Fastify Demo asks for access to your Webflow account')

    const connected = await visitor.press('Approve')
    t.equal(connected.url, `${home}/`)
    t.equal(connected.status, 200)
    t.match(connected.text, /Connected Your Webflow sites .*Difference Engine difference-engine\.webflow\.io/)
    t.match(connected.text, 'with the scope sites:read')

    const goodbye = await visitor.press('Disconnect')
    t.equal(goodbye.status, 200)
    t.match(goodbye.text, 'Webflow is disconnected')
    t.match((await visitor.click('Back to the start')).text, 'Not connected')
    t.match((await visitor.click('Connect Webflow')).text, 'asks for access', 'and can connect again')
  })

  t.test('explains a denial and offers another try', async (t) => {
    const visitor = new Visitor()
    await visitor.open(home)
    await visitor.click('Connect Webflow')
    const denied = await visitor.press('Deny')
    t.equal(denied.status, 200)
    t.match(denied.text, 'You declined, and that is fine')
    t.match(denied.text, 'WEBFLOW_OAUTH_ACCESS_DENIED')
    await visitor.click('Try again')
    t.match((await visitor.press('Approve')).text, 'Difference Engine')
  })

  t.test('takes an install from the Marketplace through a flow of its own', async (t) => {
    const visitor = new Visitor()
    await visitor.open(home)
    await visitor.click('Install from the Marketplace')
    t.notMatch(visitor.page.url, 'state=')
    const again = await visitor.press('Approve')
    t.match(again.text, 'asks for access', 'the code without a state is dropped')
    t.match(again.url, 'state=')
    t.match((await visitor.press('Approve')).text, 'Difference Engine')
  })

  t.test('answers a reloaded callback as before, and a callback after disconnecting with a page', async (t) => {
    const visitor = new Visitor()
    await connect(visitor)
    const callback = visitor.trail.find((url) => url.includes('/webflow/callback?')) ?? ''
    const reloaded = await visitor.open(callback)
    t.equal(reloaded.url, `${home}/`)
    t.match(reloaded.text, 'Difference Engine')

    await visitor.press('Disconnect')
    const late = await visitor.open(callback)
    t.equal(late.status, 200)
    t.match(late.text, 'This attempt has ended already')
    t.match(late.text, 'already_used')
    t.match((await visitor.click('Back to the start')).text, 'Not connected')
  })

  t.test('notices that the app was uninstalled at Webflow', async (t) => {
    const visitor = new Visitor()
    await connect(visitor)
    await visitor.click('Uninstall the app at Webflow')
    await visitor.press('Uninstall')
    const ended = await visitor.open(home)
    t.equal(ended.status, 200)
    t.match(ended.text, 'Webflow has ended this connection')
    t.notMatch((await visitor.open(home)).text, 'Webflow has ended this connection', 'and has forgotten it')
  })

  t.test('shows no text from the URL, loads nothing and runs nothing', async (t) => {
    const visitor = new Visitor()
    const forged = await visitor.open(`${home}/failed?error=${encodeURIComponent('<b>Call 555 0100</b>')}`)
    t.equal(forged.status, 400)
    t.notMatch(forged.html, '555')
    const unknown = await visitor.open(`${home}/failed?error=toString&reason=constructor`)
    t.equal(unknown.status, 200)
    t.match(unknown.text, 'Webflow was not connected')
    const missing = await visitor.open(`${home}/nowhere`)
    t.equal(missing.status, 404)
    t.match(missing.text, 'There is nothing here')
    for (const { headers, html } of [forged, unknown, missing]) {
      t.match(headers['content-security-policy'], /^default-src 'none'; style-src 'sha256-/)
      t.equal(headers['cache-control'], 'no-store')
      t.notMatch(html, /<script|https?:\/\/(?!127\.0\.0\.1)/)
    }
  })

  t.test('prints nothing but the URL and ends cleanly', async (t) => {
    t.equal(demo.output.stdout, `Open ${home}\n`)
    t.equal(await demo.stop(), 0)
    t.equal(demo.output.stderr, '')
  })
})

t.test('the demo survives a Webflow that is down', async (t) => {
  const demo = await startExample(t, 'test/support/examples-outage.ts', { up: opened })
  const visitor = new Visitor()
  await visitor.open(demo.found)
  await visitor.click('Connect Webflow')
  const connected = await visitor.press('Approve')
  t.equal(connected.status, 502)
  t.match(connected.text, 'Webflow does not list them right now')

  const kept = await visitor.press('Disconnect')
  t.equal(kept.status, 502)
  t.match(kept.text, 'Webflow cannot be reached right now')
  t.match((await visitor.click('Try again')).text, 'Connected Your Webflow sites', 'the connection is kept')
  t.equal(await demo.stop(), 0)
})

t.test('the demo talks to the real Webflow when the environment has credentials', async (t) => {
  const demo = await startDemo(t, { ...credentials, WEBFLOW_REDIRECT_URI: 'https://app.example.com/oauth/back' })
  t.equal(demo.found, 'https://app.example.com', 'the page is opened where Webflow leads back to')
  t.equal(await demo.stop(), 0)
})

t.test('the demo asks the real Webflow', async (t) => {
  const demo = await startDemo(t, credentials)
  const { body } = await request(demo.found)
  const page = await body.text()
  t.match(page, 'This talks to the real Webflow')
  t.match(page, `${demo.found}/webflow/callback`)
  t.notMatch(page, 'Marketplace')
  await startsAtWebflow(t, demo.found)
  t.equal(await demo.stop(), 0)
})

t.test('the demo takes another port when 3000 is taken, and no other than PORT', async (t) => {
  const server = createServer().listen(0)
  await once(server, 'listening')
  t.teardown(() => server.close())
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? String(address.port) : ''
  await t.rejects(startDemo(t, { PORT: port }), { message: `Port ${port} is taken` })

  // Somebody else may have it already, and then all is as it should be.
  const holder = createServer().on('error', () => {}).listen(3000)
  t.teardown(() => holder.close())
  const demo = await startExample(t, 'examples/demo/main.ts', { up: opened })
  t.match(demo.output.stdout, /^Open http:\/\/localhost:(?!3000)\d+ \(port 3000 is taken\)\n$/)
  t.equal(await demo.stop(), 0)
})

t.test('the minimal example guards its route and begins at Webflow', async (t) => {
  const minimal = await startExample(t, 'examples/minimal.ts', { env: { ...credentials, PORT: String(await freePort()) }, up: listening })
  await refusesStrangers(t, minimal.found)
  await startsAtWebflow(t, minimal.found)
})

if (findRedis() !== null) {
  t.test('with Redis', async (t) => {
    const redis = await startRedis()
    t.teardown(() => redis.stop())

    t.test('the example for production guards its route, begins at Webflow and ends cleanly', async (t) => {
      const example = await startExample(t, 'examples/redis.ts', {
        env: { ...credentials, WEBFLOW_REDIRECT_URI: 'https://app.example.com/webflow/callback', REDIS_URL: redis.url, PORT: String(await freePort()) },
        up: listening
      })
      await refusesStrangers(t, example.found)
      await startsAtWebflow(t, example.found)
      t.equal(await example.stop(), 0)
    })

    t.test('the demo keeps its tokens there', async (t) => {
      const demo = await startDemo(t, { REDIS_URL: redis.url })
      const visitor = new Visitor()
      t.match((await visitor.open(demo.found)).text, 'Tokens are kept in Redis')
      await visitor.click('Connect Webflow')
      t.match((await visitor.press('Approve')).text, 'Difference Engine')
      t.match((await visitor.press('Disconnect')).text, 'Webflow is disconnected')
      t.equal(await demo.stop(), 0)
    })

    t.test('the demo has a page for a Redis that is gone, and ends all the same', async (t) => {
      const demo = await startDemo(t, { REDIS_URL: redis.url })
      const visitor = new Visitor()
      await visitor.open(demo.found)
      await visitor.click('Connect Webflow')
      t.match((await visitor.press('Approve')).text, 'Difference Engine')
      await redis.stop()
      const trouble = await visitor.open(demo.found)
      t.equal(trouble.status, 503)
      t.match(trouble.text, 'The app is having trouble')
      t.equal(await demo.stop(), 0)
    })
  })
} else if (process.env['REQUIRE_REDIS'] === '1') {
  t.fail('redis-server is on PATH, as REQUIRE_REDIS=1 demands')
} else {
  t.comment('No redis-server on PATH: the examples with Redis were left out')
}

async function refusesStrangers (t: Test, url: string): Promise<void> {
  const { statusCode, body } = await request(`${url}/sites`)
  t.equal(statusCode, 401)
  t.match(await body.json(), { code: 'WEBFLOW_OAUTH_TOKEN_REQUIRED' })
}

async function startsAtWebflow (t: Test, url: string): Promise<void> {
  const { statusCode, headers } = await request(`${url}/webflow/authorize`)
  t.equal(statusCode, 302)
  t.match(headers.location, /^https:\/\/webflow\.com\/oauth\/authorize\?.*client_id=c{64}&/)
}

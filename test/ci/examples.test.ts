import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { request } from 'undici'
import { startApp } from '../support/examples-app.ts'
import { runExample, startExample } from '../support/examples-process.ts'
import { Visitor, type Page } from '../support/examples-visitor.ts'
import { ada, grace, startWebflow } from '../support/examples-webflow.ts'
import { sendWebhook, type Webhook } from '../support/examples-webhook.ts'
import { loader, spawnNode } from '../support/node-process.ts'
import { findRedis, startRedis, type RedisServer } from '../support/redis-server.ts'
import { freePort } from '../support/free-port.ts'
import { hasNodeSqlite } from '../support/sqlite.ts'

// The examples are programs of their own, which run at the same time.
t.jobs = 4

const opened = /^Open (https?:\/\/\S+)/m
const listening = /Server listening at (http:\/\/[^"]+)/
const credentials = {
  WEBFLOW_CLIENT_ID: 'c'.repeat(64),
  WEBFLOW_CLIENT_SECRET: 's'.repeat(64),
  APP_SECRET: randomBytes(32).toString('base64')
}

const startDemo = (t: Test, env: Record<string, string> = {}) => startExample(t, 'examples/demo/main.ts', { env: { PORT: '0', DEMO_FOLDER: t.testdir(), ...env }, up: opened })

for (const [runner, args, passed] of [
  ['node:test', [...loader, '--test', '--test-reporter=tap', 'examples/testing/node.test.ts'], /^# pass 3$/m],
  ['Vitest', ['node_modules/vitest/vitest.mjs', 'run', '--config=test/support/vitest.config.mjs', '--reporter=json'], /"numPassedTests":3\b/]
] as const) {
  t.test(`tests of an app have a connected user by one call, under ${runner}`, async (t) => {
    const child = spawnNode(args)
    const [printed, errors, [exitCode]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')])
    t.match(printed, passed, `${printed}${errors}`)
    t.equal(exitCode, 0)
  })
}

if (findRedis() !== null) {
  t.test('the nightly job', async (t) => {
    const redis = await startOwnRedis(t)
    const surroundings = await startWebflow(t, credentials, { authorizationOf: 'grant' })
    const { webflow, home, assertNothingPrinted } = surroundings
    await startApp(t, surroundings, redis.url)
    const [laptop, phone, other] = [new Visitor(), new Visitor(), new Visitor()]
    const run = async (t: Test, env: Record<string, string> = {}) => {
      const job = await runExample(t, 'examples/nightly.ts', { ...surroundings.env, REDIS_URL: redis.url, ...env })
      assertNothingPrinted(t, job)
      return job
    }

    await connectAt(home, laptop)
    webflow.signIn(grace)
    await connectAt(home, other)

    t.test('visits the other installations when one fails, and exits with a code that says so', async (t) => {
      webflow.fail('sites', { status: 404 })
      const job = await run(t)
      t.match(job.stdout, /^\S{43} opens Difference Engine\nInstallations: 1 done, 0 ended, 1 failed\n$/)
      t.match(job.stderr, /^\S{43} failed: /)
      t.equal(job.exitCode, 1)
    })

    t.test('visits an installation once, no matter how many sessions hold it', async (t) => {
      webflow.signIn(ada)
      await connectAt(home, phone)
      const asked = webflow.requests.sites.length
      const job = await run(t)
      t.match(job.stdout, 'Installations: 2 done, 0 ended, 0 failed')
      t.equal(webflow.requests.sites.length, asked + 2)
      t.equal(job.stderr, '')
      t.equal(job.exitCode, 0)
    })

    t.test('notices an uninstall', async (t) => {
      webflow.uninstall()
      const job = await run(t)
      t.match(job.stdout, 'Installations: 1 done, 1 ended, 0 failed')
      t.equal(job.stdout.match(/^\S{43} is disconnected: revoked$/gm)?.length, 2, 'and tells of both sessions')
      t.equal(job.stderr, '')
      t.equal(job.exitCode, 0)
      for (const visitor of [laptop, phone]) t.equal((await visitor.open(home)).text, '{"connected":false}')
      t.equal((await other.open(home)).text, '{"connected":true}')
    })

    t.test('finds only the other installation from then on', async (t) => {
      const job = await run(t)
      t.match(job.stdout, /^\S{43} opens Difference Engine\nInstallations: 1 done, 0 ended, 0 failed\n$/)
      t.equal(job.exitCode, 0)
    })

    t.test('fails, and ends, when Redis cannot be reached', async (t) => {
      const job = await run(t, { REDIS_URL: `redis://127.0.0.1:${await freePort()}` })
      t.equal(job.stdout, '')
      t.match(job.stderr, 'WEBFLOW_OAUTH_STORE_UNAVAILABLE')
      t.equal(job.exitCode, 1)
    })
  })

  t.test('the example for production guards its route, begins at Webflow and ends cleanly', async (t) => {
    const redis = await startOwnRedis(t)
    const example = await startExample(t, 'examples/redis.ts', {
      env: { ...credentials, WEBFLOW_REDIRECT_URI: 'https://app.example.com/webflow/callback', REDIS_URL: redis.url, PORT: String(await freePort()) },
      up: listening
    })
    await refusesStrangers(t, example.found)
    await startsAtWebflow(t, example.found)
    t.equal(await example.stop(), 0)
  })

  t.test('the demo keeps its tokens in Redis, has a page for a Redis that is down, and still ends cleanly', async (t) => {
    const redis = await startOwnRedis(t)
    const demo = await startDemo(t, { REDIS_URL: redis.url })
    const visitor = new Visitor()
    t.match((await visitor.open(demo.found)).text, 'Tokens are kept in Redis')
    await visitor.click('Connect Webflow')
    t.match((await visitor.press('Approve')).text, 'Difference Engine')
    t.match((await visitor.press('Disconnect')).text, 'Webflow is disconnected')

    await visitor.open(demo.found)
    await visitor.click('Connect Webflow')
    t.match((await visitor.press('Approve')).text, 'Difference Engine')
    await redis.stop()
    const trouble = await visitor.open(demo.found)
    t.equal(trouble.status, 503)
    t.match(trouble.text, 'The app is having trouble')
    t.equal(await demo.stop(), 0)
  })
} else if (process.env['REQUIRE_REDIS'] === '1') {
  t.fail('redis-server is on PATH, as REQUIRE_REDIS=1 demands')
} else {
  t.comment('No redis-server on PATH: the examples with Redis were left out')
}

t.test('the demo', async (t) => {
  const demo = await startDemo(t)
  const home = demo.found
  const kept = await demo.printed(hasNodeSqlite ? /^(Tokens are kept in \/.*\/tokens-\w{8}\.db)$/m : /^(Tokens are kept in memory: with Node 22\.13 or later, the demo remembers you over a restart)$/m)
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
    t.match(start.text, hasNodeSqlite ? 'Tokens are kept in a file' : 'Tokens are kept in memory')

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

  t.test('shows the webhooks that arrive, to those whose sites they are about', async (t) => {
    const visitor = new Visitor()
    t.match((await connect(visitor)).text, 'None has arrived yet')
    t.match((await visitor.press('Send one about Difference Engine')).text, /Webhooks form_submission \w+, \d+ \w+ \d+ /)
    await visitor.press('Send one about Difference Engine')
    t.equal(visitor.page.text.match(/form_submission/g)?.length, 2)
    await visitor.click('simulated on this machine')
    await visitor.press('Send it')
    t.match(visitor.page.text, 'was answered with 200')
    await visitor.open(home)
    t.equal(visitor.page.text.match(/form_submission/g)?.length, 3)

    const stranger = new Visitor()
    t.equal((await request(`${home}/send-webhook`, { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: 'site=62f3b1f7eafac55d0c64ef91' })).statusCode, 401)
    await visitor.click('simulated on this machine')
    await visitor.press('Sign in as Grace Hopper')
    await stranger.open(home)
    const consent = await stranger.click('Connect Webflow')
    const boxes = [...consent.html.matchAll(/name="site" value="(\w+)"/g)].map(([, id]) => id)
    const { body, headers } = await request(consent.url, { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: `decision=approve&site=${boxes.at(-1)}` })
    await body.dump()
    t.match((await stranger.open(String(headers.location))).text, /Ockham Gardens .* None has arrived yet/)
    await visitor.press('Sign in as Ada Lovelace')
  })

  t.test('answers its extension in JSON, and lists what is open in the Designer', async (t) => {
    const visitor = new Visitor()
    await connect(visitor)
    const open = await visitor.click('Open a site in the Designer')
    const [, extension = ''] = /<iframe [^>]*src="([^"]+)"/.exec(open.html) ?? []
    t.match((await visitor.open(extension)).html, `<body data-app="${home}">`)
    const { headers, body } = await request(`${home}/webflow/designer`, { method: 'POST', headers: { origin: extension, authorization: 'Bearer forged', 'content-type': 'application/json' }, body: '{"siteId":"62f3b1f7eafac55d0c64ef92"}' })
    t.equal(headers['access-control-allow-origin'], extension)
    t.match(await body.json(), { code: 'WEBFLOW_OAUTH_TOKEN_REQUIRED', authorizeUrl: `${home}/webflow/authorize?popup=1` })
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

  t.test('sends an install from the Marketplace through a flow of its own', async (t) => {
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

  t.test('prints nothing but the URL and where tokens are kept', async (t) => {
    t.equal(demo.output.stdout, `${kept}\nOpen ${home}\n`)
    t.equal(demo.output.stderr, '')
  })

  t.test('survives a Webflow that is down', async (t) => {
    const visitor = new Visitor()
    await visitor.open(home)
    const { url } = await visitor.click('Connect Webflow')
    const breakNext = async (endpoint: string) => {
      const { statusCode, body } = await request(new URL('/fail', url), { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: `endpoint=${endpoint}&fault=unavailable` })
      await body.dump()
      t.equal(statusCode, 302)
    }
    await breakNext('sites')
    const connected = await visitor.press('Approve')
    t.equal(connected.status, 502)
    t.match(connected.text, 'Webflow does not list them right now')

    await breakNext('revoke')
    const kept = await visitor.press('Disconnect')
    t.equal(kept.status, 502)
    t.match(kept.text, 'Webflow cannot be reached right now')
    t.match((await visitor.click('Try again')).text, 'Connected Your Webflow sites', 'the connection is kept')
  })

  t.test('ends cleanly', async (t) => {
    t.equal(await demo.stop(), 0)
    t.equal(demo.output.stdout, `${kept}\nOpen ${home}\n`)
    const complaints = demo.output.stderr.trim().split('\n').map((line) => String(JSON.parse(line).msg))
    t.match(complaints, [/^Webflow did not list the sites: Status code: 503/, 'webflow-oauth: a request failed'], 'and has logged the outage alone')
    t.equal(complaints.length, 2)
  })
})

t.test('the demo talks to the real Webflow when the environment has credentials', async (t) => {
  const demo = await startDemo(t, { ...credentials, WEBFLOW_REDIRECT_URI: 'https://app.example.com/oauth/back' })
  t.equal(demo.found, 'https://app.example.com', 'the page is opened where Webflow leads back to')
  t.equal(await demo.stop(), 0)
})

t.test('the demo uses another port when 3000 is taken, and leads to the real Webflow', async (t) => {
  await holdPort3000(t)
  const demo = await startExample(t, 'examples/demo/main.ts', { env: { DEMO_FOLDER: t.testdir(), ...credentials }, up: opened })
  t.match(demo.output.stdout, /^Tokens are kept .*\nOpen http:\/\/localhost:(?!3000)\d+ \(port 3000 is taken\)\n$/)
  const { body } = await request(demo.found)
  const page = await body.text()
  t.match(page, 'This talks to the real Webflow')
  t.match(page, `${demo.found}/webflow/callback`)
  t.notMatch(page, 'Marketplace')
  await startsAtWebflow(t, demo.found)
  t.equal(await demo.stop(), 0)
})

t.test('the demo uses no other port than PORT', async (t) => {
  const server = createServer().listen(0)
  await once(server, 'listening')
  t.teardown(() => server.close())
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? String(address.port) : ''
  await t.rejects(startDemo(t, { PORT: port }), { message: `Port ${port} is taken` })
})

t.test('the minimal example guards its route and begins at Webflow', async (t) => {
  const minimal = await startExample(t, 'examples/minimal.ts', { env: { ...credentials, PORT: String(await freePort()) }, up: listening })
  await refusesStrangers(t, minimal.found)
  await startsAtWebflow(t, minimal.found)
})

t.test('the webhook receiver', async (t) => {
  const { webflow, home, env, assertNothingPrinted } = await startWebflow(t, credentials)
  const receiver = await startExample(t, 'examples/webhook.ts', { env, up: listening })
  const siteId = '62f3b1f7eafac55d0c64ef91'
  const send = (webhook: Partial<Webhook> = {}) => sendWebhook(`${home}/webflow/webhook`, { siteId, secret: credentials.WEBFLOW_CLIENT_SECRET, ...webhook })
  const isHandled = { status: 200, answer: {} }
  const visitor = new Visitor()
  t.equal((await connectAt(home, visitor)).text, '{"connected":true}')

  t.test('calls Webflow with the token that opens the site', async (t) => {
    t.strictSame(await send(), isHandled)
    await receiver.printed(/form_submission at Difference Engine/)
    t.strictSame(await send({ timestamp: Date.now() - 4 * 60_000 }), isHandled, 'and takes a webhook that was a while on its way')
  })

  t.test('handles a webhook once, though Webflow may deliver it again', async (t) => {
    const asked = webflow.requests.sites.length
    webflow.fail('sites', { status: 503 })
    t.equal((await send({ name: 'Twice' })).status, 500)
    for (const timestamp of [Date.now() + 1, Date.now() + 2]) t.strictSame(await send({ name: 'Twice', timestamp }), isHandled)
    t.equal(webflow.requests.sites.length, asked + 2)
  })

  t.test('refuses a webhook that Webflow has not signed', async (t) => {
    const asked = webflow.requests.sites.length
    const forged: Array<Partial<Webhook>> = [
      { secret: credentials.APP_SECRET },
      { body: JSON.stringify({ triggerType: 'form_submission', payload: { siteId } }) },
      { body: '{' },
      { headers: { 'x-webflow-timestamp': String(Date.now() + 1000) } },
      { headers: { 'x-webflow-timestamp': '' } },
      { headers: { 'x-webflow-signature': '' } },
      { headers: { 'x-webflow-signature': 'f'.repeat(64) } }
    ]
    for (const webhook of forged) t.equal((await send(webhook)).status, 401)
    t.equal((await send({ secret: credentials.APP_SECRET, headers: { 'content-type': 'text/plain' } })).status, 401, 'whatever its type')
    t.equal((await request(`${home}/webflow/webhook`, { method: 'POST' })).statusCode, 401, 'nor does nothing at all')
    t.equal(webflow.requests.sites.length, asked)
  })

  t.test('refuses a webhook that was signed more than five minutes ago', async (t) => {
    t.equal((await send({ timestamp: Date.now() - 5 * 60_000 - 1 })).status, 401)
    t.equal((await send({ timestamp: 0 })).status, 401)
    t.equal((await send({ timestamp: NaN })).status, 401)
  })

  t.test('accepts a webhook without a valid site id, and looks for no token', async (t) => {
    const asked = webflow.requests.sites.length
    for (const malformed of ['', 'x', `${siteId}0`, `${siteId}\n`, 'g'.repeat(24), null, 7, {}, [], ['x']]) {
      t.strictSame(await send({ siteId: malformed }), isHandled)
    }
    t.equal(webflow.requests.sites.length, asked)
  })

  t.test('accepts a webhook of a site that no token opens', async (t) => {
    t.strictSame(await send({ siteId: 'a'.repeat(24) }), isHandled)
  })

  t.test('lets Webflow deliver again while Webflow does not list the sites, and keeps the token', async (t) => {
    webflow.fail('sites', { status: 503 })
    t.equal((await send()).status, 500)
    webflow.fail('sites', { reset: true })
    t.equal((await send()).status, 500)
    webflow.fail('sites', { status: 401, body: { code: 'not_authorized' } })
    t.equal((await send()).status, 500, 'not even a 401 is believed that Webflow does not confirm')
    t.strictSame(await send(), isHandled)
  })

  t.test('notices an uninstall, and continues with the token of another user', async (t) => {
    webflow.signIn(grace)
    const other = new Visitor()
    await connectAt(home, other)
    webflow.uninstall()
    t.strictSame(await send(), isHandled)
    t.equal((await other.open(home)).text, '{"connected":false}')
    t.equal((await visitor.open(home)).text, '{"connected":true}')
    await receiver.printed(/"reason":"revoked","msg":"Webflow has ended a connection"/)
  })

  t.test('forgets the last token after an uninstall', async (t) => {
    webflow.signIn(ada)
    webflow.uninstall()
    t.strictSame(await send(), isHandled)
    t.equal((await visitor.open(home)).text, '{"connected":false}')
    const asked = webflow.requests.sites.length
    t.strictSame(await send(), isHandled)
    t.equal(webflow.requests.sites.length, asked, 'and asks Webflow no more')
  })

  t.test('lets Webflow deliver again while Webflow does not say what a token opens', async (t) => {
    webflow.fail('introspect', { status: 503, times: Infinity })
    await connectAt(home, visitor)
    t.equal((await send()).status, 502)
  })

  t.test('prints no secret', async (t) => {
    await receiver.stop()
    assertNothingPrinted(t, receiver.output)
  })
})

t.test('the app with users of its own', async (t) => {
  const { webflow, home, env, assertNothingPrinted } = await startWebflow(t, credentials)
  const example = await startExample(t, 'examples/users.ts', { env, up: listening })
  const [first, second] = [new Visitor(), new Visitor()]
  const signIn = async (visitor: Visitor, name: string) => {
    await visitor.open(home)
    return await visitor.press(`Sign in as ${name}`)
  }

  t.test('shows a visitor who is not signed in where to sign in', async (t) => {
    const stranger = new Visitor()
    t.match((await stranger.open(`${home}/sites`)).text, 'Sign in as ada')
    t.equal((await stranger.fetch('DELETE', '/account')).status, 401)
    t.equal((await request(`${home}/sign-in`, { method: 'POST', body: 'user=eve', headers: { 'content-type': 'application/x-www-form-urlencoded' } })).statusCode, 400)
    t.equal((await request(home, { headers: { cookie: 'user=ada' } })).headers.location, '/sign-in', 'a cookie that is not signed is nobody\'s')
  })

  t.test('leads from the Marketplace to a new account and then to the connected page', async (t) => {
    const newcomer = new Visitor()
    await newcomer.open(webflow.url)
    await newcomer.click('Install')
    t.match((await newcomer.press('Approve')).text, 'Create an account', 'the install begins without a state, and nobody is signed in')
    t.match(newcomer.page.url, `${home}/sign-in?returnTo=`)
    t.match((await newcomer.press('Create an account')).text, 'asks for access')
    t.match((await newcomer.press('Approve')).text, /guest-\w+ is signed in\. Webflow is connected/)
    t.equal(newcomer.page.url, `${home}/`)
  })

  t.test('connects each user to sites of their own', async (t) => {
    t.match((await signIn(first, 'ada')).text, 'ada is signed in. Webflow is not connected')
    t.match((await first.click('Your sites')).text, 'asks for access')
    t.match((await first.press('Approve')).text, 'Difference Engine')
    t.equal(first.page.url, `${home}/sites`)

    webflow.signIn(grace)
    t.match((await signIn(second, 'grace')).text, 'grace is signed in. Webflow is not connected')
    const consent = await second.click('Your sites')
    const sites = await second.open(await webflow.approve(consent.url, { siteIds: ['62f3b1f7eafac55d0c64ef93'] }))
    t.match(sites.text, 'Ockham Gardens')
    t.notMatch(sites.text, 'Difference Engine')
    t.match((await first.open(`${home}/sites`)).text, 'Difference Engine')
  })

  t.test('leads from its sign-in page to no other site', async (t) => {
    for (const returnTo of ['https://evil.example/', '//evil.example', '/\\evil.example', 'javascript:alert(1)']) {
      const visitor = new Visitor()
      await visitor.open(`${home}/sign-in?returnTo=${encodeURIComponent(returnTo)}`)
      await visitor.press('Sign in as ada')
      t.equal(visitor.page.url.replace(/\/$/, ''), home, returnTo)
    }
  })

  t.test('keeps the connection of a user who signs out', async (t) => {
    await first.open(home)
    t.match((await first.press('Sign out')).text, 'Sign in as ada')
    t.match((await first.open(`${home}/sites`)).text, 'Sign in as ada')
    t.match((await first.press('Sign in as ada')).text, 'Difference Engine', 'who signs in again comes back to the page, without another consent')
    t.match((await first.open(home)).text, 'ada is signed in. Webflow is connected')
    const phone = new Visitor()
    t.match((await signIn(phone, 'ada')).text, 'Webflow is connected', 'on another device too')
    t.equal(webflow.requests.revoke.length, 0)
  })

  t.test('disconnects a user on all devices', async (t) => {
    const phone = new Visitor()
    await signIn(phone, 'ada')
    await first.open(home)
    t.match((await first.press('Disconnect Webflow')).text, 'ada is signed in. Webflow is not connected')
    t.match((await phone.open(home)).text, 'ada is signed in. Webflow is not connected')
    t.match((await second.open(home)).text, 'Webflow is connected', 'and nobody else')
    t.equal(webflow.requests.revoke.length, 1)
  })

  t.test('notices that a user uninstalled the app', async (t) => {
    webflow.uninstall()
    t.match((await second.open(`${home}/sites`)).text, 'grace is signed in. Webflow is not connected')
    await second.click('Your sites')
    t.match((await second.press('Approve')).text, 'Difference Engine', 'and connects anew')
  })

  t.test('keeps an account whose connection Webflow does not revoke', async (t) => {
    await second.open(home)
    webflow.fail('revoke', { status: 503 })
    t.equal((await second.fetch('DELETE', '/account')).status, 502)
    t.match((await second.open(home)).text, 'grace is signed in. Webflow is connected')
  })

  t.test('revokes the connection of an account that is deleted', async (t) => {
    const before = webflow.requests.revoke.length
    t.equal((await second.fetch('DELETE', '/account')).status, 204)
    t.equal(webflow.requests.revoke.length, before + 1)
    t.notOk(webflow.revokeToken(String(webflow.requests.revoke.at(-1)?.parameters['access_token'])), 'it works no longer')
    t.match((await second.open(home)).text, 'Sign in as ada')
    t.notMatch(second.page.text, 'grace')
    t.equal((await first.fetch('DELETE', '/account')).status, 204, 'an account without a connection goes too')
    t.equal(webflow.requests.revoke.length, before + 1)
  })

  t.test('prints no secret', async (t) => {
    await example.stop()
    assertNothingPrinted(t, example.output)
  })
})

t.test('the example with metrics', async (t) => {
  const { webflow, home, env } = await startWebflow(t, credentials)
  await startExample(t, 'examples/metrics.ts', { env, up: listening })
  const visitor = new Visitor()
  t.equal((await connectAt(home, visitor)).url, `${home}/metrics`)
  await new Visitor().open(`${home}/webflow/callback?state=forged&code=forged`)
  webflow.fail('revoke', { status: 503 })
  for (let tries = 0; tries < 2; tries++) await (await fetch(`${home}/webflow/revoke`, { method: 'POST', headers: visitor.cookiesFor(home) })).text()
  const { html: scraped } = await visitor.open(`${home}/metrics`)

  t.test('counts flows and times calls', async (t) => {
    for (const line of [
      'webflow_flows_started_total{trigger="authorize"} 1',
      'webflow_flows_started_total{trigger="install"} 0',
      'webflow_flows_ended_total{outcome="connected",code="",reason=""} 1',
      'webflow_flows_ended_total{outcome="failed",code="WEBFLOW_OAUTH_STATE_INVALID",reason="malformed"} 1',
      'webflow_call_seconds_count{call="exchange",outcome="issued",code=""} 1',
      'webflow_call_seconds_count{call="revoke",outcome="failed",code="WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE"} 1',
      'webflow_call_seconds_count{call="revoke",outcome="revoked",code=""} 1'
    ]) t.ok(scraped.includes(`${line}\n`), line)
    const [, seconds = ''] = /webflow_call_seconds_sum\{call="exchange",outcome="issued",code=""\} (\S+)/.exec(scraped) ?? []
    t.ok(Number(seconds) > 0 && Number(seconds) < 10, 'in seconds')
  })

  t.test('has a dashboard that uses every exported metric, and only metrics, labels and values that exist', async (t) => {
    // Each series as the names and values of its labels: `webflow_disconnects_total`, `reason`, `revoked`.
    const exported = new Map<string, Set<string>>()
    for (const [, metric = '', labels = ''] of scraped.matchAll(/^(\w+)\{(.*)\} /gm)) {
      const known = exported.get(metric) ?? new Set()
      for (const [pair, label = ''] of labels.matchAll(/(\w+)="[^"]*"/g)) known.add(label).add(pair)
      exported.set(metric, known)
    }
    const used = new Set<string>()
    const dashboard: { panels: Array<{ title: string, targets?: Array<{ expr: string, legendFormat: string }> }> } = JSON.parse(await readFile(new URL('../../examples/grafana-dashboard.json', import.meta.url), 'utf8'))
    const targets = dashboard.panels.flatMap(({ title, targets = [] }) => targets.map((target) => ({ title, ...target })))
    t.ok(targets.length > 10)
    for (const { title, expr, legendFormat } of targets) {
      const [, by = ''] = /\bby \(([^)]*)\)/.exec(expr) ?? []
      const labels = by.split(', ').filter(Boolean)
      for (const [, label = ''] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) t.ok(labels.includes(label), `${title}: the legend shows a label that the expression keeps`)
      const metrics = [...expr.matchAll(/(webflow_\w+)(?:\{([^}]*)\})?/g)]
      t.ok(metrics.length > 0, title)
      for (const [, metric = '', matchers = ''] of metrics) {
        const known = exported.get(metric) ?? new Set()
        const wanted = [...labels, ...[...matchers.matchAll(/(\w+)!?="[^"]*"/g)].map(([pair]) => pair.replace('!=', '='))]
        t.equal(matchers.replace(/\w+!?="[^"]*"(?:, )?/g, ''), '', `${title}: every matcher is understood`)
        t.strictSame(wanted.filter((name) => !known.has(name)), [], `${title}: ${metric}`)
        for (const name of ['', ...wanted]) used.add(`${metric.replace(/_(?:bucket|count|sum)$/, '')} ${name.replace(/=.*/, '')}`)
      }
    }
    const offered = [...exported].flatMap(([metric, labels]) => ['', ...labels].filter((label) => !label.includes('=')).map((label) => `${metric.replace(/_(?:bucket|count|sum)$/, '')} ${label}`))
    t.strictSame([...used].sort(), [...new Set(offered)].sort())
  })
})

t.test('the example with traces prints a span for each call', async (t) => {
  const { webflow, home, env, assertNothingPrinted } = await startWebflow(t, credentials)
  const example = await startExample(t, 'examples/tracing.ts', { env, up: listening })
  const visitor = new Visitor()
  await visitor.open(`${home}/webflow/authorize`)
  await visitor.press('Approve')
  await example.printed(/name: 'webflow exchange'[^]*?attributes: \{ outcome: 'issued' \}/)
  await example.printed(/name: 'webflow callback'[^]*?attributes: \{ outcome: 'connected', reason: '' \}/)
  await new Visitor().open(await webflow.approve((await fetch(`${home}/webflow/authorize`, { redirect: 'manual' })).headers.get('location') ?? ''))
  await example.printed(/name: 'webflow callback'[^]*?'error\.type': 'WEBFLOW_OAUTH_STATE_INVALID'/)
  assertNothingPrinted(t, example.output)
})

async function startOwnRedis (t: Test): Promise<RedisServer> {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  return redis
}

async function connectAt (home: string, visitor: Visitor): Promise<Page> {
  await visitor.open(`${home}/webflow/authorize`)
  return await visitor.press('Approve')
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

/** Takes port 3000 until the test ends. Another run of this test may hold it for some seconds; whoever holds it for longer keeps it. */
async function holdPort3000 (t: Test): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    const holder = createServer().listen(3000)
    try {
      await once(holder, 'listening')
      t.teardown(() => holder.close())
      return
    } catch {
      await sleep(100)
    }
  }
}

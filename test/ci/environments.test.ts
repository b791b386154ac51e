import { randomBytes } from 'node:crypto'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { createSimulator } from '../../lib/simulator/index.ts'
import { assertNothingLeaked, baseOptions, clientId, clientSecret, connect } from '../support/app.ts'
import { Browser } from '../support/browser.ts'
import { recordingLogger, rememberSecrets } from '../support/logs.ts'
import { rowsOf, sectionOf } from '../support/markdown.ts'
import { read } from '../support/readme-project.ts'
import { findRedis, startRedis } from '../support/redis-server.ts'
import { runHere, snippetsUnder } from '../support/snippets.ts'

const page = 'docs/environments.md'
const environments = ['Development', 'Preview', 'Staging', 'Production'] as const
const rows = rowsOf(sectionOf(read(page), 'Environments'))
const variables = rows.map(({ names: [name = ''] }) => name)

/** What the table says of an environment: a printed value, null where words describe the value, and nothing where it is not set. */
function valuesOf (environment: typeof environments[number]): Map<string, string | null> {
  const column = environments.indexOf(environment)
  return new Map(rows.flatMap(({ names: [name = ''], cells }) => {
    const cell = cells[column] ?? ''
    return cell === '–' ? [] : [[name, /^`(.+)`$/.exec(cell)?.[1] ?? null]]
  }))
}

/** Runs the snippet in an environment, with values in place of those that the table describes. */
async function start (t: Test, values: ReadonlyMap<string, string | null>, described: Record<string, string>) {
  for (const name of variables) delete process.env[name]
  for (const [name, value] of values) process.env[name] = described[name] ?? value ?? ''
  const fastify = Fastify({ logger: recordingLogger, trustProxy: true })
  t.teardown(() => fastify.close())
  const [snippet = ''] = snippetsUnder(page, 'Environments')
  await runHere(t, snippet, { fastify, options: baseOptions(null) })
  for (const name of variables) delete process.env[name]
  fastify.get('/token', async ({ webflowToken }) => {
    rememberSecrets(webflowToken?.accessToken)
    return { connected: webflowToken !== null }
  })
  await fastify.ready()
  return new Browser(fastify)
}

const secret = randomBytes(32).toString('base64')
rememberSecrets(secret)
const credentials = { WEBFLOW_CLIENT_ID: clientId, WEBFLOW_CLIENT_SECRET: clientSecret, APP_SECRET: secret }

/** A simulator that knows the redirect URI of an environment. */
async function startSimulator (t: Test, home: string) {
  const webflow = createSimulator({ app: { clientId, clientSecret, redirectUris: [`${home}/webflow/callback`], scope: ['sites:read'] } })
  await webflow.listen()
  t.teardown(() => webflow.close())
  return webflow
}

t.test('the table has every variable that the snippet reads, and `NODE_ENV`, which the plugin reads', (t) => {
  const [snippet = ''] = snippetsUnder(page, 'Environments')
  const printed = /const \{ (.+) \} = process\.env/.exec(snippet)?.[1]?.split(', ').map((name) => name.replace(/ = .*/, '')) ?? []
  t.strictSame(variables.toSorted(), [...printed, 'NODE_ENV'].sort())
  t.end()
})

t.test('Development: the simulator stands in for Webflow, and the cookie has the name of the app', async (t) => {
  const values = valuesOf('Development')
  const home = values.get('APP_URL') ?? ''
  const webflow = await startSimulator(t, home)
  const browser = await start(t, values, { ...credentials, WEBFLOW_URL: webflow.url })
  t.equal((await connect(browser, webflow, { path: `${home}/webflow/authorize` })).location, `${home}/`)
  t.ok(browser.cookies.has('webflow_shop'))
  t.strictSame((await browser.get(`${home}/token`)).json(), { connected: true })
})

if (findRedis() !== null) {
  t.test('Preview: each has keys of its own in the Redis that all of them share', async (t) => {
    const redis = await startRedis()
    t.teardown(() => redis.stop())
    const values = valuesOf('Preview')
    const home = values.get('APP_URL') ?? ''
    const webflow = await startSimulator(t, home)
    const described = { ...credentials, WEBFLOW_URL: webflow.url, REDIS_URL: redis.url }
    const browser = await start(t, values, described)
    t.equal((await connect(browser, webflow, { path: `${home}/webflow/authorize` })).location, `${home}/`)
    t.strictSame((await browser.get(`${home}/token`)).json(), { connected: true })
    t.ok(browser.cookies.has('__Host-webflow'))
    const client = new Redis(redis.url)
    const keys = await client.keys('*')
    client.disconnect()
    t.ok(keys.length > 0)
    t.strictSame(keys.filter((key) => !key.startsWith('webflow:pr-42:')), [])

    await t.test('another preview', async (t) => {
      const other = await start(t, values, { ...described, KEY_PREFIX: 'webflow:pr-43:' })
      for (const [name, value] of browser.cookies) other.cookies.set(name, value)
      t.strictSame((await other.get(`${home}/token`)).json(), { connected: false })
    })
  })

  for (const environment of ['Staging', 'Production'] as const) {
    t.test(`${environment}: flows lead to the real Webflow, with the redirect URI and the app of the environment`, async (t) => {
      const redis = await startRedis()
      t.teardown(() => redis.stop())
      const values = valuesOf(environment)
      const home = values.get('APP_URL') ?? ''
      const browser = await start(t, values, { ...credentials, REDIS_URL: redis.url })
      const begun = await browser.navigate(`${home}/webflow/authorize`)
      const location = new URL(String(begun.location))
      t.equal(location.origin + location.pathname, 'https://webflow.com/oauth/authorize')
      t.equal(location.searchParams.get('client_id'), clientId)
      t.equal(location.searchParams.get('redirect_uri'), `${home}/webflow/callback`)
      t.match(begun.cookies.map(({ name, attributes }) => [name, attributes.includes('Secure')]), [[/^__Host-webflow_flow/, true]])
      t.strictSame((await browser.get(`${home}/token`)).json(), { connected: false })
    })
  }
} else if (process.env['REQUIRE_REDIS'] === '1') {
  t.fail('redis-server is on PATH, as REQUIRE_REDIS=1 demands')
}

t.test('no environment starts without its credentials and its secret', async (t) => {
  for (const name of ['WEBFLOW_CLIENT_ID', 'WEBFLOW_CLIENT_SECRET', 'APP_SECRET']) {
    await t.test(name, async (t) => {
      const values = new Map(valuesOf('Development'))
      values.delete(name)
      await t.rejects(start(t, values, credentials), { code: 'WEBFLOW_OAUTH_INVALID_OPTION' })
    })
  }
})

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

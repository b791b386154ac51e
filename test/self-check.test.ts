import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import t, { type Test } from 'tap'
import webflowOAuth, { MemoryStore, type WebflowOAuthOptions } from '../lib/index.ts'
import { knownScopes } from '../lib/options/scopes.ts'
import { allScopes } from '../lib/simulator/scope.ts'

const local = 'http://localhost:3000/webflow/callback'
const base: WebflowOAuthOptions = {
  clientId: 'c'.repeat(64),
  clientSecret: randomBytes(32).toString('hex'),
  redirectUri: local,
  scope: ['sites:read'],
  secret: randomBytes(32).toString('base64')
}

/** Makes a server speak TLS; without a certificate, since nobody connects. */
const overTls: FastifyServerOptions = { serverFactory: (handler) => createServer({}, handler) }

/** Starts an app; resolves with it and with the warnings of the plugin that it has logged, then and later. */
async function start (t: Test, options: Partial<WebflowOAuthOptions> = {}, server: FastifyServerOptions = {}, prefix = ''): Promise<{ app: FastifyInstance, warnings: string[] }> {
  const warnings: string[] = []
  const stream = new Writable({
    write (line, _encoding, done) {
      const { level, msg } = JSON.parse(String(line))
      if (level === 40) warnings.push(msg)
      done()
    }
  })
  const app = Fastify({ ...server, logger: { stream } })
  t.teardown(() => app.close())
  await app.register(async (scope) => { await scope.register(webflowOAuth, { ...base, ...options }) }, { prefix })
  await app.ready()
  return { app, warnings }
}

/** Sets NODE_ENV for the length of a test. */
function inEnvironment (t: Test, value: string): void {
  const before = process.env['NODE_ENV']
  process.env['NODE_ENV'] = value
  t.teardown(() => {
    if (before === undefined) delete process.env['NODE_ENV']
    else process.env['NODE_ENV'] = before
  })
}

t.test('an app that is set up well starts without a warning', async (t) => {
  t.strictSame((await start(t)).warnings, [], 'on this machine')
  inEnvironment(t, 'production')
  const { warnings } = await start(t, { redirectUri: 'https://app.example.com/webflow/callback', store: new MemoryStore() }, { trustProxy: '10.0.0.1' })
  t.strictSame(warnings, [], 'behind a proxy')
})

t.test('tokens in memory cause a warning in production, unless the app passes the MemoryStore itself', async (t) => {
  inEnvironment(t, 'production')
  const options = { redirectUri: 'https://app.example.com/webflow/callback' }
  const { app, warnings } = await start(t, options, { trustProxy: true })
  await app.inject('/webflow/authorize')
  t.match(warnings, [/tokens are kept in memory .* RedisStore/])
  t.equal(warnings.length, 1)
  t.strictSame((await start(t, { ...options, store: new MemoryStore() }, { trustProxy: true })).warnings, [], 'a MemoryStore that the app passes causes no warning')
})

t.test('an http redirect URI causes a warning if the server speaks https', async (t) => {
  const { warnings } = await start(t, {}, overTls)
  t.match(warnings, [/`redirectUri` is http:\/\/localhost:3000\/webflow\/callback though this server speaks https: .*Set `redirectUri` to the public https URL/])
  inEnvironment(t, 'production')
  const { warnings: inProduction } = await start(t, { store: new MemoryStore() })
  t.match(inProduction, [/`redirectUri` is http:.* though NODE_ENV is production: /])
})

t.test('a callback route that the redirect URI does not reach causes a warning that names both paths', async (t) => {
  const { warnings } = await start(t, { callbackPath: '/oauth/back' }, {}, '/api')
  t.match(warnings, [/`redirectUri` leads to \/webflow\/callback, but the callback route is \/api\/oauth\/back: /])
  const { warnings: rewritten } = await start(t, { redirectUri: 'http://localhost:3000/api/webflow/callback', callbackPath: '/webflow/callback' })
  t.strictSame(rewritten, [], '`callbackPath` below a removed prefix causes no warning')
})

t.test('a port that the redirect URI does not reach causes a warning that names both ports', async (t) => {
  const { app, warnings } = await start(t)
  const { port } = new URL(await app.listen({ port: 0, host: '127.0.0.1' }))
  t.match(warnings, [`webflow-oauth: \`redirectUri\` names localhost:3000, but this server listens on port ${port}: `])

  for (const redirectUri of ['http://localhost/webflow/callback', 'https://localhost/webflow/callback']) {
    const { app, warnings } = await start(t, { redirectUri })
    await app.listen({ port: 0, host: '127.0.0.1' })
    t.match(warnings, [/`redirectUri` names localhost, but .* Webflow sends browsers to port (?:80|443)\./])
  }
})

t.test('the port is not checked behind a proxy or on a Unix socket', async (t) => {
  const { app, warnings } = await start(t, { redirectUri: 'https://app.example.com/webflow/callback' }, { trustProxy: true })
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.strictSame(warnings, [])

  const folder = mkdtempSync(join(tmpdir(), 'self-check-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const onSocket = await start(t)
  await onSocket.app.listen({ path: join(folder, 'socket') })
  t.strictSame(onSocket.warnings, [])

  const fitting = await start(t, { redirectUri: 'http://localhost:3000/webflow/callback' })
  t.strictSame(fitting.warnings, [])
})

t.test('the port that the redirect URI names causes no warning', async (t) => {
  const probe = Fastify()
  const { port } = new URL(await probe.listen({ port: 0, host: '127.0.0.1' }))
  await probe.close()
  const { app, warnings } = await start(t, { redirectUri: `http://localhost:${port}/webflow/callback` })
  await app.listen({ port: Number(port), host: '127.0.0.1' })
  t.strictSame(warnings, [])
})

t.test('a proxy without `trustProxy` causes a warning', async (t) => {
  const options = { redirectUri: 'https://app.example.com/webflow/callback' }
  t.match((await start(t, options)).warnings, [/`trustProxy` is not set: .*Set `trustProxy`/])
  t.strictSame((await start(t, options, overTls)).warnings, [], 'where this server speaks https itself')
  t.strictSame((await start(t, { redirectUri: 'https://localhost:3000/webflow/callback' })).warnings, [], 'on this machine')
})

t.test('an unknown scope causes a warning that suggests a similar one', async (t) => {
  const rows = [
    ['site:read', 'sites:read'],
    ['Custom-Code:write', 'custom_code:write'],
    ['workspaces:read', 'workspace:read'],
    ['branch:merge', 'branches:merge'],
    ['Branches:Publish', 'branches:publish'],
    ['pageClient:write', 'page_client:write'],
    ['sites.read', 'sites:read'],
    ['devlink-exports:read', 'devlink_export:read'],
    ['brand_new:read', null],
    ['cloud_apps:deploy', null],
    ['openid', null],
    ['::', null]
  ] as const
  const { warnings } = await start(t, { scope: ['sites:read', ...rows.map(([scope]) => scope)] })
  t.strictSame(warnings, rows.map(([scope, similar]) => `webflow-oauth: \`scope\` holds ${scope}, which is not a known scope: Webflow answers \`invalid_scope\` to a scope that it does not have. ${similar === null ? 'Is it misspelled?' : `Is ${similar} meant?`}`))
})

t.test('no known scope of Webflow causes a warning, and the list of known scopes is sorted', async (t) => {
  const scope = `agent_instructions:read ai:write app_subscriptions:read assets:read assets:write authorized_user:read branches:create
    branches:delete branches:merge branches:publish branches:read branches:update cms:read cms:write comments:read comments:write
    components:read components:write custom_code:read custom_code:write devlink_export:read ecommerce:read ecommerce:write forms:read
    forms:write page_client:write pages:read pages:write site_access:read site_activity:read site_config:read site_config:write
    sites:read sites:write users:read users:write workspace:read workspace:write workspace_members:write`.split(/\s+/)
  t.strictSame((await start(t, { scope })).warnings, [])
  t.strictSame([...knownScopes], scope)
  t.strictSame([...knownScopes].sort(), scope)
  t.strictSame([...allScopes].sort(), scope, 'the simulator knows the same scopes')
})

t.test('a made-up secret causes a warning that does not show it', async (t) => {
  const placeholders = ['a-string-secret-at-least-32-characters', 'your_app_key_0123456789_0123456789', 'x'.repeat(32), '0'.repeat(64), 'CHANGE ME before you go to production', '12345678901234567890123456789012']
  for (const secret of placeholders) {
    for (const value of [secret, Buffer.from(secret), [randomBytes(32), secret]]) {
      const { warnings } = await start(t, { secret: value })
      t.match(warnings, [/`secret` looks like a placeholder.*openssl rand -base64 32/])
      t.notOk(warnings.join().includes(secret))
    }
  }
})

t.test('a random secret is never taken for a placeholder', async (t) => {
  for (let round = 0; round < 25; round++) {
    for (const secret of [randomBytes(32), randomBytes(32).toString('base64'), randomBytes(32).toString('base64url'), randomBytes(16).toString('hex')]) {
      t.strictSame((await start(t, { secret })).warnings, [])
    }
  }
})

t.test('an http endpoint causes a warning, unless it is on this machine', async (t) => {
  const { warnings } = await start(t, { endpoints: { authorize: 'http://127.0.0.1:4000/oauth/authorize', token: 'https://gateway.example.com/token', revoke: 'http://gateway.example.com/revoke' } })
  t.match(warnings, [/`endpoints.revoke` is at http:\/\/gateway\.example\.com: .* Use https/])
  t.equal(warnings.length, 1)
})

t.test('an endpoint at a host of the other region causes a warning that names it', async (t) => {
  const us = { token: 'https://api.webflow.com/oauth/access_token' }
  const eu = { authorize: 'https://EU.webflow.com/oauth/authorize', revoke: undefined }
  t.match((await start(t, { region: 'eu', endpoints: us })).warnings, [/^webflow-oauth: `region` is eu, but these members of `endpoints` are at hosts of the other region: token \(api\.webflow\.com\), introspect \(api\.webflow\.com\), authorizedBy \(api\.webflow\.com\), resolve \(api\.webflow\.com\)\. /])
  const { warnings } = await start(t, Object.assign({ endpoints: eu }))
  t.match(warnings, [/`region` is us, .* other region: authorize \(eu\.webflow\.com\)\. .*Correct `region`/])
  t.equal(warnings.length, 1)
  t.strictSame((await start(t, { region: 'us', endpoints: us })).warnings, [])
  t.strictSame((await start(t, { region: 'eu', endpoints: { authorize: eu.authorize, token: 'https://gateway.example.com/token' } })).warnings, [])
})

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { get } from 'node:http'
import { gunzipSync } from 'node:zlib'
import type {} from '@fastify/swagger'
import type {} from '@fastify/under-pressure'
import Fastify, { type FastifyInstance, type InjectOptions } from 'fastify'
import t, { type Test } from 'tap'
import { request, WebSocket } from 'undici'
import type { WebflowOAuthOptions } from '../../lib/index.ts'
import type { Simulator } from '../../lib/simulator/index.ts'
import { assertNothingLeaked, baseOptions, connect, startWebflow } from '../support/app.ts'
import { Browser, navigation, type Answer } from '../support/browser.ts'
import { findChromium, newPerson, startChromium } from '../support/chromium.ts'
import { Visitor } from '../support/examples-visitor.ts'
import { freePort } from '../support/free-port.ts'
import { recordingLogger, rememberSecrets } from '../support/logs.ts'
import { read, type Program } from '../support/readme-project.ts'
import { findRedis, startRedis } from '../support/redis-server.ts'
import { runHere, runProgram, snippetsUnder, type Surroundings } from '../support/snippets.ts'

const page = 'docs/plugins.md'
const authorizePath = '/webflow/authorize'
const callbackPath = '/webflow/callback'
const revokePath = '/webflow/revoke'

interface Stage extends Partial<Pick<Surroundings, 'currentUser'>> {
  options?: Partial<WebflowOAuthOptions>
  /** Which of the snippets under the heading. Defaults to the first. */
  index?: number
  /** What is printed, and what runs here instead. */
  edits?: Record<string, string>
  before?: (fastify: FastifyInstance) => unknown
  after?: (fastify: FastifyInstance) => unknown
}

/** Runs a snippet of the page on an instance; resolves with a browser in front of it and a Webflow behind it. */
async function play (t: Test, heading: string, { options = {}, index = 0, edits, before, after, ...surroundings }: Stage = {}): Promise<{ browser: Browser, webflow: Simulator, fastify: FastifyInstance }> {
  const webflow = await startWebflow(t)
  const fastify = Fastify({ logger: recordingLogger, forceCloseConnections: true })
  t.teardown(() => fastify.close())
  await before?.(fastify)
  await runHere(t, snippetOf(heading, { index, edits }), { fastify, options: { ...baseOptions(webflow), ...options }, ...surroundings })
  fastify.get('/token', async ({ webflowToken }) => {
    rememberSecrets(webflowToken?.accessToken)
    return { connected: webflowToken !== null, id: webflowToken?.id }
  })
  await after?.(fastify)
  await fastify.ready()
  return { browser: new Browser(fastify), webflow, fastify }
}

function snippetOf (heading: string, { index = 0, edits = {} }: { index?: number, edits?: Record<string, string> | undefined } = {}): string {
  let text = snippetsUnder(page, heading)[index] ?? ''
  for (const [printed, here] of Object.entries(edits)) {
    if (!text.includes(printed)) throw new Error(`The snippet under "${heading}" has no ${printed}`)
    text = text.replaceAll(printed, here)
  }
  return text
}

/** Sends a form as the browser of a person does. */
function submit (browser: Browser, path: string, fields: Record<string, string> = {}, site = 'same-origin'): Promise<Answer> {
  return browser.request(path, {
    method: 'POST',
    headers: { ...navigation, 'sec-fetch-site': site, 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams(fields).toString()
  })
}

const redirecting = { 'requireToken()': 'requireToken({ onMissing: \'redirect\' })' }

const isConnected = async (browser: Browser) => (await browser.get('/token')).json()['connected']

t.test('every heading names the version that is installed', (t) => {
  const { devDependencies }: { devDependencies: Record<string, string> } = JSON.parse(read('package.json'))
  const major = (name: string) => /\d+/.exec(devDependencies[name] ?? '')?.[0]
  const named = [...read(page).matchAll(/^## (@\S+)\n\nVersion (\d+)\b/gm)].map(([, name = '', version]) => [name, version] as const)
  const others = { NestJS: '@nestjs/core', Express: 'express' }
  for (const [heading, name] of Object.entries(others)) named.push([name, new RegExp(`^## ${heading}\n\nVersion (\\d+)\\b`, 'm').exec(read(page))?.[1]])
  for (const [, name = '', version] of read(page).matchAll(/(@fastify\/[\w-]+|fastify-type-provider-zod) (\d+)\b/g)) named.push([name, version])
  t.ok(named.length > 12)
  for (const [name, version] of named) t.equal(version, major(name), name)
  t.end()
})

t.test('helmet: connecting works, and a page of the plugin keeps a policy of its own', async (t) => {
  const { browser, webflow } = await play(t, '@fastify/helmet', { after: (fastify) => { fastify.get('/', async () => 'Home') } })
  t.match((await browser.navigate('/')).headers['content-security-policy'], 'form-action \'self\' https://webflow.com')
  t.equal((await connect(browser, webflow)).statusCode, 303)
  const failed = await browser.navigate(callbackPath)
  t.equal(failed.statusCode, 400)
  t.match(failed.headers['content-security-policy'], /^default-src 'none'/)
  t.notMatch(failed.headers['content-security-policy'], 'webflow.com')
})

t.test('csrf-protection: a form that disconnects needs its CSRF token, and a webhook needs none', async (t) => {
  const seen: unknown[] = []
  const { browser, webflow, fastify } = await play(t, '@fastify/csrf-protection', { options: { onWebhook: ({ triggerType }) => { seen.push(triggerType) } } })
  await connect(browser, webflow)
  const settings = await browser.navigate('/settings')
  const [, token = ''] = /name="_csrf" value="([^"]+)"/.exec(settings.body) ?? []
  const refused = await submit(browser, revokePath)
  t.equal(refused.statusCode, 403)
  t.match(refused.headers['content-type'], 'text/html', 'a person gets a page')
  t.equal(await isConnected(browser), true)
  t.equal((await submit(browser, revokePath, { _csrf: 'forged' })).statusCode, 403)
  t.equal((await submit(browser, revokePath, { _csrf: token }, 'cross-site')).statusCode, 403, 'the plugin still checks by itself')
  t.equal((await submit(browser, revokePath, { _csrf: token })).statusCode, 303)
  t.equal(await isConnected(browser), false)
  t.match(await webflow.deliver(fastify, { triggerType: 'form_submission', payload: {} }), { statusCode: 200 })
  t.strictSame(seen, ['form_submission'])
})

t.test('rate-limit: over the limit a browser gets a page and a program JSON', async (t) => {
  const { browser, webflow } = await play(t, '@fastify/rate-limit')
  t.equal((await connect(browser, webflow)).statusCode, 303)
  for (let count = 1; count < 10; count++) t.equal((await browser.navigate(authorizePath)).statusCode, 302)
  const person = await browser.navigate(authorizePath)
  t.equal(person.statusCode, 429)
  t.match(person.headers, { 'content-type': /^text\/html/, 'retry-after': /^\d+$/, 'x-ratelimit-limit': '10' })
  const program = await browser.get(authorizePath)
  t.equal(program.statusCode, 429)
  t.match(program.json(), { statusCode: 429, message: /^Rate limit exceeded/ })
  t.equal((await browser.get('/token')).headers['x-ratelimit-limit'], '100', 'other routes have the global limit')
})

t.test('cors: a page on another origin disconnects, and one of a stranger does not', async (t) => {
  const { browser, webflow } = await play(t, '@fastify/cors')
  await connect(browser, webflow)
  const origin = 'https://spa.example.com'
  const inject = (headers: Record<string, string>, method: NonNullable<InjectOptions['method']> = 'POST') => browser.app.inject({
    method, url: revokePath, headers: { host: 'app.example.com', 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty', cookie: [...browser.cookies].map((pair) => pair.join('=')).join('; '), ...headers }
  })
  const preflight = await inject({ origin, 'access-control-request-method': 'POST' }, 'OPTIONS')
  t.match(preflight.headers, { 'access-control-allow-origin': origin, 'access-control-allow-credentials': 'true', 'access-control-allow-methods': /POST/ })
  const foreign = await inject({ origin: 'https://evil.example.org', 'sec-fetch-site': 'cross-site' })
  t.equal(foreign.statusCode, 403)
  t.not(foreign.headers['access-control-allow-origin'], 'https://evil.example.org')
  const revoked = await inject({ origin, 'sec-fetch-site': 'same-site' })
  t.strictSame(revoked.json(), { revoked: true, upstream: 'revoked' })
  t.match(revoked.headers, { 'access-control-allow-origin': origin, 'access-control-allow-credentials': 'true' })
})

/** A sign-in and a sign-out of an app that keeps its user in a session. */
const accounts = (fastify: FastifyInstance) => {
  const sessionOf = (request: object) => Object(Reflect.get(request, 'session'))
  fastify.get<{ Params: { user: string } }>('/sign-in/:user', async (request) => {
    Reflect.apply(sessionOf(request).set, sessionOf(request), ['user', request.params.user])
    return {}
  })
  fastify.get('/sign-out', async (request) => {
    Reflect.apply(sessionOf(request).set, sessionOf(request), ['user', undefined])
    return {}
  })
}

for (const [index, name] of ['session', 'secure-session'].entries()) {
  t.test(`${name}: the token belongs to the user whom the session names, on every device`, async (t) => {
    process.env['SESSION_SECRET'] = randomBytes(32).toString('hex')
    process.env['SESSION_KEY'] = randomBytes(32).toString('base64')
    rememberSecrets(process.env['SESSION_SECRET'], process.env['SESSION_KEY'])
    const { browser, webflow, fastify } = await play(t, '@fastify/cookie and sessions', { index, after: accounts })
    const stranger = await browser.navigate(authorizePath)
    t.equal((await browser.get(await webflow.approve(String(stranger.location)))).json()['code'], 'WEBFLOW_OAUTH_USER_REQUIRED')

    await browser.get('/sign-in/ada')
    t.equal((await connect(browser, webflow)).statusCode, 303)
    t.equal(await isConnected(browser), true)
    const phone = new Browser(fastify)
    await phone.get('/sign-in/ada')
    t.equal(await isConnected(phone), true)
    await phone.get('/sign-in/grace')
    t.equal(await isConnected(phone), false)
    await browser.get('/sign-out')
    t.equal(await isConnected(browser), false)
    t.not(await fastify.webflowOAuth.getToken({ user: 'ada' }), null, 'and stays when the user signs out')
  })
}

t.test('auth: the guard is one of two ways to be let in', async (t) => {
  const currentUser: Surroundings['currentUser'] = async ({ headers }) => headers['x-user'] === 'ada' ? { id: 'ada' } : null
  const { browser, webflow } = await play(t, '@fastify/auth', { currentUser })
  const refused = await browser.get('/report')
  t.equal(refused.statusCode, 401)
  t.equal(refused.json()['code'], 'WEBFLOW_OAUTH_TOKEN_REQUIRED')
  t.strictSame((await browser.get('/report', { 'x-user': 'ada' })).json(), { connected: false })
  await connect(browser, webflow)
  t.strictSame((await browser.get('/report')).json(), { connected: true })
})

t.test('auth: a guard that redirects sends a browser to Webflow and back', async (t) => {
  const { browser, webflow } = await play(t, '@fastify/auth', { currentUser: async () => null, edits: redirecting })
  t.equal((await browser.get('/report')).statusCode, 401, 'a program gets an error')
  const begun = await browser.navigate('/report')
  t.equal(begun.statusCode, 302)
  const back = await browser.navigate(await webflow.approve(String(begun.location)))
  t.equal(back.location, 'https://app.example.com/report')
  t.strictSame((await browser.navigate('/report')).json(), { connected: true })
})

for (const [kind, edits] of [['a guard', {}], ['a guard that redirects', redirecting]] as const) {
  t.test(`websocket: ${kind} refuses a stranger before the upgrade, and a handler has the token`, async (t) => {
    const { browser, webflow, fastify } = await play(t, '@fastify/websocket', { edits })
    const address = await fastify.listen({ host: '127.0.0.1', port: 0 })
    const handshake = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': randomBytes(16).toString('base64') }
    const [{ statusCode }] = await once(get(`${address}/live`, { headers: handshake }), 'response')
    t.equal(statusCode, 401)

    await connect(browser, webflow)
    const socket = new WebSocket(`${address.replace('http', 'ws')}/live`, { headers: { cookie: [...browser.cookies].map((pair) => pair.join('=')).join('; ') } })
    const next = async () => JSON.parse((await once(socket, 'message'))[0].data)
    t.strictSame(await next(), { scope: ['sites:read', 'cms:read'] })
    const again = next()
    socket.send('again')
    t.strictSame(await again, { scope: ['sites:read', 'cms:read'] })
    await browser.request(revokePath, { method: 'POST' })
    const closed = once(socket, 'close')
    socket.send('again')
    t.equal((await closed)[0].code, 4001, 'a handler that asks anew learns that the token has gone')
  })
}

t.test('swagger: the documentation lists the routes of the app, and none of the plugin', async (t) => {
  const { browser, webflow, fastify } = await play(t, '@fastify/swagger')
  t.strictSame(Object.keys(fastify.swagger().paths ?? {}), ['/report', '/token'])
  t.equal((await connect(browser, webflow)).statusCode, 303)
  t.strictSame((await browser.get('/report')).json(), { sites: 1 })
})

t.test('zod: its compilers and the plugin do not disturb each other', async (t) => {
  const { browser, webflow, fastify } = await play(t, 'Zod', { options: { onWebhook: () => {} } })
  t.match(fastify.swagger().paths, { '/sites/{siteId}': { get: { parameters: [{ name: 'siteId', in: 'path' }] } } })
  t.notOk(Object.keys(fastify.swagger().paths ?? {}).some((path) => path.startsWith('/webflow')))
  const siteId = 'a'.repeat(24)
  const refused = await browser.get(`/sites/${siteId}`)
  t.equal(refused.statusCode, 401)
  t.equal(refused.json()['code'], 'WEBFLOW_OAUTH_TOKEN_REQUIRED', 'an error of the plugin has all its properties')
  t.equal((await connect(browser, webflow)).statusCode, 303)
  t.strictSame((await browser.get(`/sites/${siteId}`)).json(), { siteId })
  t.equal((await browser.get('/sites/short')).statusCode, 400)
  t.equal((await browser.get(callbackPath)).json()['code'], 'WEBFLOW_OAUTH_INVALID_CALLBACK')
  t.match((await browser.navigate(callbackPath)).headers['content-type'], 'text/html')
  t.match(await webflow.deliver(fastify, { triggerType: 'form_submission', payload: {} }), { statusCode: 200 })
  t.strictSame((await browser.request(revokePath, { method: 'POST' })).json(), { revoked: true, upstream: 'revoked' })
})

t.test('compress: it compresses the page of the plugin', async (t) => {
  const { browser, webflow } = await play(t, '@fastify/compress')
  const gzip = { 'accept-encoding': 'gzip' }
  t.equal((await connect(browser, webflow, { headers: gzip })).statusCode, 303)
  const plain = await browser.navigate(callbackPath)
  t.equal(plain.headers['content-encoding'], undefined)
  const { statusCode, headers, rawPayload } = await browser.app.inject({ url: callbackPath, headers: { host: 'app.example.com', ...navigation, ...gzip } })
  t.equal(statusCode, 400)
  t.equal(headers['content-encoding'], 'gzip')
  t.ok(rawPayload.length < plain.body.length / 2)
  t.equal(String(gunzipSync(rawPayload)), plain.body)
})

t.test('under-pressure: below its limits nobody notices it', async (t) => {
  const { browser, webflow } = await play(t, '@fastify/under-pressure')
  t.equal((await connect(browser, webflow)).statusCode, 303)
})

t.test('under-pressure: over the limit a browser gets a page and a program JSON, and the flow stays valid', async (t) => {
  // No heap is that small: from its first sample on, the app is under pressure.
  const { browser, webflow, fastify } = await play(t, '@fastify/under-pressure', { edits: { 'maxHeapUsedBytes: 500_000_000': 'maxHeapUsedBytes: 1, sampleInterval: 10' } })
  const back = await webflow.approve(String((await browser.navigate(authorizePath)).location))
  while (!fastify.isUnderPressure()) await new Promise((resolve) => setTimeout(resolve, 10))
  const person = await browser.navigate(back)
  t.equal(person.statusCode, 503)
  t.match(person.headers, { 'content-type': /^text\/html/, 'retry-after': '30' })
  t.match((await browser.get(authorizePath)).json(), { statusCode: 503, code: 'FST_UNDER_PRESSURE' })
  t.equal(webflow.requests.token.length, 0, 'the code is unspent')
})

/** A Webflow that sends the browser back to a program on this machine, and what that program needs. */
async function startSurroundings (t: Test, mount = '') {
  const port = await freePort()
  const home = `http://localhost:${port}${mount}`
  const redirectUri = `${home}/webflow/callback`
  const webflow = await startWebflow(t, {}, [redirectUri])
  return { port, home, redirectUri, webflow, options: { ...baseOptions(webflow), redirectUri } }
}

/** What every host of the plugin has to pass on as it is: the bytes of a webhook, and the form of a person who disconnects. */
async function disconnectsAndHearsWebhooks (t: Test, home: string, webflow: Simulator, visitor: Visitor, program: Program): Promise<void> {
  t.match(await webflow.deliver(`${home}/webflow/webhook`, { triggerType: 'form_submission', payload: { text: 'ä ✓' } }), { statusCode: 200 })
  await program.prints(/webhook: form_submission/)
  t.match(await webflow.deliver(`${home}/webflow/webhook`, { triggerType: 'forged', payload: {} }, { secret: 'x'.repeat(64) }), { statusCode: 401 })
  const headers = { ...visitor.cookiesFor(home), ...navigation, 'sec-fetch-site': 'same-origin', 'content-type': 'application/x-www-form-urlencoded' }
  const revoked = await request(`${home}/webflow/revoke`, { method: 'POST', headers, body: 'a=b' })
  await revoked.body.dump()
  t.equal(revoked.statusCode, 303)
  t.equal(webflow.requests.revoke.length, 1)
}

/** Asks until the program answers. */
async function untilUp (url: string, program: { printed: () => string }): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    try {
      return await new Visitor().open(url).then(() => {})
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
  throw new Error(`Nothing answers at ${url}:\n${program.printed()}`)
}

t.test('NestJS: a guard for all controllers leads to Webflow and back, and errors keep their status', async (t) => {
  const { port, home, options, webflow } = await startSurroundings(t)
  const program = runProgram(t, snippetOf('NestJS', { edits: { 3000: String(port) } }), options)
  await untilUp(`${home}${authorizePath}`, program)
  const visitor = new Visitor()
  await visitor.open(`${home}/report`)
  const page = await visitor.press('Approve')
  t.equal(page.url, `${home}/report`)
  t.strictSame(JSON.parse(page.text), { scope: ['sites:read', 'cms:read'] })
  const stranger = await new Visitor().open(`${home}/webflow/callback`)
  t.equal(stranger.status, 400)
  const refused = await fetch(`${home}/report`)
  t.equal(refused.status, 401)
  t.match(await refused.json(), { statusCode: 401, message: /not connected/i })
  await disconnectsAndHearsWebhooks(t, home, webflow, visitor, program)
})

t.test('Express: Fastify under a path leads to Webflow and back to the mounted URL', async (t) => {
  const { port, home, options, webflow } = await startSurroundings(t, '/api')
  const program = runProgram(t, snippetOf('Express', { edits: { 3000: String(port), 'https://app.example.com/api': home, 'app.listen': 'app.use(\'/parsed\', express.json(), (request, response) => fastify.routing(request, response))\napp.listen' } }), options)
  await untilUp(`${home}${authorizePath}`, program)
  const visitor = new Visitor()
  t.match((await visitor.open(`${home}/report`)).text, 'Approve')
  const page = await visitor.press('Approve')
  t.equal(page.url, `${home}/report`)
  t.strictSame(JSON.parse(page.text), { scope: ['sites:read', 'cms:read'] })
  t.equal((await fetch(`${home}/report`)).status, 401)
  t.equal((await fetch(`${home.replace('/api', '')}/report`)).status, 404, 'nothing of it is outside the path')
  await disconnectsAndHearsWebhooks(t, home, webflow, visitor, program)
  t.match(await webflow.deliver(`${home.replace('/api', '/parsed')}/webflow/webhook`, { triggerType: 'form_submission', payload: {} }), { statusCode: 401 }, 'a body parser before it takes the body away')
})

if (findRedis() !== null) {
  t.test('Serverless: a function whose instances share a Redis connects, and ends on SIGTERM', async (t) => {
    const redis = await startRedis()
    t.teardown(() => redis.stop())
    const { port, home, options, webflow } = await startSurroundings(t)
    // In place of Lambda's runtime: an HTTP server that turns each request into an event of version 2.0, for one instance after the other.
    const runtime = `
      const { createServer } = await import('node:http')
      const context = { callbackWaitsForEmptyEventLoop: true, awsRequestId: 'one' }
      createServer(async (request, response) => {
        const { pathname, search, searchParams } = new URL(request.url, 'http://localhost')
        const { cookie, ...headers } = request.headers
        const chunks = []
        for await (const chunk of request) chunks.push(chunk)
        const answer = await handler({
          version: '2.0', routeKey: '$default', rawPath: pathname, rawQueryString: search.slice(1), queryStringParameters: Object.fromEntries(searchParams), headers, cookies: cookie?.split('; ') ?? [],
          requestContext: { http: { method: request.method, path: pathname, sourceIp: '127.0.0.1' }, stage: '$default' },
          body: Buffer.concat(chunks).toString('base64'), isBase64Encoded: true
        }, context)
        response.writeHead(answer.statusCode, { ...answer.headers, ...(answer.cookies?.length ? { 'set-cookie': answer.cookies } : {}) })
        response.end(Buffer.from(answer.body, answer.isBase64Encoded ? 'base64' : 'utf8'))
      }).listen(Number(process.env.PORT))
      process.once('SIGTERM', () => { fastify.ready(() => setTimeout(() => process.exit(0), 400)) })`
    const start = (port: number) => runProgram(t, `${snippetOf('Serverless')}${runtime}`, options, { REDIS_URL: redis.url, PORT: String(port) })
    const first = start(port)
    const otherPort = await freePort()
    const second = start(otherPort)
    await untilUp(`${home}/webflow/callback`, first)
    await untilUp(`http://localhost:${otherPort}/webflow/callback`, second)

    const visitor = new Visitor()
    await visitor.open(`${home}${authorizePath}?returnTo=/report?of=1,2`)
    const page = await visitor.press('Approve')
    t.equal(page.url, `${home}/report?of=1,2`)
    t.strictSame(JSON.parse(page.text), { scope: ['sites:read', 'cms:read'] })
    const denied = await fetch(`${home}${callbackPath}?error=access_denied&error_description=No,%20thanks&state=forged`)
    t.match(await denied.json(), { code: 'WEBFLOW_OAUTH_STATE_INVALID' }, 'a comma does not make two parameters out of one')
    t.equal((await visitor.open(`http://localhost:${otherPort}/report`)).status, 200, 'the other instance knows the session')
    t.equal((await new Visitor().open(`${home}/report`)).status, 401)
    await disconnectsAndHearsWebhooks(t, home, webflow, visitor, first)
    for (const instance of [first, second]) {
      instance.kill('SIGTERM')
      t.equal(await instance.exited, 0, instance.printed())
    }
  })

  t.test('Cluster mode: whichever worker gets the callback, every worker knows the token', async (t) => {
    const redis = await startRedis()
    t.teardown(() => redis.stop())
    const { port, home, options } = await startSurroundings(t)
    const program = runProgram(t, snippetOf('Cluster mode', { edits: { 3000: String(port), 'availableParallelism()': '2' } }), options, { REDIS_URL: redis.url })
    await untilUp(`${home}/report`, program)
    const visitor = new Visitor({ reconnects: true })
    const ask = async (): Promise<{ worker: number, connected: boolean }> => JSON.parse((await visitor.open(`${home}/report`)).text)
    const workers = new Set<number>()
    while (workers.size < 2) workers.add((await ask()).worker)
    await visitor.open(`${home}${authorizePath}?returnTo=/report`)
    t.match(JSON.parse((await visitor.press('Approve')).text), { connected: true })
    const connected = new Set<number>()
    while (connected.size < 2) {
      const answer = await ask()
      t.equal(answer.connected, true)
      connected.add(answer.worker)
    }
    t.strictSame(connected, workers)
  })
} else if (process.env['REQUIRE_REDIS'] === '1') {
  t.fail('redis-server is on PATH, as REQUIRE_REDIS=1 demands')
}

if (findChromium() !== null) {
  t.test('helmet, in Chromium: a form may redirect to Webflow, and a popup sends its message to the page that opened it', async (t) => {
    const browser = await startChromium()
    t.teardown(() => browser.close())
    const port = await freePort()
    const home = `http://localhost:${port}`
    const redirectUri = `${home}/webflow/callback`
    const webflow = await startWebflow(t, {}, [redirectUri])
    /** The page of the app as it behaves under a snippet: resolves with whether its form gets to Webflow, once the popup has said what is expected. */
    const behave = async (t: Test, text: string, said: string) => {
      const fastify = Fastify({ logger: recordingLogger, forceCloseConnections: true })
      await runHere(t, text, { fastify, options: { ...baseOptions(webflow), redirectUri } })
      fastify.get('/', (_request, reply) => reply.type('text/html').send(`<!doctype html><link rel="icon" href="data:,"><title>Home</title>
        <form action="${authorizePath}"><button>Connect</button></form><a href="${authorizePath}?popup=1" target="_blank" rel="opener">In a popup</a>
        <p id="said">nothing</p><script src="/opener.js"></script>`))
      fastify.get('/opener.js', (_request, reply) => reply.type('text/javascript').send('addEventListener("message", ({ data }) => { document.querySelector("#said").textContent = data.outcome })'))
      await fastify.listen({ port })
      try {
        const { context, page, newTab } = await newPerson(t, browser)
        await page.goto(home)
        const opened = context.waitForEvent('page')
        await page.getByText('In a popup').click()
        const popup = await opened
        const closed = popup.waitForEvent('close')
        await popup.getByRole('button', { name: 'Approve' }).click()
        await closed
        await page.locator('#said', { hasText: said }).waitFor()
        const tab = await newTab()
        await tab.goto(home)
        const refused = tab.waitForEvent('console', (message) => message.text().includes('form-action')).then(() => 'refused')
        const arrived = tab.waitForURL(`${webflow.url}/**`).then(() => 'arrived', () => refused)
        await tab.getByRole('button', { name: 'Connect' }).click()
        const form = await Promise.race([refused, arrived])
        await Promise.allSettled([context.close(), refused, arrived])
        return form
      } finally {
        await fastify.close()
      }
    }
    const printed = snippetOf('@fastify/helmet', { edits: { 'https://webflow.com': webflow.url } })
    await t.test('both work with the snippet as printed', async (t) => { t.equal(await behave(t, printed, 'connected'), 'arrived') })
    await t.test('neither works with the defaults of helmet', async (t) => {
      const byDefault = printed.replace(/\(helmet, \{[^]*?\n\}\)/, '(helmet)')
      t.not(byDefault, printed)
      t.equal(await behave(t, byDefault, 'nothing'), 'refused')
    })
  })
} else if (process.env['REQUIRE_CHROMIUM'] === '1') {
  t.fail('chromium is on PATH, as REQUIRE_CHROMIUM=1 demands')
}

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { readdirSync, readFileSync } from 'node:fs'
import fastifyCookie from '@fastify/cookie'
import Fastify, { type FastifyInstance, type RouteOptions } from 'fastify'
import t from 'tap'
import { loadCookieCodec } from '../lib/http/cookies.ts'
import webflowOAuth from '../lib/index.ts'
import { isOwnRoute, ownRoute } from '../lib/http/own-route.ts'
import { assertNothingLeaked, baseOptions, connect, createApp, startWebflow } from './support/app.ts'
import { Browser } from './support/browser.ts'

const callbackPath = '/webflow/callback'

/** Everything in a value that can be changed and thus must not be shared: objects and lists at any depth. */
function changeable (value: unknown, found = new Set<object>()): Set<object> {
  if (typeof value === 'object' && value !== null && !found.has(value)) {
    found.add(value)
    for (const key of Reflect.ownKeys(value)) changeable(Reflect.get(value, key), found)
  }
  return found
}

/** Records the routes of the plugin as an `onRoute` hook of the app's sees them. */
const record = (app: FastifyInstance, routes: RouteOptions[]) => app.addHook('onRoute', (route) => { if (route.url.startsWith('/webflow/')) routes.push(route) })

t.test('the routes share no object with each other or with those of another app', async (t) => {
  const routes: RouteOptions[] = []
  await createApp(t, { before: (app) => record(app, routes) })
  await createApp(t, { before: (app) => record(app, routes) })
  t.equal(routes.length, 8)
  const seen = new Set<object>()
  for (const { url, ...route } of routes) {
    const objects = changeable(route)
    t.ok(objects.size >= 2, 'there are a schema and a config')
    for (const object of objects) t.notOk(seen.has(object), url)
    for (const object of objects) seen.add(object)
  }
})

t.test('an `onRoute` hook that changes one route changes no other route, in this app or another', async (t) => {
  const webflow = await startWebflow(t)
  await createApp(t, {
    before: (app) => {
      app.addHook('onRoute', (route) => {
        Object.assign(route.schema ?? {}, { querystring: { type: 'object', required: ['never'], properties: { never: { type: 'string' } } } })
        Object.assign(route.config ?? {}, { webflowToken: false, marked: true })
      })
    }
  })
  const marks: unknown[] = []
  const app = await createApp(t, {
    webflow,
    before: (app) => {
      app.addHook('onRoute', (route) => { if (route.url === '/webflow/revoke') Object.assign(route.config ?? {}, { marked: true }) })
      app.addHook('preHandler', async ({ routeOptions }) => { marks.push(Reflect.get(routeOptions.config, 'marked')) })
    }
  })
  const browser = new Browser(app)
  t.equal((await connect(browser, webflow)).statusCode, 303)
  t.strictSame((await browser.request('/webflow/revoke', { method: 'POST' })).json(), { revoked: true, upstream: 'revoked' })
  t.strictSame(marks, [undefined, undefined, true])
})

t.test('API documentation does not list the routes', async (t) => {
  const routes: RouteOptions[] = []
  await createApp(t, { before: (app) => record(app, routes) })
  t.strictSame(routes.map(({ method, url, schema }) => [method, url, Reflect.get(Object(schema), 'hide')]), [
    [['GET', 'HEAD'], '/webflow/authorize', true], ['GET', callbackPath, true], ['HEAD', callbackPath, true], ['POST', '/webflow/revoke', true]
  ])
})

t.test('`isOwnRoute` recognises the routes of all instances, and no other route', async (t) => {
  const seen: Array<[string, boolean]> = []
  const app = await createApp(t, {
    before: (app) => { app.addHook('onRequest', async (request) => { seen.push([`${request.method} ${request.url}`, isOwnRoute(request)]) }) },
    after: (app) => { app.get('/copy', { config: { [ownRoute]: true } }, async () => ({})) }
  })
  const browser = new Browser(app)
  await browser.get('/webflow/authorize')
  await browser.request('/webflow/authorize', { method: 'HEAD' })
  await browser.get(callbackPath)
  await browser.request(callbackPath, { method: 'HEAD' })
  await browser.request('/webflow/revoke', { method: 'POST' })
  await browser.get('/copy')
  await browser.get('/token')
  await browser.get('/webflow/unknown')
  t.strictSame(seen, [
    ['GET /webflow/authorize', true], ['HEAD /webflow/authorize', true], [`GET ${callbackPath}`, true], [`HEAD ${callbackPath}`, true], ['POST /webflow/revoke', true],
    ['GET /copy', true], ['GET /token', false], ['GET /webflow/unknown', false]
  ])
  t.equal(ownRoute, Symbol.for('fastify-webflow-oauth.route'), 'every copy of the plugin finds the same symbol')
})

t.test('the plugin makes no second Fastify instance', async (t) => {
  const instances: unknown[] = []
  const count = (message: unknown) => { instances.push(Reflect.get(Object(message), 'fastify')) }
  subscribe('fastify.initialization', count)
  t.teardown(() => unsubscribe('fastify.initialization', count))
  const app = await createApp(t)
  t.strictSame(instances.length, 1)
  t.equal((await new Browser(app).get('/webflow/authorize')).statusCode, 302)
})

t.test('instrumentation that registers @fastify/cookie in every instance does not break the plugin', async (t) => {
  const instrument = (message: unknown) => {
    const { fastify } = Object(message)
    fastify.register(fastifyCookie, { hook: false })
  }
  subscribe('fastify.initialization', instrument)
  t.teardown(() => unsubscribe('fastify.initialization', instrument))
  const webflow = await startWebflow(t, {})
  const browser = new Browser(await createApp(t, { webflow }))
  t.equal((await connect(browser, webflow)).statusCode, 303)
  t.equal((await browser.get('/token')).json().connected, true)
})

t.test('loading the cookie parser does not change the instance', async (t) => {
  const cookies: unknown[] = []
  const app = await createApp(t, { before: (app) => { app.addHook('preHandler', async (request) => { cookies.push(Reflect.get(request, 'cookies')) }) } })
  await new Browser(app).get('/token', { cookie: 'a=b' })
  t.strictSame(cookies, [undefined], 'no hook reads cookies')
  t.strictSame(['parseCookie', 'serializeCookie', 'signCookie'].filter((name) => app.hasDecorator(name)), [])
  t.equal(app.hasRequestDecorator('cookies') || app.hasReplyDecorator('setCookie'), false)
  const one = await loadCookieCodec(app)
  t.not(one.parseCookie, (await loadCookieCodec(app)).parseCookie, 'each app has its own, which is freed with the app')
})

t.test('only the simulator runs Fastify: the plugin imports only its types', (t) => {
  const root = new URL('../lib/', import.meta.url)
  const paths = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.ts') && !path.startsWith('simulator'))
  t.ok(paths.length > 20)
  for (const path of paths) t.notMatch(readFileSync(new URL(path, root), 'utf8'), /^(?:import|export) (?!type ).* from 'fastify'|import\('fastify'\)/m, path)
  t.end()
})

t.test('`logLevel` and `logSerializers` of `register` apply to the routes of the plugin, and to no others', async (t) => {
  const lines: Array<Record<string, unknown>> = []
  const app = Fastify({ logger: { level: 'info', stream: { write: (line) => { lines.push(JSON.parse(line)) } } } })
  t.teardown(() => app.close())
  app.addHook('preHandler', async ({ log, url }) => { log.warn({ url }, 'seen') })
  await app.register(webflowOAuth, { ...baseOptions(null), logLevel: 'warn', logSerializers: { url: (url: string) => `serialized ${url}` } })
  app.get('/token', async () => ({}))
  lines.length = 0
  await new Browser(app).get('/webflow/authorize?returnTo=/sites')
  t.match(lines, [{ msg: 'seen', url: 'serialized /webflow/authorize' }])
  t.equal(lines.length, 1)
  await new Browser(app).get('/token?a=b')
  t.match(lines.slice(1), [{ msg: 'incoming request' }, { msg: 'seen', url: '/token?a=b' }, { msg: 'request completed' }])
})

t.test('`prefix` of `register` is still refused', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await t.rejects(async () => { await app.register(webflowOAuth, { ...baseOptions(null), prefix: '/webflow' }) }, { code: 'WEBFLOW_OAUTH_INVALID_OPTION', message: /`prefix`/ })
})

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

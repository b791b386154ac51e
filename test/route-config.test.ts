import rateLimit from '@fastify/rate-limit'
import Fastify, { type FastifyInstance, type RouteOptions } from 'fastify'
import t from 'tap'
import webflowOAuth, { type RouteConfig } from '../lib/index.ts'
import { isOwnRoute, ownRoute } from '../lib/http/own-route.ts'
import { assertNothingLeaked, baseOptions, connect, createApp, startWebflow } from './support/app.ts'
import { Browser, navigation } from './support/browser.ts'

/** The plugin's routes by method and path, each with its config, as an `onRoute` hook of the app sees them. */
function recordConfigs (app: FastifyInstance, configs: Map<string, object>): void {
  app.addHook('onRoute', ({ method, url, config = {} }: RouteOptions) => { if (url.startsWith('/webflow/')) configs.set(`${String(method)} ${url}`, config) })
}

const member = (value: unknown, ...path: string[]): unknown => path.reduce((found, name) => Reflect.get(Object(found), name), value)

t.test('with @fastify/rate-limit each route has a limit of its own, and so has HEAD', async (t) => {
  const webflow = await startWebflow(t)
  const app = await createApp(t, {
    webflow,
    options: { routeConfig: { authorize: { rateLimit: { max: 3 } }, callback: { rateLimit: { max: 2 } }, revoke: { rateLimit: { max: 1, timeWindow: '1 hour' } } } },
    before: async (app) => { await app.register(rateLimit, { global: false }) }
  })
  const browser = new Browser(app)
  t.equal((await connect(browser, webflow)).statusCode, 303)
  t.equal((await browser.request('/webflow/authorize', { method: 'HEAD' })).statusCode, 302)
  t.equal((await browser.navigate('/webflow/authorize')).statusCode, 302)
  const refused = await browser.navigate('/webflow/authorize')
  t.equal(refused.statusCode, 429)
  t.match(refused.headers, { 'retry-after': /^(?:59|60)$/, 'x-ratelimit-limit': '3', 'content-type': /^text\/html/ })
  t.equal((await browser.request('/webflow/authorize', { method: 'HEAD' })).statusCode, 429)

  t.equal((await browser.get('/webflow/callback')).statusCode, 400)
  const program = await browser.get('/webflow/callback')
  t.equal(program.statusCode, 429)
  t.match(program.json(), { statusCode: 429, message: /^Rate limit exceeded/ })
  for (const status of [404, 404, 429]) t.equal((await browser.request('/webflow/callback', { method: 'HEAD' })).statusCode, status)

  const revoked = await browser.request('/webflow/revoke', { method: 'POST', headers: { 'sec-fetch-site': 'same-origin' } })
  t.match(revoked.headers, { 'x-ratelimit-limit': '1', 'x-ratelimit-reset': /^(?:3599|3600)$/ })
  t.strictSame(revoked.json(), { revoked: true, upstream: 'revoked' })
  t.equal((await browser.request('/webflow/revoke', { method: 'POST', headers: navigation })).statusCode, 429)
  t.equal((await browser.get('/token')).statusCode, 200, 'the routes of the app have no limit')
})

t.test('`rateLimit: false` exempts a route from a limit for the whole app', async (t) => {
  const app = await createApp(t, {
    options: { routeConfig: { authorize: { rateLimit: false } } },
    before: async (app) => { await app.register(rateLimit, { max: 1 }) }
  })
  const browser = new Browser(app)
  const statuses = async (path: string) => [(await browser.get(path)).statusCode, (await browser.get(path)).statusCode]
  t.strictSame(await statuses('/webflow/authorize'), [302, 302])
  t.strictSame(await statuses('/webflow/callback'), [400, 429])
})

t.test('a callback that a rate limit refuses leaves its flow unharmed', async (t) => {
  const webflow = await startWebflow(t)
  let isOpen = false
  const app = await createApp(t, {
    webflow,
    options: { routeConfig: { callback: { rateLimit: { max: 0, allowList: () => isOpen } } } },
    before: async (app) => { await app.register(rateLimit, { global: false }) }
  })
  const browser = new Browser(app)
  const { location } = await browser.navigate('/webflow/authorize')
  const back = await webflow.approve(String(location))
  t.equal((await browser.navigate(back)).statusCode, 429)
  isOpen = true
  t.equal((await browser.navigate(back)).statusCode, 303)
})

t.test('each route gets a config of its own: plain objects and lists are copied, functions and instances are not', async (t) => {
  class Limiter {}
  const limiter = new Limiter()
  const check = () => true
  const mark = Symbol('mark')
  const shared = { list: [{ deep: 1 }], limiter, check, when: new Date(0), bare: Object.assign(Object.create(null), { x: 1 }), [mark]: 'symbol', nothing: undefined }
  const circular: { self?: object, text: string } = { text: 'a' }
  circular.self = circular
  const named: unknown = JSON.parse('{ "__proto__": { "polluted": true } }')
  const config = { shared, again: shared, circular, named }
  const routeConfig: RouteConfig = { authorize: config, callback: config, revoke: undefined }
  const configs = [new Map<string, object>(), new Map<string, object>()]
  for (const seen of configs) await createApp(t, { options: { routeConfig }, before: (app) => { recordConfigs(app, seen) } })

  const all = configs.flatMap((seen) => ['GET,HEAD /webflow/authorize', 'GET /webflow/callback', 'HEAD /webflow/callback'].map((name) => seen.get(name)))
  t.equal(configs[0]?.size, 4)
  t.equal(member(configs[0]?.get('POST /webflow/revoke'), 'shared'), undefined)
  for (const one of all) {
    t.strictSame(member(one, 'shared', 'list'), [{ deep: 1 }])
    t.equal(member(one, 'shared', 'limiter'), limiter)
    t.equal(member(one, 'shared', 'check'), check)
    t.equal(member(one, 'shared', 'when'), shared.when)
    t.equal(Object.getPrototypeOf(member(one, 'shared', 'bare')), null)
    t.equal(Reflect.get(Object(member(one, 'shared')), mark), 'symbol')
    t.ok(Object.hasOwn(Object(member(one, 'shared')), 'nothing'))
    t.equal(member(one, 'again'), member(one, 'shared'), 'one object stays one')
    t.equal(member(one, 'circular', 'self'), member(one, 'circular'))
    t.equal(member(one, 'named', 'polluted'), undefined)
    t.strictSame(Object.keys(Object(member(one, 'named'))), ['__proto__'])
  }
  for (const path of [['shared'], ['shared', 'list'], ['shared', 'list', '0'], ['shared', 'bare'], ['circular']]) {
    t.equal(new Set([member(config, ...path), ...all.map((one) => member(one, ...path))]).size, all.length + 1, path.join('.'))
  }
})

t.test('changes after `register` change no route, and a frozen config may be changed by an `onRoute` hook', async (t) => {
  const configs = new Map<string, object>()
  const limit = { max: 1 }
  const routeConfig = Object.freeze({ authorize: Object.freeze({ limit }), callback: Object.freeze({ limit: Object.freeze({ max: 2 }) }) })
  const app = Fastify()
  t.teardown(() => app.close())
  app.addHook('onRoute', ({ config }) => { Object.assign(Object(member(config, 'limit')), { seen: true }) })
  recordConfigs(app, configs)
  await app.register(webflowOAuth, { ...baseOptions(null), routeConfig })
  limit.max = 5
  await app.ready()
  t.strictSame(member(configs.get('GET,HEAD /webflow/authorize'), 'limit'), { max: 1, seen: true })
  t.strictSame(member(configs.get('GET /webflow/callback'), 'limit'), { max: 2, seen: true })
  t.strictSame(limit, { max: 5 })
})

t.test('a handler sees the config of its route, and the mark of the plugin\'s routes cannot be taken off', async (t) => {
  const seen: unknown[] = []
  const app = await createApp(t, {
    options: { routeConfig: { authorize: { label: 'begin', ...Object.fromEntries([[ownRoute, false]]) } } },
    before: (app) => { app.addHook('onRequest', async (request) => { seen.push([member(request.routeOptions.config, 'label'), isOwnRoute(request)]) }) }
  })
  const browser = new Browser(app)
  await browser.get('/webflow/authorize')
  await browser.request('/webflow/authorize', { method: 'HEAD' })
  await browser.get('/webflow/callback')
  await browser.get('/token')
  t.strictSame(seen, [['begin', true], ['begin', true], [undefined, true], [undefined, false]])
})

t.test('`register` refuses a config for an unknown route, a config that is no object, and one with `webflowToken`, and names it', async (t) => {
  const rows: ReadonlyArray<readonly [routeConfig: unknown, message: RegExp]> = [
    [{ callbacks: {} }, /^`routeConfig\.callbacks` is not a route of the plugin: the routes are authorize, callback, revoke, webhook, designer\.$/],
    [{ toString: {} }, /^`routeConfig\.toString` is not a route/],
    ...[null, 5, 'x', [], () => ({}), new Map()].map((authorize) => [{ authorize }, /^`routeConfig\.authorize` must be an object/] as const),
    ...[true, false, undefined].map((webflowToken) => [{ revoke: { webflowToken } }, /^`routeConfig\.revoke` must not hold `webflowToken`: /] as const)
  ]
  for (const [routeConfig, message] of rows) {
    await t.rejects(async () => { await Fastify().register(webflowOAuth, Object.assign(baseOptions(null), { routeConfig })) }, { code: 'WEBFLOW_OAUTH_INVALID_OPTION', message })
  }
})

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

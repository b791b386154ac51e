import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { MockAgent } from 'undici'
import webflowOAuth, { MemoryStore, WebflowOAuthError, type Region, type WebflowOAuthOptions } from '../lib/index.ts'
import { resolveOptions } from '../lib/options/resolve.ts'
import { createSimulator } from '../lib/simulator/index.ts'
import { assertNothingLeaked, baseOptions, clientId, clientSecret, connect, createApp, redirectUri, scope, secret, startWebflow } from './support/app.ts'
import { Browser, navigation } from './support/browser.ts'
import { recordingLogger, rememberSecrets } from './support/logs.ts'

/** Options for the plugin, right or wrong. */
const withBase = (options: Record<string, unknown>) => Object.assign(baseOptions(null), options)
const settingsOf = (options: Record<string, unknown> = {}, prefix = '') => resolveOptions(withBase(options), prefix)

/** Registers the plugin with wrong options; resolves with the error. */
async function refusalOf (options: Record<string, unknown>, prefix?: string): Promise<Error> {
  const app = Fastify({ logger: recordingLogger })
  try {
    if (prefix === undefined) await app.register(webflowOAuth, withBase(options))
    else await app.register(async (inner) => { await inner.register(webflowOAuth, withBase(options)) }, { prefix })
    await app.ready()
  } catch (error) {
    return error instanceof Error ? error : new Error('something that is no Error was thrown')
  } finally {
    await app.close()
  }
  return new Error('the options were taken')
}

/** Tests that an error is that of a wrong option: it names the option and the remedy, and no secret. */
function assertRefused (t: Test, error: Error, option: string, remedy: RegExp, label: string): void {
  t.ok(error instanceof WebflowOAuthError, `${label} is refused`)
  t.match(error, { code: 'WEBFLOW_OAUTH_INVALID_OPTION', statusCode: 500 }, `${label} has the code`)
  t.ok(error.message.startsWith(`\`${option}\` `), `${label} is refused by name`)
  t.match(error.message, remedy, `${label} is refused with a remedy`)
  t.match(error.message, /[^.?][.?]$/, `${label} is refused in a sentence`)
  t.notOk([clientSecret, secret, ...moreSecrets].some((value) => error.message.includes(value)), `${label} is refused without a secret`)
}

/** An app whose plugin stands in a scope with a prefix. */
async function createScopedApp (t: Test, prefix: string, options: Record<string, unknown>): Promise<FastifyInstance> {
  const app = Fastify({ logger: recordingLogger })
  t.teardown(() => app.close())
  app.register(async (inner) => { await inner.register(webflowOAuth, withBase(options)) }, { prefix })
  await app.ready()
  return app
}

const shortSecret = 'k7Qw-'.repeat(6)
const otherSecret = 'M3zX_'.repeat(8)
const blankSecret = `${'p9Lr.'.repeat(8)}\n`
const moreSecrets = [shortSecret, otherSecret, blankSecret.trim()]
rememberSecrets(...moreSecrets)

t.test('a secret that is given as a scope is refused, and the message does not repeat it', async (t) => {
  for (const value of [clientSecret, 'a-secret-of-the-app-of-32-bytes-or-more']) {
    const app = Fastify()
    const error: unknown = await app.register(webflowOAuth, { ...baseOptions(null), secret: 'a-secret-of-the-app-of-32-bytes-or-more', scope: ['sites:read', value] }).then(() => null, (thrown: unknown) => thrown)
    t.match(error, { code: 'WEBFLOW_OAUTH_INVALID_OPTION', message: /`scope` holds one of the app's secrets/ })
    t.notMatch(String(error), value)
  }
})

t.test('every option that is left out has its default', async (t) => {
  const { store, secrets, paths, returnRules, popupOrigins, ...settings } = settingsOf()
  t.ok(store instanceof MemoryStore)
  t.equal(secrets.length, 1)
  t.strictSame(paths.routes, { authorize: '/webflow/authorize', callback: '/webflow/callback', revoke: '/webflow/revoke', designer: null, webhook: null })
  t.equal(paths.publicPrefix, '')
  t.equal(paths.authorizeUrl, 'https://app.example.com/webflow/authorize')
  t.strictSame([...returnRules.allowedOrigins], ['https://app.example.com'])
  t.strictSame(popupOrigins, ['https://app.example.com'])
  t.strictSame(settings, {
    clientId,
    clientSecret,
    redirectUri,
    host: 'app.example.com',
    secure: true,
    scope,
    region: 'us',
    revokeMethod: 'POST',
    routeConfig: {},
    successRedirect: 'https://app.example.com/',
    failureRedirect: null,
    revokeRedirect: 'https://app.example.com/',
    signInRedirect: null,
    onMissingState: 'restart',
    cookieName: 'webflow',
    sessionMaxAge: 30 * 24 * 60 * 60,
    flowMaxAge: 900,
    timeout: 10_000,
    storeTimeout: 1000,
    dispatcher: null,
    introspect: true,
    designer: null,
    endpoints: {
      authorize: 'https://webflow.com/oauth/authorize',
      token: 'https://api.webflow.com/oauth/access_token',
      revoke: 'https://webflow.com/oauth/revoke_authorization',
      introspect: 'https://api.webflow.com/v2/token/introspect',
      authorizedBy: 'https://api.webflow.com/v2/token/authorized_by',
      resolve: 'https://api.webflow.com/beta/token/resolve'
    },
    webhookSecrets: [clientSecret],
    webhookMaxAge: 300,
    onWebhook: undefined,
    identify: undefined,
    beforeStore: undefined,
    onSuccess: undefined,
    onFailure: undefined,
    onRevoke: undefined,
    onDisconnect: undefined
  })
})

t.test('an option that is undefined counts as left out', async (t) => {
  const names = ['region', 'store', 'authorizePath', 'revokePath', 'revokeMethod', 'callbackPath', 'routeConfig', 'successRedirect', 'failureRedirect', 'revokeRedirect', 'signInRedirect', 'allowedOrigins',
    'onMissingState', 'identify', 'cookieName', 'sessionMaxAge', 'flowMaxAge', 'timeout', 'storeTimeout', 'dispatcher', 'introspect', 'endpoints', 'onWebhook', 'webhookPath', 'webhookSecret', 'webhookMaxAge', 'beforeStore', 'onSuccess', 'onFailure', 'onRevoke', 'onDisconnect']
  t.strictSame(JSON.stringify(settingsOf(Object.fromEntries(names.map((name) => [name, undefined])))), JSON.stringify(settingsOf()))
})

t.test('with `identify` a token lives for a year by default', async (t) => {
  t.equal(settingsOf({ identify: () => null }).sessionMaxAge, 365 * 24 * 60 * 60)
  t.equal(settingsOf({ identify: () => null, sessionMaxAge: 60 }).sessionMaxAge, 60)
})

t.test('the caller\'s options object is not changed, and later changes to it have no effect', async (t) => {
  const list = ['sites:read', 'cms:read', 'sites:read']
  const key = Buffer.alloc(32, 7)
  const options = Object.freeze(withBase({ scope: list, secret: [key] }))
  const settings = resolveOptions(options, '')
  list.push('cms:write')
  key.fill(0)
  t.strictSame(settings.scope, ['sites:read', 'cms:read'], 'each scope once, in the order given')
  t.equal(settings.secrets[0]?.equals(Buffer.alloc(32, 7)), true)
  t.throws(() => Object.assign(settings, { timeout: 1 }), TypeError)
})

type Row = readonly [label: string, value: unknown, remedy: RegExp]

const missing: Row[] = [['undefined', undefined, /is missing/], ['null', null, /is missing/], ['an empty string', '', /is missing/]]
const noPath: Row[] = [
  ...['', 'webflow', '//webflow', '/a?b', '/a#b', '/a\\b', '/a b', '/a\n', 'https://app.example.com/a'].map((value): Row => [JSON.stringify(value), value, /must be a path such as \/webflow\/authorize: one slash at the beginning, and no query, fragment, backslash or white space/]),
  ...[5, {}, ['/a']].map((value): Row => [JSON.stringify(value), value, /must be a path/]),
  ...['/a/../b', '/./a', '/a/%2e%2e/b', '/a/.'].map((value): Row => [value, value, /must not contain `\.` or `\.\.` segments/]),
  ...['/a%2Fb', '/a%3ab', '/a%25b', '/%C3', '/a%', '/a%ZZ'].map((value): Row => [value, value, /has a percent-encoded character in its path that Fastify's router cannot match: choose a path without it/])
]
const noTarget: Row[] = ['', 'welcome', '//evil.example', '/\\evil.example', '\\\\evil.example', '/a b', '/a\tb', '/\n/evil.example', 'javascript:alert(1)', 'JaVaScRiPt:alert(1)', 'data:text/html,x',
  'blob:https://app.example.com/x', 'ftp://app.example.com/', 'https:evil.example', 'https:///', 'https://', 'https://user@evil.example/', 'https://:pw@evil.example/', 'mailto:a@example.com', 5, {}]
  .map((value) => [JSON.stringify(value), value, /must be a path, such as \/welcome, or an absolute http\(s\) URL/])
const ownRoutes: Row[] = ['/webflow/authorize', '/webflow/callback', '/webflow/revoke?x=1', '/webflow//authorize', '/webflow/Authorize/', '/webflow/%61uthorize', '/x/../webflow/callback', 'https://app.example.com/webflow/revoke', 'HTTPS://APP.example.com:443/webflow/authorize']
  .map((value) => [value, value, /leads to one of the plugin's own routes: set it to another path/])
const noDuration: Row[] = [0, -1, 1.5, NaN, Infinity, -Infinity, '60', true, {}, 2 ** 31, 10n]
  .map((value) => [String(value), value, /must be a whole number of (?:milli)?seconds, from 1 to \d+/])
const noFunction: Row[] = [null, 'f', {}, 5, true].map((value) => [JSON.stringify(value), value, /must be a function/])

const wrong: Record<string, readonly Row[]> = {
  clientId: [
    ...missing.map(([label, value]): Row => [label, value, /is WEBFLOW_CLIENT_ID set\?/]),
    ['a number', 5, /must be a string/],
    ['a list', [clientId], /must be a string/],
    ['a trailing line break', `${clientId}\n`, /does WEBFLOW_CLIENT_ID end with a line break\?/],
    ['a blank', 'a b', /holds white space/],
    ['a character that is not ASCII', 'clïent', /not ASCII/]
  ],
  clientSecret: [
    ...missing.map(([label, value]): Row => [label, value, /is WEBFLOW_CLIENT_SECRET set\?/]),
    ['a number', 5, /must be a string/],
    ['a Buffer', Buffer.from(otherSecret), /must be a string/],
    ['a trailing line break', blankSecret, /does WEBFLOW_CLIENT_SECRET end with a line break\?/]
  ],
  redirectUri: [
    ...missing.map(([label, value]): Row => [label, value, /set it to the redirect URI that is registered with Webflow, such as https:/]),
    ...['/webflow/callback', 'app.example.com/webflow/callback', '//app.example.com/cb', 'ftp://app.example.com/cb', 'javascript:alert(1)', 'https:app.example.com/cb', 'https://app.example.com\\cb', 'https://app.example.com/c b', ' https://app.example.com/cb', 'https://app.example.com/cb\n', 'https://', 'https://app.example.com:99999/cb']
      .map((value): Row => [JSON.stringify(value), value, /must be an absolute http\(s\) URL, such as https:/]),
    ['a number', 5, /must be an absolute http\(s\) URL/],
    ['a URL object', new URL(redirectUri), /must be an absolute http\(s\) URL/],
    ['a URL in another scheme', `app:${redirectUri}`, /must be an absolute http\(s\) URL/],
    ['a fragment', `${redirectUri}#top`, /must not have a fragment/],
    ['an empty fragment', `${redirectUri}#`, /must not have a fragment/],
    ['a user name', 'https://ada@app.example.com/cb', /must not hold a user name or a password/],
    ['a password', `https://:${otherSecret}@app.example.com/cb`, /must not hold a user name or a password/],
    ['an empty user name', 'https://@app.example.com/cb', /must not hold a user name or a password/],
    ...['http://app.example.com/cb', 'http://localhost.example.com/cb', 'http://notlocalhost/cb', 'http://128.0.0.1/cb', 'http://127.0.0.1.example.com/cb', 'http://[::2]/cb', 'http://0.0.0.0/cb', 'http://10.0.0.1/cb']
      .map((value): Row => [value, value, /must be https, unless its host is localhost or another loopback address/]),
    ...['code', 'state', 'error', 'error_description'].map((name): Row => [`a parameter ${name}`, `${redirectUri}?a=b&${name}=`, /Webflow adds a parameter of that name/])
  ],
  scope: [
    ...[undefined, null, '', 'sites:read', 5, {}, []].map((value): Row => [String(JSON.stringify(value)), value, /must be a list of at least one scope, such as \['sites:read'\]/]),
    ...[['sites:read cms:read'], ['sites:read,cms:read'], [''], [5], [null], ['sites:read', undefined], ['sites:read '], [' sites:read'], ['a b:read'], [['sites:read']], ['sites:read\n'], ['sites:"read"'], ['sites\\read'], ['sites:réad'], ['\x7f'], ['\0'], ['s'.repeat(101)]]
      .map((value): Row => [JSON.stringify(value), value, /a scope is a string of at most 100 characters without white space, commas, quotes and backslashes, such as 'sites:read'/])
  ],
  secret: [
    ...missing.map(([label, value]): Row => [label, value, /is APP_SECRET set\? .*openssl rand -base64 32/]),
    ['an empty list', [], /is an empty list: make one with `openssl/],
    ['31 bytes', 's'.repeat(31), /must have at least 32 bytes: make one with `openssl/],
    ['a short one', shortSecret, /at least 32 bytes/],
    ['a short Buffer', Buffer.from(shortSecret), /at least 32 bytes/],
    ['a short secret further down the list', [otherSecret, shortSecret], /at least 32 bytes/],
    ['an empty entry further down the list', [otherSecret, ''], /is a list with an empty or missing entry: is an environment variable not set\?/],
    ['a missing entry further down the list', [otherSecret, undefined], /is a list with an empty or missing entry/],
    ['a number', 5, /must be a string or a Buffer/],
    ['a list in a list', [[otherSecret]], /must be a string or a Buffer/],
    ['an object', { first: otherSecret }, /must be a string or a Buffer/],
    ['the client secret', clientSecret, /must not be the client secret, because Webflow signs webhooks with that one/],
    ['the client secret as a Buffer', Buffer.from(clientSecret), /must not be the client secret/],
    ['the client secret further down the list', [otherSecret, clientSecret], /must not be the client secret/]
  ],
  store: [null, 'redis', 5, [], {}, { get () {}, set () {}, delete () {} }, { get: 1, set: 1, delete: 1, find: 1 }, MemoryStore]
    .map((value, index) => [`store ${index}`, value, /must be a TokenStore, an object with the methods `get`, `set`, `delete` and `find`: for Redis, pass new RedisStore\(\{ client \}\)/]),
  authorizePath: [...noPath, ['false', false, /must be a path/]],
  callbackPath: [...noPath, ['false', false, /must be a path/]],
  revokePath: [...noPath, ['true', true, /must be a path/], ['null', null, /must be a path/]],
  region: ['EU', 'us-east', '', 5, ['eu']].map((value) => [JSON.stringify(value), value, /must be one of us, eu/]),
  routeConfig: ['x', 5, [], new Map(), () => ({})].map((value) => [String(value), value, /must be an object. Its members may be authorize, callback, revoke/]),
  revokeMethod: ['GET', 'post', 'PUT', '', 5, ['POST']].map((value) => [JSON.stringify(value), value, /must be one of POST, DELETE/]),
  successRedirect: [...noTarget, ...ownRoutes],
  failureRedirect: [...noTarget, ...ownRoutes, ['null', null, /must be a path/]],
  revokeRedirect: [...noTarget, ...ownRoutes],
  allowedOrigins: [
    ...['https://spa.example.com', null, {}, 5, new Set(['https://spa.example.com'])].map((value, index): Row => [`list ${index}`, value, /must be a list of origins, such as \['https:/]),
    ...['', '*', 'null', 'spa.example.com', '//spa.example.com', 'https://spa.example.com/path', 'https://spa.example.com/?a', 'https://spa.example.com?', 'https://spa.example.com#', 'https://ada@spa.example.com', 'https://spa.example.com\\', 'https://spa.example.com ', 'https://a.example https://b.example', 'ftp://spa.example.com', 'blob:https://spa.example.com', 'file:///', 'https://', 'https://spa.example.com:x', 5, null]
      .map((value): Row => [JSON.stringify(value), [value], /an origin has only scheme, host and port, such as https:/])
  ],
  onMissingState: ['ignore', '', 'RESTART', true, false].map((value) => [JSON.stringify(value), value, /must be one of restart, reject/]),
  cookieName: [['""', '', /is empty: is an environment variable set to nothing/], ...['a b', 'a;b', 'a=b', 'a,b', 'a"b', 'a\n', 'ä', '__Host-webflow', '__host-webflow', '__Secure-webflow', 'webflow_restart', 'webflow_flow', 'webflow_flow_x', 'x'.repeat(65), 5, true]
    .map((value): Row => [JSON.stringify(value), value, /must be a cookie name of at most 64 characters, without `__Host-`/])],
  sessionMaxAge: noDuration,
  flowMaxAge: noDuration,
  timeout: noDuration,
  storeTimeout: noDuration,
  dispatcher: [null, 'http://proxy', {}, { dispatch: () => true }, { request: true }, () => {}].map((value, index) => [`dispatcher ${index}`, value, /must be a Dispatcher of undici 5 to 8, with the method `request`/]),
  endpoints: ['https://webflow.com', [], 5, true].map((value) => [JSON.stringify(value), value, /must be an object of URLs\. Its members may be authorize, token, revoke, introspect, authorizedBy and resolve/]),
  introspect: [null, 'false', 0, {}].map((value) => [JSON.stringify(value), value, /must be one of true, false/]),
  designer: [
    ...[null, true, 'https://x.webflow-ext.com', []].map((value): Row => [JSON.stringify(value), value, /must be an object with the member `origins`/])
  ],
  identify: noFunction,
  beforeStore: noFunction,
  onSuccess: noFunction,
  onFailure: noFunction,
  onRevoke: noFunction,
  onDisconnect: noFunction
}

for (const [option, rows] of Object.entries(wrong)) {
  t.test(`a wrong ${option} fails register by name`, async (t) => {
    for (const [label, value, remedy] of rows) assertRefused(t, await refusalOf({ [option]: value }), option, remedy, label)
  })
}

t.test('an unknown endpoint, or one that is not a URL, fails register by name', async (t) => {
  for (const name of ['authorize', 'token', 'revoke', 'introspect', 'authorizedBy', 'resolve']) {
    for (const value of ['', '/oauth', 'webflow.com/oauth', 'ftp://webflow.com/', 'javascript:alert(1)', 'https://', 'https://webflow.com/#x', 'https://ada@webflow.com/', 'https://webflow.com/ x', 'https://webflow.com\\', 5, {}, new URL('https://webflow.com/')]) {
      const error = await refusalOf({ endpoints: { [name]: value } })
      assertRefused(t, error, `endpoints.${name}`, /must be an absolute http\(s\) URL without fragment and userinfo/, `${name}: ${JSON.stringify(value)}`)
    }
  }
  assertRefused(t, await refusalOf({ endpoints: { tokens: 'https://webflow.com/' } }), 'endpoints.tokens', /the endpoints are authorize, token, revoke, introspect, authorizedBy and resolve/, 'an unknown endpoint')
})

t.test('an endpoint that is left out defaults to Webflow\'s, and a token is sent only to the origin that issued it', async (t) => {
  const { endpoints } = settingsOf({ endpoints: { token: 'http://127.0.0.1:1/token?tenant=1', revoke: undefined } })
  t.strictSame(endpoints, {
    authorize: 'https://webflow.com/oauth/authorize',
    token: 'http://127.0.0.1:1/token?tenant=1',
    revoke: 'https://webflow.com/oauth/revoke_authorization',
    introspect: 'http://127.0.0.1:1/v2/token/introspect',
    authorizedBy: 'http://127.0.0.1:1/v2/token/authorized_by',
    resolve: 'http://127.0.0.1:1/beta/token/resolve'
  })
  const told = { introspect: 'https://gateway.example.com/introspect', authorizedBy: 'https://gateway.example.com/who', resolve: 'https://gateway.example.com/resolve' }
  t.match(settingsOf({ endpoints: told }).endpoints, told)
})

t.test('the endpoints that are left out are at the hosts of the region', async (t) => {
  const hosts = (options: Partial<WebflowOAuthOptions>) => Object.values(settingsOf(options).endpoints).map((url) => new URL(url).hostname)
  t.strictSame(hosts({ region: 'eu' }), ['eu.webflow.com', 'api.eu.webflow.com', 'eu.webflow.com', 'api.eu.webflow.com', 'api.eu.webflow.com', 'api.eu.webflow.com'])
  t.strictSame(hosts({ region: 'eu', endpoints: { token: 'https://gateway.example.com/token' } }), ['eu.webflow.com', 'gateway.example.com', 'eu.webflow.com', 'gateway.example.com', 'gateway.example.com', 'gateway.example.com'])
  t.strictSame(hosts({ region: 'eu', endpoints: { revoke: 'https://gateway.example.com/revoke' } }), ['eu.webflow.com', 'api.eu.webflow.com', 'gateway.example.com', 'api.eu.webflow.com', 'api.eu.webflow.com', 'api.eu.webflow.com'])
  const pathsOf = (region: Region) => Object.values(settingsOf({ region }).endpoints).map((url) => new URL(url).pathname)
  t.strictSame(pathsOf('eu'), pathsOf('us'), 'the paths are the same')
})

t.test('the smallest and largest allowed values are accepted', async (t) => {
  for (const cookieName of ['x', 'x'.repeat(64), 'x__Host-y', 'x__secure-y', 'a_restart_b', 'flow', 'restart']) t.equal(settingsOf({ cookieName }).cookieName, cookieName)
  for (const name of ['sessionMaxAge', 'flowMaxAge', 'timeout', 'storeTimeout'] as const) {
    for (const value of [1, 2 ** 31 - 1]) t.equal(settingsOf({ [name]: value })[name], value)
  }
})

t.test('the public prefix is derived from redirectUri if it ends with the callback path', async (t) => {
  const publicPrefixOf = (redirectUri: string, callbackPath: string | undefined, prefix: string) => resolveOptions({ ...baseOptions(null), redirectUri, callbackPath }, prefix).paths.publicPrefix
  t.equal(publicPrefixOf('https://app.example.com/api/v1/cb', undefined, '/api/v1'), '')
  t.equal(publicPrefixOf('https://app.example.com/api/v1/cb', undefined, '/api/v1/'), '')
  t.equal(publicPrefixOf('https://app.example.com/outside/api/v1/cb', '/cb', '/api/v1/'), '/outside')
  t.equal(publicPrefixOf('https://app.example.com/elsewhere', '/cb', '/api'), '')
})

t.test('an unknown option fails register by name', async (t) => {
  for (const name of ['clientID', 'redirect_uri', 'scopes', 'callbackUri', 'tags', 'toString', 'constructor']) {
    assertRefused(t, await refusalOf({ [name]: otherSecret }), name, /is not an option of this plugin: is it misspelled\?/, name)
  }
})

t.test('a prefix on register is refused with the remedy', async (t) => {
  assertRefused(t, await refusalOf({ prefix: '/api' }), 'prefix', /set `authorizePath`, `callbackPath` and `revokePath` instead, or register the plugin inside a prefixed scope/, 'prefix')
})

t.test('an endpoint of the authorization request keeps its own query', async (t) => {
  const app = await createApp(t, { options: { endpoints: { authorize: 'https://gateway.example.com/oauth?tenant=a+b' } } })
  const url = new URL(String((await app.inject('/webflow/authorize')).headers.location))
  t.equal(url.origin + url.pathname, 'https://gateway.example.com/oauth')
  t.equal(url.searchParams.get('tenant'), 'a b')
  t.equal(url.searchParams.get('client_id'), clientId)
})

t.test('a redirectUri on a loopback host may be http', async (t) => {
  for (const host of ['localhost', 'localhost:3000', 'app.localhost', 'a.b.localhost:8080', '127.0.0.1', '127.0.0.10', '127.1.2.3:3000', '[::1]', '[::1]:3000', 'LOCALHOST']) {
    const settings = settingsOf({ redirectUri: `http://${host}/cb` })
    t.equal(settings.secure, false, host)
    t.equal(settings.redirectUri, `http://${host}/cb`, 'it is sent as it was given')
  }
  t.equal(settingsOf({ redirectUri: 'HTTPS://App.Example.com:443/cb?tenant=1' }).redirectUri, 'HTTPS://App.Example.com:443/cb?tenant=1')
})

t.test('any well-formed scope is accepted', async (t) => {
  const list = ['sites:read', 'something_new:write', 'a.b-c:read']
  t.strictSame(settingsOf({ scope: list }).scope, list)
})

t.test('a secret is a string, a Buffer, or a list of these', async (t) => {
  const bytes = Buffer.alloc(32, 1)
  t.strictSame(settingsOf({ secret: otherSecret }).secrets, [Buffer.from(otherSecret)])
  t.strictSame(settingsOf({ secret: bytes }).secrets, [bytes])
  t.strictSame(settingsOf({ secret: new Uint8Array(bytes) }).secrets, [bytes])
  t.strictSame(settingsOf({ secret: [bytes, otherSecret] }).secrets, [bytes, Buffer.from(otherSecret)])
  t.strictSame(settingsOf({ secret: 'é'.repeat(16) }).secrets[0]?.length, 32, 'bytes count, not characters')
})

t.test('allowed origins are compared in their normal form, and the origin of redirectUri is always allowed', async (t) => {
  const { returnRules } = settingsOf({ allowedOrigins: ['https://spa.example.com', 'HTTPS://SPA.example.com:443/', 'http://localhost:5173', 'https://例え.jp'] })
  t.strictSame([...returnRules.allowedOrigins], ['https://app.example.com', 'https://spa.example.com', 'http://localhost:5173', 'https://xn--r8jz45g.jp'])
})

const awkward = ['/cb', '/', '/webflow/cb/', '/a:b', '/:x', '/:a/:b', '/:a-:b', '/a::b', '/*', '/a*b', '/**', '/a/*/b/*', '/(*)', '/a-:b(c)', '/call%20back', '/%2A', '/%C3%A9', '/é', '/%7Euser/cb', '/%28x%29', '/a[1]', '/a{b}', '/a|b', '/a^b', '/a%22b', '/a;b', '/a+b', '/A/B', '/😀', '/a//b']

t.test('the callback is routed at any path of redirectUri', async (t) => {
  for (const path of awkward) {
    const redirectUri = `https://app.example.com${path}`
    const { pathname } = new URL(redirectUri)
    const app = await createApp(t, { options: { redirectUri, successRedirect: '/welcome', revokeRedirect: '/welcome' } })
    const { statusCode, json } = await new Browser(app).get(pathname)
    t.equal(statusCode, 400, path)
    t.equal(json().code, 'WEBFLOW_OAUTH_INVALID_CALLBACK', path)
    t.equal((await app.inject(`${pathname}x`)).statusCode, 404, `${path} and nothing else`)
    const authorize = `${pathname.replace(/\/$/, '').replace(/[^/]*$/, '')}authorize`.replace(/^(?!\/)/, '/')
    t.equal((await app.inject(authorize)).statusCode, 302, `${authorize} beside it`)
  }
})

t.test('a pattern in the path of redirectUri matches itself only', async (t) => {
  const app = await createApp(t, { options: { redirectUri: 'https://app.example.com/:tenant/*/cb' } })
  t.equal((await app.inject('/acme/x/cb')).statusCode, 404)
  t.equal((await app.inject('/:tenant/x/cb')).statusCode, 404)
  t.equal((await app.inject('/:tenant/*/cb')).statusCode, 400)
})

t.test('the trailing slash of redirectUri is kept', async (t) => {
  const app = await createApp(t, { options: { redirectUri: 'https://app.example.com/webflow/callback/' } })
  t.equal((await app.inject('/webflow/callback/')).statusCode, 400)
  t.equal((await app.inject('/webflow/callback')).statusCode, 404)
  t.equal((await app.inject('/webflow/authorize')).statusCode, 302)
})

t.test('a flow works at an awkward path', async (t) => {
  for (const path of ['/:x/*/cb', '/call%20back/', '/é']) {
    const redirectUri = `https://app.example.com${path}`
    const webflow = await startWebflow(t, {}, [redirectUri])
    const browser = new Browser(await createApp(t, { webflow, options: { redirectUri } }))
    const back = await connect(browser, webflow, { path: `${path.replace(/\/$/, '').replace(/[^/]*$/, '')}authorize` })
    t.equal(back.statusCode, 303, path)
    t.equal((await browser.get('/token')).json().connected, true, path)
  }
})

t.test('the paths can be set by options', async (t) => {
  const app = await createApp(t, { options: { authorizePath: '/connect', callbackPath: '/back', revokePath: '/disconnect' } })
  t.equal((await app.inject('/connect')).statusCode, 302)
  t.equal((await app.inject('/back')).statusCode, 400)
  t.equal((await app.inject({ method: 'POST', url: '/disconnect' })).statusCode, 200)
  for (const url of ['/webflow/authorize', '/webflow/callback']) t.equal((await app.inject(url)).statusCode, 404, url)
  t.equal((await app.inject({ method: 'POST', url: '/webflow/revoke' })).statusCode, 404)
})

t.test('without revokePath there is no revoke route', async (t) => {
  const app = await createApp(t, { options: { revokePath: false } })
  t.equal((await app.inject({ method: 'POST', url: '/webflow/revoke' })).statusCode, 404)
  t.equal((await app.inject('/webflow/authorize')).statusCode, 302)
})

t.test('the revoke route accepts only its method', async (t) => {
  for (const [revokeMethod, other] of [['POST', 'DELETE'], ['DELETE', 'POST']] as const) {
    const app = await createApp(t, { options: { revokeMethod } })
    t.equal((await app.inject({ method: revokeMethod, url: '/webflow/revoke' })).statusCode, 200, revokeMethod)
    for (const method of [other, 'GET', 'HEAD', 'PUT'] as const) {
      t.equal((await app.inject({ method, url: '/webflow/revoke' })).statusCode, 404, method)
    }
  }
})

t.test('a token is revoked by DELETE', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { revokeMethod: 'DELETE' } }))
  await connect(browser, webflow)
  t.strictSame((await browser.request('/webflow/revoke', { method: 'DELETE' })).json(), { revoked: true, upstream: 'revoked' })
})

t.test('two routes on one path are refused', async (t) => {
  const pairs: ReadonlyArray<Record<string, unknown>> = [
    { authorizePath: '/webflow/callback' },
    { revokePath: '/webflow/callback' },
    { authorizePath: '/webflow/revoke' },
    { callbackPath: '/webflow/x', authorizePath: '/webflow/X/' },
    { authorizePath: '/a%20b', revokePath: '/a%20B' },
    { authorizePath: '/a//b', revokePath: '/a/b' },
    { redirectUri: 'https://app.example.com/webflow/authorize' },
    { redirectUri: 'https://app.example.com/webflow/revoke/' }
  ]
  for (const options of pairs) {
    assertRefused(t, await refusalOf(options), 'authorizePath', /must differ from each other and from the path of the callback/, JSON.stringify(options))
  }
  t.equal((await refusalOf({ redirectUri: 'https://app.example.com/webflow/revoke', revokePath: false })).message, 'the options were taken')
})

t.test('the prefix of the surrounding scope is honoured', async (t) => {
  const rows = [
    ['/api', '/api/webflow/callback', '/api/webflow/authorize'],
    ['/api/', '/api/webflow/callback', '/api/webflow/authorize'],
    ['/api', '/api/callback/', '/api/authorize'],
    ['/api', '/api', '/api/authorize'],
    ['/a/b', '/a/b/c', '/a/b/authorize'],
    ['/', '/webflow/callback', '/webflow/authorize']
  ] as const
  for (const [prefix, path, authorize] of rows) {
    const app = await createScopedApp(t, prefix, { redirectUri: `https://app.example.com${path}` })
    t.equal((await app.inject(path)).json().code, 'WEBFLOW_OAUTH_INVALID_CALLBACK', `${path} in ${prefix}`)
    t.equal((await app.inject(authorize)).statusCode, 302, `${authorize} in ${prefix}`)
  }
})

t.test('a redirectUri that is not below the prefix is refused', async (t) => {
  for (const path of ['/webflow/callback', '/apiary/callback', '/', '/API/callback', '/x/api/callback']) {
    const error = await refusalOf({ redirectUri: `https://app.example.com${path}` }, '/api')
    assertRefused(t, error, 'redirectUri', /is registered in a scope with the prefix \/api: register it outside that scope, or set `callbackPath`/, path)
  }
})

t.test('a redirectUri without a path is refused, unless both redirects lead elsewhere', async (t) => {
  const redirectUri = 'https://app.example.com'
  const remedy = /has no path, and `\/` is where `successRedirect` and `revokeRedirect` lead by default: add a path/
  for (const options of [{}, { successRedirect: '/home' }, { revokeRedirect: '/home' }]) {
    assertRefused(t, await refusalOf({ redirectUri, ...options }), 'redirectUri', remedy, JSON.stringify(options))
  }
  t.equal(settingsOf({ redirectUri, successRedirect: '/home', revokeRedirect: '/home' }).paths.routes.callback, '/')
})

t.test('behind a proxy that rewrites paths, public paths and app paths are kept apart', async (t) => {
  const redirectUri = 'https://app.example.com/public/api/webflow/callback'
  const app = await createScopedApp(t, '/api', { redirectUri, callbackPath: '/webflow/callback' })
  t.equal((await app.inject('/api/webflow/callback')).statusCode, 400)
  t.equal((await app.inject('/api/webflow/authorize')).statusCode, 302)
  const page = await app.inject({ url: '/api/webflow/callback', headers: navigation })
  t.ok(page.body.includes('href="https://app.example.com/public/api/webflow/authorize"'), 'the link of the page leads through the proxy')
  assertRefused(t, await refusalOf({ redirectUri, callbackPath: '/webflow/callback', successRedirect: '/public/api/webflow/authorize' }, '/api'), 'successRedirect', /own routes/, 'a link back into the flow')
})

t.test('a proxy that changes the whole path needs callbackPath only', async (t) => {
  const app = await createApp(t, { options: { redirectUri: 'https://app.example.com/done', callbackPath: '/internal/cb' } })
  t.equal((await app.inject('/internal/cb')).statusCode, 400)
  t.equal((await app.inject('/internal/authorize')).statusCode, 302)
  t.equal((await app.inject('/done')).statusCode, 404)
  const error = await refusalOf({ redirectUri: 'https://app.example.com/done', callbackPath: '/internal/cb', successRedirect: '/done' })
  assertRefused(t, error, 'successRedirect', /own routes/, 'the public path of the callback')
})

t.test('other plugins can depend on this one by its name, and it names the Fastify that it needs', async (t) => {
  const app = await createApp(t)
  t.equal(app.hasPlugin('fastify-webflow-oauth'), true)
  t.match(Reflect.get(webflowOAuth, Symbol.for('plugin-meta')), { name: 'fastify-webflow-oauth', fastify: '5.x' })
})

t.test('a second instance in one scope is refused', async (t) => {
  const app = Fastify({ logger: recordingLogger })
  t.teardown(() => app.close())
  await app.register(webflowOAuth, withBase({}))
  await t.rejects(async () => { await app.register(webflowOAuth, withBase({ redirectUri: 'https://app.example.com/other/callback', cookieName: 'other' })) }, {
    code: 'WEBFLOW_OAUTH_INVALID_OPTION', message: /twice in one scope, or again in a scope within it: register each instance in a scope beside the others, with its own `cookieName`/
  })
})

async function registerSiblings (t: Test, first: Record<string, unknown>, second: Record<string, unknown>): Promise<FastifyInstance> {
  const app = Fastify({ logger: recordingLogger })
  t.teardown(() => app.close())
  for (const [index, options] of [first, second].entries()) {
    app.register(async (inner) => {
      await inner.register(webflowOAuth, withBase({ redirectUri: `https://app.example.com/${index}/callback`, ...options }))
      inner.get('/token', async (request) => ({ id: request.webflowToken?.id ?? null }))
    }, { prefix: `/${index}` })
  }
  await app.ready()
  return app
}

t.test('sibling scopes with cookie names of their own do not see each other\'s tokens', async (t) => {
  const webflow = await startWebflow(t, {}, ['https://app.example.com/0/callback', 'https://app.example.com/1/callback'])
  const { endpoints } = webflow
  const store = new MemoryStore()
  const browser = new Browser(await registerSiblings(t, { endpoints, store, cookieName: 'one' }, { endpoints, store, cookieName: 'two' }))
  await connect(browser, webflow, { path: '/0/authorize' })
  const first = (await browser.get('/0/token')).json()
  t.type(first.id, 'string')
  t.equal((await browser.get('/1/token')).json().id, null)
  await connect(browser, webflow, { path: '/1/authorize' })
  const second = (await browser.get('/1/token')).json()
  t.type(second.id, 'string')
  t.not(second.id, first.id)
  t.strictSame((await browser.get('/0/token')).json(), first)
})

t.test('sibling scopes that share a cookie name are refused, whatever the port', async (t) => {
  await t.rejects(registerSiblings(t, {}, {}), { code: 'WEBFLOW_OAUTH_INVALID_OPTION', message: /^`cookieName` is taken: another instance on this server uses `webflow` too/ })
  const ports = ['http://localhost:3000/0/callback', 'http://localhost:4000/1/callback']
  await t.rejects(registerSiblings(t, { redirectUri: ports[0] }, { redirectUri: ports[1] }), { message: /^`cookieName` is taken/ })
})

t.test('sibling scopes on two hosts may share a cookie name, and so may two servers', async (t) => {
  await registerSiblings(t, {}, { redirectUri: 'https://other.example.com/1/callback' })
  await createApp(t)
  await createApp(t)
})

t.test('redirects are sent as absolute URLs', async (t) => {
  const rows = [
    ['/welcome', 'https://app.example.com/welcome'],
    ['/.//evil.example', 'https://app.example.com//evil.example'],
    ['/a/../b?c=d#e', 'https://app.example.com/b?c=d#e'],
    ['https://elsewhere.example.com', 'https://elsewhere.example.com/'],
    ['HTTP://elsewhere.example.com:80/x', 'http://elsewhere.example.com/x'],
    ['https://elsewhere.example.com/webflow/callback', 'https://elsewhere.example.com/webflow/callback']
  ] as const
  const webflow = await startWebflow(t)
  for (const [given, sent] of rows) {
    const browser = new Browser(await createApp(t, { webflow, options: { successRedirect: given, failureRedirect: given, revokeRedirect: given } }))
    t.equal((await connect(browser, webflow)).location, sent, `${given} after success`)
    const gone = await browser.request('/webflow/revoke', { method: 'POST', headers: { ...navigation, 'sec-fetch-site': 'same-origin' } })
    t.equal(gone.statusCode, 303)
    t.equal(gone.location, sent, `${given} after revoking`)
    const failed = await browser.navigate('/webflow/callback')
    t.equal(failed.statusCode, 303)
    const url = new URL(String(failed.location))
    t.equal(url.searchParams.get('error'), 'WEBFLOW_OAUTH_INVALID_CALLBACK')
    url.searchParams.delete('error')
    t.equal(url.href, sent, `${given} after a failure`)
  }
})

t.test('failureRedirect gets the code and the reason, and keeps its own query', async (t) => {
  const app = await createApp(t, { options: { failureRedirect: '/sorry?lang=en&error=old' } })
  const { location, statusCode } = await new Browser(app).navigate('/webflow/callback?code=abc&state=nonsense')
  t.equal(statusCode, 303)
  t.equal(location, 'https://app.example.com/sorry?lang=en&error=WEBFLOW_OAUTH_STATE_INVALID&reason=malformed')
  t.equal((await new Browser(app).get('/webflow/callback?code=abc&state=nonsense')).statusCode, 400, 'a program gets its error')
})

t.test('an allowed origin may call revoke and be returned to', async (t) => {
  const webflow = await startWebflow(t)
  const app = await createApp(t, { webflow, options: { allowedOrigins: ['https://spa.example.com'] } })
  const browser = new Browser(app)
  t.equal((await connect(browser, webflow, { path: '/webflow/authorize?returnTo=https://spa.example.com/done' })).location, 'https://spa.example.com/done')
  const revoke = (origin: string) => browser.request('/webflow/revoke', { method: 'POST', headers: { origin, 'sec-fetch-site': 'same-site' } })
  const refused = await revoke('https://other.example.com')
  t.equal(refused.statusCode, 403)
  t.equal(refused.json().code, 'WEBFLOW_OAUTH_CROSS_SITE')
  t.strictSame((await revoke('https://spa.example.com')).json(), { revoked: true, upstream: 'revoked' })
})

t.test('a callback without a state begins a flow, or is refused', async (t) => {
  const restart = await new Browser(await createApp(t)).navigate('/webflow/callback?code=abc')
  t.equal(restart.statusCode, 302)
  t.ok(restart.location?.startsWith('https://webflow.com/oauth/authorize?'))
  const reject = await new Browser(await createApp(t, { options: { onMissingState: 'reject' } })).get('/webflow/callback?code=abc')
  t.equal(reject.statusCode, 400)
  t.match(reject.json(), { code: 'WEBFLOW_OAUTH_STATE_INVALID', reason: 'state_missing' })
})

t.test('null does not count as left out', async (t) => {
  for (const name of Object.keys(baseOptions(null)).concat('region', 'store', 'authorizePath', 'revokePath', 'revokeMethod', 'callbackPath', 'routeConfig', 'successRedirect', 'failureRedirect', 'revokeRedirect',
    'allowedOrigins', 'onMissingState', 'identify', 'cookieName', 'sessionMaxAge', 'flowMaxAge', 'timeout', 'storeTimeout', 'dispatcher', 'introspect', 'endpoints', 'beforeStore', 'onSuccess', 'onFailure', 'onRevoke', 'onDisconnect')) {
    await t.rejects(async () => { await Fastify().register(webflowOAuth, Object.assign(baseOptions(null), { [name]: null })) }, { code: 'WEBFLOW_OAUTH_INVALID_OPTION', message: `\`${name}\`` }, name)
  }
})

t.test('a list with holes is refused', async (t) => {
  for (const name of ['secret', 'scope', 'allowedOrigins']) {
    await t.rejects(async () => { await Fastify().register(webflowOAuth, Object.assign(baseOptions(null), { [name]: new Array(1) })) }, { code: 'WEBFLOW_OAUTH_INVALID_OPTION', message: `\`${name}\`` }, name)
  }
})

t.test('redirectUri may have a semicolon in its path', async (t) => {
  const browser = new Browser(await createApp(t, { options: { redirectUri: 'https://app.example.com/a;b/callback' } }))
  t.equal((await browser.get('/a;b/callback?code=a&state=b')).json().reason, 'malformed')
  t.equal((await browser.get('/a;b/authorize')).statusCode, 302)
})

t.test('a doubled slash in the redirect URI does not lead the page elsewhere', async (t) => {
  const answer = await new Browser(await createApp(t, { options: { redirectUri: 'https://app.example.com//cb' } })).navigate('//cb')
  t.notMatch(answer.body, 'https://authorize')
})

t.test('cookieName and flowMaxAge set the name and the life of the flow cookie', async (t) => {
  const { cookies } = await new Browser(await createApp(t, { options: { cookieName: 'acme', flowMaxAge: 77 } })).navigate('/webflow/authorize')
  t.equal(cookies.length, 1)
  t.match(cookies[0]?.name, /^__Host-acme_flow_[\w-]{16}$/)
  t.strictSame(cookies[0]?.attributes.sort(), ['HttpOnly', 'Max-Age=77', 'Path=/', 'SameSite=Lax', 'Secure'])
})

t.test('on loopback http the cookies have neither prefix nor Secure', async (t) => {
  const { cookies } = await new Browser(await createApp(t, { options: { redirectUri: 'http://localhost:3000/webflow/callback' } })).navigate('/webflow/authorize')
  t.match(cookies[0]?.name, /^webflow_flow_[\w-]{16}$/)
  t.strictSame(cookies[0]?.attributes.sort(), ['HttpOnly', 'Max-Age=900', 'Path=/', 'SameSite=Lax'])
})

t.test('the plugin, a guard and a route of the app can ask for any scope-token of RFC 6749', async (t) => {
  const scope = ['branches:merge', 'sites', ':read', 'sites:READ', 'cloud_apps:deploy', "!#$%&'()*+-./", '0123456789:;<=>?@', '[]^_`{|}~', 's'.repeat(100)]
  const webflow = createSimulator({ app: { clientId, clientSecret, redirectUris: [redirectUri], scope: [...scope, 'sites:delete', 'pages:move'] } })
  await webflow.listen()
  t.teardown(() => webflow.close())
  const app = await createApp(t, {
    webflow,
    options: { scope },
    after: (app) => {
      app.get('/guarded', { preHandler: app.webflowOAuth.requireToken({ scope: ['sites:delete'], onMissing: 'redirect' }) }, async () => 'ok')
      app.get('/begin', async (request, reply) => reply.redirect(await app.webflowOAuth.startAuthorization(request, reply, { scope: ['pages:move'] })))
    }
  })
  const scopeOf = (location: string | null) => new URL(String(location)).searchParams.get('scope')
  for (const [path, expected] of [['/webflow/authorize', scope], ['/guarded', [...scope, 'sites:delete']], ['/begin', ['pages:move']]] as const) {
    const browser = new Browser(app)
    const { location } = await browser.navigate(path)
    t.equal(scopeOf(location), expected.join(' '), path)
    t.equal((await browser.navigate(await webflow.approve(String(location)))).statusCode, 303)
    t.strictSame((await browser.get('/token')).json().scope, expected, path)
  }
})

t.test('calls to Webflow go through the given dispatcher, which the plugin never closes', async (t) => {
  const dispatcher = new MockAgent()
  dispatcher.disableNetConnect()
  t.teardown(() => dispatcher.close())
  const api = dispatcher.get('https://api.webflow.com')
  api.intercept({ path: '/oauth/access_token', method: 'POST' }).reply(200, { access_token: otherSecret })
  api.intercept({ path: '/v2/sites', method: 'GET' }).reply(200, {})
  const webflow = await startWebflow(t)
  const app = await createApp(t, { options: { dispatcher, endpoints: { authorize: webflow.endpoints.authorize } } })
  const browser = new Browser(app)
  t.equal((await connect(browser, webflow)).statusCode, 303)
  t.equal((await browser.get('/token')).json().accessToken, otherSecret)
  t.equal(webflow.requests.token.length, 0)
  await app.close()
  const { statusCode } = await dispatcher.request({ origin: 'https://api.webflow.com', path: '/v2/sites', method: 'GET' })
  t.equal(statusCode, 200, 'the app\'s own calls still work')
})

t.test('`sessionMaxAge` is how long the record of a token lives', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, {
    webflow,
    options: { sessionMaxAge: 120 },
    after: (app) => app.get('/life', async ({ webflowToken: token }) => ({ life: token === null ? null : token.expiresAt.getTime() - token.createdAt.getTime() }))
  }))
  await connect(browser, webflow)
  t.equal((await browser.get('/life')).json().life, 120_000)
})

t.test('`timeout` ends a call to Webflow, and `storeTimeout` ends a call to the store', async (t) => {
  const webflow = await startWebflow(t)
  webflow.fail('token', { hang: true })
  const slow = await connect(new Browser(await createApp(t, { webflow, options: { timeout: 40 } })), webflow, { headers: { accept: 'application/json', 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty' } })
  t.equal(slow.statusCode, 504)
  t.equal(slow.json().code, 'WEBFLOW_OAUTH_WEBFLOW_TIMEOUT')

  const store = Object.assign(new MemoryStore(), { get: () => new Promise<string | null>(() => {}) })
  const browser = new Browser(await createApp(t, { options: { store, storeTimeout: 20 } }))
  browser.cookies.set('__Host-webflow', 's'.repeat(43))
  const stuck = await browser.get('/token')
  t.equal(stuck.statusCode, 503)
  t.equal(stuck.json().code, 'WEBFLOW_OAUTH_STORE_UNAVAILABLE')
  t.match(stuck.json().message, /within 20 ms/)
})

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

t.test('a wrong member of designer fails register by name', async (t) => {
  const origins = ['https://0123456789abcdef01234567.webflow-ext.com']
  const refuse = async (designer: unknown, option: string, remedy: RegExp, more: object = {}) => {
    assertRefused(t, await refusalOf({ scope: ['authorized_user:read'], designer, ...more }), option, remedy, JSON.stringify(designer))
  }
  for (const value of [undefined, null, [], 'https://x.webflow-ext.com', {}]) await refuse({ origins: value }, 'designer.origins', /must be a list of at least one origin/)
  for (const value of ['*', 'null', 'http://x.webflow-ext.com', 'https://*.webflow-ext.com', 'https://x.webflow-ext.com/path', 'https://a@x.webflow-ext.com', 'ftp://x', 5, null, 'https://x:99999']) {
    await refuse({ origins: [...origins, value] }, 'designer.origins', /holds an entry that is not the origin of an extension/)
  }
  for (const maxAge of [0, -1, 1.5, '900', NaN]) await refuse({ origins, maxAge }, 'designer.maxAge', /must be a whole number of seconds/)
  for (const path of ['designer', '/a?b', true, false]) await refuse({ origins, path }, 'designer.path', /must be a path/)
  for (const path of ['/webflow/callback', '/webflow/authorize', '/webflow/revoke']) await refuse({ origins, path }, 'designer.path', /like another path of the plugin/)
  await refuse({ origins, origin: 'x' }, 'designer.origin', /the options of `designer` are origins, path and maxAge/)
  await refuse({ origins }, 'designer', /needs `introspect`/, { introspect: false })
  await refuse({ origins }, 'designer', /needs the scope authorized_user:read/, { scope: ['sites:read'] })
})

t.test('`webhookPath: false` is refused', async (t) => {
  assertRefused(t, await refusalOf({ onWebhook: () => {}, webhookPath: false }), 'webhookPath', /must be a path/, 'false')
})

t.test('`designer` has defaults, and accepts extensions in development', (t) => {
  const origins = ['https://0123456789abcdef01234567.webflow-ext.com/', 'http://localhost:1337']
  const { designer, paths, popupOrigins } = settingsOf({ scope: ['authorized_user:read'], designer: { origins } })
  t.strictSame([...designer?.origins ?? []], ['https://0123456789abcdef01234567.webflow-ext.com', 'http://localhost:1337'])
  t.equal(designer?.maxAge, 900)
  t.equal(paths.routes.designer, '/webflow/designer')
  t.ok(paths.own.has('/webflow/designer'), 'no flow ends there')
  t.strictSame(popupOrigins, ['https://app.example.com', ...designer?.origins ?? []], 'a popup tells the extension how a flow ended')
  t.end()
})

import { once } from 'node:events'
import { createServer, get, type IncomingMessage, type RequestListener } from 'node:http'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import t, { type Test } from 'tap'
import type { WebflowOAuthOptions } from '../lib/index.ts'
import { assertNothingLeaked, connect, createApp, secret, startWebflow } from './support/app.ts'
import { Browser, type SetCookie } from './support/browser.ts'
import { logged, rememberSecrets } from './support/logs.ts'

const origin = 'https://app.example.com'
const maxCookieBytes = 4096
/** As many scopes as Webflow has, of the usual length. */
const manyScopes = Array.from({ length: 47 }, (_, index) => `collection_${index}:write`)

/** Where an app lives. */
interface Place {
  redirectUri?: string
  /** What a proxy takes off the front of each path before the server sees it. */
  proxied?: string
  server?: FastifyServerOptions
  options?: Partial<WebflowOAuthOptions>
  /** Puts something in front of Fastify. */
  inFront?: (app: FastifyInstance) => RequestListener
}

/** Takes browsers over real sockets from a request target through a flow; tells where each of them ends. */
async function createGuide (t: Test, { redirectUri = `${origin}/api/webflow/callback`, proxied = '', server = {}, options = {}, inFront }: Place) {
  const webflow = await startWebflow(t, {}, [redirectUri])
  const app = await createApp(t, {
    webflow,
    server,
    options: { redirectUri, callbackPath: '/webflow/callback', successRedirect: '/home', ...options },
    after: (app) => { app.get('/*', { preHandler: app.webflowOAuth.requireToken({ onMissing: 'redirect' }) }, async () => 'page') }
  })
  const listening = createServer(inFront === undefined ? app.routing : inFront(app)).listen(0, '127.0.0.1')
  await once(listening, 'listening')
  t.teardown(() => { listening.close() })
  const address = listening.address()
  const port = typeof address === 'object' ? address?.port : undefined

  const ask = async (path: string, cookie = '') => {
    const [response]: IncomingMessage[] = await once(get({ port, path, agent: false, headers: { host: 'app.example.com', accept: 'text/html', cookie } }), 'response')
    response?.resume()
    return { location: response?.headers.location ?? '', cookie: response?.headers['set-cookie']?.[0]?.split(';')[0] ?? '' }
  }
  return async (target: string): Promise<string> => {
    const begun = await ask(target)
    const { pathname, search, searchParams } = new URL(await webflow.approve(begun.location))
    rememberSecrets(begun.cookie.split('=')[1], searchParams.get('code'), searchParams.get('state'))
    return (await ask(pathname.slice(proxied.length) + search, begun.cookie)).location
  }
}

/** Hands requests on to Fastify as `app.use(path, …)` of Express does. Express 4 takes a doubled slash off too. */
function mount (app: FastifyInstance, path: string, { version }: { version: 4 | 5 }): RequestListener {
  return (request, response) => {
    const { url = '' } = request
    const host = /^https?:\/\/[^/]*/.exec(url)?.[0] ?? ''
    const rest = url.slice(host.length + path.length).replace(version === 4 ? /^\/(?=\/)/ : '', '')
    // Express keeps the host of an absolute target, and adds a slash where only the mount path was asked for.
    Object.assign(request, { originalUrl: url, url: host === '' && !rest.startsWith('/') ? `/${rest}` : host + rest })
    app.routing(request, response)
  }
}

/** Takes `/api` off a request target in any form, and changes the rest of it. */
function rewrite (url: string, change: (path: string) => string): string {
  const [, host = '', path = ''] = /^(https?:\/\/[^/]*)?(?:\/api)?(.*)$/i.exec(url) ?? []
  const changed = change(path)
  return host + (changed.startsWith('/') ? changed : `/${changed}`)
}

const places: ReadonlyArray<Place & { title: string, own: string, rows: ReadonlyArray<readonly [target: string, location: string]> }> = [
  {
    title: 'without a prefix',
    redirectUri: `${origin}/webflow/callback`,
    own: '',
    rows: [
      ['/', '/'],
      ['/page?a=b&c=%C3%A9', '/page?a=b&c=%C3%A9'],
      [`/page?q=${'x'.repeat(2040)}`, `/page?q=${'x'.repeat(2040)}`],
      // Two slashes are no host name.
      ['//evil.example/page', '//evil.example/page'],
      ['//spa.example.com/page', '//spa.example.com/page'],
      ['/\\spa.example.com/page', '//spa.example.com/page'],
      ['/http://spa.example.com/page', '/http://spa.example.com/page']
    ]
  },
  {
    title: 'behind a proxy that removes a prefix',
    proxied: '/api',
    own: '',
    rows: [
      ['/', '/api/'],
      ['/page?a=b', '/api/page?a=b'],
      ['/api/page', '/api/api/page'],
      ['//spa.example.com/page', '/api//spa.example.com/page']
    ]
  },
  {
    title: 'with a `rewriteUrl` that removes a prefix',
    server: { rewriteUrl: ({ url = '' }) => url.replace(/^(https?:\/\/[^/]*)?\/api/, '$1') || '/' },
    own: '/api',
    rows: [
      ['/api', '/api'],
      ['/api/page?a=b', '/api/page?a=b'],
      ['/api/api/page', '/api/api/page']
    ]
  },
  {
    title: 'behind a proxy that removes a prefix, with a `rewriteUrl` that changes something else',
    proxied: '/api',
    server: { rewriteUrl: ({ url = '' }) => url.replace(/^\/v1/, '').replace(/^.*\/old$/, '/new') },
    own: '',
    rows: [
      ['/v1/page?a=b', '/api/v1/page?a=b'],
      ['/old', '/api/old'],
      ['/apiary/old', '/api/apiary/old']
    ]
  },
  {
    title: 'with a `rewriteUrl` that removes a prefix and adds a query',
    server: { rewriteUrl: ({ url = '' }) => rewrite(url, (path) => `${path}${path.includes('?') ? '&' : '?'}tenant=1`) },
    own: '/api',
    rows: [
      ['/api', '/api'],
      ['/api?a=b', '/api?a=b'],
      ['/api/page?a=b', '/api/page?a=b'],
      ['/API/page', '/API/page'],
      ['/api/api/page', '/api/api/page']
    ]
  },
  {
    title: 'with a `rewriteUrl` that removes a prefix and a trailing slash',
    server: { rewriteUrl: ({ url = '' }) => rewrite(url, (path) => path.replace(/\/(?=$|\?)/, '')) },
    own: '/api',
    rows: [
      ['/api/', '/api/'],
      ['/api/page/', '/api/page/'],
      ['/api/page/?a=b', '/api/page/?a=b']
    ]
  },
  {
    title: 'with a `rewriteUrl` that removes a prefix and decodes the path',
    server: { rewriteUrl: ({ url = '' }) => rewrite(url, decodeURI) },
    own: '/api',
    rows: [
      ['/api/page%20one?a=b', '/api/page%20one?a=b'],
      ['/api/page', '/api/page']
    ]
  },
  {
    title: 'with a `rewriteUrl` that removes a prefix and a version',
    server: { rewriteUrl: ({ url = '' }) => rewrite(url, (path) => path.replace(/^\/v1(?=\/)/, '')) },
    own: '/api',
    rows: [
      ['/api/v1/page?a=b', '/api/v1/page?a=b'],
      ['/api/page', '/api/page']
    ]
  },
  {
    title: 'mounted in Express',
    inFront: (app) => mount(app, '/api', { version: 5 }),
    own: '/api',
    rows: [
      ['/api', '/api'],
      ['/api?a=b', '/api?a=b'],
      ['/api/', '/api/'],
      ['/api/page?a=b', '/api/page?a=b'],
      ['/API/page', '/API/page'],
      ['/api/api/page', '/api/api/page'],
      ['/api//spa.example.com', '/api//spa.example.com']
    ]
  },
  {
    title: 'mounted in Express 4, which also removes a doubled slash',
    inFront: (app) => mount(app, '/api', { version: 4 }),
    own: '/api',
    rows: [
      ['/api', '/api'],
      ['/api/', '/api/'],
      ['/api//page', '/api//page']
    ]
  },
  {
    title: 'mounted in Express behind a proxy that removes the rest of the prefix',
    redirectUri: `${origin}/api/sub/webflow/callback`,
    proxied: '/api',
    inFront: (app) => mount(app, '/sub', { version: 5 }),
    own: '/sub',
    rows: [
      ['/sub', '/api/sub'],
      ['/sub/page?a=b', '/api/sub/page?a=b']
    ]
  }
]

for (const { title, own, rows, ...place } of places) {
  t.test(`${title}, a guard leads back to the URL that the browser asked for`, async (t) => {
    const follow = await createGuide(t, { ...place, options: { allowedOrigins: ['https://spa.example.com'] } })
    const prefix = new URL(place.redirectUri ?? `${origin}/api/webflow/callback`).pathname.replace('/webflow/callback', '')
    for (const [target, location] of rows) t.equal(await follow(target), origin + location, target)

    // The same in absolute form, with whatever host (RFC 9112, section 3.2.2).
    for (const host of ['http://app.example.com', 'http://app.example.com:80', 'https://spa.example.com', 'http://user@evil.example']) {
      t.equal(await follow(`${host}${own}/page?a=b`), `${origin}${prefix}/page?a=b`, host)
    }
    t.equal(await follow(`http://app.example.com${own}//spa.example.com`), `${origin}${prefix}//spa.example.com`)

    t.equal(await follow(`${own}/webflow/authorize?returnTo=/x%3Fa=b`), `${origin}/x?a=b`, 'the routes read their parameters')
    t.equal(await follow(`http://app.example.com${own}/webflow/authorize?returnTo=/x`), `${origin}/x`, 'the URL may be in absolute form')
  })
}

t.test('a question mark in the fragment of a request target begins no query', async (t) => {
  const follow = await createGuide(t, { redirectUri: `${origin}/webflow/callback` })
  t.equal(await follow('/webflow/authorize#?returnTo=/x'), `${origin}/home`)
  t.equal(await follow('/webflow/authorize?returnTo=/x#?returnTo=/y'), `${origin}/x`)
})

/** An app whose page, guarded, and whose route `/begin` begin flows; with its lines in the log that tell of a URL that was dropped. */
async function createLongApp (t: Test, options: Partial<WebflowOAuthOptions> = {}) {
  const webflow = await startWebflow(t)
  const app = await createApp(t, {
    options: { successRedirect: '/home', allowedOrigins: ['https://spa.example.com'], endpoints: webflow.endpoints, ...options },
    after: (app) => {
      app.get('/*', { preHandler: app.webflowOAuth.requireToken({ onMissing: 'redirect' }) }, async () => 'page')
      app.post<{ Body: { returnTo?: string, scope?: string[], user?: string } }>('/begin', async (request, reply) => ({ url: await app.webflowOAuth.startAuthorization(request, reply, request.body) }))
    }
  })
  let seen = logged().length
  const dropped = () => {
    const lines = logged().slice(seen).split('\n').filter((line) => line.includes('was dropped'))
    seen = logged().length
    return lines
  }
  const begin = (body: object) => new Browser(app).request('/begin', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
  return { app, webflow, browser: new Browser(app), begin, dropped }
}

/** The length of a `Set-Cookie` header. */
function bytesOf ({ name, value, attributes }: SetCookie | undefined = { name: '', value: '', attributes: [] }): number {
  return [`${name}=${value}`, ...attributes].join('; ').length
}

/** Tests that a line names the destination, and holds nothing of the URL. */
function assertNamed (t: Test, lines: string[], problem: string): void {
  t.equal(lines.length, 1, 'one line')
  t.match(lines[0], `${problem} and was dropped: the flow will end at ${origin}/home instead`)
  t.notMatch(lines[0], /private/)
}

t.test('a guard keeps a URL of up to 2,048 characters; for a longer one it logs where the flow will end instead', async (t) => {
  const { app, webflow, dropped } = await createLongApp(t)
  const longest = `/private?q=${'x'.repeat(2048 - '/private?q='.length)}`
  for (const [url, ending] of [[longest, longest], [`/${'%E8%AA%9E'.repeat(227)}`, `/${'%E8%AA%9E'.repeat(227)}`], [`/private?filter=${'%7B%22a%22%3A1%7D'.repeat(100)}`, undefined]] as const) {
    t.equal((await connect(new Browser(app), webflow, { path: url })).location, origin + (ending ?? url))
    t.strictSame(dropped(), [])
  }
  t.equal((await connect(new Browser(app), webflow, { path: `${longest}x` })).location, `${origin}/home`)
  assertNamed(t, dropped(), 'has more than 2,048 characters')
})

t.test('authorize and startAuthorization log a warning for a `returnTo` that is too long, but not for a foreign one', async (t) => {
  const { browser, begin, dropped } = await createLongApp(t)
  const long = `/private?${'x'.repeat(2048)}`
  await browser.navigate(`/webflow/authorize?returnTo=${encodeURIComponent(long)}`)
  assertNamed(t, dropped(), 'has more than 2,048 characters')
  await begin({ returnTo: `https://spa.example.com${long}` })
  assertNamed(t, dropped(), 'has more than 2,048 characters')
  for (const returnTo of [`https://evil.example${long}`, `//evil.example${long}`, `https://user@app.example.com${long}`, `/webflow/authorize?${long}`, `javascript:${long}`, 'https://evil.example/', '']) {
    await browser.navigate(`/webflow/authorize?returnTo=${encodeURIComponent(returnTo)}`)
    await begin({ returnTo })
    t.strictSame(dropped(), [], returnTo.slice(0, 40))
  }
})

t.test('a flow cookie never has more than 4,096 bytes, not even when its flow ends', async (t) => {
  const user = 'a'.repeat(255)
  const { app, begin, dropped } = await createLongApp(t, { identify: () => user, cookieName: 'w'.repeat(64), flowMaxAge: 86_400 })
  let [kept, cut, largest] = [0, 0, 0]
  const measure = (cookie: SetCookie | undefined) => {
    const bytes = bytesOf(cookie)
    largest = Math.max(largest, bytes)
    t.ok(bytes <= maxCookieBytes, `${bytes} bytes`)
  }
  for (const length of [1, 1200, ...Array.from({ length: 60 }, (_, index) => 1400 + index), 2048]) {
    const returnTo = `/${'x'.repeat(length - 1)}`
    const browser = new Browser(app)
    const begun = await browser.request('/begin', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ returnTo, scope: manyScopes, user }) })
    measure(begun.cookies[0])
    const isCut = dropped().length > 0
    if (isCut) cut++
    else kept++
    const state = new URL(String(begun.json()['url'])).searchParams.get('state')
    const denied = await browser.navigate(`/webflow/callback?error=access_denied&state=${state}`)
    t.equal(denied.statusCode, 403)
    measure(denied.cookies[0])
  }
  t.ok(kept > 0 && cut > 0, `${kept} kept, ${cut} cut`)
  t.ok(largest > maxCookieBytes - 4, `the largest has ${largest} bytes`)
  await begin({ returnTo: `/private?${'x'.repeat(2000)}`, scope: manyScopes })
  assertNamed(t, dropped(), 'does not fit into a flow cookie of 4,096 bytes together with the scope')
})

t.test('47 scopes leave a guard room for a URL of a thousand characters', async (t) => {
  const { browser, dropped } = await createLongApp(t, { scope: manyScopes })
  const { cookies } = await browser.navigate(`/page?${'x'.repeat(1000)}`)
  t.ok(bytesOf(cookies[0]) > 2500)
  t.strictSame(dropped(), [])
})

t.test('a scope that no flow cookie can hold is refused, at start-up and when a flow asks for it', async (t) => {
  const scope = Array.from({ length: 70 }, (_, index) => `${'s'.repeat(40)}_${index}:read`)
  await t.rejects(createApp(t, { options: { scope } }), { code: 'WEBFLOW_OAUTH_INVALID_OPTION', message: /`scope` is too long for a flow cookie of 4,096 bytes: ask for fewer scopes/ })
  const { begin } = await createLongApp(t)
  const { statusCode, cookies, json } = await begin({ scope })
  t.equal(statusCode, 500)
  t.equal(json()['code'], 'WEBFLOW_OAUTH_INVALID_OPTION')
  t.equal(cookies.length, 0)
})

t.test('a browser holds at least two of the longest flows, and never more than 8 KiB of flow cookies', async (t) => {
  const { browser } = await createLongApp(t, { scope: manyScopes })
  for (let i = 0; i < 6; i++) {
    await browser.navigate(`/page?${'x'.repeat(1100)}${i}`)
    const cookies = [...browser.cookies].map(([name, value]) => name + value)
    t.equal(cookies.length, Math.min(i + 1, 2))
    t.ok(cookies.join('').length <= 8192)
  }

  const { app } = await createLongApp(t)
  const [fewest, most] = [new Set<number>(), new Set<number>()]
  for (let length = 1827; length < 1907; length += 2) {
    const browser = new Browser(app)
    for (let i = 0; i < 3; i++) await browser.navigate(`/${'x'.repeat(length)}`)
    const bytes = [...browser.cookies].map(([name, value]) => name + value).join('').length
    t.ok(bytes <= 8192, `${bytes} bytes`)
    ;(browser.cookies.size === 3 ? most : fewest).add(bytes)
  }
  t.ok(Math.max(...most) > 8180, 'three flows stay while there is room')
  t.ok(fewest.size > 0, 'then the oldest flow is dropped')
})

t.test('nothing that was logged holds a secret', async (t) => {
  rememberSecrets(secret)
  assertNothingLeaked(t)
})

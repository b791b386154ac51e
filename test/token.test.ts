import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect as http2Connect } from 'node:http2'
import { mock } from 'node:test'
import Fastify from 'fastify'
import t from 'tap'
import webflowOAuth, { MemoryStore, type TokenStore, type WebflowOAuth } from '../lib/index.ts'
import { assertNothingLeaked, baseOptions, connect, createApp, startWebflow } from './support/app.ts'
import { Browser, navigation } from './support/browser.ts'

/** A memory store that counts its calls and can be made to fail or to hang. */
function createStore () {
  const memory = new MemoryStore()
  const calls: string[] = []
  const state = { mode: 'works' }
  const run = async <T> (call: string, answer: () => Promise<T>): Promise<T> => {
    calls.push(call)
    if (state.mode === 'fails') throw new Error('down')
    if (state.mode === 'hangs') return await new Promise<T>(() => {})
    return await answer()
  }
  const store: TokenStore = {
    get: (key) => run(`get ${key}`, () => memory.get(key)),
    set: (key, value, options) => run(`set ${key}`, () => memory.set(key, value, options)),
    delete: (key, options) => run(`delete ${key}`, () => memory.delete(key, options)),
    find: (tag, options) => memory.find(tag, options)
  }
  return { memory, store, calls, state }
}

t.test('the token can be read from preValidation on, in hooks and handlers, on earlier routes and for unknown routes', async (t) => {
  const webflow = await startWebflow(t)
  const seen: string[] = []
  const app = await createApp(t, {
    webflow,
    before: (app) => { app.get('/early', async (request) => ({ connected: request.webflowToken !== null })) },
    after: (app) => {
      app.addHook('preValidation', async (request) => { if (request.webflowToken !== null) seen.push('preValidation') })
      app.addHook('preHandler', async (request) => { if (request.webflowToken !== null) seen.push('preHandler') })
      app.addHook('onSend', async (request) => { if (request.webflowToken !== null) seen.push('onSend') })
      app.register(async (child) => { child.get('/child', async (request) => ({ connected: request.webflowToken !== null })) })
      app.setNotFoundHandler(async (request, reply) => await reply.code(404).send({ connected: request.webflowToken !== null }))
    }
  })
  const browser = new Browser(app)
  await connect(browser, webflow)
  seen.length = 0
  for (const url of ['/early', '/child', '/nowhere']) t.equal((await browser.get(url)).json().connected, true)
  t.strictSame(seen.slice(0, 3), ['preValidation', 'preHandler', 'onSend'])
})

t.test('hooks of the app that read the token run on the plugin\'s routes too', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, after: (app) => { app.addHook('preHandler', async (request) => { request.log.debug({ id: request.webflowToken?.id }) }) } }))
  t.equal((await connect(browser, webflow)).statusCode, 303)
  t.equal((await browser.navigate('/webflow/authorize')).statusCode, 302)
  t.equal((await browser.request('/webflow/revoke', { method: 'POST' })).statusCode, 200)
})

t.test('reading the token too early, or on a route that opted out, throws', async (t) => {
  const { store, calls } = createStore()
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, {
    webflow,
    options: { store },
    after: (app) => {
      app.get('/too-early', { onRequest: async (request) => { request.log.info(request.webflowToken) } }, async () => 'never')
      app.get('/opted-out', { config: { webflowToken: false } }, async () => 'ok')
      app.get('/opted-out/read', { config: { webflowToken: false } }, async (request) => request.webflowToken)
    }
  }))
  for (const connected of [false, true]) {
    if (connected) await connect(browser, webflow)
    calls.length = 0
    for (const url of ['/too-early', '/opted-out/read']) {
      const answer = await browser.get(url)
      t.equal(answer.statusCode, 500)
      t.equal(answer.json().code, 'WEBFLOW_OAUTH_TOKEN_NOT_LOADED')
      t.match(answer.json().message, url === '/too-early' ? 'before it was loaded' : '`config: { webflowToken: false }`')
    }
    t.equal((await browser.get('/opted-out')).statusCode, 200)
    t.strictSame(calls, [], 'the store is not called')
  }
})

t.test('an opted-out route does not call `identify`', async (t) => {
  let asked = 0
  const browser = new Browser(await createApp(t, {
    options: {
      identify () {
        asked++
        return null
      }
    },
    after: (app) => {
      app.get('/opted-out', { config: { webflowToken: false } }, async () => 'ok')
      app.get('/begin', { config: { webflowToken: false } }, async (request, reply) => reply.redirect(await app.webflowOAuth.startAuthorization(request, reply)))
    }
  }))
  t.equal((await browser.get('/opted-out')).statusCode, 200)
  t.equal(asked, 0)
  t.equal((await browser.get('/begin')).statusCode, 302)
  t.equal(asked, 1)
})

t.test('a request that cannot have a token costs no call of the store', async (t) => {
  const { store, calls } = createStore()
  const browser = new Browser(await createApp(t, { options: { store } }))
  await browser.get('/token')
  for (const value of ['', 'x', 'A'.repeat(42), 'A'.repeat(44), `${'A'.repeat(42)}!`, '%00', 'flow:x', '../token']) {
    browser.cookies.set('__Host-webflow', value)
    t.equal((await browser.get('/token')).json().connected, false)
  }
  browser.cookies.delete('__Host-webflow')
  browser.cookies.set('__Host-webflow2', 'A'.repeat(43))
  browser.cookies.set('x__Host-webflow', 'A'.repeat(43))
  t.equal((await browser.get('/token')).json().connected, false)
  await browser.navigate('/webflow/authorize')
  t.strictSame(calls, [])
})

t.test('a cookie whose name begins with a no-break space is neither a session nor a flow', async (t) => {
  // Chromium lets another host of the site plant such a cookie, since its name has no prefix `__Host-`: a parser that trims it would take it for ours.
  const webflow = await startWebflow(t)
  const app = await createApp(t, { webflow })
  const browser = new Browser(app)
  await connect(browser, webflow)
  const session = `__Host-webflow=${browser.cookies.get('__Host-webflow')}`
  const { location, cookies: [flow] } = await new Browser(app).navigate('/webflow/authorize')
  const callback = await webflow.approve(String(location))
  const { pathname, search } = new URL(callback)
  // As Node reads the bytes C2 A0, and as one character.
  for (const space of ['\u00c2\u00a0', '\u00a0']) {
    for (const before of ['', 'theme=dark; ']) {
      t.equal((await app.inject({ url: '/token', headers: { cookie: `${before}${space}${session}` } })).json().connected, false)
      const { statusCode, body } = await app.inject({ url: pathname + search, headers: { host: 'app.example.com', cookie: `${before}${space}${flow?.name}=${flow?.value}` } })
      t.equal(statusCode, 400)
      t.match(body, /"reason":"(?:cookie_missing|other_browser)"/)
    }
  }
  t.equal((await app.inject({ url: '/token', headers: { cookie: session } })).json().connected, true, 'without it, the cookie is a session')
  t.equal((await app.inject({ url: pathname + search, headers: { host: 'app.example.com', cookie: `${flow?.name}=${flow?.value}` } })).statusCode, 303, 'without it, the cookie is a flow')
})

t.test('a key of the store does not work as a cookie', async (t) => {
  const { store, calls } = createStore()
  const webflow = await startWebflow(t)
  const app = await createApp(t, { webflow, options: { store } })
  const browser = new Browser(app)
  await connect(browser, webflow)
  const key = String(calls.find((call) => call.startsWith('set token:'))?.slice('set token:'.length))
  t.equal((await browser.get('/token')).json().id, key)
  const thief = new Browser(app)
  thief.cookies.set('__Host-webflow', key)
  t.equal((await thief.get('/token')).json().connected, false)
})

t.test('an outage of the store is not a logout: only reading the token fails', async (t) => {
  const { store, state } = createStore()
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, {
    webflow,
    options: { store },
    after: (app) => {
      app.get('/free', async () => 'free')
      app.get('/guarded', { preHandler: app.webflowOAuth.requireToken({ onMissing: 'redirect' }) }, async () => 'guarded')
    }
  }))
  await connect(browser, webflow)
  state.mode = 'fails'
  t.equal((await browser.get('/free')).statusCode, 200)
  for (const url of ['/token', '/guarded']) {
    const answer = await browser.navigate(url)
    t.equal(answer.statusCode, 503)
    t.equal(answer.json().code, 'WEBFLOW_OAUTH_STORE_UNAVAILABLE')
    t.strictSame(answer.cookies, [])
  }
  t.equal((await browser.get('/webflow/authorize')).statusCode, 302, 'a flow begins without the store')
  state.mode = 'works'
  t.equal((await browser.get('/token')).json().connected, true)
})

t.test('a store that hangs delays one request, not the app', async (t) => {
  const { store, state, calls } = createStore()
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { store, storeTimeout: 50 } }))
  await connect(browser, webflow)
  state.mode = 'hangs'
  t.equal((await browser.get('/token')).statusCode, 503)
  calls.length = 0
  for (let i = 0; i < 20; i++) t.equal((await browser.get('/token')).statusCode, 503)
  t.strictSame(calls, [], 'the store is not called for a second')
})

t.test('a store is read by `getSync` if it can answer at once, and by `get` otherwise', async (t) => {
  const webflow = await startWebflow(t)
  for (const identify of [undefined, () => 'ada']) {
    const memory = new MemoryStore()
    let mode: 'answers' | 'must be asked' | 'throws' = 'answers'
    let asked = 0
    const store: TokenStore = {
      get: (key) => { asked++; return memory.get(key) },
      getSync: (key) => {
        if (mode === 'throws') throw new Error('down')
        return mode === 'answers' ? memory.getSync(key) : undefined
      },
      set: (key, value, options) => memory.set(key, value, options),
      delete: (key, options) => memory.delete(key, options),
      find: (tag, options) => memory.find(tag, options)
    }
    const browser = new Browser(await createApp(t, { webflow, options: { store, ...identify === undefined ? {} : { identify } } }))
    await connect(browser, webflow)
    asked = 0
    t.equal((await browser.get('/token')).json().connected, true)
    t.equal(asked, 0)
    mode = 'must be asked'
    t.equal((await browser.get('/token')).json().connected, true)
    t.equal(asked, 1)
    mode = 'throws'
    t.match((await browser.get('/token')).json(), { statusCode: 503, code: 'WEBFLOW_OAUTH_STORE_UNAVAILABLE' })
    mode = 'answers'
    t.equal((await browser.get('/token')).json().connected, true, 'that begins no rest')
  }
})

t.test('a synchronous store is read when a route first reads the token, and not for a route that does not', async (t) => {
  const webflow = await startWebflow(t)
  const memory = new MemoryStore()
  let asked = 0
  let keepsPromise = true
  const store: TokenStore = {
    isSynchronous: true,
    get: (key) => memory.get(key),
    getSync: (key) => {
      asked++
      return keepsPromise ? memory.getSync(key) : undefined
    },
    set: (key, value, options) => memory.set(key, value, options),
    delete: (key, options) => memory.delete(key, options),
    find: (tag, options) => memory.find(tag, options)
  }
  const app = await createApp(t, {
    webflow,
    options: { store },
    after: (app) => {
      app.get('/open', async () => 'open')
      app.get('/opted-out', { config: { webflowToken: false } }, async ({ webflowToken }) => webflowToken)
    }
  })
  const browser = new Browser(app)
  await connect(browser, webflow)
  asked = 0
  t.equal((await browser.get('/open')).body, 'open')
  t.match((await browser.get('/opted-out')).json(), { code: 'WEBFLOW_OAUTH_TOKEN_NOT_LOADED' })
  t.equal((await new Browser(app).get('/token')).json().connected, false)
  t.equal(asked, 0)
  t.equal((await browser.get('/token')).json().connected, true)
  t.equal(asked, 1)
  keepsPromise = false
  t.match((await browser.get('/token')).json(), { statusCode: 503, code: 'WEBFLOW_OAUTH_STORE_UNAVAILABLE' }, 'a store that breaks its promise is an outage')
})

t.test('a value under an unknown secret is an outage, and a changed value is not a token', async (t) => {
  const { memory, store, calls } = createStore()
  const webflow = await startWebflow(t)
  const old = await createApp(t, { webflow, options: { store, secret: 'the old secret, of 32 bytes and more' } })
  const replica = await createApp(t, { webflow, options: { store, secret: 'the new secret, of 32 bytes and more' } })
  const browser = new Browser(old)
  await connect(browser, webflow)
  const halfDeployed = await browser.clone(replica).get('/token')
  t.equal(halfDeployed.statusCode, 503)
  t.equal(halfDeployed.json().code, 'WEBFLOW_OAUTH_STORE_UNAVAILABLE')

  const key = String(calls.find((call) => call.startsWith('set token:'))?.slice('set '.length))
  const value = String(await memory.get(key))
  await memory.set(key, value.slice(0, -4) + (value.endsWith('AAAA') ? 'BBBB' : 'AAAA'), { expiresAt: Date.now() + 60_000 })
  t.equal((await browser.get('/token')).json().connected, false)
  await memory.set(key, value, { expiresAt: Date.now() + 60_000 })
  t.equal((await browser.get('/token')).json().connected, true)
})

t.test('a token lives on while it is used and otherwise ends', async (t) => {
  mock.timers.enable({ apis: ['Date'], now: Date.now() })
  t.teardown(() => mock.timers.reset())
  const webflow = await startWebflow(t)
  const app = await createApp(t, {
    webflow,
    options: { sessionMaxAge: 1000 },
    after: (app) => { app.get('/expires', async (request) => ({ left: Number(request.webflowToken?.expiresAt) - Date.now() })) }
  })
  const browser = new Browser(app)
  await connect(browser, webflow)
  const { id } = (await browser.get('/token')).json()
  mock.timers.tick(500_000)
  t.equal((await browser.get('/expires')).json().left, 500_000, 'the first half of its life is not over yet')
  t.equal((await browser.get('/expires')).json().left, 500_000)
  mock.timers.tick(1)
  await browser.get('/expires')
  t.equal((await browser.get('/expires')).json().left, 1_000_000, 'the deadline has moved')
  mock.timers.tick(999_999)
  t.equal((await app.webflowOAuth.getToken(String(id)))?.id, id, 'a job counts as use')
  mock.timers.tick(999_999)
  t.equal((await browser.get('/token')).json().id, id)
  mock.timers.tick(1_000_000)
  t.equal((await browser.get('/token')).json().connected, false)
})

t.test('each request gets its own token object', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, {
    webflow,
    after: (app) => {
      app.get('/spoil', async (request) => {
        const { webflowToken } = request
        webflowToken?.expiresAt.setTime(0)
        return { same: webflowToken === request.webflowToken }
      })
    }
  }))
  await connect(browser, webflow)
  t.equal((await browser.get('/spoil')).json().same, true)
  t.equal((await browser.get('/token')).json().connected, true)
})

t.test('two apps in sibling scopes with one server and one store never see each other\'s tokens', async (t) => {
  const webflow = await startWebflow(t, {}, ['https://app.example.com/a/callback', 'https://app.example.com/b/callback'])
  const store = new MemoryStore()
  const app = Fastify()
  t.teardown(() => app.close())
  const instances: WebflowOAuth[] = []
  for (const name of ['a', 'b']) {
    await app.register(async (scope) => {
      await scope.register(webflowOAuth, { ...baseOptions(webflow), store, cookieName: name, redirectUri: `https://app.example.com/${name}/callback` })
      scope.get('/token', async (request) => ({ connected: request.webflowToken !== null }))
      instances.push(scope.webflowOAuth)
      const [first] = instances
      scope.get('/crossed', async (request) => ({ connected: request.webflowToken !== null, id: first?.tokenOf(request).id }))
    }, { prefix: `/${name}` })
  }
  const browser = new Browser(app)
  const back = await connect(browser, webflow, { path: '/a/authorize' })
  t.equal(back.statusCode, 303)
  t.equal((await browser.get('/a/token')).json().connected, true)
  t.equal((await browser.get('/b/token')).json().connected, false)
  await connect(browser, webflow, { path: '/b/authorize' })
  t.equal((await browser.get('/a/crossed')).json().connected, true)
  t.equal((await browser.get('/b/crossed')).json().code, 'WEBFLOW_OAUTH_TOKEN_NOT_LOADED', 'an instance does not accept the token of another')
  const { location } = await browser.navigate('/a/authorize')
  const crossed = new URL(await webflow.approve(String(location)))
  crossed.pathname = '/b/callback'
  t.equal((await browser.get(crossed.href)).json().reason, 'other_browser')
})

t.test('the guard lets requests with a token pass, and its errors name what is missing', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, {
    webflow,
    after: (app) => {
      const { requireToken, tokenOf } = app.webflowOAuth
      app.get('/validated', { preValidation: requireToken() }, async (request) => ({ id: tokenOf(request).id }))
      app.get('/handled', { preHandler: requireToken({ scope: ['sites:read'] }) }, async (request) => ({ id: tokenOf(request).id }))
      app.get('/scoped', { preHandler: requireToken({ scope: ['sites:read', 'cms:write', 'authorized_user:read'] }) }, async () => 'never')
      app.get('/unguarded', async (request) => ({ id: tokenOf(request).id }))
      app.get('/too-early', { onRequest: requireToken() }, async () => 'never')
    }
  }))
  for (const url of ['/validated', '/handled', '/scoped', '/unguarded']) {
    const answer = await browser.navigate(url)
    t.equal(answer.statusCode, 401)
    t.equal(answer.json().code, 'WEBFLOW_OAUTH_TOKEN_REQUIRED')
  }
  t.equal((await browser.get('/too-early')).json().code, 'WEBFLOW_OAUTH_INVALID_OPTION')
  await connect(browser, webflow)
  for (const url of ['/validated', '/handled', '/unguarded']) t.equal((await browser.get(url)).statusCode, 200)
  const answer = await browser.get('/scoped')
  t.equal(answer.statusCode, 403)
  t.equal(answer.json().code, 'WEBFLOW_OAUTH_SCOPE_MISSING')
  t.match(answer.json().message, 'lacks the scope cms:write authorized_user:read. It has sites:read cms:read. ')
})

t.test('the error for a missing scope lists only valid scopes, and a limited number', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, {
    webflow,
    options: { introspect: false },
    after: (app) => { app.get('/scoped', { preHandler: app.webflowOAuth.requireToken({ scope: ['cms:write'] }) }, async () => 'never') }
  }))
  const many = Array.from({ length: 40 }, (_, index) => `scope_${index}:read`)
  for (const [scope, message] of [['<b>free text</b> \u001b[31m', /It has none\. /], [`${many.join(' ')} <b>`, /It has scope_0:read .* scope_29:read and 10 more\. /]] as const) {
    const { location } = await browser.navigate('/webflow/authorize')
    const url = await webflow.approve(String(location))
    webflow.fail('token', { body: { access_token: randomBytes(16).toString('hex'), token_type: 'bearer', scope } })
    await browser.navigate(url)
    const answer = await browser.get('/scoped')
    t.match(answer.json(), { code: 'WEBFLOW_OAUTH_SCOPE_MISSING', message })
    t.notMatch(answer.body, '<b>')
  }
})

t.test('a guard with wrong options is refused when it is created', async (t) => {
  const { requireToken } = (await createApp(t)).webflowOAuth
  for (const options of [{ scope: [] }, { scope: 'sites:read' }, { scope: ['sites read'] }, { onMissing: 'loop' }, { scopes: ['sites:read'] }]) {
    t.throws(() => Reflect.apply(requireToken, null, [options]), { code: 'WEBFLOW_OAUTH_INVALID_OPTION' })
  }
})

t.test('a guard whose scope does not fit into a flow cookie is refused when it is created', async (t) => {
  const { requireToken } = (await createApp(t)).webflowOAuth
  const scope = Array.from({ length: 70 }, (_, index) => `${'s'.repeat(40)}_${index}:read`)
  t.throws(() => requireToken({ scope, onMissing: 'redirect' }), { code: 'WEBFLOW_OAUTH_INVALID_OPTION', message: /`scope` is too long/ })
  t.type(requireToken({ scope }), 'function', 'a guard that begins no flow needs no cookie')
})

/** An app with a page behind a guard that leads through a flow. */
async function createGuarded (t: Parameters<typeof createApp>[0], webflow: Awaited<ReturnType<typeof startWebflow>>, options = {}) {
  return await createApp(t, {
    webflow,
    options,
    after: (app) => {
      const { requireToken } = app.webflowOAuth
      app.get('/page', { preHandler: requireToken({ onMissing: 'redirect' }) }, async () => 'page')
      app.get('/wide', { preHandler: requireToken({ onMissing: 'redirect', scope: ['cms:write'] }) }, async () => 'wide')
      app.post('/page', { preHandler: requireToken({ onMissing: 'redirect' }) }, async () => 'posted')
    }
  })
}

t.test('the guard leads a person through a flow and back to the same page', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createGuarded(t, webflow))
  const away = await browser.navigate('/page?tab=1&q=a%20b')
  t.equal(away.statusCode, 302)
  t.equal(away.headers['cache-control'], 'no-store')
  const back = await browser.navigate(await webflow.approve(String(away.location)))
  t.equal(back.location, 'https://app.example.com/page?tab=1&q=a%20b')
  t.equal((await browser.navigate('/page')).body, 'page')

  const wider = await browser.navigate('/wide')
  t.equal(new URL(String(wider.location)).searchParams.get('scope'), 'sites:read cms:read cms:write')
  await browser.navigate(await webflow.approve(String(wider.location)))
  t.equal((await browser.navigate('/wide')).body, 'wide')
})

t.test('the guard redirects only page navigations: programs, POST, HEAD and prefetches get an error', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createGuarded(t, webflow))
  t.equal((await browser.get('/page')).statusCode, 401)
  t.equal((await browser.get('/page', { accept: 'application/json, text/plain' })).statusCode, 401)
  t.equal((await browser.get('/page', { accept: 'text/html', 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty' })).statusCode, 401)
  t.equal((await browser.get('/page', { ...navigation, 'sec-fetch-dest': 'iframe' })).statusCode, 401)
  t.equal((await browser.get('/page', { accept: 'text/html,*/*' })).statusCode, 302, 'an old browser')
  t.equal((await browser.request('/page', { method: 'POST', headers: navigation })).statusCode, 401)
  t.equal((await browser.request('/page', { method: 'HEAD', headers: navigation })).statusCode, 401)
  const prefetch = await browser.navigate('/page', { 'sec-purpose': 'prefetch' })
  t.equal(prefetch.statusCode, 503)
  t.equal(prefetch.body, '')
  t.strictSame(prefetch.cookies, [])
})

t.test('if the flow cannot return to the guarded page, it ends at `successRedirect`', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createGuarded(t, webflow, { successRedirect: '/home' }))
  const away = await browser.navigate(`/page?q=${'x'.repeat(2048)}`)
  const back = await browser.navigate(await webflow.approve(String(away.location)))
  t.equal(back.location, 'https://app.example.com/home')
})

t.test('after three flows in a minute the guard answers with an error, so that nothing loops', async (t) => {
  mock.timers.enable({ apis: ['Date'], now: Date.now() })
  t.teardown(() => mock.timers.reset())
  const webflow = await startWebflow(t)
  const browser = new Browser(await createGuarded(t, webflow))
  // As from tabs in which Webflow's page is still open.
  for (let tabs = 0; tabs < 4; tabs++) await browser.navigate('/webflow/authorize')
  for (let i = 0; i < 3; i++) {
    mock.timers.tick(1000)
    const away = await browser.navigate('/page')
    t.equal(away.statusCode, 302)
    await browser.navigate(await webflow.deny(String(away.location)))
  }
  const stopped = await browser.navigate('/page')
  t.equal(stopped.statusCode, 401)
  t.strictSame(stopped.cookies, [])
  mock.timers.tick(60_000)
  t.equal((await browser.navigate('/page')).statusCode, 302)
})

t.test('behind a proxy that removes a prefix, the guard and the page lead to public URLs', async (t) => {
  const redirectUri = 'https://app.example.com/api/webflow/callback'
  const webflow = await startWebflow(t, {}, [redirectUri])
  const browser = new Browser(await createGuarded(t, webflow, { redirectUri, callbackPath: '/webflow/callback' }))
  const away = await browser.navigate('/page')
  const url = await webflow.approve(String(away.location))
  const back = await browser.navigate(url.replace('/api/', '/'))
  t.equal(back.location, 'https://app.example.com/api/page')
  t.match((await browser.navigate('/webflow/callback')).body, 'href="https://app.example.com/api/webflow/authorize"')
})

t.test('the plugin works and compiles on HTTP/2', async (t) => {
  const app = Fastify({ http2: true })
  t.teardown(() => app.close())
  await app.register(webflowOAuth, baseOptions(null))
  app.get<{ Params: { id: string } }>('/sites/:id', { preHandler: app.webflowOAuth.requireToken() }, async (request) => app.webflowOAuth.tokenOf(request).id)
  app.get('/begin', async (request, reply) => ({ url: await app.webflowOAuth.startAuthorization(request, reply) }))
  app.post('/logout', async (request, reply) => { await app.webflowOAuth.endSession(request, reply) })
  const session = http2Connect(await app.listen({ port: 0 }))
  t.teardown(() => session.close())
  const statusOf = async (path: string) => {
    const stream = session.request({ ':path': path })
    const [headers] = await once(stream, 'response')
    stream.resume()
    return headers[':status']
  }
  t.equal(await statusOf('/sites/1'), 401)
  t.equal(await statusOf('/begin'), 200)
  t.equal(await statusOf('/webflow/authorize'), 302)
  t.equal(await statusOf('/webflow/callback?code=a&state=b'), 400)
})

t.test('an app begins a flow from a route of its own', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, {
    webflow,
    after: (app) => {
      app.get('/begin', async (request, reply) => reply.redirect(await app.webflowOAuth.startAuthorization(request, reply, { returnTo: '/settings', scope: ['cms:write'] })))
      app.get('/begin-elsewhere', async (request, reply) => reply.redirect(await app.webflowOAuth.startAuthorization(request, reply, { returnTo: 'https://evil.example/' })))
      app.get('/begin-wrongly', async (request, reply) => reply.redirect(await app.webflowOAuth.startAuthorization(request, reply, { scope: [] })))
    }
  }))
  const begun = await browser.navigate('/begin')
  t.equal(begun.headers['cache-control'], 'no-store')
  t.equal(new URL(String(begun.location)).searchParams.get('scope'), 'cms:write')
  t.equal((await browser.navigate(await webflow.approve(String(begun.location)))).location, 'https://app.example.com/settings')
  t.strictSame((await browser.get('/token')).json().scope, ['cms:write'])
  const elsewhere = await browser.navigate('/begin-elsewhere')
  t.equal((await browser.navigate(await webflow.approve(String(elsewhere.location)))).location, 'https://app.example.com/')
  t.equal((await browser.get('/begin-wrongly')).json().code, 'WEBFLOW_OAUTH_INVALID_OPTION')
})

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

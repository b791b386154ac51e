import { mock } from 'node:test'
import t from 'tap'
import { MemoryStore, WebflowOAuthError, type TokenStore } from '../lib/index.ts'
import { assertNothingLeaked, connect, createApp, startWebflow } from './support/app.ts'
import { Browser, navigation } from './support/browser.ts'

/** The user of the app: here whoever a header names. */
const identify = ({ headers }: { headers: Record<string, string | string[] | undefined> }) => {
  const user = headers['x-user']
  return typeof user === 'string' ? user : null
}
const ada = { 'x-user': 'ada' }
const grace = { 'x-user': 'grace' }

/** The longest ids of users, in one, two, three and four bytes a character, and odd ones. */
const users = ['a'.repeat(255), `a${'é'.repeat(127)}`, '語'.repeat(85), `abc${'😀'.repeat(63)}`, ' ', '\0', '\ufffd']
/** What is too long, and what has no UTF-8 of its own: lone surrogates. */
const noUsers = ['a'.repeat(256), 'é'.repeat(128), '語'.repeat(86), '😀'.repeat(64), '\ud800', 'ada\udc00', '\udc00\ud800', `${'a'.repeat(10)}\udbff`]

t.test('a token belongs to the user, on every device, without a session cookie of the plugin', async (t) => {
  const webflow = await startWebflow(t)
  const app = await createApp(t, { webflow, options: { identify } })
  const browser = new Browser(app)
  const back = await connect(browser, webflow, { headers: ada })
  t.equal(back.statusCode, 303)
  t.notOk(browser.cookies.has('__Host-webflow'))
  t.equal((await new Browser(app).get('/token', ada)).json().connected, true)
  t.equal((await new Browser(app).get('/token', grace)).json().connected, false)
  t.equal((await browser.get('/token')).json().connected, false, 'without a user there is no token')
  browser.cookies.set('__Host-webflow', 'A'.repeat(43))
  t.equal((await browser.get('/token')).json().connected, false, 'a session cookie is ignored')
})

t.test('a user id is a well-formed string of at most 255 bytes, and anything else is a mistake of the app', async (t) => {
  let user: unknown
  const app = await createApp(t, { options: { identify: () => Object(user) === user ? Object(user) : user === undefined ? undefined : Reflect.get({ user }, 'user') } })
  for (user of [...noUsers, 5, true, {}, []]) {
    for (const url of ['/token', '/webflow/authorize']) {
      const { statusCode, json } = await app.inject(url)
      t.equal(statusCode, 500)
      t.match(json(), { code: 'WEBFLOW_OAUTH_INVALID_OPTION', message: /^`identify` must return the user's id, a well-formed string of at most 255 bytes, or null when nobody is signed in\.$/ })
    }
  }
  for (user of [...users, null, undefined, '']) t.match((await app.inject('/token')).json(), { connected: false })
})

t.test('two users never share a token, however their ids are spelled', async (t) => {
  const webflow = await startWebflow(t)
  let user = ''
  const app = await createApp(t, { webflow, options: { identify: () => user } })
  const ids = new Set<unknown>()
  // In UTF-8 a lone surrogate is written as U+FFFD.
  for (user of ['ada\ufffd', 'ada\u00a0', 'ada', 'a\u0301', '\u00e1', ...users]) {
    const browser = new Browser(app)
    t.equal((await connect(browser, webflow)).statusCode, 303)
    ids.add((await browser.get('/token')).json().id)
  }
  t.equal(ids.size, 12)
  for (user of ['ada\ud800', 'ada\udfff']) t.equal((await app.inject('/token')).statusCode, 500)
})

t.test('the token keeps its id when the user connects again', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { identify } }))
  await connect(browser, webflow, { headers: ada })
  const first = (await browser.get('/token', ada)).json()
  await connect(browser, webflow, { headers: ada })
  const second = (await browser.get('/token', ada)).json()
  t.equal(second.id, first.id)
  t.not(second.accessToken, first.accessToken)
})

t.test('`identify` may return a promise', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { identify: async (request) => await Promise.resolve(identify(request) ?? '') } }))
  await connect(browser, webflow, { headers: ada })
  t.equal((await browser.get('/token', ada)).json().connected, true)
  t.equal((await browser.get('/token')).json().connected, false)
})

t.test('an invalid answer of `identify` is a 500 on the plugin\'s routes and when the token is read', async (t) => {
  const mistakes = [
    () => { throw new Error('no session plugin') },
    async () => { throw new WebflowOAuthError('WEBFLOW_OAUTH_TOKEN_REQUIRED', 'thrown by the app') },
    () => Object.assign({}, { id: 5 }),
    async () => 7
  ]
  for (const mistake of mistakes) {
    const options = Object.assign({ identify }, { identify: mistake })
    const browser = new Browser(await createApp(t, { options: Object.assign({}, options), after: (app) => app.get('/free', async () => 'free') }))
    for (const url of ['/webflow/authorize', '/token']) {
      const answer = await browser.get(url)
      t.equal(answer.statusCode, 500)
      t.equal(answer.json().code, 'WEBFLOW_OAUTH_INVALID_OPTION')
      t.match(answer.json().message, '`identify`')
    }
    t.equal((await browser.request('/webflow/revoke', { method: 'POST' })).statusCode, 403)
    t.equal((await browser.request('/webflow/revoke', { method: 'POST', headers: { authorization: 'x' } })).statusCode, 500)
    t.equal((await browser.get('/free')).statusCode, 200, 'a page that needs no token still works')
  }
})

t.test('`identify` runs after every `onRequest` hook and sees what the hook has set', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, {
    webflow,
    options: { identify: (request) => request.getDecorator<string | null>('account') },
    before: (app) => { app.decorateRequest('account', null) },
    after: (app) => { app.addHook('onRequest', async (request) => { request.setDecorator('account', identify(request)) }) }
  }))
  await connect(browser, webflow, { headers: ada })
  t.equal((await browser.get('/token', ada)).json().connected, true)
})

t.test('authentication in a later hook is early enough for the guard and for the plugin\'s routes', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, {
    webflow,
    options: { identify: (request) => request.getDecorator<string | null>('account') },
    before: (app) => {
      app.decorateRequest('account', null)
      app.addHook('preValidation', async (request) => { request.setDecorator('account', identify(request)) })
    },
    after: (app) => {
      app.get('/guarded', { preHandler: app.webflowOAuth.requireToken() }, async (request) => ({ id: app.webflowOAuth.tokenOf(request).id }))
    }
  }))
  t.equal((await connect(browser, webflow, { headers: ada })).statusCode, 303)
  t.equal((await browser.get('/guarded', ada)).statusCode, 200)
  t.equal((await browser.get('/guarded')).statusCode, 401)
  const gone = await browser.request('/webflow/revoke', { method: 'POST', headers: { ...ada, authorization: 'Bearer x' } })
  t.strictSame(gone.json(), { revoked: true, upstream: 'revoked' })
})

t.test('another user at the callback is refused', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { identify } }))
  const { location } = await browser.navigate('/webflow/authorize', ada)
  const url = await webflow.approve(String(location))
  const answer = await browser.get(url, grace)
  t.equal(answer.statusCode, 400)
  t.equal(answer.json().reason, 'other_user')
  t.equal(webflow.requests.token.length, 0)
  t.equal((await browser.get(url, ada)).statusCode, 303, 'the flow is still valid')
})

t.test('an expired flow is reported before a wrong user', async (t) => {
  mock.timers.enable({ apis: ['Date'], now: Date.now() })
  t.teardown(() => mock.timers.reset())
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { identify, flowMaxAge: 100 } }))
  const url = await webflow.approve(String((await browser.navigate('/webflow/authorize', ada)).location))
  mock.timers.tick(100_001)
  t.equal((await browser.get(url, grace)).json().reason, 'expired')
  t.equal((await browser.get(url)).json().reason, 'expired')
})

t.test('a callback without a user gets one reload', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { identify } }))
  const { location } = await browser.navigate('/webflow/authorize', ada)
  const url = await webflow.approve(String(location))
  const reload = await browser.navigate(url, { 'sec-fetch-site': 'cross-site' })
  t.equal(reload.statusCode, 200)
  t.match(reload.body, '<meta http-equiv="refresh" content="0">')
  t.notMatch(reload.body, 'code=')
  t.equal(reload.headers['x-content-type-options'], 'nosniff')
  const still = await browser.get(url, { ...navigation, 'sec-fetch-site': 'same-origin' })
  t.equal(still.statusCode, 401, 'no second reload')
  const program = await browser.get(url, { 'sec-fetch-site': 'cross-site' })
  t.equal(program.json().code, 'WEBFLOW_OAUTH_USER_REQUIRED', 'no reload for a program')
  t.equal(webflow.requests.token.length, 0)
  t.equal((await browser.navigate(url, { ...ada, 'sec-fetch-site': 'same-origin' })).statusCode, 303)
})

t.test('a flow may begin without a user, and its token belongs to the user at the callback', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { identify } }))
  const { location } = await browser.navigate('/webflow/authorize')
  const url = await webflow.approve(String(location))
  const nobody = await browser.navigate(url, { 'sec-fetch-site': 'cross-site' })
  t.equal(nobody.statusCode, 401)
  t.equal(webflow.requests.token.length, 0, 'the code is unspent')
  t.equal((await browser.navigate(url, ada)).statusCode, 303)
  t.equal((await browser.get('/token', ada)).json().connected, true)
})

t.test('an install from the Marketplace goes to the user who is signed in', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { identify } }))
  const restarted = await browser.navigate(await webflow.install())
  t.equal(restarted.statusCode, 302)
  t.equal((await browser.navigate(await webflow.approve(String(restarted.location)), ada)).statusCode, 303)
  t.equal((await browser.get('/token', ada)).json().connected, true)
})

t.test('a repeated callback gets the same answer again', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { identify } }))
  const { location } = await browser.navigate('/webflow/authorize', ada)
  const url = await webflow.approve(String(location))
  for (const answer of [await browser.navigate(url, ada), await browser.navigate(url, ada)]) {
    t.equal(answer.statusCode, 303)
    t.notOk(answer.cookies.some(({ name }) => name === '__Host-webflow'))
  }
  t.equal((await browser.get(url, grace)).json().reason, 'other_user')

  const begunByNobody = await webflow.approve(String((await browser.navigate('/webflow/authorize')).location))
  t.equal((await browser.navigate(begunByNobody, ada)).statusCode, 303)
  t.equal((await browser.get(begunByNobody, grace)).json().reason, 'other_user')
})

t.test('rotating the secret during a flow loses nothing', async (t) => {
  const webflow = await startWebflow(t)
  const store = new MemoryStore()
  const [before, after] = ['the old secret, of 32 bytes and more', 'the new secret, of 32 bytes and more']
  const old = await createApp(t, { webflow, options: { identify, store, secret: [before, after] } })
  const rotated = await createApp(t, { webflow, options: { identify, store, secret: [after, before] } })
  const browser = new Browser(old)
  const { location } = await browser.navigate('/webflow/authorize', ada)
  const url = await webflow.approve(String(location))
  t.equal((await browser.clone(rotated).navigate(url, ada)).statusCode, 303)
  t.equal((await browser.navigate(url, ada)).statusCode, 303, 'a process with the old list opens what the new secret has sealed')
  t.equal((await browser.get('/token', ada)).json().connected, true)
})

t.test('an app begins a flow for a user whose callback carries no credentials', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, {
    webflow,
    options: { identify },
    after: (app) => {
      app.post('/connect', async (request, reply) => ({ url: await app.webflowOAuth.startAuthorization(request, reply, { user: 'ada', returnTo: '/done' }) }))
      app.get('/job', async () => ({ connected: await app.webflowOAuth.getToken({ user: 'ada' }) !== null }))
    }
  }))
  const { url } = (await browser.request('/connect', { method: 'POST', headers: ada })).json()
  const back = await webflow.approve(String(url))
  t.equal((await browser.get(back, grace)).json().reason, 'other_user')
  const answer = await browser.navigate(back, { 'sec-fetch-site': 'cross-site' })
  t.equal(answer.statusCode, 303)
  t.equal(answer.location, 'https://app.example.com/done')
  t.equal((await browser.get('/token', ada)).json().connected, true)
  t.equal((await browser.get('/job')).json().connected, true)
})

t.test('`user` is refused without `identify` and when it is empty', async (t) => {
  const withUsers = await createApp(t, { options: { identify }, after: (app) => { app.get('/x', async (request, reply) => await app.webflowOAuth.startAuthorization(request, reply, { user: '' })) } })
  t.equal((await new Browser(withUsers).get('/x')).json().code, 'WEBFLOW_OAUTH_INVALID_OPTION')
  const withSessions = await createApp(t)
  await t.rejects(withSessions.webflowOAuth.getToken({ user: 'ada' }), { code: 'WEBFLOW_OAUTH_INVALID_OPTION', message: /identify/ })
})

t.test('`revoke` and `endSession` delete the user\'s token', async (t) => {
  const webflow = await startWebflow(t)
  const revoked: Array<string | null> = []
  const app = await createApp(t, {
    webflow,
    options: { identify, onRevoke: (token, request) => { revoked.push(request === null ? null : token.id) } },
    after: (app) => {
      app.post('/logout', async (request, reply) => {
        await app.webflowOAuth.endSession(request, reply)
        return { connected: request.webflowToken !== null }
      })
    }
  })
  const browser = new Browser(app)
  await connect(browser, webflow, { headers: ada })
  t.strictSame(await app.webflowOAuth.revoke({ user: 'ada' }), { revoked: true, upstream: 'revoked' })
  t.equal((await browser.get('/token', ada)).json().connected, false)
  t.strictSame(await app.webflowOAuth.revoke({ user: 'ada' }), { revoked: false })
  t.strictSame(revoked, [null])

  await connect(browser, webflow, { headers: ada })
  const ended = await browser.request('/logout', { method: 'POST', headers: ada })
  t.strictSame(ended.json(), { connected: false })
  t.strictSame(ended.cookies, [])
  t.equal(await app.webflowOAuth.getToken({ user: 'ada' }), null)
  t.equal(webflow.requests.revoke.length, 1)
})

t.test('outside a request, a malformed id finds no token without a call to the store, and other invalid references are refused by name', async (t) => {
  let reads = 0
  const memory = new MemoryStore()
  const store: TokenStore = {
    get: (key) => { reads++; return memory.get(key) },
    set: (key, value, options) => memory.set(key, value, options),
    delete: (key, options) => memory.delete(key, options),
    find: (tag, options) => memory.find(tag, options)
  }
  const { webflowOAuth: api } = await createApp(t, { options: { identify, store } })
  for (const id of ['', 'x', 'A'.repeat(42), 'A'.repeat(44), `${'A'.repeat(43)}\n`, ` ${'A'.repeat(43)}`, `${'A'.repeat(43)} x`, `x ${'A'.repeat(43)}`]) t.equal(await api.getToken(id), null)
  t.equal(reads, 0)
  t.equal(await api.getToken('A'.repeat(43)), null)
  t.equal(reads, 1)
  for (const reference of [5, null, undefined, {}, true]) await t.rejects(Reflect.apply(api.getToken, undefined, [reference]), { code: 'WEBFLOW_OAUTH_INVALID_OPTION', message: /^`token` must be a token's id or `{ user }`\.$/ })
  for (const user of [5, null, undefined, '', ...noUsers]) {
    for (const call of [api.getToken, api.revoke, api.checkToken, api.reportUnauthorized]) {
      await t.rejects(Reflect.apply(call, undefined, [{ user }]), { code: 'WEBFLOW_OAUTH_INVALID_OPTION', statusCode: 500, message: /^`user` must be a well-formed string that is not empty, of at most 255 bytes\.$/ })
    }
  }
  t.equal(reads, 1)
  for (const user of users) t.equal(await api.getToken({ user }), null)
  t.throws(() => Reflect.apply(api.requireToken, undefined, [{ scope: [] }]), { code: 'WEBFLOW_OAUTH_INVALID_OPTION', message: /^`scope` must be/ })
  t.throws(() => Reflect.apply(api.requireToken, undefined, [{ onMissing: 'page' }]), { code: 'WEBFLOW_OAUTH_INVALID_OPTION', message: /^`onMissing` must be/ })
})

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

import { Redis } from 'ioredis'
import { setImmediate as turn } from 'node:timers/promises'
import { mock } from 'node:test'
import t from 'tap'
import { MemoryStore, type TokenImport, type TokenStore, type WebflowOAuth, type WebflowOAuthOptions, type WebflowToken } from '../lib/index.ts'
import { RedisStore } from '../stores/redis.ts'
import { assertNothingLeaked, connect, createApp, grantToken, startWebflow } from './support/app.ts'
import { Browser } from './support/browser.ts'
import { eventually, identify, ids, methodsOf, nothing, opens, outage, startBench, startParts, stopClock, unavailable, watchStore, type MadeUpAnswer } from './support/installation.ts'
import { rememberSecrets } from './support/logs.ts'
import { findRedis, startRedis } from './support/redis-server.ts'

const withoutRedis = findRedis() === null && process.env['REQUIRE_REDIS'] !== '1' ? 'no redis-server on the PATH' : false
const ada = { 'x-user': 'ada' }
const hour = 60 * 60_000
const revoked: MadeUpAnswer = { statusCode: 401, body: { code: 'not_authorized', message: 'Request not authorized' } }
const ago = (milliseconds: number) => new Date(Date.now() - milliseconds)
const createdOn = (time: Date): MadeUpAnswer => ({ body: { authorization: { createdOn: time.toISOString() } } })
/** What a test compares: the outcome and the access token. */
const told = ({ outcome, token }: TokenImport) => [outcome, token?.accessToken ?? null]
const withUsers: Partial<WebflowOAuthOptions> = { identify }

t.test('the owner of a token', async (t) => {
  t.test('is the user of the app, in handlers, hooks and searches', async (t) => {
    const seen: Record<string, Array<string | null>> = {}
    const see = (where: string, token: WebflowToken | null) => { (seen[where] ??= []).push(token?.owner ?? null) }
    const bench = await startBench(t, {
      options: {
        identify,
        beforeStore: (token) => see('beforeStore', token),
        onSuccess (token) {
          see('onSuccess', token)
          bench.connected.push(token)
        },
        onRevoke: (token) => see('onRevoke', token),
        onDisconnect: (token) => see('onDisconnect', token)
      },
      after: (app) => app.get('/owner', async ({ webflowToken }) => webflowToken)
    })
    const { app, webflow } = bench
    const { token } = await bench.install(undefined, { headers: ada })
    see('handler', (await app.inject({ url: '/owner', headers: ada })).json())
    see('getToken by user', await app.webflowOAuth.getToken({ user: 'ada' }))
    see('getToken by id', await app.webflowOAuth.getToken(token.id))
    for (const found of await app.webflowOAuth.findTokens({ siteId: ids.engine })) see('findTokens', found)
    for await (const found of app.webflowOAuth.listTokens()) see('listTokens', found)
    await app.webflowOAuth.revoke({ user: 'ada' })
    const { token: second } = await bench.install(undefined, { headers: ada })
    webflow.revokeToken(second.accessToken)
    t.equal(await app.webflowOAuth.reportUnauthorized(second.id), 'revoked')
    t.strictSame(seen, {
      beforeStore: ['ada', 'ada'],
      onSuccess: ['ada', 'ada'],
      handler: ['ada'],
      'getToken by user': ['ada'],
      'getToken by id': ['ada'],
      findTokens: ['ada'],
      listTokens: ['ada'],
      onRevoke: ['ada'],
      onDisconnect: ['ada']
    })
  })

  t.test('is null for a token of a session', async (t) => {
    const { install } = await startBench(t)
    const { token } = await install()
    t.equal(token.owner, null)
    t.equal(JSON.parse(JSON.stringify(token)).owner, null)
  })

  t.test('is in the JSON of a token, as Webflow\'s user is, and in no clear text in the store', async (t) => {
    const texts: string[] = []
    const store = new MemoryStore()
    const recording: TokenStore = {
      ...methodsOf(store),
      async set (key, value, options) {
        texts.push(key, value, ...options.tags ?? [])
        return await store.set(key, value, options)
      }
    }
    const { install } = await startBench(t, { options: { identify, store: recording } })
    const user = 'ada@accounts.example'
    const { token } = await install(undefined, { headers: { 'x-user': user } })
    t.equal(JSON.parse(JSON.stringify(token)).owner, user)
    t.ok(texts.length > 0)
    t.notOk(texts.some((text) => text.includes(user) || Buffer.from(text, 'base64url').includes(user)))
  })

  t.test('is the user for whom the app began the flow, though the callback names nobody', async (t) => {
    const webflow = await startWebflow(t)
    const connected: Array<string | null> = []
    const user = `${'語'.repeat(84)}ada`
    const app = await createApp(t, {
      webflow,
      options: { identify: () => null, onSuccess: (token) => { connected.push(token.owner) } },
      after: (app) => {
        app.get<{ Querystring: { returnTo?: string } }>('/begin', async (request, reply) => {
          const { returnTo } = request.query
          return reply.redirect(await app.webflowOAuth.startAuthorization(request, reply, { user, popup: true, returnTo }))
        })
      }
    })
    const browser = new Browser(app)
    t.equal((await connect(browser, webflow, { path: '/begin' })).statusCode, 200)
    t.strictSame(connected, [user])
    t.equal((await app.webflowOAuth.getToken({ user }))?.owner, user)

    const { headers } = await browser.get(`/begin?returnTo=${encodeURIComponent(`/${'a'.repeat(2000)}`)}`)
    const cookie = [headers['set-cookie']].flat().map(String).find((header) => header.includes('_flow_')) ?? ''
    t.ok(cookie.length > 600 && cookie.length <= 4096, 'the flow cookie is one that browsers keep')
    const [, payload = ''] = /=([\w-]+)\./.exec(cookie) ?? []
    t.notOk(Buffer.from(payload, 'base64url').includes('語'), 'and holds the user sealed')
  })

  t.test('comes from a flow cookie only with the state for which it was sealed', async (t) => {
    const { parts } = await startParts(t, () => nothing, withUsers)
    const flow = { state: 'state', startedAt: 0, expired: false, cookie: { returnTo: '', scope: [], startedAt: 0, user: null, owner: null, popup: false, endedAt: null, seed: '' } }
    t.equal(parts.flows.ownerOf(flow), null)
    t.equal(parts.flows.ownerOf({ ...flow, cookie: { ...flow.cookie, owner: 'v1.aaaaaaaa.aaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaa' } }), null)
  })

  t.test('is added to a record of version 0.1 when its user comes back, and costs later requests nothing', async (t) => {
    const store = watchStore(new MemoryStore())
    const { parts, write } = await startParts(t, () => nothing, { ...withUsers, store })
    const app = await createApp(t, { options: { identify, store, introspect: false }, after: (app) => app.get('/owner', async ({ webflowToken }) => webflowToken?.owner) })
    const tokenId = await write('token of 0.1', {}, parts.identity.userTokenId('ada'))
    t.equal((await app.webflowOAuth.getToken(tokenId))?.owner, null)
    store.calls.set = 0
    t.equal((await app.inject({ url: '/owner', headers: ada })).body, 'ada')
    t.ok(await eventually(async () => (await app.webflowOAuth.getToken(tokenId))?.owner === 'ada'), 'the record has it')
    for (let times = 0; times < 3; times++) t.equal((await app.inject({ url: '/owner', headers: ada })).body, 'ada')
    t.equal(store.calls.set, 1, 'it was written once')
  })

  t.test('is known at once to a job that names the user, and is written again if the store refuses it', async (t) => {
    const store = new MemoryStore()
    let isDown = false
    let writes = 0
    const flaky: TokenStore = {
      ...methodsOf(store),
      async set (...args) {
        writes++
        if (isDown) throw new Error('down')
        return await store.set(...args)
      }
    }
    // No answer of Webflow is written meanwhile.
    const { api, parts, write } = await startParts(t, () => nothing, { ...withUsers, store: flaky, introspect: false })
    const tokenId = await write('token of 0.1', {}, parts.identity.userTokenId('ada'))
    isDown = true
    t.equal((await api.getToken({ user: 'ada' }))?.owner, 'ada')
    await turn()
    isDown = false
    writes = 0
    const tokens = await Promise.all([1, 2, 3].map(() => api.getToken({ user: 'ada' })))
    t.strictSame(tokens.map((token) => token?.owner), ['ada', 'ada', 'ada'])
    t.equal(writes, 1, 'three jobs at once write once')
    t.equal((await api.getToken(tokenId))?.owner, 'ada')
  })

  t.test('is added to a record of version 0.1 when an older token is imported for its user', async (t) => {
    const { api, parts, write } = await startParts(t, () => nothing, withUsers)
    const tokenId = await write('token of 0.1', {}, parts.identity.userTokenId('ada'))
    const { outcome, token } = await api.importToken({ accessToken: 'older', user: 'ada', createdAt: ago(hour) })
    t.strictSame([outcome, token?.accessToken, token?.owner], ['kept', 'token of 0.1', 'ada'])
    t.ok(await eventually(async () => (await api.getToken(tokenId))?.owner === 'ada'))
  })
})

t.test('importToken', async (t) => {
  t.test('stores a token for a user, with what it opens, and runs neither beforeStore nor onSuccess', async (t) => {
    const bench = await startBench(t, { options: { identify, beforeStore: () => { throw new Error('does not run') }, onSuccess: () => { throw new Error('does not run') } } })
    const { app, webflow } = bench
    const accessToken = await grantToken(webflow, { siteIds: [ids.gardens] })
    const createdAt = ago(hour)
    const { outcome, token } = await app.webflowOAuth.importToken({ accessToken, user: 'ada', createdAt })
    t.equal(outcome, 'imported')
    t.match(token, { accessToken, owner: 'ada', tokenType: 'bearer', createdAt, scope: ['sites:read', 'cms:read'], authorization: { siteIds: [ids.gardens] } })
    t.equal((await app.inject({ url: '/token', headers: ada })).json().accessToken, accessToken)
    t.equal((await app.inject({ url: '/guarded', headers: ada })).body, 'ok')
    t.strictSame(await bench.found({ siteId: ids.gardens }), [accessToken])
    t.equal((await app.webflowOAuth.getToken({ user: 'ada' }))?.id, token?.id)
  })

  t.test('without identify, derives the id from the access token', async (t) => {
    const { api, found } = await startParts(t, () => opens(ids.engine))
    const { token } = await api.importToken({ accessToken: 'of-nobody' })
    t.match(token, { owner: null, scope: ['sites:read', 'cms:read'] })
    t.notOk(String(token?.id).includes('of-nobody'))
    t.match(await api.getToken(String(token?.id)), { accessToken: 'of-nobody' })
    t.strictSame(told(await api.importToken({ accessToken: 'of-nobody' })), ['kept', 'of-nobody'])
    t.strictSame(told(await api.importToken({ accessToken: 'of-somebody' })), ['imported', 'of-somebody'])
    t.strictSame((await found({ siteId: ids.engine })).toSorted(), ['of-nobody', 'of-somebody'])
  })

  t.test('gives the token the given scope until Webflow names another', async (t) => {
    let answer = nothing
    const { api } = await startParts(t, () => answer)
    t.strictSame((await api.importToken({ accessToken: 'a', scope: ['cms:write'] })).token?.scope, ['cms:write'])
    answer = { body: { authorization: { scope: 'sites:write' } } }
    t.strictSame((await api.importToken({ accessToken: 'b', scope: ['cms:write'] })).token?.scope, ['sites:write'])
  })

  t.test('is harmless when it is called again, and records what has changed at Webflow', async (t) => {
    let site: string = ids.engine
    const { api, found } = await startParts(t, () => opens(site), withUsers)
    const first = await api.importToken({ accessToken: 'a', user: 'ada', createdAt: ago(hour) })
    site = ids.gardens
    const again = await api.importToken({ accessToken: 'a', user: 'ada', createdAt: ago(0) })
    t.strictSame([told(first), told(again)], [['imported', 'a'], ['kept', 'a']])
    t.strictSame(again.token?.createdAt, first.token?.createdAt)
    t.strictSame(again.token?.expiresAt, first.token?.expiresAt)
    t.strictSame(again.token?.authorization?.siteIds, [ids.gardens], 'the token is as it is stored now')
    t.strictSame(await found({ siteId: ids.gardens }), ['a'])
    t.strictSame(await found({ siteId: ids.engine }), [])
  })

  t.test('does not bring back a token whose user disconnects at the same moment', async (t) => {
    const store = new MemoryStore()
    let disconnects = false
    const racing: TokenStore = {
      ...methodsOf(store),
      async get (key) {
        const value = await store.get(key)
        if (disconnects) await store.delete(key)
        return value
      }
    }
    let site: string = ids.engine
    const { api } = await startParts(t, () => opens(site), { ...withUsers, store: racing })
    await api.importToken({ accessToken: 'a', user: 'ada' })
    site = ids.gardens
    disconnects = true
    t.strictSame(told(await api.importToken({ accessToken: 'a', user: 'ada' })), ['kept', 'a'])
    t.equal(await api.getToken({ user: 'ada' }), null)
  })

  t.test('compares the given time with that of the stored token', async (t) => {
    const { api } = await startParts(t, (accessToken) => accessToken === 'told' ? createdOn(ago(0)) : nothing, withUsers)
    const at = ago(hour)
    const importOf = async (accessToken: string, createdAt: Date) => told(await api.importToken({ accessToken, user: 'ada', createdAt }))
    t.strictSame(await importOf('b', at), ['imported', 'b'])
    t.strictSame(await importOf('a', new Date(at.getTime() - 1)), ['kept', 'b'], 'an older one')
    t.strictSame(await importOf('c', at), ['kept', 'b'], 'one of the same time')
    t.strictSame(await importOf('told', new Date(at.getTime() - 1)), ['kept', 'b'], 'the given time counts, whatever Webflow tells')
    t.strictSame(await importOf('d', new Date(at.getTime() + 1)), ['imported', 'd'])
  })

  t.test('uses Webflow\'s time if none is given, and keeps the stored token if Webflow has none either', async (t) => {
    const times = new Map([['a', ago(3 * hour)], ['b', ago(2 * hour)]])
    const { api } = await startParts(t, (accessToken) => {
      const time = times.get(accessToken)
      return time === undefined ? nothing : createdOn(time)
    }, withUsers)
    const importOf = async (accessToken: string) => await api.importToken({ accessToken, user: 'ada' })
    const first = await importOf('a')
    t.strictSame([told(first), first.token?.createdAt], [['imported', 'a'], times.get('a')])
    t.strictSame(told(await importOf('b')), ['imported', 'b'])
    t.strictSame(told(await importOf('a')), ['kept', 'b'])
    t.strictSame(told(await importOf('of-an-unknown-time')), ['kept', 'b'])
    const before = Date.now()
    const alone = await api.importToken({ accessToken: 'of-an-unknown-time', user: 'grace' })
    t.equal(alone.outcome, 'imported')
    t.ok(Number(alone.token?.createdAt) >= before, 'a token of an unknown time counts from its import')
  })

  t.test('stores no token that Webflow has ended, forgets it everywhere, and keeps the user\'s newer token', async (t) => {
    const ended: Array<[string | null, string, string]> = []
    const isEnded = new Set<string>()
    const { api } = await startParts(t, (accessToken) => isEnded.has(accessToken) ? revoked : nothing, {
      ...withUsers,
      onDisconnect: (token, reason) => { ended.push([token.owner, token.accessToken, reason]) }
    })
    for (const user of ['ada', 'grace']) await api.importToken({ accessToken: 'shared', user, createdAt: ago(hour) })
    await api.importToken({ accessToken: 'newer', user: 'ada', createdAt: ago(0) })
    isEnded.add('shared')
    t.strictSame(await api.importToken({ accessToken: 'shared', user: 'ada' }), { outcome: 'revoked', token: null })
    t.strictSame(ended, [['grace', 'shared', 'revoked']])
    t.equal(await api.getToken({ user: 'grace' }), null)
    t.match(await api.getToken({ user: 'ada' }), { accessToken: 'newer' })
    isEnded.add('newer')
    t.strictSame(told(await api.importToken({ accessToken: 'newer', user: 'ada' })), ['revoked', null])
    t.strictSame(ended.slice(1), [['ada', 'newer', 'revoked']])
    t.equal(await api.getToken({ user: 'ada' }), null)
    t.strictSame(told(await api.importToken({ accessToken: 'shared', user: 'charles' })), ['revoked', null])
    t.equal(ended.length, 2, 'a token that nobody holds disconnects nobody')
  })

  t.test('asks Webflow nothing and reports no token as revoked with `introspect: false`', async (t) => {
    const { api, asked } = await startParts(t, () => revoked, { ...withUsers, introspect: false })
    t.strictSame(told(await api.importToken({ accessToken: 'a', user: 'ada', createdAt: ago(hour) })), ['imported', 'a'])
    t.strictSame(told(await api.importToken({ accessToken: 'a', user: 'ada' })), ['kept', 'a'])
    t.strictSame(told(await api.importToken({ accessToken: 'b', user: 'ada' })), ['kept', 'a'])
    t.strictSame(told(await api.importToken({ accessToken: 'b', user: 'ada', createdAt: ago(0) })), ['imported', 'b'])
    t.strictSame(asked, [])
  })

  t.test('stores a token even if Webflow does not say what it opens, and asks again soon', async (t) => {
    let answer: MadeUpAnswer = { statusCode: 500, body: {} }
    const { api, asked, found } = await startParts(t, () => answer)
    for (const [accessToken, status] of [['a', 500], ['b', 403]] as const) {
      answer = { statusCode: status, body: {} }
      const { outcome, token } = await api.importToken({ accessToken })
      t.strictSame([outcome, token?.authorization], ['imported', null])
    }
    await t.rejects(found({ siteId: ids.engine }), { code: unavailable }, 'until then, a search that finds nothing is not sure')
    answer = opens(ids.engine)
    t.ok(await eventually(() => asked.length === 4), 'it is asked again without a use or a search')
    t.ok(await eventually(async () => (await found({ siteId: ids.engine })).length === 2))
  })

  t.test('does not ask Webflow for ten seconds after three calls in a row without a connection', async (t) => {
    stopClock(t)
    let isUp = false
    let status = 200
    const { api, asked } = await startParts(t, () => {
      if (!isUp) throw Object.assign(new Error('connect'), { code: 'ECONNRESET' })
      return { ...opens(ids.engine), statusCode: status }
    })
    let count = 0
    const importOne = async () => {
      const before = asked.length
      const { outcome, token } = await api.importToken({ accessToken: `token-${count++}` })
      t.equal(outcome, 'imported')
      return { wasAsked: asked.length > before, knows: token?.authorization !== null }
    }
    t.strictSame([(await importOne()).wasAsked, (await importOne()).wasAsked], [true, true])
    isUp = true
    status = 503
    t.strictSame(await importOne(), { wasAsked: true, knows: false }, 'an answer with 503 came over a connection')
    isUp = false
    for (let times = 0; times < 3; times++) t.equal((await importOne()).wasAsked, true)
    isUp = true
    status = 200
    t.strictSame(await importOne(), { wasAsked: false, knows: false })
    mock.timers.setTime(Date.now() + 9_999)
    t.strictSame(await importOne(), { wasAsked: false, knows: false })
    isUp = false
    mock.timers.setTime(Date.now() + 1)
    t.strictSame(await importOne(), { wasAsked: true, knows: false }, 'then it tries again')
    isUp = true
    t.strictSame(await importOne(), { wasAsked: false, knows: false }, 'and one more failure is one more in a row')
    mock.timers.setTime(Date.now() + 10_000)
    t.strictSame(await importOne(), { wasAsked: true, knows: true })
    t.strictSame(await importOne(), { wasAsked: true, knows: true })
  })

  t.test('counts timeouts too, and stores a thousand tokens in the time of a few calls', async (t) => {
    const { api, asked } = await startParts(t, () => new Promise(() => {}), { timeout: 200 })
    const startedAt = performance.now()
    const outcomes = await Promise.all(Array.from({ length: 1000 }, (_, index) => api.importToken({ accessToken: `token-${index}` })))
    t.ok(outcomes.every(({ outcome }) => outcome === 'imported'))
    t.ok(asked.length < 100, 'few were asked about')
    t.ok(performance.now() - startedAt < 10_000)
  })

  t.test('asks about at most eight tokens at a time, and waiting for a turn does not count as `timeout`', async (t) => {
    // The calls of one turn take half of the time, so the last of 40 waits for two whole timeouts.
    const { api, asked, most } = await startParts(t, async () => {
      await new Promise((resolve) => { setTimeout(resolve, 250) })
      return opens(ids.engine)
    }, { timeout: 500 })
    const imports = await Promise.all(Array.from({ length: 40 }, (_, index) => api.importToken({ accessToken: `token-${index}` })))
    t.ok(imports.every(({ outcome, token }) => outcome === 'imported' && token.authorization?.siteIds[0] === ids.engine))
    t.equal(asked.length, 40)
    t.equal(most(), 8)
  })

  t.test('refuses wrong values with a message that gives a remedy and does not repeat the token', async (t) => {
    const { api } = await startParts(t, () => nothing, withUsers)
    const sessions = await startParts(t, () => nothing)
    const made = 'tok€n-that-no-message-holds'
    rememberSecrets(made)
    const good = { accessToken: 'a', user: 'ada' }
    const wrong: ReadonlyArray<readonly [unknown, RegExp]> = [
      [undefined, /`importToken` must be called with/],
      ['a', /`importToken` must be called with/],
      [{ ...good, token: made }, /`token` is not an option of this call: its options are accessToken, user, scope, createdAt/],
      ...[undefined, null, '', 5, {}, made, 'a b', 'a\n', 'a\0', 'a'.repeat(4097)].map((accessToken) => [{ ...good, accessToken }, /`accessToken` must be a string of visible ASCII characters, at most 4,096: is a column empty/] as const),
      ...[null, 'yesterday', 5, {}, new Date(NaN), new Date(Date.now() + hour)].map((createdAt) => [{ ...good, createdAt }, /`createdAt` must be a valid Date that is not in the future: leave it out/] as const),
      [{ accessToken: 'a' }, /`user` is missing: with `identify`/],
      ...[null, '', 5, '\ud800', 'a'.repeat(256)].map((user) => [{ ...good, user }, /`user` must be a well-formed string that is not empty, of at most 255 bytes/] as const),
      ...[null, [], 'sites:read', ['sites read'], [5]].map((scope) => [{ ...good, scope }, /`scope` /] as const)
    ]
    for (const [options, message] of wrong) await t.rejects(importAny(api, options), { code: 'WEBFLOW_OAUTH_INVALID_OPTION', message }, JSON.stringify(options)?.replace(made, '…').slice(0, 80))
    await t.rejects(sessions.api.importToken(good), { code: 'WEBFLOW_OAUTH_INVALID_OPTION', message: /`user` needs the option `identify`/ })
    for (const options of wrong) t.notOk(await importAny(api, options[0]).then(() => true, (error: unknown) => String(error).includes(made)))
    t.equal(await api.getToken({ user: 'ada' }), null, 'and stores nothing')
  })

  t.test('of two imports for one user at once, the newer token stays, whichever comes first', async (t) => {
    for (const order of [['older', 'newer'], ['newer', 'older']]) {
      const { api } = await startParts(t, () => nothing, withUsers)
      const outcomes = await Promise.all(order.map((accessToken) => api.importToken({ accessToken, user: 'ada', createdAt: ago(accessToken === 'newer' ? 0 : hour) })))
      t.match(await api.getToken({ user: 'ada' }), { accessToken: 'newer' })
      t.equal(outcomes[order.indexOf('newer')]?.outcome, 'imported')
      t.ok(outcomes.every(({ token }) => token !== null))
    }
  })

  t.test('of an import and a callback for one user at once, the newer token stays, whichever writes first', async (t) => {
    for (const isImportFirst of [true, false]) {
      const store = new MemoryStore()
      let hold: Promise<void> | null = null
      const holding: TokenStore = {
        ...methodsOf(store),
        async set (key, ...rest) {
          if (key.startsWith('token:')) await hold
          return await store.set(key, ...rest)
        }
      }
      const bench = await startBench(t, { options: { identify, store: holding } })
      const { app, webflow } = bench
      const older = await grantToken(webflow)
      await new Promise((resolve) => { setTimeout(resolve, 5) })
      // Both have read that the store holds nothing when they write.
      let release = () => {}
      hold = new Promise((resolve) => { release = resolve })
      const importing = () => app.webflowOAuth.importToken({ accessToken: older, user: 'ada', createdAt: ago(hour) })
      const connecting = () => bench.install(undefined, { headers: ada })
      const both = isImportFirst ? [importing(), connecting()] : [connecting(), importing()]
      await eventually(() => webflow.requests.introspect.length === 2)
      await new Promise((resolve) => { setTimeout(resolve, 50) })
      hold = null
      release()
      await Promise.all(both)
      const stays = (await app.inject({ url: '/token', headers: ada })).json().accessToken
      t.not(stays, older)
      t.equal(stays, bench.connected.at(-1)?.accessToken)
    }
  })

  t.test('rejects while the store is down, and can be repeated', async (t) => {
    const store = watchStore(new MemoryStore())
    const { api } = await startParts(t, () => nothing, { ...withUsers, store })
    store.down = true
    await t.rejects(api.importToken({ accessToken: 'a', user: 'ada' }), { code: outage, statusCode: 503 })
    store.down = false
    t.strictSame(told(await api.importToken({ accessToken: 'a', user: 'ada' })), ['imported', 'a'])
  })

  t.test('leaves a record alone that was sealed under an unknown secret', async (t) => {
    const store = new MemoryStore()
    const first = await startParts(t, () => nothing, { ...withUsers, store })
    const other = await startParts(t, () => nothing, { ...withUsers, store, secret: 'another secret of this test, of 32 bytes or more' })
    await first.api.importToken({ accessToken: 'a', user: 'ada', createdAt: ago(hour) })
    await t.rejects(other.api.importToken({ accessToken: 'b', user: 'ada', createdAt: ago(0) }), { code: outage })
    t.match(await first.api.getToken({ user: 'ada' }), { accessToken: 'a' })
  })

  t.test('ends before the app closes', async (t) => {
    const store = new MemoryStore()
    let isStored = false
    const slow: TokenStore = {
      ...methodsOf(store),
      async set (...args) {
        await new Promise((resolve) => { setTimeout(resolve, 200) })
        isStored = await store.set(...args)
        return isStored
      }
    }
    const { app, webflow } = await startBench(t, { options: { identify, store: slow } })
    const accessToken = await grantToken(webflow)
    const importing = app.webflowOAuth.importToken({ accessToken, user: 'ada' })
    await app.close()
    t.ok(isStored)
    t.strictSame(told(await importing), ['imported', accessToken])
  })

  t.test('over a real Redis, stores a thousand tokens in seconds, and keeps them all the second time', { skip: withoutRedis }, async (t) => {
    const server = await startRedis()
    t.teardown(() => server.stop())
    const client = new Redis(server.url)
    t.teardown(() => client.disconnect())
    const disconnected: string[] = []
    const { api, found, most } = await startParts(t, (accessToken) => accessToken.endsWith('7') ? revoked : opens(ids.engine), {
      ...withUsers,
      store: new RedisStore({ client }),
      onDisconnect: (token) => { disconnected.push(token.accessToken) }
    })
    const rows = Array.from({ length: 1000 }, (_, index) => ({ accessToken: `token-${index}`, user: `user ${index}`, createdAt: ago(hour) }))
    const importAll = async () => {
      const startedAt = performance.now()
      const results = await Promise.all(rows.map((row) => api.importToken(row)))
      t.ok(performance.now() - startedAt < 10_000)
      const count = { imported: 0, kept: 0, revoked: 0 }
      for (const { outcome } of results) count[outcome]++
      return count
    }
    t.strictSame(await importAll(), { imported: 900, kept: 0, revoked: 100 })
    t.strictSame(await importAll(), { imported: 0, kept: 900, revoked: 100 })
    t.strictSame(disconnected, [])
    t.equal(most(), 8)
    t.equal((await found({ siteId: ids.engine })).length, 900)
    const owners = new Set<string | null>()
    for await (const { owner } of api.listTokens()) owners.add(owner)
    t.ok(owners.size === 900 && owners.has('user 0') && !owners.has('user 7'))
  })
})

/** Calls `importToken` as JavaScript does, without types. */
async function importAny (api: WebflowOAuth, options: unknown): Promise<TokenImport> {
  return await Reflect.apply(api.importToken, api, [options])
}

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

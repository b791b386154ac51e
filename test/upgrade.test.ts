import { readFileSync } from 'node:fs'
import { mock } from 'node:test'
import { Readable } from 'node:stream'
import t, { type Test } from 'tap'
import { MemoryStore, type WebflowOAuthOptions } from '../lib/index.ts'
import { assertNothingLeaked, createApp } from './support/app.ts'
import { Browser } from './support/browser.ts'
import { eventually, identify, ids, watchStore } from './support/installation.ts'

/** What a version has left behind. */
interface Left {
  /** When it was made. */
  madeAt: string
  records: Array<{ key: string, value: string, expiresAt: number, tags: string[] }>
  /** The browser of the session, and the callback that it was connected by. */
  session: { callback: string, cookies: Record<string, string> }
  /** Flows that have begun: of a browser, of the user ada, and of the user grace, whom the app named. */
  pending: Record<'session' | 'user' | 'named', { authorize: string, cookies: Record<string, string> }>
}

const { versions }: { versions: Record<string, Left> } = JSON.parse(readFileSync(new URL('support/stored-by-earlier-versions.json', import.meta.url), 'utf8'))

const day = 24 * 60 * 60_000
const ada = { 'x-user': 'ada' }

/** Starts an app of today with what a version has left in the store, at a time after that. Webflow says that each token opens a site. */
async function startApp (t: Test, { madeAt, records }: Left, later: number, more: Partial<WebflowOAuthOptions> = {}) {
  mock.timers.enable({ apis: ['Date'], now: Date.parse(madeAt) + later })
  t.teardown(() => mock.timers.reset())
  const store = watchStore(new MemoryStore())
  for (const { key, value, expiresAt, tags } of records) await store.set(key, value, { expiresAt, tags })
  const calls: string[] = []
  const answers: Record<string, object> = {
    '/oauth/access_token': { access_token: 'a-new-token', token_type: 'bearer' },
    '/oauth/revoke_authorization': { did_revoke: true },
    '/v2/token/introspect': { authorization: { scope: 'sites:read', authorizedTo: { siteIds: [ids.engine] } } }
  }
  const app = await createApp(t, {
    options: {
      clientSecret: 'client-secret-of-the-upgrade-test',
      secret: 'a secret of the upgrade test, 32 bytes or more',
      scope: ['sites:read'],
      store,
      dispatcher: {
        async request ({ path }) {
          calls.push(path)
          return { statusCode: 200, body: Readable.from([Buffer.from(JSON.stringify(answers[path]))]) }
        }
      },
      ...more
    },
    after: (app) => app.get('/owner', async ({ webflowToken }) => ({ owner: webflowToken?.owner }))
  })
  const browserOf = (cookies: Record<string, string>) => {
    const browser = new Browser(app)
    for (const [name, value] of Object.entries(cookies)) browser.cookies.set(name, value)
    return browser
  }
  return { app, calls, store, browserOf }
}

for (const [version, left] of Object.entries(versions)) {
  const { pending, session } = left
  const hasTags = version !== '0.1.0'
  const callbackOf = (authorize: string) => `/webflow/callback?code=a-code&state=${/state=([\w-]+)/.exec(authorize)?.[1]}`

  t.test(`a browser that ${version} has connected stays connected, and using the token renews its record`, async (t) => {
    const { store, browserOf } = await startApp(t, left, 29 * day)
    const browser = browserOf(session.cookies)
    t.match((await browser.get('/token')).json(), { connected: true })
    t.strictSame((await browser.get('/owner')).json(), { owner: null })
    t.ok(await eventually(() => store.calls.set > left.records.length))
    mock.timers.setTime(Date.now() + 29 * day)
    t.match((await browser.get('/token')).json(), { connected: true })
  })

  t.test(`a user whom ${version} has connected stays connected, and the owner is added to the record`, async (t) => {
    const revoked: Array<string | null> = []
    const { app } = await startApp(t, left, 100 * day, { identify, onRevoke: ({ owner }) => { revoked.push(owner) } })
    const tokenId = String((await app.inject({ url: '/token', headers: ada })).json().id)
    t.strictSame((await app.inject({ url: '/owner', headers: ada })).json(), { owner: 'ada' })
    t.ok(await eventually(async () => (await app.webflowOAuth.getToken(tokenId))?.owner === 'ada'))
    t.match(await app.webflowOAuth.revoke({ user: 'ada' }), { revoked: true, upstream: 'revoked' })
    t.strictSame(revoked, ['ada'])
    t.equal(await app.webflowOAuth.getToken({ user: 'ada' }), null)
  })

  t.test(`the tokens of ${version} are found ${hasTags ? 'at once' : 'once they have been used'}`, async (t) => {
    const { app } = await startApp(t, left, day, { identify })
    const found = async () => (await app.webflowOAuth.findTokens({ siteId: ids.engine })).length
    const listed = async () => {
      let count = 0
      for await (const token of app.webflowOAuth.listTokens()) count += token.accessToken === '' ? 0 : 1
      return count
    }
    t.strictSame([await found(), await listed()], hasTags ? [2, 2] : [0, 0])
    await app.webflowOAuth.getToken({ user: 'ada' })
    t.ok(await eventually(async () => await found() === (hasTags ? 2 : 1) && await listed() === (hasTags ? 2 : 1)))
  })

  t.test(`a flow that began under ${version} is refused with the code unspent, and begins anew by the link of the page`, async (t) => {
    for (const [which, headers] of [['session', {}], ['user', ada], ['named', {}]] as const) {
      await t.test(`the flow of ${which}`, async (t) => {
        const { calls, browserOf } = await startApp(t, left, 60_000, which === 'session' ? {} : { identify })
        const { authorize, cookies } = pending[which]
        const browser = browserOf(cookies)
        const refused = await browser.navigate(callbackOf(authorize), headers)
        t.equal(refused.statusCode, 400)
        t.match(refused.body, 'WEBFLOW_OAUTH_STATE_INVALID · other_browser')
        t.strictSame(calls, [])
        if (which === 'named') return
        const [, again = ''] = /<a href="https:\/\/app\.example\.com([^"]+)">Try again/.exec(refused.body) ?? []
        const begun = await browser.navigate(again, headers)
        t.equal((await browser.navigate(callbackOf(String(begun.location)), headers)).statusCode, 303)
        t.match((await browser.get('/token', headers)).json(), { connected: true })
      })
    }
  })

  t.test(`a callback that ${version} has answered is not answered twice, and its session stays`, async (t) => {
    const { calls, browserOf } = await startApp(t, left, 30_000)
    const browser = browserOf(session.cookies)
    const repeated = await browser.get(session.callback)
    t.equal(repeated.statusCode, 400)
    t.match(repeated.json(), { code: 'WEBFLOW_OAUTH_STATE_INVALID', reason: 'already_used' })
    t.strictSame(calls, [])
    t.match((await browser.get('/token')).json(), { connected: true })
  })
}

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

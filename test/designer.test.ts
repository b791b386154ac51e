import t, { type Test } from 'tap'
import { request } from 'undici'
import type { BehaviorOptions } from '../lib/simulator/index.ts'
import { charles, ids } from './support/installation.ts'
import { app as simulatedApp, start as startSimulator } from './support/simulator-start.ts'

const ada = { id: ids.ada, email: 'ada@example.com', firstName: 'Ada', lastName: 'Lovelace' }

t.test('the simulator', async (t) => {
  async function start (t: Test, behavior: BehaviorOptions = {}) {
    const clock = { now: Date.now() }
    const bench = await startSimulator(t, { behavior, now: () => clock.now, apps: [{ ...simulatedApp, clientId: 'another app' }] })
    const resolve = async (accessToken: string, idToken: unknown) => {
      const answer = await request(bench.webflow.endpoints.resolve, {
        method: 'POST',
        headers: { authorization: `Bearer ${accessToken}`, 'content-type': 'application/json' },
        body: JSON.stringify({ idToken })
      })
      return { status: answer.statusCode, body: await answer.body.json() }
    }
    return { ...bench, resolve, clock }
  }

  t.test('resolves an ID token, in the shape of a JWT, for a token of the same site', async (t) => {
    const { webflow, connect, resolve } = await start(t)
    const accessToken = await connect({ siteIds: [ids.engine] })
    const idToken = webflow.mintIdToken({ siteId: ids.engine })
    t.match(idToken, /^eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+$/)
    t.strictSame(await resolve(accessToken, idToken), { status: 200, body: { ...ada, siteId: ids.engine } })
    const other = webflow.mintIdToken({ user: charles, siteId: ids.engine })
    t.strictSame(await resolve(accessToken, other), { status: 200, body: { ...charles, siteId: ids.engine } })
    t.equal(webflow.requests.resolve.length, 2)
  })

  t.test('refuses an ID token of 15 minutes ago, of another app, of another site, and anything else', async (t) => {
    const { webflow, connect, resolve, clock } = await start(t)
    const accessToken = await connect({ siteIds: [ids.engine] })
    const old = webflow.mintIdToken({ siteId: ids.engine })
    clock.now += 15 * 60 * 1000
    const foreign = webflow.mintIdToken({ siteId: ids.engine, clientId: 'another app' })
    for (const idToken of [old, foreign, webflow.mintIdToken({ siteId: ids.notes }), 'made up', undefined]) {
      t.match(await resolve(accessToken, idToken), { status: 400, body: { code: 'bad_request' } })
    }
    t.match(await resolve('no token', webflow.mintIdToken({ siteId: ids.engine })), { status: 401, body: { code: 'not_authorized' } })
  })

  t.test('mints no ID token for a site or a user that it does not know', async (t) => {
    const { webflow } = await start(t)
    t.throws(() => webflow.mintIdToken({ siteId: 'nowhere' }), /`siteId` must be the id of a site/)
    t.throws(() => webflow.mintIdToken({ siteId: ids.engine, clientId: 'nobody' }), /has no app/)
  })

  t.test('resolvingToken any, resolveNamesSite false and idTokenErrorStatus 401 give the other answers', async (t) => {
    const { webflow, connect, resolve } = await start(t, { resolvingToken: 'any', resolveNamesSite: false, idTokenErrorStatus: 401 })
    const accessToken = await connect({ siteIds: [ids.engine] })
    t.strictSame(await resolve(accessToken, webflow.mintIdToken({ siteId: ids.gardens })), { status: 200, body: ada })
    t.match(await resolve(accessToken, 'made up'), { status: 401, body: { code: 'not_authorized' } })
  })

  t.test('resolveNeedsScope: a token without authorized_user:read is refused, or not', async (t) => {
    for (const resolveNeedsScope of [true, false]) {
      const { webflow, authorizeUrl, exchange, resolve } = await start(t, { resolveNeedsScope })
      const code = new URL(await webflow.approve(authorizeUrl({ scope: 'sites:read' }))).searchParams.get('code')
      const accessToken = String(Object(await exchange(String(code))).body.access_token)
      const { status, body } = await resolve(accessToken, webflow.mintIdToken({ siteId: ids.engine }))
      t.equal(status, resolveNeedsScope ? 403 : 200)
      if (resolveNeedsScope) t.match(body, { code: 'missing_scopes' })
    }
  })

  t.test('shows one site to a token that opens it, by itself or with its workspace, and 404 to any other', async (t) => {
    const { webflow, connect, get } = await start(t)
    const bySite = await connect({ siteIds: [ids.engine] })
    t.match(await get(`/v2/sites/${ids.engine}`, bySite), { status: 200, body: { id: ids.engine, workspaceId: ids.studio } })
    t.match(await get(`/v2/sites/${ids.gardens}`, bySite), { status: 404, body: { code: 'resource_not_found' } })
    const byWorkspace = await connect({ workspaceId: ids.park })
    t.match(await get(`/v2/sites/${ids.gardens}`, byWorkspace), { status: 200, body: { id: ids.gardens } })
    t.match(await get(`/v2/sites/${ids.gardens}`), { status: 401 })
    t.equal(webflow.requests.site.length, 4)
  })
})

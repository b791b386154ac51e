import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { Agent, request } from 'undici'
import { WebflowClient } from 'webflow-api'
import webflowOAuth, { MemoryStore, type Region, type WebflowOAuth, type WebflowOAuthOptions, type WebflowToken } from '../lib/index.ts'
import { createSimulator, type BehaviorOptions, type Simulator } from '../lib/simulator/index.ts'
import { assertNothingLeaked, baseOptions, connect, createApp, scope, startWebflow } from './support/app.ts'
import { Browser } from './support/browser.ts'
import { recordingLogger, rememberSecrets } from './support/logs.ts'

const euApp = { clientId: 'e'.repeat(64), clientSecret: randomBytes(32).toString('hex') }
rememberSecrets(euApp.clientSecret)
const euRedirectUri = 'https://app.example.com/webflow-eu/callback'
const euPath = '/webflow-eu/authorize'

/** Starts a Webflow of the EU, with an app that only the EU knows. */
async function startEu (t: Test, behavior: BehaviorOptions = {}): Promise<Simulator> {
  const webflow = createSimulator({ region: 'eu', app: { ...euApp, redirectUris: [euRedirectUri], scope: [...scope, 'authorized_user:read'] }, behavior })
  await webflow.listen()
  t.teardown(() => webflow.close())
  return webflow
}

const euOptions: Partial<WebflowOAuthOptions> = { ...euApp, region: 'eu', redirectUri: euRedirectUri }

/** Makes a dispatcher that leads the calls for Webflow's hosts to simulators, and remembers which hosts were called. */
function leadTo (t: Test, simulators: Partial<Record<Region, Simulator>>) {
  const agent = new Agent()
  t.teardown(() => agent.close())
  const called = new Set<string>()
  return {
    called,
    dispatcher: {
      request: async ({ maxRedirections, ...options }: Parameters<NonNullable<WebflowOAuthOptions['dispatcher']>['request']>[0]) => {
        const { host, hostname } = new URL(options.origin)
        called.add(`${hostname} ${options.path}`)
        const simulator = /(?:^|\.)eu\.webflow\.com$/.test(hostname) ? simulators.eu : simulators.us
        return await agent.request({ ...options, origin: simulator?.url ?? options.origin, headers: { ...options.headers, host } })
      }
    }
  }
}

t.test('with `region: \'eu\'` a whole flow and a revocation use the hosts of the EU', async (t) => {
  const webflow = await startEu(t)
  const { called, dispatcher } = leadTo(t, { eu: webflow })
  const app = await createApp(t, { options: { ...euOptions, scope: ['sites:read', 'authorized_user:read'], dispatcher } })
  const browser = new Browser(app)
  const { location } = await browser.navigate(euPath)
  t.match(location, /^https:\/\/eu\.webflow\.com\/oauth\/authorize\?/)
  t.equal((await browser.navigate(await webflow.approve(String(location)))).statusCode, 303)
  t.strictSame((await browser.request('/webflow-eu/revoke', { method: 'POST' })).json(), { revoked: true, upstream: 'revoked' })
  t.strictSame([...called].sort(), [
    'api.eu.webflow.com /oauth/access_token',
    'api.eu.webflow.com /v2/token/authorized_by',
    'api.eu.webflow.com /v2/token/introspect',
    'eu.webflow.com /oauth/revoke_authorization'
  ])
})

t.test('without `region` a whole flow and a revocation use the hosts of the US', async (t) => {
  const webflow = await startWebflow(t)
  const { called, dispatcher } = leadTo(t, { us: webflow })
  const browser = new Browser(await createApp(t, { options: { dispatcher } }))
  const { location } = await browser.navigate('/webflow/authorize')
  t.match(location, /^https:\/\/webflow\.com\/oauth\/authorize\?/)
  t.equal((await browser.navigate(await webflow.approve(String(location)))).statusCode, 303)
  t.strictSame((await browser.request('/webflow/revoke', { method: 'POST' })).json(), { revoked: true, upstream: 'revoked' })
  t.strictSame([...called].sort(), ['api.webflow.com /oauth/access_token', 'api.webflow.com /v2/token/introspect', 'webflow.com /oauth/revoke_authorization'])
})

t.test('if the EU revokes at another host, the token is kept until `endpoints.revoke` names that host', async (t) => {
  const webflow = await startEu(t, { euRevocationHost: 'api.eu.webflow.com' })
  const { dispatcher } = leadTo(t, { eu: webflow })
  const revocationWith = async (options: Partial<WebflowOAuthOptions>) => {
    const browser = new Browser(await createApp(t, { options: { ...euOptions, ...options, dispatcher } }))
    await connect(browser, webflow, { path: euPath })
    const { statusCode } = await browser.request('/webflow-eu/revoke', { method: 'POST' })
    return { statusCode, connected: (await browser.get('/token')).json()['connected'] }
  }
  t.strictSame(await revocationWith({}), { statusCode: 502, connected: true })
  t.strictSame(await revocationWith({ endpoints: { revoke: 'https://api.eu.webflow.com/oauth/revoke_authorization' } }), { statusCode: 200, connected: false })
})

t.test('with the wrong region the app is unknown at the consent page, at the token endpoint and to the Data API', async (t) => {
  const webflow = await startEu(t)
  const { dispatcher } = leadTo(t, { us: webflow })
  const browser = new Browser(await createApp(t, { options: { ...euOptions, region: 'us', dispatcher } }))
  const { location } = await browser.navigate(euPath)
  await t.rejects(webflow.approve(String(location)), /The authorize URL is at webflow\.com, but this simulator plays the region `eu`/)
  const consentPage = await webflow.server.inject({ url: String(location).replace('https://webflow.com', ''), headers: { host: 'webflow.com' } })
  t.equal(consentPage.statusCode, 400)
  t.match(consentPage.body, 'belongs to no app')

  // The user comes back with a code of the EU all the same, which the US does not know.
  const back = await browser.get(await webflow.approve(String(location).replace('https://webflow.com', 'https://eu.webflow.com')))
  t.equal(back.json()['code'], 'WEBFLOW_OAUTH_CODE_REJECTED')
})

t.test('a token of the other region is answered with 401', async (t) => {
  const webflow = await startEu(t)
  const app = await createApp(t, { options: { ...euOptions, endpoints: webflow.endpoints } })
  const browser = new Browser(app)
  await connect(browser, webflow, { path: euPath })
  const { accessToken } = (await browser.get('/token')).json()
  const statusAt = async (host: string) => (await webflow.server.inject({ url: '/v2/sites', headers: { host, authorization: `Bearer ${String(accessToken)}` } })).statusCode
  t.equal(await statusAt('api.eu.webflow.com'), 200)
  t.equal(await statusAt('127.0.0.1'), 200)
  t.equal(await statusAt('api.webflow.com'), 401)
  t.equal(await statusAt('eu.webflow.com'), 404, 'the Data API has a host of its own')
})

t.test('each host of a region serves its own endpoints', async (t) => {
  const webflows = { us: await startWebflow(t), eu: await startEu(t) }
  const served = async (region: Region, host: string, method: 'GET' | 'POST', path: string) => {
    const { statusCode } = await webflows[region].server.inject({ method, url: path, headers: { host } })
    return statusCode !== 404
  }
  for (const [region, site, api] of [['us', 'webflow.com', 'api.webflow.com'], ['eu', 'eu.webflow.com', 'api.eu.webflow.com']] as const) {
    t.strictSame([await served(region, site, 'GET', '/oauth/authorize'), await served(region, api, 'GET', '/oauth/authorize')], [true, false], region)
    for (const path of ['/oauth/access_token', '/oauth/token']) t.strictSame([await served(region, site, 'POST', path), await served(region, api, 'POST', path)], [false, true], `${region} ${path}`)
    t.equal(await served(region, site, 'POST', '/oauth/revoke_authorization'), true, region)
  }
  t.equal(await served('us', 'api.webflow.com', 'POST', '/oauth/revoke_authorization'), true, 'an alias')
  t.equal(await served('eu', 'api.eu.webflow.com', 'POST', '/oauth/revoke_authorization'), false)
})

/** Builds one app that serves both regions: an instance for each, with one store. */
async function createBoth (t: Test, options: Partial<WebflowOAuthOptions> = {}) {
  const webflows = { us: await startWebflow(t), eu: await startEu(t) }
  const store = new MemoryStore()
  const app = Fastify({ logger: recordingLogger })
  t.teardown(() => app.close())
  const instances = new Map<Region, WebflowOAuth>()
  const ended: string[] = []
  const register = async (inner: FastifyInstance, region: Region, own: Partial<WebflowOAuthOptions>) => {
    const { endpoints } = webflows[region]
    const onDisconnect = (token: WebflowToken) => { ended.push(token.region) }
    await inner.register(webflowOAuth, { ...baseOptions(null), ...own, ...options, store, endpoints, onDisconnect })
    instances.set(region, inner.webflowOAuth)
    inner.get(`/${region}/sites`, { preHandler: inner.webflowOAuth.requireToken() }, async (request) => {
      const { accessToken, region } = inner.webflowOAuth.tokenOf(request)
      rememberSecrets(accessToken)
      const { sites = [] } = await new WebflowClient({ accessToken, baseUrl: inner.webflowOAuth.apiUrl }).sites.list()
      return { region, sites: sites.map(({ displayName }) => displayName) }
    })
  }
  app.register(async (inner) => { await register(inner, 'us', {}) })
  app.register(async (inner) => { await register(inner, 'eu', { ...euOptions, cookieName: 'webflow_eu' }) })
  await app.ready()
  const [us, eu] = [instances.get('us'), instances.get('eu')]
  assert(us !== undefined && eu !== undefined)
  return { app, webflows, ended, us, eu }
}

t.test('one app serves both regions by two instances, with two cookie names and one store', async (t) => {
  const { app, webflows, ended, us, eu } = await createBoth(t)
  const browser = new Browser(app)
  await connect(browser, webflows.us)
  t.strictSame((await browser.get('/us/sites')).json(), { region: 'us', sites: ['Difference Engine'] })
  t.equal((await browser.get('/eu/sites')).statusCode, 401, 'the token of one region is none in the other')
  await connect(browser, webflows.eu, { path: euPath })
  t.strictSame((await browser.get('/us/sites')).json(), { region: 'us', sites: ['Difference Engine'] })
  t.strictSame((await browser.get('/eu/sites')).json(), { region: 'eu', sites: ['Difference Engine'] })
  t.strictSame([...browser.cookies.keys()].filter((name) => !name.includes('_flow_')).sort(), ['__Host-webflow', '__Host-webflow_eu'])

  // Both simulators have a site with this id.
  const siteId = '62f3b1f7eafac55d0c64ef91'
  const regionsFound = async () => [await us.findTokens({ siteId }), await eu.findTokens({ siteId })].map((tokens) => tokens.map(({ region }) => region))
  t.strictSame(await regionsFound(), [['us'], ['eu']], 'a search stays in its region')
  for await (const token of eu.listTokens()) t.equal(token.region, 'eu')

  webflows.eu.uninstall()
  const [token] = await eu.findTokens({ siteId })
  await t.rejects(us.checkToken(token?.id ?? ''), { code: 'WEBFLOW_OAUTH_STORE_UNAVAILABLE' }, 'an instance cannot read a record of the other')
  t.equal(await eu.reportUnauthorized(token?.id ?? ''), 'revoked')
  t.strictSame(ended, ['eu'])
  t.strictSame((await us.revokeAll({ siteId })).map(({ revoked }) => revoked), [true])
  t.strictSame(await regionsFound(), [[], []])
})

t.test('a code and a state of one region are refused at the callback of the other', async (t) => {
  const { app, webflows } = await createBoth(t)
  const browser = new Browser(app)
  const { location } = await browser.navigate(euPath)
  const ofEu = await webflows.eu.approve(String(location))
  const { location: atUs } = await browser.navigate('/webflow/authorize')
  const mixedUp = ofEu.replace('/webflow-eu/', '/webflow/')
  t.equal((await browser.get(mixedUp)).json()['reason'], 'malformed')
  t.equal(webflows.us.requests.token.length, 0, 'the code is sent nowhere')

  // Only who knows a state of this browser gets further, and the US does not know the code.
  const { searchParams } = new URL(String(atUs))
  const withOwnState = new URL(mixedUp)
  withOwnState.searchParams.set('state', searchParams.get('state') ?? '')
  t.equal((await browser.get(withOwnState.href)).json()['code'], 'WEBFLOW_OAUTH_CODE_REJECTED')
  t.equal((await browser.navigate(ofEu)).statusCode, 303, 'the flow itself is unharmed')
})

t.test('with `identify` a user may be connected in both regions', async (t) => {
  const { app, webflows, us, eu } = await createBoth(t, { identify: () => 'ada' })
  const browser = new Browser(app)
  await connect(browser, webflows.us)
  await connect(browser, webflows.eu, { path: euPath })
  const [ours, theirs] = [await us.getToken({ user: 'ada' }), await eu.getToken({ user: 'ada' })]
  t.strictSame([ours?.region, theirs?.region], ['us', 'eu'])
  t.not(ours?.id, theirs?.id)
  await eu.revoke({ user: 'ada' })
  t.equal(await eu.getToken({ user: 'ada' }), null)
  t.equal((await us.getToken({ user: 'ada' }))?.id, ours?.id)
})

t.test('every hook gets a token with its region', async (t) => {
  const webflow = await startEu(t)
  const regions: Record<string, string> = {}
  const app = await createApp(t, {
    options: {
      ...euOptions,
      endpoints: webflow.endpoints,
      beforeStore: (token) => { regions['beforeStore'] = token.region },
      onSuccess: (token) => { regions['onSuccess'] = token.region },
      onRevoke: (token) => { regions['onRevoke'] = token.region }
    },
    after: (app) => app.get('/json', async (request) => request.webflowToken)
  })
  const browser = new Browser(app)
  await connect(browser, webflow, { path: euPath })
  t.equal((await browser.get('/json')).json()['region'], 'eu')
  await browser.request('/webflow-eu/revoke', { method: 'POST' })
  t.strictSame(regions, { beforeStore: 'eu', onSuccess: 'eu', onRevoke: 'eu' })
})

t.test('`apiUrl` is the Data API of the region, or the one at the origin of `endpoints.token`', async (t) => {
  const apiUrlWith = async (options: Partial<WebflowOAuthOptions>) => (await createApp(t, { options })).webflowOAuth.apiUrl
  t.equal(await apiUrlWith({}), 'https://api.webflow.com/v2')
  t.equal(await apiUrlWith({ region: 'us' }), 'https://api.webflow.com/v2')
  t.equal(await apiUrlWith({ region: 'eu' }), 'https://api.eu.webflow.com/v2')
  t.equal(await apiUrlWith({ region: 'eu', endpoints: { authorize: 'https://gateway.example.com/authorize' } }), 'https://api.eu.webflow.com/v2')
  t.equal(await apiUrlWith({ region: 'eu', endpoints: { token: 'http://127.0.0.1:4000/oauth/access_token?tenant=1' } }), 'http://127.0.0.1:4000/v2')
})

t.test('Webflow\'s SDK reaches the simulator by `apiUrl`', async (t) => {
  const webflow = await startEu(t)
  const browser = new Browser(await createApp(t, {
    options: { ...euOptions, endpoints: webflow.endpoints },
    after: (app) => {
      app.get('/introspected', async (request) => {
        const { accessToken } = app.webflowOAuth.tokenOf(request)
        return await new WebflowClient({ accessToken, baseUrl: app.webflowOAuth.apiUrl }).token.introspect()
      })
    }
  }))
  await connect(browser, webflow, { path: euPath })
  t.match((await browser.get('/introspected')).json(), { authorization: { authorizedTo: { siteIds: ['62f3b1f7eafac55d0c64ef91'] } } })
  t.equal(webflow.requests.introspect.length, 2, 'the plugin has asked once, and the SDK once')
})

t.test('the start page of the simulator says that it plays the EU', async (t) => {
  const [eu, us] = await Promise.all([await startEu(t), await startWebflow(t)].map(async ({ url }) => await (await request(url)).body.text()))
  t.match(eu, 'Hosted in the EU')
  t.notMatch(us, 'Hosted in the EU')
})

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

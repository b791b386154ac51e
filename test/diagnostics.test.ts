import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import t, { type Test } from 'tap'
import { WebflowOAuthError, diagnostics, type FlowEnd } from '../lib/index.ts'
import { MemoryStore } from '../stores/memory.ts'
import { assertNothingLeaked, clientId, connect, createApp, startWebflow } from './support/app.ts'
import { Browser, navigation } from './support/browser.ts'
import { eventually } from './support/installation.ts'
import { recordingLogger } from './support/logs.ts'

const names = [
  'fastify-webflow-oauth:flow:start', 'fastify-webflow-oauth:flow:end', 'fastify-webflow-oauth:exchange',
  'fastify-webflow-oauth:revoke', 'fastify-webflow-oauth:store:failure', 'fastify-webflow-oauth:disconnect'
]

/** Collects what the channels tell for the length of a test; by the end of the channel's name. */
function listen (t: Test): (name: string) => object[] {
  const messages: Array<{ channel: string, message: object }> = []
  const listener = (message: unknown, name: string | symbol): void => {
    // What is told is written into the log that is searched for secrets in the end.
    recordingLogger.stream.write(`${JSON.stringify(message)}\n`)
    messages.push({ channel: String(name), message: Object(message) })
  }
  for (const name of names) subscribe(name, listener)
  t.teardown(() => { for (const name of names) unsubscribe(name, listener) })
  return (name) => messages.filter(({ channel }) => channel === `fastify-webflow-oauth:${name}`).map(({ message }) => message)
}

t.test('a flow that connects publishes its start, its exchange and its end', async (t) => {
  const messages = listen(t)
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))
  const { location } = await browser.navigate('/webflow/authorize')
  t.strictSame(messages('flow:start'), [{ clientId, trigger: 'authorize' }])
  t.strictSame(messages('flow:end'), [])

  const callbackUrl = await webflow.approve(String(location))
  t.equal((await browser.navigate(callbackUrl)).statusCode, 303)
  t.match(messages('exchange'), [{ clientId, outcome: 'issued', code: null, duration: Number }])
  t.match(messages('flow:end'), [{ clientId, outcome: 'connected', code: null, reason: null, duration: Number, elapsed: Number }])

  t.equal((await browser.navigate(callbackUrl)).statusCode, 303)
  t.equal(messages('flow:end').length, 1, 'the same answer again publishes no end')
  t.equal(messages('exchange').length, 1)
  t.strictSame(messages('store:failure'), [])
})

t.test('the start of a flow names its trigger', async (t) => {
  const messages = listen(t)
  const webflow = await startWebflow(t)
  const app = await createApp(t, {
    webflow,
    after: (app) => {
      app.get('/guarded', { preHandler: app.webflowOAuth.requireToken({ onMissing: 'redirect' }) }, async () => 'connected')
      app.get('/own', async (request, reply) => reply.redirect(await app.webflowOAuth.startAuthorization(request, reply)))
    }
  })
  for (const path of ['/guarded', '/own', await webflow.install()]) t.equal((await new Browser(app).navigate(path)).statusCode, 302)
  t.strictSame(messages('flow:start'), ['guard', 'app', 'install'].map((trigger) => ({ clientId, trigger })))

  await new Browser(app).request('/webflow/authorize', { method: 'HEAD' })
  await new Browser(app).navigate('/webflow/authorize', { 'sec-purpose': 'prefetch' })
  t.equal(messages('flow:start').length, 3, 'HEAD and a prefetch begin no flow')
})

t.test('the end of a flow names the outcome and the reason', async (t) => {
  const messages = listen(t)
  const webflow = await startWebflow(t)
  let refusal: Error | null = null
  const app = await createApp(t, { webflow, options: { beforeStore: () => { if (refusal !== null) throw refusal } } })
  const begin = async () => {
    const browser = new Browser(app)
    return { browser, url: String((await browser.navigate('/webflow/authorize')).location) }
  }
  const last = () => messages('flow:end').at(-1)

  const denied = await begin()
  await denied.browser.navigate(await webflow.deny(denied.url))
  t.match(last(), { outcome: 'failed', code: 'WEBFLOW_OAUTH_ACCESS_DENIED', reason: null, elapsed: Number })

  const elsewhere = await begin()
  await new Browser(app).navigate(await webflow.approve(elsewhere.url))
  t.match(last(), { outcome: 'failed', code: 'WEBFLOW_OAUTH_STATE_INVALID', reason: 'cookie_missing', elapsed: null })

  await new Browser(app).navigate('/webflow/callback')
  t.match(last(), { outcome: 'failed', code: 'WEBFLOW_OAUTH_INVALID_CALLBACK', reason: null, elapsed: null })

  const outage = await begin()
  webflow.fail('token', { status: 503 })
  await outage.browser.navigate(await webflow.approve(outage.url))
  t.match(last(), { outcome: 'failed', code: 'WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE', reason: null })
  t.match(messages('exchange').at(-1), { outcome: 'failed', code: 'WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE', duration: Number })

  refusal = Object.assign(new Error('not for you'), { code: 'NOT_FOR_YOU', reason: 'because' })
  const refused = await begin()
  await refused.browser.navigate(await webflow.approve(refused.url))
  t.match(last(), { outcome: 'failed', code: null, reason: null }, 'the app may throw any value')
  t.equal(messages('flow:end').length, 5)
})

t.test('a flow that stays valid after a refusal publishes an end for each refusal, and one when it connects', async (t) => {
  const messages = listen(t)
  const webflow = await startWebflow(t)
  let user: string | null = null
  const store = new MemoryStore()
  const app = await createApp(t, { webflow, options: { store, identify: () => user } })
  const browser = new Browser(app)
  const url = await webflow.approve(String((await browser.navigate('/webflow/authorize')).location))
  t.equal((await browser.navigate(url)).statusCode, 401)
  t.match(messages('flow:end'), [{ outcome: 'failed', code: 'WEBFLOW_OAUTH_USER_REQUIRED', elapsed: Number }])

  user = 'ada'
  const { set } = store
  store.set = async () => { throw new Error('down') }
  t.equal((await browser.navigate(url)).statusCode, 503)
  store.set = set
  t.match(messages('flow:end').at(-1), { outcome: 'failed', code: 'WEBFLOW_OAUTH_STORE_UNAVAILABLE', elapsed: Number })
  t.equal((await browser.navigate(url)).statusCode, 303)
  t.match(messages('flow:end').at(-1), { outcome: 'connected', elapsed: Number })
  t.equal(messages('flow:end').length, 3)
})

t.test('a repeated callback publishes an end if its answer differs from the first', async (t) => {
  const messages = listen(t)
  const webflow = await startWebflow(t)
  const app = await createApp(t, { webflow, after: (app) => { app.post('/logout', async (request, reply) => { await app.webflowOAuth.endSession(request, reply) }) } })
  const browser = new Browser(app)
  const url = await webflow.approve(String((await browser.navigate('/webflow/authorize')).location))
  await browser.navigate(url)
  await browser.request('/logout', { method: 'POST' })
  t.equal((await browser.navigate(url)).statusCode, 400)
  t.match(messages('flow:end'), [{ outcome: 'connected' }, { outcome: 'failed', code: 'WEBFLOW_OAUTH_STATE_INVALID', reason: 'already_used', elapsed: Number }])

  const denied = new Browser(app)
  const denial = await webflow.deny(String((await denied.navigate('/webflow/authorize')).location))
  for (let time = 0; time < 2; time++) t.equal((await denied.navigate(denial)).statusCode, 403)
  t.equal(messages('flow:end').length, 3)
})

t.test('every revocation is published, whether a browser or the app asked for it', async (t) => {
  const messages = listen(t)
  const webflow = await startWebflow(t)
  const app = await createApp(t, { webflow })
  const browser = new Browser(app)
  await connect(browser, webflow)
  webflow.fail('revoke', { status: 500 })
  const headers = { ...navigation, 'sec-fetch-site': 'same-origin' }
  await browser.request('/webflow/revoke', { method: 'POST', headers })
  t.match(messages('revoke'), [{ clientId, outcome: 'failed', code: 'WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE', duration: Number }])

  const { accessToken, id } = (await browser.get('/token')).json()
  webflow.revokeToken(String(accessToken))
  await app.webflowOAuth.revoke(String(id))
  t.match(messages('revoke').at(-1), { outcome: 'already_revoked', code: null })
})

t.test('a disconnect is published once for each record', async (t) => {
  const messages = listen(t)
  const webflow = await startWebflow(t, { repeatedAuthorization: 'new-ends-old' })
  const app = await createApp(t, { webflow })
  const browser = new Browser(app)
  await connect(browser, webflow)
  await connect(new Browser(app), webflow)
  t.ok(await eventually(() => messages('disconnect').length > 0))
  t.strictSame(messages('disconnect'), [{ clientId, reason: 'superseded' }])

  const second = new Browser(app)
  await connect(second, webflow)
  webflow.uninstall()
  await app.webflowOAuth.reportUnauthorized(String((await second.get('/token')).json().id))
  t.strictSame(messages('disconnect').at(-1), { clientId, reason: 'revoked' })
})

t.test('a failure of the store is published with its method and its reason', async (t) => {
  const messages = listen(t)
  const store = new MemoryStore()
  const webflow = await startWebflow(t)
  const app = await createApp(t, { webflow, options: { store, storeTimeout: 20 } })
  const browser = new Browser(app)
  await connect(browser, webflow)

  store.get = async () => { throw new Error('the store is broken') }
  t.equal((await browser.get('/token')).statusCode, 503)
  t.match(messages('store:failure'), [{ clientId, method: 'get', reason: 'error', duration: Number }])

  store.get = () => new Promise(() => {})
  t.equal((await browser.get('/token')).statusCode, 503)
  t.match(messages('store:failure').at(-1), { method: 'get', reason: 'timeout', duration: Number })

  t.equal((await browser.get('/token')).statusCode, 503)
  t.match(messages('store:failure').at(-1), { method: 'get', reason: 'resting' })
  t.equal(messages('store:failure').length, 3)
})

t.test('the plugin exports the channels with their types', async (t) => {
  const webflow = await startWebflow(t)
  const app = await createApp(t, { webflow })
  const ends: FlowEnd[] = []
  const listener = (end: FlowEnd): void => { ends.push(end) }
  diagnostics.flowEnd.subscribe(listener)
  t.strictSame(Object.values(diagnostics).map(({ name }) => name), names)
  await new Browser(app).navigate('/webflow/callback')
  diagnostics.flowEnd.unsubscribe(listener)
  t.equal(diagnostics.flowEnd.hasSubscribers, false)
  await new Browser(app).navigate('/webflow/callback')
  t.match(ends, [{ outcome: 'failed', code: 'WEBFLOW_OAUTH_INVALID_CALLBACK' }])
  t.equal(new WebflowOAuthError('WEBFLOW_OAUTH_INVALID_CALLBACK', '').code, ends[0]?.code)
})

t.test('nothing that was published or logged holds a secret', async (t) => assertNothingLeaked(t))

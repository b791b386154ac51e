import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import { randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import { request } from 'undici'
import webflowOAuth, { type WebflowOAuthOptions } from '../../lib/index.ts'
import { createSimulator, type BehaviorOptions, type Simulator } from '../../lib/simulator/index.ts'
import { Browser } from './browser.ts'
import { findLeaks, recordingLogger, rememberSecrets } from './logs.ts'
import { member, parameter } from './simulator-start.ts'

export const clientId = 'c'.repeat(64)
export const clientSecret = randomBytes(32).toString('hex')
export const secret = randomBytes(32).toString('base64')
export const redirectUri = 'https://app.example.com/webflow/callback'
export const scope = ['sites:read', 'cms:read']
rememberSecrets(clientSecret, secret)

/** Starts a local Webflow that knows the app. It ends with the test. */
export async function startWebflow (t: Test, behavior: BehaviorOptions = {}, redirectUris = [redirectUri]): Promise<Simulator> {
  const webflow = createSimulator({
    app: { clientId, clientSecret, redirectUris, scope: ['sites:read', 'cms:read', 'cms:write', 'authorized_user:read'] },
    behavior
  })
  await webflow.listen()
  t.teardown(() => webflow.close())
  return webflow
}

/** The options that every app of the tests has. */
export function baseOptions (webflow: Simulator | null): WebflowOAuthOptions {
  return {
    clientId,
    clientSecret,
    redirectUri,
    scope,
    secret,
    ...(webflow === null ? {} : { endpoints: webflow.endpoints })
  }
}

/** Server options that keep Fastify from logging requests. Newer versions of Fastify have a controller instead of the option. */
export const withoutRequestLogs: FastifyServerOptions = 'LogController' in Fastify
  ? { logController: new Fastify.LogController({ disableRequestLogging: true }) }
  : { disableRequestLogging: true }

/** The parts from which `createApp` builds an app. */
export interface AppOptions {
  webflow?: Simulator | null
  options?: Partial<WebflowOAuthOptions>
  server?: FastifyServerOptions
  /** Adds to the app before the plugin. */
  before?: (app: FastifyInstance) => unknown
  /** Adds to the app after the plugin. */
  after?: (app: FastifyInstance) => unknown
}

/** Builds an app with the plugin and a route `/token` that tells about the caller's token. */
export async function createApp (t: Test, { webflow = null, options = {}, server = {}, before, after }: AppOptions = {}): Promise<FastifyInstance> {
  const app = Fastify({ logger: recordingLogger, ...server })
  t.teardown(() => app.close())
  await before?.(app)
  await app.register(webflowOAuth, { ...baseOptions(webflow), ...options })
  app.get('/token', async (request) => {
    const token = request.webflowToken
    rememberSecrets(token?.accessToken)
    return { connected: token !== null, id: token?.id ?? null, accessToken: token?.accessToken ?? null, scope: token?.scope ?? null }
  })
  await after?.(app)
  await app.ready()
  return app
}

/** Leads a browser through a whole flow. Resolves with the answer of the callback. */
export async function connect (browser: Browser, webflow: Simulator, { path = '/webflow/authorize', headers = {} }: { path?: string, headers?: Record<string, string> } = {}) {
  const { location } = await browser.navigate(path, headers)
  return await browser.navigate(await webflow.approve(String(location)), headers)
}

/** Obtains an access token as an app without the plugin does. */
export async function grantToken (webflow: Simulator, pick?: Parameters<Simulator['approve']>[1]): Promise<string> {
  const query = new URLSearchParams({ response_type: 'code', client_id: clientId, redirect_uri: redirectUri, scope: scope.join(' ') })
  const back = await webflow.approve(`${webflow.endpoints.authorize}?${query}`, pick)
  const { body } = await request(webflow.endpoints.token, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ client_id: clientId, client_secret: clientSecret, grant_type: 'authorization_code', code: parameter(back, 'code'), redirect_uri: redirectUri })
  })
  const accessToken = member(await body.json(), 'access_token')
  rememberSecrets(accessToken)
  return accessToken
}

/** Checks that no line that this process has logged holds a secret. It is called in the last test of a file. */
export function assertNothingLeaked (t: Test): void {
  const { known, logged, leaked } = findLeaks()
  t.ok(known > 0 && logged > 0, 'there were secrets and there were logs')
  t.equal(leaked, 0, 'no secret was logged')
}

import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from 'fastify'
import { Callers } from './callers.ts'
import { Cookies, loadCookieCodec } from './cookies.ts'
import { Flows } from './flows.ts'
import { GuardedStore } from './guarded-store.ts'
import { Identity } from './identity.ts'
import { createKeyring } from './keyring.ts'
import type { Settings } from './resolve-options.ts'
import { createSealer } from './seal.ts'
import { SealedStore } from './sealed-store.ts'
import { TokenRecords } from './token-records.ts'
import { WebflowClient } from './webflow-client.ts'

/** The parts of one instance of the plugin. */
export interface Context {
  settings: Settings
  log: FastifyBaseLogger
  cookies: Cookies
  identity: Identity
  records: TokenRecords
  callers: Callers
  flows: Flows
  webflow: WebflowClient
}

/** Puts the parts of an instance together. */
export async function createContext (settings: Settings, log: FastifyBaseLogger): Promise<Context> {
  const keyring = createKeyring(settings.secrets, settings.clientId)
  const store = new GuardedStore(settings.store, settings.storeTimeout)
  const cookies = new Cookies(await loadCookieCodec(), settings.cookieName, settings.secure)
  const identity = new Identity(settings, keyring)
  const records = new TokenRecords(new SealedStore(store, createSealer(keyring('seal token')), log), settings.sessionMaxAge, log)
  return {
    settings,
    log,
    cookies,
    identity,
    records,
    callers: new Callers(cookies, identity, records),
    flows: new Flows(settings, cookies, new SealedStore(store, createSealer(keyring('seal flow')), log), keyring),
    webflow: new WebflowClient(settings)
  }
}

/** What an authorization may be begun with. */
export interface AuthorizationOptions {
  /** An absolute URL. */
  returnTo: string
  scope: readonly string[]
  /** The user for whom the app begins it, where the callback cannot tell. */
  user?: string | undefined
}

/** Begins a flow for the caller of a request; returns the URL at Webflow to go to. */
export async function beginAuthorization (context: Context, request: FastifyRequest, reply: FastifyReply, options: AuthorizationOptions): Promise<string> {
  const { callers, flows, identity } = context
  const { returnTo, scope } = options
  const user = options.user ?? await callers.userOf(request)
  reply.header('cache-control', 'no-store')
  return flows.begin(request, reply, {
    returnTo,
    scope,
    user: user === null ? null : identity.hash(user),
    owner: options.user === undefined ? null : identity.userTokenId(options.user)
  })
}

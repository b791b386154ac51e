import type { FastifyBaseLogger } from 'fastify'
import { Callers } from './callers.ts'
import { Cookies, loadCookieCodec } from './cookies.ts'
import { FlowRecords } from './flow-records.ts'
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
  flowRecords: FlowRecords
  webflow: WebflowClient
  /** Callbacks that have claimed their flow: closing waits for them, so that no token is lost on the way. */
  underWay: Set<Promise<unknown>>
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
    flows: new Flows(settings, cookies, keyring),
    flowRecords: new FlowRecords(new SealedStore(store, createSealer(keyring('seal flow')), log), settings),
    webflow: new WebflowClient(settings),
    underWay: new Set()
  }
}

import type { FastifyBaseLogger } from 'fastify'
import { Callers } from './callers.ts'
import { Cookies, type CookieCodec } from './cookies.ts'
import { EndedTokens } from './ended-tokens.ts'
import { FlowRecords } from './flow-records.ts'
import { Flows } from './flows.ts'
import { GuardedStore } from './guarded-store.ts'
import { Identity } from './identity.ts'
import { Installations } from './installations.ts'
import { createKeyring } from './keyring.ts'
import type { Settings } from './resolve-options.ts'
import { createSealer } from './seal.ts'
import { SealedStore } from './sealed-store.ts'
import { Siblings } from './siblings.ts'
import { TagNames } from './tag-names.ts'
import { TokenChecks } from './token-checks.ts'
import { TokenRecords } from './token-records.ts'
import { UnderWay } from './under-way.ts'
import { WebflowClient } from './webflow-client.ts'

/** The parts of one instance of the plugin. */
export interface Context {
  settings: Settings
  log: FastifyBaseLogger
  cookies: Cookies
  identity: Identity
  records: TokenRecords
  checks: TokenChecks
  ended: EndedTokens
  siblings: Siblings
  installations: Installations
  callers: Callers
  flows: Flows
  flowRecords: FlowRecords
  webflow: WebflowClient
  /** Callbacks that have claimed their flow, and what is asked in the background: closing waits for them, so that no token is lost on the way. */
  underWay: UnderWay
}

/** Puts the parts of an instance together. */
export function createContext (settings: Settings, log: FastifyBaseLogger, codec: CookieCodec): Context {
  const keyring = createKeyring(settings.secrets, settings.clientId)
  const store = new GuardedStore(settings.store, settings.storeTimeout, settings.clientId)
  const cookies = new Cookies(codec, settings.cookieName, settings.secure)
  const identity = new Identity(settings, keyring)
  const tags = new TagNames(settings.clientId)
  const underWay = new UnderWay()
  const records = new TokenRecords(new SealedStore(store, createSealer(keyring('seal token')), log), tags, settings.sessionMaxAge, log, underWay)
  const webflow = new WebflowClient(settings)
  const checks = new TokenChecks(webflow, settings.timeout)
  const ended = new EndedTokens(settings, { records, tags, log })
  const siblings = new Siblings({ records, checks, ended, tags })
  const installations = new Installations(settings, { records, checks, ended, siblings, tags, log, underWay })
  return {
    settings,
    log,
    cookies,
    identity,
    records,
    checks,
    ended,
    siblings,
    installations,
    callers: new Callers(cookies, identity, records, installations),
    flows: new Flows(settings, cookies, keyring),
    flowRecords: new FlowRecords(new SealedStore(store, createSealer(keyring('seal flow')), log), settings, underWay),
    webflow,
    underWay
  }
}

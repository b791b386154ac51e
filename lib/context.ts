import type { FastifyBaseLogger } from 'fastify'
import { CallerTokens } from './caller/caller-tokens.ts'
import { Identity } from './caller/identity.ts'
import { createSafeLogger } from './collections/safe-logger.ts'
import { UnderWay } from './collections/under-way.ts'
import { BrowserFlows } from './flow/browser-flows.ts'
import { FlowRecords } from './flow/records.ts'
import { Cookies, type CookieCodec } from './http/cookies.ts'
import type { Settings } from './options/resolve.ts'
import type { Parts } from './routes/parts.ts'
import { GuardedStore } from './storage/guarded-store.ts'
import { createKeyring } from './storage/keyring.ts'
import { createSealer } from './storage/seal.ts'
import { SealedStore } from './storage/sealed-store.ts'
import { EndedTokens } from './tokens/ended.ts'
import { TokenRecords } from './tokens/records.ts'
import { TagNames } from './tokens/tags.ts'
import { UntoldTokens } from './tokens/untold.ts'
import { WebflowClient } from './webflow/client.ts'
import { TokenChecks } from './webflow/token-checks.ts'

/** Puts the parts of an instance together. */
export function createContext (settings: Settings, appLog: FastifyBaseLogger, codec: CookieCodec): Parts {
  const log = createSafeLogger(appLog)
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
  const untold = new UntoldTokens(settings, { records, checks, tags, log, underWay })
  return {
    settings,
    log,
    cookies,
    identity,
    records,
    checks,
    ended,
    tags,
    untold,
    callers: new CallerTokens(cookies, identity, records, untold),
    flows: new BrowserFlows(settings, cookies, keyring),
    flowRecords: new FlowRecords(store, settings, underWay),
    webflow,
    underWay
  }
}

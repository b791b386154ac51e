import type { FastifyBaseLogger } from 'fastify'
import { CallerTokens } from './caller/caller-tokens.ts'
import { DesignerSessions } from './caller/designer-sessions.ts'
import { Identity } from './caller/identity.ts'
import { createSafeLogger } from './collections/safe-logger.ts'
import { BackgroundTasks } from './collections/background-tasks.ts'
import { BrowserFlows } from './flow/browser-flows.ts'
import { FlowRecords } from './flow/records.ts'
import { Cookies, type CookieCodec } from './http/cookies.ts'
import type { Settings } from './options/resolve.ts'
import type { Parts } from './routes/parts.ts'
import { GuardedStore } from './storage/guarded-store.ts'
import { createKeyring } from './storage/keyring.ts'
import { createSealer } from './storage/seal.ts'
import { SealedStore } from './storage/sealed-store.ts'
import { IdTokens } from './tokens/id-tokens.ts'
import { TokenRecords } from './tokens/records.ts'
import { ResolveLimits } from './tokens/resolve-limits.ts'
import { TagNames } from './tokens/tags.ts'
import { Introspector } from './tokens/introspector.ts'
import { WebflowClient } from './webflow/client.ts'
import { TokenChecks } from './webflow/token-checks.ts'

/** Creates the parts of one instance of the plugin from its settings. */
export function createParts (settings: Settings, appLog: FastifyBaseLogger, codec: CookieCodec): Parts {
  const log = createSafeLogger(appLog)
  const keyring = createKeyring(settings.secrets, settings.clientId)
  const store = new GuardedStore(settings.store, settings.storeTimeout, settings.clientId)
  const cookies = new Cookies(codec, settings.cookieName, settings.secure)
  const identity = new Identity(settings, keyring)
  const background = new BackgroundTasks()
  const tags = new TagNames(settings.clientId)
  const sessions = new DesignerSessions(createSealer(keyring('seal designer session')), tags, settings.designer?.maxAge ?? 0)
  const records = new TokenRecords(new SealedStore(store, createSealer(keyring('seal token')), log), tags, settings, log, background)
  const webflow = new WebflowClient(settings)
  const checks = new TokenChecks(webflow)
  const introspector = new Introspector({ records, checks, log, background, settings })
  return {
    settings,
    log,
    cookies,
    identity,
    records,
    checks,
    introspector,
    sessions,
    idTokens: new IdTokens({ records, checks, introspector, webflow, log, settings, limits: new ResolveLimits() }),
    callers: new CallerTokens(cookies, identity, records, introspector, sessions),
    flows: new BrowserFlows(settings, cookies, keyring),
    flowRecords: new FlowRecords(store, settings, background),
    webflow,
    background
  }
}

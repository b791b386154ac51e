import type { FastifyBaseLogger } from 'fastify'
import type { CallerTokens } from '../caller/caller-tokens.ts'
import type { DesignerSessions } from '../caller/designer-sessions.ts'
import type { Identity } from '../caller/identity.ts'
import type { BackgroundTasks } from '../collections/background-tasks.ts'
import type { BrowserFlows } from '../flow/browser-flows.ts'
import type { FlowRecords } from '../flow/records.ts'
import type { Cookies } from '../http/cookies.ts'
import type { Settings } from '../options/resolve.ts'
import type { IdTokens } from '../tokens/id-tokens.ts'
import type { TokenRecords } from '../tokens/records.ts'
import type { Introspector } from '../tokens/introspector.ts'
import type { WebflowClient } from '../webflow/client.ts'
import type { TokenChecks } from '../webflow/token-checks.ts'

/** The routes of the plugin. */
export type Route = 'authorize' | 'callback' | 'revoke' | 'webhook' | 'designer'

/** The parts of one instance of the plugin. Each function takes from it only the parts that it needs. */
export interface Parts {
  settings: Settings
  log: FastifyBaseLogger
  cookies: Cookies
  identity: Identity
  records: TokenRecords
  checks: TokenChecks
  introspector: Introspector
  idTokens: IdTokens
  callers: CallerTokens
  sessions: DesignerSessions
  flows: BrowserFlows
  flowRecords: FlowRecords
  webflow: WebflowClient
  /** Callbacks that have claimed their flow, and background calls to Webflow. Closing waits for them, so that no token is lost. */
  background: BackgroundTasks
}

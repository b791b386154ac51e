import type { FastifyBaseLogger } from 'fastify'
import type { Settings } from '../options/resolve.ts'
import type { WebflowClient } from '../webflow/client.ts'
import type { TokenChecks } from '../webflow/token-checks.ts'
import type { Introspector } from './introspector.ts'
import type { TokenRecords } from './records.ts'

/** The parts of the plugin that the functions of this folder use. */
export interface TokenParts {
  records: TokenRecords
  introspector: Introspector
  checks: TokenChecks
  webflow: WebflowClient
  log: FastifyBaseLogger
  settings: Pick<Settings, 'clientId' | 'introspect' | 'onDisconnect' | 'onRevoke' | 'timeout'>
}

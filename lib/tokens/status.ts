import type { FastifyBaseLogger } from 'fastify'
import type { Deadline } from '../collections/deadline.ts'
import type { EndedTokens } from './ended.ts'
import type { TokenChecks, Verdict } from '../webflow/token-checks.ts'
import type { TokenRecords } from './records.ts'
import type { WebflowToken } from '../options/webflow-token.ts'

/** What Webflow says of a token; `unknown` when it could not be asked, which is no sign of anything. */
export type TokenStatus = 'active' | 'revoked' | 'unknown'

/** What a check takes. */
export interface StatusParts {
  records: TokenRecords
  checks: TokenChecks
  ended: EndedTokens
  log: FastifyBaseLogger
  /** Whether records keep what a token opens. */
  introspect: boolean
}

/** How old a remembered answer to `checkToken` may be, in milliseconds. */
const rememberFor = 60_000

/** Checks by a deadline whether a token still works, and records what it opens. Never forgets the token. */
export async function checkStatus (parts: StatusParts, token: WebflowToken, { fresh, deadline }: { fresh: boolean, deadline: Deadline }): Promise<TokenStatus> {
  const verdict = await parts.checks.ask(token.accessToken, token.scope, { deadline, ...fresh ? { queue: 'none' } : { queue: 'checks', maxAge: rememberFor } })
  await recordAnswer(parts, token, verdict)
  return statusOf(verdict)
}

/** Confirms by a deadline that Webflow no longer accepts a token, and then forgets it. */
export async function confirmEnded (parts: StatusParts, token: WebflowToken, deadline: Deadline): Promise<TokenStatus> {
  const verdict = await parts.checks.ask(token.accessToken, token.scope, { deadline, queue: 'none' })
  if (verdict.kind === 'revoked') await parts.ended.forget(token, 'revoked')
  else await recordAnswer(parts, token, verdict)
  return statusOf(verdict)
}

/** Records what a token opens, by the way: a failure here changes no answer. */
async function recordAnswer ({ introspect, log, records }: StatusParts, token: WebflowToken, verdict: Verdict): Promise<void> {
  if (verdict.kind !== 'active' || !introspect) return
  try {
    const known = await records.peek(token.id)
    if (known !== null && known.record.accessToken === token.accessToken) await records.learn(known, verdict.installation)
  } catch (err) {
    log.warn({ tokenId: token.id, err }, 'webflow-oauth: the store could not record what a token opens. The plugin asks Webflow again')
  }
}

function statusOf ({ kind }: Verdict): TokenStatus {
  return kind === 'refused' ? 'unknown' : kind
}

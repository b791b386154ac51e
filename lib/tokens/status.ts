import type { Deadline } from '../collections/deadline.ts'
import type { WebflowToken } from '../options/webflow-token.ts'
import type { Installation } from '../webflow/authorization.ts'
import { forgetEnded } from './ended.ts'
import type { TokenParts } from './parts.ts'

/** Whether a token works. `unknown` means that Webflow could not be asked, and says nothing about the token. */
export type TokenStatus = 'active' | 'revoked' | 'unknown'

/** How old a remembered answer to `checkToken` may be, in milliseconds. */
const rememberFor = 60_000

/** How the status of a token is checked. */
export interface StatusOptions {
  deadline: Deadline
  /** Whether Webflow is asked even if an answer is remembered. */
  fresh: boolean
  /** Whether a token that Webflow has ended is forgotten. */
  forget: boolean
}

/** Asks Webflow whether a token still works, and records what the token opens now. */
export async function checkStatus (parts: TokenParts, token: WebflowToken, { deadline, fresh, forget }: StatusOptions): Promise<TokenStatus> {
  const verdict = await parts.checks.ask(token.accessToken, token.scope, { deadline, ...fresh ? { queue: 'none' } : { queue: 'checks', maxAge: rememberFor } })
  if (verdict.kind === 'revoked' && forget) await forgetEnded(parts, token, 'revoked')
  if (verdict.kind === 'active' && parts.settings.introspect) await recordInstallation(parts, token, verdict.installation)
  return verdict.kind === 'refused' ? 'unknown' : verdict.kind
}

/** Records what a token opens. If the store fails, that is only logged, because the caller has asked about the status. */
async function recordInstallation ({ log, records }: TokenParts, token: WebflowToken, installation: Installation): Promise<void> {
  try {
    const known = await records.peek(token.id)
    if (known !== null && known.record.accessToken === token.accessToken) await records.learn(known, installation)
  } catch (err) {
    log.warn({ tokenId: token.id, err }, 'webflow-oauth: the store could not record what a token opens. The plugin asks Webflow again')
  }
}

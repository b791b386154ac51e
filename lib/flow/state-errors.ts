import type { FastifyRequest } from 'fastify'
import { WebflowOAuthError, type StateReason } from '../errors.ts'
import type { Cookies } from '../http/cookies.ts'
import type { Settings } from '../options/resolve.ts'
import type { FlowRecords } from './records.ts'

const messages: Record<StateReason, string> = {
  state_missing: 'The callback has no `state`: does a gateway drop the parameter, or was the install begun twice? Begin again at the authorize route.',
  malformed: 'The `state` is not valid for this app: it was cut or changed, or it was made with another `secret` or `clientId`. Do all replicas share one `secret`?',
  expired: 'The attempt to connect has expired: Webflow\'s page was open for too long, or an old link was used. Begin again.',
  already_used: 'The attempt to connect was finished before: the callback was opened a second time. Begin again if nothing is connected.',
  host_mismatch: 'The callback arrived under another host than the one in `redirectUri`, and browsers do not send cookies to another host.',
  cookie_missing: 'The browser sent no cookies at all: are they blocked, or does a proxy drop them?',
  other_browser: 'The attempt to connect was begun in another browser or profile, or its cookie has been deleted. Begin again and stay in one browser.',
  other_user: 'The attempt to connect was begun by one user of this app, but another user is signed in now. Begin again.'
}

/** Makes the error for a refused state. */
export function stateInvalid (reason: StateReason, detail = ''): WebflowOAuthError {
  return new WebflowOAuthError('WEBFLOW_OAUTH_STATE_INVALID', messages[reason] + detail, { reason })
}

/** Makes the error for a flow that took too long. */
export function flowExpired (startedAt: number, flowMaxAge: number): WebflowOAuthError {
  return stateInvalid('expired', ` It began ${Math.round((Date.now() - startedAt) / 1000)} seconds ago, and \`flowMaxAge\` is ${flowMaxAge}.`)
}

/** Makes the error with the likeliest reason why the browser did not send the cookie of a genuine flow. */
export async function explainMissingCookie ({ cookies, flowRecords, settings }: { cookies: Cookies, flowRecords: FlowRecords, settings: Settings }, request: FastifyRequest, state: string): Promise<WebflowOAuthError> {
  // If the store is down, this reason is skipped, and the reasons below can still be checked.
  const progress = await flowRecords.progress(state).catch(() => null)
  if (progress !== null && progress.kind !== 'unclaimed') return stateInvalid('already_used')
  const host = hostOf(request, settings.secure)
  if (host !== settings.host) {
    return stateInvalid('host_mismatch', ` \`redirectUri\` names ${settings.host}${host === null ? '' : `, the request came in for ${host}`}. Use one host name throughout; behind a proxy that changes \`Host\`, set \`trustProxy\`.`)
  }
  return stateInvalid(Object.keys(cookies.read(request)).length === 0 ? 'cookie_missing' : 'other_browser',
    ` Browsers do not send cookies to another host, so begin at ${settings.host}, the host of \`redirectUri\`.`)
}

/** Returns the host of a request in the spelling of a URL; null when the request names no valid host. */
function hostOf (request: FastifyRequest, secure: boolean): string | null {
  // In Fastify 5.0.0, `request.host` is undefined for an HTTP/1.0 request without `Host`, although its type is string.
  const host = [request.host].join()
  const url = `${secure ? 'https' : 'http'}://${host}`
  return /^[\w.:[\]-]{1,255}$/.test(host) && URL.canParse(url) ? new URL(url).host : null
}

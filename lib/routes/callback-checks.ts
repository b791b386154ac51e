import type { FastifyReply, FastifyRequest } from 'fastify'
import { beginAuthorization } from '../caller/begin.ts'
import { WebflowOAuthError } from '../errors.ts'
import type { OwnFlow } from '../flow/browser-flows.ts'
import type { FlowCookie } from '../flow/cookie.ts'
import type { Outcome } from '../flow/outcome.ts'
import type { Claim, Done } from '../flow/records.ts'
import { explainMissingCookie, flowExpired, stateInvalid } from '../flow/state-errors.ts'
import { isCrossSite, isNavigation } from '../http/navigation.ts'
import { sendPage } from '../http/page.ts'
import { parseCallback, type CallbackQuery } from '../http/query.ts'
import { redirect } from '../http/redirect.ts'
import type { Parts } from './parts.ts'

/** How long a browser remembers that an install was begun again, in seconds. */
const restartMaxAge = 60

/** A callback that has passed all checks. */
export interface Attempt {
  query: CallbackQuery
  flow: OwnFlow
  /** The store id of the user's token; null where the token belongs to a new session. */
  userTokenId: string | null
}

/** The first callback of a flow, which may finish the flow. */
export interface Claimed {
  kind: 'claimed'
  attempt: Attempt
  claim: Claim
}

/** A callback whose flow has ended a moment ago. */
export interface Repeated {
  kind: 'repeated'
  attempt: Attempt
  outcome: Outcome
  /** When the flow ended, in Unix milliseconds. */
  endedAt: number
  /** The id of the session that the flow led to; null where it led to none. */
  sessionId: string | null
}

/** What the checks of a callback lead to. */
export type Checked = { kind: 'answered', reply: FastifyReply } | Claimed | Repeated

/** Checks a callback and claims its flow. The order of the checks is the contract: nothing is written before the last one has passed. */
export async function checkCallback (parts: Parts, request: FastifyRequest, reply: FastifyReply): Promise<Checked> {
  const { cookies, flowRecords, flows, settings } = parts
  const query = parseCallback(request)
  if (query.state === null) return { kind: 'answered', reply: await restart(parts, query, request, reply) }

  const flow = flows.recognise(request, query.state)
  if (flow === null) throw stateInvalid('malformed')
  const { cookie, expired, startedAt, state } = flow
  // A flow that ended in time may be repeated for a moment, although it can no longer be claimed.
  if (expired && (cookie === null || (await flowRecords.progress(state)).kind === 'unclaimed')) throw flowExpired(startedAt, settings.flowMaxAge)
  if (cookie === null) throw await explainMissingCookie(parts, request, state)
  const owner = await findOwner(parts, cookie, request)
  if (owner.kind === 'reload') return { kind: 'answered', reply: sendReload(reply) }

  const attempt = { query, flow: { ...flow, cookie: { ...cookie, user: owner.user } }, userTokenId: owner.tokenId }
  const progress = await flowRecords.claimOrWait(state, cookie.startedAt, expired)
  if (progress === null) throw expired ? flowExpired(startedAt, settings.flowMaxAge) : stateInvalid('already_used')
  const checked: Checked = progress.kind === 'claim' ? { kind: 'claimed', attempt, claim: progress } : await recallAnswer(parts, attempt, progress)
  if (cookies.read(request)[cookies.names.restart] !== undefined) cookies.end(reply, cookies.names.restart)
  return checked
}

/** Begins a flow for an install that began at Webflow, whose callback has no state of ours. The code is dropped: anybody could have sent it. */
async function restart (parts: Parts, query: CallbackQuery, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { cookies, settings } = parts
  // The marker keeps a provider that loses states from sending the browser round and round.
  const marked = cookies.read(request)[cookies.names.restart] !== undefined
  if (query.error !== null || marked || settings.onMissingState === 'reject') throw stateInvalid('state_missing')
  const url = await beginAuthorization(parts, request, reply, { trigger: 'install', returnTo: null, scope: settings.scope })
  cookies.set(reply, cookies.names.restart, '1', restartMaxAge)
  return redirect(reply, url, 302)
}

/** Whose token the flow leads to. */
type Owner =
  | {
    kind: 'owner'
    /** The store id of the user's token, or null for a new session. */
    tokenId: string | null
    /** The keyed hash of the user, or null. The cookie of the ended flow holds it, so that nobody else repeats the callback. */
    user: string | null
  }
  | { kind: 'reload' }

async function findOwner ({ callers, identity }: Parts, cookie: FlowCookie, request: FastifyRequest): Promise<Owner> {
  if (!identity.byUser) return { kind: 'owner', tokenId: null, user: null }
  const user = await callers.userOf(request)
  if (user !== null) {
    if (cookie.user !== null && !identity.matches(cookie.user, user)) throw stateInvalid('other_user')
    return { kind: 'owner', tokenId: identity.userTokenId(user), user: cookie.user ?? identity.hash(user) }
  }
  if (cookie.owner !== null) return { kind: 'owner', tokenId: cookie.owner, user: cookie.user }
  // A SameSite=Strict cookie of the app is missing on the way from Webflow and present on a reload.
  if (cookie.user !== null && isNavigation(request) && isCrossSite(request)) return { kind: 'reload' }
  throw new WebflowOAuthError('WEBFLOW_OAUTH_USER_REQUIRED',
    'Nobody is signed in to whom the Webflow connection could belong. Sign in, then reload this URL: the attempt is unharmed until it expires.')
}

function sendReload (reply: FastifyReply): FastifyReply {
  return sendPage(reply, { status: 200, title: 'Connecting Webflow', text: 'One moment, please. If nothing happens, reload this page.', reloads: true })
}

/** Finds the answer that a flow got when it ended. Refuses where the token has gone since: a session that has ended is not brought back. */
async function recallAnswer ({ flows, identity, records }: Parts, attempt: Attempt, { outcome, endedAt }: Done): Promise<Repeated> {
  if (outcome.kind === 'failed') return { kind: 'repeated', attempt, outcome, endedAt, sessionId: null }
  const session = attempt.userTokenId === null ? flows.sessionOf(attempt.flow, outcome.keyId) : null
  const tokenId = session === null ? attempt.userTokenId : identity.sessionTokenId(session.sessionId)
  if (tokenId === null || await records.readSealed(tokenId) === null) throw stateInvalid('already_used')
  return { kind: 'repeated', attempt, outcome, endedAt, sessionId: session?.sessionId ?? null }
}

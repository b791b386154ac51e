import type { FastifyReply, FastifyRequest } from 'fastify'
import { beginAuthorization } from '../caller/begin.ts'
import { signInUrl, userRequired } from '../caller/sign-in.ts'
import type { OwnFlow } from '../flow/browser-flows.ts'
import type { Outcome } from '../flow/outcome.ts'
import type { Claim, Done } from '../flow/records.ts'
import { explainMissingCookie, flowExpired, stateInvalid } from '../flow/state-errors.ts'
import { isCrossSite, isNavigation } from '../http/navigation.ts'
import { sendPage } from '../http/page.ts'
import { parseCallback, type CallbackQuery } from '../http/query.ts'
import { redirect } from '../http/redirect.ts'
import type { Parts } from './parts.ts'

/** How long the cookie that marks a restarted install lives, in seconds. */
const restartMaxAge = 60

/** A callback that has passed all checks. */
export interface Attempt {
  query: CallbackQuery
  flow: OwnFlow
  /** The user to whom the token will belong. Null without `identify`: the token then belongs to a new session. */
  owner: string | null
  /** The store id of the owner's token, or null for a new session. */
  userTokenId: string | null
}

/** The first callback of a flow. It has claimed the flow and will finish it. */
export interface Claimed {
  kind: 'claimed'
  attempt: Attempt
  claim: Claim
}

/** A repeated callback: its flow ended a moment ago, and it gets the same answer again. */
export interface Repeated {
  kind: 'repeated'
  attempt: Attempt
  outcome: Outcome
  /** When the flow ended, in Unix milliseconds. */
  endedAt: number
  /** The id of the session that the flow began; null if the flow failed or the token belongs to a user. */
  sessionId: string | null
}

/** The result of checking a callback. `answered` means that the reply is sent already. */
export type Checked = { kind: 'answered', reply: FastifyReply } | Claimed | Repeated

/** Checks a callback and claims its flow. The order of the checks is part of the contract: the store is not written to before all of them have passed. */
export async function checkCallback (parts: Parts, request: FastifyRequest, reply: FastifyReply): Promise<Checked> {
  const { cookies, flowRecords, flows, identity, settings } = parts
  const query = parseCallback(request)
  if (query.state === null) return { kind: 'answered', reply: await restart(parts, query, request, reply) }

  const flow = flows.recognise(request, query.state)
  if (flow === null) throw stateInvalid('malformed')
  const { cookie, expired, startedAt, state } = flow
  // An expired flow cannot be claimed. If it was claimed in time, its callback may still be repeated for a moment.
  if (expired && (cookie === null || (await flowRecords.progress(state)).kind === 'unclaimed')) throw flowExpired(startedAt, settings.flowMaxAge)
  if (cookie === null) throw await explainMissingCookie(parts, request, state)
  const owner = await findOwner(parts, { ...flow, cookie }, request)
  if (owner.kind === 'reload') return { kind: 'answered', reply: sendReload(reply) }
  if (owner.kind === 'sign in') return { kind: 'answered', reply: redirect(reply, owner.url, 302) }

  const attempt = {
    query,
    flow: { ...flow, cookie: { ...cookie, user: owner.hash } },
    owner: owner.user,
    userTokenId: owner.user === null ? null : identity.userTokenId(owner.user)
  }
  const progress = await flowRecords.claimOrWait(state, cookie.startedAt, expired)
  if (progress === null) throw expired ? flowExpired(startedAt, settings.flowMaxAge) : stateInvalid('already_used')
  const checked: Checked = progress.kind === 'claim' ? { kind: 'claimed', attempt, claim: progress } : await recallAnswer(parts, attempt, progress)
  if (cookies.read(request)[cookies.names.restart] !== undefined) cookies.end(reply, cookies.names.restart)
  return checked
}

/** Begins a flow for an install that began at Webflow. Such a callback has no `state`, so its code could come from anybody and is dropped. */
async function restart (parts: Parts, query: CallbackQuery, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { callers, cookies, flows, settings } = parts
  // Without the marker, a provider that loses the state would send the browser into an endless loop.
  const marked = cookies.read(request)[cookies.names.restart] !== undefined
  if (query.error !== null || marked || settings.onMissingState === 'reject') throw stateInvalid('state_missing')
  const signIn = settings.signInRedirect !== null && !flows.isStuck(request) && await callers.userOf(request) === null ? signInUrl(parts, request, { returnTo: null, popup: false, resume: '1' }) : null
  if (signIn !== null) return redirect(reply, signIn, 302)
  const url = await beginAuthorization(parts, request, reply, { trigger: 'install', returnTo: null, scope: settings.scope })
  cookies.set(reply, cookies.names.restart, '1', restartMaxAge)
  return redirect(reply, url, 302)
}

/**
 * The owner of the token that the flow will store. `reload` means that the browser must reload the page to send the app's
 * cookie, and `sign in` that it must go to the app's sign-in page.
 */
type Owner =
  | {
    kind: 'owner'
    /** The user, or null for a new session. */
    user: string | null
    /** The keyed hash of the user, or null. It is kept in the flow cookie, so that no other user of the browser can repeat the callback. */
    hash: string | null
  }
  | { kind: 'reload' }
  | { kind: 'sign in', url: string }

async function findOwner (parts: Parts, flow: OwnFlow, request: FastifyRequest): Promise<Owner> {
  const { callers, flows, identity } = parts
  const { cookie } = flow
  if (!identity.byUser) return { kind: 'owner', user: null, hash: null }
  const user = await callers.userOf(request)
  if (user !== null) {
    if (cookie.user !== null && !identity.matches(cookie.user, user)) throw stateInvalid('other_user')
    return { kind: 'owner', user, hash: cookie.user ?? identity.hash(user) }
  }
  const named = flows.ownerOf(flow)
  if (named !== null) return { kind: 'owner', user: named, hash: cookie.user }
  // Browsers leave out the app's SameSite=Strict cookies on the way back from Webflow, and send them on a reload.
  if (cookie.user !== null && isNavigation(request) && isCrossSite(request)) return { kind: 'reload' }
  // `identify` may name a user at the authorize route only. The sign-in page would then lead back here again and again.
  const url = flows.isStuck(request) ? null : signInUrl(parts, request, { returnTo: cookie.returnTo, popup: cookie.popup, resume: '1' })
  if (url !== null) return { kind: 'sign in', url }
  throw userRequired('Sign in, then reload this URL: the attempt stays valid until it expires.')
}

function sendReload (reply: FastifyReply): FastifyReply {
  return sendPage(reply, { status: 200, title: 'Connecting Webflow', text: 'One moment, please. If nothing happens, reload this page.', reloads: true })
}

/** Finds the answer that was given when the flow ended. Throws if the token no longer exists, so that a repeated callback never revives an ended session. */
async function recallAnswer ({ flows, identity, records }: Parts, attempt: Attempt, { outcome, endedAt }: Done): Promise<Repeated> {
  if (outcome.kind === 'failed') return { kind: 'repeated', attempt, outcome, endedAt, sessionId: null }
  const session = attempt.userTokenId === null ? flows.sessionOf(attempt.flow, outcome.keyId) : null
  const tokenId = session === null ? attempt.userTokenId : identity.sessionTokenId(session.sessionId)
  if (tokenId === null || await records.readSealed(tokenId) === null) throw stateInvalid('already_used')
  return { kind: 'repeated', attempt, outcome, endedAt, sessionId: session?.sessionId ?? null }
}

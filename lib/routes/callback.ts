import { randomBytes } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { beginAuthorization } from '../caller/begin.ts'
import type { Identity } from '../caller/identity.ts'
import { diagnostics, ownCode } from '../diagnostics.ts'
import { WebflowOAuthError, toError } from '../errors.ts'
import type { OwnFlow } from '../flow/browser-flows.ts'
import type { FlowCookie } from '../flow/cookie.ts'
import { createOutcome, restoreError, type Outcome } from '../flow/outcome.ts'
import type { Claim, Done } from '../flow/records.ts'
import { explainMissingCookie, flowExpired, stateInvalid } from '../flow/state-errors.ts'
import { isCrossSite, isNavigation } from '../http/navigation.ts'
import { sendPage } from '../http/page.ts'
import { parseCallback, readOnce, readQuery, type CallbackQuery } from '../http/query.ts'
import { redirect } from '../http/redirect.ts'
import { ProtectedToken } from '../tokens/record.ts'
import { answersByItself } from './answering-hook.ts'
import type { Parts } from './parts.ts'

/** How long a browser remembers that an install was begun again, in seconds. */
const restartMaxAge = 60
/** How long a browser waits for the review of the user's other tokens at most, in milliseconds. */
const reviewPatience = 2000
/** The errors of RFC 6749, section 4.1.2.1, that are told on as a reason. */
const knownErrors = new Set(['invalid_request', 'unauthorized_client', 'unsupported_response_type', 'invalid_scope', 'server_error', 'temporarily_unavailable'])

/** Those of them that pass by themselves. */
const passingErrors = new Set(['server_error', 'temporarily_unavailable'])

/** A callback that passed all checks. */
interface Attempt {
  query: CallbackQuery
  flow: OwnFlow
  /** The id of the user's token, or null for a new session. */
  ownerTokenId: string | null
}

/** What the checks of a callback lead to. */
type Entrance = { kind: 'answered', reply: FastifyReply } | { kind: 'entered', attempt: Attempt, entry: Claim | Done }

/** Takes the browser back from Webflow. */
export async function callback (parts: Parts, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { underWay } = parts
  const calledAt = performance.now()
  const entrance = await enter(parts, request, reply).catch((error: unknown) => {
    publishEnd(parts, request, calledAt, error)
    throw error
  })
  if (entrance.kind === 'answered') return entrance.reply
  const { attempt, entry } = entrance
  if (entry.kind === 'done') return repeat(parts, attempt, entry, reply)
  const finished = finish(parts, attempt, entry, request, reply).then(
    (answer) => {
      publishEnd(parts, request, calledAt, null)
      return answer
    },
    (error: unknown) => {
      publishEnd(parts, request, calledAt, error)
      throw error
    }
  )
  return await underWay.add(finished)
}

/** Checks a callback and enters its flow. The order of the checks is the contract: nothing is written before the last of them. */
async function enter (parts: Parts, request: FastifyRequest, reply: FastifyReply): Promise<Entrance> {
  const { cookies, flowRecords, flows, settings } = parts
  const query = parseCallback(request)
  if (query.state === null) return { kind: 'answered', reply: await restart(parts, query, request, reply) }

  const flow = flows.recognise(request, query.state)
  if (flow === null) throw stateInvalid('malformed')
  const { cookie, expired, startedAt, state } = flow
  // A flow that ended in time may be repeated for a moment, though it could not be begun any more.
  if (expired && (cookie === null || (await flowRecords.progress(state)).kind === 'unclaimed')) throw flowExpired(startedAt, settings.flowMaxAge)
  if (cookie === null) throw await explainMissingCookie(parts, request, state)
  const owner = await findOwner(parts, cookie, request)
  if (owner.kind === 'reload') return { kind: 'answered', reply: sendReload(reply) }

  const attempt = { query, flow: { ...flow, cookie }, ownerTokenId: owner.tokenId }
  const entry = await flowRecords.enter(state, cookie.startedAt, expired)
  if (entry === null) throw expired ? flowExpired(startedAt, settings.flowMaxAge) : stateInvalid('already_used')
  if (entry.kind === 'done') await refuseEnded(parts, attempt, entry)
  if (cookies.read(request)[cookies.names.restart] !== undefined) cookies.end(reply, cookies.names.restart)
  return { kind: 'entered', attempt, entry }
}

/** Tells of a callback that was refused, or whose flow has ended. */
function publishEnd ({ flows, settings }: Parts, request: FastifyRequest, calledAt: number, error: unknown): void {
  if (!diagnostics.flowEnd.hasSubscribers) return
  const state = readOnce(readQuery(request), 'state')
  const cookie = state === null ? null : flows.recognise(request, state)?.cookie ?? null
  diagnostics.flowEnd.publish({
    clientId: settings.clientId,
    outcome: error === null ? 'connected' : 'failed',
    code: ownCode(error),
    reason: error instanceof WebflowOAuthError ? error.reason ?? null : null,
    duration: performance.now() - calledAt,
    elapsed: cookie === null ? null : Date.now() - cookie.startedAt
  })
}

/** An install that began at Webflow comes without a state of ours: its code is dropped and a flow begun. */
async function restart (parts: Parts, query: CallbackQuery, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { cookies, settings } = parts
  // The marker keeps a provider that loses states from sending the browser round and round.
  const marked = cookies.read(request)[cookies.names.restart] !== undefined
  if (query.error !== null || marked || settings.onMissingState === 'reject') throw stateInvalid('state_missing')
  const url = await beginAuthorization(parts, request, reply, { trigger: 'install', returnTo: null, scope: settings.scope })
  cookies.set(reply, cookies.names.restart, '1', restartMaxAge)
  return redirect(reply, url, 302)
}

/** Whom the token will belong to: a user's token id, or null for a new session. */
type Owner = { kind: 'owner', tokenId: string | null } | { kind: 'reload' }

async function findOwner ({ callers, identity }: Parts, cookie: FlowCookie, request: FastifyRequest): Promise<Owner> {
  if (!identity.byUser) return { kind: 'owner', tokenId: null }
  const user = await callers.userOf(request)
  if (user !== null) {
    if (cookie.user !== null && !identity.matches(cookie.user, user)) throw stateInvalid('other_user')
    return { kind: 'owner', tokenId: identity.userTokenId(user) }
  }
  if (cookie.owner !== null) return { kind: 'owner', tokenId: cookie.owner }
  // A SameSite=Strict cookie of the app is missing on the way from Webflow and present on a reload.
  if (cookie.user !== null && isNavigation(request) && isCrossSite(request)) return { kind: 'reload' }
  throw new WebflowOAuthError('WEBFLOW_OAUTH_USER_REQUIRED',
    'Nobody is signed in to whom the Webflow connection could belong. Sign in, then reload this URL: the attempt is unharmed until it expires.')
}

function sendReload (reply: FastifyReply): FastifyReply {
  return sendPage(reply, { status: 200, title: 'Connecting Webflow', text: 'One moment, please. If nothing happens, reload this page.', reloads: true })
}

/** Refuses to repeat what has changed since. */
async function refuseEnded ({ records }: Parts, { ownerTokenId }: Attempt, { outcome }: Done): Promise<void> {
  if (outcome.kind !== 'connected') return
  if (ownerTokenId !== null && ownerTokenId !== outcome.tokenId) throw stateInvalid('other_user')
  // A session that has ended since is not brought back.
  if (await records.readSealed(outcome.tokenId) === null) throw stateInvalid('already_used')
}

/** Answers the callback of a flow that has ended as it was answered then. */
function repeat ({ cookies, flows }: Parts, { flow }: Attempt, { outcome, endedAt }: Done, reply: FastifyReply): FastifyReply {
  flows.end(reply, flow, endedAt)
  if (outcome.kind === 'failed') throw restoreError(outcome)
  if (outcome.sessionId !== null) cookies.setSession(reply, outcome.sessionId)
  return redirect(reply, outcome.returnTo, 303)
}

/** Finishes a claimed flow, and records how it ended, so that the same callback gets the same answer. */
async function finish (parts: Parts, attempt: Attempt, claim: Claim, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { flow, ownerTokenId } = attempt
  const { callers, cookies, flowRecords, flows, records, siblings, settings: { onSuccess, timeout } } = parts
  const settle = async (outcome: Outcome) => {
    const recorded = await flowRecords.settle(claim, outcome).catch(() => false)
    if (!recorded) request.log.warn('webflow-oauth: the outcome of a flow could not be recorded; its callback cannot be repeated')
  }
  const previous = ownerTokenId === null ? callers.sessionTokenId(request) : null
  const startedAt = Date.now()
  flows.end(reply, flow, Date.now())
  try {
    const { token, stored, sessionId } = await connect(parts, attempt, request, startedAt)
    const returnTo = flows.destination(flow)
    if (sessionId !== null) cookies.setSession(reply, sessionId)
    const answered = onSuccess !== undefined && await answersByItself('onSuccess', request, reply, () => onSuccess(token, request, reply))
    await settle({ kind: 'connected', tokenId: token.id, sessionId, returnTo })
    if (previous !== null) {
      await records.drop(previous).catch((err: unknown) => {
        request.log.warn({ tokenId: previous, err }, 'webflow-oauth: the token of the previous session could not be dropped; it ends by itself')
      })
    }
    await siblings.review(stored, Math.min(startedAt + timeout, Date.now() + reviewPatience)).catch((err: unknown) => {
      request.log.warn({ tokenId: token.id, err }, 'webflow-oauth: the other tokens of the user could not be checked; one that Webflow has ended stays until it is used')
    })
    return answered ? reply : redirect(reply, returnTo, 303)
  } catch (thrown) {
    const error = toError(thrown)
    await settle(createOutcome(error))
    throw error
  }
}

/** Turns what Webflow answered into a stored token. */
async function connect (parts: Parts, { query, flow, ownerTokenId }: Attempt, request: FastifyRequest, startedAt: number) {
  const { callers, identity, installations, records, settings, webflow } = parts
  if (query.error !== null) throw refusal(query.error, flow)
  const { sessionId, tokenId } = ownerTokenId === null ? createSession(identity) : { sessionId: null, tokenId: ownerTokenId }
  // Undefined where it cannot be told: then the token is written over whatever stands there.
  const [replaced, grant] = await Promise.all([
    ownerTokenId === null ? null : records.peek(ownerTokenId).catch(() => undefined),
    webflow.exchange(query.code)
  ])
  const issuedAt = Date.now()
  const record = await installations.describe(tokenId, records.create(grant, flow.cookie.scope, issuedAt), { since: issuedAt, deadline: startedAt + settings.timeout })
  const issued = new ProtectedToken(tokenId, record)

  try {
    await settings.beforeStore?.(issued, request)
  } catch (error) {
    request.log.warn({ tokenId }, 'webflow-oauth: `beforeStore` refused a token: nothing is stored, though Webflow has issued it')
    throw error
  }
  const stored = await records.write(tokenId, record, replaced).catch((err: unknown) => {
    request.log.error({ tokenId, err }, 'webflow-oauth: a token that Webflow has issued could not be stored')
    throw err
  })
  if (stored.record.accessToken !== record.accessToken) {
    request.log.warn({ tokenId }, 'webflow-oauth: a newer token of the user was stored meanwhile: the one that Webflow has issued before is not kept')
  }
  const token = new ProtectedToken(tokenId, stored.record)
  callers.replace(request, token)
  return { token, stored, sessionId }
}

/** A session id is new with every connection: one that was planted before is never taken over. */
function createSession (identity: Identity) {
  const sessionId = randomBytes(32).toString('base64url')
  return { sessionId, tokenId: identity.sessionTokenId(sessionId) }
}

function refusal (error: string, { cookie }: OwnFlow): WebflowOAuthError {
  if (error === 'access_denied') return new WebflowOAuthError('WEBFLOW_OAUTH_ACCESS_DENIED', 'The user declined the request for access.')
  const reason = knownErrors.has(error) ? error : undefined
  return new WebflowOAuthError('WEBFLOW_OAUTH_AUTHORIZATION_FAILED',
    `Webflow refused the authorization${reason === undefined ? '' : ` with ${reason}`}. ${passingErrors.has(error)
      ? 'Begin again later.'
      : `It was asked for ${cookie.scope.join(' ')}: compare that with the app's settings at Webflow.`}`, { reason })
}

import { randomBytes } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { beginAuthorization, type Context } from '../context.ts'
import { WebflowOAuthError, describeForeign, toError } from '../errors.ts'
import { answersByItself } from '../failure.ts'
import type { FlowCookie } from '../flow-cookie.ts'
import { createOutcome, restoreError, type Outcome } from '../flow-outcome.ts'
import type { Flow } from '../flows.ts'
import type { Identity } from '../identity.ts'
import { isCrossSite, isNavigation } from '../navigation.ts'
import { sendPage } from '../page.ts'
import { parseCallback, type CallbackQuery } from '../query.ts'
import { explainMissingCookie, stateInvalid } from '../state-invalid.ts'
import { WebflowToken } from '../token.ts'

/** How long a browser remembers that an install was begun again, in seconds. */
const restartMaxAge = 60
/** The errors of RFC 6749, section 4.1.2.1, that are told on as a reason. */
const knownErrors = new Set(['invalid_request', 'unauthorized_client', 'unsupported_response_type', 'invalid_scope', 'server_error', 'temporarily_unavailable'])

/** A flow of this very browser. */
interface OwnFlow extends Flow {
  cookie: FlowCookie
}

/** Takes the browser back from Webflow. The order of the checks is the contract: nothing is written before the last of them. */
export async function callback (context: Context, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { flows } = context
  const query = parseCallback(request)
  if (query.state === null) return await restart(context, query, request, reply)

  const flow = flows.recognise(request, query.state)
  if (flow === null) throw stateInvalid('malformed')
  const { cookie, expired, state } = flow
  if (expired && (cookie === null || (await flows.progress(state)).kind === 'unclaimed')) throw stateInvalid('expired')
  if (cookie === null) throw await explainMissingCookie(context, request, state)

  const ownFlow = { ...flow, cookie }
  const owner = await findOwner(context, cookie, request)
  if (owner.kind === 'reload') return sendReload(reply)
  const claim = expired ? null : await flows.claim(cookie, state)
  if (claim === null) return await repeat(context, ownFlow, reply)

  // Every claimed flow ends by a recorded outcome, so that the same callback gets the same answer.
  const settle = async (outcome: Outcome) => {
    await flows.settle(claim, outcome).catch((err: unknown) => {
      request.log.warn({ err }, 'webflow-oauth: the outcome of a flow could not be recorded; its callback cannot be repeated')
    })
  }
  if (context.cookies.read(request)[context.cookies.names.restart] !== undefined) context.cookies.end(reply, context.cookies.names.restart)
  flows.endCookie(reply, ownFlow, Date.now())
  try {
    const { token, sessionId } = await connect(context, query, ownFlow, owner.tokenId, request)
    const { returnTo } = cookie
    if (sessionId !== null) context.cookies.setSession(reply, sessionId)
    const { onSuccess } = context.settings
    const answered = onSuccess !== undefined && await answersByItself('onSuccess', request, reply, () => onSuccess(token, request, reply))
    await settle({ kind: 'connected', tokenId: token.id, sessionId, returnTo })
    return answered ? reply : reply.redirect(returnTo, 303)
  } catch (thrown) {
    const error = toError(thrown)
    await settle(createOutcome(error))
    throw error
  }
}

/** An install that began at Webflow comes without a state of ours: its code is dropped and a flow begun. */
async function restart (context: Context, query: CallbackQuery, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { cookies, settings } = context
  // The marker keeps a provider that loses states from sending the browser round and round.
  const marked = cookies.read(request)[cookies.names.restart] !== undefined
  if (query.error !== null || marked || settings.onMissingState === 'reject') throw stateInvalid('state_missing')
  cookies.set(reply, cookies.names.restart, '1', restartMaxAge)
  const url = await beginAuthorization(context, request, reply, { returnTo: settings.successRedirect, scope: settings.scope })
  return reply.redirect(url, 302)
}

/** Whom the token will belong to: a user's token id, or null for a new session. */
type Owner = { kind: 'owner', tokenId: string | null } | { kind: 'reload' }

async function findOwner ({ callers, identity }: Context, cookie: FlowCookie, request: FastifyRequest): Promise<Owner> {
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

/** Answers the callback of a flow that was claimed before as it was answered then. */
async function repeat ({ cookies, flows, records }: Context, flow: OwnFlow, reply: FastifyReply): Promise<FastifyReply> {
  const over = () => stateInvalid(flow.expired ? 'expired' : 'already_used')
  const done = await flows.waitUntilDone(flow.state)
  if (done === null || !flows.isFresh(done)) throw over()
  const { outcome } = done
  // A session that has ended since is not brought back.
  if (outcome.kind === 'connected' && await records.readSealed(outcome.tokenId) === null) throw over()
  flows.endCookie(reply, flow, done.endedAt)
  if (outcome.kind === 'failed') throw restoreError(outcome)
  if (outcome.sessionId !== null) cookies.setSession(reply, outcome.sessionId)
  return reply.redirect(outcome.returnTo, 303)
}

/** Turns what Webflow answered into a stored token. */
async function connect (context: Context, query: CallbackQuery, flow: OwnFlow, ownerTokenId: string | null, request: FastifyRequest) {
  const { callers, identity, records, settings, webflow } = context
  if (query.error !== null) throw refusal(query.error)
  const grant = await webflow.exchange(query.code)
  const { sessionId, tokenId } = ownerTokenId === null ? createSession(identity) : { sessionId: null, tokenId: ownerTokenId }
  const record = records.create(grant, flow.cookie.scope, Date.now())
  const token = new WebflowToken(tokenId, record)

  try {
    await settings.beforeStore?.(token, request)
  } catch (error) {
    request.log.warn({ tokenId }, 'webflow-oauth: `beforeStore` refused a token: nothing is stored, though Webflow has issued it')
    throw error
  }
  try {
    await records.write(tokenId, record)
  } catch (err) {
    request.log.error({ tokenId, err }, 'webflow-oauth: a token that Webflow has issued could not be stored')
    throw err
  }
  const previous = ownerTokenId === null ? callers.sessionTokenId(request) : null
  if (previous !== null) {
    await records.drop(previous).catch((error: unknown) => {
      request.log.warn({ tokenId: previous, err: describeForeign(error) }, 'webflow-oauth: the token of the previous session could not be dropped; it ends by itself')
    })
  }
  callers.replace(request, token)
  return { token, sessionId }
}

/** A session id is new with every connection: one that was planted before is never taken over. */
function createSession (identity: Identity) {
  const sessionId = randomBytes(32).toString('base64url')
  return { sessionId, tokenId: identity.sessionTokenId(sessionId) }
}

function refusal (error: string): WebflowOAuthError {
  if (error === 'access_denied') return new WebflowOAuthError('WEBFLOW_OAUTH_ACCESS_DENIED', 'The user declined the request for access.')
  const reason = knownErrors.has(error) ? error : undefined
  return new WebflowOAuthError('WEBFLOW_OAUTH_AUTHORIZATION_FAILED',
    `Webflow refused the authorization${reason === undefined ? '' : ` with ${reason}`}: check the scopes and the redirect URI in the app's settings at Webflow.`, { reason })
}

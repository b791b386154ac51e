import type { FastifyReply, FastifyRequest } from 'fastify'
import { withDeadline } from '../collections/deadline.ts'
import { WebflowOAuthError, toError } from '../errors.ts'
import type { OwnFlow } from '../flow/browser-flows.ts'
import { createOutcome, type Outcome } from '../flow/outcome.ts'
import { redirect } from '../http/redirect.ts'
import { checkEarlierTokens } from '../tokens/earlier.ts'
import { ProtectedToken } from '../tokens/record.ts'
import { answersByItself } from './answering-hook.ts'
import type { Attempt, Claimed } from './callback-checks.ts'
import type { Parts } from './parts.ts'

/** The errors of RFC 6749, section 4.1.2.1, that become the reason of ours. */
const knownErrors = new Set(['invalid_request', 'unauthorized_client', 'unsupported_response_type', 'invalid_scope', 'server_error', 'temporarily_unavailable'])
/** The errors among them that pass by themselves. */
const passingErrors = new Set(['server_error', 'temporarily_unavailable'])

/** Finishes a claimed flow, and records how it ended, so that the same callback gets the same answer. */
export async function finishFlow (parts: Parts, { attempt, claim }: Claimed, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { flow, userTokenId } = attempt
  const { callers, cookies, flowRecords, flows, records, untold, settings: { onSuccess, timeout } } = parts
  const settle = async (outcome: Outcome) => {
    const recorded = await flowRecords.settle(claim, outcome).catch(() => false)
    if (!recorded) request.log.warn('webflow-oauth: the outcome of a flow could not be recorded; its callback cannot be repeated')
  }
  const previous = userTokenId === null ? callers.sessionTokenId(request) : null
  flows.end(reply, flow, Date.now())
  try {
    const { token, stored, session } = await connect(parts, attempt, request)
    if (userTokenId === null) cookies.setSession(reply, session.sessionId)
    const answered = onSuccess !== undefined && await answersByItself('onSuccess', request, reply, () => onSuccess(token, request, reply))
    await settle({ kind: 'connected', keyId: session.keyId })
    if (previous !== null) {
      await records.drop(previous).catch((err: unknown) => {
        request.log.warn({ tokenId: previous, err }, 'webflow-oauth: the token of the previous session could not be dropped; it ends by itself')
      })
    }
    untold.askSoon(stored)
    const checkEarlier = () => {
      parts.underWay.add(checkEarlierTokens({ ...parts, timeout }, stored).catch((err: unknown) => {
        request.log.warn({ tokenId: token.id, err }, 'webflow-oauth: the earlier tokens of the user could not be checked. One that Webflow has ended stays until it is reported')
      }))
    }
    // The browser has its answer first.
    reply.then(checkEarlier, checkEarlier)
    return answered ? reply : redirect(reply, flows.destination(flow), 303)
  } catch (thrown) {
    const error = toError(thrown)
    await settle(createOutcome(error))
    throw error
  }
}

/** Turns what Webflow answered into a stored token. */
async function connect (parts: Parts, { query, flow, userTokenId }: Attempt, request: FastifyRequest) {
  const { callers, flows, identity, records, settings, untold, webflow } = parts
  if (query.error !== null) throw refusal(query.error, flow)
  const session = flows.newSession(flow)
  const tokenId = userTokenId ?? identity.sessionTokenId(session.sessionId)
  // One deadline covers the exchange and the question what the token opens.
  const { replaced, record } = await withDeadline(settings.timeout, async (deadline) => {
    const [replaced, grant] = await Promise.all([
      // Undefined where the earlier token cannot be read: then the new one is written over whatever stands there.
      userTokenId === null ? null : records.peek(userTokenId).catch(() => undefined),
      webflow.exchange(query.code)
    ])
    const issuedAt = Date.now()
    const record = await untold.describe(tokenId, records.create(grant, flow.cookie.scope, issuedAt), { since: issuedAt, deadline })
    return { replaced, record }
  })
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
  return { token, stored, session }
}

function refusal (error: string, { cookie }: OwnFlow): WebflowOAuthError {
  if (error === 'access_denied') return new WebflowOAuthError('WEBFLOW_OAUTH_ACCESS_DENIED', 'The user declined the request for access.')
  const reason = knownErrors.has(error) ? error : undefined
  return new WebflowOAuthError('WEBFLOW_OAUTH_AUTHORIZATION_FAILED',
    `Webflow refused the authorization${reason === undefined ? '' : ` with ${reason}`}. ${passingErrors.has(error)
      ? 'Begin again later.'
      : `It was asked for ${cookie.scope.join(' ')}: compare that with the app's settings at Webflow.`}`, { reason })
}

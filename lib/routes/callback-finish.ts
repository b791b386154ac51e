import type { FastifyReply, FastifyRequest } from 'fastify'
import { withDeadline } from '../collections/deadline.ts'
import { WebflowOAuthError, toError } from '../errors.ts'
import type { OwnFlow } from '../flow/browser-flows.ts'
import { createOutcome, type Outcome } from '../flow/outcome.ts'
import { checkEarlierTokens } from '../tokens/earlier.ts'
import type { Replaced, TokenRecords } from '../tokens/records.ts'
import { runAnsweringHook } from './answering-hook.ts'
import type { Attempt, Claimed } from './callback-checks.ts'
import type { Parts } from './parts.ts'
import { answerConnected } from './popup.ts'

/** The error codes of RFC 6749, section 4.1.2.1, that `AUTHORIZATION_FAILED` repeats as its `reason`. */
const knownErrors = new Set(['invalid_request', 'unauthorized_client', 'unsupported_response_type', 'invalid_scope', 'server_error', 'temporarily_unavailable'])
/** The error codes among these that mean a temporary failure. */
const temporaryErrors = new Set(['server_error', 'temporarily_unavailable'])

/** Finishes a claimed flow and records the outcome, so that a repeated callback gets the same answer. */
export async function finishFlow (parts: Parts, { attempt, claim }: Claimed, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { flow, userTokenId } = attempt
  const { callers, cookies, flowRecords, flows, introspector, records, settings: { introspect, onSuccess } } = parts
  const settle = async (outcome: Outcome) => {
    const recorded = await flowRecords.settle(claim, outcome).catch(() => false)
    if (!recorded) request.log.warn('webflow-oauth: the store could not record how a flow ended. If the browser repeats the callback, it gets an error')
  }
  const previous = userTokenId === null ? callers.sessionTokenId(request) : null
  // The cookie is written before `onSuccess` and `onFailure` run, because they may send the answer.
  flows.end(reply, flow, Date.now())
  try {
    const { token, stored, session } = await connect(parts, attempt, request)
    if (userTokenId === null) cookies.setSession(reply, session.sessionId)
    const answered = onSuccess !== undefined && await runAnsweringHook('onSuccess', request, reply, () => onSuccess(token, request, reply))
    await settle({ kind: 'connected', keyId: session.keyId })
    if (previous !== null) {
      await records.drop(previous).catch((err: unknown) => {
        request.log.warn({ tokenId: previous, err }, 'webflow-oauth: the store could not delete the token of the previous session. The token stays there until it expires')
      })
    }
    introspector.completeSoon(stored)
    const checkEarlier = () => {
      parts.background.add(checkEarlierTokens(parts, stored).catch((err: unknown) => {
        request.log.warn({ tokenId: token.id, err }, 'webflow-oauth: the earlier tokens of the user could not be checked. A token that Webflow has ended stays in the store until the app reports it')
      }))
    }
    // Only after the response, so that the browser does not wait for the check.
    if (introspect) reply.then(checkEarlier, checkEarlier)
    return answered ? reply : answerConnected(parts, flow, reply)
  } catch (thrown) {
    const error = toError(thrown)
    await settle(createOutcome(error))
    throw error
  }
}

/** Exchanges the code for a token and stores the token. Throws if Webflow, `beforeStore` or the store refuses. */
async function connect (parts: Parts, { query, flow, owner, userTokenId }: Attempt, request: FastifyRequest) {
  const { callers, flows, identity, introspector, records, settings, webflow } = parts
  if (query.error !== null) throw refusal(query.error, flow)
  const session = flows.newSession(flow)
  const tokenId = userTokenId ?? identity.sessionTokenId(session.sessionId)
  // The exchange and the introspection of the token share one deadline.
  const { replaced, record } = await withDeadline(settings.timeout, async (deadline) => {
    const [replaced, issuedToken] = await Promise.all([
      readReplaced(records, userTokenId),
      webflow.exchange(query.code)
    ])
    const issuedAt = Date.now()
    const record = await introspector.introspect(tokenId, records.create(issuedToken, flow.cookie.scope, issuedAt, owner), { since: issuedAt, deadline })
    return { replaced, record }
  })
  const issued = records.present({ tokenId, record })

  try {
    await settings.beforeStore?.(issued, request)
  } catch (error) {
    request.log.warn({ tokenId }, 'webflow-oauth: `beforeStore` threw an error, so a token that Webflow has issued is not stored')
    throw error
  }
  const stored = await records.write(tokenId, record, replaced).catch((err: unknown) => {
    request.log.error({ tokenId, err }, 'webflow-oauth: a token that Webflow has issued could not be stored. The user must connect again')
    throw err
  })
  if (stored.record.accessToken !== record.accessToken) {
    request.log.warn({ tokenId }, 'webflow-oauth: a newer token of the user was stored meanwhile, so the token of this flow is not stored')
  }
  const token = records.present(records.withOwner(stored, owner))
  callers.replace(request, token)
  return { token, stored, session }
}

/** Reads the user's earlier token. If it cannot be read, the new token replaces it without a comparison. */
async function readReplaced (records: TokenRecords, userTokenId: string | null): Promise<Replaced> {
  if (userTokenId === null) return 'nothing'
  try {
    return await records.peek(userTokenId) ?? 'nothing'
  } catch {
    return 'anything'
  }
}

function refusal (error: string, { cookie }: OwnFlow): WebflowOAuthError {
  if (error === 'access_denied') return new WebflowOAuthError('WEBFLOW_OAUTH_ACCESS_DENIED', 'The user declined the request for access.')
  const reason = knownErrors.has(error) ? error : undefined
  return new WebflowOAuthError('WEBFLOW_OAUTH_AUTHORIZATION_FAILED',
    `Webflow refused the authorization${reason === undefined ? '' : ` with ${reason}`}. ${temporaryErrors.has(error)
      ? 'This is a temporary failure: try again later.'
      : `The app asked for the scope ${cookie.scope.join(' ')}: compare it with the app's settings at Webflow.`}`, { reason })
}

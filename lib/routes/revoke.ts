import type { FastifyReply, FastifyRequest } from 'fastify'
import { isGuest } from '../caller/designer-sessions.ts'
import { WebflowOAuthError } from '../errors.ts'
import { isNavigation } from '../http/navigation.ts'
import { redirect } from '../http/redirect.ts'
import { revokeToken } from '../tokens/revocation.ts'
import type { Parts } from './parts.ts'

/** Disconnects the caller: revokes the token at Webflow and deletes it from the store. */
export async function revoke (parts: Parts, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { callers, cookies, identity } = parts
  assertNotForged(parts, request)
  await callers.userOf(request)
  const token = callers.tokenOf(request)
  const upstream = token === null ? null : await revokeToken(parts, token, { request })
  if (!identity.byUser) cookies.endSession(request, reply)
  callers.replace(request, null)
  if (isNavigation(request)) return redirect(reply, parts.settings.revokeRedirect, 303)
  // Sent as a string, so that no serializer of the app changes the answer.
  return reply.type('application/json; charset=utf-8').send(JSON.stringify(upstream === null ? { revoked: false } : { revoked: true, upstream }))
}

/** Refuses requests that another site has made a browser send. A page cannot forge `Sec-Fetch-Site` or `Origin`. */
function assertNotForged ({ identity, settings }: Parts, request: FastifyRequest): void {
  if (isGuest(request)) throw new WebflowOAuthError('WEBFLOW_OAUTH_CROSS_SITE', 'The request was refused, because a Designer Extension sent it: only the app itself may revoke the token of a site.')
  const { 'sec-fetch-site': site, origin, authorization } = request.headers
  if (site === 'same-origin' || site === 'none') return
  if (origin !== undefined && settings.returnRules.allowedOrigins.has(origin)) return
  // Without both headers, the client is a program or an old browser. With `identify`, an old browser may send a cookie by which the
  // app identifies its user. A page of another site cannot make it add an `Authorization` header, so that header is required.
  if (site === undefined && origin === undefined && (!identity.byUser || authorization !== undefined)) return
  throw new WebflowOAuthError('WEBFLOW_OAUTH_CROSS_SITE', site === undefined && origin === undefined
    ? 'The request was refused, because another site may have forged it: with `identify`, a program must send an `Authorization` header.'
    : `The request was refused, because it came from another site${isPlainOrigin(origin) ? `, ${origin}` : ''}. Send it from ${settings.returnRules.origin}, or add the other origin to \`allowedOrigins\`.`)
}

/** Tells whether an origin is plain enough to be repeated in an error message. Anybody can send anything in the header. */
function isPlainOrigin (origin: string | undefined): origin is string {
  return origin !== undefined && /^https?:\/\/[\w.:[\]-]{1,255}$/.test(origin)
}

import type { FastifyReply, FastifyRequest } from 'fastify'
import { WebflowOAuthError } from '../errors.ts'
import { isNavigation } from '../http/navigation.ts'
import { redirect } from '../http/redirect.ts'
import { revokeToken } from '../tokens/revocation.ts'
import type { Parts } from './parts.ts'

/** Disconnects the caller: revokes the token at Webflow, then forgets it. */
export async function revoke (parts: Parts, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { callers, cookies, identity } = parts
  assertNotForged(parts, request)
  await callers.userOf(request)
  const token = callers.tokenOf(request)
  const upstream = token === null ? null : await revokeToken(parts, token, request)
  if (!identity.byUser) cookies.endSession(request, reply)
  callers.replace(request, null)
  if (isNavigation(request)) return redirect(reply, parts.settings.revokeRedirect, 303)
  // Sent as text, so that no serializer of the app's changes it.
  return reply.type('application/json; charset=utf-8').send(JSON.stringify(upstream === null ? { revoked: false } : { revoked: true, upstream }))
}

/** Refuses what another site makes a browser send: fetch metadata and `Origin` cannot be forged by a page. */
function assertNotForged ({ identity, settings }: Parts, request: FastifyRequest): void {
  const { 'sec-fetch-site': site, origin, authorization } = request.headers
  if (site === 'same-origin' || site === 'none') return
  if (origin !== undefined && settings.returnRules.allowedOrigins.has(origin)) return
  // No browser. With `identify` a cookie of the app's may identify its user, and an old browser would send that.
  if (site === undefined && origin === undefined && (!identity.byUser || authorization !== undefined)) return
  throw new WebflowOAuthError('WEBFLOW_OAUTH_CROSS_SITE', site === undefined && origin === undefined
    ? 'The request was not carried out: with `identify`, a program must send an `Authorization` header.'
    : `The request came from another site${isPlainOrigin(origin) ? `, ${origin},` : ''} and was not carried out. Send it from ${settings.returnRules.origin}, or add the other origin to \`allowedOrigins\`.`)
}

/** What anybody may send is told only if it is what a browser sends. */
function isPlainOrigin (origin: string | undefined): origin is string {
  return origin !== undefined && /^https?:\/\/[\w.:[\]-]{1,255}$/.test(origin)
}

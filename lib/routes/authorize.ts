import type { FastifyReply, FastifyRequest } from 'fastify'
import { beginAuthorization } from '../caller/begin.ts'
import { isPrefetch } from '../http/navigation.ts'
import { readOnce, readQuery } from '../http/query.ts'
import { redirect } from '../http/redirect.ts'
import { asksForPopup } from '../http/popup.ts'
import type { Parts } from './parts.ts'

/** Sends the browser to Webflow. */
export async function authorize (parts: Parts, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { settings } = parts
  // Webflow's reviewers check the install URL with HEAD. A check begins no flow.
  if (request.method === 'HEAD') return reply.redirect(parts.flows.authorizationUrl(settings.scope, null), 302)
  // Not 204: Chromium would reuse a prefetched 204 for the real click.
  if (isPrefetch(request)) return reply.code(503).send()

  const query = readQuery(request)
  const details = { returnTo: readOnce(query, 'returnTo'), popup: asksForPopup(query) }
  return redirect(reply, await beginAuthorization(parts, request, reply, { trigger: 'authorize', scope: settings.scope, ...details }), 302)
}

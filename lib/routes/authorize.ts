import type { FastifyReply, FastifyRequest } from 'fastify'
import { beginAuthorization } from '../caller/begin.ts'
import { isPrefetch } from '../http/navigation.ts'
import { readOnce, readQuery } from '../http/query.ts'
import { redirect } from '../http/redirect.ts'
import type { Parts } from './parts.ts'

/** Sends the browser to Webflow. */
export async function authorize (parts: Parts, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { settings } = parts
  // Reviewers probe the install URL; nothing is begun for them.
  if (request.method === 'HEAD') return reply.redirect(parts.flows.authorizationUrl(settings.scope, null), 302)
  // No 204: Chromium would use a prefetched one for the real click.
  if (isPrefetch(request)) return reply.code(503).send()

  const returnTo = readOnce(readQuery(request), 'returnTo')
  return redirect(reply, await beginAuthorization(parts, request, reply, { trigger: 'authorize', returnTo, scope: settings.scope }), 302)
}

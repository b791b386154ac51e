import type { FastifyReply, FastifyRequest } from 'fastify'
import { beginAuthorization } from '../begin-authorization.ts'
import type { Context } from '../context.ts'
import { isPrefetch } from '../navigation.ts'
import { readOnce, readQuery } from '../query.ts'
import { redirect } from '../redirect.ts'

/** Sends the browser to Webflow. */
export async function authorize (context: Context, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { settings } = context
  // Reviewers probe the install URL; nothing is begun for them.
  if (request.method === 'HEAD') return reply.redirect(context.flows.authorizationUrl(settings.scope, null), 302)
  // No 204: Chromium would use a prefetched one for the real click.
  if (isPrefetch(request)) return reply.code(503).send()

  const returnTo = readOnce(readQuery(request), 'returnTo')
  return redirect(reply, await beginAuthorization(context, request, reply, { trigger: 'authorize', returnTo, scope: settings.scope }), 302)
}

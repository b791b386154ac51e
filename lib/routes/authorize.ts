import type { FastifyReply, FastifyRequest } from 'fastify'
import { beginAuthorization } from '../caller/begin.ts'
import { signInUrl, userRequired } from '../caller/sign-in.ts'
import { isPrefetch } from '../http/navigation.ts'
import { asksForPopup } from '../http/popup.ts'
import { readOnce, readQuery } from '../http/query.ts'
import { redirect } from '../http/redirect.ts'
import { resolveReturnTo } from '../http/return-to.ts'
import type { Parts } from './parts.ts'

/** Sends the browser to Webflow, or first to the app's sign-in page. */
export async function authorize (parts: Parts, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { callers, settings } = parts
  // Webflow's reviewers check the install URL with HEAD. A check begins no flow.
  if (request.method === 'HEAD') return reply.redirect(parts.flows.authorizationUrl(settings.scope, null), 302)
  // Not 204: Chromium would reuse a prefetched 204 for the real click.
  if (isPrefetch(request)) return reply.code(503).send()

  const query = readQuery(request)
  const details = { returnTo: readOnce(query, 'returnTo'), popup: asksForPopup(query) }
  if (settings.signInRedirect !== null) {
    const resume = readOnce(query, 'resume')
    const user = await callers.userOf(request)
    if (user === null) {
      if (resume !== null) throw userRequired('The sign-in page led back without a user: sign in, then reload this URL.')
      const url = signInUrl(parts, request, { ...details, resume: '1' })
      if (url !== null) return redirect(reply, url, 302)
    } else if (resume === 'guard' && callers.tokenOf(request) !== null) {
      // The guarded page needed only the user. A second consent would be for nothing. The guard must learn of a loop: `identify`
      // may name the user here and not there.
      parts.flows.countReturn(request, reply)
      return redirect(reply, resolveReturnTo(details.returnTo ?? '', settings.returnRules) ?? settings.successRedirect, 303)
    }
  }
  return redirect(reply, await beginAuthorization(parts, request, reply, { trigger: 'authorize', scope: settings.scope, ...details }), 302)
}

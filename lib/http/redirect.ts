import type { FastifyReply } from 'fastify'
import { passGate } from './reply-gate.ts'

/**
 * Redirects, unless the request was answered meanwhile: Fastify's `handlerTimeout` may have done so, and
 * would log the URL of the request, with code and state, if it were answered twice.
 */
export function redirect (reply: FastifyReply, url: string, status: 302 | 303): FastifyReply {
  return reply.sent ? reply : passGate(reply, () => reply.redirect(url, status))
}

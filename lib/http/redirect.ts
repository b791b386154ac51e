import type { FastifyReply } from 'fastify'
import { passGate } from './reply-gate.ts'

/**
 * Redirects, unless the request has already been answered, for example by Fastify's `handlerTimeout`. When a request is
 * answered twice, Fastify logs its URL, with code and state.
 */
export function redirect (reply: FastifyReply, url: string, status: 302 | 303): FastifyReply {
  return reply.sent ? reply : passGate(reply, () => reply.redirect(url, status))
}

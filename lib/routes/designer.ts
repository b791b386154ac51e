import type { FastifyReply, FastifyRequest } from 'fastify'
import { readIdTokenRequest } from '../caller/id-token-request.ts'
import { parseJson } from '../collections/json.ts'
import { setHeadersOf } from './error-handler.ts'
import type { Parts } from './parts.ts'

/** The longest body that the route reads, in bytes. A body holds two ids. */
export const maxBodyLength = 4096

/** Exchanges the ID token of the app's Designer Extension for a session token. */
export async function designer (parts: Parts, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { idTokens, sessions } = parts
  const [, idToken] = /^bearer\s+(\S+)\s*$/i.exec(request.headers.authorization ?? '') ?? []
  const body = typeof request.body === 'string' ? parseJson(request.body) : undefined
  try {
    const resolved = await idTokens.resolve(readIdTokenRequest(request.ip, idToken, body))
    const { sessionToken, expiresAt } = sessions.issue(resolved)
    // The answer is sent as a string, so that no serializer of the app changes it.
    return reply.type('application/json; charset=utf-8').send(JSON.stringify({ sessionToken, expiresAt: new Date(expiresAt).toISOString(), user: { id: resolved.user.id }, siteId: resolved.siteId }))
  } catch (error) {
    // An error handler of the app may ignore the headers of an error, such as `retry-after`.
    setHeadersOf(error, reply)
    throw error
  }
}

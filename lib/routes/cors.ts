import type { FastifyReply, FastifyRequest } from 'fastify'

/** All CORS headers. A plugin for the whole app may have set any of them. */
const corsHeaders = ['access-control-allow-credentials', 'access-control-allow-headers', 'access-control-allow-methods', 'access-control-allow-origin', 'access-control-max-age', 'access-control-expose-headers', 'access-control-allow-private-network']

/**
 * Makes the hooks that let scripts of these origins, and of no others, call a route. The hooks replace the CORS headers of a
 * plugin for the whole app, such as @fastify/cors. They allow no cookies, because the route knows its caller by a bearer token.
 */
export function createCors (origins: ReadonlySet<string>) {
  const setHeaders = ({ headers: { origin } }: FastifyRequest, reply: FastifyReply): void => {
    for (const name of corsHeaders) reply.removeHeader(name)
    reply.header('vary', withOrigin(reply.getHeader('vary')))
    if (origin === undefined || !origins.has(origin)) return
    reply.header('access-control-allow-origin', origin)
      .header('access-control-allow-methods', 'POST')
      .header('access-control-allow-headers', 'authorization, content-type')
      .header('access-control-expose-headers', 'Retry-After')
  }
  return {
    // `onSend` sets the headers last. It does not run after an `onSend` hook of the app has failed, so `onRequest` sets them too.
    onRequest (request: FastifyRequest, reply: FastifyReply, done: () => void): void {
      setHeaders(request, reply)
      done()
    },
    onSend (request: FastifyRequest, reply: FastifyReply, payload: unknown, done: (error: null, payload: unknown) => void): void {
      setHeaders(request, reply)
      if (request.method !== 'OPTIONS') return done(null, payload)
      // A plugin for the whole app may have answered the preflight with an error, because a preflight carries no credentials.
      reply.code(204).removeHeader('content-type').removeHeader('content-length')
      done(null, null)
    }
  }
}

/** Returns the value of the header `Vary` with `Origin` added. */
function withOrigin (vary: unknown): string {
  const names = [vary ?? []].flat().join(', ')
  return names === '' ? 'Origin' : /(?:^|,)\s*(?:origin|\*)\s*(?:,|$)/i.test(names) ? names : `${names}, Origin`
}

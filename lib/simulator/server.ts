import type { Socket } from 'node:net'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { dataApiError, oauthError } from './answer.ts'
import type { Answer } from './answer.ts'
import { authorize, decide } from './authorize.ts'
import { callOf } from './call.ts'
import { dashboard, install, uninstall } from './dashboard.ts'
import { authorizedBy, introspect, sites } from './data-api.ts'
import { endpoint, send } from './endpoint.ts'
import type { Wiring } from './endpoint.ts'
import { revoke } from './revoke.ts'
import { token } from './token.ts'

interface AppRoute {
  Params: { clientId: string }
}

/** Builds the Fastify instance that serves a simulated Webflow. */
export function createServer (wiring: Wiring): FastifyInstance {
  const { webflow } = wiring
  const server = Fastify({
    logger: webflow.config.logger,
    // Fastify's own lines hold the whole URL, and with it the state.
    disableRequestLogging: true,
    // A call that hangs must not keep the simulator from closing.
    forceCloseConnections: true,
    bodyLimit: 64 * 1024,
    clientErrorHandler
  })

  // Bodies stay text until an endpoint reads them: each has its own words for a bad one.
  server.removeAllContentTypeParsers()
  server.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body))
  server.setErrorHandler((error, request, reply) => send(reply, refusal(error, request), 'refused'))
  server.setNotFoundHandler((_request, reply) => send(reply, dataApiError(404, 'route_not_found', 'Route not found'), 'none'))

  server.get('/oauth/authorize', endpoint('authorize', authorize, wiring))
  server.post('/oauth/authorize', (request, reply) => send(reply, decide(webflow, callOf(request)), 'consent'))
  server.post('/oauth/access_token', endpoint('token', token, wiring))
  server.post('/oauth/token', endpoint('token', token, wiring))
  server.post('/oauth/revoke_authorization', endpoint('revoke', revoke, wiring))
  server.get('/v2/token/introspect', endpoint('introspect', introspect, wiring))
  server.get('/v2/token/authorized_by', endpoint('authorizedBy', authorizedBy, wiring))
  server.get('/v2/sites', endpoint('sites', sites, wiring))

  server.get('/', (_request, reply) => send(reply, dashboard(webflow), 'dashboard'))
  server.get<AppRoute>('/install/:clientId', ({ params }, reply) => send(reply, install(webflow, params.clientId), 'install'))
  server.post<AppRoute>('/uninstall/:clientId', ({ params }, reply) => send(reply, uninstall(webflow, params.clientId), 'uninstall'))
  return server
}

function refusal (error: unknown, { url }: FastifyRequest): Answer {
  const status = error instanceof Error && 'statusCode' in error && typeof error.statusCode === 'number' ? error.statusCode : 500
  // Fastify refuses some bodies before an endpoint sees them, such as one that is too large.
  const description = status < 500 ? 'The request could not be read' : 'The simulator failed'
  return url.startsWith('/oauth/')
    ? oauthError(status, status < 500 ? 'invalid_request' : 'server_error', description)
    : dataApiError(status, status < 500 ? 'bad_request' : 'internal_error', description)
}

// In place of Fastify's own, which logs the raw packet and with it whatever was sent.
function clientErrorHandler ({ code }: { code: string }, socket: Socket): void {
  const status = code === 'HPE_HEADER_OVERFLOW' ? '431 Request Header Fields Too Large' : '400 Bad Request'
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
}

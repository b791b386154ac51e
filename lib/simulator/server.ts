import type { Socket } from 'node:net'
import Fastify from 'fastify'
import type { FastifyError, FastifyInstance } from 'fastify'
import { dataApiError, oauthError, page } from './answer.ts'
import type { Answer } from './answer.ts'
import { authorize, decide } from './authorize.ts'
import { callOf, splitUrl } from './call.ts'
import { breakNext, dashboard, install, sendWebhook, signIn, uninstall } from './dashboard.ts'
import { authorizedBy, introspect, site, sites } from './data-api.ts'
import { designer, giveIdToken, setUpDesigner } from './designer.ts'
import { endpoint, send } from './endpoint.ts'
import type { Wiring } from './endpoint.ts'
import type { Config } from './options.ts'
import { errorPage } from './pages.ts'
import { resolve } from './resolve.ts'
import { revoke } from './revoke.ts'
import { token } from './token.ts'

interface AppRoute {
  Params: { clientId: string }
}

interface DesignerRoute {
  Params: { clientId: string, siteId: string }
}

/** Builds the Fastify instance that serves a simulated Webflow. */
export function createServer (wiring: Wiring): FastifyInstance {
  const { webflow } = wiring
  const server = Fastify({
    logger: discreet(webflow.config.logger),
    // A call that hangs must not keep the simulator from closing.
    forceCloseConnections: true,
    bodyLimit: 64 * 1024,
    clientErrorHandler,
    frameworkErrors: (_error, request, reply) => send(reply, refusal(400, request.url))
  })

  // Bodies are passed on as text. Each endpoint parses its body itself, because each has its own error for a bad body.
  server.removeAllContentTypeParsers()
  server.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body))
  server.setErrorHandler<FastifyError>((error, request, reply) => {
    if (error.statusCode === undefined) throw error
    return send(reply, refusal(error.statusCode, request.url))
  })
  server.setNotFoundHandler((_request, reply) => send(reply, dataApiError(404, 'route_not_found', 'Route not found')))

  // Forms that a page of another site sends are refused, so that no other site can approve or uninstall in the user's name.
  server.addHook('onRequest', async ({ headers, method }, reply) => {
    const site = headers['sec-fetch-site']
    if (method === 'POST' && site !== undefined && site !== 'same-origin' && site !== 'none') return send(reply, page(403, errorPage('This request came from another site.')))
  })

  server.get('/oauth/authorize', endpoint('authorize', authorize, wiring))
  server.post('/oauth/authorize', (request, reply) => send(reply, decide(webflow, callOf(request))))
  server.post('/oauth/access_token', endpoint('token', token, wiring))
  server.post('/oauth/token', endpoint('token', token, wiring))
  server.post('/oauth/revoke_authorization', endpoint('revoke', revoke, wiring))
  server.get('/v2/token/introspect', endpoint('introspect', introspect, wiring))
  server.get('/v2/token/authorized_by', endpoint('authorizedBy', authorizedBy, wiring))
  server.get('/v2/sites', endpoint('sites', sites, wiring))
  server.get('/v2/sites/:siteId', endpoint('site', site, wiring))
  server.post('/beta/token/resolve', endpoint('resolve', resolve, wiring))

  server.get('/', (_request, reply) => send(reply, dashboard(wiring)))
  server.get<AppRoute>('/install/:clientId', ({ params }, reply) => send(reply, install(webflow, params.clientId)))
  server.post<AppRoute>('/uninstall/:clientId', ({ params }, reply) => send(reply, uninstall(webflow, params.clientId)))
  server.post<AppRoute>('/webhook/:clientId', async (request, reply) => send(reply, await sendWebhook(wiring, request.params.clientId, callOf(request))))
  server.get<DesignerRoute>('/designer/:clientId/:siteId', ({ params }, reply) => send(reply, designer(webflow, params)))
  server.post<DesignerRoute>('/designer/:clientId/:siteId', (request, reply) => send(reply, setUpDesigner(webflow, request.params, callOf(request))))
  server.post<DesignerRoute>('/designer/:clientId/:siteId/id-token', ({ params }, reply) => send(reply, giveIdToken(webflow, params)))
  server.post('/sign-in', (request, reply) => send(reply, signIn(webflow, callOf(request))))
  server.post('/fail', (request, reply) => send(reply, breakNext(wiring, callOf(request))))
  return server
}

// Fastify refuses some requests before an endpoint sees them, such as one with too large a body.
function refusal (status: number, url: string): Answer {
  const description = 'The request could not be read'
  return url.startsWith('/oauth/')
    ? oauthError(status, 'invalid_request', description)
    : dataApiError(status, 'bad_request', description)
}

// Replaces Fastify's own handler, which logs the raw packet, with any secrets in it.
function clientErrorHandler ({ code }: { code: string }, socket: Socket): void {
  const status = code === 'HPE_HEADER_OVERFLOW' ? '431 Request Header Fields Too Large' : '400 Bad Request'
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
}

// Fastify's own log lines hold the whole URL in `req`, and with it the state. These options log only method and path.
function discreet (logger: Config['logger']): Config['logger'] {
  if (logger === false) return false
  const options = logger === true ? {} : logger
  return { ...options, serializers: { ...options.serializers, req: ({ method, url }) => ({ method, path: splitUrl(url).path }) } }
}

import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest, RouteShorthandOptions } from 'fastify'
import type { Context } from '../context.ts'
import { statusOf, toError } from '../errors.ts'
import { answerFailure, type Route } from '../failure.ts'
import { ownRoute } from '../own-route.ts'
import { authorize } from './authorize.ts'
import { callback } from './callback.ts'
import { revoke } from './revoke.ts'

type Handler = (context: Context, request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply>

const options: RouteShorthandOptions = {
  config: { [ownRoute]: true },
  // First for the answers that come when a hook of the app's fails, last for all others.
  onRequest (_request, reply, done) {
    forbidTraces(reply)
    done()
  },
  onSend (_request, reply, _payload, done) {
    forbidTraces(reply)
    done()
  },
  // Fastify's own request line would print code and state.
  logSerializers: {
    req: (request: FastifyRequest) => ({ method: request.method, url: request.url?.split('?')[0], host: request.host, remoteAddress: request.ip, remotePort: request.socket?.remotePort })
  },
  // Fastify's error handler sends what a response schema names; `reason` is not among its own.
  schema: { response: { '4xx': {}, '5xx': {} } },
  serializerCompiler: () => serialize
}

/** Registers the three routes in a scope of their own, below the instance that the plugin was registered on. */
export async function registerRoutes (fastify: FastifyInstance, { context, surrounding }: { context: Context, surrounding: FastifyInstance }): Promise<void> {
  const { paths, revokeMethod } = context.settings
  const registered = fastify.errorHandler
  // A route keeps the error handler of the moment it was registered; the app may have set another since.
  const errorHandler = (error: FastifyError, request: FastifyRequest, reply: FastifyReply) => {
    if (surrounding.errorHandler === registered) throw error
    return surrounding.errorHandler(error, request, reply)
  }
  const handle = (route: Route, handler: Handler) => async (request: FastifyRequest, reply: FastifyReply) => {
    try {
      return await handler(context, request, reply)
    } catch (error) {
      return await answerFailure(context.settings, route, toError(error), request, reply)
    }
  }
  // Whatever comes as a body, of whatever type: nobody reads it.
  fastify.removeAllContentTypeParsers()
  fastify.addContentTypeParser('*', (_request, _payload, done) => { done(null) })

  fastify.route({ ...options, errorHandler, method: ['GET', 'HEAD'], url: paths.routes.authorize, exposeHeadRoute: false, handler: handle('authorize', authorize) })
  fastify.route({ ...options, errorHandler, method: 'GET', url: paths.routes.callback, exposeHeadRoute: false, handler: handle('callback', callback) })
  // For those who look ahead there is none; that it is a route keeps code and state out of the log.
  fastify.route({ ...options, method: 'HEAD', url: paths.routes.callback, handler: async (_request, reply) => await reply.code(404).send() })
  if (paths.routes.revoke !== null) {
    fastify.route({ ...options, errorHandler, method: revokeMethod, url: paths.routes.revoke, preParsing: acceptAnyType, handler: handle('revoke', revoke) })
  }
}

/** No cache keeps the answer, and no other site learns of its URL. */
function forbidTraces (reply: FastifyReply): void {
  reply.header('cache-control', 'no-store').header('referrer-policy', 'no-referrer')
}

/** A content type that is none would be refused before any parser is asked. */
function acceptAnyType (request: FastifyRequest, _reply: FastifyReply, _payload: unknown, done: () => void): void {
  request.headers = { ...request.headers, 'content-type': undefined }
  done()
}

function serialize (payload: unknown): string {
  if (!(payload instanceof Error)) return JSON.stringify(payload)
  const member = (name: string): unknown => Reflect.get(payload, name)
  return JSON.stringify({ statusCode: statusOf(payload), code: member('code'), error: member('error'), message: payload.message, reason: member('reason') })
}

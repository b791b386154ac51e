import type { FastifyInstance, FastifyReply, FastifyRequest, RouteShorthandOptions } from 'fastify'
import type { Context } from '../context.ts'
import { ownRoute } from '../own-route.ts'
import { authorize } from './authorize.ts'
import { callback } from './callback.ts'
import type { Closing } from './closing.ts'
import { RouteFailures, passErrorsOn } from './error-handler.ts'
import { revoke } from './revoke.ts'

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
  }
}

/** Registers the three routes in a scope of their own, below the instance that the plugin was registered on. */
export async function registerRoutes (fastify: FastifyInstance, { context, surrounding, closing }: { context: Context, surrounding: FastifyInstance, closing: Closing }): Promise<void> {
  const { paths, revokeMethod } = context.settings
  const failures = new RouteFailures(context)
  passErrorsOn(fastify, surrounding)
  fastify.addHook('onRequest', (_request, reply, done) => {
    closing.follow(reply)
    done()
  })
  // Whatever comes as a body, of whatever type: nobody reads it.
  fastify.removeAllContentTypeParsers()
  fastify.addContentTypeParser('*', (_request, _payload, done) => { done(null) })

  fastify.route({ ...options, errorHandler: failures.errorHandler('authorize'), method: ['GET', 'HEAD'], url: paths.routes.authorize, exposeHeadRoute: false, handler: failures.handle('authorize', authorize) })
  fastify.route({ ...options, errorHandler: failures.errorHandler('callback'), method: 'GET', url: paths.routes.callback, exposeHeadRoute: false, handler: failures.handle('callback', callback) })
  // For those who look ahead there is none; that it is a route keeps code and state out of the log.
  fastify.route({ ...options, errorHandler: failures.errorHandler('callback'), method: 'HEAD', url: paths.routes.callback, handler: async (_request, reply) => await reply.code(404).send() })
  if (paths.routes.revoke !== null) {
    fastify.route({ ...options, errorHandler: failures.errorHandler('revoke'), method: revokeMethod, url: paths.routes.revoke, preParsing: acceptAnyType, handler: failures.handle('revoke', revoke) })
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

import type { FastifyInstance, FastifyReply, FastifySchema, RouteShorthandOptions } from 'fastify'
import { ownRoute } from '../http/own-route.ts'
import { authorize } from './authorize.ts'
import { callback } from './callback.ts'
import type { Closing } from './closing.ts'
import { RouteFailures, passErrorsOn } from './error-handler.ts'
import { hideMalformedType, parseForm } from './form-body.ts'
import type { Parts } from './parts.ts'
import { quietFactory } from './quiet-logger.ts'
import { revoke } from './revoke.ts'

/** Makes the options that all routes have, anew for each route: an `onRoute` hook of the app may change what it gets. */
function createOptions (): RouteShorthandOptions {
  // BrowserFlows are for browsers: @fastify/swagger leaves the routes out.
  const schema: FastifySchema & { hide: boolean } = { hide: true }
  return {
    // First for the answers that come when a hook of the app's fails, last for all others.
    onRequest (_request, reply, done) {
      forbidTraces(reply)
      done()
    },
    onSend (_request, reply, _payload, done) {
      forbidTraces(reply)
      done()
    },
    config: { [ownRoute]: true },
    schema
  }
}

/** Registers the three routes in a scope of their own, below the instance that the plugin was registered on. */
export async function registerRoutes (fastify: FastifyInstance, { parts, surrounding, closing }: { parts: Parts, surrounding: FastifyInstance, closing: Closing }): Promise<void> {
  const { paths, revokeMethod } = parts.settings
  const failures = new RouteFailures(parts)
  passErrorsOn(fastify, surrounding)
  fastify.addHook('onRequest', (_request, reply, done) => {
    closing.follow(reply)
    done()
  })
  // Only a form may hold something for a hook of the app's: a token against forged requests.
  fastify.removeAllContentTypeParsers()
  fastify.addContentTypeParser('*', parseForm)
  // The hooks of this scope run after those of the app, which may give a route a logger of its own.
  fastify.addHook('onRoute', (route) => {
    const { childLoggerFactory: given } = route
    route.childLoggerFactory = quietFactory(() => given ?? surrounding.childLoggerFactory)
  })

  fastify.route({ ...createOptions(), errorHandler: failures.errorHandler('authorize'), method: ['GET', 'HEAD'], url: paths.routes.authorize, exposeHeadRoute: false, handler: failures.handle('authorize', authorize) })
  fastify.route({ ...createOptions(), errorHandler: failures.errorHandler('callback'), method: 'GET', url: paths.routes.callback, exposeHeadRoute: false, handler: failures.handle('callback', callback) })
  // HEAD answers 404. It is registered all the same, because Fastify would log the URL of an unknown route, with code and state.
  fastify.route({ ...createOptions(), errorHandler: failures.errorHandler('callback'), method: 'HEAD', url: paths.routes.callback, handler: async (_request, reply) => await reply.code(404).send() })
  if (paths.routes.revoke !== null) {
    fastify.route({ ...createOptions(), errorHandler: failures.errorHandler('revoke'), method: revokeMethod, url: paths.routes.revoke, preParsing: hideMalformedType, handler: failures.handle('revoke', revoke) })
  }
}

/** No cache keeps the answer, and no other site learns of its URL. */
function forbidTraces (reply: FastifyReply): void {
  reply.header('cache-control', 'no-store').header('referrer-policy', 'no-referrer')
}

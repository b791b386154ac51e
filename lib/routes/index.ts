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
import { WebhookRoute, readWebhook } from './webhook.ts'

/** Makes the options that all routes have in common. Each route gets its own objects, because an `onRoute` hook of the app may change them. */
function createOptions (): RouteShorthandOptions {
  // @fastify/swagger leaves these routes out: they are for browsers.
  const schema: FastifySchema & { hide: boolean } = { hide: true }
  return {
    // `onSend` sets the headers last, so no hook of the app can replace them. It does not run after an `onSend` hook of the app
    // has failed, so `onRequest` sets them too.
    onRequest (_request, reply, done) {
      setPrivacyHeaders(reply)
      done()
    },
    onSend (_request, reply, _payload, done) {
      setPrivacyHeaders(reply)
      done()
    },
    config: { [ownRoute]: true },
    schema
  }
}

/** Registers the routes on `fastify`, a scope inside the instance that the plugin was registered on. */
export async function registerRoutes (fastify: FastifyInstance, { parts, surrounding, closing }: { parts: Parts, surrounding: FastifyInstance, closing: Closing }): Promise<void> {
  const { paths, revokeMethod } = parts.settings
  const failures = new RouteFailures(parts)
  passErrorsOn(fastify, surrounding)
  fastify.addHook('onRequest', (_request, reply, done) => {
    closing.track(reply)
    done()
  })
  // The routes themselves read no body. Forms are parsed for the app's hooks, which may look for a CSRF token there.
  fastify.removeAllContentTypeParsers()
  fastify.addContentTypeParser('*', parseForm)
  // This `onRoute` hook runs after those of the app, so it also wraps a logger that the app has given to one of the routes.
  fastify.addHook('onRoute', (route) => {
    const { childLoggerFactory: given } = route
    route.childLoggerFactory = quietFactory(() => given ?? surrounding.childLoggerFactory)
  })

  fastify.route({ ...createOptions(), errorHandler: failures.errorHandler('authorize'), method: ['GET', 'HEAD'], url: paths.routes.authorize, exposeHeadRoute: false, handler: failures.handle('authorize', authorize) })
  fastify.route({ ...createOptions(), errorHandler: failures.errorHandler('callback'), method: 'GET', url: paths.routes.callback, exposeHeadRoute: false, handler: failures.handle('callback', callback) })
  // HEAD answers 404. It is registered nevertheless, because Fastify would log the URL of an unknown route, with code and state.
  fastify.route({ ...createOptions(), errorHandler: failures.errorHandler('callback'), method: 'HEAD', url: paths.routes.callback, handler: async (_request, reply) => await reply.code(404).send() })
  if (paths.routes.revoke !== null) {
    fastify.route({ ...createOptions(), errorHandler: failures.errorHandler('revoke'), method: revokeMethod, url: paths.routes.revoke, preParsing: hideMalformedType, handler: failures.handle('revoke', revoke) })
  }
  const { webhook } = paths.routes
  const { onWebhook } = parts.settings
  if (webhook !== null && onWebhook !== undefined) {
    const route = new WebhookRoute(parts, onWebhook)
    await fastify.register(async (scope) => {
      scope.addHook('onRequest', (_request, reply, done) => {
        closing.refuseWithoutPage(reply)
        done()
      })
      scope.removeAllContentTypeParsers()
      scope.addContentTypeParser('*', readWebhook)
      scope.route({ ...createOptions(), errorHandler: route.errorHandler, method: 'POST', url: webhook, preParsing: hideMalformedType, handler: route.handler })
    })
  }
}

/** Sets the headers that keep an answer out of caches, and its URL out of the `Referer` header of other sites. */
function setPrivacyHeaders (reply: FastifyReply): void {
  reply.header('cache-control', 'no-store').header('referrer-policy', 'no-referrer')
}

import type { FastifyInstance, FastifyReply, FastifyRequest, FastifySchema, RouteShorthandOptions } from 'fastify'
import { copyPlain } from '../collections/copy-plain.ts'
import { ownRoute } from '../http/own-route.ts'
import { keepOpener } from '../http/popup.ts'
import { privacyHeaders } from '../http/privacy.ts'
import { authorize } from './authorize.ts'
import { callback } from './callback.ts'
import type { Closing } from './closing.ts'
import { createCors } from './cors.ts'
import { designer as designerRoute, maxBodyLength } from './designer.ts'
import { RouteFailures, passErrorsOn } from './error-handler.ts'
import { hideMalformedType, parseForm } from './form-body.ts'
import type { Parts, Route } from './parts.ts'
import { isPopup } from './popup.ts'
import { quietFactory } from './quiet-logger.ts'
import { revoke } from './revoke.ts'
import { WebhookRoute, readWebhook } from './webhook.ts'

/**
 * Makes the options that all routes have in common, with the app's `config` for this route. Each route gets its own objects,
 * because an `onRoute` hook of the app may change them.
 */
function createOptions (parts: Parts, route: Route) {
  // @fastify/swagger leaves these routes out: they are for browsers.
  const schema: FastifySchema & { hide: boolean } = { hide: true }
  const setHeaders = (request: FastifyRequest, reply: FastifyReply) => {
    reply.headers(privacyHeaders)
    if (isPopup(parts, route, request)) keepOpener(reply)
  }
  return {
    // `onSend` sets the headers last, so no hook of the app can replace them. It does not run after an `onSend` hook of the app
    // has failed, so `onRequest` sets them too.
    onRequest (request, reply, done) {
      setHeaders(request, reply)
      done()
    },
    onSend (request, reply, _payload, done) {
      setHeaders(request, reply)
      done()
    },
    config: { ...copyPlain(parts.settings.routeConfig[route] ?? {}), [ownRoute]: true },
    schema
  } satisfies RouteShorthandOptions
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

  fastify.route({ ...createOptions(parts, 'authorize'), errorHandler: failures.errorHandler('authorize'), method: ['GET', 'HEAD'], url: paths.routes.authorize, exposeHeadRoute: false, handler: failures.handle('authorize', authorize) })
  fastify.route({ ...createOptions(parts, 'callback'), errorHandler: failures.errorHandler('callback'), method: 'GET', url: paths.routes.callback, exposeHeadRoute: false, handler: failures.handle('callback', callback) })
  // HEAD answers 404. It is registered nevertheless, because Fastify would log the URL of an unknown route, with code and state.
  fastify.route({ ...createOptions(parts, 'callback'), errorHandler: failures.errorHandler('callback'), method: 'HEAD', url: paths.routes.callback, handler: async (_request, reply) => await reply.code(404).send() })
  if (paths.routes.revoke !== null) {
    fastify.route({ ...createOptions(parts, 'revoke'), errorHandler: failures.errorHandler('revoke'), method: revokeMethod, url: paths.routes.revoke, preParsing: hideMalformedType, handler: failures.handle('revoke', revoke) })
  }
  const { designer } = parts.settings
  if (designer !== null && paths.routes.designer !== null) {
    const url = paths.routes.designer
    const cors = createCors(designer.origins)
    const createCorsOptions = () => {
      const { onRequest, onSend, ...options } = createOptions(parts, 'designer')
      return { ...options, onRequest: [onRequest, cors.onRequest], onSend: [onSend, cors.onSend] }
    }
    // A scope of its own, for its parser: the body is read as text, whatever its content type.
    fastify.register(async (scope) => {
      scope.removeAllContentTypeParsers()
      scope.addContentTypeParser('*', { parseAs: 'string', bodyLimit: maxBodyLength }, (_request, body, done) => { done(null, body) })
      scope.route({ ...createCorsOptions(), errorHandler: failures.errorHandler('designer'), method: 'POST', url, preParsing: hideMalformedType, handler: failures.handle('designer', designerRoute) })
      scope.route({ ...createCorsOptions(), errorHandler: failures.errorHandler('designer'), method: 'OPTIONS', url, handler: async (_request, reply) => await reply.code(204).send() })
    })
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
      scope.route({ ...createOptions(parts, 'webhook'), errorHandler: route.errorHandler, method: 'POST', url: webhook, preParsing: hideMalformedType, handler: route.handler })
    })
  }
}

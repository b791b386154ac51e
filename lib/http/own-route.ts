import type { FastifyRequest } from 'fastify'

/**
 * Marks a route of the plugin in its `config`.
 * The symbol is registered, so that sibling instances and other copies of the plugin recognise each other's routes.
 */
export const ownRoute = Symbol.for('fastify-webflow-oauth.route')

declare module 'fastify' {
  interface FastifyContextConfig {
    /** True on the routes of the plugin. */
    [ownRoute]?: true
  }
}

/** Tells whether a request is for a route of the plugin, of whichever instance or copy. */
export function isOwnRoute (request: FastifyRequest): boolean {
  return request.routeOptions.config[ownRoute] === true
}

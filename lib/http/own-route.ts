import type { FastifyRequest } from 'fastify'

/**
 * The key that marks a route of the plugin in the route's `config`.
 * `Symbol.for` makes it the same symbol in all instances and copies of the plugin, so that they recognise each other's routes.
 */
export const ownRoute = Symbol.for('fastify-webflow-oauth.route')

declare module 'fastify' {
  interface FastifyContextConfig {
    /** True on the routes of the plugin. */
    [ownRoute]?: true
  }
}

/** Tells whether a request is for a route of the plugin, in any instance or copy of the plugin. */
export function isOwnRoute (request: FastifyRequest): boolean {
  return request.routeOptions.config[ownRoute] === true
}

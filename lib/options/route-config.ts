import type { FastifyContextConfig } from 'fastify'
import { copyPlain, isPlainObject } from '../collections/copy-plain.ts'
import { refuseOption } from '../errors.ts'

/** Fastify's `config` of one route, without the member `webflowToken`, which the plugin reads. */
export type PluginRouteConfig = Omit<FastifyContextConfig, 'webflowToken'> & { readonly webflowToken?: never, readonly [name: string]: unknown }

/** Fastify's `config` of the plugin's routes, by the name of the route. */
export interface RouteConfig {
  /** For `GET` and `HEAD` of the authorize route. */
  authorize?: PluginRouteConfig | undefined
  /** For `GET` and `HEAD` of the callback route. */
  callback?: PluginRouteConfig | undefined
  /** For the revoke route. */
  revoke?: PluginRouteConfig | undefined
  /** For the route that receives webhooks. */
  webhook?: PluginRouteConfig | undefined
  /** For `POST` and `OPTIONS` of the route for the Designer Extension. */
  designer?: PluginRouteConfig | undefined
}

/** The names of the routes that can have a config. Typed as a Record, so that a missing name is a compile error. */
const names: Readonly<Record<keyof RouteConfig, true>> = { authorize: true, callback: true, revoke: true, webhook: true, designer: true }

/** Copies of the configs, after checking. A route without a config has no member. */
export type RouteConfigs = Readonly<Partial<Record<keyof RouteConfig, object>>>

/** Checks the configs of the plugin's routes and copies them, so that later changes to the app's objects have no effect. */
export function resolveRouteConfig (value: unknown): RouteConfigs {
  const known = Object.keys(names).join(', ')
  if (!isPlainObject(value)) return refuseOption('routeConfig', `must be an object. Its members may be ${known}`)
  return Object.fromEntries(Object.entries(value).flatMap(([name, config]: [string, unknown]) => {
    const option = `routeConfig.${name}`
    if (!Object.hasOwn(names, name)) return refuseOption(option, `is not a route of the plugin: the routes are ${known}`)
    if (config === undefined) return []
    if (!isPlainObject(config)) return refuseOption(option, 'must be an object, like Fastify\'s route option `config`')
    if (Object.hasOwn(config, 'webflowToken')) return refuseOption(option, 'must not hold `webflowToken`: the plugin itself decides whether its routes load the token')
    return [[name, copyPlain(config)]]
  }))
}

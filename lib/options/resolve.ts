import { MemoryStore } from '../../stores/memory.ts'
import type { TokenStore } from '../../stores/token-store.ts'
import { isObject } from '../collections/json.ts'
import { refuseOption } from '../errors.ts'
import type { ReturnRules } from '../http/return-to.ts'
import { resolveDesigner, type DesignerSettings } from './designer.ts'
import type { Dispatcher } from './dispatcher.ts'
import { resolveDuration } from './duration.ts'
import type { Endpoints } from './endpoints.ts'
import type { WebflowOAuthOptions } from './options.ts'
import { resolvePaths, type Paths } from './paths.ts'
import { regions, type Region } from './regions.ts'
import { resolveRouteConfig, type RouteConfigs } from './route-config.ts'
import { isScopeToken } from './scopes.ts'
import { resolveEndpoints, resolveOrigins, resolveRedirectUri, resolveTarget } from './urls.ts'

/** The options after checking: complete and frozen. */
export interface Settings extends Pick<WebflowOAuthOptions, 'identify' | 'onWebhook' | 'beforeStore' | 'onSuccess' | 'onFailure' | 'onRevoke' | 'onDisconnect'> {
  readonly clientId: string
  readonly clientSecret: string
  readonly redirectUri: string
  /** The host and port of `redirectUri`. */
  readonly host: string
  /** Whether `redirectUri` is https. */
  readonly secure: boolean
  readonly scope: readonly string[]
  readonly secrets: readonly Buffer[]
  readonly region: Region
  readonly store: TokenStore
  readonly paths: Paths
  readonly revokeMethod: 'POST' | 'DELETE'
  readonly routeConfig: RouteConfigs
  readonly successRedirect: string
  readonly failureRedirect: string | null
  readonly revokeRedirect: string
  readonly signInRedirect: string | null
  readonly returnRules: ReturnRules
  /** The origins that the page at the end of a popup may tell how the flow ended. */
  readonly popupOrigins: readonly string[]
  readonly onMissingState: 'restart' | 'reject'
  readonly cookieName: string
  readonly sessionMaxAge: number
  readonly flowMaxAge: number
  readonly timeout: number
  readonly storeTimeout: number
  readonly dispatcher: Dispatcher | null
  readonly introspect: boolean
  readonly designer: DesignerSettings | null
  readonly endpoints: Endpoints
  /** The keys that a webhook may be signed with: the client secret first, then those of `webhookSecret`. */
  readonly webhookSecrets: readonly string[]
  /** In seconds. */
  readonly webhookMaxAge: number
}

const day = 24 * 60 * 60

// Typed as a Record, so that an option of the interface that is missing here is a compile error.
const known: Record<keyof WebflowOAuthOptions, true> = {
  clientId: true,
  clientSecret: true,
  redirectUri: true,
  scope: true,
  secret: true,
  region: true,
  store: true,
  authorizePath: true,
  revokePath: true,
  revokeMethod: true,
  callbackPath: true,
  routeConfig: true,
  successRedirect: true,
  failureRedirect: true,
  revokeRedirect: true,
  signInRedirect: true,
  allowedOrigins: true,
  onMissingState: true,
  identify: true,
  cookieName: true,
  sessionMaxAge: true,
  flowMaxAge: true,
  timeout: true,
  storeTimeout: true,
  dispatcher: true,
  introspect: true,
  designer: true,
  endpoints: true,
  onWebhook: true,
  webhookPath: true,
  webhookSecret: true,
  webhookMaxAge: true,
  beforeStore: true,
  onSuccess: true,
  onFailure: true,
  onRevoke: true,
  onDisconnect: true
}

/**
 * Checks the options once, at `register`, and fills in the defaults.
 * Throws `WEBFLOW_OAUTH_INVALID_OPTION` for the first wrong option. The message names the option and the remedy.
 */
export function resolveOptions (options: WebflowOAuthOptions, prefix: string): Settings {
  for (const name of Object.keys(options)) {
    if (name === 'prefix') refuseOption('prefix', 'is not supported: set `authorizePath`, `callbackPath` and `revokePath` instead, or register the plugin inside a prefixed scope')
    // These two are options of Fastify's own `register`.
    if (name === 'logLevel' || name === 'logSerializers') continue
    if (!Object.hasOwn(known, name)) refuseOption(name, 'is not an option of this plugin: is it misspelled?')
  }
  const clientId = requireCredential('clientId', options.clientId, 'WEBFLOW_CLIENT_ID')
  const clientSecret = requireCredential('clientSecret', options.clientSecret, 'WEBFLOW_CLIENT_SECRET')
  const { redirectUri, url } = resolveRedirectUri(options.redirectUri)
  const {
    region = 'us', authorizePath, callbackPath, revokePath, revokeMethod = 'POST', routeConfig = {}, successRedirect = '/', failureRedirect, revokeRedirect = '/',
    signInRedirect,
    onMissingState = 'restart', cookieName = 'webflow', identify, sessionMaxAge = (identify === undefined ? 30 : 365) * day,
    flowMaxAge = 900, timeout = 10_000, storeTimeout = 1000, introspect = true, endpoints = {}, onWebhook, webhookPath, webhookMaxAge = 300
  } = options
  const scope = resolveScope('scope', options.scope)
  const secrets = resolveSecrets(options.secret, clientSecret)
  const webhookSecrets = [clientSecret, ...resolveWebhookSecrets(options.webhookSecret, secrets)]
  // A secret looks like a valid but unknown scope, and the warning about unknown scopes would print it.
  if ([...webhookSecrets, ...secrets.map(String)].some((secret) => scope.includes(secret))) refuseOption('scope', 'holds one of the app\'s secrets: are two environment variables mixed up?')
  const designer = resolveDesigner(options.designer, { introspect, scope })
  optionalFunction('onWebhook', onWebhook)
  if (webhookPath !== undefined && onWebhook === undefined) refuseOption('webhookPath', 'needs `onWebhook`: without that function, the plugin has no webhook route')
  const paths = resolvePaths({
    redirectUri: url,
    prefix,
    authorizePath,
    callbackPath,
    revokePath,
    hasDesigner: designer !== null,
    designerPath: options.designer?.path,
    hasWebhook: onWebhook !== undefined,
    webhookPath
  })
  if (url.pathname === '/' && (options.successRedirect === undefined || options.revokeRedirect === undefined)) {
    refuseOption('redirectUri', 'has no path, and `/` is where `successRedirect` and `revokeRedirect` lead by default: add a path, such as /webflow/callback, or set both of them')
  }
  if (signInRedirect !== undefined && identify === undefined) refuseOption('signInRedirect', 'needs the option `identify`: without that option, the app has no users who could sign in')
  const allowedOrigins = resolveOrigins(options.allowedOrigins, url.origin)
  const redirect = (name: 'successRedirect' | 'failureRedirect' | 'revokeRedirect' | 'signInRedirect', value: string) => resolveTarget(name, value, url.origin, paths)

  return Object.freeze({
    clientId,
    clientSecret,
    redirectUri,
    host: url.host,
    secure: url.protocol === 'https:',
    scope,
    secrets,
    region: oneOf('region', region, regions),
    store: resolveStore(options.store),
    paths,
    revokeMethod: oneOf('revokeMethod', revokeMethod, ['POST', 'DELETE']),
    routeConfig: resolveRouteConfig(routeConfig),
    successRedirect: redirect('successRedirect', successRedirect),
    failureRedirect: failureRedirect === undefined ? null : redirect('failureRedirect', failureRedirect),
    revokeRedirect: redirect('revokeRedirect', revokeRedirect),
    signInRedirect: signInRedirect === undefined ? null : redirect('signInRedirect', signInRedirect),
    returnRules: { origin: url.origin, allowedOrigins, ownPaths: paths.own },
    popupOrigins: [...new Set([...allowedOrigins, ...designer?.origins ?? []])],
    onMissingState: oneOf('onMissingState', onMissingState, ['restart', 'reject']),
    cookieName: resolveCookieName(cookieName),
    sessionMaxAge: resolveDuration('sessionMaxAge', sessionMaxAge, 'seconds'),
    flowMaxAge: resolveDuration('flowMaxAge', flowMaxAge, 'seconds'),
    timeout: resolveDuration('timeout', timeout, 'milliseconds'),
    storeTimeout: resolveDuration('storeTimeout', storeTimeout, 'milliseconds'),
    dispatcher: resolveDispatcher(options.dispatcher),
    introspect: oneOf('introspect', introspect, [true, false]),
    designer,
    endpoints: resolveEndpoints(endpoints, region),
    webhookSecrets,
    webhookMaxAge: resolveDuration('webhookMaxAge', webhookMaxAge, 'seconds'),
    onWebhook,
    identify: optionalFunction('identify', identify),
    beforeStore: optionalFunction('beforeStore', options.beforeStore),
    onSuccess: optionalFunction('onSuccess', options.onSuccess),
    onFailure: optionalFunction('onFailure', options.onFailure),
    onRevoke: optionalFunction('onRevoke', options.onRevoke),
    onDisconnect: optionalFunction('onDisconnect', options.onDisconnect)
  })
}

/** Checks a list of scopes and returns it in the given order, without repetitions. */
export function resolveScope (option: string, value: unknown): readonly string[] {
  const list: readonly unknown[] = Array.isArray(value) ? [...value] : []
  if (list.length === 0) refuseOption(option, 'must be a list of at least one scope, such as [\'sites:read\']')
  for (const scope of list) {
    if (!isScopeToken(scope)) refuseOption(option, `holds ${typeof scope === 'string' ? JSON.stringify(scope.slice(0, 100)) : 'a value that is not a string'}, which is not a scope: a scope is a string of at most 100 characters without white space, commas, quotes and backslashes, such as 'sites:read'`)
  }
  return [...new Set(list.filter(isScopeToken))]
}

function requireCredential (option: string, value: unknown, variable: string): string {
  if (value === undefined || value === null || value === '') return refuseOption(option, `is missing: is ${variable} set?`)
  if (typeof value !== 'string') return refuseOption(option, 'must be a string')
  if (!/^[\x21-\x7e]+$/.test(value)) return refuseOption(option, `holds white space or a character that is not ASCII: does ${variable} end with a line break?`)
  return value
}

function resolveSecrets (value: unknown, clientSecret: string): readonly Buffer[] {
  const option = 'secret'
  const remedy = 'make one with `openssl rand -base64 32`'
  if (value === undefined || value === null || value === '') return refuseOption(option, `is missing: is APP_SECRET set? If the app has no secret yet, ${remedy}`)
  const list: readonly unknown[] = Array.isArray(value) ? [...value] : [value]
  if (list.length === 0) return refuseOption(option, `is an empty list: ${remedy}`)
  return list.map((secret) => {
    if (secret === undefined || secret === '') return refuseOption(option, 'is a list with an empty or missing entry: is an environment variable not set? If the app has only one secret, leave out the other entry')
    if (typeof secret !== 'string' && !(secret instanceof Uint8Array)) return refuseOption(option, `must be a string or a Buffer, or a list of these: ${remedy}`)
    const bytes = Buffer.from(secret)
    if (bytes.length < 32) return refuseOption(option, `must have at least 32 bytes: ${remedy}`)
    if (bytes.equals(Buffer.from(clientSecret))) return refuseOption(option, `must not be the client secret, because Webflow signs webhooks with that one: ${remedy}`)
    return bytes
  })
}

function resolveWebhookSecrets (value: unknown, secrets: readonly Buffer[]): readonly string[] {
  const option = 'webhookSecret'
  if (value === undefined) return []
  const list: readonly unknown[] = Array.isArray(value) ? [...value] : [value]
  if (list.length === 0) return refuseOption(option, 'is an empty list: leave out the option if all webhooks are signed with the client secret')
  return list.map((secret) => {
    // An empty key would let anybody sign webhooks.
    if (secret === undefined || secret === null || secret === '') return refuseOption(option, 'is empty or has an empty or missing entry: is an environment variable not set?')
    if (typeof secret !== 'string' || !/^[\x21-\x7e]+$/.test(secret)) return refuseOption(option, 'must be a string of visible ASCII characters, or a list of such strings: does an environment variable end with a line break?')
    if (secrets.some((own) => own.equals(Buffer.from(secret)))) return refuseOption(option, 'holds a value of `secret`, which Webflow must not know: are two environment variables mixed up?')
    return secret
  })
}

function resolveStore (value: TokenStore | undefined): TokenStore {
  if (value === undefined) return new MemoryStore()
  if (!isObject(value) || !['get', 'set', 'delete', 'find'].every((name) => typeof value[name] === 'function')) {
    return refuseOption('store', 'must be a TokenStore, an object with the methods `get`, `set`, `delete` and `find`: for Redis, pass new RedisStore({ client })')
  }
  return value
}

function resolveCookieName (value: unknown): string {
  if (value === '') return refuseOption('cookieName', 'is empty: is an environment variable set to nothing? Leave the option out for the default, `webflow`')
  if (typeof value !== 'string' || !/^[\w!#$%&'*+.^`|~-]{1,64}$/.test(value) || /^__(?:host|secure)-|_restart$|_flow(?:_|$)/i.test(value)) {
    return refuseOption('cookieName', 'must be a cookie name of at most 64 characters, without `__Host-`, `__Secure-`, `_flow` and `_restart`, which are reserved')
  }
  return value
}

function resolveDispatcher (value: Dispatcher | undefined): Dispatcher | null {
  if (value === undefined) return null
  if (!isObject(value) || typeof value.request !== 'function') return refuseOption('dispatcher', 'must be a Dispatcher of undici 5 to 8, with the method `request`: an Agent, a ProxyAgent or a MockAgent of the package undici')
  return value
}

function oneOf<T extends string | boolean> (option: string, value: unknown, values: readonly T[]): T {
  return values.find((candidate) => candidate === value) ?? refuseOption(option, `must be one of ${values.join(', ')}`)
}

function optionalFunction<T> (option: string, value: T): T {
  if (value !== undefined && typeof value !== 'function') return refuseOption(option, 'must be a function')
  return value
}

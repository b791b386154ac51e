import { MemoryStore } from '../stores/memory.ts'
import type { TokenStore } from '../stores/token-store.ts'
import { WebflowOAuthError } from './errors.ts'
import { isObject } from './json.ts'
import type { WebflowOAuthOptions } from './options.ts'
import { resolvePaths, type Paths } from './paths.ts'
import { normalizePath, type ReturnRules } from './return-to.ts'
import { isScope } from './scopes.ts'
import type { Dispatcher, Endpoints } from './webflow-client.ts'

/** The options after checking: complete, and never changed again. */
export interface Settings extends Pick<WebflowOAuthOptions, 'identify' | 'beforeStore' | 'onSuccess' | 'onFailure' | 'onRevoke'> {
  readonly clientId: string
  readonly clientSecret: string
  readonly redirectUri: string
  /** The host and port of `redirectUri`. */
  readonly host: string
  /** Whether `redirectUri` is https. */
  readonly secure: boolean
  readonly scope: readonly string[]
  readonly secrets: readonly Buffer[]
  readonly store: TokenStore
  readonly paths: Paths
  readonly revokeMethod: 'POST' | 'DELETE'
  readonly successRedirect: string
  readonly failureRedirect: string | null
  readonly revokeRedirect: string
  readonly returnRules: ReturnRules
  readonly onMissingState: 'restart' | 'reject'
  readonly cookieName: string
  readonly sessionMaxAge: number
  readonly flowMaxAge: number
  readonly timeout: number
  readonly storeTimeout: number
  readonly dispatcher: Dispatcher | null
  readonly endpoints: Endpoints
}

const day = 24 * 60 * 60
const maxDelay = 2 ** 31 - 1
const webflowEndpoints: Endpoints = {
  authorize: 'https://webflow.com/oauth/authorize',
  token: 'https://api.webflow.com/oauth/access_token',
  revoke: 'https://webflow.com/oauth/revoke_authorization'
}

const known: Record<keyof WebflowOAuthOptions, true> = {
  clientId: true,
  clientSecret: true,
  redirectUri: true,
  scope: true,
  secret: true,
  store: true,
  authorizePath: true,
  revokePath: true,
  revokeMethod: true,
  callbackPath: true,
  successRedirect: true,
  failureRedirect: true,
  revokeRedirect: true,
  allowedOrigins: true,
  onMissingState: true,
  identify: true,
  cookieName: true,
  sessionMaxAge: true,
  flowMaxAge: true,
  timeout: true,
  storeTimeout: true,
  dispatcher: true,
  endpoints: true,
  beforeStore: true,
  onSuccess: true,
  onFailure: true,
  onRevoke: true
}

/**
 * Checks the options once, at `register`, and completes them.
 * Throws `WEBFLOW_OAUTH_INVALID_OPTION` with the name of the first wrong one and the remedy.
 */
export function resolveOptions (options: WebflowOAuthOptions, prefix: string): Settings {
  for (const name of Object.keys(options)) {
    if (name === 'prefix') fail('prefix', 'is not taken: set the paths instead, or register the plugin inside a prefixed scope')
    if (!Object.hasOwn(known, name)) fail(name, 'is not an option of this plugin: is it misspelled?')
  }
  const clientId = requireCredential('clientId', options.clientId, 'WEBFLOW_CLIENT_ID')
  const clientSecret = requireCredential('clientSecret', options.clientSecret, 'WEBFLOW_CLIENT_SECRET')
  const url = resolveRedirectUri(options.redirectUri)
  const { authorizePath, callbackPath, revokePath } = options
  const paths = resolvePaths({ redirectUri: url, prefix, authorizePath, callbackPath, revokePath }, fail)
  const redirect = (name: 'successRedirect' | 'failureRedirect' | 'revokeRedirect', value: string) => resolveTarget(name, value, url.origin, paths)

  return Object.freeze({
    clientId,
    clientSecret,
    redirectUri: options.redirectUri ?? url.href,
    host: url.host,
    secure: url.protocol === 'https:',
    scope: resolveScope('scope', options.scope),
    secrets: resolveSecrets(options.secret, clientSecret),
    store: resolveStore(options.store),
    paths,
    revokeMethod: oneOf('revokeMethod', options.revokeMethod ?? 'POST', ['POST', 'DELETE']),
    successRedirect: redirect('successRedirect', options.successRedirect ?? '/'),
    failureRedirect: options.failureRedirect === undefined ? null : redirect('failureRedirect', options.failureRedirect),
    revokeRedirect: redirect('revokeRedirect', options.revokeRedirect ?? '/'),
    returnRules: { origin: url.origin, allowedOrigins: resolveOrigins(options.allowedOrigins, url.origin), ownPaths: paths.own },
    onMissingState: oneOf('onMissingState', options.onMissingState ?? 'restart', ['restart', 'reject']),
    cookieName: resolveCookieName(options.cookieName ?? 'webflow'),
    sessionMaxAge: resolveDuration('sessionMaxAge', options.sessionMaxAge ?? (options.identify === undefined ? 30 : 365) * day, 'seconds'),
    flowMaxAge: resolveDuration('flowMaxAge', options.flowMaxAge ?? 900, 'seconds'),
    timeout: resolveDuration('timeout', options.timeout ?? 10_000, 'milliseconds'),
    storeTimeout: resolveDuration('storeTimeout', options.storeTimeout ?? 1000, 'milliseconds'),
    dispatcher: resolveDispatcher(options.dispatcher),
    endpoints: resolveEndpoints(options.endpoints ?? {}),
    identify: optionalFunction('identify', options.identify),
    beforeStore: optionalFunction('beforeStore', options.beforeStore),
    onSuccess: optionalFunction('onSuccess', options.onSuccess),
    onFailure: optionalFunction('onFailure', options.onFailure),
    onRevoke: optionalFunction('onRevoke', options.onRevoke)
  })
}

/** Checks a list of scopes; each once, in the order given. */
export function resolveScope (option: string, value: unknown): readonly string[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : []
  if (list.length === 0) fail(option, 'must be a list of scopes with at least one, such as [\'sites:read\']')
  if (!list.every(isScope)) fail(option, 'holds something that is no scope: each is one string, `name:read` or `name:write`')
  return [...new Set(list)]
}

/** Fails with the option's name and what is wrong with it. */
export function fail (option: string, problem: string): never {
  throw new WebflowOAuthError('WEBFLOW_OAUTH_INVALID_OPTION', `\`${option}\` ${problem}.`)
}

function requireCredential (option: string, value: unknown, variable: string): string {
  if (value === undefined || value === null || value === '') return fail(option, `is missing: is ${variable} set?`)
  if (typeof value !== 'string') return fail(option, 'must be a string')
  if (!/^[\x21-\x7e]+$/.test(value)) return fail(option, `holds a blank or a character that is not ASCII: does ${variable} end with a line break?`)
  return value
}

function resolveRedirectUri (value: unknown): URL {
  const option = 'redirectUri'
  if (value === undefined || value === null || value === '') return fail(option, 'is missing: give the one that is registered with Webflow, such as https://app.example.com/webflow/callback')
  if (typeof value !== 'string' || /[\s\\]/.test(value) || !/^https?:\/\//i.test(value) || !URL.canParse(value)) {
    return fail(option, 'must be an absolute http(s) URL, such as https://app.example.com/webflow/callback')
  }
  const url = new URL(value)
  if (value.includes('#')) fail(option, 'must not have a fragment')
  if (/^https?:\/\/[^/?]*@/i.test(value)) fail(option, 'must not hold a user name or a password')
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) fail(option, 'must be https, unless its host is localhost or another loopback address')
  for (const name of ['code', 'state', 'error', 'error_description']) {
    if (url.searchParams.has(name)) fail(option, `must not have a query parameter \`${name}\`: Webflow adds its own`)
  }
  return url
}

function isLoopback (hostname: string): boolean {
  return hostname === 'localhost' || hostname.endsWith('.localhost') || hostname === '[::1]' || /^127(?:\.\d+){3}$/.test(hostname)
}

function resolveSecrets (value: unknown, clientSecret: string): readonly Buffer[] {
  const option = 'secret'
  const remedy = 'make one with: openssl rand -base64 32'
  if (value === undefined || value === null || value === '') return fail(option, `is missing: is APP_SECRET set? If there is none yet, ${remedy}`)
  const list: readonly unknown[] = Array.isArray(value) ? value : [value]
  if (list.length === 0) return fail(option, `is an empty list: ${remedy}`)
  return list.map((secret) => {
    if (typeof secret !== 'string' && !(secret instanceof Uint8Array)) return fail(option, `must be a string or a Buffer, or a list of such: ${remedy}`)
    const bytes = Buffer.from(secret)
    if (bytes.length < 32) return fail(option, `must have at least 32 bytes: ${remedy}`)
    if (bytes.equals(Buffer.from(clientSecret))) return fail(option, `must not be the client secret, with which Webflow signs webhooks: ${remedy}`)
    return bytes
  })
}

function resolveStore (value: TokenStore | undefined): TokenStore {
  if (value === undefined) return new MemoryStore()
  if (!isObject(value) || !['get', 'set', 'delete', 'find'].every((name) => typeof value[name] === 'function')) {
    return fail('store', 'must be a TokenStore, with `get`, `set`, `delete` and `find`: for Redis, new RedisStore({ client })')
  }
  return value
}

function resolveTarget (option: string, value: unknown, origin: string, paths: Paths): string {
  const remedy = 'must be a path, such as /welcome, or an absolute http(s) URL'
  if (typeof value !== 'string' || /[\s\\]/.test(value) || !/^(?:\/(?!\/)|https?:\/\/)/i.test(value) || !URL.canParse(value, origin)) return fail(option, remedy)
  const url = new URL(value, origin)
  if (url.username !== '' || url.password !== '') return fail(option, remedy)
  if (url.origin === origin && paths.own.has(normalizePath(url.pathname))) return fail(option, 'must not lead to one of the plugin\'s own routes')
  return url.href
}

function resolveOrigins (value: unknown, own: string): ReadonlySet<string> {
  const option = 'allowedOrigins'
  const list: readonly unknown[] | null = value === undefined ? [] : Array.isArray(value) ? value : null
  if (list === null) return fail(option, 'must be a list of origins, such as [\'https://spa.example.com\']')
  const origins = list.map((entry) => {
    if (typeof entry !== 'string' || !/^https?:\/\/[^/?#\\@\s]+\/?$/i.test(entry) || !URL.canParse(entry)) {
      return fail(option, 'holds something that is no origin: scheme, host and port only, such as https://spa.example.com')
    }
    return new URL(entry).origin
  })
  return new Set([own, ...origins])
}

function resolveCookieName (value: unknown): string {
  if (typeof value !== 'string' || !/^[\w!#$%&'*+.^`|~-]{1,64}$/.test(value) || /^__(?:host|secure)-/i.test(value)) {
    return fail('cookieName', 'must be a cookie\'s name of at most 64 characters, without the prefix `__Host-`, which the plugin adds by itself')
  }
  return value
}

function resolveDuration (option: string, value: unknown, unit: 'seconds' | 'milliseconds'): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value <= 0 || value > maxDelay) {
    return fail(option, `must be a whole number of ${unit} above zero`)
  }
  return value
}

function resolveDispatcher (value: Dispatcher | undefined): Dispatcher | null {
  if (value === undefined) return null
  if (!isObject(value) || typeof value.dispatch !== 'function') return fail('dispatcher', 'must be a Dispatcher of undici')
  return value
}

function resolveEndpoints (value: Partial<Endpoints>): Endpoints {
  if (!isObject(value)) return fail('endpoints', 'must be an object of URLs: authorize, token, revoke')
  for (const name of Object.keys(value)) {
    if (!Object.hasOwn(webflowEndpoints, name)) fail(`endpoints.${name}`, 'is no endpoint: there are authorize, token and revoke')
  }
  const resolve = (name: keyof Endpoints) => {
    const url: unknown = value[name] ?? webflowEndpoints[name]
    if (typeof url !== 'string' || !/^https?:\/\//i.test(url) || !URL.canParse(url) || /[#\s\\]|^\w+:\/\/[^/?]*@/.test(url)) {
      return fail(`endpoints.${name}`, 'must be an absolute http(s) URL without fragment and userinfo')
    }
    return url
  }
  return { authorize: resolve('authorize'), token: resolve('token'), revoke: resolve('revoke') }
}

function oneOf<T extends string> (option: string, value: unknown, values: readonly T[]): T {
  return values.find((candidate) => candidate === value) ?? fail(option, `must be one of ${values.join(', ')}`)
}

function optionalFunction<T> (option: string, value: T): T {
  if (value !== undefined && typeof value !== 'function') return fail(option, 'must be a function')
  return value
}

import { isObject } from '../collections/json.ts'
import { refuseOption } from '../errors.ts'
import { normalizePath } from '../http/return-to.ts'
import type { Endpoints } from './endpoints.ts'
import type { Paths } from './paths.ts'
import { hostsOf, type Region } from './regions.ts'

const endpointNames = 'authorize, token, revoke, introspect, authorizedBy and resolve'

/**
 * Checks that the redirect URI is absolute, without fragment and userinfo, and https unless its host is a loopback host.
 * Returns it both as given and parsed.
 */
export function resolveRedirectUri (value: unknown): { redirectUri: string, url: URL } {
  const option = 'redirectUri'
  if (value === undefined || value === null || value === '') return refuseOption(option, 'is missing: set it to the redirect URI that is registered with Webflow, such as https://app.example.com/webflow/callback')
  if (typeof value !== 'string' || /[\s\\]/.test(value) || !/^https?:\/\//i.test(value) || !URL.canParse(value)) {
    return refuseOption(option, 'must be an absolute http(s) URL, such as https://app.example.com/webflow/callback')
  }
  const url = new URL(value)
  if (value.includes('#')) refuseOption(option, 'must not have a fragment: leave out `#` and everything after it')
  if (hasUserinfo(value, url)) refuseOption(option, 'must not hold a user name or a password')
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) refuseOption(option, 'must be https, unless its host is localhost or another loopback address')
  for (const name of ['code', 'state', 'error', 'error_description']) {
    if (url.searchParams.has(name)) refuseOption(option, `must not have a query parameter \`${name}\`: Webflow adds a parameter of that name`)
  }
  return { redirectUri: value, url }
}

/** Tells whether a host name is a loopback name, which always leads to this machine. */
export function isLoopback (hostname: string): boolean {
  return hostname === 'localhost' || hostname.endsWith('.localhost') || hostname === '[::1]' || /^127(?:\.\d+){3}$/.test(hostname)
}

/** Checks the target of a redirect: a path or an http(s) URL, but none of the plugin's own routes. Returns an absolute URL. */
export function resolveTarget (option: string, value: unknown, origin: string, paths: Paths): string {
  const remedy = 'must be a path, such as /welcome, or an absolute http(s) URL'
  if (typeof value !== 'string' || /[\s\\]/.test(value) || !/^(?:\/(?!\/)|https?:\/\/)/i.test(value) || !URL.canParse(value, origin)) return refuseOption(option, remedy)
  const url = new URL(value, origin)
  if (hasUserinfo(value, url)) return refuseOption(option, remedy)
  if (url.origin === origin && paths.own.has(normalizePath(url.pathname))) return refuseOption(option, 'leads to one of the plugin\'s own routes: set it to another path')
  return url.href
}

/** Parses an http(s) origin: scheme, host and port, perhaps with a slash at the end; null for any other value. */
export function parseOrigin (value: unknown): URL | null {
  return typeof value === 'string' && /^https?:\/\/[^/?#\\@\s*]+\/?$/i.test(value) && URL.canParse(value) ? new URL(value) : null
}

/** Checks a list of origins and adds the app's own origin. */
export function resolveOrigins (value: unknown, own: string): ReadonlySet<string> {
  const option = 'allowedOrigins'
  const list: readonly unknown[] | null = value === undefined ? [] : Array.isArray(value) ? [...value] : null
  if (list === null) return refuseOption(option, 'must be a list of origins, such as [\'https://spa.example.com\']')
  const origins = list.map((entry) => {
    return parseOrigin(entry)?.origin ?? refuseOption(option, 'holds an entry that is not an origin: an origin has only scheme, host and port, such as https://spa.example.com')
  })
  return new Set([own, ...origins])
}

/**
 * Checks the endpoints and fills in the missing ones. `authorize`, `token` and `revoke` default to those of the region.
 * The others receive tokens, so they default to the origin that issues the tokens.
 */
export function resolveEndpoints (value: Partial<Endpoints>, region: Region): Endpoints {
  if (!isObject(value)) return refuseOption('endpoints', `must be an object of URLs. Its members may be ${endpointNames}`)
  const resolve = (name: keyof Endpoints, fallback: string) => {
    const url: unknown = value[name] === undefined ? fallback : value[name]
    if (typeof url !== 'string' || !/^https?:\/\//i.test(url) || !URL.canParse(url) || /[#\s\\]/.test(url) || hasUserinfo(url, new URL(url))) {
      return refuseOption(`endpoints.${name}`, 'must be an absolute http(s) URL without fragment and userinfo')
    }
    return url
  }
  const { site, api } = hostsOf[region]
  const token = resolve('token', `https://${api}/oauth/access_token`)
  const endpoints = {
    authorize: resolve('authorize', `https://${site}/oauth/authorize`),
    token,
    revoke: resolve('revoke', `https://${site}/oauth/revoke_authorization`),
    introspect: resolve('introspect', new URL('/v2/token/introspect', token).href),
    authorizedBy: resolve('authorizedBy', new URL('/v2/token/authorized_by', token).href),
    resolve: resolve('resolve', new URL('/beta/token/resolve', token).href)
  }
  for (const name of Object.keys(value)) {
    if (!Object.hasOwn(endpoints, name)) refuseOption(`endpoints.${name}`, `is not an endpoint: the endpoints are ${endpointNames}`)
  }
  return endpoints
}

/**
 * Tells whether a URL holds a user name or a password. The raw text is searched for an `@` too, because the parser drops
 * an empty user name, as in `https://@host`.
 */
function hasUserinfo (value: string, { username, password }: URL): boolean {
  return username !== '' || password !== '' || /^https?:\/+[^/?]*@/i.test(value)
}

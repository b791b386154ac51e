import { refuseOption } from '../errors.ts'
import { normalizePath, plainPath } from '../http/return-to.ts'

/** The paths of an instance. */
export interface Paths {
  /** Route paths, as the router takes them, within the scope of the plugin. */
  routes: { authorize: string, callback: string, revoke: string | null }
  /** The callback's path as the app sees it, with the prefix of its scope. */
  callback: string
  /** What the world's paths have before the app's: a proxy took it off. */
  publicPrefix: string
  /** The absolute URL of the authorize route. */
  authorizeUrl: string
  /** The plugin's own paths as the world sees them, normalised. */
  own: ReadonlySet<string>
}

/** The path options, as far as they were given. */
export interface PathOptions {
  redirectUri: URL
  /** The prefix of the scope in which the plugin is registered. */
  prefix: string
  authorizePath: string | undefined
  callbackPath: string | undefined
  revokePath: string | false | undefined
}

/** Finds the three route paths and how the world sees them. */
export function resolvePaths ({ redirectUri, prefix, authorizePath, callbackPath, revokePath }: PathOptions): Paths {
  const callback = callbackPath === undefined ? belowPrefix(redirectUri.pathname, prefix) : checkPath('callbackPath', callbackPath)
  const authorize = authorizePath === undefined ? sibling(callback, 'authorize') : checkPath('authorizePath', authorizePath)
  const revoke = revokePath === false
    ? null
    : revokePath === undefined ? sibling(callback, 'revoke') : checkPath('revokePath', revokePath)

  const full = (path: string) => prefix.replace(/\/$/, '') + path
  const publicPrefix = redirectUri.pathname.endsWith(full(callback)) ? redirectUri.pathname.slice(0, -full(callback).length) : ''
  const routes = [authorize, callback, ...(revoke === null ? [] : [revoke])]
  const own = new Set(routes.map((path) => normalizePath(publicPrefix + full(path))).concat(normalizePath(redirectUri.pathname)))
  if (new Set(routes.map(plainPath)).size < routes.length) {
    refuseOption('authorizePath', 'and `revokePath` and the path of the callback must all differ: set `authorizePath` or `revokePath`')
  }

  return {
    routes: {
      authorize: routePath('authorizePath', authorize),
      callback: routePath(callbackPath === undefined ? 'redirectUri' : 'callbackPath', callback),
      revoke: revoke === null ? null : routePath('revokePath', revoke)
    },
    callback: full(callback),
    publicPrefix,
    authorizeUrl: Object.assign(new URL(redirectUri.origin), { pathname: publicPrefix + full(authorize) }).href,
    own
  }
}

function belowPrefix (path: string, prefix: string): string {
  const scope = prefix.replace(/\/$/, '')
  if (path === scope) return ''
  if (path.startsWith(`${scope}/`)) return path.slice(scope.length)
  return refuseOption('redirectUri', `leads to ${path}, which is not below the prefix ${prefix} of the scope: register the plugin elsewhere, or set \`callbackPath\` if a proxy rewrites paths`)
}

function sibling (path: string, name: string): string {
  const directory = path.replace(/\/+$/, '').replace(/[^/]*$/, '')
  return `${directory === '' ? '/' : directory}${name}`
}

function checkPath (option: string, path: unknown): string {
  if (typeof path !== 'string' || !/^\/(?!\/)[^?#\\\s]*$/.test(path)) {
    return refuseOption(option, 'must be a path: a slash first, no query, no fragment, no blanks')
  }
  const { pathname } = new URL(path, 'http://localhost')
  if (normalizePath(pathname) !== normalizePath(path)) return refuseOption(option, 'must not contain `.` or `..` segments')
  return pathname
}

/** Spells a URL's path for the router, which compares decoded paths and reads `:` and `*` as patterns. */
function routePath (option: string, path: string): string {
  let stars = 0
  try {
    // The router leaves these escapes as they are, and then no static path matches them.
    if (/%(?:2[3-6BCF]|3[ABDF]|40)/i.test(path)) throw new URIError('reserved')
    return decodeURI(path).replaceAll(':', '::').replaceAll('*', () => `:star${++stars}(^\\*)`)
  } catch {
    return refuseOption(option, 'has an escape in its path that a router cannot match: choose a plainer path')
  }
}

import { refuseOption } from '../errors.ts'
import { normalizePath, plainPath } from '../http/return-to.ts'

/** The paths of one instance of the plugin. */
export interface Paths {
  /** The route paths in the router's spelling, without the prefix of the scope in which the plugin is registered. */
  routes: { authorize: string, callback: string, revoke: string | null, designer: string | null, webhook: string | null }
  /** The path of the callback as the app sees it, including the prefix of the scope. */
  callback: string
  /** The prefix that a proxy removes. The paths that browsers see begin with it, and the paths that the app sees do not. */
  publicPrefix: string
  /** The absolute URL of the authorize route. */
  authorizeUrl: string
  /** The public paths of the plugin's own routes, normalised. */
  own: ReadonlySet<string>
}

/** What the paths depend on: the app's options, undefined if the app left one out, and the scope of the plugin. */
export interface PathOptions {
  redirectUri: URL
  /** The prefix of the scope in which the plugin is registered. */
  prefix: string
  authorizePath: string | undefined
  callbackPath: string | undefined
  /** False for no revoke route. */
  revokePath: string | false | undefined
  /** Whether the app has the option `designer`, and so the route for its Designer Extension. */
  hasDesigner: boolean
  designerPath: string | undefined
  /** Whether the app has the option `onWebhook`, and so the route for webhooks. */
  hasWebhook: boolean
  webhookPath: string | undefined
}

/** Works out the paths of the routes as the router, the app and browsers see them. */
export function resolvePaths ({ redirectUri, prefix, authorizePath, callbackPath, revokePath, hasDesigner, designerPath, hasWebhook, webhookPath }: PathOptions): Paths {
  const callback = callbackPath === undefined ? belowPrefix(redirectUri.pathname, prefix) : checkPath('callbackPath', callbackPath)
  const besideCallback = (option: string, path: unknown, name: string) => path === undefined ? sibling(callback, name) : checkPath(option, path)
  const authorize = besideCallback('authorizePath', authorizePath, 'authorize')
  const revoke = revokePath === false ? null : besideCallback('revokePath', revokePath, 'revoke')
  const designer = hasDesigner ? besideCallback('designer.path', designerPath, 'designer') : null
  const webhook = hasWebhook ? besideCallback('webhookPath', webhookPath, 'webhook') : null

  const full = (path: string) => prefix.replace(/\/$/, '') + path
  const publicPrefix = redirectUri.pathname.endsWith(full(callback)) ? redirectUri.pathname.slice(0, -full(callback).length) : ''
  const routes = [authorize, callback, revoke, webhook, designer].filter((path) => path !== null)
  const own = new Set(routes.map((path) => normalizePath(publicPrefix + full(path))).concat(normalizePath(redirectUri.pathname)))
  if (new Set(routes.map(plainPath)).size < routes.length) {
    if (designer !== null && routes.filter((path) => plainPath(path) === plainPath(designer)).length > 1) refuseOption('designer.path', `is ${designer}, like another path of the plugin: set it to another path`)
    refuseOption('authorizePath', `and \`revokePath\`${webhook === null ? '' : ' and `webhookPath`'} must differ from each other and from the path of the callback: set one of them to another path`)
  }

  return {
    routes: {
      authorize: routePath('authorizePath', authorize),
      callback: routePath(callbackPath === undefined ? 'redirectUri' : 'callbackPath', callback),
      revoke: revoke === null ? null : routePath('revokePath', revoke),
      designer: designer === null ? null : routePath('designer.path', designer),
      webhook: webhook === null ? null : routePath('webhookPath', webhook)
    },
    callback: full(callback),
    publicPrefix,
    authorizeUrl: Object.assign(new URL(redirectUri.origin), { pathname: publicPrefix + full(authorize) }).href,
    own
  }
}

/** Removes the prefix of the scope from a path. */
function belowPrefix (path: string, prefix: string): string {
  const scope = prefix.replace(/\/$/, '')
  if (path === scope) return ''
  if (path.startsWith(`${scope}/`)) return path.slice(scope.length)
  return refuseOption('redirectUri', `leads to ${path}, but the plugin is registered in a scope with the prefix ${prefix}: register it outside that scope, or set \`callbackPath\` if a proxy rewrites paths`)
}

/** Replaces the last segment of a path. */
function sibling (path: string, name: string): string {
  const directory = path.replace(/\/+$/, '').replace(/[^/]*$/, '')
  return `${directory === '' ? '/' : directory}${name}`
}

function checkPath (option: string, path: unknown): string {
  if (typeof path !== 'string' || !/^\/(?!\/)[^?#\\\s]*$/.test(path)) {
    return refuseOption(option, 'must be a path such as /webflow/authorize: one slash at the beginning, and no query, fragment, backslash or white space')
  }
  const { pathname } = new URL(path, 'http://localhost')
  if (normalizePath(pathname) !== normalizePath(path)) return refuseOption(option, 'must not contain `.` or `..` segments')
  return pathname
}

/** Converts the path of a URL for the router. The router compares decoded paths and treats `:` and `*` as patterns. */
function routePath (option: string, path: string): string {
  let stars = 0
  try {
    // The router does not decode these escapes, so no static route would match them.
    if (/%(?:2[3-6BCF]|3[ABDF]|40)/i.test(path)) throw new URIError('reserved')
    return decodeURI(path).replaceAll(':', '::').replaceAll('*', () => `:star${++stars}(^\\*)`)
  } catch {
    return refuseOption(option, 'has a percent-encoded character in its path that Fastify\'s router cannot match: choose a path without it, such as /webflow/callback')
  }
}

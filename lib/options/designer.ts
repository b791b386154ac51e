import { isObject } from '../collections/json.ts'
import { refuseOption } from '../errors.ts'
import { resolveDuration } from './duration.ts'
import { isLoopback, parseOrigin } from './urls.ts'

/** The app's Designer Extension, as the option `designer` describes it. */
export interface DesignerOptions {
  /**
   * The origins on which the extension runs, such as `https://0123456789abcdef01234567.webflow-ext.com`. Required, at least
   * one. Each must be https, except that a loopback host may use http.
   */
  origins: readonly string[]
  /** The path of the route that exchanges ID tokens for session tokens. Defaults to the callback's path with its last segment replaced by `designer`. */
  path?: string | undefined
  /** How long a session token lives at most, in seconds. Defaults to 900. */
  maxAge?: number | undefined
}

/** The option `designer` after checking. */
export interface DesignerSettings {
  readonly origins: ReadonlySet<string>
  /** How long a session token lives at most, in seconds. */
  readonly maxAge: number
}

/** Checks the option `designer`; null when it was left out. */
export function resolveDesigner (value: DesignerOptions | undefined, { introspect, scope }: { introspect: boolean, scope: readonly string[] }): DesignerSettings | null {
  if (value === undefined) return null
  if (!isObject(value)) return refuseOption('designer', 'must be an object with the member `origins`')
  for (const name of Object.keys(value)) {
    if (!['origins', 'path', 'maxAge'].includes(name)) refuseOption(`designer.${name}`, 'is not an option: the options of `designer` are origins, path and maxAge')
  }
  if (!introspect) refuseOption('designer', 'needs `introspect`: without it, the plugin does not know which tokens open a site. Leave out `introspect: false`')
  if (!scope.includes('authorized_user:read')) refuseOption('designer', 'needs the scope authorized_user:read: only tokens with that scope can resolve an ID token. Add it to `scope`')
  return Object.freeze({ origins: resolveOrigins(value.origins), maxAge: resolveDuration('designer.maxAge', value.maxAge ?? 900, 'seconds') })
}

function resolveOrigins (value: unknown): ReadonlySet<string> {
  const option = 'designer.origins'
  const list: readonly unknown[] = Array.isArray(value) ? [...value] : []
  if (list.length === 0) return refuseOption(option, 'must be a list of at least one origin, such as [\'https://0123456789abcdef01234567.webflow-ext.com\']')
  return new Set(list.map((origin) => {
    const url = parseOrigin(origin)
    if (url === null || (url.protocol === 'http:' && !isLoopback(url.hostname))) {
      return refuseOption(option, 'holds an entry that is not the origin of an extension: an origin has only scheme, host and port, without `*`. It must be https, unless its host is a loopback host')
    }
    return url.origin
  }))
}

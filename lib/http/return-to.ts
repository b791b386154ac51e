/** The most characters that `returnTo` may have in its percent-encoded form. */
const maxLength = 2048

/** The rules for where `returnTo` may lead. */
export interface ReturnRules {
  /** The origin of `redirectUri`, against which paths are resolved. */
  origin: string
  allowedOrigins: ReadonlySet<string>
  /**
   * The normalised paths of the plugin's own routes. `returnTo` must not lead to one of them: the authorize route, for example,
   * would begin a new flow at once.
   */
  ownPaths: ReadonlySet<string>
}

/** The result of judging a `returnTo`. */
export type ReturnTarget =
  /** `href` is the absolute URL. `shortest` is the spelling of it that takes the fewest bytes in a flow cookie. */
  | { kind: 'good', href: string, shortest: string }
  /** The target is allowed, but has more than 2,048 characters. */
  | { kind: 'too long' }
  /** The target is not an http(s) URL, is on a foreign origin, holds a user name or a password, or is a route of the plugin. */
  | { kind: 'refused' }

/**
 * Judges `returnTo`. Its percent-encoded form may have 2,048 characters. On the origin of `redirectUri`, only path, query
 * and fragment count; on another allowed origin, the whole URL counts.
 */
export function judgeReturnTo (value: string, { origin, allowedOrigins, ownPaths }: ReturnRules): ReturnTarget {
  if (value === '' || !URL.canParse(value, origin)) return { kind: 'refused' }
  const url = new URL(value, origin)
  // `blob:https://app.example.com/…` has the app's origin too.
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return { kind: 'refused' }
  if (!allowedOrigins.has(url.origin) || url.username !== '' || url.password !== '') return { kind: 'refused' }
  if (ownPaths.has(normalizePath(url.pathname))) return { kind: 'refused' }
  const { href } = url
  const resolved = url.origin === origin ? href.slice(origin.length) : href
  if (resolved.length > maxLength) return { kind: 'too long' }
  // A path that begins with two slashes would be read as a host name. Such a path is kept as a whole URL.
  const spelling = resolved.startsWith('//') ? href : resolved
  return { kind: 'good', href, shortest: Buffer.byteLength(value) < spelling.length ? value : spelling }
}

/**
 * Resolves `returnTo` to an absolute URL (WHATWG URL); null when the plugin must not redirect to it.
 */
export function resolveReturnTo (value: string, rules: ReturnRules): string | null {
  const target = judgeReturnTo(value, rules)
  return target.kind === 'good' ? target.href : null
}

/** Brings all spellings of a path that a router may treat alike to one spelling, without path parameters (`;a=b`). */
export function normalizePath (path: string): string {
  return plainPath(path.replace(/;.*$/, ''))
}

/** Brings percent-encoding, case, repeated and trailing slashes of a path to one spelling. */
export function plainPath (path: string): string {
  return decodePath(path).toLowerCase().replace(/\/+/g, '/').replace(/\/$/, '')
}

function decodePath (path: string): string {
  try {
    return decodeURI(path)
  } catch {
    return path
  }
}

const maxLength = 512

/** Where `returnTo` may lead. */
export interface ReturnRules {
  /** The origin of `redirectUri`, against which paths are resolved. */
  origin: string
  allowedOrigins: ReadonlySet<string>
  /** The plugin's own paths, normalised: nothing leads back into the flow. */
  ownPaths: ReadonlySet<string>
}

/**
 * Resolves `returnTo` to an absolute URL (WHATWG URL); null when it may not be followed.
 */
export function resolveReturnTo (value: string, { origin, allowedOrigins, ownPaths }: ReturnRules): string | null {
  if (value === '' || value.length > maxLength || !URL.canParse(value, origin)) return null
  const url = new URL(value, origin)
  // `blob:https://app.example.com/…` has the app's origin too.
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return null
  if (!allowedOrigins.has(url.origin) || url.username !== '' || url.password !== '') return null
  if (ownPaths.has(normalizePath(url.pathname))) return null
  return url.href
}

/** Brings the spellings of a path that a router may take for one to one, path parameters left aside. */
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

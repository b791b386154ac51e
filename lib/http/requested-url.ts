import type { FastifyRequest } from 'fastify'

/**
 * Returns the URL that the browser requested, as a path with its query on the app's own origin.
 * A proxy, `rewriteUrl` or Express may remove a prefix from the path before Fastify routes it. `publicPrefix` is the
 * whole prefix that public paths have and routed paths lack.
 */
export function requestedUrl ({ originalUrl, url }: FastifyRequest, publicPrefix: string): string {
  const original = pathOf(originalUrl)
  const path = missingPrefix(original, pathOf(url), publicPrefix) + original
  // Two slashes at the start would begin a host name. With `/.` in front, the URL parser reads them as a path.
  return /^\/[/\\]/.test(path) ? `/.${path}` : path
}

/** Returns the part of the public prefix that a proxy removed before Fastify received the original path. */
function missingPrefix (original: string, routed: string, publicPrefix: string): string {
  const removed = removedPrefix(original, routed)
  // `rewriteUrl` and Express leave `originalUrl` unchanged, so the original path still begins with the prefix that they removed.
  if (removed !== null && publicPrefix.toLowerCase().endsWith(removed.toLowerCase())) return publicPrefix.slice(0, publicPrefix.length - removed.length)
  // `rewriteUrl` changed something else. If the original path has the whole prefix, no proxy removed anything.
  return hasPrefix(original, publicPrefix) ? '' : publicPrefix
}

/** Tells whether a path begins with a prefix, and the prefix ends at the end of a segment. */
function hasPrefix (path: string, prefix: string): boolean {
  return path.toLowerCase().startsWith(prefix.toLowerCase()) && /^(?:$|[/?#])/.test(path.slice(prefix.length))
}

/** Returns the prefix that `rewriteUrl` or Express removed from the original path; null when something else was changed. */
function removedPrefix (original: string, routed: string): string | null {
  // When Express removes the whole path, it adds a slash: with the mount path `/api`, `/api?a=b` becomes `/?a=b`.
  const rest = original.endsWith(routed) ? routed : routed.slice(1)
  if (!original.endsWith(rest)) return null
  // If two slashes follow the mount path, Express 4 removes one of them together with the mount path.
  return original.slice(0, original.length - rest.length).replace(/\/$/, '')
}

/** Removes scheme and host from a request target in absolute form (RFC 9112, section 3.2.2). */
function pathOf (target: string): string {
  return target.replace(/^(?:https?:\/\/[^/?#]*)?\/?/i, '/')
}

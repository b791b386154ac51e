import type { FastifyRequest } from 'fastify'

/**
 * Returns the URL that the browser requested, as a path with its query on the app's own origin.
 * A proxy, `rewriteUrl` or Express may remove a prefix from the path before Fastify routes it. `publicPrefix` is the
 * whole prefix that public paths have and routed paths lack.
 */
export function askedUrl ({ originalUrl, url }: FastifyRequest, publicPrefix: string): string {
  const original = pathOf(originalUrl)
  const path = missingFrom(original, pathOf(url), publicPrefix) + original
  // Two slashes at the start would begin a host name. With `/.` in front, the URL parser reads them as a path.
  return /^\/[/\\]/.test(path) ? `/.${path}` : path
}

/** Returns the part of the public prefix that a proxy took off the original path. */
function missingFrom (original: string, routed: string, publicPrefix: string): string {
  const taken = takenOff(original, routed)
  // `rewriteUrl` and Express leave `originalUrl` as it was, so the original still begins with what they took off.
  if (taken !== null && publicPrefix.toLowerCase().endsWith(taken.toLowerCase())) return publicPrefix.slice(0, publicPrefix.length - taken.length)
  // `rewriteUrl` changed something else. An original with the whole prefix is the one that the browser asked for.
  return isBelow(original, publicPrefix) ? '' : publicPrefix
}

/** Tells whether a path begins with a prefix that ends where one of its segments does. */
function isBelow (path: string, prefix: string): boolean {
  return path.toLowerCase().startsWith(prefix.toLowerCase()) && /^(?:$|[/?#])/.test(path.slice(prefix.length))
}

/** Returns the prefix that was taken off the original path before the router saw it; null when something else was changed. */
function takenOff (original: string, routed: string): string | null {
  // For the mount path itself, Express adds the slash: `/api?a=b` becomes `/?a=b`.
  const rest = original.endsWith(routed) ? routed : routed.slice(1)
  if (!original.endsWith(rest)) return null
  // Of two slashes behind its mount path, Express 4 takes one off together with the mount path.
  return original.slice(0, original.length - rest.length).replace(/\/$/, '')
}

/** Removes scheme and host from a request target in absolute form (RFC 9112, section 3.2.2). */
function pathOf (target: string): string {
  return target.replace(/^(?:https?:\/\/[^/?#]*)?\/?/i, '/')
}

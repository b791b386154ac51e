import type { FastifyRequest } from 'fastify'

/**
 * Returns the URL that the browser asked for: a path with its query, on the app's own origin.
 * A proxy, `rewriteUrl` or Express may take a prefix off the path before Fastify routes it. `publicPrefix` is
 * everything that the public paths have in front of the routed ones.
 */
export function askedUrl ({ originalUrl, url }: FastifyRequest, publicPrefix: string): string {
  const original = pathOf(originalUrl)
  const taken = takenOff(original, pathOf(url))
  // `originalUrl` still has what `rewriteUrl` or Express took off. Only what a proxy took off is missing from it.
  const isPublic = publicPrefix.toLowerCase().endsWith(taken.toLowerCase())
  const missing = isPublic ? publicPrefix.slice(0, publicPrefix.length - taken.length) : publicPrefix
  const path = missing + original
  // Two slashes at the start would begin a host name. With `/.` in front, the URL parser reads them as a path.
  return /^\/[/\\]/.test(path) ? `/.${path}` : path
}

/** Returns the prefix that was taken off the original path before the router saw it; an empty string without one. */
function takenOff (original: string, routed: string): string {
  // For the mount path itself, Express adds the slash: `/api?a=b` becomes `/?a=b`.
  const rest = original.endsWith(routed) ? routed : routed.slice(1)
  if (!original.endsWith(rest)) return ''
  // Express 4 takes a doubled slash behind its mount path off as well.
  return original.slice(0, original.length - rest.length).replace(/\/$/, '')
}

/** Takes scheme and host off a request target in absolute form (RFC 9112, section 3.2.2). */
function pathOf (target: string): string {
  return target.replace(/^(?:https?:\/\/[^/?#]*)?\/?/i, '/')
}

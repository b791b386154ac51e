import type { FastifyRequest } from 'fastify'

/**
 * Tells whether a browser asked for a page: a document navigation by its fetch metadata
 * (https://www.w3.org/TR/fetch-metadata/), or, where a browser sends none, a request that accepts HTML.
 * A service worker that passes a navigation on sends `empty` for its destination.
 */
export function isNavigation (request: FastifyRequest): boolean {
  const { 'sec-fetch-mode': mode, 'sec-fetch-dest': destination, accept } = request.headers
  if (mode === undefined && destination === undefined) return accept?.toLowerCase().includes('text/html') ?? false
  return mode === 'navigate' && (destination === 'document' || destination === 'empty')
}

/** Tells whether a browser fetches ahead of a click that may never come. */
export function isPrefetch (request: FastifyRequest): boolean {
  const { 'sec-purpose': secPurpose, purpose } = request.headers
  return isAhead(secPurpose) || isAhead(purpose)
}

function isAhead (purpose: string | string[] | undefined): boolean {
  return purpose !== undefined && String(purpose).toLowerCase().includes('prefetch')
}

/** Tells whether a page of another site led here. */
export function isCrossSite (request: FastifyRequest): boolean {
  return request.headers['sec-fetch-site'] === 'cross-site'
}

import type { FastifyRequest } from 'fastify'

/**
 * Tells whether a browser navigates to a page. Its fetch metadata says so (https://www.w3.org/TR/fetch-metadata/). If a
 * browser sends no fetch metadata, a request that accepts HTML counts as a navigation.
 * The destination `empty` is accepted too, because a service worker that forwards a navigation sends it.
 */
export function isNavigation (request: FastifyRequest): boolean {
  const { 'sec-fetch-mode': mode, 'sec-fetch-dest': destination, accept } = request.headers
  if (mode === undefined && destination === undefined) return accept?.toLowerCase().includes('text/html') ?? false
  return mode === 'navigate' && (destination === 'document' || destination === 'empty')
}

/** Tells whether a browser prefetches a page before the user has clicked. The click may never come. */
export function isPrefetch (request: FastifyRequest): boolean {
  const { 'sec-purpose': secPurpose, purpose } = request.headers
  return namesPrefetch(secPurpose) || namesPrefetch(purpose)
}

function namesPrefetch (purpose: string | string[] | undefined): boolean {
  return purpose !== undefined && String(purpose).toLowerCase().includes('prefetch')
}

/** Tells whether a page of another site caused the request. */
export function isCrossSite (request: FastifyRequest): boolean {
  return request.headers['sec-fetch-site'] === 'cross-site'
}

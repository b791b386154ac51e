import type { Behavior } from './behavior.ts'

/** A region of Webflow, with apps, credentials and tokens of its own. */
export type Region = 'us' | 'eu'

/** The hosts of each region: `site` has the pages for people and the revocation endpoint, `api` has the token endpoint and the Data API. */
const hosts = {
  us: { site: 'webflow.com', api: 'api.webflow.com' },
  eu: { site: 'eu.webflow.com', api: 'api.eu.webflow.com' }
} as const satisfies Readonly<Record<Region, { site: string, api: string }>>

/** Tells whether a value is the name of a region. */
export function isRegion (value: unknown): value is Region {
  return typeof value === 'string' && Object.hasOwn(hosts, value)
}

/** Returns the origin of a region's pages for people. */
export function siteOrigin (region: Region): string {
  return `https://${hosts[region].site}`
}

/** Tells whether a host name is one of Webflow's, in a region other than `region`. */
export function isOfOtherRegion (hostname: string, region: Region): boolean {
  const { site, api } = hosts[region === 'us' ? 'eu' : 'us']
  return hostname === site || hostname === api
}

/**
 * Tells whether a host serves the endpoint at a path. Each of Webflow's own hosts serves only some endpoints. Any other host
 * name, such as 127.0.0.1, serves all.
 */
export function isServedAt (hostname: string, path: string, { region, behavior }: { region: Region, behavior: Behavior }): boolean {
  const { site, api } = hosts[region]
  if (hostname !== site && hostname !== api) return true
  if (path === '/oauth/authorize') return hostname === site
  if (path === '/oauth/revoke_authorization') return region === 'us' || hostname === behavior.euRevocationHost
  return hostname === api
}

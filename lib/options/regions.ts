/** A region in which Webflow hosts its customers. An app registers with each region separately, and a token works in one region only. */
export type Region = 'us' | 'eu'

/** The names of the regions. */
export const regions = ['us', 'eu'] as const satisfies readonly Region[]

/** The hosts of one region of Webflow. */
export interface RegionHosts {
  /** The host of the pages for people, and of the revocation endpoint. */
  site: string
  /** The host of the token endpoint and of the Data API. */
  api: string
}

/**
 * The hosts of each region. Webflow does not document the host of the revocation endpoint in the EU. `eu.webflow.com` is assumed,
 * because the endpoint of the US is at `webflow.com`.
 */
export const hostsOf: Readonly<Record<Region, RegionHosts>> = {
  us: { site: 'webflow.com', api: 'api.webflow.com' },
  eu: { site: 'eu.webflow.com', api: 'api.eu.webflow.com' }
}

/** Returns the region to which a host name of Webflow belongs; undefined for any other host name. */
export function regionOf (hostname: string): Region | undefined {
  return regions.find((region) => Object.values(hostsOf[region]).includes(hostname))
}

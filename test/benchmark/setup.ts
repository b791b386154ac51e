import { createHash } from 'node:crypto'

/** What a server in a process of its own is started with. */
export interface Setup {
  program: string
  /** The origin of the Webflow that answers its exchanges. */
  webflow: string
  /** The URL of the Redis that keeps its sessions, or null for memory. */
  redis: string | null
  /** The option of the plugin. */
  introspect: boolean
  /** Where the plugin keeps tokens when there is a Redis: in Redis, in Redis with a near cache, or in memory. */
  store: 'redis' | 'near cache' | 'memory'
}

/** What a process says of itself. */
export interface Usage {
  /** Microseconds of processor time since it began. */
  cpu: number
  /** How many connections it has accepted, for the Webflow. */
  connections: number
  /** Where a profile spent its time, by function, as shares of all that was not idle. */
  profile: Array<{ place: string, share: number }>
}

/** What a process is asked over IPC: to tell its usage, to profile itself. */
export type Ask = 'usage' | 'profile' | 'profiled'

/** The app at Webflow, for all programs alike. */
export const credentials = { clientId: 'c'.repeat(64), clientSecret: 'd'.repeat(64) } as const

/** The secret of sessions and cookies, for all programs alike. */
export const secret = 's'.repeat(32)

/** The redirect URI that all programs but grant have. */
export const redirectUri = 'https://app.example.com/webflow/callback'

/** What every measured page answers. */
export const page = { connected: true } as const

/** The session ids of tokens that are in a store to begin with. */
export function sessionIdOf (number: number): string {
  return createHash('sha256').update(String(number)).digest('base64url')
}

/** What a token opens, as Webflow tells it. */
export interface Authorization {
  /** Names the authorization at Webflow; null when Webflow does not say. */
  readonly id: string | null
  /** The sites that the user has ever picked for this app. May be empty for a grant of a whole workspace. */
  readonly siteIds: readonly string[]
  /** The workspaces that the user has granted as a whole. */
  readonly workspaceIds: readonly string[]
  /** The users of Webflow who granted it. */
  readonly userIds: readonly string[]
  /** The granted scope; empty when Webflow does not say. */
  readonly scope: readonly string[]
  /** When the authorization was made, by Webflow's clock; null when Webflow does not say. */
  readonly createdOn: Date | null
}

/** Who made the grant. Known only with the scope `authorized_user:read`. */
export interface WebflowUser {
  readonly id: string | null
  readonly email: string | null
  readonly firstName: string | null
  readonly lastName: string | null
}

/**
 * A connection to Webflow, as a handler sees it.
 *
 * The access token is reachable by `accessToken` alone: serialising, inspecting, spreading, printing
 * or logging the object never reveals it.
 */
export interface WebflowToken {
  /** Names the token in logs and for `getToken`. Not secret; stable over renewals, with `identify` also over reconnects. */
  readonly id: string
  /** How the token is presented: `bearer`. */
  readonly tokenType: string
  /** The granted scope if Webflow said what it granted, else the requested one. */
  readonly scope: readonly string[]
  /** What the token opens. Null until Webflow has told it, and with `introspect: false`. */
  readonly authorization: Authorization | null
  /** Who made the grant. Null without the scope `authorized_user:read`, until Webflow has told it, and with `introspect: false`. */
  readonly user: WebflowUser | null
  /** When the token was issued. */
  readonly createdAt: Date
  /** When the plugin forgets the token unless it is used before. */
  readonly expiresAt: Date
  /** The access token itself, for the `Authorization` header of calls to Webflow. Secret. */
  readonly accessToken: string
}

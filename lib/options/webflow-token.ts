import type { Region } from './regions.ts'

/** What a token *opens*: the sites and workspaces to which the token gives access, according to Webflow. */
export interface Authorization {
  /** The id of the authorization at Webflow; null when Webflow does not say. */
  readonly id: string | null
  /** The ids of all sites that the user has picked for this app so far. May be empty when the user granted a whole workspace. */
  readonly siteIds: readonly string[]
  /** The ids of the workspaces that the user has granted as a whole. */
  readonly workspaceIds: readonly string[]
  /** The ids of the Webflow users who granted the authorization. */
  readonly userIds: readonly string[]
  /** The granted scope; empty when Webflow does not say. */
  readonly scope: readonly string[]
  /** When the authorization was made, by Webflow's clock; null when Webflow does not say. */
  readonly createdOn: Date | null
}

/** The Webflow user who made the grant. Webflow says who it is only with the scope `authorized_user:read`. */
export interface WebflowUser {
  readonly id: string | null
  readonly email: string | null
  readonly firstName: string | null
  readonly lastName: string | null
}

/**
 * A connection to Webflow, as a handler sees it.
 *
 * Only `accessToken` returns the access token. Serialising, inspecting, spreading, printing or logging the object never
 * reveals it.
 */
export interface WebflowToken {
  /**
   * The id of the token, for logs and for `getToken`. It is not secret. It stays the same when the token is renewed, and
   * with `identify` also when the user connects again.
   */
  readonly id: string
  /** The type of the token (RFC 6749, section 7.1): `bearer`. */
  readonly tokenType: string
  /** The granted scope if Webflow named it, otherwise the requested scope. */
  readonly scope: readonly string[]
  /** What the token opens. Null until Webflow has said so, and always null with `introspect: false`. */
  readonly authorization: Authorization | null
  /**
   * Who made the grant. Null until Webflow has said so, and always null with `introspect: false` or without the scope
   * `authorized_user:read`.
   */
  readonly user: WebflowUser | null
  /**
   * The user of the app to whom the token belongs, as `identify` names users. Null without `identify`. A token that version
   * 0.1 has stored has no owner until its user makes a request.
   */
  readonly owner: string | null
  /** The region of Webflow that issued the token, and in which alone the token works: the plugin's option `region`. */
  readonly region: Region
  /** When the token was issued. For an imported token whose time nobody knows: when it was imported. */
  readonly createdAt: Date
  /** When the plugin forgets the token, unless the app uses the token before that. */
  readonly expiresAt: Date
  /** The access token itself, for the `Authorization` header of calls to Webflow. Secret. */
  readonly accessToken: string
}

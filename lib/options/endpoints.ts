/** Where Webflow is asked. Each can be a simulator or a gateway. */
export interface Endpoints {
  /** The authorization endpoint. Defaults to `https://webflow.com/oauth/authorize`. */
  authorize: string
  /** The token endpoint. Defaults to `https://api.webflow.com/oauth/access_token`. */
  token: string
  /** The revocation endpoint. Defaults to `https://webflow.com/oauth/revoke_authorization`. */
  revoke: string
  /** Where a token is asked what it opens. Defaults to `/v2/token/introspect` at the origin of `token`: no token goes where it did not come from. */
  introspect: string
  /** Where a token is asked who granted it. Defaults to `/v2/token/authorized_by` at the origin of `token`. */
  authorizedBy: string
}

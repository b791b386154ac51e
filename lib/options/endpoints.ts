/**
 * The URLs of Webflow's endpoints. Each of them may lead to a simulator or a gateway instead. The defaults below
 * are those of the region `us`. In the region `eu` the paths are the same, and the hosts are `eu.webflow.com` and
 * `api.eu.webflow.com`.
 */
export interface Endpoints {
  /** The authorization endpoint. Defaults to `https://webflow.com/oauth/authorize`. */
  authorize: string
  /** The token endpoint. Defaults to `https://api.webflow.com/oauth/access_token`. */
  token: string
  /** The revocation endpoint. Defaults to `https://webflow.com/oauth/revoke_authorization`. */
  revoke: string
  /**
   * The endpoint that says which sites and workspaces a token opens. Defaults to `/v2/token/introspect` at the origin of
   * `token`, so that no token is sent to an origin that did not issue it.
   */
  introspect: string
  /** The endpoint that says who granted a token. Defaults to `/v2/token/authorized_by` at the origin of `token`. */
  authorizedBy: string
  /** The endpoint that says to whom an ID token of the Designer belongs. Defaults to `/beta/token/resolve` at the origin of `token`. */
  resolve: string
}

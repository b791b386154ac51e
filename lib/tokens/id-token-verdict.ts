import type { Deadline } from '../collections/deadline.ts'
import { WebflowOAuthError } from '../errors.ts'
import type { DesignerUser, Refusal } from '../webflow/id-token-answers.ts'
import type { TokenParts } from './parts.ts'
import type { TokenRecord } from './record.ts'

/** How old a remembered introspection may be, in milliseconds. */
const rememberFor = 60_000

/**
 * What Webflow says when it is asked about an ID token with an access token. `resolved`: the ID token is one for the site.
 * `invalid`: it is not. `inaccessible`: Webflow has not confirmed that the access token opens the site. `dead`: Webflow has
 * ended the access token. `scope_missing`: the access token lacks a scope. `rate_limited`: the access token was used too often.
 */
export type IdTokenVerdict =
  | { kind: 'resolved', user: DesignerUser, siteWorkspaceId: string | null }
  | { kind: 'invalid' | 'inaccessible' | 'dead' | 'scope_missing' | 'rate_limited' }

/** What Webflow is asked with an access token. */
export interface IdTokenQuestion {
  idToken: string
  siteId: string
  /** The workspace through which the access token may open the site; null if the access token names the site itself. */
  workspaceId: string | null
}

/** Asks Webflow about an ID token with one access token. */
export async function askWithToken ({ checks, webflow }: Pick<TokenParts, 'checks' | 'webflow'>, record: TokenRecord, { idToken, siteId, workspaceId }: IdTokenQuestion, deadline: Deadline): Promise<IdTokenVerdict> {
  const { accessToken, scope } = record

  /** Turns a refusal into a verdict. `ifActive` is the verdict for a 401 if the access token still works. */
  const judge = async ({ kind }: Refusal, ifActive: 'inaccessible' | 'invalid'): Promise<IdTokenVerdict> => {
    if (kind !== 'unauthorized') return { kind }
    // A 401 may be about the ID token, so it does not prove that the access token has ended.
    const verdict = await checks.ask(accessToken, scope, { deadline, queue: 'none', maxAge: rememberFor })
    switch (verdict.kind) {
      case 'active': return { kind: ifActive }
      case 'revoked': return { kind: 'dead' }
      case 'unknown': throw verdict.error
      case 'refused': throw new WebflowOAuthError('WEBFLOW_OAUTH_WEBFLOW_RESPONSE_INVALID', 'Webflow refused an access token and did not say whether the token still works. Does a proxy answer in Webflow\'s place?')
    }
  }

  let siteWorkspaceId: string | null = null
  if (workspaceId !== null) {
    const site = await webflow.lookUpSite(accessToken, siteId)
    if (site.kind === 'inaccessible') return site
    if (site.kind !== 'accessible') return await judge(site, 'inaccessible')
    siteWorkspaceId = site.workspaceId
  }
  const resolution = await webflow.resolve(accessToken, idToken)
  if (resolution.kind === 'invalid') return resolution
  if (resolution.kind !== 'resolved') return await judge(resolution, 'invalid')
  return resolution.siteId === siteId ? { kind: 'resolved', user: resolution.user, siteWorkspaceId } : { kind: 'invalid' }
}

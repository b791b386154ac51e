import type { Deadline } from '../collections/deadline.ts'
import { WebflowOAuthError } from '../errors.ts'
import type { DesignerUser, Refusal } from '../webflow/id-token-answers.ts'
import type { TokenParts } from './parts.ts'
import type { TokenRecord } from './record.ts'

/** How old a remembered introspection may be, in milliseconds. */
const rememberFor = 60_000

/**
 * What an access token has found out about an ID token. `invalid`: the ID token does not stand for the site. `inaccessible`: Webflow
 * has not confirmed that the access token opens the site. `dead`: Webflow has ended the access token. `scope_missing`: the
 * access token lacks a scope. `rate_limited`: the access token has asked too often.
 */
export type IdTokenVerdict =
  | { kind: 'resolved', user: DesignerUser, siteWorkspaceId: string | null }
  | { kind: 'invalid' | 'inaccessible' | 'dead' | 'scope_missing' | 'rate_limited' }

/** The question that is asked with an access token. */
export interface IdTokenQuestion {
  idToken: string
  siteId: string
  /** The workspace through which the access token may open the site; null if the access token names the site itself. */
  workspaceId: string | null
}

/** Asks Webflow about an ID token with one access token. */
export async function askWithToken ({ checks, webflow }: Pick<TokenParts, 'checks' | 'webflow'>, record: TokenRecord, { idToken, siteId, workspaceId }: IdTokenQuestion, deadline: Deadline): Promise<IdTokenVerdict> {
  const { accessToken, scope } = record

  /** Turns a refusal into a verdict. `living` is the verdict after a 401 to a token that still works. */
  const judge = async ({ kind }: Refusal, living: 'inaccessible' | 'invalid'): Promise<IdTokenVerdict> => {
    if (kind !== 'unauthorized') return { kind }
    // A 401 may mean the ID token, so it does not prove that the access token has ended.
    const verdict = await checks.ask(accessToken, scope, { deadline, queue: 'none', maxAge: rememberFor })
    switch (verdict.kind) {
      case 'active': return { kind: living }
      case 'revoked': return { kind: 'dead' }
      case 'unknown': throw verdict.error
      case 'refused': throw new WebflowOAuthError('WEBFLOW_OAUTH_WEBFLOW_RESPONSE_INVALID', 'Webflow refused a token and did not say whether the token still works. Does a proxy answer in Webflow\'s place?')
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
  if (resolution.kind === 'resolved') return resolution.siteId === siteId ? { kind: 'resolved', user: resolution.user, siteWorkspaceId } : { kind: 'invalid' }
  return resolution.kind === 'invalid' ? resolution : await judge(resolution, 'invalid')
}

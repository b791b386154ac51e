import { idsOf } from '../webflow/authorization.ts'
import type { DesignerUser } from '../webflow/id-token-answers.ts'
import type { TokenParts } from './parts.ts'
import type { StoredToken } from './records.ts'
import { findTokens } from './search.ts'

/** The tokens that may resolve an ID token, newest first. */
export interface Candidates {
  tokens: readonly StoredToken[]
  /** The workspace that the tokens open as a whole; null if they name the site itself. */
  workspaceId: string | null
}

/**
 * Finds the tokens that name a site by its id. If there is none, finds those that were granted the workspace as a whole. Leaves
 * out tokens that are known to have ended.
 */
export async function findCandidates (parts: TokenParts, { siteId, workspaceId }: { siteId: string, workspaceId: string | null }, isLiving: (token: StoredToken) => boolean): Promise<Candidates> {
  const find = async (kind: 'siteId' | 'workspaceId', id: string) => (await findTokens(parts, kind, id)).filter(isLiving)
  const bySite = await find('siteId', siteId)
  if (bySite.length > 0 || workspaceId === null) return { tokens: bySite, workspaceId: null }
  return { tokens: await find('workspaceId', workspaceId), workspaceId }
}

/**
 * Chooses the token for the site: the newest that the user has granted and that opens the site, or else `resolving`, the token
 * that has resolved the ID token.
 */
export function chooseToken ({ tokens, workspaceId }: Candidates, resolving: StoredToken, { user, siteWorkspaceId }: { user: DesignerUser, siteWorkspaceId: string | null }): StoredToken {
  // Candidates that name the site open it, and so do those for the workspace in which the site is. If the site is in another
  // workspace, only the resolving token is known to open it.
  const allOpenSite = workspaceId === null || siteWorkspaceId === workspaceId
  const own = allOpenSite ? tokens.find(({ record }) => idsOf(record, 'userId').includes(user.id)) : undefined
  return own ?? resolving
}

/**
 * Returns the workspace through which a token opens the site. The workspace that Webflow has named goes first, because the
 * client may have named another one that the token opens too.
 */
export function workspaceOf ({ workspaceId }: Candidates, { record }: StoredToken, siteWorkspaceId: string | null): string | null {
  return siteWorkspaceId !== null && idsOf(record, 'workspaceId').includes(siteWorkspaceId) ? siteWorkspaceId : workspaceId
}

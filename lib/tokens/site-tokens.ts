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

/** Finds the tokens that open a site by its id; if there is none, those that were granted the workspace as a whole. */
export async function findCandidates (parts: TokenParts, { siteId, workspaceId }: { siteId: string, workspaceId: string | null }): Promise<Candidates> {
  const bySite = await findTokens(parts, 'siteId', siteId)
  if (bySite.length > 0 || workspaceId === null) return { tokens: bySite, workspaceId: null }
  return { tokens: await findTokens(parts, 'workspaceId', workspaceId), workspaceId }
}

/** Chooses the newest token that the user has granted and that opens the site, else the one that has resolved the ID token. */
export function chooseToken ({ tokens, workspaceId }: Candidates, resolving: StoredToken, { user, siteWorkspaceId }: { user: DesignerUser, siteWorkspaceId: string | null }): StoredToken {
  // Webflow has confirmed for the resolving token alone that it opens the site, unless the site is in this very workspace.
  const isShared = workspaceId === null || siteWorkspaceId === workspaceId
  const own = isShared ? tokens.find(({ record }) => idsOf(record, 'userId').includes(user.id)) : undefined
  return own ?? resolving
}

/**
 * Returns the workspace through which a token opens the site. The client may have named another workspace that the token opens
 * too, so the one that Webflow has named goes first.
 */
export function workspaceOf ({ workspaceId }: Candidates, { record }: StoredToken, siteWorkspaceId: string | null): string | null {
  return siteWorkspaceId !== null && idsOf(record, 'workspaceId').includes(siteWorkspaceId) ? siteWorkspaceId : workspaceId
}

import type { Workspace } from './options.ts'

/** The user's choice on the consent page: sites of one workspace, or one whole workspace. */
export interface SitesOrWorkspace {
  readonly siteIds?: readonly string[]
  readonly workspaceId?: string
}

/** The ids of the sites and workspaces to which a user allows access. */
export interface Selection {
  readonly siteIds: readonly string[]
  readonly workspaceIds: readonly string[]
}

/** The result of checking a selection: the selection itself, or what is wrong with it. */
export type Picked =
  | { readonly kind: 'selection', readonly selection: Selection }
  | { readonly kind: 'refused', readonly message: string }

/** Checks a selection by Webflow's rule: it may have several sites of one workspace, or one whole workspace. */
export function select (workspaces: readonly Workspace[], selection: Selection): Picked {
  const { siteIds, workspaceIds } = selection
  if (siteIds.length + workspaceIds.length === 0) return refused('Pick at least one site, or a workspace.')
  if (workspaceIds.length > 1) return refused('Pick one workspace only.')
  if (workspaceIds.length > 0 && siteIds.length > 0) return refused('Pick either sites or a workspace, not both.')
  const unknown = workspaceIds.find((id) => !workspaces.some((workspace) => workspace.id === id))
  if (unknown !== undefined) return refused(`There is no workspace ${unknown}.`)
  const homes = siteIds.map((id) => workspaces.find(({ sites }) => sites.some((site) => site.id === id)))
  if (homes.includes(undefined)) return refused(`There is no site ${siteIds[homes.indexOf(undefined)]}.`)
  if (new Set(homes).size > 1) return refused('Pick sites of one workspace only.')
  return { kind: 'selection', selection }
}

/** Returns the selection for a caller that names none: the first site. */
export function defaultSelection (workspaces: readonly Workspace[]): Selection {
  return { siteIds: workspaces.flatMap(({ sites }) => sites.map(({ id }) => id)).slice(0, 1), workspaceIds: [] }
}

function refused (message: string): Picked {
  return { kind: 'refused', message }
}

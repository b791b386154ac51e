import type { Workspace } from './options.ts'

/** What a user picks on the consent page: sites of one workspace, or one workspace. */
export interface SitesOrWorkspace {
  readonly siteIds?: readonly string[]
  readonly workspaceId?: string
}

/** What a user allows access to. */
export interface Selection {
  readonly siteIds: readonly string[]
  readonly workspaceIds: readonly string[]
}

/** A pick as made, and what is wrong with it, if anything. */
export type Picked =
  | { readonly kind: 'selection', readonly selection: Selection }
  | { readonly kind: 'refused', readonly message: string }

/** Judges what was picked by Webflow's rule: several sites of one workspace, or one workspace. */
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

/** Names what is picked when nothing is said: the first site there is. */
export function defaultSelection (workspaces: readonly Workspace[]): Selection {
  return { siteIds: workspaces.flatMap(({ sites }) => sites.map(({ id }) => id)).slice(0, 1), workspaceIds: [] }
}

function refused (message: string): Picked {
  return { kind: 'refused', message }
}

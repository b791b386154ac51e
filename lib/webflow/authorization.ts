import { isObject } from '../collections/json.ts'
import type { Authorization, WebflowUser } from '../options/webflow-token.ts'

/** What Webflow says of a token. */
export interface Installation {
  readonly authorization: Authorization
  /** Null without the scope that it takes; undefined when Webflow could not say. */
  readonly user: WebflowUser | null | undefined
  /** When Webflow was asked, in Unix milliseconds: an older answer never replaces a newer one. */
  readonly askedAt: number
}

/** By what tokens are found. */
export const queryKinds = ['siteId', 'workspaceId', 'userId', 'authorizationId'] as const

/** A way to find tokens. */
export type QueryKind = typeof queryKinds[number]

/** The ids under which an installation is found. */
export function idsOf ({ authorization, user }: { authorization: Authorization | null, user: WebflowUser | null }, kind: QueryKind): readonly string[] {
  switch (kind) {
    case 'siteId': return authorization?.siteIds ?? []
    case 'workspaceId': return authorization?.workspaceIds ?? []
    case 'userId': return [...new Set([...authorization?.userIds ?? [], ...listOf(user?.id)])]
    case 'authorizationId': return listOf(authorization?.id)
  }
}

/** Reads an authorization in the shape of Webflow's introspection, every member of which may be missing. Frozen: handlers share it. */
export function parseAuthorization (value: unknown): Authorization | null {
  if (!isObject(value)) return null
  const { id, createdOn, scope, authorizedTo } = value
  const { siteIds, workspaceIds, userIds } = isObject(authorizedTo) ? authorizedTo : {}
  const created = typeof createdOn === 'string' ? new Date(createdOn) : null
  return Object.freeze({
    id: idOf(id),
    siteIds: idList(siteIds),
    workspaceIds: idList(workspaceIds),
    userIds: idList(userIds),
    scope: Object.freeze(typeof scope === 'string' ? parseScope(scope) : []),
    createdOn: created === null || Number.isNaN(created.getTime()) ? null : created
  })
}

/** Writes an authorization in the shape in which it is read. */
export function formatAuthorization ({ id, siteIds, workspaceIds, userIds, scope, createdOn }: Authorization): object {
  return { id: id ?? undefined, createdOn: createdOn ?? undefined, scope: scope.join(' '), authorizedTo: { siteIds, workspaceIds, userIds } }
}

/** Reads a user in the shape of Webflow's `authorized_by`. Frozen like the authorization. */
export function parseUser (value: unknown): WebflowUser | null {
  if (!isObject(value)) return null
  const { id, email, firstName, lastName } = value
  return Object.freeze({ id: idOf(id), email: textOf(email), firstName: textOf(firstName), lastName: textOf(lastName) })
}

/** Reads a scope; Webflow separates by comma in introspection, by space everywhere else. */
export function parseScope (scope: string): readonly string[] {
  return scope.split(/[\s,]+/).filter((name) => name !== '')
}

function idList (value: unknown): readonly string[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : []
  return Object.freeze([...new Set(list.flatMap((id) => listOf(idOf(id))))])
}

/** An id of Webflow's, in the spelling by which it is looked up. */
function idOf (value: unknown): string | null {
  return typeof value === 'string' && /^[\w-]{1,64}$/.test(value) ? value.toLowerCase() : null
}

function textOf (value: unknown): string | null {
  return typeof value === 'string' ? value : null
}

function listOf (value: string | null | undefined): readonly string[] {
  return value === null || value === undefined ? [] : [value]
}

import { isObject } from '../collections/json.ts'
import type { Authorization, WebflowUser } from '../options/webflow-token.ts'

/** What Webflow says about a token. */
export interface Installation {
  readonly authorization: Authorization
  /** Null when the token lacks the scope `authorized_user:read`; undefined when Webflow could not answer. */
  readonly user: WebflowUser | null | undefined
  /** When Webflow was asked, in Unix milliseconds. An older answer must not replace a newer one. */
  readonly askedAt: number
}

/** The kinds of ids by which an app can find tokens. */
export const queryKinds = ['siteId', 'workspaceId', 'userId', 'authorizationId'] as const

/** One kind of id by which an app can find tokens. */
export type QueryKind = typeof queryKinds[number]

/** Returns the ids of one kind by which a token is found. */
export function idsOf ({ authorization, user }: { authorization: Authorization | null, user: WebflowUser | null }, kind: QueryKind): readonly string[] {
  switch (kind) {
    case 'siteId': return authorization?.siteIds ?? []
    case 'workspaceId': return authorization?.workspaceIds ?? []
    case 'userId': return [...new Set([...authorization?.userIds ?? [], ...listOf(user?.id)])]
    case 'authorizationId': return listOf(authorization?.id)
  }
}

/**
 * Reads an authorization in the form of Webflow's introspection. Every member may be missing. The result is frozen, because
 * several handlers may get the same object.
 */
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

/** Writes an authorization in the form that `parseAuthorization` reads. */
export function formatAuthorization ({ id, siteIds, workspaceIds, userIds, scope, createdOn }: Authorization): object {
  return { id: id ?? undefined, createdOn: createdOn ?? undefined, scope: scope.join(' '), authorizedTo: { siteIds, workspaceIds, userIds } }
}

/** Reads a user in the form of Webflow's `authorized_by`. The result is frozen, like an authorization. */
export function parseUser (value: unknown): WebflowUser | null {
  if (!isObject(value)) return null
  const { id, email, firstName, lastName } = value
  return Object.freeze({ id: idOf(id), email: textOf(email), firstName: textOf(firstName), lastName: textOf(lastName) })
}

/** Splits a scope. Webflow separates the names by commas in introspection, and by spaces everywhere else. */
export function parseScope (scope: string): readonly string[] {
  return scope.split(/[\s,]+/).filter((name) => name !== '')
}

function idList (value: unknown): readonly string[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : []
  return Object.freeze([...new Set(list.flatMap((id) => listOf(idOf(id))))])
}

/** Tells whether a value is an id of a site or a workspace: 24 hexadecimal digits. */
export function isWebflowId (value: unknown): value is string {
  return typeof value === 'string' && /^[\da-f]{24}$/i.test(value)
}

/** Returns an id of Webflow's in lower case, because searches use lower case; null for anything that is not an id. */
function idOf (value: unknown): string | null {
  return typeof value === 'string' && /^[\w-]{1,64}$/.test(value) ? value.toLowerCase() : null
}

function textOf (value: unknown): string | null {
  return typeof value === 'string' ? value : null
}

function listOf (value: string | null | undefined): readonly string[] {
  return value === null || value === undefined ? [] : [value]
}

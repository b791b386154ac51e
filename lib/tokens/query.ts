import { isObject } from '../collections/json.ts'
import { refuseOption } from '../errors.ts'
import { queryKinds, type QueryKind } from '../webflow/authorization.ts'

/** A query for tokens: one id of Webflow's, of 24 hexadecimal digits. */
export type TokenQuery =
  | { siteId: string }
  | { workspaceId: string }
  | { userId: string }
  | { authorizationId: string }

/**
 * Checks a query. Throws `WEBFLOW_OAUTH_INVALID_OPTION` unless it holds exactly one id in the right form. If only the form of
 * the id is wrong, the error has the status 400, because the id may come from a webhook.
 */
export function resolveQuery (query: unknown): { kind: QueryKind, id: string } {
  const [name, ...more] = isObject(query) ? Object.keys(query) : []
  const kind = queryKinds.find((known) => known === name)
  if (!isObject(query) || kind === undefined || more.length > 0) return refuseOption('query', `must have exactly one of ${queryKinds.join(', ')}`)
  const id = query[kind]
  if (typeof id !== 'string' || !/^[\da-f]{24}$/i.test(id)) return refuseOption(kind, 'must be an id from Webflow: 24 hexadecimal digits', { statusCode: 400 })
  return { kind, id: id.toLowerCase() }
}

import { isObject } from '../collections/json.ts'
import type { WebflowUser } from '../options/webflow-token.ts'
import { errorOf, isSuccess, refuseData, type WebflowAnswer } from './answers.ts'
import { parseUser } from './authorization.ts'

/** A person who has opened a site in the Designer. */
export interface DesignerUser extends WebflowUser {
  readonly id: string
}

/**
 * Why Webflow refused a call with an access token. `unauthorized`: a 401, which may mean that the token has ended.
 * `scope_missing`: the token lacks the scope. `rate_limited`: the token was used too often.
 */
export type Refusal = { kind: 'unauthorized' | 'scope_missing' | 'rate_limited' }

/** Whose ID token it is, and for which site. `invalid`: Webflow accepts the access token but refuses the ID token. */
export type Resolution = { kind: 'resolved', user: DesignerUser, siteId: string } | { kind: 'invalid' } | Refusal

/** Whether a token opens a site, and in which workspace the site is. `inaccessible`: the token does not open the site. */
export type SiteLookup = { kind: 'accessible', workspaceId: string | null } | { kind: 'inaccessible' } | Refusal

/**
 * Reads the answer to an ID token. An answer must name a user and a site. Otherwise this throws, so that the caller cannot mistake
 * it for an answer about the requested site.
 */
export function readResolution (answer: WebflowAnswer): Resolution {
  const { status, body } = answer
  const refusal = readRefusal(answer)
  if (refusal !== null) return refusal
  if (status === 400 || status === 404 || status === 422) return { kind: 'invalid' }
  if (!isSuccess(status) || !isObject(body) || errorOf(body) !== null) return refuseData(answer, 'resolve an ID token')
  const user = parseUser(body)
  if (user === null || user.id === null || typeof body.siteId !== 'string') return refuseData(answer, 'resolve an ID token')
  return { kind: 'resolved', user: Object.freeze({ ...user, id: user.id }), siteId: body.siteId }
}

/** Reads the answer to a request for one site. Only an answer with the id of that site counts. */
export function readSite (answer: WebflowAnswer, siteId: string): SiteLookup {
  const { status, body } = answer
  const refusal = readRefusal(answer)
  if (refusal !== null) return refusal
  if (status === 400 || status === 404 || (status === 403 && codeOf(body) !== null)) return { kind: 'inaccessible' }
  if (!isSuccess(status) || !isObject(body) || errorOf(body) !== null) return refuseData(answer, 'say whether a token opens a site')
  if (body.id !== siteId) return { kind: 'inaccessible' }
  return { kind: 'accessible', workspaceId: typeof body.workspaceId === 'string' ? body.workspaceId.toLowerCase() : null }
}

function readRefusal ({ status, body }: WebflowAnswer): Refusal | null {
  if (status === 401) return { kind: 'unauthorized' }
  if (status === 403 && codeOf(body) === 'missing_scopes') return { kind: 'scope_missing' }
  return status === 429 ? { kind: 'rate_limited' } : null
}

function codeOf (body: unknown): string | null {
  return isObject(body) && typeof body.code === 'string' ? body.code : null
}

import { isObject } from '../collections/json.ts'
import { WebflowOAuthError } from '../errors.ts'
import type { IdTokenRequest } from '../tokens/id-tokens.ts'
import { isWebflowId } from '../webflow/authorization.ts'

/**
 * Checks what an extension has sent: an ID token, the id of a site and perhaps the id of a workspace. Throws
 * `WEBFLOW_OAUTH_INVALID_REQUEST` if something is missing or malformed.
 */
export function readIdTokenRequest (address: string, idToken: unknown, body: unknown): IdTokenRequest {
  if (typeof idToken !== 'string' || !/^[\x21-\x7e]{1,8192}$/.test(idToken)) throw invalidRequest('The ID token is missing or malformed: send the value of `webflow.getIdToken()`.')
  if (!isObject(body)) throw invalidRequest('The ids are missing: send a JSON object with `siteId`.')
  const { siteId, workspaceId = null } = body
  if (!isWebflowId(siteId)) throw invalidRequest('`siteId` must be the id of the site that is open: 24 hexadecimal digits.')
  if (workspaceId !== null && !isWebflowId(workspaceId)) throw invalidRequest('`workspaceId` must be an id from Webflow, of 24 hexadecimal digits, or be left out.')
  return { idToken, siteId: siteId.toLowerCase(), workspaceId: workspaceId === null ? null : workspaceId.toLowerCase(), address }
}

function invalidRequest (message: string): WebflowOAuthError {
  return new WebflowOAuthError('WEBFLOW_OAUTH_INVALID_REQUEST', message)
}

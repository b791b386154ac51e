import { isObject } from '../collections/json.ts'
import { WebflowOAuthError, type ErrorCode } from '../errors.ts'
import type { Authorization, WebflowUser } from '../options/webflow-token.ts'
import { parseAuthorization, parseScope, parseUser } from './authorization.ts'

/** What Webflow granted for a code. */
export interface Grant {
  accessToken: string
  tokenType: string
  /** The granted scope, or null when Webflow does not say. */
  scope: readonly string[] | null
  /** How long the token lives, in seconds, or null when Webflow does not say. */
  expiresIn: number | null
}

/** How a revocation ended at Webflow: an unknown token counts as revoked already. */
export type Upstream = 'revoked' | 'already_revoked'

/** What came back from Webflow. */
export interface Answer {
  /** The endpoint that answered, by its name among the options. */
  endpoint: string
  status: number
  /** The parsed body, or undefined when it is no JSON or too long. */
  body: unknown
}

/** The app in whose name Webflow was asked. */
export interface Client {
  clientId: string
  redirectUri: string
}

/** Reads the answer to an access token request (RFC 6749, section 5.1). The `error` member decides before the status. */
export function readGrant (answer: Answer, { clientId, redirectUri }: Client): Grant {
  if (errorOf(answer.body) === 'invalid_grant') {
    throw failure('WEBFLOW_OAUTH_CODE_REJECTED', `Webflow rejected the code: it was used before, it is older than 15 minutes, \`redirectUri\` (${redirectUri}) is not exactly the one registered with Webflow, or \`clientSecret\` is not that of the app ${clientId}.`)
  }
  return parseGrant(answer) ?? refuse(answer, clientId, 'exchange the code')
}

/** Reads the answer to a revocation request. */
export function readRevocation (answer: Answer, { clientId }: Client): Upstream {
  if (errorOf(answer.body) === 'invalid_token') return 'already_revoked'
  return hasRevoked(answer) ? 'revoked' : refuse(answer, clientId, 'revoke the token')
}

/** What a token opens; or that Webflow takes it no longer; or that Webflow takes it and will not tell. */
export type Introspection = { kind: 'active', authorization: Authorization } | { kind: 'revoked' } | { kind: 'refused' }

/** Reads the answer to an introspection. A 401 with any other body may come from a gateway: it says nothing about the token, like every other 4xx. */
export function readIntrospection (answer: Answer): Introspection {
  const { status, body } = answer
  const code = isObject(body) && typeof body.code === 'string' ? body.code : null
  if (status === 401 && code === 'not_authorized') return { kind: 'revoked' }
  if (status >= 400 && status <= 499) return { kind: 'refused' }
  const authorization = isSuccess(status) && isObject(body) && errorOf(body) === null ? parseAuthorization(body.authorization) : null
  return authorization === null ? refuseData(answer, 'tell what a token opens') : { kind: 'active', authorization }
}

/** Reads the answer to the question who authorized a token; null when the token may not ask. */
export function readUser (answer: Answer): WebflowUser | null {
  const { status, body } = answer
  // Webflow's own refusal; that of a gateway would not have a code.
  if (status === 403 && isObject(body) && typeof body.code === 'string') return null
  const user = isSuccess(status) && errorOf(body) === null ? parseUser(body) : null
  return user === null || Object.values(user).every((value) => value === null) ? refuseData(answer, 'tell who authorized a token') : user
}

function parseGrant ({ status, body }: Answer): Grant | null {
  if (!isSuccess(status) || !isObject(body) || errorOf(body) !== null) return null
  const { access_token: accessToken, token_type: tokenType, scope, expires_in: expiresIn } = body
  if (typeof accessToken !== 'string' || accessToken === '') return null
  const granted = typeof scope === 'string' ? parseScope(scope) : []
  const seconds = typeof expiresIn === 'string' ? Number(expiresIn) : expiresIn
  return {
    accessToken,
    tokenType: typeof tokenType === 'string' && tokenType !== '' ? tokenType : 'bearer',
    scope: granted.length > 0 ? granted : null,
    expiresIn: typeof seconds === 'number' && Number.isFinite(seconds) && seconds > 0 ? seconds : null
  }
}

function hasRevoked ({ status, body }: Answer): boolean {
  if (!isSuccess(status) || !isObject(body) || errorOf(body) !== null) return false
  return body.did_revoke === true || body.didRevoke === true
}

/** Turns an answer that is not what was asked for into an error. */
function refuse (answer: Answer, clientId: string, purpose: string): never {
  const { status, body } = answer
  const error = errorOf(body)
  if (error === 'invalid_client' || error === 'unauthorized_client' || status === 401 || status === 403) {
    throw failure('WEBFLOW_OAUTH_CLIENT_REJECTED', `Webflow rejected the credentials of the app ${clientId}: check \`clientId\` and \`clientSecret\`.`)
  }
  return refuseData(answer, purpose)
}

/** Turns an answer to a call that carries no credentials of the app into an error. */
function refuseData ({ endpoint, status }: Answer, purpose: string): never {
  if (status === 429 || status >= 500) {
    throw failure('WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE', `Webflow could not ${purpose}: its endpoint \`${endpoint}\` answered with status ${status}.`)
  }
  throw failure('WEBFLOW_OAUTH_WEBFLOW_RESPONSE_INVALID', `Webflow did not ${purpose}: its endpoint \`${endpoint}\` answered with status ${status} and nothing that the plugin knows. Is there a proxy in between, or a wrong URL in \`endpoints\`?`)
}

/** Tells whether a status is one of success. */
export function isSuccess (status: number): boolean {
  return status >= 200 && status <= 299
}

function errorOf (body: unknown): string | null {
  return isObject(body) && typeof body.error === 'string' ? body.error : null
}

function failure (code: ErrorCode, message: string): WebflowOAuthError {
  return new WebflowOAuthError(code, message)
}

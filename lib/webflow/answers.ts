import { isObject } from '../collections/json.ts'
import { WebflowOAuthError, type ErrorCode } from '../errors.ts'
import type { Authorization, WebflowUser } from '../options/webflow-token.ts'
import { parseAuthorization, parseScope, parseUser } from './authorization.ts'

/** What Webflow granted in exchange for a code. */
export interface IssuedToken {
  accessToken: string
  tokenType: string
  /** The granted scope, or null when Webflow does not say. */
  scope: readonly string[] | null
  /** How long the token lives, in seconds, or null when Webflow does not say. */
  expiresIn: number | null
}

/** How a revocation ended at Webflow. A token that Webflow does not know counts as `already_revoked`. */
export type Upstream = 'revoked' | 'already_revoked'

/** An answer of Webflow, before it is read. */
export interface WebflowAnswer {
  /** The name of the endpoint that answered, as in the option `endpoints`. */
  endpoint: string
  status: number
  /** The parsed body, or undefined when the body is not JSON or is too long. */
  body: unknown
}

/** The app that sent a request to Webflow. */
export interface Client {
  clientId: string
  redirectUri: string
}

/** Reads the answer to an access token request (RFC 6749, section 5.1). An answer with an `error` is a failure, even with status 200. */
export function readIssuedToken (answer: WebflowAnswer, { clientId, redirectUri }: Client): IssuedToken {
  if (errorOf(answer.body) === 'invalid_grant') {
    throw failure('WEBFLOW_OAUTH_CODE_REJECTED', `Webflow rejected the code: it was used before, it is older than 15 minutes, \`redirectUri\` (${redirectUri}) is not exactly the one registered with Webflow, or \`clientSecret\` is not that of the app ${clientId}.`)
  }
  return parseIssuedToken(answer) ?? refuse(answer, clientId, 'exchange the code')
}

/** Reads the answer to a revocation request. */
export function readRevocation (answer: WebflowAnswer, { clientId }: Client): Upstream {
  if (errorOf(answer.body) === 'invalid_token') return 'already_revoked'
  return hasRevoked(answer) ? 'revoked' : refuse(answer, clientId, 'revoke the token')
}

/**
 * The result of an introspection. `active`: the token works, and `authorization` is what it opens. `revoked`: Webflow no longer
 * accepts the token. `refused`: Webflow accepts the token but does not say what it opens.
 */
export type Introspection = { kind: 'active', authorization: Authorization } | { kind: 'revoked' } | { kind: 'refused' }

/**
 * Reads the answer to an introspection. Only a 401 with Webflow's own code `not_authorized` means that the token is
 * revoked: a 401 with another body may come from a gateway.
 */
export function readIntrospection (answer: WebflowAnswer): Introspection {
  const { status, body } = answer
  const code = isObject(body) && typeof body.code === 'string' ? body.code : null
  if (status === 401 && code === 'not_authorized') return { kind: 'revoked' }
  if (status >= 400 && status <= 499) return { kind: 'refused' }
  const authorization = isSuccess(status) && isObject(body) && errorOf(body) === null ? parseAuthorization(body.authorization) : null
  return authorization === null ? refuseData(answer, 'say what a token opens') : { kind: 'active', authorization }
}

/** Reads the user who authorized a token; null when the token lacks the scope for this question. */
export function readUser (answer: WebflowAnswer): WebflowUser | null {
  const { status, body } = answer
  // A 403 with a code comes from Webflow itself. A gateway's 403 has none.
  if (status === 403 && isObject(body) && typeof body.code === 'string') return null
  const user = isSuccess(status) && errorOf(body) === null ? parseUser(body) : null
  return user === null || Object.values(user).every((value) => value === null) ? refuseData(answer, 'say who authorized a token') : user
}

function parseIssuedToken ({ status, body }: WebflowAnswer): IssuedToken | null {
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

function hasRevoked ({ status, body }: WebflowAnswer): boolean {
  if (!isSuccess(status) || !isObject(body) || errorOf(body) !== null) return false
  return body.did_revoke === true || body.didRevoke === true
}

/** Throws the error for an unsuccessful answer to a call that carries the app's credentials. */
function refuse (answer: WebflowAnswer, clientId: string, purpose: string): never {
  const { status, body } = answer
  const error = errorOf(body)
  if (error === 'invalid_client' || error === 'unauthorized_client' || status === 401 || status === 403) {
    throw failure('WEBFLOW_OAUTH_CLIENT_REJECTED', `Webflow rejected the credentials of the app ${clientId}: check \`clientId\` and \`clientSecret\`.`)
  }
  return refuseData(answer, purpose)
}

/** Throws the error for an unsuccessful answer that does not concern the app's credentials. */
export function refuseData ({ endpoint, status }: WebflowAnswer, purpose: string): never {
  if (status === 429 || status >= 500) {
    throw failure('WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE', `Webflow could not ${purpose}: its endpoint \`${endpoint}\` answered with status ${status}. This is usually temporary: try again later.`)
  }
  throw failure('WEBFLOW_OAUTH_WEBFLOW_RESPONSE_INVALID', `Webflow did not ${purpose}: its endpoint \`${endpoint}\` answered with status ${status} and a body that the plugin does not understand. Does a proxy answer in Webflow's place, or is a URL in \`endpoints\` wrong?`)
}

/** Tells whether an HTTP status means success. */
export function isSuccess (status: number): boolean {
  return status >= 200 && status <= 299
}

/** Returns the `error` of a body; null when it has none. */
export function errorOf (body: unknown): string | null {
  return isObject(body) && typeof body.error === 'string' ? body.error : null
}

function failure (code: ErrorCode, message: string): WebflowOAuthError {
  return new WebflowOAuthError(code, message)
}

import { json, oauthError } from './answer.ts'
import type { Answer } from './answer.ts'
import type { AccessToken } from './authorizations.ts'
import type { Behavior } from './behavior.ts'
import type { Call } from './call.ts'
import { readParameters } from './parameters.ts'
import type { Webflow } from './webflow.ts'

/** Answers `POST /oauth/access_token`, the access token request (RFC 6749 section 4.1.3). */
export function token ({ authorizations, config }: Webflow, { body }: Call): Answer {
  const invalidRequest = (description: string): Answer => oauthError(400, 'invalid_request', description)
  if (body.kind === 'malformed') return invalidRequest(body.description)
  const parameters = readParameters(body.fields, ['grant_type', 'client_id', 'client_secret', 'code', 'redirect_uri'])
  if (parameters.kind === 'malformed') return invalidRequest(parameters.description)
  const { grant_type: grantType, client_id: clientId, client_secret: clientSecret, code, redirect_uri: redirectUri } = parameters.values

  if (grantType === undefined) return invalidRequest('The parameter grant_type is missing')
  if (clientId === undefined) return invalidRequest('The parameter client_id is missing')
  if (clientSecret === undefined) return invalidRequest('The parameter client_secret is missing')
  const app = config.apps.get(clientId)
  if (app?.clientSecret !== clientSecret) {
    const { wrongCredentials } = config.behavior
    return oauthError(wrongCredentials === 'invalid_client' ? 401 : 400, wrongCredentials, 'The client credentials are wrong')
  }
  if (grantType !== 'authorization_code') return oauthError(400, 'unsupported_grant_type', 'The grant_type must be authorization_code')
  if (code === undefined) return invalidRequest('The parameter code is missing')

  const exchange = authorizations.exchange(app, code, redirectUri)
  if (exchange.kind === 'rejected') return oauthError(400, 'invalid_grant', exchange.description)
  return json(200, tokenResponse(exchange.token, config.behavior))
}

function tokenResponse ({ value, scope }: AccessToken, { expiresIn, scopeInTokenResponse }: Behavior): object {
  return {
    access_token: value,
    token_type: 'bearer',
    ...(expiresIn === null ? {} : { expires_in: expiresIn }),
    ...(scopeInTokenResponse ? { scope: [...scope].join(' ') } : {})
  }
}

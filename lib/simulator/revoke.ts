import { json, oauthError } from './answer.ts'
import type { Answer } from './answer.ts'
import type { RevocationErrorCode } from './behavior.ts'
import type { Call } from './call.ts'
import { readParameters } from './parameters.ts'
import type { Webflow } from './webflow.ts'

/** Answers `POST /oauth/revoke_authorization`. Unlike in RFC 7009, an unknown token is an error. */
export function revoke ({ authorizations, config }: Webflow, { body }: Call): Answer {
  const { revocationErrorStatus, revokedMember } = config.behavior
  const error = (code: RevocationErrorCode, description: string): Answer => oauthError(revocationErrorStatus[code], code, description)
  if (body.kind === 'malformed') return error('invalid_request', body.description)
  const parameters = readParameters(body.fields, ['client_id', 'client_secret', 'access_token'])
  if (parameters.kind === 'malformed') return error('invalid_request', parameters.description)
  const { client_id: clientId, client_secret: clientSecret, access_token: accessToken } = parameters.values

  if (clientId === undefined) return error('invalid_request', 'The parameter client_id is missing')
  if (clientSecret === undefined) return error('invalid_request', 'The parameter client_secret is missing')
  if (accessToken === undefined) return error('invalid_request', 'The parameter access_token is missing')
  const app = config.apps.get(clientId)
  if (app?.clientSecret !== clientSecret) return error('invalid_client', 'The client credentials are wrong')
  const token = authorizations.find(accessToken)
  if (token?.grant.app !== app) return error('invalid_token', 'The token is unknown or already revoked')
  authorizations.revoke(token)
  return json(200, { [revokedMember]: true })
}

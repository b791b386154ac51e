import { dataApiError, json } from './answer.ts'
import type { Answer } from './answer.ts'
import type { Call } from './call.ts'
import { answerWithToken, opensSite } from './data-api.ts'
import type { Webflow } from './webflow.ts'

/** Answers `POST /beta/token/resolve` with the user and the site of an ID token. */
export function resolve (webflow: Webflow, call: Call): Answer {
  const { config, idTokens } = webflow
  const { resolveNeedsScope, resolvingToken, resolveNamesSite, idTokenErrorStatus } = config.behavior
  return answerWithToken(webflow, call, resolveNeedsScope ? 'authorized_user:read' : null, ({ grant }) => {
    const idToken = idTokens.find(grant.app, call.body.fields['idToken'])
    if (idToken === undefined || (resolvingToken === 'site' && !opensSite(grant, idToken.siteId, config))) {
      return dataApiError(idTokenErrorStatus, idTokenErrorStatus === 401 ? 'not_authorized' : 'bad_request', 'The ID token is not valid')
    }
    const { user: { id, email, firstName, lastName }, siteId } = idToken
    return json(200, { id, email, firstName, lastName, ...resolveNamesSite ? { siteId } : {} })
  })
}

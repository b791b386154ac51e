import { page, redirect } from './answer.ts'
import type { Answer } from './answer.ts'
import { codeLocation, errorLocation, readAuthorizationRequest } from './authorization-request.ts'
import type { AuthorizationRequest } from './authorization-request.ts'
import type { Call } from './call.ts'
import { consentPage, errorPage } from './pages.ts'
import { defaultSelection, select } from './selection.ts'
import type { Selection } from './selection.ts'
import type { Webflow } from './webflow.ts'

/** Answers `GET /oauth/authorize` with the consent page, an error page or a redirect. */
export function authorize (webflow: Webflow, { query }: Call): Answer {
  const reading = readAuthorizationRequest(query, webflow.config)
  switch (reading.kind) {
    case 'refused': return page(400, errorPage(reading.message))
    case 'error': return redirect(reading.location)
    case 'request': return askForConsent(webflow, reading.request, query)
  }
}

/** Answers `POST /oauth/authorize`, the form of the consent page. The URL of the form still holds the authorization request. */
export function decide (webflow: Webflow, { query, body }: Call): Answer {
  const reading = readAuthorizationRequest(query, webflow.config)
  if (reading.kind === 'refused') return page(400, errorPage(reading.message))
  if (reading.kind === 'error') return redirect(reading.location)
  const { request } = reading
  const { decision, site, workspace } = body.fields
  if (decision === 'deny') return redirect(deny(webflow, request))
  const selection = { siteIds: strings(site), workspaceIds: strings(workspace) }
  const approval: Approval = decision === 'approve'
    ? approve(webflow, request, selection)
    : { kind: 'refused', message: 'Press Approve or Deny.' }
  if (approval.kind === 'approved') return redirect(approval.location)
  return page(400, consentPage({ ...viewOf(webflow, request, query), selection, message: approval.message }))
}

/** The result of an approval: the URL to which the browser goes, or what is wrong with the selection. */
export type Approval =
  | { readonly kind: 'approved', readonly location: string }
  | { readonly kind: 'refused', readonly message: string }

/** Records that the user approves, and returns the URL to which the browser goes. */
export function approve ({ authorizations, config, user }: Webflow, request: AuthorizationRequest, selection: Selection): Approval {
  const picked = select(config.workspaces, selection)
  if (picked.kind === 'refused') return picked
  const code = authorizations.consent({ ...request, user, selection })
  return { kind: 'approved', location: codeLocation(request, code) }
}

/** Returns the URL to which the browser goes after the user has denied. */
export function deny ({ config }: Webflow, request: AuthorizationRequest): string {
  return errorLocation(request, config.behavior.denialError, 'The user denied the request')
}

function askForConsent (webflow: Webflow, request: AuthorizationRequest, query: URLSearchParams): Answer {
  const { authorizations, config, user } = webflow
  const grant = authorizations.grantOf(user, request.app)
  if (config.behavior.repeatedConsent === 'skip' && grant !== undefined && request.scope.every((name) => grant.scope.has(name))) {
    const code = authorizations.consent({ ...request, user, selection: { siteIds: [...grant.siteIds], workspaceIds: [...grant.workspaceIds] } })
    return redirect(codeLocation(request, code))
  }
  return page(200, consentPage({
    ...viewOf(webflow, request, query),
    selection: defaultSelection(config.workspaces),
    message: null
  }))
}

function viewOf ({ config, user }: Webflow, request: AuthorizationRequest, query: URLSearchParams) {
  return { request, user, workspaces: config.workspaces, action: `/oauth/authorize?${query.toString()}` }
}

function strings (value: unknown): string[] {
  return [value].flat().filter((item) => typeof item === 'string')
}

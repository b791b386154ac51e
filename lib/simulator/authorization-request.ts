import type { App, Config } from './options.ts'
import { readForm, readParameters } from './parameters.ts'
import { isKnownScope } from './scope.ts'

/** A valid authorization request, which the user can approve or deny. */
export interface AuthorizationRequest {
  readonly app: App
  readonly scope: readonly string[]
  readonly redirectUri: string
  readonly redirectUriSent: boolean
  readonly state: string | null
}

/**
 * The result of reading an authorization request. `request`: the request is valid. `error`: a redirect to `location` tells
 * the app about the error. `refused`: only the user sees the error, on a page.
 */
export type Reading =
  | { readonly kind: 'request', readonly request: AuthorizationRequest }
  | { readonly kind: 'error', readonly location: string }
  | { readonly kind: 'refused', readonly message: string }

/**
 * Reads an authorization request (RFC 6749 section 4.1.1).
 * No error is redirected before the redirect URI has been checked: a wrong URI may belong to somebody else.
 */
export function readAuthorizationRequest (query: URLSearchParams, { apps, behavior }: Config): Reading {
  const parameters = readParameters(readForm(query), ['response_type', 'client_id', 'redirect_uri', 'scope', 'state'])
  if (parameters.kind === 'malformed') return refused(`${parameters.description}.`)
  const { client_id: clientId = '', redirect_uri: redirectUriSent, response_type: responseType, scope: askedScope } = parameters.values

  const app = apps.get(clientId)
  if (app === undefined) return refused('The client_id is missing or belongs to no app: copy it from the app’s settings.')
  if (redirectUriSent === undefined && app.redirectUris.length > 1 && behavior.omittedRedirectUri === 'refuse') {
    return refused('The request has no redirect_uri, and the app has several: the request must name one.')
  }
  const redirectUri = redirectUriSent ?? app.defaultRedirectUri
  if (!app.redirectUris.includes(redirectUri)) {
    return refused(`The redirect_uri ${redirectUri} is not registered with the app. It must be exactly ${app.redirectUris.join(' or ')}.`)
  }

  // An empty state is sent back like any other state, so it must stay distinct from a missing one.
  const request = { app, redirectUri, redirectUriSent: redirectUriSent !== undefined, state: query.get('state') }
  const error = (code: string, description: string): Reading => ({ kind: 'error', location: errorLocation(request, code, description) })
  if (responseType === undefined) return error('invalid_request', 'The parameter response_type is missing')
  if (responseType !== 'code') return error('unsupported_response_type', 'The response_type must be code')
  if (askedScope === undefined && behavior.omittedScope === 'refuse') return error('invalid_scope', 'The parameter scope is missing')

  const scope = askedScope === undefined ? app.scope : [...new Set(askedScope.split(' ').filter((name) => name !== ''))]
  const unknown = scope.filter((name) => !isKnownScope(name) && !app.scope.includes(name))
  if (unknown.length > 0) return error('invalid_scope', `The following scopes are invalid: ${unknown.join(', ')}`)
  const unconfigured = scope.filter((name) => !app.scope.includes(name))
  if (unconfigured.length > 0) return refused(`The app asks for scopes that are not in its settings: ${unconfigured.join(', ')}. Add them to its settings, or ask for fewer.`)
  return { kind: 'request', request: { ...request, scope } }
}

/** Builds the URL that brings the browser back with a code. */
export function codeLocation (request: AuthorizationRequest, code: string): string {
  return locationOf(request, { code })
}

/** Builds the URL that brings the browser back with an error (RFC 6749 section 4.1.2.1). */
export function errorLocation (request: Omit<AuthorizationRequest, 'scope'>, error: string, description: string): string {
  return locationOf(request, { error, error_description: description })
}

function locationOf ({ redirectUri, state }: Omit<AuthorizationRequest, 'scope'>, parameters: Record<string, string>): string {
  const query = new URLSearchParams(parameters)
  if (state !== null) query.set('state', state)
  // The query is appended as text, because `URL` would rewrite a query that the registered URI already has.
  return `${redirectUri}${redirectUri.includes('?') ? '&' : '?'}${query.toString()}`
}

function refused (message: string): Reading {
  return { kind: 'refused', message }
}

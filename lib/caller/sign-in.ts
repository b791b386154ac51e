import type { FastifyRequest } from 'fastify'
import { WebflowOAuthError } from '../errors.ts'
import type { BrowserFlows } from '../flow/browser-flows.ts'
import { isNavigation } from '../http/navigation.ts'
import { normalizePath } from '../http/return-to.ts'
import type { Settings } from '../options/resolve.ts'

/** The parts that send a browser to the app's sign-in page. */
export interface SignInParts {
  flows: BrowserFlows
  settings: Settings
}

/** The flow that goes on once the user has signed in. */
export interface InterruptedFlow {
  /** Where the browser goes in the end, or null for `successRedirect`. */
  returnTo: string | null
  popup: boolean
  /** What began the flow. A `guard` needs no flow any more if the user turns out to be connected. */
  resume: '1' | 'guard'
}

/**
 * Returns the URL of the app's sign-in page for a browser in which nobody is signed in; null without the option
 * `signInRedirect`, and for a program. The URL leads back to the authorize route, and never holds a code or a state.
 */
export function signInUrl ({ flows, settings }: SignInParts, request: FastifyRequest, { returnTo, popup, resume }: InterruptedFlow): string | null {
  const { paths, returnRules, signInRedirect } = settings
  if (signInRedirect === null || !isNavigation(request)) return null
  const next = new URL(paths.authorizeUrl)
  const kept = flows.keepReturnTo(request, returnTo)
  if (kept !== '') next.searchParams.set('returnTo', kept)
  if (popup) next.searchParams.set('popup', '1')
  next.searchParams.set('resume', resume)
  const url = new URL(signInRedirect)
  url.searchParams.set('returnTo', url.origin === returnRules.origin ? next.pathname + next.search : next.href)
  return url.href
}

/** Tells whether two absolute URLs lead to one page, whatever their queries. */
export function isSamePage (one: string, other: string): boolean {
  const [first, second] = [one, other].map((url) => new URL(url)).map(({ origin, pathname }) => origin + normalizePath(pathname))
  return first === second
}

/** Makes the error for a request that needs a user of the app and has none. `remedy` says what the user can do. */
export function userRequired (remedy: string): WebflowOAuthError {
  return new WebflowOAuthError('WEBFLOW_OAUTH_USER_REQUIRED', `Nobody is signed in to the app, so the Webflow connection has no owner. ${remedy}`)
}

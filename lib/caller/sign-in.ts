import type { FastifyRequest } from 'fastify'
import { WebflowOAuthError } from '../errors.ts'
import type { BrowserFlows } from '../flow/browser-flows.ts'
import { isNavigation } from '../http/navigation.ts'
import { normalizePath } from '../http/return-to.ts'
import type { Settings } from '../options/resolve.ts'

/** The parts of the plugin that send a browser to the app's sign-in page. */
export interface SignInParts {
  flows: BrowserFlows
  settings: Settings
}

/** What the browser wanted before it was sent to the sign-in page. */
export interface InterruptedFlow {
  /** Where the browser goes in the end, or null for `successRedirect`. */
  returnTo: string | null
  /** Whether the flow takes place in a popup. */
  popup: boolean
  /** What sent the browser: `guard` for a guard, `1` for anything else. For a `guard`, a user who is connected needs no flow. */
  resume: '1' | 'guard'
}

/**
 * Returns the URL of the app's sign-in page for a browser in which nobody is signed in. Null without the option
 * `signInRedirect`, and for a program. The `returnTo` in the URL leads back to the authorize route. It never holds a code or a
 * state.
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

/** Tells whether two absolute URLs lead to the same page. Their queries do not count. */
export function isSamePage (one: string, other: string): boolean {
  const [first, second] = [one, other].map((url) => new URL(url)).map(({ origin, pathname }) => origin + normalizePath(pathname))
  return first === second
}

/** Makes the error for a request that needs a user of the app and has none. `remedy` says what the user can do. */
export function userRequired (remedy: string): WebflowOAuthError {
  return new WebflowOAuthError('WEBFLOW_OAUTH_USER_REQUIRED', `Nobody is signed in to the app, so the Webflow connection has no owner. ${remedy}`)
}

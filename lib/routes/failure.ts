import type { FastifyReply, FastifyRequest } from 'fastify'
import { WebflowOAuthError, codeOf, describeForeign, statusOf, type ErrorCode, type StateReason } from '../errors.ts'
import type { OwnFlow } from '../flow/browser-flows.ts'
import { isNavigation } from '../http/navigation.ts'
import { sendPage, type Page } from '../http/page.ts'
import { redirect } from '../http/redirect.ts'
import type { Settings } from '../options/resolve.ts'
import { runAnsweringHook } from './answering-hook.ts'
import type { Route } from './parts.ts'
import { flowOf, isPopup, popupNews, type FlowParts } from './popup.ts'

interface Words {
  title: string
  text: string
}

const general: Words = { title: 'Something went wrong', text: 'The request could not be completed. Please try again in a moment.' }
const refused: Words = { title: 'The app refused this request', text: 'Please go back to the app, reload its page, and try again.' }
const tooMany: Words = { title: 'Too many attempts', text: 'Please wait a moment, then try again.' }
const busy: Words = { title: 'Webflow cannot be reached right now', text: 'Please try again in a moment.' }
const pageWords: Partial<Record<ErrorCode, Words>> = {
  WEBFLOW_OAUTH_INVALID_CALLBACK: { title: 'This link is not complete', text: 'It does not look like a link from Webflow. Please start again from the app.' },
  WEBFLOW_OAUTH_ACCESS_DENIED: { title: 'Webflow was not connected', text: 'The request for access was declined. Nothing was changed; you can try again whenever you like.' },
  WEBFLOW_OAUTH_AUTHORIZATION_FAILED: { title: 'Webflow was not connected', text: 'Webflow did not grant the access that was asked for.' },
  WEBFLOW_OAUTH_CODE_REJECTED: { title: 'Webflow was not connected', text: 'Webflow no longer accepted this attempt. Please connect once more.' },
  WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE: busy,
  WEBFLOW_OAUTH_WEBFLOW_TIMEOUT: busy,
  WEBFLOW_OAUTH_WEBFLOW_RESPONSE_INVALID: busy,
  WEBFLOW_OAUTH_STORE_UNAVAILABLE: { title: 'The app is having trouble', text: 'It cannot reach its own storage right now. Please try again in a moment.' },
  WEBFLOW_OAUTH_USER_REQUIRED: { title: 'Please sign in first', text: 'Sign in to the app in this browser, then come back to this page and try again.' },
  WEBFLOW_OAUTH_CROSS_SITE: { title: 'This request came from another site', text: 'For your safety it was not carried out. Please start it from the app itself.' }
}
/** `{host}` stands for the host of `redirectUri`. */
const stateWords: Record<StateReason, Words> = {
  state_missing: { title: 'Webflow was not connected', text: 'The answer from Webflow could not be matched with a request of this browser. Please start again from the app.' },
  malformed: { title: 'This link is not valid', text: 'It does not belong to a request of this app. Please start again from the app.' },
  expired: { title: 'This took too long', text: 'The attempt to connect has expired. Please connect once more.' },
  already_used: { title: 'This link was used before', text: 'The attempt to connect has already ended. If you are not connected, please connect once more.' },
  host_mismatch: { title: 'You came back to another address', text: 'Please open the app at its usual address, {host}, and connect once more.' },
  cookie_missing: { title: 'Your browser sent no cookies', text: 'Cookies are needed to connect safely. Please allow cookies for this site, open the app at its usual address, {host}, and connect once more.' },
  other_browser: { title: 'This attempt began somewhere else', text: 'It began in another browser, or under another address. Please connect once more and stay in one place.' },
  other_user: { title: 'This attempt began under another account', text: 'Please connect once more, signed in as the user who should be connected.' }
}

/**
 * Answers a failed request: by `onFailure`, or else by `failureRedirect`, or else by a page. Only browsers get the redirect and
 * the page. A popup never gets the redirect, because a redirect would tell its opener nothing.
 * Resolves to false if none of the three has answered. Then the app's error handler answers.
 */
export async function answerFailure (parts: FlowParts, route: Route, error: Error, request: FastifyRequest, reply: FastifyReply): Promise<boolean> {
  if (reply.sent) return true
  const { onFailure, failureRedirect } = parts.settings
  const page = failurePage(parts, route, error, request, reply)
  if (onFailure !== undefined && await runAnsweringHook('onFailure', request, reply, () => onFailure(error, request, reply))) return true
  if (!isNavigation(request)) return reply.sent

  const code = codeOf(error)
  const reason = reasonOf(error)
  // Neither the page nor the redirect holds the message of the error, so it is logged for the developer.
  const message = error instanceof WebflowOAuthError ? error.message : `a hook of the app refused the request with status ${page.status}`
  if (page.status < 500) request.log.info({ code, reason }, `webflow-oauth: ${message}`)
  else request.log.error({ err: error instanceof WebflowOAuthError ? error : describeForeign(error) }, 'webflow-oauth: a request failed')
  if (route === 'callback' && failureRedirect !== null && page.news === undefined) {
    const url = new URL(failureRedirect)
    url.searchParams.set('error', code ?? (page.status === 500 ? 'WEBFLOW_OAUTH_AUTHORIZATION_FAILED' : `HTTP_${page.status}`))
    if (reason !== null) url.searchParams.set('reason', reason)
    const flow = flowOf(parts, request)
    const returnTo = flow === null ? null : returnToOf(parts, flow)
    if (returnTo !== null) url.searchParams.set('returnTo', returnTo)
    redirect(reply, url.href, 303)
  } else {
    sendPage(reply, page)
  }
  return true
}

/** Makes the content of the page for a person whose request has failed. */
export function failurePage (parts: FlowParts, route: Route, error: Error, request: FastifyRequest, reply: FastifyReply): Page {
  const ownStatus = statusOf(error)
  // As in Fastify, if the error has no status, the status that a hook has set counts.
  const status = ownStatus === 500 && reply.statusCode >= 400 ? reply.statusCode : ownStatus
  const flow = route === 'callback' ? flowOf(parts, request) : null
  const popup = isPopup(parts, route, request)
  const { title, text } = wordsFor(error, status, parts.settings)
  const note = [codeOf(error), reasonOf(error)].filter((word) => word !== null)
  return {
    title,
    text: popup ? `${text} You can also close this window.` : text,
    status,
    note: note.length === 0 ? undefined : note.join(' · '),
    link: isReloadable(error) ? { href: '', text: 'Try again' } : linkOf(parts, route, flow, popup),
    news: popup ? popupNews(parts, 'failed', codeOf(error)) : undefined
  }
}

/** Makes the page's link "Try again", which keeps the `returnTo` of the flow. Undefined if only the app can begin the flow again. */
function linkOf (parts: FlowParts, route: Route, flow: OwnFlow | null, popup: boolean): Page['link'] {
  const { paths, revokeRedirect } = parts.settings
  const text = 'Try again'
  if (route === 'revoke') return { href: revokeRedirect, text }
  // The app named the user in `startAuthorization`. The authorize route does not know this user, so a flow that begins there would fail.
  if (flow !== null && flow.cookie.owner !== null) return popup ? { href: parts.flows.destination(flow), text: 'Back to the app' } : undefined
  const url = new URL(paths.authorizeUrl)
  const returnTo = flow === null ? null : returnToOf(parts, flow)
  if (returnTo !== null) url.searchParams.set('returnTo', returnTo)
  if (popup) url.searchParams.set('popup', '1')
  return { href: url.href, text }
}

/** Returns the absolute URL of a flow's `returnTo`; null if the flow has none. */
function returnToOf ({ flows }: FlowParts, flow: OwnFlow): string | null {
  return flow.cookie.returnTo === '' ? null : flows.destination(flow)
}

function reasonOf (error: Error): string | null {
  return error instanceof WebflowOAuthError ? error.reason ?? null : null
}

/** Tells whether "Try again" reloads the page: the same callback succeeds once the user has signed in. */
function isReloadable (error: Error): boolean {
  return error instanceof WebflowOAuthError && error.code === 'WEBFLOW_OAUTH_USER_REQUIRED'
}

function wordsFor (error: Error, status: number, { host }: Settings): Words {
  if (!(error instanceof WebflowOAuthError)) {
    if (status === 429) return tooMany
    return status < 500 ? refused : general
  }
  if (error.code === 'WEBFLOW_OAUTH_STATE_INVALID' && isStateReason(error.reason)) {
    const { title, text } = stateWords[error.reason]
    return { title, text: text.replace('{host}', host) }
  }
  return pageWords[error.code] ?? general
}

function isStateReason (reason: string | undefined): reason is StateReason {
  return reason !== undefined && Object.hasOwn(stateWords, reason)
}

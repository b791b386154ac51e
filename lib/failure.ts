import type { FastifyReply, FastifyRequest } from 'fastify'
import { WebflowOAuthError, codeOf, describeForeign, statusOf, type ErrorCode, type StateReason } from './errors.ts'
import { isNavigation } from './navigation.ts'
import { sendPage } from './page.ts'
import { redirect } from './redirect.ts'
import type { Settings } from './resolve-options.ts'

/** The routes of the plugin. */
export type Route = 'authorize' | 'callback' | 'revoke'

interface Words {
  title: string
  text: string
}

const general: Words = { title: 'Something went wrong', text: 'The request could not be completed. Please try again in a moment.' }
const busy: Words = { title: 'Webflow cannot be reached right now', text: 'Please try again in a moment.' }
const pageWords: Partial<Record<ErrorCode, Words>> = {
  WEBFLOW_OAUTH_INVALID_CALLBACK: { title: 'This link is not complete', text: 'It does not look like one that Webflow made. Please start again from the app.' },
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
const stateWords: Record<StateReason, Words> = {
  state_missing: { title: 'Webflow was not connected', text: 'The answer from Webflow could not be matched with a request of this browser. Please start again from the app.' },
  malformed: { title: 'This link is not one of ours', text: 'It does not look like one that this app asked for. Please start again from the app.' },
  expired: { title: 'This took too long', text: 'The attempt to connect has expired. Please connect once more.' },
  already_used: { title: 'This link was used before', text: 'The attempt to connect has already ended. If you are not connected, please connect once more.' },
  host_mismatch: { title: 'You came back to another address', text: 'Please open the app under its usual address and connect once more.' },
  cookie_missing: { title: 'Your browser sent no cookies', text: 'They are needed to connect safely. Please allow cookies for this site, open the app under its usual address, and connect once more.' },
  other_browser: { title: 'This attempt began somewhere else', text: 'In another browser, or under another address. Please connect once more and stay in one place.' },
  other_user: { title: 'This attempt began under another account', text: 'Please connect once more, signed in as the user who should be connected.' }
}

/**
 * Answers a failed request: `onFailure`, then `failureRedirect`, then a page for a person; what is
 * thrown from here goes to the error handler that the app has.
 */
export async function answerFailure (settings: Settings, route: Route, error: Error, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  if (reply.sent) return reply
  const { onFailure, failureRedirect, paths, revokeRedirect } = settings
  if (onFailure !== undefined && await answersByItself('onFailure', request, reply, () => onFailure(error, request, reply))) return reply
  if (!isNavigation(request)) throw error

  const statusCode = statusOf(error)
  const code = codeOf(error)
  const reason = error instanceof WebflowOAuthError ? error.reason ?? null : null
  // Neither the page nor `failureRedirect` tells the developer what our message tells.
  const remedy = error instanceof WebflowOAuthError ? error.message : 'a hook of the app refused the request'
  if (statusCode < 500) request.log.info({ code, reason }, `webflow-oauth: ${remedy}`)
  else request.log.error({ err: error instanceof WebflowOAuthError ? error : describeForeign(error) }, 'webflow-oauth: a request failed')
  if (route === 'callback' && failureRedirect !== null) {
    const url = new URL(failureRedirect)
    url.searchParams.set('error', code ?? 'WEBFLOW_OAUTH_AUTHORIZATION_FAILED')
    if (reason !== null) url.searchParams.set('reason', reason)
    return redirect(reply, url.href, 303)
  }
  return sendPage(reply, {
    ...wordsFor(error, settings),
    status: statusCode,
    note: [code, reason].filter((word) => word !== null).join(' · '),
    tryAgain: route === 'revoke' ? revokeRedirect : isUnharmed(error) ? '' : paths.authorizeUrl
  })
}

/**
 * Runs a hook of the app's that may answer by itself; resolves whether it did. `reply.sent` alone does
 * not tell: it stays false while an asynchronous `onSend` hook of the app is at work.
 * What the hook throws is logged and changes nothing.
 */
export async function answersByItself (name: string, request: FastifyRequest, reply: FastifyReply, hook: () => unknown): Promise<boolean> {
  const { send } = reply
  let answered = false
  reply.send = function (payload) {
    answered = true
    return send.call(this, payload)
  }
  try {
    await hook()
  } catch (error) {
    request.log.error({ err: describeForeign(error) }, `webflow-oauth: \`${name}\` threw an error`)
  }
  reply.send = send
  return answered || reply.sent
}

/** Whether the very same callback goes on where it was refused: its link, to no other place, reloads it. */
function isUnharmed (error: Error): boolean {
  return error instanceof WebflowOAuthError && error.code === 'WEBFLOW_OAUTH_USER_REQUIRED'
}

function wordsFor (error: Error, { host }: Settings): Words {
  if (!(error instanceof WebflowOAuthError)) return general
  if (error.reason === 'host_mismatch') return { ...stateWords.host_mismatch, text: `Please open the app under its usual address, ${host}, and connect once more.` }
  if (error.code === 'WEBFLOW_OAUTH_STATE_INVALID' && isStateReason(error.reason)) return stateWords[error.reason]
  return pageWords[error.code] ?? general
}

function isStateReason (reason: string | undefined): reason is StateReason {
  return reason !== undefined && Object.hasOwn(stateWords, reason)
}

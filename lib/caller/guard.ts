import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import { createSafeLogger } from '../collections/safe-logger.ts'
import { WebflowOAuthError, refuseOption, refuseUnknown } from '../errors.ts'
import type { AnyReply, AnyRequest } from '../http/any-server.ts'
import { requestedUrl } from '../http/requested-url.ts'
import { isNavigation, isPrefetch } from '../http/navigation.ts'
import { isOwnRoute } from '../http/own-route.ts'
import { privacyHeaders } from '../http/privacy.ts'
import { redirect } from '../http/redirect.ts'
import { resolveScope, type Settings } from '../options/resolve.ts'
import { isScope, type Scope } from '../options/scopes.ts'
import type { WebflowToken } from '../options/webflow-token.ts'
import { beginAuthorization, type BeginParts } from './begin.ts'
import { isOptedOut, stageSlot } from './caller-tokens.ts'
import { isGuest } from './designer-sessions.ts'
import { isSamePage, signInUrl, userRequired } from './sign-in.ts'

/** How many scopes an error message lists at most. */
const mostListed = 30

/** The options of `requireToken`. */
export interface RequireTokenOptions {
  /** The scopes that the token must have. Defaults to none. */
  scope?: readonly Scope[] | undefined
  /**
   * What happens when a request has no token, or a token without the scope. `error` answers 401 or 403. `redirect`
   * sends a page navigation through a flow and then back to the same URL, and answers other requests like `error`.
   * Defaults to `error`.
   */
  onMissing?: 'error' | 'redirect' | undefined
}

/**
 * A hook for `preValidation` or `preHandler`, on HTTP/1 and HTTP/2 servers. An app may also call it without `done` and
 * await it, in such a hook or in a handler. It then resolves when the request may continue or when the guard's own answer
 * is finished, and rejects otherwise.
 * The type is taken from a method, because TypeScript lets an implementation narrow the parameters of a method, but not
 * those of a function type.
 */
export type RequireTokenHook = {
  hook (request: AnyRequest, reply: AnyReply): Promise<void>
  hook (request: AnyRequest, reply: AnyReply, done: HookHandlerDoneFunction): void
}['hook']

/** The parts of the plugin that a guard needs. */
export interface GuardParts extends BeginParts {
  settings: Settings
}

/** Creates a guard. Handlers behind it run only for requests that have a token with the needed scope. */
export function createGuard (parts: GuardParts, options: RequireTokenOptions): RequireTokenHook {
  const { callers, flows, settings } = parts
  // `preHandler: requireToken` without parentheses makes Fastify call this with the request.
  if ('raw' in options) refuseOption('requireToken', 'was used as a hook itself: call it, as in `preHandler: requireToken()`')
  refuseUnknown(options, ['scope', 'onMissing'])
  const { scope, onMissing = 'error' } = options
  const needed = scope === undefined ? [] : resolveScope('scope', scope)
  if (onMissing !== 'error' && onMissing !== 'redirect') refuseOption('onMissing', 'must be \'error\' or \'redirect\'')
  const requested = [...new Set([...settings.scope, ...needed])]
  if (onMissing === 'redirect') flows.assertFits(requested)

  /** Decides about one request: lets it pass, answers it with a redirect, or throws the error. */
  const decide = async (request: FastifyRequest, reply: FastifyReply): Promise<'passed' | 'answered'> => {
    // If the user has signed in after the token was loaded, this loads the user's token.
    const user = await callers.userOf(request)
    const token = callers.tokenOf(request)
    if (token === null && callers.hasEndedSession(request)) throw sessionEnded()
    const error = problemOf(token, needed, settings)
    if (error === null) return 'passed'
    if (onMissing === 'error' || request.method !== 'GET' || isGuest(request)) throw error
    if (isPrefetch(request)) {
      reply.code(503).header('cache-control', 'no-store').send()
      return 'answered'
    }
    if (!isNavigation(request) || flows.isLooping(request)) throw error
    const returnTo = requestedUrl(request, settings.paths.publicPrefix)
    const signIn = user === null ? signInUrl(parts, request, { returnTo, popup: false, resume: 'guard' }) : null
    if (signIn !== null) {
      if (isSamePage(signIn, new URL(returnTo, settings.returnRules.origin).href)) throw userRequired('The sign-in page has a guard that redirects to the sign-in page: remove that guard.')
      redirect(reply.headers(privacyHeaders), signIn, 302)
      return 'answered'
    }
    redirect(reply, await beginAuthorization(parts, request, reply, { trigger: 'guard', returnTo, scope: requested }), 302)
    return 'answered'
  }

  /** Tells whether the loaded token is enough. Most requests need only this check, which calls neither the store nor `identify`. */
  const passes = (request: FastifyRequest, reply: FastifyReply): boolean => {
    if (isAnswering(request, reply) || !callers.isLoaded(request)) return false
    try {
      return problemOf(callers.tokenOf(request), needed, settings) === null
    } catch {
      // The store failed. `decide` reads the token again and rejects with the same error.
      return false
    }
  }

  /** Tells whether the guard runs too late or too early to decide about the request. */
  const isMisplaced = (request: FastifyRequest, reply: FastifyReply): boolean =>
    isAnswering(request, reply) || (!callers.isLoaded(request) && !isOptedOut(request))

  const guardAwaited = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    // A guard for a whole app must not block the plugin's own routes, because users get their tokens there.
    if (passes(request, reply) || isOwnRoute(request)) return
    if (isMisplaced(request, reply)) throw misplacedError()
    if (await decide(request, reply) === 'passed') return
    await reply
    // The client may have disconnected before the guard's answer was sent: an `onSend` hook of the app may still hold it. The
    // error keeps the handler from running, and `hijack` keeps Fastify from answering the error.
    if (reply.sent) return
    reply.hijack()
    throw tokenRequired(settings)
  }

  function guard (request: FastifyRequest, reply: FastifyReply): Promise<void>
  function guard (request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction): void
  function guard (request: FastifyRequest, reply: FastifyReply, ...more: unknown[]): Promise<void> | undefined {
    const [done] = more
    // `preValidation` and `preHandler` pass (request, reply, done), and an app that awaits the guard passes (request, reply). Any
    // other arguments come from a hook of another kind.
    if (isFunction(reply) || more.length > 1) return refuseMisplaced(request, [reply, ...more])
    if (!isFunction(done)) return guardAwaited(request, reply)
    if (passes(request, reply) || isOwnRoute(request)) return done()
    if (isMisplaced(request, reply)) return refuseMisplaced(request, [reply, done])
    decide(request, reply).then((outcome) => { if (outcome === 'passed') done() }, done)
  }
  return guard
}

function isAnswering (request: FastifyRequest, reply: FastifyReply): boolean {
  return request[stageSlot] === 'answering' || reply.sent
}

/**
 * Refuses a guard that was added as a hook other than `preValidation` or `preHandler`. In `onError`, `onResponse` and
 * `onRequestAbort` it is too late to change the answer, so the mistake is only logged. In all other hooks the request fails.
 */
function refuseMisplaced (request: FastifyRequest, [reply, ...more]: readonly unknown[]): Promise<void> | undefined {
  // `onRequestAbort` passes (request, done), `onError` (request, reply, error, done) and `onResponse` (request, reply, done).
  const isTooLate = isFunction(reply) || more.at(-2) instanceof Error || (more.length === 1 && request[stageSlot] === 'answering')
  const done = [reply, ...more].find(isFunction)
  if (isOwnRoute(request)) return done?.()
  if (!isTooLate || done === undefined) return Promise.reject(misplacedError())
  createSafeLogger(request.log).error({ err: misplacedError() }, 'webflow-oauth: a guard has no effect in this kind of hook')
  return done()
}

function misplacedError (): WebflowOAuthError {
  return new WebflowOAuthError('WEBFLOW_OAUTH_INVALID_OPTION', '`requireToken()` was used where it cannot guard anything: use it as a hook for `preValidation` or `preHandler`, or await it in such a hook or in a handler.')
}

function isFunction (value: unknown): value is (error?: Error) => undefined {
  return typeof value === 'function'
}

function problemOf (token: WebflowToken | null, needed: readonly string[], settings: Settings): WebflowOAuthError | null {
  if (token === null) return tokenRequired(settings)
  const missing = needed.filter((name) => !token.scope.includes(name))
  if (missing.length === 0) return null
  return new WebflowOAuthError('WEBFLOW_OAUTH_SCOPE_MISSING', `The token lacks the scope ${missing.join(' ')}. It has ${listed(token.scope)}. The user must connect again and grant the missing scope.`)
}

/** Lists scopes for an error message. Strings that do not look like scopes are left out, because Webflow may send any text. */
function listed (scope: readonly string[]): string {
  const names = scope.filter(isScope)
  const shown = names.slice(0, mostListed)
  if (names.length > mostListed) shown.push(`and ${names.length - mostListed} more`)
  return shown.length === 0 ? 'none' : shown.join(' ')
}

/** Makes the error for a request whose session token has ended, or is not genuine. */
export function sessionEnded (): WebflowOAuthError {
  return new WebflowOAuthError('WEBFLOW_OAUTH_TOKEN_REQUIRED', 'The session of the Designer Extension has ended: the extension must send an ID token to get a new session.', { reason: 'session_ended' })
}

/** Makes the error for a request that has no token. */
export function tokenRequired ({ paths }: Settings): WebflowOAuthError {
  return new WebflowOAuthError('WEBFLOW_OAUTH_TOKEN_REQUIRED', `Webflow is not connected: send the user to ${paths.authorizeUrl}.`)
}

import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import { createSafeLogger } from '../collections/safe-logger.ts'
import { WebflowOAuthError, refuseOption, refuseUnknown } from '../errors.ts'
import type { AnyReply, AnyRequest } from '../http/any-server.ts'
import { askedUrl } from '../http/asked-url.ts'
import { isNavigation, isPrefetch } from '../http/navigation.ts'
import { isOwnRoute } from '../http/own-route.ts'
import { redirect } from '../http/redirect.ts'
import { resolveScope, type Settings } from '../options/resolve.ts'
import { isScope, type Scope } from '../options/scopes.ts'
import type { WebflowToken } from '../options/webflow-token.ts'
import { beginAuthorization, type BeginParts } from './begin.ts'
import { isOptedOut, stageSlot } from './caller-tokens.ts'

/** How many scopes a message names. */
const mostListed = 30

/** What a guard asks for. */
export interface RequireTokenOptions {
  /** Scopes that the token must have. Defaults to none in particular. */
  scope?: readonly Scope[] | undefined
  /**
   * What happens to a request that has no token or not the scope: `error` answers 401 or 403; `redirect`
   * sends a page navigation through a flow and back to the same URL. Defaults to `error`.
   */
  onMissing?: 'error' | 'redirect' | undefined
}

/**
 * A hook for `preValidation` or `preHandler`, of any kind of server. It may also be awaited there, or in a handler:
 * without `done` it resolves when the request may pass, or once the response has finished, and rejects otherwise.
 * Spelled as a method, since only the parameters of methods may be narrower in what implements them.
 */
export type RequireTokenHook = {
  hook (request: AnyRequest, reply: AnyReply): Promise<void>
  hook (request: AnyRequest, reply: AnyReply, done: HookHandlerDoneFunction): void
}['hook']

/** What a guard takes. */
export interface GuardParts extends BeginParts {
  settings: Settings
}

/** Creates a guard: handlers behind it have a token. */
export function createGuard (parts: GuardParts, options: RequireTokenOptions): RequireTokenHook {
  const { callers, flows, settings } = parts
  refuseUnknown(options, ['scope', 'onMissing'])
  const { scope, onMissing = 'error' } = options
  const needed = scope === undefined ? [] : resolveScope('scope', scope)
  if (onMissing !== 'error' && onMissing !== 'redirect') refuseOption('onMissing', 'must be error or redirect')
  const asked = [...new Set([...settings.scope, ...needed])]
  if (onMissing === 'redirect') flows.assertFits(asked)

  const refuse = async (request: FastifyRequest, reply: FastifyReply): Promise<'passed' | 'answered'> => {
    await callers.userOf(request)
    const error = problem(callers.tokenOf(request), needed, settings)
    if (error === null) return 'passed'
    if (onMissing === 'error' || request.method !== 'GET') throw error
    if (isPrefetch(request)) {
      reply.code(503).header('cache-control', 'no-store').send()
      return 'answered'
    }
    if (!isNavigation(request) || flows.isLooping(request)) throw error
    const returnTo = askedUrl(request, settings.paths.publicPrefix)
    redirect(reply, await beginAuthorization(parts, request, reply, { trigger: 'guard', returnTo, scope: asked }), 302)
    return 'answered'
  }

  /** Whether the request has all it needs, as far as can be told at once. Most requests end here. */
  const passes = (request: FastifyRequest, reply: FastifyReply): boolean => {
    if (isAnswering(request, reply) || !callers.isLoaded(request)) return false
    try {
      return problem(callers.tokenOf(request), needed, settings) === null
    } catch {
      // The store failed. `refuse` meets the same error, and rejects with it.
      return false
    }
  }

  const isMisplaced = (request: FastifyRequest, reply: FastifyReply): boolean =>
    isAnswering(request, reply) || (!callers.isLoaded(request) && !isOptedOut(request))

  const guardAwaited = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    // A guard for a whole app must leave the way to a token open.
    if (passes(request, reply) || isOwnRoute(request)) return
    if (isMisplaced(request, reply)) throw misplaced()
    if (await refuse(request, reply) === 'passed') return
    await reply
    // The client may have gone before its answer was sent. Nobody may take that for a pass.
    if (!reply.sent) throw tokenRequired(settings)
  }

  function guard (request: FastifyRequest, reply: FastifyReply): Promise<void>
  function guard (request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction): void
  function guard (request: FastifyRequest, reply: FastifyReply, ...more: unknown[]): Promise<void> | undefined {
    const [done] = more
    if (isFunction(reply) || more.length > 1) return refusePlace(request, [reply, ...more])
    if (!isFunction(done)) return guardAwaited(request, reply)
    if (passes(request, reply) || isOwnRoute(request)) return done()
    if (isMisplaced(request, reply)) return refusePlace(request, [reply, done])
    refuse(request, reply).then((outcome) => { if (outcome === 'passed') done() }, done)
  }
  return guard
}

function isAnswering (request: FastifyRequest, reply: FastifyReply): boolean {
  return request[stageSlot] === 'answering' || reply.sent
}

/**
 * Refuses a guard that is another kind of hook than `preValidation` and `preHandler`. Where the answer is decided
 * already (`onError`, `onResponse`, `onRequestAbort`) the mistake is logged. Everywhere else the request fails.
 */
function refusePlace (request: FastifyRequest, [reply, ...more]: readonly unknown[]): Promise<void> | undefined {
  const isDecided = isFunction(reply) || more.at(-2) instanceof Error || (more.length === 1 && request[stageSlot] === 'answering')
  const done = [reply, ...more].find(isFunction)
  if (isOwnRoute(request)) return done?.()
  if (!isDecided || done === undefined) return Promise.reject(misplaced())
  createSafeLogger(request.log).error({ err: misplaced() }, 'webflow-oauth: a guard has no effect in this kind of hook')
  return done()
}

function misplaced (): WebflowOAuthError {
  return new WebflowOAuthError('WEBFLOW_OAUTH_INVALID_OPTION', '`requireToken()` was used where it cannot guard anything: it is a hook for `preValidation` or `preHandler`, and may be awaited in such a hook or in a handler.')
}

function isFunction (value: unknown): value is (error?: Error) => undefined {
  return typeof value === 'function'
}

function problem (token: WebflowToken | null, needed: readonly string[], settings: Settings): WebflowOAuthError | null {
  if (token === null) return tokenRequired(settings)
  const missing = needed.filter((name) => !token.scope.includes(name))
  if (missing.length === 0) return null
  return new WebflowOAuthError('WEBFLOW_OAUTH_SCOPE_MISSING', `The Webflow connection lacks the scope ${missing.join(' ')}, it has ${listed(token.scope)}: the user must connect again and consent to it.`)
}

/** Names scopes, for a message: what Webflow said may be anything. */
function listed (scope: readonly string[]): string {
  const names = scope.filter(isScope)
  const shown = names.slice(0, mostListed)
  if (names.length > mostListed) shown.push(`and ${names.length - mostListed} more`)
  return shown.length === 0 ? 'none' : shown.join(' ')
}

/** Makes the error for a request that has no token. */
export function tokenRequired ({ paths }: Settings): WebflowOAuthError {
  return new WebflowOAuthError('WEBFLOW_OAUTH_TOKEN_REQUIRED', `Webflow is not connected: send the user to ${paths.authorizeUrl}.`)
}

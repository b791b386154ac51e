import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Cookies } from './cookies.ts'
import { createFlowCookie, peekFlowCookie, readFlowCookie, type FlowCookie } from './flow-cookie.ts'
import { repeatAge } from './flow-records.ts'
import type { DerivedKey, Keyring } from './keyring.ts'
import type { Settings } from './resolve-options.ts'
import { resolveReturnTo } from './return-to.ts'
import { createState, flowHandle, isFlowHandle, readState } from './state.ts'

const maxPending = 5
// Servers take 16 KiB of headers: a page that opens one long flow after another must not fill them.
const maxPendingBytes = 8 * 1024
const loopWindow = 60_000
const loopLimit = 3

/** What is asked of a new flow. */
export interface FlowRequest {
  /** Where to go in the end; what may not be followed counts as null: `successRedirect`. */
  returnTo: string | null
  scope: readonly string[]
  /** The keyed hash of the user who begins it, or null. */
  user: string | null
  /** The store id of the user for whom the app begins it, or null. */
  owner: string | null
}

/** A state that is ours, with the flow that this browser has for it. */
export interface Flow {
  state: string
  /** When it began, in Unix milliseconds. */
  startedAt: number
  expired: boolean
  /** Null when the browser does not hold the flow's cookie. */
  cookie: FlowCookie | null
}

/** A flow of this very browser. */
export interface OwnFlow extends Flow {
  cookie: FlowCookie
}

/**
 * The browser's side of flows: begins them and recognises them when they come back. No store is involved.
 */
export class Flows {
  readonly #settings: Settings
  readonly #cookies: Cookies
  readonly #stateKeys: readonly DerivedKey[]
  readonly #cookieKeys: readonly DerivedKey[]
  /** The authorization request up to its scope. */
  readonly #authorizeUrl: string

  constructor (settings: Settings, cookies: Cookies, keyring: Keyring) {
    this.#settings = settings
    this.#cookies = cookies
    this.#stateKeys = keyring('mac state')
    this.#cookieKeys = keyring('mac flow cookie')
    const url = new URL(settings.endpoints.authorize)
    for (const name of ['scope', 'state']) url.searchParams.delete(name)
    url.searchParams.set('response_type', 'code')
    url.searchParams.set('client_id', settings.clientId)
    url.searchParams.set('redirect_uri', settings.redirectUri)
    // Webflow documents both spellings of a space; %20 is the one that no server takes for a plus.
    url.search = url.search.replaceAll('+', '%20')
    this.#authorizeUrl = url.href
  }

  /** Begins a flow: sets its cookie and returns the authorization request (RFC 6749, section 4.1.1). */
  begin (request: FastifyRequest, reply: FastifyReply, { returnTo, scope, user, owner }: FlowRequest): string {
    const { flowMaxAge, returnRules } = this.#settings
    const startedAt = Date.now()
    const state = createState(this.#stateKeys, startedAt)
    const kept = returnTo === null || resolveReturnTo(returnTo, returnRules) === null ? '' : returnTo
    const value = createFlowCookie(this.#cookieKeys, state, { returnTo: kept, scope, startedAt, user, owner, endedAt: null })
    this.#makeRoom(request, reply, value)
    this.#cookies.set(reply, this.#cookieName(state), value, flowMaxAge)
    return this.authorizationUrl(scope, state)
  }

  /** The authorization request; without a state for those who only look. */
  authorizationUrl (scope: readonly string[], state: string | null): string {
    return `${this.#authorizeUrl}&scope=${encodeURIComponent(scope.join(' '))}${state === null ? '' : `&state=${state}`}`
  }

  /** Tells whether this browser finished so many flows of late that one more would be a loop. */
  isLooping (request: FastifyRequest): boolean {
    const since = Date.now() - loopWindow
    return this.#flowCookies(request).filter(({ endedAt }) => endedAt !== null && endedAt > since).length >= loopLimit
  }

  /** Recognises a state and the browser's cookie for it; null when the state is none of ours. */
  recognise (request: FastifyRequest, state: string): Flow | null {
    const startedAt = readState(this.#stateKeys, state)
    if (startedAt === null) return null
    const value = this.#cookies.read(request)[this.#cookieName(state)]
    return {
      state,
      startedAt,
      expired: Date.now() - startedAt > this.#settings.flowMaxAge * 1000,
      cookie: value === undefined ? null : readFlowCookie(this.#cookieKeys, state, value)
    }
  }

  /** Where a flow leads in the end: an absolute URL. */
  destination ({ cookie }: OwnFlow): string {
    return resolveReturnTo(cookie.returnTo, this.#settings.returnRules) ?? this.#settings.successRedirect
  }

  /** Shortens the cookie of a flow that ended to the minute in which the same callback gets the same answer. */
  end (reply: FastifyReply, { state, cookie }: OwnFlow, endedAt: number): void {
    const value = createFlowCookie(this.#cookieKeys, state, { ...cookie, endedAt })
    const left = endedAt + repeatAge - Date.now()
    this.#cookies.set(reply, this.#cookieName(state), value, Math.max(1, Math.ceil(left / 1000)))
  }

  #cookieName (state: string): string {
    return this.#cookies.names.flowPrefix + flowHandle(state)
  }

  /** Ends the cookies that a new one leaves no room for: those of finished flows first, then the oldest. */
  #makeRoom (request: FastifyRequest, reply: FastifyReply, newcomer: string): void {
    const newestFirst = this.#flowCookies(request).sort((a, b) => Number(a.endedAt !== null) - Number(b.endedAt !== null) || b.startedAt - a.startedAt)
    let bytes = newcomer.length
    for (const [index, { name, value }] of newestFirst.entries()) {
      bytes += name.length + value.length
      if (index >= maxPending - 1 || bytes > maxPendingBytes) this.#cookies.end(reply, name)
    }
  }

  #flowCookies (request: FastifyRequest) {
    const { flowPrefix } = this.#cookies.names
    return Object.entries(this.#cookies.read(request))
      .flatMap(([name, value]) => value !== undefined && name.startsWith(flowPrefix) && isFlowHandle(name.slice(flowPrefix.length)) ? [{ name, value, ...peekFlowCookie(value) }] : [])
  }
}

import { randomBytes } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { refuseOption } from '../errors.ts'
import type { Cookies } from '../http/cookies.ts'
import { judgeReturnTo, resolveReturnTo } from '../http/return-to.ts'
import type { Settings } from '../options/resolve.ts'
import { newestOf, type DerivedKey, type Keyring } from '../storage/keyring.ts'
import { createFlowCookie, peekFlowCookie, readFlowCookie, type FlowCookie } from './cookie.ts'
import { repeatAge } from './records.ts'
import { deriveSessionId } from './session-id.ts'
import { createState, flowHandle, isFlowHandle, readState } from './state.ts'

const maxPending = 5
/** What a browser keeps of one cookie: the length of its whole `Set-Cookie` header (RFC 6265, section 6.1). */
const maxCookieBytes = 4096
// `end` writes the same cookie again with two more members, in base64url: the time (24 bytes of JSON), and the hash of
// the user (53 bytes) where nobody was signed in at the beginning.
const endedAtBytes = 32
const userBytes = 72
// Servers take 16 KiB of headers: a page that opens one long flow after another must not fill them.
const maxPendingBytes = 8 * 1024
const loopWindow = 60_000
const loopLimit = 3

/** What is asked of a new flow. */
export interface FlowRequest {
  /** Where to go in the end. Null, a URL that may not be followed and one that is too long mean `successRedirect`. */
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

/** The session that a flow leads to. */
export interface FlowSession {
  sessionId: string
  /** The id of the key from which the session id is derived. */
  keyId: string
}

/**
 * The browser's side of flows: begins them and recognises them when they come back. No store is involved.
 */
export class BrowserFlows {
  readonly #settings: Settings
  readonly #cookies: Cookies
  readonly #stateKeys: readonly DerivedKey[]
  readonly #cookieKeys: readonly DerivedKey[]
  readonly #sessionKeys: readonly DerivedKey[]
  /** The authorization request up to its scope. */
  readonly #authorizeUrl: string
  /** The most that `Cookies` writes after the value of a flow cookie. */
  readonly #attributes: string

  constructor (settings: Settings, cookies: Cookies, keyring: Keyring) {
    this.#settings = settings
    this.#cookies = cookies
    this.#stateKeys = keyring('mac state')
    this.#cookieKeys = keyring('mac flow cookie')
    this.#sessionKeys = keyring('derive session id')
    const url = new URL(settings.endpoints.authorize)
    for (const name of ['scope', 'state']) url.searchParams.delete(name)
    url.searchParams.set('response_type', 'code')
    url.searchParams.set('client_id', settings.clientId)
    url.searchParams.set('redirect_uri', settings.redirectUri)
    // Webflow documents both spellings of a space; %20 is the one that no server takes for a plus.
    url.search = url.search.replaceAll('+', '%20')
    this.#authorizeUrl = url.href
    this.#attributes = `; Max-Age=${Math.max(settings.flowMaxAge, repeatAge / 1000)}; Path=/; HttpOnly; Secure; SameSite=Lax`
    // A browser would drop the cookie of every flow: the app had better not start.
    this.assertFits(settings.scope)
  }

  /**
   * Begins a flow: sets its cookie and returns the authorization request (RFC 6749, section 4.1.1).
   * A `returnTo` that is too long, or for which the cookie has no room, is dropped and logged. Throws
   * `WEBFLOW_OAUTH_INVALID_OPTION` when the scope alone is too long for a cookie.
   */
  begin (request: FastifyRequest, reply: FastifyReply, { returnTo, scope, user, owner }: FlowRequest): string {
    const { flowMaxAge, returnRules, successRedirect } = this.#settings
    const startedAt = Date.now()
    const state = createState(this.#stateKeys, startedAt)
    const target = judgeReturnTo(returnTo ?? '', returnRules)
    const flow = { returnTo: target.kind === 'good' ? target.shortest : '', scope, startedAt, user, owner, endedAt: null, seed: randomBytes(32).toString('base64url') }
    const { value, isCut } = this.#create(state, flow)
    // A foreign URL is dropped without a line: anybody can send one, and would fill the log. The line never holds the URL.
    if (target.kind === 'too long' || isCut) {
      const problem = isCut ? 'does not fit into a flow cookie of 4,096 bytes together with the scope' : 'has more than 2,048 characters'
      request.log.warn(`webflow-oauth: the URL to come back to ${problem} and was dropped: the browser will end at ${successRedirect} instead`)
    }
    const name = this.#cookieName(state)
    this.#makeRoom(request, reply, name.length + value.length)
    this.#cookies.set(reply, name, value, flowMaxAge)
    return this.authorizationUrl(scope, state)
  }

  /** Throws `WEBFLOW_OAUTH_INVALID_OPTION` when the flow cookie of a guard has no room for a scope, even without `returnTo`. */
  assertFits (scope: readonly string[]): void {
    const hash = 'x'.repeat(43)
    this.#create('', { returnTo: '', scope, startedAt: Date.now(), user: hash, owner: hash, endedAt: null, seed: hash })
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

  /** The session that a flow leads to, with the id of the key from which the session id is derived. */
  newSession ({ state, cookie }: OwnFlow): FlowSession {
    const newest = newestOf(this.#sessionKeys)
    return { sessionId: deriveSessionId(newest, state, cookie.seed), keyId: newest.id }
  }

  /** The session that a flow has led to; null where the key is not known to this process. */
  sessionOf ({ state, cookie }: OwnFlow, keyId: string): FlowSession | null {
    const key = this.#sessionKeys.find(({ id }) => id === keyId)
    return key === undefined ? null : { sessionId: deriveSessionId(key, state, cookie.seed), keyId }
  }

  #cookieName (state: string): string {
    return this.#cookies.names.flowPrefix + flowHandle(state)
  }

  /** Writes the cookie of a new flow, without `returnTo` where browsers would drop a cookie of that size. */
  #create (state: string, flow: FlowCookie): { value: string, isCut: boolean } {
    const value = createFlowCookie(this.#cookieKeys, state, flow)
    const bytes = `${this.#cookieName(state)}=${value}${this.#attributes}`.length + endedAtBytes + (flow.user === null ? userBytes : 0)
    if (bytes <= maxCookieBytes) return { value, isCut: false }
    if (flow.returnTo === '') return refuseOption('scope', 'is too long: a flow cookie of 4,096 bytes cannot hold it')
    return { value: this.#create(state, { ...flow, returnTo: '' }).value, isCut: true }
  }

  /** Ends the cookies that a new one leaves no room for: those of finished flows first, then the oldest. */
  #makeRoom (request: FastifyRequest, reply: FastifyReply, newcomerBytes: number): void {
    const newestFirst = this.#flowCookies(request).sort((a, b) => Number(a.endedAt !== null) - Number(b.endedAt !== null) || b.startedAt - a.startedAt)
    let bytes = newcomerBytes
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

import type { FastifyReply, FastifyRequest } from 'fastify'
import { takeRandom } from '../collections/random.ts'
import { refuseOption } from '../errors.ts'
import type { Cookies } from '../http/cookies.ts'
import { judgeReturnTo, resolveReturnTo } from '../http/return-to.ts'
import type { Settings } from '../options/resolve.ts'
import { maxUserLength } from '../options/user.ts'
import { newestOf, type DerivedKey, type Keyring } from '../storage/keyring.ts'
import { createSealer, type Sealer } from '../storage/seal.ts'
import { createFlowCookie, peekFlowCookie, readFlowCookie, type FlowCookie } from './cookie.ts'
import { repeatAge } from './records.ts'
import { deriveSessionId } from './session-id.ts'
import { createState, flowHandle, isFlowHandle, readState } from './state.ts'

const maxPending = 5
/** The longest `Set-Cookie` header that every browser accepts, in bytes (RFC 6265, section 6.1). */
const maxCookieBytes = 4096
// A flow cookie grows when the flow ends, so each new one must leave this room, in bytes of base64url: for the time of the end
// (24 bytes of JSON), and for the hash of the user (53 bytes) if nobody was signed in when the flow began.
const endedAtBytes = 32
const userBytes = 72
// Node accepts 16 KiB of request headers. A page could begin many flows with long cookies. If these cookies filled the
// headers, the server would refuse every request of that browser.
const maxBytes = 8 * 1024
const loopWindow = 60_000
const loopLimit = 3

/** The details of a new flow. */
export interface FlowRequest {
  /**
   * Where the browser goes in the end. If it is null, too long, or a URL to which the plugin may not redirect, the browser
   * goes to `successRedirect`.
   */
  returnTo: string | null
  scope: readonly string[]
  /** The keyed hash of the user who begins the flow, or null. */
  user: string | null
  /** The id of the user for whom the app begins the flow, or null. The cookie holds it sealed. */
  owner: string | null
  /** Whether the flow ends in a page that closes itself, because it was begun in a popup. */
  popup: boolean
}

/** The flow of a genuine state, with the cookie that this browser sent for it. */
export interface Flow {
  state: string
  /** When the flow began, in Unix milliseconds. */
  startedAt: number
  expired: boolean
  /** Null when the browser did not send a valid cookie for the flow. */
  cookie: FlowCookie | null
}

/** A flow whose cookie this browser sent. */
export interface OwnFlow extends Flow {
  cookie: FlowCookie
}

/** The session that a browser gets at the end of a flow. */
export interface FlowSession {
  sessionId: string
  /** The id of the key from which the session id is derived. */
  keyId: string
}

/**
 * The browser's side of flows: begins them, and recognises them at the callback. It uses cookies only, and no store.
 */
export class BrowserFlows {
  readonly #settings: Settings
  readonly #cookies: Cookies
  readonly #stateKeys: readonly DerivedKey[]
  readonly #cookieKeys: readonly DerivedKey[]
  readonly #sessionKeys: readonly DerivedKey[]
  readonly #ownerSealer: Sealer
  /** The flow of each callback. Hooks, the handler and failures need it, and recognising it costs two MACs. */
  readonly #recognised = new WeakMap<FastifyRequest, Flow>()
  /** The URL of the authorization request, without `scope` and `state`. */
  readonly #authorizeUrl: string
  /** The longest attributes that a flow cookie may have. */
  readonly #attributes: string

  constructor (settings: Settings, cookies: Cookies, keyring: Keyring) {
    this.#settings = settings
    this.#cookies = cookies
    this.#stateKeys = keyring('mac state')
    this.#cookieKeys = keyring('mac flow cookie')
    this.#sessionKeys = keyring('derive session id')
    this.#ownerSealer = createSealer(keyring('seal flow owner'))
    const url = new URL(settings.endpoints.authorize)
    for (const name of ['scope', 'state']) url.searchParams.delete(name)
    url.searchParams.set('response_type', 'code')
    url.searchParams.set('client_id', settings.clientId)
    url.searchParams.set('redirect_uri', settings.redirectUri)
    // Webflow documents both `+` and `%20` for a space. Some servers read `+` as a plus sign, and none misreads `%20`.
    url.search = url.search.replaceAll('+', '%20')
    this.#authorizeUrl = url.href
    this.#attributes = cookies.attributes(Math.max(settings.flowMaxAge, repeatAge / 1000))
    // If the option `scope` is too long, browsers would drop the cookie of every flow. Therefore the app must not start.
    this.assertFits(settings.scope)
  }

  /**
   * Begins a flow: sets its cookie and returns the URL of the authorization request (RFC 6749, section 4.1.1).
   * If `returnTo` is too long or does not fit into the cookie, it is dropped and a warning is logged. Throws
   * `WEBFLOW_OAUTH_INVALID_OPTION` when the scope alone is too long for a cookie.
   */
  begin (request: FastifyRequest, reply: FastifyReply, { returnTo, scope, user, owner, popup }: FlowRequest): string {
    const { flowMaxAge } = this.#settings
    const startedAt = Date.now()
    const state = createState(this.#stateKeys, startedAt)
    const flow = {
      returnTo: this.keepReturnTo(request, returnTo),
      scope,
      startedAt,
      user,
      owner: owner === null ? null : this.#ownerSealer.seal(state, owner),
      popup,
      endedAt: null,
      seed: takeRandom(32).toString('base64url')
    }
    const { value, isCut } = this.#create(state, flow)
    if (isCut) this.#warnOfDrop(request, 'does not fit into a flow cookie of 4,096 bytes together with the scope')
    const name = this.#cookieName(state)
    this.#makeRoom(request, reply, name.length + value.length)
    this.#cookies.set(reply, name, value, flowMaxAge)
    return this.authorizationUrl(scope, state)
  }

  /**
   * Returns the shortest spelling of a `returnTo`; empty if the flow must end at `successRedirect`. A warning is logged if the
   * URL is too long.
   */
  keepReturnTo (request: FastifyRequest, returnTo: string | null): string {
    const target = judgeReturnTo(returnTo ?? '', this.#settings.returnRules)
    // A foreign URL is dropped without a warning, because anybody could send such URLs to fill the log.
    if (target.kind === 'too long') this.#warnOfDrop(request, 'has more than 2,048 characters')
    return target.kind === 'good' ? target.shortest : ''
  }

  /** Throws `WEBFLOW_OAUTH_INVALID_OPTION` when a scope is too long for a flow cookie, even without `returnTo`. */
  assertFits (scope: readonly string[]): void {
    // The strings have the length that they have if the app begins a flow for the longest user id.
    const hash = 'x'.repeat(43)
    const owner = this.#ownerSealer.seal('', 'x'.repeat(maxUserLength))
    this.#create('x'.repeat(96), { returnTo: '', scope, startedAt: Date.now(), user: hash, owner, popup: true, endedAt: null, seed: hash })
  }

  /** Returns the URL of an authorization request. A null `state` is left out: the answer to HEAD begins no flow. */
  authorizationUrl (scope: readonly string[], state: string | null): string {
    return `${this.#authorizeUrl}&scope=${encodeURIComponent(scope.join(' '))}${state === null ? '' : `&state=${state}`}`
  }

  /**
   * Tells whether this browser is in a redirect loop: within the last minute it has finished at least three flows, or was as
   * often led back to a guarded page without one.
   */
  isLooping (request: FastifyRequest): boolean {
    return this.#hasMany(request, ({ endedAt }) => endedAt)
  }

  /** Tells whether this browser keeps beginning flows that never end: at least three within the last minute. */
  isStuck (request: FastifyRequest): boolean {
    return this.#hasMany(request, ({ startedAt, endedAt }) => endedAt === null ? startedAt : null)
  }

  /** Reads a state and the browser's cookie for it; null when this app did not make the state. */
  recognise (request: FastifyRequest, state: string): Flow | null {
    const known = this.#recognised.get(request)
    if (known !== undefined && known.state === state) return known
    const startedAt = readState(this.#stateKeys, state)
    if (startedAt === null) return null
    const value = this.#cookies.read(request)[this.#cookieName(state)]
    const flow = {
      state,
      startedAt,
      expired: Date.now() - startedAt > this.#settings.flowMaxAge * 1000,
      cookie: value === undefined ? null : readFlowCookie(this.#cookieKeys, state, value)
    }
    this.#recognised.set(request, flow)
    return flow
  }

  /** Returns the absolute URL to which a flow leads in the end. */
  destination ({ cookie }: OwnFlow): string {
    return resolveReturnTo(cookie.returnTo, this.#settings.returnRules) ?? this.#settings.successRedirect
  }

  /** Returns the id of the user for whom the app began a flow; null if the app named none. */
  ownerOf ({ state, cookie: { owner } }: OwnFlow): string | null {
    const opened = owner === null ? null : this.#ownerSealer.unseal(state, owner)
    return opened?.kind === 'unsealed' ? opened.text : null
  }

  /** Marks the cookie of a flow as ended. The cookie lives for one more minute, in which a repeated callback gets the same answer. */
  end (reply: FastifyReply, { state, cookie }: OwnFlow, endedAt: number): void {
    const value = createFlowCookie(this.#cookieKeys, state, { ...cookie, endedAt })
    const left = endedAt + repeatAge - Date.now()
    this.#cookies.set(reply, this.#cookieName(state), value, Math.max(1, Math.ceil(left / 1000)))
  }

  /**
   * Counts, for `isLooping`, that this browser is led back to a guarded page without a flow. The cookie is that of a flow that
   * has ended, under a state that nobody gets to know.
   */
  countReturn (request: FastifyRequest, reply: FastifyReply): void {
    // Three cookies are enough to see a loop. More would fill the headers of a browser that is led back again and again.
    if (this.isLooping(request)) return
    const now = Date.now()
    const state = createState(this.#stateKeys, now)
    const cookie = { returnTo: '', scope: [], startedAt: now, user: null, owner: null, popup: false, endedAt: null, seed: '' }
    this.end(reply, { state, startedAt: now, expired: false, cookie }, now)
  }

  /** Derives the session of a flow with the newest key. */
  newSession ({ state, cookie }: OwnFlow): FlowSession {
    const newest = newestOf(this.#sessionKeys)
    return { sessionId: deriveSessionId(newest, state, cookie.seed), keyId: newest.id }
  }

  /** Derives the session of a flow again, with the key that was used the first time; null when this process lacks that key. */
  sessionOf ({ state, cookie }: OwnFlow, keyId: string): FlowSession | null {
    const key = this.#sessionKeys.find(({ id }) => id === keyId)
    return key === undefined ? null : { sessionId: deriveSessionId(key, state, cookie.seed), keyId }
  }

  /** Logs that `returnTo` was dropped. The line does not contain the URL. */
  #warnOfDrop (request: FastifyRequest, problem: string): void {
    request.log.warn(`webflow-oauth: the URL to return to ${problem} and was dropped: the flow will end at ${this.#settings.successRedirect} instead`)
  }

  /** Tells whether at least three of a browser's flows have a time within the last minute. */
  #hasMany (request: FastifyRequest, timeOf: (flow: Pick<FlowCookie, 'startedAt' | 'endedAt'>) => number | null): boolean {
    const since = Date.now() - loopWindow
    return this.#flowCookies(request).filter((flow) => (timeOf(flow) ?? 0) > since).length >= loopLimit
  }

  #cookieName (state: string): string {
    return this.#cookies.names.flowPrefix + flowHandle(state)
  }

  /** Makes the cookie value of a new flow. Leaves `returnTo` out if browsers would otherwise drop the cookie for its size. */
  #create (state: string, flow: FlowCookie): { value: string, isCut: boolean } {
    const value = createFlowCookie(this.#cookieKeys, state, flow)
    const bytes = `${this.#cookieName(state)}=${value}${this.#attributes}`.length + endedAtBytes + (flow.user === null ? userBytes : 0)
    if (bytes <= maxCookieBytes) return { value, isCut: false }
    if (flow.returnTo === '') return refuseOption('scope', 'is too long for a flow cookie of 4,096 bytes: ask for fewer scopes')
    return { value: this.#create(state, { ...flow, returnTo: '' }).value, isCut: true }
  }

  /**
   * Deletes flow cookies until there is room for a new one: first those of finished flows, then the oldest. Three finished flows
   * may stay beside the pending ones, so that `isLooping` sees a loop.
   */
  #makeRoom (request: FastifyRequest, reply: FastifyReply, newcomerBytes: number): void {
    const pendingFirst = this.#flowCookies(request).sort((a, b) => Number(a.endedAt !== null) - Number(b.endedAt !== null) || b.startedAt - a.startedAt)
    let bytes = newcomerBytes
    const room = { pending: maxPending - 1, finished: loopLimit }
    for (const { name, value, endedAt } of pendingFirst) {
      bytes += name.length + value.length
      if (room[endedAt === null ? 'pending' : 'finished']-- <= 0 || bytes > maxBytes) this.#cookies.end(reply, name)
    }
  }

  #flowCookies (request: FastifyRequest) {
    const { flowPrefix } = this.#cookies.names
    return Object.entries(this.#cookies.read(request))
      .flatMap(([name, value]) => value !== undefined && name.startsWith(flowPrefix) && isFlowHandle(name.slice(flowPrefix.length)) ? [{ name, value, ...peekFlowCookie(value) }] : [])
  }
}

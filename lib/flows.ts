import { randomUUID } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { BoundedSet } from './bounded-set.ts'
import type { Cookies } from './cookies.ts'
import { createFlowCookie, peekFlowCookie, readFlowCookie, type FlowCookie } from './flow-cookie.ts'
import { parseOutcome, type Outcome } from './flow-outcome.ts'
import { isObject, parseJson } from './json.ts'
import { storeId, type DerivedKey, type Keyring } from './keyring.ts'
import type { Settings } from './resolve-options.ts'
import type { SealedStore } from './sealed-store.ts'
import { createState, flowHandle, readState } from './state.ts'

const maxPending = 5
const replayAge = 60
const loopWindow = 60_000

/** What the record of a flow says. */
export type Progress =
  | { kind: 'unclaimed' }
  | { kind: 'claimed' }
  | { kind: 'done', outcome: Outcome, endedAt: number }

/** What is asked of a new flow. */
export interface FlowRequest {
  /** The absolute URL to go to in the end. */
  returnTo: string
  scope: readonly string[]
  /** The keyed hash of the user who begins it, or null. */
  user?: string | null
  /** The store id of the user for whom the app begins it, or null. */
  owner?: string | null
}

/** A state that is ours, with the flow that this browser has for it. */
export interface Flow {
  state: string
  expired: boolean
  /** Null when the browser does not hold the flow's cookie. */
  cookie: FlowCookie | null
}

/** The right to finish a flow, won by one callback only. */
export interface Claim {
  key: string
  value: string
  expiresAt: number
}

/**
 * Begins flows, recognises them when they come back and makes each of them single use.
 */
export class Flows {
  readonly #settings: Settings
  readonly #cookies: Cookies
  readonly #store: SealedStore
  readonly #stateKeys: readonly DerivedKey[]
  readonly #cookieKeys: readonly DerivedKey[]
  readonly #authorizeUrl: URL
  readonly #abandoned = new BoundedSet(1000)

  constructor (settings: Settings, cookies: Cookies, store: SealedStore, keyring: Keyring) {
    this.#settings = settings
    this.#cookies = cookies
    this.#store = store
    this.#stateKeys = keyring('mac state')
    this.#cookieKeys = keyring('mac flow cookie')
    this.#authorizeUrl = new URL(settings.endpoints.authorize)
    const { searchParams } = this.#authorizeUrl
    searchParams.set('response_type', 'code')
    searchParams.set('client_id', settings.clientId)
    searchParams.set('redirect_uri', settings.redirectUri)
  }

  /** Begins a flow: sets its cookie and returns the authorization request (RFC 6749, section 4.1.1). No store is involved. */
  begin (request: FastifyRequest, reply: FastifyReply, { returnTo, scope, user = null, owner = null }: FlowRequest): string {
    const now = Date.now()
    const state = createState(this.#stateKeys, now)
    const { flowPrefix } = this.#cookies.names
    const pending = this.#pendingCookies(request).sort((a, b) => b.startedAt - a.startedAt)
    for (const { name } of pending.slice(maxPending - 1)) this.#cookies.end(reply, name)
    const cookie = { returnTo, scope, startedAt: now, user, owner, endedAt: null }
    this.#cookies.set(reply, flowPrefix + flowHandle(state), createFlowCookie(this.#cookieKeys, state, cookie), this.#settings.flowMaxAge)
    return this.authorizationUrl(scope, state)
  }

  /** The authorization request; without a state for those who only look. */
  authorizationUrl (scope: readonly string[], state: string | null): string {
    const url = new URL(this.#authorizeUrl)
    url.searchParams.set('scope', scope.join(' '))
    if (state !== null) url.searchParams.set('state', state)
    // Webflow documents both spellings of a space; %20 is the one that no server takes for a plus.
    url.search = url.search.replaceAll('+', '%20')
    return url.href
  }

  /** Tells whether this browser finished so many flows of late that one more would be a loop. */
  isLooping (request: FastifyRequest): boolean {
    const since = Date.now() - loopWindow
    return this.#pendingCookies(request).filter(({ endedAt }) => endedAt !== null && endedAt > since).length >= 3
  }

  /** Recognises a state and the browser's cookie for it; null when the state is none of ours. */
  recognise (request: FastifyRequest, state: string): Flow | null {
    const startedAt = readState(this.#stateKeys, state)
    if (startedAt === null) return null
    const value = this.#cookies.read(request)[this.#cookies.names.flowPrefix + flowHandle(state)]
    return {
      state,
      expired: Date.now() - startedAt > this.#settings.flowMaxAge * 1000,
      cookie: value === undefined ? null : readFlowCookie(this.#cookieKeys, state, value)
    }
  }

  /** Claims a flow; null when another callback has. Proves, too, that the store can be written. */
  async claim (flow: FlowCookie, state: string): Promise<Claim | null> {
    const key = this.#key(state)
    const attempt = randomUUID()
    const validUntil = Math.max(Date.now(), flow.startedAt + this.#settings.flowMaxAge * 1000)
    const expiresAt = validUntil + replayAge * 1000
    const value = await this.#store.set(key, JSON.stringify({ kind: 'claimed', attempt }), { expiresAt, if: null }).catch((error: unknown) => {
      this.#abandoned.add(attempt)
      throw error
    })
    if (value !== null) return { key, value, expiresAt }
    // A write that was given up may be carried out all the same, and one whose answer was lost is sent
    // again by ioredis: such a claim is ours.
    const record = await this.#store.get(key)
    const claimed = record === null ? null : parseJson(record.text)
    const isOurs = isObject(claimed) && typeof claimed.attempt === 'string' &&
      (claimed.attempt === attempt || this.#abandoned.delete(claimed.attempt))
    return record !== null && isOurs ? { key, value: record.sealed, expiresAt } : null
  }

  /** Records how a claimed flow ended, for the same callback coming again. */
  async settle ({ key, value, expiresAt }: Claim, outcome: Outcome): Promise<void> {
    const endedAt = Date.now()
    await this.#store.set(key, JSON.stringify({ kind: 'done', endedAt, outcome }), { expiresAt: Math.max(expiresAt, endedAt + replayAge * 1000), if: value })
  }

  /** Shortens the cookie of a flow that ended to the minute in which the same callback gets the same answer. */
  endCookie (reply: FastifyReply, { state, cookie }: { state: string, cookie: FlowCookie }, endedAt: number): void {
    const value = createFlowCookie(this.#cookieKeys, state, { ...cookie, endedAt })
    const maxAge = Math.max(1, Math.ceil(replayAge - (Date.now() - endedAt) / 1000))
    this.#cookies.set(reply, this.#cookies.names.flowPrefix + flowHandle(state), value, maxAge)
  }

  /** Reads how far a flow has come. */
  async progress (state: string): Promise<Progress> {
    const record = await this.#store.get(this.#key(state))
    return record === null ? { kind: 'unclaimed' } : parseDone(record.text) ?? { kind: 'claimed' }
  }

  /** Tells whether a flow that ended did so within the last minute. */
  isFresh ({ endedAt }: { endedAt: number }): boolean {
    return Date.now() - endedAt < replayAge * 1000
  }

  /**
   * Waits until a flow that another callback claimed is done; null when it is not in time.
   */
  async waitUntilDone (state: string): Promise<Extract<Progress, { kind: 'done' }> | null> {
    const limit = this.#settings.timeout + 2 * this.#settings.storeTimeout
    for (let waited = 0, pause = 20; ; waited += pause, pause = Math.min(pause * 2, 250)) {
      const progress = await this.progress(state)
      if (progress.kind === 'done') return progress
      if (progress.kind === 'unclaimed' || waited >= limit) return null
      await new Promise((resolve) => { setTimeout(resolve, pause) })
    }
  }

  #key (state: string): string {
    return `flow:${storeId(this.#settings.clientId, state)}`
  }

  #pendingCookies (request: FastifyRequest) {
    return Object.entries(this.#cookies.read(request))
      .flatMap(([name, value]) => value !== undefined && name.startsWith(this.#cookies.names.flowPrefix) ? [{ name, ...peekFlowCookie(value) }] : [])
  }
}

function parseDone (text: string): Progress | null {
  const record = parseJson(text)
  const outcome = isObject(record) && record.kind === 'done' ? parseOutcome(record.outcome) : null
  if (outcome === null || !isObject(record) || typeof record.endedAt !== 'number') return null
  return { kind: 'done', outcome, endedAt: record.endedAt }
}

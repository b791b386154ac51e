import type { FastifyBaseLogger } from 'fastify'
import { BoundedMap } from '../collections/bounded-map.ts'
import { withDeadline, type Deadline } from '../collections/deadline.ts'
import { Limit } from '../collections/limit.ts'
import { ownCode } from '../diagnostics.ts'
import { WebflowOAuthError, toError, type ErrorCode } from '../errors.ts'
import type { TagNames } from './tags.ts'
import { idsOf, type QueryKind } from '../webflow/authorization.ts'
import type { TokenChecks, Verdict } from '../webflow/token-checks.ts'
import type { FoundTokens, StoredToken, TokenRecords } from './records.ts'
import { absorb, type TokenRecord } from './record.ts'
import type { UnderWay } from '../collections/under-way.ts'

/** How many untold tokens one search asks about at most. */
const lookSize = 20
/** How many tokens `revokeAll` asks about at a time. */
const maxAtOnce = 8
/** With so many tokens that are being asked about, further uses and searches ask about none. Otherwise tokens would time out in the queue. */
const maxWaiting = 40
const firstPause = 1000
/** In a pause of this length, in milliseconds, nobody asks in the background any more: only searches and uses of the token do. */
const longestPause = 600_000
/** Parts of Webflow may not know a token yet for this long after it was issued, in milliseconds. */
const newFor = 60_000

const unreachable: ReadonlySet<ErrorCode | null> = new Set(['WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE', 'WEBFLOW_OAUTH_WEBFLOW_TIMEOUT'])

/** Why it is not known what a token opens, or who granted it. */
interface Silence {
  error: Error
  /**
   * Whether nothing at all is known, because Webflow could not be reached (no connection, a timeout, a 5xx) or the
   * store did not record the answer: a search that finds nothing may have missed the token.
   */
  isOutage: boolean
}

/** What is known of a token after Webflow was asked; `silence` is null where there is nothing more to ask. */
interface Knowledge {
  record: TokenRecord
  silence: Silence | null
}

/** The time in which nobody asks about a token again, in milliseconds, and why. */
interface Pause {
  length: number
  until: number
  silence: Silence | null
}

/** What the asking takes. */
export interface UntoldTokensParts {
  records: TokenRecords
  checks: TokenChecks
  tags: TagNames
  log: FastifyBaseLogger
  underWay: UnderWay
}

/**
 * Asks Webflow about tokens of which it has not told yet what they open: in the background soon after the token was
 * stored, when the token is used, and when somebody searches. Each token has a pause of its own between two tries,
 * which grows with every try in vain.
 */
export class UntoldTokens {
  readonly #timeout: number
  readonly #isAsking: boolean
  readonly #parts: UntoldTokensParts
  readonly #pauses = new BoundedMap<Pause>(10_000)
  readonly #asking = new Map<string, Promise<Knowledge>>()
  /** Where the next search goes on. */
  #cursor: string | null = null

  /** With `introspect: false` Webflow is never asked. */
  constructor ({ introspect, timeout }: { introspect: boolean, timeout: number }, parts: UntoldTokensParts) {
    this.#isAsking = introspect
    this.#timeout = timeout
    this.#parts = parts
  }

  /** Asks about a token that was issued at `since`; resolves with its record, unchanged when Webflow does not tell by the deadline. */
  async describe (tokenId: string, record: TokenRecord, { since, deadline }: { since: number, deadline: Deadline }): Promise<TokenRecord> {
    if (!this.#isAsking) return record
    const verdict = await this.#parts.checks.ask(record.accessToken, record.scope, { since, deadline, queue: 'none' })
    const described = verdict.kind === 'active' ? absorb(record, verdict.installation) : record
    // The pause may be that of another token, which the user had before.
    this.#pauses.delete(tokenId)
    if (!described.told) this.#pause(tokenId, silenceAfter(verdict, described))
    if (verdict.kind !== 'active') {
      this.#parts.log.warn({ tokenId, ...verdict.kind === 'unknown' && { err: verdict.error } }, 'webflow-oauth: Webflow did not say what a new token opens. The plugin asks again soon, and when the token is used or searched for')
    }
    return described
  }

  /** Asks in the background about a token that was described in vain, after each of its pauses, until Webflow tells or the token goes. */
  askSoon (token: StoredToken): void {
    const { tokenId } = token
    const pause = this.#pauses.get(tokenId)
    if (pause === undefined || pause.length >= longestPause) return
    this.#parts.underWay.later(Math.max(pause.until - Date.now(), firstPause), async () => {
      // While the store fails, the token that was stored stands in.
      const current = await this.#parts.records.peek(tokenId).catch(() => token)
      if (current !== null && await this.#askWhenDue(current) !== null) this.askSoon(current)
    })
  }

  /** Asks in the background about a token that is in use. */
  fillIn (token: StoredToken): void {
    if (!this.#isAsking || token.record.told || !this.#isDue(token)) return
    this.#parts.underWay.add(this.#ask(token))
  }

  /**
   * Asks about a page of untold tokens before a search; the next search goes on behind them. Resolves with the error of
   * a token of which nothing is known because of an outage; with null when there is none.
   */
  async look (): Promise<Error | null> {
    const { records, tags } = this.#parts
    const cursor = this.#cursor
    let page = await records.page(tags.untold, cursor, lookSize)
    // Nothing was left behind the last page.
    if (cursor !== null && page.tokens.length === 0 && page.cursor === null) page = await records.page(tags.untold, null, lookSize)
    this.#cursor = page.cursor
    const silences = await Promise.all(page.tokens.map((token) => this.#askWhenDue(token)))
    return silences.find((silence) => silence?.isOutage === true)?.error ?? null
  }

  /**
   * Asks about all untold tokens, a page at a time, also those in their pause. Resolves with those of which nobody can
   * tell whether a query of this kind matches them: by their ids, with the error.
   */
  async lookAtAll (kind: QueryKind): Promise<Map<string, Error>> {
    const { records, tags } = this.#parts
    const undecided = new Map<string, Error>()
    const calls = new Limit(maxAtOnce)
    let cursor: string | null = null
    do {
      const page: FoundTokens = await records.page(tags.untold, cursor)
      await Promise.all(page.tokens.map((token) => calls.run(async () => {
        const { record, silence } = await this.#ask(token)
        if (silence !== null && !isKnown(record, kind)) undecided.set(token.tokenId, silence.error)
      })))
      for (const [tokenId, error] of page.unreadable) undecided.set(tokenId, error)
      cursor = page.cursor
    } while (cursor !== null)
    return undecided
  }

  /** Asks about a token, or resolves with why it was silent last time, where it is in its pause. */
  async #askWhenDue (token: StoredToken): Promise<Silence | null> {
    if (!this.#isDue(token)) return this.#pauses.get(token.tokenId)?.silence ?? null
    const { silence } = await this.#ask(token)
    return silence
  }

  #isDue ({ tokenId }: StoredToken): boolean {
    return Date.now() >= (this.#pauses.get(tokenId)?.until ?? 0) && this.#asking.size < maxWaiting
  }

  /** Asks about a token within `timeout` and records the answer; never rejects. Those who ask at one time share the answer. */
  #ask (token: StoredToken): Promise<Knowledge> {
    const { tokenId } = token
    const asking = this.#asking.get(tokenId) ?? this.#askOnce(token).finally(() => { this.#asking.delete(tokenId) })
    this.#asking.set(tokenId, asking)
    return asking
  }

  /** Whatever Webflow says, the token is kept. */
  async #askOnce (token: StoredToken): Promise<Knowledge> {
    const { tokenId, record } = token
    // Version 0.1 kept some told tokens among the untold ones.
    if (record.told) return { record, silence: null }
    const verdict = await withDeadline(this.#timeout, (deadline) => this.#parts.checks.ask(record.accessToken, record.scope, { deadline }))
    // It has ended, and opens nothing any more.
    if (verdict.kind === 'revoked' && Date.now() - record.createdAt >= newFor) return { record, silence: this.#pause(tokenId, null) }
    if (verdict.kind !== 'active') return { record, silence: this.#pause(tokenId, silenceAfter(verdict, record)) }
    try {
      const learned = (await this.#parts.records.learn(token, verdict.installation))?.record
      // A record that has gone, or holds a newer token, leaves nothing to ask either.
      if (learned !== undefined && !learned.told) return { record: learned, silence: this.#pause(tokenId, silenceAfter(verdict, learned)) }
      this.#pauses.delete(tokenId)
      return { record: learned ?? record, silence: null }
    } catch (err) {
      this.#parts.log.warn({ tokenId, err }, 'webflow-oauth: the store could not record what a token opens. The plugin asks Webflow again')
      return { record, silence: this.#pause(tokenId, { error: toError(err), isOutage: record.authorization === null }) }
    }
  }

  /** Begins the next pause of a token, twice as long as the last. */
  #pause<T extends Silence | null> (tokenId: string, silence: T): T {
    const last = this.#pauses.get(tokenId)
    const length = last === undefined ? firstPause : Math.min(last.length * 2, longestPause)
    this.#pauses.set(tokenId, { length, until: Date.now() + length, silence })
    return silence
  }
}

function silenceAfter (verdict: Verdict, { authorization }: TokenRecord): Silence {
  const cause = verdict.kind === 'unknown' ? verdict.error : undefined
  const error = new WebflowOAuthError('WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE', 'Webflow has not said yet what some tokens open, and cannot be reached now. The search may have missed some of these tokens: try again in a moment.', { cause })
  return { error, isOutage: authorization === null && cause !== undefined && unreachable.has(ownCode(cause)) }
}

/** Tells whether a record has what a query of this kind goes by. Webflow may have told what a token opens, and not who granted it. */
function isKnown (record: TokenRecord, kind: QueryKind): boolean {
  return record.authorization !== null && (kind !== 'userId' || idsOf(record, kind).length > 0)
}

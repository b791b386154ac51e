import type { FastifyBaseLogger } from 'fastify'
import { BoundedMap } from '../collections/bounded-map.ts'
import { ownCode } from '../diagnostics.ts'
import { WebflowOAuthError, type ErrorCode } from '../errors.ts'
import { settleAll } from '../collections/settle-all.ts'
import type { TagNames } from './tags.ts'
import type { TokenChecks } from '../webflow/token-checks.ts'
import type { FoundTokens, StoredToken, TokenRecords } from './records.ts'
import { absorb, type TokenRecord } from './record.ts'
import type { UnderWay } from '../collections/under-way.ts'

/** How many untold tokens one search asks about at most. */
const lookSize = 20
const firstPause = 1000
/** With a longer pause, in milliseconds, nobody asks in the background any more: only searches and uses of the token do. */
const longestPause = 600_000
/** Parts of Webflow may not know a token yet for this long after it was issued, in milliseconds. */
const newFor = 60_000

const unreachable: ReadonlySet<ErrorCode | null> = new Set(['WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE', 'WEBFLOW_OAUTH_WEBFLOW_TIMEOUT'])

/** Why Webflow has not told what a token opens. */
interface Silence {
  error: Error
  /** Whether Webflow could not be reached at all: no connection, a timeout, a 5xx. */
  isUnreachable: boolean
}

/** The time in which nobody asks about a token again, in milliseconds. */
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
  readonly #asking = new Map<string, Promise<Silence | null>>()
  /** Where the next search goes on. */
  #cursor: string | null = null

  /** With `introspect: false` Webflow is never asked. */
  constructor ({ introspect, timeout }: { introspect: boolean, timeout: number }, parts: UntoldTokensParts) {
    this.#isAsking = introspect
    this.#timeout = timeout
    this.#parts = parts
  }

  /** Asks about a token that was issued at `since`; resolves with its record, unchanged when Webflow does not tell by the deadline. */
  async describe (tokenId: string, record: TokenRecord, { since, deadline }: { since: number, deadline: number }): Promise<TokenRecord> {
    if (!this.#isAsking) return record
    const verdict = await this.#parts.checks.ask(record.accessToken, record.scope, { since, deadline, queue: 'none' })
    if (verdict.kind === 'active') return absorb(record, verdict.installation)
    this.#parts.log.warn({ tokenId, ...verdict.kind === 'unknown' && { err: verdict.error } }, 'webflow-oauth: Webflow did not tell what a new token opens. It is asked again soon, and when the token is used or searched for')
    return record
  }

  /** Asks in the background about a token that was just stored, with growing pauses, until Webflow tells or the token goes. */
  askSoon ({ tokenId, record }: StoredToken): void {
    if (!this.#isAsking || record.told) return
    this.#parts.underWay.later(this.#pauseOf(tokenId), async () => {
      const token = await this.#parts.records.peek(tokenId).catch(() => null)
      if (token === null || token.record.told) return
      await this.#askInBackground(token)
      if (this.#pauseOf(tokenId) < longestPause) this.askSoon(token)
    })
  }

  /** Asks in the background about a token that is in use, unless it is in its pause. */
  fillIn (token: StoredToken): void {
    if (!this.#isAsking || token.record.told || this.#isPaused(token)) return
    this.#parts.underWay.add(this.#askInBackground(token))
  }

  /**
   * Asks about some untold tokens before a search; the next search goes on behind them. Resolves with the error of a
   * token of which Webflow has never told anything because it could not be reached; with null when there is none.
   */
  async look (): Promise<Error | null> {
    const { records, tags } = this.#parts
    let page = await records.page(tags.untold, this.#cursor, lookSize)
    // The cursor of the last look may have been the end.
    if (page.tokens.length === 0 && this.#cursor !== null) page = await records.page(tags.untold, null, lookSize)
    this.#cursor = page.cursor
    const deadline = Date.now() + this.#timeout
    const silences = await settleAll(page.tokens.map(async (token) => {
      const silence = this.#isPaused(token) ? this.#pauses.get(token.tokenId)?.silence ?? null : await this.#ask(token, deadline)
      return token.record.authorization === null ? silence : null
    }))
    return silences.find((silence) => silence?.isUnreachable === true)?.error ?? null
  }

  /** Asks about all untold tokens, a page at a time; resolves with those of which Webflow has never told anything, by their ids. */
  async lookAtAll (): Promise<Map<string, Error>> {
    const { records, tags } = this.#parts
    const silent = new Map<string, Error>()
    let cursor: string | null = null
    do {
      const page: FoundTokens = await records.page(tags.untold, cursor)
      const deadline = Date.now() + this.#timeout
      await settleAll(page.tokens.map(async (token) => {
        const silence = await this.#ask(token, deadline)
        if (silence !== null && token.record.authorization === null) silent.set(token.tokenId, silence.error)
      }))
      for (const [tokenId, error] of page.unreadable) silent.set(tokenId, error)
      cursor = page.cursor
    } while (cursor !== null)
    return silent
  }

  /** Asks about a token and records the answer; resolves with why Webflow has not told everything, or null. Those who ask at one time share the answer. */
  #ask (token: StoredToken, deadline: number): Promise<Silence | null> {
    const { tokenId } = token
    const asking = this.#asking.get(tokenId) ?? this.#askOnce(token, deadline).finally(() => { this.#asking.delete(tokenId) })
    this.#asking.set(tokenId, asking)
    return asking
  }

  /** Whatever Webflow says, the token is kept. */
  async #askOnce (token: StoredToken, deadline: number): Promise<Silence | null> {
    const { tokenId, record } = token
    if (record.told) return null
    const verdict = await this.#parts.checks.ask(record.accessToken, record.scope, { deadline })
    if (verdict.kind === 'revoked' && Date.now() - record.createdAt >= newFor) return this.#pause(tokenId, null)
    const learned = verdict.kind === 'active' ? await this.#parts.records.learn(token, verdict.installation) : token
    if (learned === null || learned.record.told) {
      this.#pauses.delete(tokenId)
      return null
    }
    const error = verdict.kind === 'unknown' ? verdict.error : undefined
    return this.#pause(tokenId, { error: untold(error), isUnreachable: error !== undefined && unreachable.has(ownCode(error)) })
  }

  async #askInBackground (token: StoredToken): Promise<void> {
    await this.#ask(token, Date.now() + this.#timeout).catch((err: unknown) => {
      this.#parts.log.warn({ tokenId: token.tokenId, err }, 'webflow-oauth: what a token opens could not be recorded')
    })
  }

  #isPaused ({ tokenId }: StoredToken): boolean {
    return Date.now() < (this.#pauses.get(tokenId)?.until ?? 0)
  }

  #pause<T extends Silence | null> (tokenId: string, silence: T): T {
    const length = this.#pauseOf(tokenId)
    this.#pauses.set(tokenId, { length, until: Date.now() + length, silence })
    return silence
  }

  /** How long the next pause of a token is. */
  #pauseOf (tokenId: string): number {
    const last = this.#pauses.get(tokenId)
    return last === undefined ? firstPause : Math.min(last.length * 2, longestPause)
  }
}

function untold (cause?: Error): WebflowOAuthError {
  return new WebflowOAuthError('WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE', 'Webflow has not told yet what some tokens open, and could not be asked now. The search may have missed one of them: try again in a moment.', { cause })
}

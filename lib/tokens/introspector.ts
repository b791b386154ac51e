import type { FastifyBaseLogger } from 'fastify'
import { BoundedMap } from '../collections/bounded-map.ts'
import { withDeadline, type Deadline } from '../collections/deadline.ts'
import { Limit } from '../collections/limit.ts'
import type { BackgroundTasks } from '../collections/background-tasks.ts'
import { ownCode } from '../diagnostics.ts'
import { WebflowOAuthError, toError, type ErrorCode } from '../errors.ts'
import { idsOf, queryKinds, type QueryKind } from '../webflow/authorization.ts'
import type { TokenChecks, Verdict } from '../webflow/token-checks.ts'
import { absorb, type TokenRecord } from './record.ts'
import type { StoredToken, TokenRecords } from './records.ts'

/** How many incomplete records one search asks about at most. */
const maxPerSearch = 20
/** How many incomplete records `revokeAll` asks about at a time. */
const maxAtOnce = 8
/**
 * While so many questions are open, uses and searches ask no further ones. In a longer queue, questions would time out before
 * their turn.
 */
const maxAsking = 40
/** The first pause of a record, in milliseconds. Each further pause is twice as long as the one before. */
const firstPause = 1000
/** The longest pause, in milliseconds. Once a record has reached it, nobody asks about the record in the background. */
const longestPause = 600_000
/** How long some servers of Webflow may not know a token that Webflow has just issued, in milliseconds. */
const newFor = 60_000

const outages: ReadonlySet<ErrorCode | null> = new Set(['WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE', 'WEBFLOW_OAUTH_WEBFLOW_TIMEOUT'])

/** Why a record is still incomplete after Webflow was asked, and what that means for searches. */
interface Gap {
  error: Error
  /** The kinds of queries that may miss the record: it may match such a query, but lacks the ids by which a search finds it. */
  kinds: readonly QueryKind[]
  /**
   * Whether a search that finds nothing must fail with the error: nothing at all is known about the token, because Webflow
   * could not be reached (no connection, a timeout, a 5xx) or the store did not record the answer.
   */
  failsSearch: boolean
}

/** The time after a question in which searches and uses do not ask about the same record again. */
interface Pause {
  /** How long the pause is, in milliseconds. */
  length: number
  /** When the pause ends, in Unix milliseconds. */
  until: number
  /** The outcome of the question; null if Webflow has ended the token, so that there is nothing more to ask. */
  gap: Gap | null
}

/** The parts of the plugin that introspect tokens. */
export interface IntrospectorParts {
  records: TokenRecords
  checks: TokenChecks
  log: FastifyBaseLogger
  background: BackgroundTasks
  settings: { introspect: boolean, timeout: number }
}

/**
 * Asks Webflow what tokens open. Asks once before a token is stored. If the record is incomplete then, asks again: in the
 * background soon after, when the token is used, and when somebody searches. After each question that leaves the record
 * incomplete, the record has a pause, and each pause is longer than the one before.
 */
export class Introspector {
  readonly #parts: IntrospectorParts
  /** The current or last pause of each incomplete record, by the id of its token. */
  readonly #pauses = new BoundedMap<Pause>(10_000)
  /** The questions that are being asked, by the id of the token. */
  readonly #asking = new Map<string, Promise<Gap | null>>()
  /** Where the next search continues in the list of incomplete records. */
  #cursor: string | null = null

  constructor (parts: IntrospectorParts) {
    this.#parts = parts
  }

  /**
   * Asks about a token that was issued at `since` and is not stored yet. Resolves with its record, which is unchanged if
   * Webflow does not answer by the deadline. With `introspect: false`, Webflow is not asked.
   */
  async introspect (tokenId: string, record: TokenRecord, { since, deadline }: { since: number, deadline: Deadline }): Promise<TokenRecord> {
    const { checks, log, settings } = this.#parts
    if (!settings.introspect) return record
    const verdict = await checks.ask(record.accessToken, record.scope, { since, deadline, queue: 'none' })
    if (verdict.kind !== 'active') {
      log.warn({ tokenId, ...verdict.kind === 'unknown' && { err: verdict.error } }, 'webflow-oauth: Webflow did not say what a new token opens. The plugin asks again soon, and when the token is used or searched for')
    }
    const known = verdict.kind === 'active' ? absorb(record, verdict.installation) : record
    // With `identify`, an earlier token of the user had the same id. Its pause does not count.
    this.#pauses.delete(tokenId)
    this.#pause(tokenId, known, gapAfter(known, verdict))
    return known
  }

  /** Asks about a token in the background, after each of its pauses, until its record is complete or has gone. */
  completeSoon (token: StoredToken): void {
    const { tokenId } = token
    const { records, background } = this.#parts
    const pause = this.#pauses.get(tokenId)
    if (pause === undefined || pause.length >= longestPause) return
    background.later(Math.max(pause.until - Date.now(), firstPause), async () => {
      // If the store cannot be read, Webflow is asked about the record as it was.
      const current = await records.peek(tokenId).catch(() => token)
      if (current !== null && await this.#askIfDue(current) !== null) this.completeSoon(current)
    })
  }

  /** Asks in the background about a token that is being used, if its record is incomplete and not in a pause. */
  completeOnUse (token: StoredToken): void {
    const { settings, background } = this.#parts
    if (settings.introspect && !token.record.complete && this.#isDue(token)) background.add(this.#ask(token))
  }

  /**
   * Asks about a page of incomplete records before a search. The next search continues after that page. Resolves with the
   * error with which the search must fail if it finds nothing; null if there is no such error.
   */
  async completeBeforeSearch (): Promise<Error | null> {
    const { records } = this.#parts
    const cursor = this.#cursor
    let page = await records.page(records.tags.incomplete, cursor, maxPerSearch)
    // The list has ended before this page, so it begins again.
    if (cursor !== null && page.tokens.length === 0 && page.cursor === null) page = await records.page(records.tags.incomplete, null, maxPerSearch)
    this.#cursor = page.cursor
    const gaps = await Promise.all(page.tokens.map((token) => this.#askIfDue(token)))
    return gaps.find((gap) => gap?.failsSearch === true)?.error ?? null
  }

  /**
   * Asks about all incomplete records, even in their pauses. A record may still lack the ids by which a search of this kind
   * finds it. Resolves with the errors of these records, by the ids of their tokens.
   */
  async completeAll (kind: QueryKind): Promise<Map<string, Error>> {
    const { records } = this.#parts
    const undecided = new Map<string, Error>()
    // A question gets its whole `timeout` only if it does not wait in the queue of the checks.
    const calls = new Limit(maxAtOnce)
    for await (const { tokens, unreadable } of records.pages(records.tags.incomplete)) {
      await Promise.all(tokens.map((token) => calls.run(async () => {
        const gap = await this.#ask(token)
        if (gap?.kinds.includes(kind) === true) undecided.set(token.tokenId, gap.error)
      })))
      for (const [tokenId, error] of unreadable) undecided.set(tokenId, error)
    }
    return undecided
  }

  /** Asks about a token. In a pause, or while too many questions are open, resolves with the outcome of the last one instead. */
  async #askIfDue (token: StoredToken): Promise<Gap | null> {
    return this.#isDue(token) ? await this.#ask(token) : this.#pauses.get(token.tokenId)?.gap ?? null
  }

  #isDue ({ tokenId }: StoredToken): boolean {
    return Date.now() >= (this.#pauses.get(tokenId)?.until ?? 0) && this.#asking.size < maxAsking
  }

  /** Asks about a token and records the answer. Simultaneous calls for one token share the question. Never rejects. */
  #ask (token: StoredToken): Promise<Gap | null> {
    const { tokenId } = token
    const asking = this.#asking.get(tokenId) ?? this.#askOnce(token).finally(() => { this.#asking.delete(tokenId) })
    this.#asking.set(tokenId, asking)
    return asking
  }

  /** Asks about a token within `timeout`. Keeps the token, whatever Webflow answers. */
  async #askOnce (token: StoredToken): Promise<Gap | null> {
    const { checks, log, records, settings } = this.#parts
    const { tokenId, record } = token
    // Version 0.1 left the tag `incomplete` on some complete records.
    if (record.complete) return null
    const verdict = await withDeadline(settings.timeout, (deadline) => checks.ask(record.accessToken, record.scope, { deadline }))
    if (verdict.kind !== 'active') return this.#pause(tokenId, record, gapAfter(record, verdict))
    try {
      const known = (await records.learn(token, verdict.installation))?.record
      if (known !== undefined) return this.#pause(tokenId, known, gapAfter(known, verdict))
      // The record has gone or holds a newer token, so there is nothing more to ask.
      this.#pauses.delete(tokenId)
      return null
    } catch (err) {
      log.warn({ tokenId, err }, 'webflow-oauth: the store could not record what a token opens. The plugin asks Webflow again')
      return this.#pause(tokenId, record, gapOf(record, toError(err), true))
    }
  }

  /** Begins the next pause of a record, or ends its pauses if it is complete. Returns the gap. */
  #pause (tokenId: string, { complete }: TokenRecord, gap: Gap | null): Gap | null {
    const last = this.#pauses.get(tokenId)
    const length = last === undefined ? firstPause : Math.min(last.length * 2, longestPause)
    if (complete) this.#pauses.delete(tokenId)
    else this.#pauses.set(tokenId, { length, until: Date.now() + length, gap })
    return gap
  }
}

/** Returns the gap of a record after Webflow's verdict; null if there is nothing more to ask. */
function gapAfter (record: TokenRecord, verdict: Verdict): Gap | null {
  const hasEnded = verdict.kind === 'revoked' && Date.now() - record.createdAt >= newFor
  if (record.complete || hasEnded) return null
  const cause = verdict.kind === 'unknown' ? verdict.error : undefined
  const error = new WebflowOAuthError('WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE', 'Webflow has not said yet what some tokens open, and cannot be reached now. The search may have missed some of these tokens: try again in a moment.', { cause })
  return gapOf(record, error, cause !== undefined && outages.has(ownCode(cause)))
}

function gapOf (record: TokenRecord, error: Error, isOutage: boolean): Gap {
  // Webflow may have answered what a token opens, but not who granted it.
  const knowsUser = idsOf(record, 'userId').length > 0
  const kinds = record.authorization === null ? queryKinds : knowsUser ? [] : ['userId' as const]
  return { error, kinds, failsSearch: isOutage && record.authorization === null }
}

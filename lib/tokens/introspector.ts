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

/** How many incomplete records one search tries to complete. */
const maxPerSearch = 20
/** How many incomplete records `revokeAll` tries to complete at a time. */
const maxAtOnce = 8
/**
 * While so many records are being completed, uses and searches begin with no other record. In a longer queue, the calls to
 * Webflow would time out before their turn.
 */
const maxUnderWay = 40
/** The first pause of a record, in milliseconds. Each further pause is twice as long as the previous one. */
const firstPause = 1000
/** The longest pause, in milliseconds. After it, the plugin no longer tries to complete the record in the background. */
const longestPause = 600_000
/** How long after Webflow has issued a token some of its servers may not know the token yet, in milliseconds. */
const newFor = 60_000

const outages: ReadonlySet<ErrorCode | null> = new Set(['WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE', 'WEBFLOW_OAUTH_WEBFLOW_TIMEOUT'])

/** Why a record is still incomplete after Webflow was asked, and what that means for searches. */
interface Gap {
  error: Error
  /** The kinds of queries that may miss the record, because it lacks the ids by which such a query finds it. */
  kinds: readonly QueryKind[]
  /**
   * Whether a search that finds nothing must fail with the error. True if the plugin knows nothing about the token because
   * Webflow could not be reached (no connection, a timeout, a 5xx), or because the store did not record the answer.
   */
  failsSearch: boolean
}

/** The time after a try in which uses and searches do not try to complete the same record again. */
interface Pause {
  /** How long the pause is, in milliseconds. */
  length: number
  /** When the pause ends, in Unix milliseconds. */
  until: number
  /** What the try left open; null if Webflow has ended the token, so that there is nothing more to ask. */
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
 * Asks Webflow what tokens open. `introspect` asks before a token is stored. If the record is incomplete then, the other
 * methods try to complete it: soon after in the background, when the token is used, and when somebody searches. After each
 * try that leaves the record incomplete, the record has a pause. Each pause is longer than the previous one.
 */
export class Introspector {
  readonly #parts: IntrospectorParts
  /** The current or last pause of each incomplete record, by the id of its token. */
  readonly #pauses = new BoundedMap<Pause>(10_000)
  /** The tries that are under way, by the id of the token. */
  readonly #underWay = new Map<string, Promise<Gap | null>>()
  /** Where the next search continues in the list of incomplete records. */
  #cursor: string | null = null

  constructor (parts: IntrospectorParts) {
    this.#parts = parts
  }

  /**
   * Asks Webflow about a token that was issued at `since` and is not stored yet. Resolves with the record and what Webflow
   * has answered. The record is unchanged if Webflow does not answer by the deadline, and with `introspect: false`.
   */
  async introspect (tokenId: string, record: TokenRecord, { since, deadline }: { since: number, deadline: Deadline }): Promise<TokenRecord> {
    const { checks, log, settings } = this.#parts
    if (!settings.introspect) return record
    const verdict = await checks.ask(record.accessToken, record.scope, { since, deadline, queue: 'none' })
    if (verdict.kind !== 'active') {
      log.warn({ tokenId, ...verdict.kind === 'unknown' && { err: verdict.error } }, 'webflow-oauth: Webflow did not say what a new token opens. The plugin asks again soon, and when the token is used or searched for')
    }
    const known = verdict.kind === 'active' ? absorb(record, verdict.installation) : record
    this.note(tokenId, known, verdict)
    return known
  }

  /** Notes what Webflow has answered about a token that has just come into the store, or soon will. */
  note (tokenId: string, record: TokenRecord, verdict: Verdict): void {
    // With `identify`, an earlier token of the user had the same id. Its pause does not count.
    this.#pauses.delete(tokenId)
    this.#pause(tokenId, record, gapAfter(record, verdict))
  }

  /** Tries to complete a record in the background, after each of its pauses, until it is complete or was deleted. */
  completeSoon (token: StoredToken): void {
    const { tokenId } = token
    const { records, background } = this.#parts
    const pause = this.#pauses.get(tokenId)
    if (pause === undefined || pause.length >= longestPause) return
    background.later(Math.max(pause.until - Date.now(), firstPause), async () => {
      // If the store cannot be read, Webflow is asked about the record as it was.
      const current = await records.peek(tokenId).catch(() => token)
      if (current !== null && await this.#completeIfDue(current) !== null) this.completeSoon(current)
    })
  }

  /** Tries to complete the record of a token that is being used, in the background, unless the record is in a pause. */
  completeOnUse (token: StoredToken): void {
    const { settings, background } = this.#parts
    if (settings.introspect && !token.record.complete && this.#isDue(token)) background.add(this.#complete(token))
  }

  /**
   * Tries to complete a page of the incomplete records before a search. The next search continues after that page. If the
   * search must fail when it finds nothing, resolves with the error; otherwise with null.
   */
  async completeBeforeSearch (): Promise<Error | null> {
    const { records } = this.#parts
    const cursor = this.#cursor
    let page = await records.page(records.tags.incomplete, cursor, maxPerSearch)
    // The last search reached the end of the list, so this one begins at the start.
    if (cursor !== null && page.tokens.length === 0 && page.cursor === null) page = await records.page(records.tags.incomplete, null, maxPerSearch)
    this.#cursor = page.cursor
    const gaps = await Promise.all(page.tokens.map((token) => this.#completeIfDue(token)))
    return gaps.find((gap) => gap?.failsSearch === true)?.error ?? null
  }

  /**
   * Tries to complete all incomplete records, even those in a pause. Some may still lack the ids by which a search of this
   * kind finds them. Resolves with the errors of those records, by the ids of their tokens.
   */
  async completeAll (kind: QueryKind): Promise<Map<string, Error>> {
    const { records } = this.#parts
    const undecided = new Map<string, Error>()
    // This queue is outside of `checks`: there, the time in the queue would count as a part of `timeout`.
    const calls = new Limit(maxAtOnce)
    for await (const { tokens, unreadable } of records.pages(records.tags.incomplete)) {
      await Promise.all(tokens.map((token) => calls.run(async () => {
        const gap = await this.#complete(token)
        if (gap?.kinds.includes(kind) === true) undecided.set(token.tokenId, gap.error)
      })))
      for (const [tokenId, error] of unreadable) undecided.set(tokenId, error)
    }
    return undecided
  }

  /** Tries to complete a record. In a pause, or while too many tries are under way, resolves with the gap of the last try instead. */
  async #completeIfDue (token: StoredToken): Promise<Gap | null> {
    return this.#isDue(token) ? await this.#complete(token) : this.#pauses.get(token.tokenId)?.gap ?? null
  }

  #isDue ({ tokenId }: StoredToken): boolean {
    return Date.now() >= (this.#pauses.get(tokenId)?.until ?? 0) && this.#underWay.size < maxUnderWay
  }

  /** Tries to complete a record. Simultaneous calls for one record share one try. Never rejects. */
  #complete (token: StoredToken): Promise<Gap | null> {
    const { tokenId } = token
    const underWay = this.#underWay.get(tokenId) ?? this.#tryOnce(token).finally(() => { this.#underWay.delete(tokenId) })
    this.#underWay.set(tokenId, underWay)
    return underWay
  }

  /** Asks Webflow about a token within `timeout`, and records the answer. Keeps the token, whatever Webflow answers. */
  async #tryOnce (token: StoredToken): Promise<Gap | null> {
    const { checks, log, records, settings } = this.#parts
    const { tokenId, record } = token
    // Version 0.1 left the tag `incomplete` on some complete records.
    if (record.complete) return null
    const verdict = await withDeadline(settings.timeout, (deadline) => checks.ask(record.accessToken, record.scope, { deadline }))
    if (verdict.kind !== 'active') return this.#pause(tokenId, record, gapAfter(record, verdict))
    try {
      const known = (await records.learn(token, verdict.installation))?.record
      if (known !== undefined) return this.#pause(tokenId, known, gapAfter(known, verdict))
      // The record was deleted or holds a newer token, so there is nothing more to ask.
      this.#pauses.delete(tokenId)
      return null
    } catch (err) {
      log.warn({ tokenId, err }, 'webflow-oauth: the store could not record what a token opens. The plugin asks Webflow again')
      return this.#pause(tokenId, record, gapOf(record, toError(err), true))
    }
  }

  /** Begins the next pause of an incomplete record, or ends the pauses of a complete one. Returns the gap that it was given. */
  #pause (tokenId: string, { complete }: TokenRecord, gap: Gap | null): Gap | null {
    const last = this.#pauses.get(tokenId)
    const length = last === undefined ? firstPause : Math.min(last.length * 2, longestPause)
    if (complete) this.#pauses.delete(tokenId)
    else this.#pauses.set(tokenId, { length, until: Date.now() + length, gap })
    return gap
  }
}

/** Returns what is still missing in a record after Webflow's verdict; null if there is nothing more to ask. */
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

import type { FastifyBaseLogger } from 'fastify'
import { BoundedMap } from '../collections/bounded-map.ts'
import { settleAll } from '../collections/settle-all.ts'
import type { UnderWay } from '../collections/under-way.ts'
import { WebflowOAuthError } from '../errors.ts'
import type { Settings } from '../options/resolve.ts'
import type { WebflowToken } from '../options/webflow-token.ts'
import { idsOf, type QueryKind } from '../webflow/authorization.ts'
import type { TokenChecks, Verdict } from '../webflow/token-checks.ts'
import type { EndedTokens } from './ended.ts'
import { absorb, isComplete, type TokenRecord } from './record.ts'
import { newestFirst, type FoundTokens, type StoredToken, type TokenRecords } from './records.ts'
import type { Siblings } from './siblings.ts'
import type { TagNames } from './tags.ts'

/** What Webflow says of a token; `unknown` when it could not be asked, which is no sign of anything. */
export type TokenStatus = 'active' | 'revoked' | 'unknown'

/** What an instance knows tokens by. */
export interface Parts {
  records: TokenRecords
  checks: TokenChecks
  ended: EndedTokens
  siblings: Siblings
  tags: TagNames
  log: FastifyBaseLogger
  /** What closing waits for. */
  underWay: UnderWay
}

/** Tokens that were looked for. */
export interface Matches {
  /** Those that match. */
  tokens: StoredToken[]
  /** Those that may match: they cannot be read, or Webflow has not told what they open. By their ids, with the error. */
  unjudged: Map<string, Error>
}

/** How old a remembered answer to `checkToken` may be, in milliseconds. */
const rememberFor = 60_000
/** How soon a use asks again for what Webflow could not tell, and a search for what it would not, in milliseconds. */
const askAgainAfter = 60_000
/** For how long after it was issued a token may be unknown to some of Webflow, in milliseconds. */
const newFor = 60_000
/** How long a search that has found something waits for Webflow at most, in milliseconds. */
const patienceOnceFound = 1000
/** How many tokens of which Webflow has not told a search asks for at most. */
const completedAtOnce = 100

const unrecorded = 'webflow-oauth: what a token opens could not be recorded'

/**
 * Knows what tokens open, finds them by it, and asks Webflow about them.
 */
export class Installations {
  readonly #settings: Settings
  readonly #records: TokenRecords
  readonly #checks: TokenChecks
  readonly #ended: EndedTokens
  readonly #siblings: Siblings
  readonly #tags: TagNames
  readonly #log: FastifyBaseLogger
  readonly #underWay: UnderWay
  readonly #filledIn = new BoundedMap<number>(1000)
  /** When a search asked about a token in vain, and whether asking again soon would be. */
  readonly #asked = new BoundedMap<{ at: number, isHopeless: boolean }>(10_000)

  constructor (settings: Settings, parts: Parts) {
    this.#settings = settings
    this.#records = parts.records
    this.#checks = parts.checks
    this.#ended = parts.ended
    this.#siblings = parts.siblings
    this.#tags = parts.tags
    this.#log = parts.log
    this.#underWay = parts.underWay
  }

  /** Adds to a record what Webflow tells of its token, which was issued since; as it is when Webflow does not tell in time. */
  async describe (tokenId: string, record: TokenRecord, { since, deadline }: { since: number, deadline: number }): Promise<TokenRecord> {
    if (!this.#settings.introspect) return record
    const verdict = await this.#checks.ask(record.accessToken, record.scope, { since, deadline, queue: 'none' })
    if (verdict.kind === 'active') {
      const told = absorb(record, verdict.installation)
      return { ...told, reviewed: !await this.#siblings.mayExist(tokenId, told).catch(() => true) }
    }
    this.#log.warn({ tokenId, ...verdict.kind === 'unknown' && { err: verdict.error } }, 'webflow-oauth: Webflow did not tell what a new token opens; it is asked again when that is needed')
    return record
  }

  /** Asks in the background for what Webflow did not tell of a token that is in use; now and then. */
  fillIn (token: StoredToken): void {
    const now = Date.now()
    if (!this.#settings.introspect || isComplete(token.record) || isRecent(this.#filledIn.get(token.tokenId))) return
    this.#filledIn.set(token.tokenId, now)
    this.#underWay.add(this.#complete(token, now + this.#settings.timeout, { thorough: false })
      .catch((err: unknown) => { this.#log.warn({ tokenId: token.tokenId, err }, unrecorded) }))
  }

  /**
   * Finds the tokens that open something, each record of them, and asks Webflow first about those of which
   * it has not told. A thorough search takes its time, and takes no earlier answer.
   */
  async find (kind: QueryKind, id: string, { thorough }: { thorough: boolean }): Promise<Matches> {
    const tag = this.#tags.named(kind, id)
    // Read before the other: a token that somebody completes meanwhile is found there.
    const incomplete = await this.#records.all(this.#tags.incomplete)
    const unjudged = new Map(incomplete.unreadable)
    if (incomplete.tokens.length > 0) {
      const isFound = !thorough && matching(await this.#records.all(tag), kind, id).length > 0
      const deadline = Date.now() + (isFound ? Math.min(this.#settings.timeout, patienceOnceFound) : this.#settings.timeout)
      let asked = 0
      // Those that were asked about longest ago come first, so that each has its turn.
      const inTurn = incomplete.tokens.toSorted((a, b) => this.#lastAskedAt(a) - this.#lastAskedAt(b))
      await settleAll(inTurn.map(async (token) => {
        const last = this.#asked.get(token.tokenId)
        const isPaused = !thorough && isRecent(last?.at) && (isFound || last?.isHopeless === true)
        if (isPaused && last?.isHopeless === true && token.record.authorization === null) return
        const { record, error } = !isPaused && asked++ < completedAtOnce
          ? await this.#complete(token, deadline, { thorough })
          : { record: token.record, error: untold() }
        if (error !== null && !isTold(record, kind)) unjudged.set(token.tokenId, error)
      }))
    }
    const found = await this.#records.all(tag)
    for (const [tokenId, error] of found.unreadable) unjudged.set(tokenId, error)
    return { tokens: matching(found, kind, id), unjudged }
  }

  /** Walks over all tokens, a page at a time. Throws in the end if some could not be read. */
  async * walk (): AsyncGenerator<StoredToken, void, undefined> {
    let cursor: string | null = null
    let problem: Error | undefined
    do {
      const page: FoundTokens = await this.#records.page(this.#tags.all, cursor)
      problem ??= [...page.unreadable.values()][0]
      yield * page.tokens
      cursor = page.cursor
    } while (cursor !== null)
    if (problem !== undefined) throw problem
  }

  /** Checks by a deadline whether a token still works, and records what it opens. */
  async check (token: WebflowToken, { fresh, deadline }: { fresh: boolean, deadline: number }): Promise<TokenStatus> {
    const verdict = await this.#checks.ask(token.accessToken, token.scope, { deadline, ...fresh ? { queue: 'none' } : { queue: 'checks', maxAge: rememberFor } })
    await this.#record(token, verdict, deadline)
    return statusOf(verdict)
  }

  /** Confirms by a deadline that Webflow takes a token no longer, and then forgets it. */
  async confirm (token: WebflowToken, deadline: number): Promise<TokenStatus> {
    const verdict = await this.#checks.ask(token.accessToken, token.scope, { deadline, queue: 'none' })
    if (verdict.kind === 'revoked') await this.#ended.forget(token, 'revoked')
    else await this.#record(token, verdict, deadline)
    return statusOf(verdict)
  }

  /**
   * Asks for all that Webflow has not told of a token yet; resolves with what is known of it then, and with an
   * error when there is more that could not be had now. Whatever Webflow says, the token is kept.
   */
  async #complete (token: StoredToken, deadline: number, { thorough }: { thorough: boolean }): Promise<{ record: TokenRecord, error: Error | null }> {
    const { tokenId, record } = token
    const verdict = await this.#checks.ask(record.accessToken, record.scope, { deadline })
    const remember = (isHopeless: boolean) => { this.#asked.set(tokenId, { at: Date.now(), isHopeless }) }
    if (verdict.kind === 'unknown') {
      remember(false)
      return { record, error: untold(verdict.error) }
    }
    if (verdict.kind === 'revoked' && Date.now() - record.createdAt < newFor) return { record, error: untold() }
    if (verdict.kind !== 'active') {
      remember(true)
      return { record, error: thorough && verdict.kind === 'refused' ? untold() : null }
    }
    const learned = await this.#records.learn(token, verdict.installation)
    if (learned === null) return { record, error: null }
    const isReviewed = await this.#siblings.review(learned, deadline)
    if (learned.record.told && isReviewed) return { record: learned.record, error: null }
    remember(true)
    return { record: learned.record, error: untold() }
  }

  #lastAskedAt ({ tokenId }: StoredToken): number {
    return this.#asked.get(tokenId)?.at ?? 0
  }

  /** Records what was learned by the way; that it could not be recorded changes no answer. */
  async #record (token: WebflowToken, verdict: Verdict, deadline: number): Promise<void> {
    if (verdict.kind !== 'active' || !this.#settings.introspect) return
    try {
      const known = await this.#records.peek(token.id)
      if (known === null || known.record.accessToken !== token.accessToken) return
      const learned = await this.#records.learn(known, verdict.installation)
      if (learned !== null && !isComplete(known.record)) await this.#siblings.review(learned, deadline)
    } catch (err) {
      this.#log.warn({ tokenId: token.id, err }, unrecorded)
    }
  }
}

/** Chooses of several tokens one for each authorization, the newest first. */
export function newestOfEach (tokens: readonly StoredToken[]): StoredToken[] {
  const chosen = new Map<string, StoredToken>()
  for (const token of newestFirst(tokens)) {
    const { authorization, accessToken } = token.record
    const grant = authorization?.id ?? accessToken
    if (!chosen.has(grant)) chosen.set(grant, token)
  }
  return [...chosen.values()]
}

function matching ({ tokens }: FoundTokens, kind: QueryKind, id: string): StoredToken[] {
  return tokens.filter(({ record }) => idsOf(record, kind).includes(id))
}

/** Tells whether a record has what it is found by, as far as Webflow has it. */
function isTold (record: TokenRecord, kind: QueryKind): boolean {
  return record.authorization !== null && (kind !== 'userId' || record.told || idsOf(record, kind).length > 0)
}

function isRecent (askedAt: number | undefined): boolean {
  return askedAt !== undefined && Date.now() - askedAt < askAgainAfter
}

function statusOf ({ kind }: Verdict): TokenStatus {
  return kind === 'refused' ? 'unknown' : kind
}

function untold (cause?: Error): WebflowOAuthError {
  return new WebflowOAuthError('WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE', 'There are tokens of which Webflow has not told what they open, and now it could not be asked.', { cause })
}

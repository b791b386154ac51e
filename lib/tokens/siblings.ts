import { settleAll } from '../collections/settle-all.ts'
import type { Authorization } from '../options/webflow-token.ts'
import { idsOf } from '../webflow/authorization.ts'
import type { TokenChecks, Verdict } from '../webflow/token-checks.ts'
import type { EndedTokens } from './ended.ts'
import { ProtectedToken, isNewer, type TokenRecord } from './record.ts'
import { newestFirst, type FoundTokens, type StoredToken, type TokenRecords } from './records.ts'
import type { TagNames } from './tags.ts'

/** How many tokens of a user are looked at when another is stored: a user has few, and a load test many. */
const maxSiblings = 200
/** Up to how many of them Webflow is asked about each. */
const maxReviewed = 50
/** About how many of more it is asked at first. */
const probes = 3

/**
 * Looks after the other tokens of a user who has connected again.
 */
export class Siblings {
  readonly #records: TokenRecords
  readonly #checks: TokenChecks
  readonly #ended: EndedTokens
  readonly #tags: TagNames

  constructor (parts: { records: TokenRecords, checks: TokenChecks, ended: EndedTokens, tags: TagNames }) {
    this.#records = parts.records
    this.#checks = parts.checks
    this.#ended = parts.ended
    this.#tags = parts.tags
  }

  /**
   * Judges the other tokens of the users behind a token that has become known: those that Webflow has ended
   * go, and the living ones learn what they open now. Resolves whether all could be judged in time; if not, or
   * if the store fails, the token is not reviewed, and a later search tries again.
   */
  async review (token: StoredToken, deadline: number): Promise<boolean> {
    const { tokenId, record: { accessToken, authorization } } = token
    if (authorization === null) return false
    let reviewed = false
    try {
      reviewed = await this.#judge(token, authorization, deadline)
    } finally {
      await this.#records.change(tokenId, accessToken, (record) => record.reviewed === reviewed ? record : { ...record, reviewed })
    }
    return reviewed
  }

  /** Tells whether there is another token to review: mostly there is none, and then nothing to write down. */
  async mayExist (tokenId: string, record: TokenRecord): Promise<boolean> {
    const pages = await Promise.all(idsOf(record, 'userId').map((id) => this.#records.page(this.#tags.named('userId', id), null, 2)))
    return pages.some(({ tokens, unreadable, cursor }) => tokens.some((token) => token.tokenId !== tokenId) || unreadable.size > 0 || cursor !== null)
  }

  /** Resolves whether all could be judged. */
  async #judge (token: StoredToken, authorization: Authorization, deadline: number): Promise<boolean> {
    const { accessToken, user, told, askedAt: since } = token.record
    const { siblings, isAll, isReadable } = await this.#siblingsOf(token)
    const twins = siblings.filter(({ record }) => record.accessToken === accessToken)
    const others = siblings.filter(({ record }) => record.accessToken !== accessToken)
    const installation = { authorization, user: told ? user : user ?? undefined, askedAt: since }
    await settleAll(twins.map((twin) => this.#records.learn(twin, installation)))

    const judge = async (one: StoredToken): Promise<Verdict['kind']> => {
      const verdict = await this.#checks.ask(one.record.accessToken, one.record.scope, { since, deadline })
      if (verdict.kind === 'active') await this.#records.learn(one, verdict.installation)
      if (verdict.kind === 'revoked') await this.#ended.forget(new ProtectedToken(one.tokenId, one.record), 'superseded')
      return verdict.kind
    }
    // These were known to Webflow before: a token that is unknown to it now has ended.
    // Of two connections at the same moment the other may have ended this one.
    const doubtful = newestFirst(others.some(({ record }) => isNewer(record, token.record)) ? [token, ...others] : others)
    const atFirst = doubtful.length > maxReviewed ? probes : maxReviewed
    const kinds = await settleAll(doubtful.slice(0, atFirst).map(judge))
    // Where Webflow has ended none of the newest it has ended no older ones either: they were there when those came.
    const areAlive = kinds.every((kind) => kind === 'active')
    if (!areAlive) kinds.push(...await settleAll(doubtful.slice(atFirst).map(judge)))
    return isReadable && !kinds.includes('unknown') && (areAlive || isAll)
  }

  /** Other records of the users behind a token; not all where there are more than a user has, and where some cannot be read. */
  async #siblingsOf ({ tokenId, record }: StoredToken): Promise<{ siblings: StoredToken[], isAll: boolean, isReadable: boolean }> {
    const siblings = new Map<string, StoredToken>()
    let isAll = true
    let isReadable = true
    for (const id of idsOf(record, 'userId')) {
      let cursor: string | null = null
      do {
        const page: FoundTokens = await this.#records.page(this.#tags.named('userId', id), cursor, maxSiblings)
        if (page.unreadable.size > 0) isReadable = false
        for (const sibling of page.tokens) siblings.set(sibling.tokenId, sibling)
        cursor = page.cursor
      } while (cursor !== null && siblings.size < maxSiblings)
      if (cursor !== null) isAll = false
    }
    siblings.delete(tokenId)
    return { siblings: [...siblings.values()], isAll, isReadable }
  }
}

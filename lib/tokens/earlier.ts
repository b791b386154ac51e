import type { EndedTokens } from './ended.ts'
import { idsOf } from '../webflow/authorization.ts'
import { withDeadline } from '../collections/deadline.ts'
import { settleAll } from '../collections/settle-all.ts'
import type { TagNames } from './tags.ts'
import type { TokenChecks } from '../webflow/token-checks.ts'
import { newestOfEach, type FoundTokens, type StoredToken, type TokenRecords } from './records.ts'
import { ProtectedToken } from './record.ts'

/** How many of a user's earlier tokens are checked. */
const maxChecked = 5
/** How many records of a user are read to choose from: a person has few, a load test many. */
const maxRead = 1000

/** What the check takes. */
export interface EarlierTokensParts {
  records: TokenRecords
  checks: TokenChecks
  ended: EndedTokens
  tags: TagNames
  timeout: number
}

/**
 * Checks the newest other tokens of a user who has connected again, since Webflow may have ended them: those that it
 * has ended are forgotten, and the living ones learn what they open now. Every other dead token goes when it is reported.
 */
export async function checkEarlierTokens (parts: EarlierTokensParts, token: StoredToken): Promise<void> {
  const { checks, ended, records, timeout } = parts
  const others = (await tokensOfUsers(parts, token)).filter(({ record }) => record.accessToken !== token.record.accessToken)
  const newest = newestOfEach(others, ({ accessToken }) => accessToken).slice(0, maxChecked)
  await withDeadline(timeout, (deadline) => settleAll(newest.map(async (other) => {
    // Webflow has known each of these tokens, since it has told whose they are. A token that it does not know now has ended.
    const verdict = await checks.ask(other.record.accessToken, other.record.scope, { since: token.record.createdAt, deadline })
    if (verdict.kind === 'active') await records.learn(other, verdict.installation)
    if (verdict.kind === 'revoked') await ended.forget(new ProtectedToken(other.tokenId, other.record), 'superseded')
  })))
}

async function tokensOfUsers ({ records, tags }: EarlierTokensParts, { record }: StoredToken): Promise<StoredToken[]> {
  const found = new Map<string, StoredToken>()
  for (const id of idsOf(record, 'userId')) {
    let cursor: string | null = null
    do {
      const page: FoundTokens = await records.page(tags.named('userId', id), cursor)
      for (const token of page.tokens) found.set(token.tokenId, token)
      cursor = page.cursor
    } while (cursor !== null && found.size < maxRead)
  }
  return [...found.values()]
}

import { withDeadline } from '../collections/deadline.ts'
import { settleAll } from '../collections/settle-all.ts'
import { idsOf } from '../webflow/authorization.ts'
import { forgetEnded } from './ended.ts'
import type { TokenParts } from './parts.ts'
import type { StoredToken, TokenRecords } from './records.ts'
import { newestOfEach } from './search.ts'

/** How many of a user's earlier tokens are checked. */
const maxChecked = 5
/** How many of a user's records are read to find the newest. A person has few records, a load test has many. */
const maxRead = 1000

/**
 * Checks the newest earlier tokens of a user who has connected again, because Webflow may end earlier tokens when it issues
 * a new one. Forgets those that have ended, and updates what the others open. All checks together take at most `timeout`.
 */
export async function checkEarlierTokens (parts: TokenParts, token: StoredToken): Promise<void> {
  const { checks, records, settings: { timeout } } = parts
  const others = (await otherTokens(records, token)).filter(({ record }) => record.accessToken !== token.record.accessToken)
  const newest = newestOfEach(others, ({ accessToken }) => accessToken).slice(0, maxChecked)
  await withDeadline(timeout, (deadline) => settleAll(newest.map(async (other) => {
    const verdict = await checks.ask(other.record.accessToken, other.record.scope, { since: token.record.createdAt, deadline })
    if (verdict.kind === 'active') await records.learn(other, verdict.installation)
    // Webflow has answered about this token before. So the token has ended, and is not merely too new for Webflow to know it.
    if (verdict.kind === 'revoked') await forgetEnded(parts, records.present(other), 'superseded')
  })))
}

/** Finds the other tokens of the Webflow users who granted a token. Usually there is none, and then no record is read. */
async function otherTokens (records: TokenRecords, { tokenId, record }: StoredToken): Promise<StoredToken[]> {
  const found = new Map<string, StoredToken>()
  for (const id of idsOf(record, 'userId')) {
    for await (const { tokens } of records.pages(records.tags.named('userId', id), { except: tokenId })) {
      for (const token of tokens) found.set(token.tokenId, token)
      if (found.size >= maxRead) break
    }
  }
  return [...found.values()]
}

import { idsOf, type QueryKind } from '../webflow/authorization.ts'
import type { TokenParts } from './parts.ts'
import { isNewer, type TokenRecord } from './record.ts'
import type { FoundTokens, StoredToken, TokenRecords } from './records.ts'

/**
 * Finds the tokens that match a query: one for each authorization, the newest first. Rejects if it finds none
 * and may have missed one.
 */
export async function findTokens ({ introspector, records }: TokenParts, kind: QueryKind, id: string): Promise<StoredToken[]> {
  // Incomplete records are completed first, so that the search finds them too.
  const missed = await introspector.completeBeforeSearch()
  const { tokens, unreadable } = await findRecords(records, kind, id)
  const [problem = missed] = unreadable.values()
  if (tokens.length === 0 && problem !== null) throw problem
  return newestOfEach(tokens, ({ authorization, accessToken }) => authorization?.id ?? accessToken)
}

/** Finds all records that match a query. */
export async function findRecords (records: TokenRecords, kind: QueryKind, id: string): Promise<FoundTokens> {
  const { tokens, unreadable } = await records.all(records.tags.named(kind, id))
  return { tokens: tokens.filter(({ record }) => idsOf(record, kind).includes(id)), unreadable }
}

/** Iterates over all tokens, a page at a time. If some could not be read, returns all others first and then throws. */
export async function * walkTokens ({ records }: TokenParts): AsyncGenerator<StoredToken, void, undefined> {
  let problem: Error | undefined
  for await (const { tokens, unreadable } of records.pages(records.tags.all)) {
    problem ??= [...unreadable.values()][0]
    yield * tokens
  }
  if (problem !== undefined) throw problem
}

/** Returns the newest token of each group, the newest of all first. Tokens for which `groupOf` returns the same are one group. */
export function newestOfEach (tokens: readonly StoredToken[], groupOf: (record: TokenRecord) => string): StoredToken[] {
  const chosen = new Map<string, StoredToken>()
  for (const token of tokens.toSorted((a, b) => isNewer(a.record, b.record) ? -1 : isNewer(b.record, a.record) ? 1 : 0)) {
    const group = groupOf(token.record)
    if (!chosen.has(group)) chosen.set(group, token)
  }
  return [...chosen.values()]
}

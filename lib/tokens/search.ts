import { idsOf, type QueryKind } from '../webflow/authorization.ts'
import { newestOfEach, type FoundTokens, type StoredToken, type TokenRecords } from './records.ts'
import type { TagNames } from './tags.ts'
import type { UntoldTokens } from './untold.ts'

/** What a search takes. */
export interface SearchParts {
  records: TokenRecords
  tags: TagNames
  untold: UntoldTokens
}

/** Tokens that match a query, and those of which nobody can tell whether they match. */
export interface Matches {
  tokens: StoredToken[]
  /** Tokens that cannot be read, or of which Webflow has not told what they open: by their ids, with the error. */
  undecided: Map<string, Error>
}

/**
 * Finds the tokens that open something: one for each authorization, the newest first. Rejects when nothing was found
 * and a token may have been missed.
 */
export async function findTokens (parts: SearchParts, kind: QueryKind, id: string): Promise<StoredToken[]> {
  // First the untold tokens: one that is told meanwhile is found below.
  const missed = await parts.untold.look()
  const { tokens, undecided } = await matching(parts, kind, id)
  const [unreadable] = undecided.values()
  const problem = unreadable ?? missed
  if (tokens.length === 0 && problem !== null) throw problem
  return newestOfEach(tokens, ({ authorization, accessToken }) => authorization?.id ?? accessToken)
}

/** Finds every record that matches, after Webflow was asked about all untold tokens. */
export async function findAllRecords (parts: SearchParts, kind: QueryKind, id: string): Promise<Matches> {
  const silent = await parts.untold.lookAtAll(kind)
  const { tokens, undecided } = await matching(parts, kind, id)
  return { tokens, undecided: new Map([...silent, ...undecided]) }
}

/** Walks over all tokens, a page at a time. Throws in the end if some could not be read. */
export async function * walkTokens ({ records, tags }: SearchParts): AsyncGenerator<StoredToken, void, undefined> {
  let cursor: string | null = null
  let problem: Error | undefined
  do {
    const page: FoundTokens = await records.page(tags.all, cursor)
    problem ??= [...page.unreadable.values()][0]
    yield * page.tokens
    cursor = page.cursor
  } while (cursor !== null)
  if (problem !== undefined) throw problem
}

async function matching ({ records, tags }: SearchParts, kind: QueryKind, id: string): Promise<Matches> {
  const { tokens, unreadable } = await records.all(tags.named(kind, id))
  return { tokens: tokens.filter(({ record }) => idsOf(record, kind).includes(id)), undecided: unreadable }
}

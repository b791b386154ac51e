import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import { Limit } from '../collections/limit.ts'
import { describeForeign, toError } from '../errors.ts'
import type { Settings } from '../options/resolve.ts'
import type { WebflowToken } from '../options/webflow-token.ts'
import type { Upstream } from '../webflow/answers.ts'
import type { QueryKind } from '../webflow/authorization.ts'
import type { WebflowClient } from '../webflow/client.ts'
import type { TokenChecks } from '../webflow/token-checks.ts'
import type { EndedTokens } from './ended.ts'
import { ProtectedToken } from './record.ts'
import { findAllRecords, type SearchParts } from './search.ts'

/** What revoking takes. */
export interface RevocationParts extends SearchParts {
  checks: TokenChecks
  ended: EndedTokens
  log: FastifyBaseLogger
  settings: Pick<Settings, 'onRevoke'>
  webflow: WebflowClient
}

/** How many tokens are revoked, and how many records are forgotten, at a time. */
const maxAtOnce = 8

/** What became of one of the tokens that were to be revoked. */
export type TokenRevocation =
  /** Webflow has ended it, and it is forgotten. */
  | { id: string, revoked: true, upstream: Upstream, error: null }
  /**
   * It is kept. With `failed` Webflow or the store failed: try again. With `unknown` nobody could tell
   * whether it is one of them.
   */
  | { id: string, revoked: false, upstream: 'failed' | 'unknown', error: Error }

/**
 * Revokes a token: Webflow first, then the store. While Webflow cannot be told, the record stays,
 * so that a token that Webflow knows is not lost.
 */
export async function revokeToken (parts: RevocationParts, token: WebflowToken, request: FastifyRequest | null): Promise<Upstream> {
  const upstream = await parts.webflow.revoke(token.accessToken)
  await forgetEverywhere(parts, token, request)
  return upstream
}

/** Revokes a token, and forgets it even when Webflow could not be told. */
export async function forceRevocation (parts: RevocationParts, token: WebflowToken): Promise<Upstream | 'failed'> {
  const upstream = await parts.webflow.revoke(token.accessToken).catch((err: unknown) => {
    parts.log.warn({ tokenId: token.id, err }, 'webflow-oauth: Webflow did not revoke a token, and `revoke` with `force` deletes it all the same. The token may still be valid at Webflow')
    return 'failed' as const
  })
  if (upstream === 'failed') await forget(parts, token, null)
  else await forgetEverywhere(parts, token, null)
  return upstream
}

/**
 * Revokes all tokens that match: each access token once at Webflow, eight at a time. Every record that holds one of
 * them goes, also one that does not match itself; each record has a result of its own.
 */
export async function revokeAll (parts: RevocationParts, kind: QueryKind, id: string): Promise<TokenRevocation[]> {
  const { tokens, undecided } = await findAllRecords(parts, kind, id)
  const byAccessToken = new Map<string, WebflowToken[]>()
  for (const { tokenId, record } of tokens) {
    const matches = byAccessToken.get(record.accessToken) ?? []
    matches.push(new ProtectedToken(tokenId, record))
    byAccessToken.set(record.accessToken, matches)
  }
  const [calls, deletions] = [new Limit(maxAtOnce), new Limit(maxAtOnce)]
  const results = (await Promise.all([...byAccessToken].map(([accessToken, matches]) => calls.run(() => revokeEverywhere(parts, accessToken, matches, deletions))))).flat()
  for (const { id } of results) undecided.delete(id)
  return [...results, ...[...undecided].map(([tokenId, error]): TokenRevocation => ({ id: tokenId, revoked: false, upstream: 'unknown', error }))]
}

/** Revokes an access token, and forgets every record of it: those that match last, since a retry finds the others by them. */
async function revokeEverywhere (parts: RevocationParts, accessToken: string, matches: readonly WebflowToken[], deletions: Limit): Promise<TokenRevocation[]> {
  const { checks, ended, webflow } = parts
  const matchIds = new Set(matches.map(({ id }) => id))
  const fail = ({ id }: WebflowToken, error: unknown): TokenRevocation => ({ id, revoked: false, upstream: 'failed', error: toError(error) })
  try {
    const upstream = await webflow.revoke(accessToken)
    checks.revoked(accessToken)
    const others = (await ended.holdersOf(accessToken)).filter(({ id }) => !matchIds.has(id))
    const forgetAll = (tokens: readonly WebflowToken[]) => Promise.all(tokens.map((token) => deletions.run(() => forget(parts, token, null)).then(
      (): TokenRevocation => ({ id: token.id, revoked: true, upstream, error: null }),
      (error: unknown) => fail(token, error)
    )))
    const results = await forgetAll(others)
    const failed = results.find(({ revoked }) => !revoked)
    return [...results, ...failed === undefined ? await forgetAll(matches) : matches.map((token) => fail(token, failed.error))]
  } catch (error) {
    return matches.map((token) => fail(token, error))
  }
}

/** Forgets a token that has ended for every session and user that holds it. */
async function forgetEverywhere (parts: RevocationParts, token: WebflowToken, request: FastifyRequest | null): Promise<void> {
  parts.checks.revoked(token.accessToken)
  for (const holder of await parts.ended.endingWith(token)) await forget(parts, holder, request)
}

async function forget ({ log, records, settings }: RevocationParts, token: WebflowToken, request: FastifyRequest | null): Promise<void> {
  await records.forget(token.id, token.accessToken, async () => {
    try {
      await settings.onRevoke?.(token, request)
    } catch (error) {
      (request?.log ?? log).error({ err: describeForeign(error) }, 'webflow-oauth: `onRevoke` threw an error')
    }
  })
}

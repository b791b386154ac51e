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

/** How many tokens are revoked at a time. */
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
    parts.log.warn({ tokenId: token.id, err }, 'webflow-oauth: a token is forgotten though Webflow could not be told')
    return 'failed' as const
  })
  if (upstream === 'failed') await forget(parts, token, null)
  else await forgetEverywhere(parts, token, null)
  return upstream
}

/**
 * Revokes all tokens that match: each access token once at Webflow, eight at a time. Every record that holds one of
 * them goes, also one that the search did not find; each record has a result of its own.
 */
export async function revokeAll (parts: RevocationParts, kind: QueryKind, id: string): Promise<TokenRevocation[]> {
  const { tokens, undecided } = await findAllRecords(parts, kind, id)
  const byAccessToken = new Map(tokens.map((token) => [token.record.accessToken, new ProtectedToken(token.tokenId, token.record)]))
  const [calls, deletions] = [new Limit(maxAtOnce), new Limit(maxAtOnce)]
  const results = await Promise.all([...byAccessToken.values()].map((token) => calls.run(() => revokeEverywhere(parts, token, deletions))))
  const unknown = [...undecided].map(([tokenId, error]): TokenRevocation => ({ id: tokenId, revoked: false, upstream: 'unknown', error }))
  return [...results.flat(), ...unknown]
}

/** Revokes an access token, and forgets every record of it; resolves with a result for each record. */
async function revokeEverywhere (parts: RevocationParts, token: WebflowToken, deletions: Limit): Promise<TokenRevocation[]> {
  const [upstream, holders] = await Promise.all([
    parts.webflow.revoke(token.accessToken).catch(toError),
    parts.ended.holdersOf(token)
  ])
  if (upstream instanceof Error) return holders.map(({ id }) => ({ id, revoked: false, upstream: 'failed', error: upstream }))
  parts.checks.revoked(token.accessToken)
  return await Promise.all(holders.map((holder) => deletions.run(async (): Promise<TokenRevocation> => {
    try {
      await forget(parts, holder, null)
      return { id: holder.id, revoked: true, upstream, error: null }
    } catch (error) {
      return { id: holder.id, revoked: false, upstream: 'failed', error: toError(error) }
    }
  })))
}

/** Forgets a token that has ended for whoever holds it. If the store fails, a retry finds those that are left by the token's own record, the last. */
async function forgetEverywhere (parts: RevocationParts, token: WebflowToken, request: FastifyRequest | null): Promise<void> {
  parts.checks.revoked(token.accessToken)
  for (const holder of await parts.ended.holdersOf(token)) await forget(parts, holder, request)
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

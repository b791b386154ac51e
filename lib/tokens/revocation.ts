import type { FastifyRequest } from 'fastify'
import { Limit } from '../collections/limit.ts'
import { toError } from '../errors.ts'
import type { WebflowToken } from '../options/webflow-token.ts'
import type { Upstream } from '../webflow/answers.ts'
import type { QueryKind } from '../webflow/authorization.ts'
import { findHolders, forgetHolders, runHook } from './holders.ts'
import type { TokenParts } from './parts.ts'
import { findRecords } from './search.ts'

/** How many tokens `revokeAll` revokes at a time, and how many records it deletes at a time. */
const maxAtOnce = 8

/** What `revokeAll` did with one record. */
export type TokenRevocation =
  /** Webflow has ended the token, and the plugin has forgotten the record. */
  | { id: string, revoked: true, upstream: Upstream, error: null }
  /**
   * The record was kept. `failed`: Webflow or the store failed, so try again. `unknown`: it is not known whether the record
   * matches the query.
   */
  | { id: string, revoked: false, upstream: 'failed' | 'unknown', error: Error }

/**
 * Revokes a token at Webflow, then forgets all records that hold it. If Webflow fails, this rejects and the records stay:
 * otherwise the token would live on at Webflow, and nobody could revoke it any more.
 * With `force`, a failure of Webflow is logged, and the record of this token is forgotten.
 */
export async function revokeToken (parts: TokenParts, token: WebflowToken, { request = null, force = false }: { request?: FastifyRequest | null, force?: boolean }): Promise<Upstream | 'failed'> {
  const { checks, log, records, webflow } = parts
  const upstream = await webflow.revoke(token.accessToken).catch((err: unknown) => {
    if (!force) throw err
    log.warn({ tokenId: token.id, err }, 'webflow-oauth: Webflow did not revoke a token, and `revoke` with `force` deletes it nevertheless. The token may still be valid at Webflow')
    return 'failed' as const
  })
  const onGone = (gone: WebflowToken) => runOnRevoke(parts, gone, request)
  if (upstream === 'failed') {
    // Webflow may still accept the token, so the other sessions that hold it keep it.
    await records.forget(token.id, token.accessToken, () => onGone(token))
  } else {
    checks.rememberRevoked(token.accessToken)
    await forgetHolders(parts, token, onGone)
  }
  return upstream
}

/**
 * Revokes all tokens that match a query, each access token once at Webflow. Then forgets all records that hold one of them,
 * even records that do not match. Each record has its own result.
 */
export async function revokeAll (parts: TokenParts, kind: QueryKind, id: string): Promise<TokenRevocation[]> {
  // Incomplete records are completed first, so that the search finds them too.
  const incomplete = await parts.introspector.completeAll(kind)
  const { tokens, unreadable } = await findRecords(parts.records, kind, id)
  const undecided = new Map([...incomplete, ...unreadable])
  const byAccessToken = new Map<string, WebflowToken[]>()
  for (const match of tokens) {
    const { accessToken } = match.record
    const matches = byAccessToken.get(accessToken) ?? []
    matches.push(parts.records.present(match))
    byAccessToken.set(accessToken, matches)
  }
  const [calls, deletions] = [new Limit(maxAtOnce), new Limit(maxAtOnce)]
  const results = (await Promise.all([...byAccessToken].map(([accessToken, matches]) => calls.run(() => revokeHolders(parts, accessToken, matches, deletions))))).flat()
  // An undecided record may hold a token that was revoked because of another record. Then it has a result already.
  for (const { id } of results) undecided.delete(id)
  return [...results, ...[...undecided].map(([tokenId, error]): TokenRevocation => ({ id: tokenId, revoked: false, upstream: 'unknown', error }))]
}

/**
 * Revokes an access token at Webflow, then forgets all records that hold it. The records that match the query go last, and
 * only if all others have gone: otherwise a retry with the same query would not find the others.
 */
async function revokeHolders (parts: TokenParts, accessToken: string, matches: readonly WebflowToken[], deletions: Limit): Promise<TokenRevocation[]> {
  const { checks, records, webflow } = parts
  const fail = ({ id }: WebflowToken, error: unknown): TokenRevocation => ({ id, revoked: false, upstream: 'failed', error: toError(error) })
  try {
    const upstream = await webflow.revoke(accessToken)
    checks.rememberRevoked(accessToken)
    const forget = async (token: WebflowToken): Promise<TokenRevocation> => {
      try {
        await deletions.run(() => records.forget(token.id, accessToken, () => runOnRevoke(parts, token, null)))
        return { id: token.id, revoked: true, upstream, error: null }
      } catch (error) {
        return fail(token, error)
      }
    }
    const forgetAll = (tokens: readonly WebflowToken[]) => Promise.all(tokens.map(forget))
    const matchIds = new Set(matches.map(({ id }) => id))
    const others = await forgetAll((await findHolders(records, accessToken)).filter(({ id }) => !matchIds.has(id)))
    const failed = others.find(({ revoked }) => !revoked)
    return [...others, ...failed === undefined ? await forgetAll(matches) : matches.map((token) => fail(token, failed.error))]
  } catch (error) {
    return matches.map((token) => fail(token, error))
  }
}

function runOnRevoke ({ log, settings: { onRevoke } }: TokenParts, token: WebflowToken, request: FastifyRequest | null): Promise<void> {
  return runHook(request?.log ?? log, 'onRevoke', () => onRevoke?.(token, request))
}

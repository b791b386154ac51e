import type { FastifyRequest } from 'fastify'
import type { Context } from './context.ts'
import { describeForeign } from './errors.ts'
import type { WebflowToken } from './token.ts'
import type { Upstream } from './webflow-answers.ts'

/**
 * Revokes a token: Webflow first, then the store. While Webflow cannot be told, the record stays,
 * so that a token that Webflow knows is not lost; unless `force` says otherwise.
 */
export async function revokeToken (context: Context, token: WebflowToken, request: FastifyRequest | null, force: boolean): Promise<Upstream | 'failed'> {
  const { records, settings, webflow } = context
  const log = request?.log ?? context.log
  const upstream = await webflow.revoke(token.accessToken).catch((err: unknown) => {
    if (!force) throw err
    log.warn({ tokenId: token.id, err }, 'webflow-oauth: a token is forgotten though Webflow could not be told')
    return 'failed' as const
  })
  if (await records.forget(token.id, token.accessToken)) {
    try {
      await settings.onRevoke?.(token, request)
    } catch (error) {
      log.error({ err: describeForeign(error) }, 'webflow-oauth: `onRevoke` threw an error')
    }
  }
  return upstream
}

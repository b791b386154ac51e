import { diagnostics, type DisconnectReason } from '../diagnostics.ts'
import type { WebflowToken } from '../options/webflow-token.ts'
import { forgetHolders, runHook } from './holders.ts'
import type { TokenParts } from './parts.ts'

/** Forgets all records of an access token that Webflow has ended, and runs `onDisconnect` for each. */
export async function forgetEnded (parts: TokenParts, token: WebflowToken, reason: DisconnectReason): Promise<void> {
  const { log, settings: { clientId, onDisconnect } } = parts
  await forgetHolders(parts, token, async (ended) => {
    log.info({ tokenId: ended.id, reason }, 'webflow-oauth: Webflow has ended a token, so the plugin has deleted it')
    diagnostics.disconnect.publish({ clientId, reason })
    await runHook(log, 'onDisconnect', () => onDisconnect?.(ended, reason))
  })
}

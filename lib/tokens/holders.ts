import type { FastifyBaseLogger } from 'fastify'
import { describeForeign } from '../errors.ts'
import type { WebflowToken } from '../options/webflow-token.ts'
import type { TokenParts } from './parts.ts'
import type { TokenRecords } from './records.ts'

/** Finds the records of all sessions and users that hold an access token. */
export async function findHolders (records: TokenRecords, accessToken: string): Promise<WebflowToken[]> {
  const { tokens } = await records.all(records.tags.holders(accessToken))
  return tokens.filter(({ record }) => record.accessToken === accessToken).map((holder) => records.present(holder))
}

/**
 * Forgets all records that hold the same access token as `token`, and calls `onGone` for each. The record of `token` itself
 * goes last: if the store fails before, a retry with `token` finds the other records again. `onGone` must not reject.
 */
export async function forgetHolders ({ log, records }: TokenParts, token: WebflowToken, onGone: (gone: WebflowToken) => Promise<void>): Promise<void> {
  const holders = await findHolders(records, token.accessToken).catch((err: unknown): WebflowToken[] => {
    log.warn({ tokenId: token.id, err }, 'webflow-oauth: the store could not find the other sessions with the same token. They stay until the app reports their tokens')
    return []
  })
  const own = holders.find(({ id }) => id === token.id) ?? token
  for (const holder of [...holders.filter(({ id }) => id !== token.id), own]) {
    await records.forget(holder.id, holder.accessToken, () => onGone(holder))
  }
}

/** Runs a hook of the app after a record has gone. An error of the hook is logged and changes nothing. */
export async function runHook (log: FastifyBaseLogger, name: 'onDisconnect' | 'onRevoke', hook: () => unknown): Promise<void> {
  try {
    await hook()
  } catch (error) {
    log.error({ err: describeForeign(error) }, `webflow-oauth: \`${name}\` threw an error`)
  }
}

import type { FastifyBaseLogger } from 'fastify'
import { diagnostics, type DisconnectReason } from '../diagnostics.ts'
import { describeForeign } from '../errors.ts'
import type { Settings } from '../options/resolve.ts'
import type { WebflowToken } from '../options/webflow-token.ts'
import { ProtectedToken } from './record.ts'
import type { TokenRecords } from './records.ts'
import type { TagNames } from './tags.ts'

/**
 * Forgets tokens that Webflow has ended.
 */
export class EndedTokens {
  readonly #records: TokenRecords
  readonly #tags: TagNames
  readonly #clientId: string
  readonly #introspect: boolean
  readonly #onDisconnect: Settings['onDisconnect']
  readonly #log: FastifyBaseLogger

  constructor ({ clientId, introspect, onDisconnect }: Settings, parts: { records: TokenRecords, tags: TagNames, log: FastifyBaseLogger }) {
    this.#clientId = clientId
    this.#introspect = introspect
    this.#onDisconnect = onDisconnect
    this.#records = parts.records
    this.#tags = parts.tags
    this.#log = parts.log
  }

  /** The sessions or users that hold the access token of a token: what ends it ends them all. Its own comes last. */
  async holdersOf (token: WebflowToken): Promise<WebflowToken[]> {
    // What the app holds may be from before Webflow told.
    const standing = await this.#records.peek(token.id)
    const own = standing !== null && standing.record.accessToken === token.accessToken ? new ProtectedToken(token.id, standing.record) : token
    const authorizationId = own.authorization?.id ?? null
    const found = await Promise.all([
      ...authorizationId === null ? [] : [this.#records.all(this.#tags.named('authorizationId', authorizationId))],
      // Of a twin Webflow may not have told yet. Without introspection that is true of all tokens there are.
      ...this.#introspect ? [this.#records.page(this.#tags.incomplete, null)] : []
    ]).catch((err: unknown) => {
      this.#log.warn({ tokenId: own.id, err }, 'webflow-oauth: other sessions that hold the same token could not be found; they end when they are used')
      return []
    })
    const holders = new Map(found.flatMap(({ tokens }) => tokens)
      .filter(({ tokenId, record }) => tokenId !== own.id && record.accessToken === own.accessToken)
      .map(({ tokenId, record }) => [tokenId, new ProtectedToken(tokenId, record)]))
    return [...holders.values(), own]
  }

  /** Forgets every record of an access token that Webflow has ended, and tells the app of each. */
  async forget (token: WebflowToken, reason: DisconnectReason): Promise<void> {
    for (const ended of await this.holdersOf(token)) {
      await this.#records.forget(ended.id, ended.accessToken, async () => {
        this.#log.info({ tokenId: ended.id, reason }, 'webflow-oauth: Webflow has ended a token; it is forgotten')
        diagnostics.disconnect.publish({ clientId: this.#clientId, reason })
        try {
          await this.#onDisconnect?.(ended, reason)
        } catch (error) {
          this.#log.error({ err: describeForeign(error) }, 'webflow-oauth: `onDisconnect` threw an error')
        }
      })
    }
  }
}

import type { FastifyBaseLogger } from 'fastify'
import { diagnostics, type DisconnectReason } from '../diagnostics.ts'
import { describeForeign } from '../errors.ts'
import type { Settings } from '../options/resolve.ts'
import type { WebflowToken } from '../options/webflow-token.ts'
import { ProtectedToken } from './record.ts'
import type { TokenRecords } from './records.ts'
import type { TagNames } from './tags.ts'

/** Forgets tokens that Webflow has ended. */
export class EndedTokens {
  readonly #records: TokenRecords
  readonly #tags: TagNames
  readonly #clientId: string
  readonly #onDisconnect: Settings['onDisconnect']
  readonly #log: FastifyBaseLogger

  constructor ({ clientId, onDisconnect }: Settings, parts: { records: TokenRecords, tags: TagNames, log: FastifyBaseLogger }) {
    this.#clientId = clientId
    this.#onDisconnect = onDisconnect
    this.#records = parts.records
    this.#tags = parts.tags
    this.#log = parts.log
  }

  /** Finds the records of all sessions and users that hold an access token. */
  async holdersOf (accessToken: string): Promise<WebflowToken[]> {
    const { tokens } = await this.#records.all(this.#tags.holders(accessToken))
    return tokens.filter(({ record }) => record.accessToken === accessToken).map(({ tokenId, record }) => new ProtectedToken(tokenId, record))
  }

  /** Finds the records that end with a token, its own last: if the store fails on the way, a retry finds the others by it. */
  async endingWith (token: WebflowToken): Promise<WebflowToken[]> {
    const holders = await this.holdersOf(token.accessToken).catch((err: unknown): WebflowToken[] => {
      this.#log.warn({ tokenId: token.id, err }, 'webflow-oauth: the store could not find other sessions with the same token. They end when they are used')
      return []
    })
    const own = holders.find(({ id }) => id === token.id) ?? token
    return [...holders.filter((holder) => holder !== own), own]
  }

  /** Forgets every record of an access token that Webflow has ended, and tells the app of each. */
  async forget (token: WebflowToken, reason: DisconnectReason): Promise<void> {
    for (const ended of await this.endingWith(token)) {
      await this.#records.forget(ended.id, ended.accessToken, async () => {
        this.#log.info({ tokenId: ended.id, reason }, 'webflow-oauth: Webflow has ended a token, so the plugin has deleted it')
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

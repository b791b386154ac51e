import { storeId } from '../storage/keyring.ts'
import { idsOf, queryKinds, type QueryKind } from '../webflow/authorization.ts'
import type { TokenRecord } from './record.ts'

/**
 * The tags under which the store finds tokens again. Hashes with the client id, like the keys: the
 * store learns no id of a site or a user, and two apps on one store find nothing of each other.
 */
export class TagNames {
  /** Every token. */
  readonly all: string
  /** The tokens of which Webflow has not told yet what they open. */
  readonly untold: string
  readonly #clientId: string

  constructor (clientId: string) {
    this.#clientId = clientId
    this.all = storeId(clientId, 'all')
    // Version 0.1 called the tag so.
    this.untold = storeId(clientId, 'incomplete')
  }

  /** The tag of what is named by an id of Webflow's. */
  named (kind: QueryKind, id: string): string {
    return storeId(this.#clientId, kind, id)
  }

  /** The tag of all records that hold an access token. */
  holders (accessToken: string): string {
    return storeId(this.#clientId, 'accessToken', accessToken)
  }

  /** The tags of a record. */
  of (record: TokenRecord): readonly string[] {
    const named = queryKinds.flatMap((kind) => idsOf(record, kind).map((id) => this.named(kind, id)))
    return [this.all, this.holders(record.accessToken), ...record.told ? [] : [this.untold], ...named]
  }
}

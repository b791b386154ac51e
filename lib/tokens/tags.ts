import { storeId } from '../storage/keyring.ts'
import { idsOf, queryKinds, type QueryKind } from '../webflow/authorization.ts'
import type { TokenRecord } from './record.ts'

/**
 * The tags by which the store finds token records. Like the store's keys, tags are hashes that include the client id: the
 * store learns no id of a site or a user, and two apps on one store do not find each other's tokens.
 */
export class TagNames {
  /** The tag of all records. */
  readonly all: string
  /** The tag of the incomplete records. */
  readonly incomplete: string
  readonly #clientId: string

  constructor (clientId: string) {
    this.#clientId = clientId
    this.all = storeId(clientId, 'all')
    this.incomplete = storeId(clientId, 'incomplete')
  }

  /** Returns the tag of the records that a query for this id finds. */
  named (kind: QueryKind, id: string): string {
    return storeId(this.#clientId, kind, id)
  }

  /** Returns the tag of the records that hold an access token. */
  holders (accessToken: string): string {
    return storeId(this.#clientId, 'accessToken', accessToken)
  }

  /** Returns all tags of a record. */
  of (record: TokenRecord): readonly string[] {
    const named = queryKinds.flatMap((kind) => idsOf(record, kind).map((id) => this.named(kind, id)))
    return [this.all, this.holders(record.accessToken), ...record.complete ? [] : [this.incomplete], ...named]
  }
}

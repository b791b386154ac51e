import { isObject, parseJson } from '../collections/json.ts'
import type { Region } from '../options/regions.ts'
import type { Authorization, WebflowToken, WebflowUser } from '../options/webflow-token.ts'
import { formatAuthorization, parseAuthorization, parseUser, type Installation } from '../webflow/authorization.ts'

/**
 * The record of a token in the store. Times are in Unix milliseconds.
 *
 * | State | In the store | What leads to another state |
 * |---|---|---|
 * | incomplete | `complete` is false, and the record has the tag `incomplete`. `authorization` is null, or only `user` is missing | Webflow answers an introspection completely: in the background, or for a use, a search or a check. Then the record is complete |
 * | complete | `complete` is true, and the record has the tags of what the token opens and of who granted it | The user connects again and gets the same token, but Webflow does not answer the introspection completely. Then the record is incomplete |
 * | ended | No record | – |
 *
 * An incomplete or complete record ends by a revocation, by a reported 401 that Webflow confirms, by the check after the
 * user's next connection, by logout, or when it expires. With `identify`, the user's next token overwrites the record.
 * There is no state for a token that Webflow has ended but that nobody has checked since: its record stays as it was.
 */
export interface TokenRecord {
  accessToken: string
  tokenType: string
  scope: readonly string[]
  createdAt: number
  /** When the record expires, unless a use renews it before. */
  expiresAt: number
  /** When the token itself expires, or null if Webflow did not say. No renewal goes beyond it. */
  endsAt: number | null
  /** What the token opens; null until Webflow has answered. */
  authorization: Authorization | null
  user: WebflowUser | null
  /** The app's user to whom the token belongs. Null for a token of a session, and in records of version 0.1. */
  owner: string | null
  /** When Webflow was asked what the token opens; 0 for never. */
  askedAt: number
  /** Whether Webflow has answered what the token opens and, if the scope allows that question, who granted it. */
  complete: boolean
}

/** A `WebflowToken` that reveals its access token only by `accessToken`: not when it is printed, copied or serialized. */
export class ProtectedToken implements WebflowToken {
  readonly id: string
  readonly tokenType: string
  readonly scope: readonly string[]
  readonly authorization: Authorization | null
  readonly user: WebflowUser | null
  readonly owner: string | null
  readonly region: Region
  readonly createdAt: Date
  readonly expiresAt: Date
  readonly #accessToken: string

  static {
    // With `showHidden` and `getters`, `util.inspect` would call the getter `accessToken`. It calls no getters of a prototype
    // whose constructor is `Object`, because it takes the object for a plain one.
    Object.defineProperty(this.prototype, 'constructor', { value: Object })
  }

  constructor (id: string, record: TokenRecord, region: Region) {
    this.id = id
    this.tokenType = record.tokenType
    this.scope = [...record.scope]
    // The Date is copied: a handler may change it, and several tokens share one record.
    this.authorization = record.authorization && Object.freeze({ ...record.authorization, createdOn: record.authorization.createdOn && new Date(record.authorization.createdOn) })
    this.user = record.user
    this.owner = record.owner
    this.region = region
    this.createdAt = new Date(record.createdAt)
    this.expiresAt = new Date(record.expiresAt)
    this.#accessToken = record.accessToken
  }

  get accessToken (): string {
    return this.#accessToken
  }
}

/**
 * Returns a record with what Webflow has answered about its token. Returns the same object if the answer holds nothing new,
 * or is older than the answer in the record.
 */
export function absorb (record: TokenRecord, { authorization, user, askedAt }: Installation): TokenRecord {
  if (askedAt < record.askedAt) return record
  const known = {
    ...record,
    scope: authorization.scope.length > 0 ? authorization.scope : record.scope,
    authorization,
    user: user === undefined ? record.user : user,
    complete: user !== undefined || record.user !== null
  }
  // If only the time of asking is new, the record need not be written. A record without an authorization always learns something.
  const isKnown = record.authorization !== null && serializeRecord(known) === serializeRecord(record)
  return isKnown ? record : { ...known, askedAt }
}

/**
 * Tells whether a record is newer than another one.
 *
 * If both hold the same access token, the record with the later answer of Webflow is newer. No record is newer than one without
 * an answer.
 *
 * If they hold different access tokens, the record with the later authorization is newer. Its time is Webflow's `createdOn`,
 * because the clocks of two replicas may differ. If one record has no such time, or both have the same, `createdAt` counts.
 */
export function isNewer (record: TokenRecord, than: TokenRecord): boolean {
  if (record.accessToken === than.accessToken) return record.askedAt > than.askedAt && than.askedAt > 0
  const [ours, theirs] = [record, than].map(({ authorization }) => authorization?.createdOn?.getTime())
  return ours !== undefined && theirs !== undefined && ours !== theirs ? ours > theirs : record.createdAt > than.createdAt
}

/**
 * Tells whether the existing record is newer, so that it must not be overwritten. `replaced` is the record that existed
 * before the app asked Webflow for the new token. That record never counts as newer, even if a replica with a fast clock wrote
 * it.
 */
export function hasOvertaken (existing: TokenRecord, record: TokenRecord, replaced: TokenRecord | undefined): boolean {
  const isReplaced = existing.accessToken === replaced?.accessToken && existing.accessToken !== record.accessToken
  return !isReplaced && isNewer(existing, record)
}

/**
 * Copies Webflow's last answer from the existing record into a record of the same access token that has no answer of its own.
 * `complete` is not copied, so Webflow is asked again.
 */
export function keepKnown (record: TokenRecord, { accessToken, authorization, user, askedAt }: TokenRecord): TokenRecord {
  return record.askedAt === 0 && record.accessToken === accessToken ? { ...record, authorization, user, askedAt } : record
}

/** Writes a record as the text that is sealed. Its names are short because a store may hold many records. */
export function serializeRecord ({ accessToken, tokenType, scope, createdAt, expiresAt, endsAt, authorization, user, owner, askedAt, complete }: TokenRecord): string {
  return JSON.stringify({
    token: accessToken,
    type: tokenType,
    scope: scope.join(' '),
    created: createdAt,
    expires: expiresAt,
    ends: endsAt ?? undefined,
    opens: authorization === null ? undefined : formatAuthorization(authorization),
    user: user ?? undefined,
    owner: owner ?? undefined,
    asked: askedAt === 0 ? undefined : askedAt,
    told: complete || undefined
  })
}

/** Reads a record from its text; null if the text is not a record. */
export function parseRecord (text: string): TokenRecord | null {
  const record = parseJson(text)
  if (!isObject(record)) return null
  const { token, type, scope, created, expires, ends = null, opens, user, owner = null, asked = 0, told = false } = record
  if (typeof token !== 'string' || typeof type !== 'string' || typeof scope !== 'string') return null
  if (typeof created !== 'number' || typeof expires !== 'number' || (ends !== null && typeof ends !== 'number')) return null
  if (typeof asked !== 'number' || typeof told !== 'boolean' || (owner !== null && typeof owner !== 'string')) return null
  return {
    accessToken: token,
    tokenType: type,
    scope: scope.split(' '),
    createdAt: created,
    expiresAt: expires,
    endsAt: ends,
    authorization: parseAuthorization(opens),
    user: parseUser(user),
    owner,
    askedAt: asked,
    complete: told
  }
}

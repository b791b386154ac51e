import { isObject, parseJson } from '../collections/json.ts'
import type { Authorization, WebflowToken, WebflowUser } from '../options/webflow-token.ts'
import { formatAuthorization, parseAuthorization, parseUser, type Installation } from '../webflow/authorization.ts'

/**
 * What the store keeps of a token. Times are Unix milliseconds.
 *
 * | State | In the store | What moves it on |
 * |---|---|---|
 * | not yet told | `told` is false, the record has the tag `untold`. `authorization` is null, or only `user` is missing | Any introspection that tells all (in the background, at a use, a search or a check): told |
 * | told | `told` is true, the record has the tags of what it opens and of who granted it | A later introspection that tells something else: told. One that does not name a user who was never known, or a reconnect with the same token of which Webflow does not tell: not yet told |
 * | ended | Nothing | – |
 *
 * From either of the first two, a record ends by a revocation, by a reported 401 that Webflow confirms, by the check
 * after the user's next connection, by logout, and by its deadline. With `identify` the user's next token takes its
 * place, told or not. That Webflow no longer takes a token is no state: the record stays as it is until somebody notices.
 */
export interface TokenRecord {
  accessToken: string
  tokenType: string
  scope: readonly string[]
  createdAt: number
  /** When the record ends unless it is used before. */
  expiresAt: number
  /** When the token itself ends, if Webflow said so: no renewal goes beyond it. */
  endsAt: number | null
  /** What the token opens; null until Webflow has told it. */
  authorization: Authorization | null
  user: WebflowUser | null
  /** When Webflow was asked what it opens; 0 for never. */
  askedAt: number
  /** Whether Webflow has told all that there is to tell of the token. */
  told: boolean
}

/** A `WebflowToken` that keeps its access token out of everything but `accessToken`. */
export class ProtectedToken implements WebflowToken {
  readonly id: string
  readonly tokenType: string
  readonly scope: readonly string[]
  readonly authorization: Authorization | null
  readonly user: WebflowUser | null
  readonly createdAt: Date
  readonly expiresAt: Date
  readonly #accessToken: string

  static {
    // With `showHidden` and `getters`, util.inspect evaluates the accessors of a class, but not those of
    // what calls itself a plain object.
    Object.defineProperty(this.prototype, 'constructor', { value: Object })
  }

  constructor (id: string, record: TokenRecord) {
    this.id = id
    this.tokenType = record.tokenType
    this.scope = [...record.scope]
    // A Date can be changed, and records are shared.
    this.authorization = record.authorization && Object.freeze({ ...record.authorization, createdOn: record.authorization.createdOn && new Date(record.authorization.createdOn) })
    this.user = record.user
    this.createdAt = new Date(record.createdAt)
    this.expiresAt = new Date(record.expiresAt)
    this.#accessToken = record.accessToken
  }

  get accessToken (): string {
    return this.#accessToken
  }
}

/** What became known of a record: unchanged when Webflow was asked earlier than for what stands there. */
export function absorb (record: TokenRecord, { authorization, user, askedAt }: Installation): TokenRecord {
  if (askedAt < record.askedAt) return record
  const known = {
    ...record,
    scope: authorization.scope.length > 0 ? authorization.scope : record.scope,
    authorization,
    user: user === undefined ? record.user : user,
    told: user !== undefined || record.user !== null
  }
  // Nothing but the time of asking may be new: no reason to write.
  return serializeRecord(known) === serializeRecord(record) ? record : { ...known, askedAt }
}

/**
 * Tells whether a record stands for a later authorization than another; of one token it is the one that
 * Webflow told of later. Between tokens Webflow's own clock decides where both are known by it, for those
 * of two replicas may differ.
 */
export function isNewer (record: TokenRecord, than: TokenRecord): boolean {
  if (record.accessToken === than.accessToken) return record.askedAt > than.askedAt && than.askedAt > 0
  const [ours, theirs] = [record, than].map(({ authorization }) => authorization?.createdOn?.getTime())
  return ours !== undefined && theirs !== undefined && ours !== theirs ? ours > theirs : record.createdAt > than.createdAt
}

/** Writes a record as the text that is sealed. The names are short, since a store holds many. */
export function serializeRecord ({ accessToken, tokenType, scope, createdAt, expiresAt, endsAt, authorization, user, askedAt, told }: TokenRecord): string {
  return JSON.stringify({
    token: accessToken,
    type: tokenType,
    scope: scope.join(' '),
    created: createdAt,
    expires: expiresAt,
    ends: endsAt ?? undefined,
    opens: authorization === null ? undefined : formatAuthorization(authorization),
    user: user ?? undefined,
    asked: askedAt === 0 ? undefined : askedAt,
    told: told || undefined
  })
}

/** Reads a record from its text; null when it is none. */
export function parseRecord (text: string): TokenRecord | null {
  const record = parseJson(text)
  if (!isObject(record)) return null
  const { token, type, scope, created, expires, ends = null, opens, user, asked = 0, told = false } = record
  if (typeof token !== 'string' || typeof type !== 'string' || typeof scope !== 'string') return null
  if (typeof created !== 'number' || typeof expires !== 'number' || (ends !== null && typeof ends !== 'number')) return null
  if (typeof asked !== 'number' || typeof told !== 'boolean') return null
  return {
    accessToken: token,
    tokenType: type,
    scope: scope.split(' '),
    createdAt: created,
    expiresAt: expires,
    endsAt: ends,
    authorization: parseAuthorization(opens),
    user: parseUser(user),
    askedAt: asked,
    told
  }
}

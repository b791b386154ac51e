import { isObject, parseJson } from './json.ts'

/** What the store keeps of a token. Times are Unix milliseconds. */
export interface TokenRecord {
  accessToken: string
  tokenType: string
  scope: readonly string[]
  createdAt: number
  /** When the record ends unless it is used before. */
  expiresAt: number
  /** When the token itself ends, if Webflow said so: no renewal goes beyond it. */
  endsAt: number | null
}

/**
 * A connection to Webflow, as a handler sees it.
 *
 * The access token is reachable by `accessToken` alone: serialising, inspecting, spreading, printing
 * or logging the object never reveals it.
 */
export class WebflowToken {
  /** Names the token in logs and for `getToken`. Not secret; stable over renewals, with `identify` also over reconnects. */
  readonly id: string
  /** How the token is presented: `bearer`. */
  readonly tokenType: string
  /** The granted scope if Webflow said what it granted, else the requested one. */
  readonly scope: readonly string[]
  /** When the token was issued. */
  readonly createdAt: Date
  /** When the plugin forgets the token unless it is used before. */
  readonly expiresAt: Date
  readonly #accessToken: string

  static {
    // With `showHidden` and `getters`, util.inspect evaluates the accessors of a class, but not those of
    // what calls itself a plain object.
    Object.defineProperty(this.prototype, 'constructor', { value: Object })
  }

  /** Made by the plugin only. */
  constructor (id: string, record: TokenRecord) {
    this.id = id
    this.tokenType = record.tokenType
    this.scope = [...record.scope]
    this.createdAt = new Date(record.createdAt)
    this.expiresAt = new Date(record.expiresAt)
    this.#accessToken = record.accessToken
  }

  /** The access token itself, for the `Authorization` header of calls to Webflow. Secret. */
  get accessToken (): string {
    return this.#accessToken
  }
}

/** Writes a record as the text that is sealed. The names are short, since a store holds many. */
export function serializeRecord ({ accessToken, tokenType, scope, createdAt, expiresAt, endsAt }: TokenRecord): string {
  return JSON.stringify({ token: accessToken, type: tokenType, scope: scope.join(' '), created: createdAt, expires: expiresAt, ends: endsAt ?? undefined })
}

/** Reads a record from its text; null when it is none. */
export function parseRecord (text: string): TokenRecord | null {
  const record = parseJson(text)
  if (!isObject(record)) return null
  const { token, type, scope, created, expires, ends = null } = record
  if (typeof token !== 'string' || typeof type !== 'string' || typeof scope !== 'string') return null
  if (typeof created !== 'number' || typeof expires !== 'number' || (ends !== null && typeof ends !== 'number')) return null
  return { accessToken: token, tokenType: type, scope: scope.split(' '), createdAt: created, expiresAt: expires, endsAt: ends }
}

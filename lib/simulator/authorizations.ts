import { randomBytes } from 'node:crypto'
import type { App, Config, User } from './options.ts'
import type { Selection } from './selection.ts'

const codeLifetime = 15 * 60 * 1000

/** Everything that one user has allowed one app so far. */
export interface Grant {
  readonly id: string
  readonly createdAt: number
  readonly user: User
  readonly app: App
  readonly scope: Set<string>
  readonly siteIds: Set<string>
  readonly workspaceIds: Set<string>
  readonly tokens: Set<AccessToken>
}

/** An access token that the simulator has issued. */
export interface AccessToken {
  readonly id: string
  readonly value: string
  readonly grant: Grant
  readonly scope: Set<string>
  readonly createdAt: number
  lastUsedAt: number
  readonly expiresAt: number
}

/** What a user has approved. */
export interface Approved {
  readonly user: User
  readonly app: App
  readonly scope: readonly string[]
  readonly selection: Selection
}

/** A user's consent. A code is issued for it. */
export interface Consent extends Approved {
  readonly redirectUri: string
  /** Whether the authorization request named the redirect URI. If it did, the token request must name it again. */
  readonly redirectUriSent: boolean
}

interface AuthorizationCode extends Consent {
  readonly expiresAt: number
  token: AccessToken | null
}

/** The result of exchanging a code: a token, or the description of an `invalid_grant` error. */
export type Exchange =
  | { readonly kind: 'token', readonly token: AccessToken }
  | { readonly kind: 'rejected', readonly description: string }

/** Keeps the grants, the codes and the tokens. */
export class Authorizations {
  readonly #config: Config
  readonly #grants = new Map<string, Grant>()
  readonly #codes = new Map<string, AuthorizationCode>()
  readonly #tokens = new Map<string, AccessToken>()

  constructor (config: Config) {
    this.#config = config
  }

  /** Finds what the user has allowed the app so far. */
  grantOf (user: User, app: App): Grant | undefined {
    return this.#grants.get(grantKey(user, app))
  }

  /** Records a consent and issues a code for it. */
  consent (consent: Consent): string {
    const now = this.#config.now()
    for (const [value, code] of this.#codes) {
      if (code.expiresAt <= now) this.#codes.delete(value)
    }
    this.#widenGrant(consent)
    const value = hex(32)
    this.#codes.set(value, { ...consent, expiresAt: now + codeLifetime, token: null })
    return value
  }

  /** Exchanges a code for a token. This works once, and only for the app to which the code was issued. */
  exchange (app: App, value: string, redirectUri: string | undefined): Exchange {
    const code = this.#codes.get(value)
    if (code === undefined || code.app !== app || code.expiresAt <= this.#config.now()) {
      return { kind: 'rejected', description: 'The code is unknown or has expired' }
    }
    if (code.token !== null) {
      if (this.#config.behavior.reusedCodeEndsToken) this.#end(code.token)
      return { kind: 'rejected', description: 'The code was used before' }
    }
    if ((code.redirectUriSent || redirectUri !== undefined) && redirectUri !== code.redirectUri) {
      return { kind: 'rejected', description: 'invalid_redirect_uri' }
    }
    code.token = this.#issue(code)
    return { kind: 'token', token: code.token }
  }

  /** Makes a token of another simulator valid. Does nothing if the token is known. */
  restore (approved: Approved, value: string): void {
    if (!this.#tokens.has(value)) this.#add(this.#widenGrant(approved), approved.scope, value)
  }

  /** Finds a token; undefined when it is unknown, ended or expired. */
  find (value: string): AccessToken | undefined {
    const token = this.#tokens.get(value)
    if (token === undefined || token.expiresAt > this.#config.now()) return token
    this.#end(token)
    return undefined
  }

  /**
   * Ends a token. With `revocationEndsSiblings`, it also ends the user's other tokens of the app. When the last token of a
   * grant has ended, the grant ends too.
   */
  revoke (token: AccessToken): void {
    const { grant } = token
    for (const other of this.#config.behavior.revocationEndsSiblings ? grant.tokens : [token]) this.#end(other)
    if (grant.tokens.size === 0) this.#grants.delete(grantKey(grant.user, grant.app))
  }

  /** Ends everything that the user allowed the app: the tokens, the grant and the codes. */
  uninstall (user: User, app: App): void {
    for (const token of this.grantOf(user, app)?.tokens ?? []) this.#end(token)
    this.#grants.delete(grantKey(user, app))
    for (const [value, code] of this.#codes) {
      if (grantKey(code.user, code.app) === grantKey(user, app)) this.#codes.delete(value)
    }
  }

  #issue (code: AuthorizationCode): AccessToken {
    const { behavior } = this.#config
    // If the last token of the grant was revoked after the consent, the grant has ended. Then it is created again.
    const grant = this.#widenGrant(code)
    const [earlier] = [...grant.tokens].filter(({ value }) => this.find(value) !== undefined)
    if (earlier !== undefined && behavior.repeatedAuthorization === 'same') {
      for (const name of code.scope) earlier.scope.add(name)
      return earlier
    }
    if (behavior.repeatedAuthorization === 'new-ends-old') {
      for (const token of grant.tokens) this.#end(token)
    }
    return this.#add(grant, code.scope, hex(32))
  }

  #add (grant: Grant, scope: readonly string[], value: string): AccessToken {
    const { behavior, now } = this.#config
    const createdAt = now()
    const token: AccessToken = {
      id: hex(12),
      value,
      grant,
      scope: new Set(scope),
      createdAt,
      lastUsedAt: createdAt,
      expiresAt: behavior.expiresIn === null ? Infinity : createdAt + behavior.expiresIn * 1000
    }
    grant.tokens.add(token)
    this.#tokens.set(token.value, token)
    return token
  }

  #widenGrant ({ user, app, scope, selection }: Approved): Grant {
    const grant = this.grantOf(user, app) ??
      { id: hex(12), createdAt: this.#config.now(), user, app, scope: new Set(), siteIds: new Set(), workspaceIds: new Set(), tokens: new Set() }
    for (const name of scope) grant.scope.add(name)
    for (const id of selection.siteIds) grant.siteIds.add(id)
    for (const id of selection.workspaceIds) grant.workspaceIds.add(id)
    this.#grants.set(grantKey(user, app), grant)
    return grant
  }

  #end (token: AccessToken): void {
    token.grant.tokens.delete(token)
    this.#tokens.delete(token.value)
  }
}

function grantKey (user: User, app: App): string {
  return JSON.stringify([user.id, app.clientId])
}

function hex (bytes: number): string {
  return randomBytes(bytes).toString('hex')
}

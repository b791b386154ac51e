import { randomBytes } from 'node:crypto'
import type { App, Config, User } from './options.ts'

const lifetime = 15 * 60 * 1000

/** An ID token, which tells an app who has opened which site in the Designer. */
export interface IdToken {
  readonly app: App
  readonly user: User
  readonly siteId: string
  readonly expiresAt: number
}

/** Keeps the ID tokens that the Designer has given to the extensions of apps. */
export class IdTokens {
  readonly #config: Config
  readonly #tokens = new Map<string, IdToken>()

  constructor (config: Config) {
    this.#config = config
  }

  /** Makes an ID token that lives for 15 minutes. It has the shape of a JWT, but its signature is random. */
  mint (app: App, user: User, siteId: string): string {
    const now = this.#config.now()
    for (const [value, token] of this.#tokens) {
      if (token.expiresAt <= now) this.#tokens.delete(value)
    }
    const expiresAt = now + lifetime
    const claims = { sub: user.id, iat: Math.floor(now / 1000), exp: Math.floor(expiresAt / 1000) }
    const value = `${encode({ alg: 'RS256', typ: 'JWT' })}.${encode(claims)}.${randomBytes(64).toString('base64url')}`
    this.#tokens.set(value, { app, user, siteId, expiresAt })
    return value
  }

  /** Finds an ID token of an app; undefined when it is unknown, expired or of another app. */
  find (app: App, value: unknown): IdToken | undefined {
    const token = typeof value === 'string' ? this.#tokens.get(value) : undefined
    return token !== undefined && token.app === app && token.expiresAt > this.#config.now() ? token : undefined
  }
}

function encode (part: object): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url')
}

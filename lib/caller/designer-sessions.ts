import type { FastifyRequest } from 'fastify'
import type { Sealer } from '../storage/seal.ts'
import type { ResolvedSite } from '../tokens/id-tokens.ts'
import type { TokenRecord } from '../tokens/record.ts'
import type { TagNames } from '../tokens/tags.ts'

/** Begins every session token. Its version is part of it. */
const prefix = 'wfd1.'
/** The place for which session tokens are sealed. */
const place = 'designer session'

/** What a session token holds. It names no access token: it is bound to the record of one. */
interface DesignerSession {
  readonly tokenId: string
  /** The tag of the records that hold the access token. The record must still hold that one. */
  readonly holders: string
  readonly userId: string
  readonly siteId: string
  /** The workspace through which the token opens the site; null if the token names the site itself. */
  readonly workspaceId: string | null
}

/**
 * A caller that sends a session token. Neither cookies nor `identify` count for such a caller. `isAdmitted` is true on a route
 * with `config: { webflowDesigner: true }`. `session` is null elsewhere, and when the session token has ended or is not ours.
 */
export interface Guest {
  readonly isAdmitted: boolean
  readonly session: DesignerSession | null
}

/** Makes and opens the session tokens of Designer Extensions. They are sealed, and nothing is stored for them. */
export class DesignerSessions {
  readonly #sealer: Sealer
  readonly #tags: TagNames
  readonly #maxAge: number

  /** `maxAge` is the life of a session token, in seconds; 0 for an app without a Designer Extension, where every one has ended. */
  constructor (sealer: Sealer, tags: TagNames, maxAge: number) {
    this.#sealer = sealer
    this.#tags = tags
    this.#maxAge = maxAge * 1000
  }

  /** Makes a session token for a person who has opened a site. `expiresAt` is in Unix milliseconds. */
  issue ({ user, siteId, workspaceId, token }: ResolvedSite): { sessionToken: string, expiresAt: number } {
    const issuedAt = Date.now()
    // None of these holds a space.
    const text = [token.tokenId, this.#tags.holders(token.record.accessToken), user.id, siteId, workspaceId ?? '', issuedAt].join(' ')
    return { sessionToken: prefix + this.#sealer.seal(place, text).replace(/^v1\./, ''), expiresAt: issuedAt + this.#maxAge }
  }

  /** Finds out whether a request carries a session token, and opens it if the route admits it; null for any other caller. */
  guestOf (request: FastifyRequest): Guest | null {
    const sessionToken = sessionTokenOf(request)
    if (sessionToken === null) return null
    const isAdmitted = request.routeOptions.config?.webflowDesigner === true
    return { isAdmitted, session: isAdmitted ? this.#open(sessionToken) : null }
  }

  /** Tells whether a record still holds the access token of a session, and still opens its site. */
  opens ({ holders, siteId, workspaceId }: DesignerSession, { accessToken, authorization }: TokenRecord): boolean {
    if (authorization === null || this.#tags.holders(accessToken) !== holders) return false
    return authorization.siteIds.includes(siteId) || (workspaceId !== null && authorization.workspaceIds.includes(workspaceId))
  }

  #open (sessionToken: string): DesignerSession | null {
    const opened = this.#sealer.open(place, `v1.${sessionToken.slice(prefix.length)}`)
    if (opened.kind !== 'opened') return null
    const [tokenId = '', holders = '', userId = '', siteId = '', workspaceId = '', issuedAt] = opened.text.split(' ')
    if (Date.now() >= Number(issuedAt) + this.#maxAge) return null
    return { tokenId, holders, userId, siteId, workspaceId: workspaceId === '' ? null : workspaceId }
  }
}

/** Tells whether a request carries a session token, valid or not. */
export function isGuest (request: FastifyRequest): boolean {
  return sessionTokenOf(request) !== null
}

function sessionTokenOf ({ headers: { authorization } }: FastifyRequest): string | null {
  if (authorization === undefined) return null
  return /^[Bb][Ee][Aa][Rr][Ee][Rr]\s+(wfd1\..*)$/s.exec(authorization)?.[1] ?? null
}

import type { FastifyRequest } from 'fastify'
import type { Sealer } from '../storage/seal.ts'
import type { ResolvedSite } from '../tokens/id-tokens.ts'
import type { TokenRecord } from '../tokens/record.ts'
import type { TagNames } from '../tokens/tags.ts'

/** The beginning of every session token. The digit is the version of the format. */
const prefix = 'wfd1.'
/** The place that is authenticated together with a session token, so that no other sealed value passes for one. */
const place = 'designer session'

/** What a session token holds. It does not hold the access token, but says in which record that token is. */
interface DesignerSession {
  /** The id of the record. */
  readonly tokenId: string
  /** The tag of all records that hold the access token. The session ends when its record holds another access token. */
  readonly holdersTag: string
  readonly userId: string
  readonly siteId: string
  /** The workspace through which the token opens the site; null if the token names the site itself. */
  readonly workspaceId: string | null
}

/**
 * A caller that sends a session token of the Designer. Neither cookies nor `identify` count for such a caller. `isAdmitted` is
 * true on a route with `config: { webflowDesigner: true }`. `session` is null on any other route, and if the session token has
 * expired or is not genuine.
 */
export interface Guest {
  readonly isAdmitted: boolean
  readonly session: DesignerSession | null
}

/** Makes and reads the session tokens of Designer Extensions. They are sealed, and nothing is stored for them. */
export class DesignerSessions {
  readonly #sealer: Sealer
  readonly #tags: TagNames
  readonly #maxAge: number

  /** `maxAge` is the life of a session token, in seconds. It is 0 without the option `designer`, so that no session token is valid. */
  constructor (sealer: Sealer, tags: TagNames, maxAge: number) {
    this.#sealer = sealer
    this.#tags = tags
    this.#maxAge = maxAge * 1000
  }

  /** Makes a session token for a person who has opened a site. `expiresAt` is in Unix milliseconds. */
  issue ({ user, siteId, workspaceId, token }: ResolvedSite): { sessionToken: string, expiresAt: number } {
    const issuedAt = Date.now()
    // None of the joined values contains a space.
    const text = [token.tokenId, this.#tags.holders(token.record.accessToken), user.id, siteId, workspaceId ?? '', issuedAt].join(' ')
    return { sessionToken: prefix + this.#sealer.seal(place, text).replace(/^v1\./, ''), expiresAt: issuedAt + this.#maxAge }
  }

  /** Reads the session token of a request, if the route admits session tokens. Null for a caller without a session token. */
  guestOf (request: FastifyRequest): Guest | null {
    const sessionToken = sessionTokenOf(request)
    if (sessionToken === null) return null
    const isAdmitted = request.routeOptions.config?.webflowDesigner === true
    return { isAdmitted, session: isAdmitted ? this.#read(sessionToken) : null }
  }

  /** Tells whether a session goes on: its record must still hold the same access token, and that token must still open the site. */
  isAlive ({ holdersTag, siteId, workspaceId }: DesignerSession, { accessToken, authorization }: TokenRecord): boolean {
    if (authorization === null || this.#tags.holders(accessToken) !== holdersTag) return false
    return authorization.siteIds.includes(siteId) || (workspaceId !== null && authorization.workspaceIds.includes(workspaceId))
  }

  #read (sessionToken: string): DesignerSession | null {
    const opened = this.#sealer.unseal(place, `v1.${sessionToken.slice(prefix.length)}`)
    if (opened.kind !== 'unsealed') return null
    const [tokenId = '', holdersTag = '', userId = '', siteId = '', workspaceId = '', issuedAt] = opened.text.split(' ')
    if (Date.now() >= Number(issuedAt) + this.#maxAge) return null
    return { tokenId, holdersTag, userId, siteId, workspaceId: workspaceId === '' ? null : workspaceId }
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

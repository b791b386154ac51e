import { hash } from 'node:crypto'
import { BoundedMap } from '../collections/bounded-map.ts'
import { withDeadline, type Deadline } from '../collections/deadline.ts'
import { ownCode } from '../diagnostics.ts'
import { WebflowOAuthError, type ErrorCode } from '../errors.ts'
import type { Settings } from '../options/resolve.ts'
import type { DesignerUser } from '../webflow/id-token-answers.ts'
import { askWithToken, type IdTokenVerdict } from './id-token-verdict.ts'
import type { TokenParts } from './parts.ts'
import type { StoredToken } from './records.ts'
import type { ResolveLimits, TryEnd } from './resolve-limits.ts'
import { chooseToken, findCandidates, workspaceOf, type Candidates } from './site-tokens.ts'

/** The most access tokens with which one ID token is tried. */
const mostTried = 3
/** How long a good answer counts, in milliseconds. */
const goodFor = 60_000
const maxRemembered = 10_000
const neededScope = 'authorized_user:read'
const outages: ReadonlySet<ErrorCode | null> = new Set(['WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE', 'WEBFLOW_OAUTH_WEBFLOW_TIMEOUT', 'WEBFLOW_OAUTH_STORE_UNAVAILABLE'])

/** An ID token, and where its owner says that it is from. `address` is that of the client. */
export interface IdTokenRequest {
  idToken: string
  siteId: string
  workspaceId: string | null
  address: string
}

/** What an ID token stands for, as Webflow has confirmed. */
export interface ResolvedSite {
  user: DesignerUser
  siteId: string
  /** The workspace through which the token opens the site; null if the token names the site itself. */
  workspaceId: string | null
  token: StoredToken
}

/** A good answer of Webflow. */
interface GoodAnswer {
  user: DesignerUser
  /** The name of the access token that the answer led to. */
  name: string
  /** As in `ResolvedSite`. */
  workspaceId: string | null
  at: number
}

/** The parts of the plugin that resolve ID tokens. */
export interface IdTokenParts extends Omit<TokenParts, 'settings'> {
  settings: TokenParts['settings'] & Pick<Settings, 'paths'>
  limits: ResolveLimits
}

/** Finds out who has opened a site in the Designer, by the ID token of the extension. */
export class IdTokens {
  readonly #parts: IdTokenParts
  readonly #good = new BoundedMap<GoodAnswer>(maxRemembered)

  constructor (parts: IdTokenParts) {
    this.#parts = parts
  }

  /**
   * Resolves an ID token within `timeout`. Every ID token that does not stand for the site has the same error,
   * `WEBFLOW_OAUTH_ID_TOKEN_INVALID`.
   */
  async resolve (request: IdTokenRequest): Promise<ResolvedSite> {
    if (request.idToken.startsWith('wfd1.')) throw invalid()
    return await withDeadline(this.#parts.settings.timeout, (deadline) => this.#resolve(request, deadline))
  }

  async #resolve (request: IdTokenRequest, deadline: Deadline): Promise<ResolvedSite> {
    const { siteId } = request
    const candidates = await inTime(deadline, findCandidates(this.#parts, request))
    const able = candidates.tokens.filter(({ record }) => record.scope.includes(neededScope))
    const key = nameOf(`${siteId} ${request.idToken}`)
    const recall = () => this.#remembered(key, siteId, candidates)
    const known = recall()
    if (known !== null) return known
    let lacksScope = able.length < candidates.tokens.length
    const dead = new Set<StoredToken>()
    const ends: Array<(end: TryEnd) => void> = []
    for (const candidate of able.slice(0, mostTried)) {
      let end: (end: TryEnd) => void
      try {
        end = await this.#parts.limits.begin(nameOf(candidate.record.accessToken), request.address, deadline)
      } catch (error) {
        const meanwhile = recall()
        if (meanwhile !== null) return meanwhile
        throw error
      }
      ends.push(end)
      // Another request may have asked about the same ID token while this one waited for its try.
      const meanwhile = recall()
      if (meanwhile !== null) {
        for (const giveBack of ends) giveBack('good')
        return meanwhile
      }
      const verdict = await this.#ask(candidate, request, candidates, deadline, end)
      if (verdict.kind === 'invalid') throw invalid()
      if (verdict.kind === 'rate_limited') throw new WebflowOAuthError('WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE', 'Webflow answered that the token of this site has asked too often. This is usually temporary: try again later.')
      if (verdict.kind === 'dead') dead.add(candidate)
      if (verdict.kind === 'scope_missing') lacksScope = true
      if (verdict.kind !== 'resolved') continue
      const { user } = verdict
      const living = { ...candidates, tokens: candidates.tokens.filter((token) => !dead.has(token)) }
      const token = chooseToken(living, candidate, verdict)
      const workspaceId = workspaceOf(candidates, token, verdict.siteWorkspaceId)
      this.#good.set(key, { user, name: nameOf(token.record.accessToken), workspaceId, at: Date.now() })
      // All tries are given back: a site whose newest token is dead must not cost its people the tries with that token.
      // The answer is remembered before, for those who wait.
      for (const giveBack of ends) giveBack('good')
      return { user, siteId, workspaceId, token }
    }
    throw this.#notConnected(lacksScope)
  }

  /** Returns a good answer of the last minute, if the token that it led to still opens the site; null if there is none. */
  #remembered (key: string, siteId: string, candidates: Candidates): ResolvedSite | null {
    const known = this.#good.get(key)
    if (known === undefined || Date.now() - known.at >= goodFor) return null
    const { user, workspaceId } = known
    const token = candidates.tokens.find(({ record }) => nameOf(record.accessToken) === known.name)
    return token !== undefined && (workspaceId !== null || candidates.workspaceId === null) ? { user, siteId, workspaceId, token } : null
  }

  /** Asks Webflow with one token, and ends its try. Counts as one try, however many calls it takes. */
  async #ask ({ record }: StoredToken, request: IdTokenRequest, { workspaceId }: Candidates, deadline: Deadline, end: (end: TryEnd) => void): Promise<IdTokenVerdict> {
    const asking = askWithToken(this.#parts, record, { ...request, workspaceId }, deadline)
    // The answer decides what the try costs, even if it comes after the time of the request is over. A good answer in time is
    // remembered first.
    asking.then(
      ({ kind }) => {
        if (kind !== 'resolved') end('spent')
        else if (deadline.isOver) end('good')
      },
      (error: unknown) => { end(outages.has(ownCode(error)) ? 'outage' : 'spent') }
    )
    return await inTime(deadline, asking)
  }

  #notConnected (lacksScope: boolean): WebflowOAuthError {
    const url = new URL(this.#parts.settings.paths.authorizeUrl)
    url.searchParams.set('popup', '1')
    return lacksScope
      ? new WebflowOAuthError('WEBFLOW_OAUTH_SCOPE_MISSING', `The tokens that open this site lack the scope ${neededScope} or sites:read: the user must connect again.`, { authorizeUrl: url.href })
      : new WebflowOAuthError('WEBFLOW_OAUTH_TOKEN_REQUIRED', 'No living token opens this site: the user must connect the app.', { authorizeUrl: url.href })
  }
}

/** Waits for a step until the time of the whole request is over. */
async function inTime<T> (deadline: Deadline, step: Promise<T>): Promise<T> {
  return await Promise.race([step, deadline.expired.then((): never => {
    throw new WebflowOAuthError('WEBFLOW_OAUTH_WEBFLOW_TIMEOUT', 'Webflow did not resolve the ID token in time. Try again later.')
  })])
}

/** Returns a hash that stands for a token, so that no token stays in memory with a remembered answer. */
function nameOf (token: string): string {
  return hash('sha256', token, 'base64url')
}

function invalid (): WebflowOAuthError {
  return new WebflowOAuthError('WEBFLOW_OAUTH_ID_TOKEN_INVALID', 'The ID token is not valid for this site: get a new one with `webflow.getIdToken()`, and send the id of the site that is open.')
}

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
import type { EndTry, ResolveLimits } from './resolve-limits.ts'
import { chooseToken, findCandidates, workspaceOf, type Candidates } from './site-tokens.ts'

/** The most access tokens with which one ID token is tried. */
const mostTried = 3
/** How long a good answer is remembered, in milliseconds. */
const goodFor = 60_000
const maxRemembered = 10_000
const neededScope = 'authorized_user:read'
const outages: ReadonlySet<ErrorCode | null> = new Set(['WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE', 'WEBFLOW_OAUTH_WEBFLOW_TIMEOUT', 'WEBFLOW_OAUTH_STORE_UNAVAILABLE'])

/** A request to resolve an ID token. The ids are what the client says. */
export interface IdTokenRequest {
  idToken: string
  siteId: string
  workspaceId: string | null
  /** The IP address of the client. */
  address: string
}

/** Who has opened which site in the Designer, as Webflow has confirmed, and a token for the site. */
export interface ResolvedSite {
  user: DesignerUser
  siteId: string
  /** The workspace through which the token opens the site; null if the token names the site itself. */
  workspaceId: string | null
  token: StoredToken
}

/** A remembered answer: Webflow has named the person and the site of an ID token. */
interface GoodAnswer {
  user: DesignerUser
  /** The hash of the access token that was chosen for the site. */
  tokenHash: string
  /** As in `ResolvedSite`. */
  workspaceId: string | null
  /** The hashes of the access tokens that had ended. */
  ended: ReadonlySet<string>
  /** In Unix milliseconds. */
  answeredAt: number
}

/** The parts of the plugin that resolve ID tokens. */
export interface IdTokenParts extends Omit<TokenParts, 'settings'> {
  settings: TokenParts['settings'] & Pick<Settings, 'paths'>
  limits: ResolveLimits
}

/** Finds out who has opened a site in the Designer, by the ID token of the extension. Remembers good answers for a minute. */
export class IdTokens {
  readonly #parts: IdTokenParts
  readonly #good = new BoundedMap<GoodAnswer>(maxRemembered)

  constructor (parts: IdTokenParts) {
    this.#parts = parts
  }

  /**
   * Resolves an ID token within `timeout`. Rejects with `WEBFLOW_OAUTH_ID_TOKEN_INVALID` if the ID token is not one for this
   * site, for whatever reason.
   */
  async resolve (request: IdTokenRequest): Promise<ResolvedSite> {
    if (request.idToken.startsWith('wfd1.')) throw invalid()
    return await withDeadline(this.#parts.settings.timeout, (deadline) => this.#resolve(request, deadline))
  }

  async #resolve (request: IdTokenRequest, deadline: Deadline): Promise<ResolvedSite> {
    const { siteId, idToken, address } = request
    const key = hashOf(`${siteId} ${idToken}`)
    /** The hashes of the access tokens that have turned out to have ended. */
    const ended = new Set(this.#known(key)?.ended)
    const isLiving = ({ record }: StoredToken) => !ended.has(hashOf(record.accessToken))
    const find = async () => await inTime(deadline, findCandidates(this.#parts, request, isLiving))
    let candidates = await find()
    const recall = () => this.#recall(key, siteId, candidates)
    const recalled = recall()
    if (recalled !== null) return recalled

    let able = ableOf(candidates)
    let lacksScope = able.length < candidates.tokens.length
    const tries: EndTry[] = []
    const giveBackTries = () => { for (const endTry of tries) endTry('good') }
    while (tries.length < mostTried) {
      const candidate = able.shift()
      if (candidate === undefined) break
      // While this request waits for a try, another one may get an answer about the same ID token. That answer counts for both.
      let endTry: EndTry
      try {
        endTry = await this.#parts.limits.begin(hashOf(candidate.record.accessToken), address, deadline)
      } catch (error) {
        const meanwhile = recall()
        if (meanwhile !== null) return meanwhile
        throw error
      }
      tries.push(endTry)
      const meanwhile = recall()
      if (meanwhile !== null) {
        giveBackTries()
        return meanwhile
      }
      const verdict = await this.#ask(candidate, request, candidates, deadline, endTry)
      switch (verdict.kind) {
        case 'invalid': throw invalid()
        case 'rate_limited': throw new WebflowOAuthError('WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE', 'Webflow answered that the app\'s token for this site was used too often. This is usually temporary: try again later.')
        case 'inaccessible': break
        case 'dead':
          ended.add(hashOf(candidate.record.accessToken))
          if (candidates.tokens.some(isLiving)) break
          // All tokens that name the site have ended, but one for the whole workspace may still open it.
          candidates = await find()
          able = ableOf(candidates)
          lacksScope ||= able.length < candidates.tokens.length
          break
        case 'scope_missing':
          lacksScope = true
          break
        case 'resolved': {
          const { user, siteWorkspaceId } = verdict
          const token = chooseToken({ ...candidates, tokens: candidates.tokens.filter(isLiving) }, candidate, verdict)
          const workspaceId = workspaceOf(candidates, token, siteWorkspaceId)
          // The answer is remembered before the tries are given back, because that wakes the requests that wait for a try.
          this.#good.set(key, { user, tokenHash: hashOf(token.record.accessToken), workspaceId, ended, answeredAt: Date.now() })
          // All tries are given back, even those with dead tokens. Otherwise a dead newest token would use up everybody's tries.
          giveBackTries()
          return { user, siteId, workspaceId, token }
        }
      }
    }
    throw this.#notConnected(lacksScope)
  }

  /** Returns a good answer of the last minute; undefined if there is none. */
  #known (key: string): GoodAnswer | undefined {
    const known = this.#good.get(key)
    return known !== undefined && Date.now() - known.answeredAt < goodFor ? known : undefined
  }

  /** Returns a good answer of the last minute, if the store still has the token that it led to; null if there is none. */
  #recall (key: string, siteId: string, candidates: Candidates): ResolvedSite | null {
    const known = this.#known(key)
    if (known === undefined) return null
    const { user, workspaceId } = known
    // If the token named the site then and opens only the workspace now, Webflow must confirm again that the token opens the site.
    const token = candidates.tokens.find(({ record }) => hashOf(record.accessToken) === known.tokenHash)
    return token !== undefined && (workspaceId !== null || candidates.workspaceId === null) ? { user, siteId, workspaceId, token } : null
  }

  /** Asks Webflow with one access token. This is one try, however many calls to Webflow it takes. Ends the try unless the answer is good. */
  async #ask ({ record }: StoredToken, request: IdTokenRequest, { workspaceId }: Candidates, deadline: Deadline, endTry: EndTry): Promise<IdTokenVerdict> {
    const asking = askWithToken(this.#parts, record, { ...request, workspaceId }, deadline)
    // The answer ends the try even if the request has timed out by then. A good answer in time is remembered before the try ends,
    // so `#resolve` ends that try.
    asking.then(
      ({ kind }) => {
        if (kind !== 'resolved') endTry('spent')
        else if (deadline.isOver) endTry('good')
      },
      (error: unknown) => { endTry(outages.has(ownCode(error)) ? 'outage' : 'spent') }
    )
    return await inTime(deadline, asking)
  }

  #notConnected (lacksScope: boolean): WebflowOAuthError {
    const url = new URL(this.#parts.settings.paths.authorizeUrl)
    url.searchParams.set('popup', '1')
    return lacksScope
      ? new WebflowOAuthError('WEBFLOW_OAUTH_SCOPE_MISSING', `The tokens for this site lack the scope ${neededScope} or sites:read: the user must connect again.`, { authorizeUrl: url.href })
      : new WebflowOAuthError('WEBFLOW_OAUTH_TOKEN_REQUIRED', 'No living token opens this site: the user must connect the app.', { authorizeUrl: url.href })
  }
}

/** Returns the tokens that have the scope for resolving an ID token. */
function ableOf ({ tokens }: Candidates): StoredToken[] {
  return tokens.filter(({ record }) => record.scope.includes(neededScope))
}

/** Waits for a step, but not longer than the deadline of the whole request. */
async function inTime<T> (deadline: Deadline, step: Promise<T>): Promise<T> {
  return await Promise.race([step, deadline.expired.then((): never => {
    throw new WebflowOAuthError('WEBFLOW_OAUTH_WEBFLOW_TIMEOUT', 'Webflow did not resolve the ID token in time. Try again later.')
  })])
}

/** Hashes a token, so that no token stays in memory with a remembered answer. */
function hashOf (token: string): string {
  return hash('sha256', token, 'base64url')
}

function invalid (): WebflowOAuthError {
  return new WebflowOAuthError('WEBFLOW_OAUTH_ID_TOKEN_INVALID', 'The ID token is not valid for this site: get a new one with `webflow.getIdToken()`, and send the id of the site that is open.')
}

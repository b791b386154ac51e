import { BoundedMap } from '../collections/bounded-map.ts'
import type { Deadline } from '../collections/deadline.ts'
import { WebflowOAuthError } from '../errors.ts'

/** How long a spent try counts, in milliseconds from its start. */
const countsFor = 60_000
/** The most tries with one access token by one client address. */
const mostForAddress = 10
/** The most tries with one access token by all client addresses together. */
const mostInAll = 30
/** How long a client address with a good answer is exempt from `mostInAll`, in milliseconds. */
const trustedFor = 60 * 60 * 1000
/** The most requests that wait for a try with one access token. Further ones are refused at once, so that waiting stays cheap. */
const maxWaiting = 100
const maxTokens = 10_000
const maxTrusted = 1000

/**
 * Ends a try. After a `good` answer of Webflow, or an `outage` of Webflow or the store, the try is given back and no longer
 * counts. Any other try is `spent`.
 */
export type EndTry = (outcome: 'good' | 'outage' | 'spent') => void

interface Try {
  readonly address: string
  readonly startedAt: number
  isUnderWay: boolean
}

/** The tries with one access token. */
interface TokenTries {
  /** The tries that count, the oldest first. */
  tries: Try[]
  /** When each client address last had a good answer. */
  readonly trusted: BoundedMap<number>
  /** The functions that wake the waiting requests. They are called when a try ends. */
  readonly waiting: Set<() => void>
}

/**
 * Limits how often clients make the plugin ask Webflow with an access token: ten tries a minute for each client address, and
 * thirty for all together. Otherwise a stranger could use up the rate limit of a tenant's token. Each process counts for itself.
 */
export class ResolveLimits {
  readonly #now: () => number
  readonly #tokens = new BoundedMap<TokenTries>(maxTokens)

  /** `now` returns the time in Unix milliseconds. */
  constructor (now: () => number = () => Date.now()) {
    this.#now = now
  }

  /**
   * Begins a try with an access token, and resolves with the function that ends the try. While a limit is reached, waits as
   * long as tries are under way that may be given back. Rejects with `WEBFLOW_OAUTH_TOO_MANY_REQUESTS` when waiting does not
   * help. `tokenHash` is the hash of the access token.
   */
  async begin (tokenHash: string, address: string, deadline: Deadline): Promise<EndTry> {
    const token = this.#tokens.get(tokenHash) ?? { tries: [], trusted: new BoundedMap(maxTrusted), waiting: new Set() }
    this.#tokens.set(tokenHash, token)
    let wake = () => {}
    deadline.expired.then(() => { wake() })
    while (true) {
      const now = this.#now()
      token.tries = token.tries.filter(({ isUnderWay, startedAt }) => isUnderWay || now - startedAt < countsFor)
      const isTrusted = now - (token.trusted.get(address) ?? -Infinity) < trustedFor
      const reached = [
        { tries: token.tries.filter((each) => each.address === address), most: mostForAddress },
        { tries: isTrusted ? [] : token.tries, most: mostInAll }
      ].filter(({ tries, most }) => tries.length >= most)
      if (reached.length === 0) return this.#add(token, { address, startedAt: now, isUnderWay: true })
      const waitingHelps = reached.every(({ tries }) => tries.some(({ isUnderWay }) => isUnderWay))
      if (!waitingHelps || deadline.isOver || token.waiting.size >= maxWaiting) throw tooMany(Math.max(...reached.map(({ tries, most }) => freeAt(tries, most) - now)))
      await new Promise<void>((resolve) => {
        wake = resolve
        token.waiting.add(resolve)
      })
      token.waiting.delete(wake)
    }
  }

  #add (token: TokenTries, added: Try): EndTry {
    token.tries.push(added)
    return (outcome) => {
      added.isUnderWay = false
      if (outcome !== 'spent') token.tries = token.tries.filter((each) => each !== added)
      if (outcome === 'good') token.trusted.set(added.address, this.#now())
      const woken = [...token.waiting]
      token.waiting.clear()
      for (const wake of woken) wake()
    }
  }
}

/** Returns when enough of the tries no longer count to allow another one, in Unix milliseconds. */
function freeAt (tries: readonly Try[], most: number): number {
  return Math.min(...tries.slice(tries.length - most).map(({ startedAt }) => startedAt)) + countsFor
}

function tooMany (wait: number): WebflowOAuthError {
  const retryAfter = Math.max(1, Math.ceil(wait / 1000))
  return new WebflowOAuthError('WEBFLOW_OAUTH_TOO_MANY_REQUESTS', `There were too many ID tokens for this site that Webflow did not accept: try again in ${retryAfter} seconds.`, { retryAfter })
}

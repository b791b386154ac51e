import { BoundedMap } from '../collections/bounded-map.ts'
import type { Deadline } from '../collections/deadline.ts'
import { WebflowOAuthError } from '../errors.ts'

/** How long a try counts, in milliseconds. */
const countsFor = 60_000
/** The most tries with one access token for one client address. */
const mostForAddress = 10
/** The most tries with one access token in all. */
const mostInAll = 30
/** How long a client address with a good answer is exempt from `mostInAll`, in milliseconds. */
const trustedFor = 60 * 60 * 1000
/** The most requests that wait for a try with one access token. More are refused at once, so that waiting stays cheap. */
const maxWaiting = 100
const maxTokens = 10_000
const maxTrusted = 1000

/** How a try ended. A try with a `good` answer, or one that met an `outage`, is given back. Any other is `spent`. */
export type TryEnd = 'good' | 'outage' | 'spent'

interface Try {
  readonly address: string
  readonly startedAt: number
  isOpen: boolean
}

/** The tries with one access token. */
interface TokenTries {
  /** The oldest first. */
  tries: Try[]
  /** When each client address last had a good answer. */
  readonly trusted: BoundedMap<number>
  /** Called once when a try ends. */
  readonly waiting: Set<() => void>
}

/**
 * Limits how often strangers make the plugin ask Webflow with an access token: ten tries a minute for a client address, and
 * thirty in all. Otherwise a stranger could spend the rate limit of a tenant's token. Each process counts for itself.
 */
export class ResolveLimits {
  readonly #now: () => number
  readonly #tokens = new BoundedMap<TokenTries>(maxTokens)

  /** `now` returns the time in Unix milliseconds. */
  constructor (now: () => number = () => Date.now()) {
    this.#now = now
  }

  /**
   * Begins a try with an access token, which `name` stands for. While there are too many tries, but some are under way and may
   * be given back, waits until one ends. Throws `WEBFLOW_OAUTH_TOO_MANY_REQUESTS` when waiting does not help.
   * Resolves with the function that ends the try.
   */
  async begin (name: string, address: string, deadline: Deadline): Promise<(end: TryEnd) => void> {
    const token = this.#tokens.get(name) ?? { tries: [], trusted: new BoundedMap(maxTrusted), waiting: new Set() }
    this.#tokens.set(name, token)
    let wake = () => {}
    deadline.expired.then(() => { wake() })
    while (true) {
      const now = this.#now()
      token.tries = token.tries.filter(({ isOpen, startedAt }) => isOpen || now - startedAt < countsFor)
      const isTrusted = now - (token.trusted.get(address) ?? -Infinity) < trustedFor
      const full = [
        { tries: token.tries.filter((each) => each.address === address), most: mostForAddress },
        { tries: isTrusted ? [] : token.tries, most: mostInAll }
      ].filter(({ tries, most }) => tries.length >= most)
      if (full.length === 0) return this.#add(token, { address, startedAt: now, isOpen: true })
      const mayChange = full.every(({ tries }) => tries.some(({ isOpen }) => isOpen))
      if (!mayChange || deadline.isOver || token.waiting.size >= maxWaiting) throw tooMany(Math.max(...full.map(({ tries, most }) => freeAt(tries, most) - now)))
      await new Promise<void>((resolve) => {
        wake = resolve
        token.waiting.add(resolve)
      })
      token.waiting.delete(wake)
    }
  }

  #add (token: TokenTries, added: Try): (end: TryEnd) => void {
    token.tries.push(added)
    return (end) => {
      added.isOpen = false
      if (end !== 'spent') token.tries = token.tries.filter((each) => each !== added)
      if (end === 'good') token.trusted.set(added.address, this.#now())
      const woken = [...token.waiting]
      token.waiting.clear()
      for (const wake of woken) wake()
    }
  }
}

/** Returns when so many tries no longer count that there is room for another, in Unix milliseconds. */
function freeAt (tries: readonly Try[], most: number): number {
  return Math.min(...tries.slice(tries.length - most).map(({ startedAt }) => startedAt)) + countsFor
}

function tooMany (wait: number): WebflowOAuthError {
  const retryAfter = Math.max(1, Math.ceil(wait / 1000))
  return new WebflowOAuthError('WEBFLOW_OAUTH_TOO_MANY_REQUESTS', `There were too many ID tokens for this site that Webflow did not accept: try again in ${retryAfter} seconds.`, { retryAfter })
}

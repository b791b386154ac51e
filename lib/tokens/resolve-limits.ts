import { BoundedMap } from '../collections/bounded-map.ts'
import type { Deadline } from '../collections/deadline.ts'
import { WebflowOAuthError } from '../errors.ts'

/** How long a try counts, in milliseconds from its start. A try that is under way counts for longer. */
const countsFor = 60_000
/** The most tries with one access token by one client address. */
const mostForAddress = 10
/** The most tries with one access token by all client addresses together. */
const mostInAll = 30
/** How long `mostInAll` does not apply to a client address after a good answer, in milliseconds. */
const trustedFor = 60 * 60 * 1000
/** The most requests that wait for a try with one access token. Any further request is refused at once, so that waiting stays cheap. */
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
  /** Whether Webflow is being asked at this moment. The try may still be given back. */
  isUnderWay: boolean
}

/** A limit that allows no further try at this moment, because these tries count. */
interface FullLimit {
  readonly tries: readonly Try[]
  readonly most: number
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
   * Begins a try with an access token, and resolves with the function that ends the try. While a limit is full, waits for
   * the tries that are under way, because they may be given back. Rejects with `WEBFLOW_OAUTH_TOO_MANY_REQUESTS` when a full
   * limit has no such try, the deadline is over, or too many requests wait. `tokenHash` is the hash of the access token.
   */
  async begin (tokenHash: string, address: string, deadline: Deadline): Promise<EndTry> {
    const token = this.#triesOf(tokenHash)
    let fullLimits = this.#fullLimits(token, address)
    while (fullLimits.length > 0) {
      const mayWait = fullLimits.every(hasTryUnderWay) && !deadline.isOver && token.waiting.size < maxWaiting
      if (!mayWait) throw this.#tooMany(fullLimits)
      await untilTryEnds(token, deadline)
      fullLimits = this.#fullLimits(token, address)
    }
    return this.#start(token, address)
  }

  #triesOf (tokenHash: string): TokenTries {
    const token = this.#tokens.get(tokenHash) ?? { tries: [], trusted: new BoundedMap(maxTrusted), waiting: new Set() }
    this.#tokens.set(tokenHash, token)
    return token
  }

  /** Forgets the tries that no longer count. Returns the limits that a further try by this address would exceed. */
  #fullLimits (token: TokenTries, address: string): FullLimit[] {
    const now = this.#now()
    token.tries = token.tries.filter(({ isUnderWay, startedAt }) => isUnderWay || now - startedAt < countsFor)
    const isTrusted = now - (token.trusted.get(address) ?? -Infinity) < trustedFor
    const ofAddress = { tries: token.tries.filter((each) => each.address === address), most: mostForAddress }
    const inAll = { tries: token.tries, most: mostInAll }
    return (isTrusted ? [ofAddress] : [ofAddress, inAll]).filter(({ tries, most }) => tries.length >= most)
  }

  /** Records a try that begins now. Returns the function that ends it. */
  #start (token: TokenTries, address: string): EndTry {
    const started = { address, startedAt: this.#now(), isUnderWay: true }
    token.tries.push(started)
    return (outcome) => {
      started.isUnderWay = false
      if (outcome !== 'spent') token.tries = token.tries.filter((each) => each !== started)
      if (outcome === 'good') token.trusted.set(address, this.#now())
      for (const wake of token.waiting) wake()
      token.waiting.clear()
    }
  }

  #tooMany (fullLimits: readonly FullLimit[]): WebflowOAuthError {
    const retryAt = Math.max(...fullLimits.map(freeAt))
    const retryAfter = Math.max(1, Math.ceil((retryAt - this.#now()) / 1000))
    return new WebflowOAuthError('WEBFLOW_OAUTH_TOO_MANY_REQUESTS', `There were too many ID tokens for this site that Webflow did not accept: try again in ${retryAfter} seconds.`, { retryAfter })
  }
}

/** Tells whether a full limit may have room soon: one of its tries is under way, and may be given back. */
function hasTryUnderWay ({ tries }: FullLimit): boolean {
  return tries.some(({ isUnderWay }) => isUnderWay)
}

/** Waits until a try with this access token ends, or until the deadline is over. */
async function untilTryEnds ({ waiting }: TokenTries, deadline: Deadline): Promise<void> {
  await new Promise<void>((resolve) => {
    waiting.add(resolve)
    deadline.expired.then(() => {
      waiting.delete(resolve)
      resolve()
    })
  })
}

/** Returns when a full limit has room for one more try because older tries no longer count, in Unix milliseconds. */
function freeAt ({ tries, most }: FullLimit): number {
  return Math.min(...tries.slice(tries.length - most).map(({ startedAt }) => startedAt)) + countsFor
}

import { hash } from 'node:crypto'
import { BoundedMap } from '../collections/bounded-map.ts'
import { startDeadline } from '../collections/deadline.ts'
import { Limit } from '../collections/limit.ts'
import { ownCode } from '../diagnostics.ts'
import { WebflowOAuthError, toError } from '../errors.ts'
import type { Installation } from './authorization.ts'
import type { WebflowClient } from './client.ts'

const maxRemembered = 1000
const maxAtOnce = 8
// With less time left, in milliseconds, asking once more would most likely fail too.
const worthAsking = 100

/** What Webflow says of a token. That it could not be asked is never taken for a revocation. */
export type Verdict =
  | { kind: 'active', installation: Installation }
  | { kind: 'revoked' }
  /** Webflow was asked and will not tell: asking again soon does not help. */
  | { kind: 'refused' }
  | { kind: 'unknown', error: Error }

/** How a token is asked for. */
export interface AskOptions {
  /** When the answer is needed, in Unix milliseconds: later ones are `unknown`. */
  deadline: number
  /** How old a remembered answer may be, in milliseconds; then this one is remembered too. Defaults to 0: Webflow is asked. */
  maxAge?: number
  /** Only an answer that was asked for at this time or later is shared, in Unix milliseconds. Defaults to any. */
  since?: number
  /**
   * In which queue it waits for its turn: `none` where a request waits for the answer, `checks` for those that the app
   * asks for, and `background` for everything else, which no app's check has to wait for. Defaults to `background`.
   */
  queue?: 'none' | 'checks' | 'background'
}

/** Asks about one token, when its turn has come; whoever asks about the same token meanwhile shares it. */
class Conversation {
  readonly startedAt = Date.now()
  readonly verdict: Promise<Verdict>
  /** Begins it and resolves when it has ended; resolves at once where somebody has begun it, so that it takes one place in the queues. */
  declare begin: () => Promise<void>
  /** When it is given up; not changed any more once it has begun. */
  deadline: number

  constructor (deadline: number, converse: (deadline: number) => Promise<Verdict>) {
    this.deadline = deadline
    let hasBegun = false
    this.verdict = new Promise((resolve) => {
      this.begin = async () => {
        if (hasBegun) return
        hasBegun = true
        resolve(await converse(this.deadline))
      }
    })
  }
}

/**
 * Asks Webflow about tokens: what they open, and whether they still do. Calls for one token at one
 * time share an answer, and so many calls of one queue run at a time.
 */
export class TokenChecks {
  readonly #webflow: WebflowClient
  readonly #timeout: number
  readonly #queues = { checks: new Limit(maxAtOnce), background: new Limit(maxAtOnce) }
  readonly #underWay = new Map<string, Conversation>()
  readonly #remembered = new BoundedMap<{ startedAt: number, verdict: Verdict }>(maxRemembered)

  constructor (webflow: WebflowClient, timeout: number) {
    this.#webflow = webflow
    this.#timeout = timeout
  }

  /** Asks about a token with the scope that it has as far as is known; never rejects. */
  async ask (accessToken: string, scope: readonly string[], options: AskOptions): Promise<Verdict> {
    const { deadline, maxAge = 0, since = -Infinity, queue = 'background' } = options
    const name = nameOf(accessToken)
    const remembered = this.#remembered.get(name)
    if (remembered !== undefined && Date.now() - remembered.startedAt < maxAge) return remembered.verdict
    const current = this.#underWay.get(name)
    const isShared = current !== undefined && current.startedAt >= since
    const conversation = isShared ? current : this.#create(name, accessToken, scope, deadline)
    conversation.deadline = Math.max(conversation.deadline, deadline)
    if (queue === 'none') conversation.begin()
    else this.#queues[queue].run(conversation.begin)
    const verdict = await within(conversation.verdict, deadline)
    // Whoever began it had less time.
    if (isShared && isTimeout(verdict) && deadline - Date.now() >= worthAsking) return await this.ask(accessToken, scope, options)
    this.#remember(name, { startedAt: conversation.startedAt, verdict }, maxAge > 0)
    return verdict
  }

  /** Remembers that a token was revoked, whoever asks for it next. */
  revoked (accessToken: string): void {
    this.#remembered.set(nameOf(accessToken), { startedAt: Date.now(), verdict: { kind: 'revoked' } })
  }

  #create (name: string, accessToken: string, scope: readonly string[], deadline: number): Conversation {
    const conversation = new Conversation(deadline, async (until) => {
      const verdict = await this.#converse(accessToken, scope, until)
      if (this.#underWay.get(name) === conversation) this.#underWay.delete(name)
      return verdict
    })
    this.#underWay.set(name, conversation)
    return conversation
  }

  /** Never rejects. */
  async #converse (accessToken: string, scope: readonly string[], deadline: number): Promise<Verdict> {
    const askedAt = Date.now()
    const end = Math.min(deadline, askedAt + this.#timeout)
    const left = () => end - Date.now()
    try {
      if (left() <= 0) return tooLate()
      const answer = await this.#webflow.introspect(accessToken, left())
      if (answer.kind !== 'active') return answer
      const { authorization } = answer
      const granted = authorization.scope.length > 0 ? authorization.scope : scope
      const user = !granted.includes('authorized_user:read')
        ? null
        : await this.#webflow.authorizedBy(accessToken, Math.max(left(), 1)).catch(() => undefined)
      return { kind: 'active', installation: { authorization, user, askedAt } }
    } catch (error) {
      return { kind: 'unknown', error: toError(error) }
    }
  }

  /** Remembers an answer, or at least corrects what is remembered. */
  #remember (name: string, answer: { startedAt: number, verdict: Verdict }, wanted: boolean): void {
    const { startedAt, verdict: { kind } } = answer
    if (kind !== 'active' && kind !== 'revoked') return
    const known = this.#remembered.get(name)
    if (known === undefined ? wanted : known.startedAt <= startedAt) this.#remembered.set(name, answer)
  }
}

/** Waits for a verdict until a deadline. */
function within (verdict: Promise<Verdict>, deadline: number): Promise<Verdict> {
  return new Promise((resolve) => {
    const cancel = startDeadline(Math.max(deadline - Date.now(), 1), () => resolve(tooLate()))
    verdict.then(resolve).finally(cancel)
  })
}

function isTimeout (verdict: Verdict): boolean {
  return verdict.kind === 'unknown' && ownCode(verdict.error) === 'WEBFLOW_OAUTH_WEBFLOW_TIMEOUT'
}

function tooLate (): Verdict {
  return { kind: 'unknown', error: new WebflowOAuthError('WEBFLOW_OAUTH_WEBFLOW_TIMEOUT', 'Webflow did not tell in time what a token opens.') }
}

/** Not even a map that is kept for long holds a token. */
function nameOf (accessToken: string): string {
  return hash('sha256', accessToken, 'base64url')
}

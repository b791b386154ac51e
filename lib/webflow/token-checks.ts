import { hash } from 'node:crypto'
import { BoundedMap } from '../collections/bounded-map.ts'
import type { Deadline } from '../collections/deadline.ts'
import { Limit } from '../collections/limit.ts'
import { ownCode } from '../diagnostics.ts'
import { WebflowOAuthError, toError } from '../errors.ts'
import type { Installation } from './authorization.ts'
import type { WebflowClient } from './client.ts'

const maxRemembered = 1000
const maxAtOnce = 8

/** What Webflow says about a token. If Webflow could not be asked, the verdict is `unknown` and never `revoked`. */
export type Verdict =
  | { kind: 'active', installation: Installation }
  | { kind: 'revoked' }
  /** Webflow accepts the token but does not say what it opens. Asking again soon would not help. */
  | { kind: 'refused' }
  | { kind: 'unknown', error: Error }

/** How a question about a token is asked. */
export interface AskOptions {
  /** When the answer is needed: without an answer by then, the verdict is `unknown`. */
  deadline: Deadline
  /**
   * How old a remembered answer may be, in milliseconds. If this is more than 0, the new answer is remembered too. Defaults
   * to 0: Webflow is asked in any case.
   */
  maxAge?: number
  /** Shares a question that is already open only if it was asked at this time or later, in Unix milliseconds. Defaults to any time. */
  since?: number
  /**
   * In which queue the question waits for its turn. Requests that wait for the answer use `none`, checks that the app
   * asks for use `checks`, and searches use `background`, so that no check waits behind a search. Defaults to `background`.
   */
  queue?: 'none' | 'checks' | 'background'
}

/** A question about one token. Callers who ask about the same token before the answer comes share the answer. */
class Question {
  readonly askedAt = Date.now()
  readonly verdict: Promise<Verdict>
  /**
   * Sends the question and resolves when it is answered. Resolves at once when it was sent before: a question that
   * waits in two queues is sent once, and then frees its place in the other queue.
   */
  declare send: () => Promise<void>
  readonly #deadlines: Deadline[] = []

  constructor (ask: (first: Deadline) => Promise<Verdict>) {
    this.verdict = new Promise((resolve) => {
      let isSent = false
      this.send = async () => {
        if (isSent) return
        isSent = true
        // While the question waited in a queue, all callers may have given up.
        const waiting = this.#deadlines.find(({ isOver }) => !isOver)
        resolve(waiting === undefined ? tooLate() : await ask(waiting))
      }
    })
  }

  /** Waits for the answer until a deadline. */
  async wait (deadline: Deadline): Promise<Verdict> {
    this.#deadlines.push(deadline)
    // This waits one more turn of the event loop: at the same deadline, `#ask` may answer without the user, and that answer is
    // better than a timeout.
    return await Promise.race([this.verdict, deadline.expired.then(nextTurn).then(tooLate)])
  }
}

/**
 * Asks Webflow what tokens open and whether they still work. Simultaneous questions about one token share one call, and
 * each queue runs at most eight calls at a time.
 */
export class TokenChecks {
  readonly #webflow: WebflowClient
  readonly #queues = { checks: new Limit(maxAtOnce), background: new Limit(maxAtOnce) }
  readonly #open = new Map<string, Question>()
  readonly #remembered = new BoundedMap<{ askedAt: number, verdict: Verdict }>(maxRemembered)

  constructor (webflow: WebflowClient) {
    this.#webflow = webflow
  }

  /** Asks about a token; never rejects. `scope` is the scope that the token has as far as the plugin knows. */
  async ask (accessToken: string, scope: readonly string[], options: AskOptions): Promise<Verdict> {
    const { deadline, maxAge = 0, since = -Infinity, queue = 'background' } = options
    const name = nameOf(accessToken)
    const remembered = this.#remembered.get(name)
    if (remembered !== undefined && Date.now() - remembered.askedAt < maxAge) return remembered.verdict
    const open = this.#open.get(name)
    const isShared = open !== undefined && open.askedAt >= since
    const question = isShared ? open : this.#create(name, accessToken, scope)
    const answer = question.wait(deadline)
    if (queue === 'none') question.send()
    else this.#queues[queue].run(question.send)
    const verdict = await answer
    // The shared question was sent before this caller came, so it timed out while this caller still has time to ask again.
    if (isShared && isTimeout(verdict) && !deadline.isOver) return await this.ask(accessToken, scope, options)
    this.#remember(name, { askedAt: question.askedAt, verdict }, maxAge > 0)
    return verdict
  }

  /** Remembers that a token was revoked, for the next question about it. */
  rememberRevoked (accessToken: string): void {
    this.#remembered.set(nameOf(accessToken), { askedAt: Date.now(), verdict: { kind: 'revoked' } })
  }

  #create (name: string, accessToken: string, scope: readonly string[]): Question {
    const question = new Question((deadline) => this.#ask(accessToken, scope, deadline))
    this.#open.set(name, question)
    question.verdict.finally(() => { if (this.#open.get(name) === question) this.#open.delete(name) })
    return question
  }

  /** Never rejects. If Webflow has not named the user by the deadline, answers without the user. */
  async #ask (accessToken: string, scope: readonly string[], deadline: Deadline): Promise<Verdict> {
    const askedAt = Date.now()
    try {
      const answer = await this.#webflow.introspect(accessToken)
      if (answer.kind !== 'active') return answer
      const { authorization } = answer
      const granted = authorization.scope.length > 0 ? authorization.scope : scope
      const user = !granted.includes('authorized_user:read')
        ? null
        : await Promise.race([this.#webflow.authorizedBy(accessToken).catch(() => undefined), deadline.expired.then(() => undefined)])
      return { kind: 'active', installation: { authorization, user, askedAt } }
    } catch (error) {
      return { kind: 'unknown', error: toError(error) }
    }
  }

  /** Remembers an answer. If `wanted` is false, it only replaces an older answer that is remembered already. */
  #remember (name: string, answer: { askedAt: number, verdict: Verdict }, wanted: boolean): void {
    const { askedAt, verdict: { kind } } = answer
    if (kind !== 'active' && kind !== 'revoked') return
    const known = this.#remembered.get(name)
    if (known === undefined ? wanted : known.askedAt <= askedAt) this.#remembered.set(name, answer)
  }
}

function isTimeout (verdict: Verdict): boolean {
  return verdict.kind === 'unknown' && ownCode(verdict.error) === 'WEBFLOW_OAUTH_WEBFLOW_TIMEOUT'
}

function nextTurn (): Promise<void> {
  return new Promise((resolve) => { setImmediate(resolve) })
}

function tooLate (): Verdict {
  return { kind: 'unknown', error: new WebflowOAuthError('WEBFLOW_OAUTH_WEBFLOW_TIMEOUT', 'Webflow did not say in time what a token opens.') }
}

/** Returns the key of a token in the maps: a hash, so that no access token stays in memory with a remembered answer. */
function nameOf (accessToken: string): string {
  return hash('sha256', accessToken, 'base64url')
}

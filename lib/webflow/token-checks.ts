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
  /** Webflow accepts the token but does not say what the token opens. Asking again soon would not help. */
  | { kind: 'refused' }
  | { kind: 'unknown', error: Error }

/** How a question about a token is asked. */
export interface AskOptions {
  /** When the answer is needed. If there is none by then, the verdict is `unknown`. */
  deadline: Deadline
  /**
   * How old a remembered answer may be, in milliseconds. If this is more than 0, a new answer is remembered too. Defaults
   * to 0: no remembered answer is used.
   */
  maxAge?: number
  /** The earliest time of an unanswered question that may be shared, in Unix milliseconds. Defaults to any time. */
  since?: number
  /**
   * In which queue the question waits before it is sent. With `none` it is sent at once, because a request waits for the answer.
   * Checks by the app use `checks` and searches use `background`, so that no check waits behind a search. Defaults to `background`.
   */
  queue?: 'none' | 'checks' | 'background'
}

/** A question about one token. Callers who ask about the same token before the answer comes share the answer. */
class Question {
  readonly askedAt = Date.now()
  readonly verdict: Promise<Verdict>
  /**
   * Sends the question to Webflow and resolves when it is answered. A question may wait in both queues: the first queue sends it,
   * and for the second this resolves at once.
   */
  declare send: () => Promise<void>
  readonly #deadlines: Deadline[] = []

  constructor (callWebflow: (deadline: Deadline) => Promise<Verdict>) {
    this.verdict = new Promise((resolve) => {
      let isSent = false
      this.send = async () => {
        if (isSent) return
        isSent = true
        // While the question waited in a queue, all callers may have given up.
        const waiting = this.#deadlines.find(({ isOver }) => !isOver)
        resolve(waiting === undefined ? tooLate() : await callWebflow(waiting))
      }
    })
  }

  /** Waits for the answer until a deadline. */
  async wait (deadline: Deadline): Promise<Verdict> {
    this.#deadlines.push(deadline)
    // At the same deadline, `#callWebflow` may give an answer that lacks only the user. The extra turn of the event loop lets that
    // answer win over the timeout.
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
  /** The unanswered questions, by the hash of the access token. */
  readonly #unanswered = new Map<string, Question>()
  /** Answers that are remembered, by the hash of the access token. */
  readonly #remembered = new BoundedMap<{ askedAt: number, verdict: Verdict }>(maxRemembered)

  constructor (webflow: WebflowClient) {
    this.#webflow = webflow
  }

  /** Asks Webflow about a token. Never rejects. `scope` is the token's scope as far as the plugin knows. */
  async ask (accessToken: string, scope: readonly string[], options: AskOptions): Promise<Verdict> {
    const { deadline, maxAge = 0, since = -Infinity, queue = 'background' } = options
    const key = hashOf(accessToken)
    const remembered = this.#remembered.get(key)
    if (remembered !== undefined && Date.now() - remembered.askedAt < maxAge) return remembered.verdict
    const unanswered = this.#unanswered.get(key)
    const isShared = unanswered !== undefined && unanswered.askedAt >= since
    const question = isShared ? unanswered : this.#create(key, accessToken, scope)
    const answer = question.wait(deadline)
    if (queue === 'none') question.send()
    else this.#queues[queue].run(question.send)
    const verdict = await answer
    // Another caller asked the shared question earlier. It has timed out, but this caller still has time to ask again.
    if (isShared && isTimeout(verdict) && !deadline.isOver) return await this.ask(accessToken, scope, options)
    this.#remember(key, { askedAt: question.askedAt, verdict }, maxAge > 0)
    return verdict
  }

  /** Remembers that a token was revoked, for the next question about it. */
  rememberRevoked (accessToken: string): void {
    this.#remembered.set(hashOf(accessToken), { askedAt: Date.now(), verdict: { kind: 'revoked' } })
  }

  #create (key: string, accessToken: string, scope: readonly string[]): Question {
    const question = new Question((deadline) => this.#callWebflow(accessToken, scope, deadline))
    this.#unanswered.set(key, question)
    question.verdict.finally(() => { if (this.#unanswered.get(key) === question) this.#unanswered.delete(key) })
    return question
  }

  /** Introspects a token, and asks who granted it. If Webflow has not named the user by the deadline, the user is left out. Never rejects. */
  async #callWebflow (accessToken: string, scope: readonly string[], deadline: Deadline): Promise<Verdict> {
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

  /** Remembers an answer. If `mayAdd` is false, the answer may only replace an older one. */
  #remember (key: string, answer: { askedAt: number, verdict: Verdict }, mayAdd: boolean): void {
    const { askedAt, verdict: { kind } } = answer
    if (kind !== 'active' && kind !== 'revoked') return
    const known = this.#remembered.get(key)
    if (known === undefined ? mayAdd : known.askedAt <= askedAt) this.#remembered.set(key, answer)
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

/** Returns the key of a token in the maps. It is a hash, so that no access token stays in memory with a remembered answer. */
function hashOf (accessToken: string): string {
  return hash('sha256', accessToken, 'base64url')
}

import { hash } from 'node:crypto'
import { BoundedMap } from './bounded-map.ts'
import { WebflowOAuthError, toError } from './errors.ts'
import type { Installation } from './installation.ts'
import { Limit } from './limit.ts'
import type { WebflowClient } from './webflow-client.ts'

const maxRemembered = 1000
const maxAtOnce = 8
// What is given up sooner, in milliseconds, would most likely fail whoever joins it.
const worthJoining = 100

/** What Webflow says of a token. That it could not be asked is never taken for a revocation. */
export type Verdict =
  | { kind: 'active', installation: Installation }
  | { kind: 'revoked' }
  /** Webflow was asked and will not tell: asking again soon does not help. */
  | { kind: 'refused' }
  | { kind: 'unknown', error: Error }

/** How a token is asked for. */
export interface AskOptions {
  /** How old a remembered answer may be, in milliseconds; then this one is remembered too. Defaults to 0: Webflow is asked. */
  maxAge?: number
  /** Only an answer that was asked for at this time or later is shared, in Unix milliseconds. Defaults to any. */
  since?: number
  /** When the answer is needed, in Unix milliseconds. Defaults to `timeout` from when it is its turn. */
  deadline?: number
  /** Whether somebody is waiting: then it does not queue behind others. Defaults to false. */
  urgent?: boolean
}

interface Conversation {
  startedAt: number
  /** When it is given up. */
  deadline: number
  verdict: Promise<Verdict>
}

/**
 * Asks Webflow about tokens: what they open, and whether they still do. Calls for one token at one
 * time share an answer, and so many calls run at a time.
 */
export class TokenChecks {
  readonly #webflow: WebflowClient
  readonly #timeout: number
  readonly #limit = new Limit(maxAtOnce)
  readonly #underWay = new Map<string, Conversation>()
  readonly #remembered = new BoundedMap<{ startedAt: number, verdict: Verdict }>(maxRemembered)

  constructor (webflow: WebflowClient, timeout: number) {
    this.#webflow = webflow
    this.#timeout = timeout
  }

  /** Asks about a token with the scope that it has as far as is known; never rejects. */
  async ask (accessToken: string, scope: readonly string[], options: AskOptions = {}): Promise<Verdict> {
    const { maxAge = 0, since = -Infinity, deadline = Infinity, urgent = false } = options
    const name = nameOf(accessToken)
    const remembered = this.#remembered.get(name)
    if (remembered !== undefined && Date.now() - remembered.startedAt < maxAge) return remembered.verdict
    const current = this.#underWay.get(name)
    const isShared = current !== undefined && current.startedAt >= since && current.deadline - Date.now() >= worthJoining
    const { startedAt, verdict } = isShared ? current : this.#begin(name, () => this.#converse(accessToken, scope, deadline), { deadline, urgent })
    // Whoever began it may have more time, and others may be in the queue before it.
    const answer = await within(verdict, deadline)
    this.#remember(name, { startedAt, verdict: answer }, maxAge > 0)
    return answer
  }

  /** Remembers that a token was revoked, whoever asks for it next. */
  revoked (accessToken: string): void {
    this.#remembered.set(nameOf(accessToken), { startedAt: Date.now(), verdict: { kind: 'revoked' } })
  }

  #begin (name: string, converse: () => Promise<Verdict>, { deadline, urgent }: { deadline: number, urgent: boolean }): Conversation {
    const verdict = urgent ? converse() : this.#limit.run(converse)
    const conversation = { startedAt: Date.now(), deadline, verdict }
    this.#underWay.set(name, conversation)
    verdict.finally(() => { if (this.#underWay.get(name) === conversation) this.#underWay.delete(name) })
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
  if (deadline === Infinity) return verdict
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(tooLate()), Math.max(deadline - Date.now(), 0))
    verdict.then(resolve).finally(() => clearTimeout(timer))
  })
}

function tooLate (): Verdict {
  return { kind: 'unknown', error: new WebflowOAuthError('WEBFLOW_OAUTH_WEBFLOW_TIMEOUT', 'Webflow did not tell in time what a token opens.') }
}

/** Not even a map that is kept for long holds a token. */
function nameOf (accessToken: string): string {
  return hash('sha256', accessToken, 'base64url')
}

import { types } from 'node:util'
import { withDeadline } from '../collections/deadline.ts'
import { Limit } from '../collections/limit.ts'
import { ownCode } from '../diagnostics.ts'
import { refuseOption } from '../errors.ts'
import type { WebflowToken } from '../options/webflow-token.ts'
import type { Verdict } from '../webflow/token-checks.ts'
import { forgetEnded } from './ended.ts'
import type { TokenParts } from './parts.ts'
import { absorb, isNewer, type TokenRecord } from './record.ts'

/** How many imports ask Webflow at the same time. */
const maxAtOnce = 8
/** How many calls in a row may fail to reach Webflow before imports stop asking for a while. */
const maxFailures = 3
/** How long imports then do not ask, in milliseconds. */
const silence = 10_000

/** What became of an imported token. */
export type TokenImport =
  /**
   * `imported`: the token is stored now. `kept`: nothing has changed, because the user already has this token or a newer one.
   * `token` is the token that the store holds then.
   */
  | { outcome: 'imported' | 'kept', token: WebflowToken }
  /** Webflow has ended the token. It is not stored, and records that held it are deleted. */
  | { outcome: 'revoked', token: null }

/** A token that is about to be imported. */
export interface ImportedToken {
  tokenId: string
  accessToken: string
  /** The app's user to whom the token will belong; null in an app without users. */
  owner: string | null
  scope: readonly string[]
  /** When the token was issued, in Unix milliseconds; null if the app does not know. */
  createdAt: number | null
}

/** Stores tokens that another system has obtained. Imports that run at the same time share a few calls to Webflow. */
export class TokenImports {
  readonly #parts: TokenParts
  readonly #turns = new Limit(maxAtOnce)
  /** How many calls in a row did not reach Webflow. */
  #failures = 0
  /** Until when imports do not ask Webflow, in Unix milliseconds, and the error of the last call; null if they never had to stop. */
  #silent: { until: number, error: Error } | null = null

  constructor (parts: TokenParts) {
    this.#parts = parts
  }

  /** Imports a token, unless Webflow has ended it, or the store holds the same token or a newer one under this id. */
  async import ({ tokenId, accessToken, owner, scope, createdAt }: ImportedToken): Promise<TokenImport> {
    const { introspector, records, settings } = this.#parts
    const created = records.create({ accessToken, tokenType: 'bearer', scope: null, expiresIn: null }, scope, Date.now(), owner)
    const verdict = settings.introspect ? await this.#turns.run(() => this.#ask(tokenId, created)) : null
    if (verdict?.kind === 'revoked') {
      await forgetEnded(this.#parts, records.present({ tokenId, record: created }), 'revoked')
      return { outcome: 'revoked', token: null }
    }
    const installation = verdict?.kind === 'active' ? verdict.installation : null
    const known = installation === null ? created : absorb(created, installation)
    const issuedAt = createdAt ?? known.authorization?.createdOn?.getTime() ?? null
    const record = { ...known, createdAt: issuedAt ?? created.createdAt }
    const { stored, isNew } = await records.add(tokenId, record, (existing) => stays(existing, record, createdAt))
    if (verdict !== null && isNew) {
      introspector.note(tokenId, record, verdict)
      introspector.completeSoon(stored)
    }
    const isAnswered = !isNew && installation !== null && stored.record.accessToken === accessToken
    const current = isAnswered ? await records.learn(stored, installation) ?? stored : stored
    return { outcome: isNew ? 'imported' : 'kept', token: records.present(records.withOwner(current, owner)) }
  }

  /** Asks Webflow about a token, with a deadline that begins now. */
  async #ask (tokenId: string, { accessToken, scope }: TokenRecord): Promise<Verdict> {
    const { checks, log, settings: { timeout } } = this.#parts
    if (this.#silent !== null && Date.now() < this.#silent.until) return { kind: 'unknown', error: this.#silent.error }
    const verdict = await withDeadline(timeout, (deadline) => checks.ask(accessToken, scope, { deadline, queue: 'none' }))
    if (verdict.kind === 'unknown' || verdict.kind === 'refused') {
      log.warn({ tokenId, ...verdict.kind === 'unknown' && { err: verdict.error } }, 'webflow-oauth: Webflow did not say what an imported token opens. The plugin asks again soon, and when the token is used or searched for')
    }
    if (verdict.kind !== 'unknown' || !isOutage(verdict.error)) {
      this.#failures = 0
    } else if (++this.#failures >= maxFailures) {
      this.#silent = { until: Date.now() + silence, error: verdict.error }
      log.warn(`webflow-oauth: Webflow could not be reached ${maxFailures} times in a row. For ${silence / 1000} seconds, tokens are imported without asking what they open`)
    }
    return verdict
  }
}

/** Checks the access token of an import. Webflow's tokens are short, and no server accepts headers that are much longer than this. */
export function checkAccessToken (accessToken: unknown): string {
  if (typeof accessToken === 'string' && /^[\x21-\x7e]{1,4096}$/.test(accessToken)) return accessToken
  return refuseOption('accessToken', 'must be a string of visible ASCII characters, at most 4,096: is a column empty, or does the value hold a space or a line break?')
}

/** Checks when the token of an import was issued. Returns Unix milliseconds; null if the app does not say. */
export function checkCreatedAt (createdAt: unknown): number | null {
  if (createdAt === undefined) return null
  // Not `instanceof`: a test runner may have Dates of another realm.
  const time = types.isDate(createdAt) ? createdAt.getTime() : NaN
  if (time <= Date.now()) return time
  return refuseOption('createdAt', 'must be a valid Date that is not in the future: leave it out if the time is not known')
}

/**
 * Tells whether the existing record stays, because it holds the same token or the imported token is not newer. If the app has
 * said when the imported token was issued, that time counts. Otherwise Webflow's time counts. If Webflow has not said it either,
 * the existing record stays.
 */
function stays (existing: TokenRecord, record: TokenRecord, createdAt: number | null): boolean {
  if (existing.accessToken === record.accessToken) return true
  if (createdAt !== null) return existing.createdAt >= createdAt
  return (record.authorization?.createdOn ?? null) === null || !isNewer(record, existing)
}

/** Tells whether a call failed to reach Webflow. A 5xx of Webflow does not count: its error has no cause. */
function isOutage (error: Error): boolean {
  const code = ownCode(error)
  return code === 'WEBFLOW_OAUTH_WEBFLOW_TIMEOUT' || (code === 'WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE' && error.cause !== undefined)
}

import { randomUUID } from 'node:crypto'
import { startDeadline } from '../collections/deadline.ts'
import { isObject, parseJson } from '../collections/json.ts'
import type { UnderWay } from '../collections/under-way.ts'
import type { Settings } from '../options/resolve.ts'
import { storeId } from '../storage/keyring.ts'
import type { GuardedStore } from '../storage/guarded-store.ts'
import { parseOutcome, type Outcome } from './outcome.ts'

/** How long the same callback gets the same answer, in milliseconds. */
export const repeatAge = 60_000
const maxTries = 3
// A record outlives its flow by this much, in milliseconds, so that clocks which differ by minutes do not free a used flow.
const clockTolerance = 15 * 60_000

/** The right to finish a flow, won by one callback only. */
export interface Claim {
  kind: 'claim'
  key: string
  /** The stored claim: the outcome is written only over it. */
  value: string
  expiresAt: number
}

/** A flow that ended. */
export interface Done {
  kind: 'done'
  outcome: Outcome
  /** Unix milliseconds. */
  endedAt: number
}

/** How far a flow has come. */
export type Progress = { kind: 'unclaimed' } | { kind: 'claimed', attempt: string } | Done

/**
 * The records that make each flow single use across all replicas: absent, then claimed, then done.
 */
export class FlowRecords {
  readonly #store: GuardedStore
  readonly #settings: Settings
  readonly #underWay: UnderWay

  constructor (store: GuardedStore, settings: Settings, underWay: UnderWay) {
    this.#store = store
    this.#settings = settings
    this.#underWay = underWay
  }

  /**
   * Claims a flow that came back, which also proves that the store can be written. Where another callback has claimed
   * the flow, waits for that one to end. Null when the flow is used up.
   */
  async claimOrWait (state: string, startedAt: number, expired: boolean): Promise<Claim | Done | null> {
    const attempt = randomUUID()
    for (let tries = 0; tries < maxTries; tries++) {
      const claim = expired ? null : await this.#claim(state, startedAt, attempt)
      if (claim !== null) return claim
      const progress = await this.#wait(state)
      if (progress.kind === 'done') return this.#isFresh(progress) ? progress : null
      if (progress.kind === 'claimed' || expired) return null
      // The other callback was told that its claim had failed. The claim was taken back, so the flow is free again.
    }
    return null
  }

  /**
   * Records how a claimed flow ended, for the same callback coming again; resolves whether it could. The store is
   * called even in its rest: the timeout that began the rest may be the very outcome.
   */
  async settle ({ key, value, expiresAt }: Claim, outcome: Outcome): Promise<boolean> {
    const done: Done = { kind: 'done', endedAt: Date.now(), outcome }
    return await this.#store.set(key, JSON.stringify(done), { expiresAt: Math.max(expiresAt, done.endedAt + repeatAge), if: value }, { whileResting: true })
  }

  /** Reads how far a flow has come. */
  async progress (state: string): Promise<Progress> {
    const value = await this.#store.get(this.#key(state))
    return value === null ? { kind: 'unclaimed' } : parseProgress(value)
  }

  async #claim (state: string, startedAt: number, attempt: string): Promise<Claim | null> {
    const key = this.#key(state)
    const validUntil = Math.max(Date.now(), startedAt + this.#settings.flowMaxAge * 1000)
    const expiresAt = validUntil + clockTolerance
    const value = JSON.stringify({ kind: 'claimed', attempt })
    const isWritten = await this.#store.set(key, value, { expiresAt, if: null }, {
      // The browser was told that the store failed, and may try the same callback again. Unless nothing was written,
      // the claim must go.
      afterFailure: (answer) => {
        if (answer !== false) this.#underWay.insist(() => this.#store.delete(key, { if: value }, { whileResting: true }), () => {})
      }
    })
    // ioredis sends a command again whose answer was lost. The claim in the way may then be this very one.
    return isWritten || await this.#store.get(key) === value ? { kind: 'claim', key, value, expiresAt } : null
  }

  /** Waits for as long as the claimer may take. */
  async #wait (state: string): Promise<Progress> {
    let isOver = false
    const cancel = startDeadline(this.#settings.timeout + 2 * this.#settings.storeTimeout, () => { isOver = true })
    try {
      for (let pause = 20; ; pause = Math.min(pause * 2, 250)) {
        const isLastLook = isOver
        // The store may rest after a timeout of the claimer's own.
        const progress = await this.progress(state).catch((error: unknown) => {
          if (isLastLook) throw error
          return null
        })
        if (progress !== null && (progress.kind !== 'claimed' || isLastLook)) return progress
        await new Promise((resolve) => { setTimeout(resolve, pause) })
      }
    } finally {
      cancel()
    }
  }

  #isFresh ({ endedAt }: Done): boolean {
    return Date.now() - endedAt < repeatAge
  }

  #key (state: string): string {
    return `flow:${storeId(this.#settings.clientId, state)}`
  }
}

function parseProgress (text: string): Progress {
  const record = parseJson(text)
  if (!isObject(record)) return { kind: 'claimed', attempt: '' }
  const { attempt, endedAt } = record
  const outcome = record.kind === 'done' ? parseOutcome(record.outcome) : null
  if (outcome !== null && typeof endedAt === 'number') return { kind: 'done', outcome, endedAt }
  return { kind: 'claimed', attempt: typeof attempt === 'string' ? attempt : '' }
}

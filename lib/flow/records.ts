import { randomUUID } from 'node:crypto'
import { isObject, parseJson } from '../collections/json.ts'
import type { UnderWay } from '../collections/under-way.ts'
import type { Settings } from '../options/resolve.ts'
import { storeId } from '../storage/keyring.ts'
import type { SealedStore } from '../storage/sealed-store.ts'
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
  /** The sealed claim: the outcome is written only over it. */
  sealed: string
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
  readonly #store: SealedStore
  readonly #settings: Settings
  readonly #underWay: UnderWay

  constructor (store: SealedStore, settings: Settings, underWay: UnderWay) {
    this.#store = store
    this.#settings = settings
    this.#underWay = underWay
  }

  /**
   * Enters a flow that came back: claims it, which proves the store writable too, or waits for the one
   * who claimed it. Null when it is used up.
   */
  async enter (state: string, startedAt: number, expired: boolean): Promise<Claim | Done | null> {
    const attempt = randomUUID()
    for (let tries = 0; tries < maxTries; tries++) {
      const claim = expired ? null : await this.#claim(state, startedAt, attempt)
      if (claim !== null) return claim
      const progress = await this.#wait(state)
      if (progress.kind === 'done') return this.#isFresh(progress) ? progress : null
      if (progress.kind === 'claimed' || expired) return null
      // Its writer had given the claim up, and took it back when Redis carried it out: the flow is free again.
    }
    return null
  }

  /**
   * Records how a claimed flow ended, for the same callback coming again; resolves whether it could. The store is
   * called even in its rest: the timeout that began the rest may be the very outcome.
   */
  async settle ({ key, sealed, expiresAt }: Claim, outcome: Outcome): Promise<boolean> {
    const done: Done = { kind: 'done', endedAt: Date.now(), outcome }
    return await this.#store.set(key, JSON.stringify(done), { expiresAt: Math.max(expiresAt, done.endedAt + repeatAge), if: sealed }, { whileResting: true }) !== null
  }

  /** Reads how far a flow has come. */
  async progress (state: string): Promise<Progress> {
    const record = await this.#store.get(this.#key(state))
    return record === null ? { kind: 'unclaimed' } : parseProgress(record.text)
  }

  async #claim (state: string, startedAt: number, attempt: string): Promise<Claim | null> {
    const key = this.#key(state)
    const validUntil = Math.max(Date.now(), startedAt + this.#settings.flowMaxAge * 1000)
    const expiresAt = validUntil + clockTolerance
    const written = await this.#store.set(key, JSON.stringify({ kind: 'claimed', attempt }), { expiresAt, if: null }, {
      // The browser was told that the store failed: the same callback may try again.
      afterFailure: (sealed) => {
        this.#underWay.insist(() => this.#store.delete(key, { if: sealed }, { whileResting: true }), () => {})
      }
    })
    if (written !== null) return { kind: 'claim', key, sealed: written, expiresAt }
    // ioredis sends a command again whose answer was lost: the claim in the way may be this very one.
    const record = await this.#store.get(key)
    const progress = record === null ? null : parseProgress(record.text)
    const isOwn = progress !== null && progress.kind === 'claimed' && progress.attempt === attempt
    return record !== null && isOwn ? { kind: 'claim', key, sealed: record.sealed, expiresAt } : null
  }

  /** Waits for as long as the claimer may take. */
  async #wait (state: string): Promise<Progress> {
    const deadline = performance.now() + this.#settings.timeout + 2 * this.#settings.storeTimeout
    for (let pause = 20; ; pause = Math.min(pause * 2, 250)) {
      const left = deadline - performance.now()
      // The store may rest after a timeout of the claimer's own.
      const progress = await this.progress(state).catch((error: unknown) => {
        if (left <= 0) throw error
        return null
      })
      if (progress !== null && (progress.kind !== 'claimed' || left <= 0)) return progress
      await new Promise((resolve) => { setTimeout(resolve, Math.min(pause, Math.max(left, 0))) })
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

import { randomUUID } from 'node:crypto'
import { startDeadline } from '../collections/deadline.ts'
import { isObject, parseJson } from '../collections/json.ts'
import type { BackgroundTasks } from '../collections/background-tasks.ts'
import type { Settings } from '../options/resolve.ts'
import { storeId } from '../storage/keyring.ts'
import type { GuardedStore } from '../storage/guarded-store.ts'
import { parseOutcome, type Outcome } from './outcome.ts'

/** How long a repeated callback gets the same answer after its flow has ended, in milliseconds. */
export const repeatAge = 60_000
const maxTries = 3
// In milliseconds. A record is kept this much longer than its flow is valid. If it were not, a replica with a slow clock could
// still accept the state of a used flow after the store has dropped the record.
const clockTolerance = 15 * 60_000

/** The right to finish a flow. Only one callback gets it. */
export interface Claim {
  kind: 'claim'
  key: string
  /** The claim as it is stored. The outcome is written only if the store still holds this value. */
  value: string
  expiresAt: number
}

/** A flow that has ended. */
export interface Done {
  kind: 'done'
  outcome: Outcome
  /** Unix milliseconds. */
  endedAt: number
}

/** How far a flow has come. */
export type Progress = { kind: 'unclaimed' } | { kind: 'claimed' } | Done

/**
 * The records that make each flow single-use across all replicas. A flow has no record at first, then a claim, then an
 * outcome.
 */
export class FlowRecords {
  readonly #store: GuardedStore
  readonly #settings: Settings
  readonly #background: BackgroundTasks

  constructor (store: GuardedStore, settings: Settings, background: BackgroundTasks) {
    this.#store = store
    this.#settings = settings
    this.#background = background
  }

  /**
   * Claims the flow of a callback. A successful claim also proves that the store accepts writes. If another callback has
   * claimed the flow, this waits for that callback's outcome. Null when the flow is used up.
   */
  async claimOrWait (state: string, startedAt: number, expired: boolean): Promise<Claim | Done | null> {
    // A random id makes the stored claim differ from those of other callbacks.
    const attempt = randomUUID()
    for (let tries = 0; tries < maxTries; tries++) {
      const claim = expired ? null : await this.#claim(state, startedAt, attempt)
      if (claim !== null) return claim
      const progress = await this.#wait(state)
      if (progress.kind === 'done') return this.#isFresh(progress) ? progress : null
      if (progress.kind === 'claimed' || expired) return null
      // The other callback's claim was reported as failed, so that callback has deleted the claim. The flow is free again.
    }
    return null
  }

  /**
   * Records how a claimed flow ended, for a repeated callback. Resolves with whether the outcome was written. The store is
   * called even while it rests after a timeout: that timeout may be what made the flow fail.
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
      // The browser gets an error of the store, and may open the same callback again. If the store has written the claim, or may
      // have, the claim is deleted here: otherwise it would block the second try.
      afterFailure: (answer) => {
        if (answer !== false) this.#background.insist(() => this.#store.delete(key, { if: value }, { whileResting: true }), () => {})
      }
    })
    // ioredis repeats a command whose answer was lost. If the first command has written this claim, the second is refused. Then
    // the stored claim is this one.
    return isWritten || await this.#store.get(key) === value ? { kind: 'claim', key, value, expiresAt } : null
  }

  /** Waits until the callback that holds the claim has ended the flow, at most for as long as that callback may take. */
  async #wait (state: string): Promise<Progress> {
    let isOver = false
    const cancel = startDeadline(this.#settings.timeout + 2 * this.#settings.storeTimeout, () => { isOver = true })
    try {
      for (let pause = 20; ; pause = Math.min(pause * 2, 250)) {
        const isLastLook = isOver
        // The store may be resting after a timeout that the other callback met. Only a failure of the last look counts.
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

/** Reads a stored flow record. A value that is no valid outcome counts as a claim, so that nobody can use the flow again. */
function parseProgress (text: string): Progress {
  const record = parseJson(text)
  if (!isObject(record)) return { kind: 'claimed' }
  const { endedAt } = record
  const outcome = record.kind === 'done' ? parseOutcome(record.outcome) : null
  return outcome !== null && typeof endedAt === 'number' ? { kind: 'done', outcome, endedAt } : { kind: 'claimed' }
}

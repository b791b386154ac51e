import type { CheckedStore } from './checked-store.ts'
import type { TestClock } from './clock.ts'

/**
 * What a test of the contract works on.
 */
export interface Subject {
  /** An empty store. */
  readonly store: CheckedStore
  /** A store on the same data: over another connection if there can be one, else the same. */
  readonly twin: CheckedStore
  readonly clock: TestClock
  /** Makes another empty store. */
  readonly createStranger: () => Promise<CheckedStore>
  /** Cuts the store off; resolves with what connects it again, or undefined when it cannot be cut off. */
  readonly interrupt: () => Promise<(() => unknown) | undefined>
}

/**
 * A sentence of the contract, and what proves it: `check` rejects when the store does otherwise.
 */
export interface ContractTest {
  readonly title: string
  readonly check: (subject: Subject) => Promise<void>
}

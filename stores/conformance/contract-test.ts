import type { CheckedStore } from './checked-store.ts'
import type { TestClock } from './clock.ts'

/**
 * The stores and the clock of one test.
 */
export interface Subject {
  /** An empty store. */
  readonly store: CheckedStore
  /** A store on the same data, over another connection if the suite was given `connect`. Otherwise the same store. */
  readonly twin: CheckedStore
  readonly clock: TestClock
  /** Makes another empty store, which shares no data with the first. */
  readonly createStranger: () => Promise<CheckedStore>
  /** Cuts the connection of the store. Resolves with a function that restores it, or with undefined if the suite was not given `interrupt`. */
  readonly interrupt: () => Promise<(() => unknown) | undefined>
}

/**
 * A sentence of the contract, and its test: `check` rejects when the store breaks the contract.
 */
export interface ContractTest {
  readonly title: string
  readonly check: (subject: Subject) => Promise<void>
}

import { AssertionError } from 'node:assert'
import { storeTests, type StoreTest } from '../../stores/conformance.ts'
import { ReferenceStore } from './reference-store.ts'
import { createClock, createCutStore, type WrongStore } from './wrong-stores.ts'

/** A store for the suite. */
export type Made = Pick<WrongStore, 'createStore' | 'isAlone' | 'restored'>

/** A store that keeps the contract. */
export const right: Made = { createStore: ({ now }, rows) => createCutStore(new ReferenceStore(now, {}, rows)) }

/** Makes all tests of the suite for a store. Each test has a clock of its own. */
export function testsOf ({ createStore, isAlone = false, restored }: Made): StoreTest[] {
  let clock = createClock()
  const tests = storeTests({
    clock: { now: () => clock.now(), advance: (milliseconds) => { clock.advance(milliseconds) } },
    createStore: () => createStore(clock),
    connect: isAlone ? undefined : (store) => createStore(clock, store.reference.rows),
    interrupt: async (store) => {
      store.isCut = true
      return () => {
        store.isCut = false
        restored?.(store)
      }
    }
  })
  return tests.map(({ title, run }) => ({
    title,
    async run () {
      clock = createClock()
      await run()
    }
  }))
}

/** Runs tests, one after the other. Resolves with the messages of those that failed. */
export async function failuresOf (tests: readonly StoreTest[]): Promise<Map<string, unknown>> {
  const failures = new Map<string, unknown>()
  for (const { title, run } of tests) await run().catch((error: unknown) => { failures.set(title, error) })
  return failures
}

/** The hint that a message about a near deadline has on the real clock. */
export const clockOfItsOwn = /clock of its own, it may differ from this machine's by more than 20 ms/

/** Tells whether the message of a failed test says, in one readable line, what the contract says and what the store did. */
export function isFairMessage (title: string, error: unknown): boolean {
  // An error of the store itself.
  if (!(error instanceof AssertionError)) return /deadlock detected|invalid expire time|the value is too long/.test(String(error))
  return error.message.startsWith(`The contract says: ${title}. But `) && /^[ -~…]{1,999}$/.test(error.message) && !clockOfItsOwn.test(error.message)
}

import { assertOptions } from './assert.ts'
import { CheckedStore } from './conformance/checked-store.ts'
import { testClockOf, type StoreClock } from './conformance/clock.ts'
import { conditionTests } from './conformance/condition-tests.ts'
import type { ContractTest } from './conformance/contract-test.ts'
import { clockTests, deadlineTests } from './conformance/deadline-tests.ts'
import { outageTests } from './conformance/outage-tests.ts'
import { pageTests } from './conformance/page-tests.ts'
import { raceTests } from './conformance/race-tests.ts'
import { sharedTests } from './conformance/shared-tests.ts'
import { tagTests } from './conformance/tag-tests.ts'
import { valueTests } from './conformance/value-tests.ts'
import type { TokenStore } from './token-store.ts'

export type { StoreClock }

/**
 * What `storeTests` is told about a store. Every option but `createStore` adds tests or makes them
 * sharper; none takes a part of the contract away.
 */
export interface StoreTestsOptions<Store extends TokenStore = TokenStore> {
  /**
   * Makes an empty store that shares nothing with the others, like one with a table or a key prefix
   * of its own. Called once in every test, and twice in that of two stores.
   */
  createStore: () => Store | Promise<Store>
  /**
   * Makes another store on the data of the given one, over a connection of its own, as another process
   * has it. The races are then run across both, and what one writes the other must see at once.
   * Defaults to races within one store.
   */
  connect?: ((store: Store) => Store | Promise<Store>) | undefined
  /**
   * The clock by which the store judges deadlines, when the test can move it: they are then tested to
   * the millisecond. Defaults to the real clock, for which tests wait up to 100 ms.
   */
  clock?: StoreClock | undefined
  /**
   * Cuts the store off from its data and resolves with a function that connects it again; that one
   * resolves when the store works. In between every call must reject within five seconds, so a client
   * that would queue its commands for longer is configured not to. Defaults to no such test.
   */
  interrupt?: ((store: Store) => Promise<() => unknown>) | undefined
  /** Called at the end of each test with each of its stores, those of `connect` included. Defaults to nothing. */
  closeStore?: ((store: Store) => unknown) | undefined
}

/**
 * One test of the contract, for any runner: `test(title, run)`.
 */
export interface StoreTest {
  /** The sentence of the contract that is tested. */
  title: string
  /** Rejects with an AssertionError that tells what the store did and should have done. Its arguments are ignored. */
  run: () => Promise<void>
}

const OPTIONS = ['createStore', 'connect', 'clock', 'interrupt', 'closeStore']

/**
 * Lists the tests of the contract of `TokenStore`: a store that passes them can stand behind the plugin.
 * Keys and tags have up to 512 characters, values up to 64 KiB. The tests are independent of each other.
 * Throws a TypeError on an unknown option and without `createStore`.
 */
export function storeTests<Store extends TokenStore> (options: StoreTestsOptions<Store>): StoreTest[] {
  assertOptions('storeTests', options, OPTIONS)
  if (typeof options.createStore !== 'function') {
    throw new TypeError('`createStore` of storeTests is missing: pass a function that makes an empty store')
  }
  const contract = [
    ...valueTests,
    ...conditionTests,
    ...deadlineTests,
    ...(options.clock === undefined ? [] : clockTests),
    ...tagTests,
    ...pageTests,
    ...raceTests,
    ...(options.connect === undefined ? [] : sharedTests),
    ...(options.interrupt === undefined ? [] : outageTests)
  ]
  return contract.map((test) => ({ title: test.title, run: () => runOne(test, options) }))
}

async function runOne<Store extends TokenStore> ({ title, check }: ContractTest, options: StoreTestsOptions<Store>): Promise<void> {
  const { createStore, connect, interrupt, closeStore } = options
  const clock = testClockOf(options.clock)
  const opened: Store[] = []
  const open = async (made: Store | Promise<Store>): Promise<Store> => {
    const store = await made
    opened.push(store)
    return store
  }
  const checked = (store: TokenStore): CheckedStore => new CheckedStore(store, title, clock)
  try {
    const store = await open(createStore())
    await check({
      store: checked(store),
      twin: checked(connect === undefined ? store : await open(connect(store))),
      clock,
      createStranger: async () => checked(await open(createStore())),
      interrupt: async () => await interrupt?.(store)
    })
  } finally {
    for (const store of opened) await closeStore?.(store)
  }
}

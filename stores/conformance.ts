import { assertOptions } from './assert.ts'
import { CheckedStore } from './conformance/checked-store.ts'
import { testClockOf, type StoreClock } from './conformance/clock.ts'
import { conditionTests } from './conformance/condition-tests.ts'
import type { ContractTest } from './conformance/contract-test.ts'
import { clockTests, deadlineTests } from './conformance/deadline-tests.ts'
import { optionalTests } from './conformance/optional-tests.ts'
import { outageTests } from './conformance/outage-tests.ts'
import { pageTests } from './conformance/page-tests.ts'
import { raceTests } from './conformance/race-tests.ts'
import { sharedTests } from './conformance/shared-tests.ts'
import { tagTests } from './conformance/tag-tests.ts'
import { inTurn } from './conformance/together.ts'
import { valueTests } from './conformance/value-tests.ts'
import type { TokenStore } from './token-store.ts'

export type { StoreClock }

/**
 * Options of `storeTests`. Every option but `createStore` adds tests or makes them stricter; none removes a test.
 */
export interface StoreTestsOptions<Store extends TokenStore = TokenStore> {
  /**
   * Makes an empty store that shares no data with other stores: with a table or a key prefix of its own, for example.
   * Called once in every test, and twice in the test that two stores share nothing.
   */
  createStore: () => Store | Promise<Store>
  /**
   * Makes another store on the data of the given store, over a connection of its own, as another process would.
   * The races then run across both stores, and each must see the other's changes at once. Defaults to races within one store.
   */
  connect?: ((store: Store) => Store | Promise<Store>) | undefined
  /**
   * The clock by which the store judges deadlines, if a test can move it: deadlines are then tested to the millisecond.
   * Defaults to the real clock. Tests then wait up to 100 ms, and the clock of the store may differ by 20 ms at most.
   */
  clock?: StoreClock | undefined
  /**
   * Cuts the store off from its data, and resolves with a function that restores the connection and resolves when the
   * store works again. In between, every call must reject within five seconds, so configure a client so that it does not
   * queue commands for longer. Defaults to no such test.
   */
  interrupt?: ((store: Store) => Promise<() => unknown>) | undefined
  /**
   * Closes a store. Called at the end of each test with each of its stores, including those of `connect`. If it fails,
   * the test fails. Defaults to nothing.
   */
  closeStore?: ((store: Store) => unknown) | undefined
}

/**
 * One test of the contract, for any runner: `test(title, run)`.
 */
export interface StoreTest {
  /** The sentence of the contract that the test checks. */
  title: string
  /** Rejects with an AssertionError that says what the store did and what it should have done. Ignores its arguments. */
  run: () => Promise<void>
}

const OPTIONS = ['createStore', 'connect', 'clock', 'interrupt', 'closeStore']
const METHODS = ['get', 'set', 'delete', 'find'] as const

/**
 * Lists the tests of the contract of `TokenStore`. A store that passes them works with the plugin.
 * The tests use keys and tags of up to 512 characters, values of up to 512 KiB with up to 5,000 tags, and tags with up to
 * 1,100 keys. They accept up to 5,000 pages of `find` in a row without a new key. They are independent of each other.
 * Throws a TypeError on an unknown option, an option of a wrong type, and without `createStore`.
 */
export function storeTests<Store extends TokenStore> (options: StoreTestsOptions<Store>): StoreTest[] {
  assertOptions('storeTests', options, OPTIONS)
  assertTypes(options)
  const contract = [
    ...valueTests,
    ...conditionTests,
    ...deadlineTests,
    ...(options.clock === undefined ? [] : clockTests),
    ...tagTests,
    ...pageTests,
    ...optionalTests,
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
  const open = async (option: string, made: Store | Promise<Store>): Promise<Store> => {
    const store = await made
    opened.push(store)
    assertStore(option, store)
    return store
  }
  const checked = (store: TokenStore): CheckedStore => new CheckedStore(store, title, clock)
  const run = async (): Promise<void> => {
    const store = await open('createStore', createStore())
    await check({
      store: checked(store),
      twin: checked(connect === undefined ? store : await open('connect', connect(store))),
      clock,
      createStranger: async () => checked(await open('createStore', createStore())),
      interrupt: async () => await interrupt?.(store)
    })
  }
  await inTurn([run, async () => { await inTurn(opened.map((store) => () => closeStore?.(store))) }])
}

function assertTypes ({ createStore, connect, clock, interrupt, closeStore }: { [Option in keyof StoreTestsOptions]: unknown }): void {
  if (typeof createStore !== 'function') {
    throw new TypeError('`createStore` of storeTests is missing: pass a function that returns an empty store')
  }
  for (const [option, value] of Object.entries({ connect, interrupt, closeStore })) {
    if (value !== undefined && typeof value !== 'function') {
      throw new TypeError(`\`${option}\` of storeTests is not a function: pass a function that takes a store, or leave it out`)
    }
  }
  const { now, advance } = Object(clock)
  if (clock !== undefined && (typeof now !== 'function' || typeof advance !== 'function')) {
    throw new TypeError('`clock` of storeTests is not a clock: pass an object with the functions now and advance, or leave it out for the real clock')
  }
}

function assertStore (option: string, store: unknown): void {
  const missing = METHODS.find((method) => typeof Object(store)[method] !== 'function')
  if (missing !== undefined) {
    throw new TypeError(`\`${option}\` of storeTests resolved with a store that has no method \`${missing}\`: a TokenStore has ${METHODS.join(', ')}`)
  }
}

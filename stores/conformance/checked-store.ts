import assert from 'node:assert/strict'
import type { SetOptions, TokenStore } from '../token-store.ts'
import type { TestClock } from './clock.ts'
import { shown } from './shown.ts'

/**
 * Options of a write in the tests. `expiresAt` defaults to an hour from now.
 */
export type WriteOptions = Partial<SetOptions>

/**
 * Where a walk through the pages of a tag begins, and how many keys a page may hold.
 */
export interface PageOptions {
  limit?: number
  cursor?: string
}

const AN_HOUR = 3_600_000
// A store that reads one of its partitions for each page may have many pages without a key.
const MOST_IDLE_PAGES = 5000

/**
 * A store under test. Its methods call the store and compare the answer with the contract: `writes` expects true from
 * `set`, `refuses` expects false. They reject with an AssertionError that names the sentence of the contract, the call
 * and the answer.
 */
export class CheckedStore {
  readonly #store: TokenStore
  readonly #sentence: string
  readonly #clock: TestClock

  constructor (store: TokenStore, sentence: string, clock: TestClock) {
    this.#store = store
    this.#sentence = sentence
    this.#clock = clock
  }

  /** Expects `get` to resolve with the value, or with null for an unknown key. If the store has `getSync`, expects the same of it, or undefined unless the store is synchronous. */
  async reads (key: string, value: string | null): Promise<void> {
    const before = this.#store.getSync?.(key)
    this.#same(await this.get(key), value, () => `get(${shown(key)})`)
    const isSynchronous = this.#store.isSynchronous === true
    for (const known of [before, this.#store.getSync?.(key)]) {
      if (known === value || (known === undefined && !isSynchronous)) continue
      this.fails(`getSync(${shown(key)}) returned ${shown(known)} instead of ${shown(value)}${isSynchronous ? ', although the store has isSynchronous' : ' or undefined'}`)
    }
  }

  /** Expects these values of these keys from `getMany`, if the store has it. */
  async readsMany (keys: readonly string[], values: ReadonlyArray<string | null>): Promise<void> {
    if (!this.hasMany) return
    const answer: unknown = await this.getMany(keys)
    if (!Array.isArray(answer) || answer.length !== keys.length) {
      this.fails(`getMany resolved with ${Array.isArray(answer) ? `${answer.length} entries` : 'no list'} for ${keys.length} keys: one entry for each key`)
    }
    const wrong = values.findIndex((value, index) => answer[index] !== value)
    if (wrong !== -1) this.fails(`getMany resolved with ${shown(answer[wrong])} instead of ${shown(values[wrong])} for ${shown(keys[wrong])}, key ${wrong + 1} of ${keys.length}`)
  }

  /** Expects a write to succeed. */
  async writes (key: string, value: string, options: WriteOptions = {}): Promise<void> {
    this.#same(await this.set(key, value, options), true, () => setCall(key, value, options))
  }

  /** Expects a write to be refused. */
  async refuses (key: string, value: string, options: WriteOptions): Promise<void> {
    this.#same(await this.set(key, value, options), false, () => setCall(key, value, options))
  }

  /** Expects a deletion to delete a value. */
  async deletes (key: string, options: { if?: string } = {}): Promise<void> {
    this.#same(await this.delete(key, options), true, () => deleteCall(key, options))
  }

  /** Expects a deletion to delete nothing: the key is unknown, or has another value than `if`. */
  async deletesNothing (key: string, options: { if?: string } = {}): Promise<void> {
    this.#same(await this.delete(key, options), false, () => deleteCall(key, options))
  }

  /** Expects exactly these keys of a tag, each once, in any order. */
  async finds (tag: string, keys: readonly string[], options: PageOptions = {}): Promise<void> {
    const found = await this.walk(tag, options)
    const [expected, seen] = [new Set(keys), new Set(found)]
    const wrong = {
      'left out': keys.filter((key) => !seen.has(key)),
      'named without reason': found.filter((key) => !expected.has(key)),
      'named again': found.filter((key) => !seen.delete(key))
    }
    for (const [what, keys] of Object.entries(wrong)) {
      if (keys.length > 0) this.fails(`find(${shown(tag)}, ${shown(options)}), page after page, ${what} ${shown(keys)}`)
    }
  }

  /** Reads the pages of a tag up to the last, from the cursor if there is one, and resolves with all their keys. With the cursor null, it reads no page. */
  async walk (tag: string, { cursor: first, ...options }: { limit?: number, cursor?: string | null } = {}): Promise<string[]> {
    const keys: string[] = []
    const seen = new Set<string>()
    let idle = 0
    for (let cursor: string | null | undefined = first; cursor !== null;) {
      const page = await this.page(tag, cursor === undefined ? options : { ...options, cursor })
      const before = seen.size
      for (const key of page.keys) seen.add(key)
      keys.push(...page.keys)
      cursor = page.cursor
      idle = seen.size === before ? idle + 1 : 0
      if (idle === MOST_IDLE_PAGES && cursor !== null) this.fails(`find(${shown(tag)}) went on after ${MOST_IDLE_PAGES} pages in a row without a new key: the cursor of the last page must be null`)
    }
    return keys
  }

  /** Reads one page of a tag. Expects no more keys than the limit, and a cursor that is a string or null. */
  async page (tag: string, options: PageOptions = {}): Promise<{ keys: string[], cursor: string | null }> {
    const page = await this.#store.find(tag, options)
    const call = (): string => `find(${shown(tag)}, ${shown(options)})`
    const { keys, cursor } = Object(page)
    if (!Array.isArray(keys) || !(cursor === null || typeof cursor === 'string')) {
      this.fails(`${call()} resolved with ${shown(page)} instead of { keys: string[], cursor: string | null }`)
    }
    if (options.limit !== undefined && keys.length > options.limit) this.fails(`${call()} resolved with ${keys.length} keys: a page holds no more than its limit`)
    return page
  }

  /** Whether the store has `getMany`. */
  get hasMany (): boolean {
    return this.#store.getMany !== undefined
  }

  /** Calls `getMany`, and leaves the answer to the test. */
  async getMany (keys: readonly string[]): Promise<Array<string | null> | undefined> {
    return await this.#store.getMany?.(keys)
  }

  /** Calls `get`, and leaves the answer to the test. */
  async get (key: string): Promise<string | null> {
    return await this.#store.get(key)
  }

  /** Calls `set`, and leaves the answer to the test. */
  async set (key: string, value: string, options: WriteOptions = {}): Promise<boolean> {
    return await this.#store.set(key, value, { expiresAt: this.#clock.now() + AN_HOUR, ...options })
  }

  /** Calls `delete`, and leaves the answer to the test. */
  async delete (key: string, options: { if?: string } = {}): Promise<boolean> {
    return await this.#store.delete(key, options)
  }

  /** Expects true of exactly one of several simultaneous calls, and false of all others. Returns the index of that call. */
  onlyOne (outcomes: readonly boolean[], calls: string): number {
    const [won, lost] = [true, false].map((answer) => outcomes.filter((outcome) => outcome === answer).length)
    if (won !== 1 || lost !== outcomes.length - 1) {
      this.fails(`of ${outcomes.length} simultaneous calls of ${calls}, ${won} resolved with true and ${lost} with false: exactly one may succeed`)
    }
    return outcomes.indexOf(true)
  }

  /** Throws an AssertionError with the sentence of the contract, the message, and a hint about clocks where they may be the cause. */
  fails (message: string): never {
    assert.fail(`The contract says: ${this.#sentence}. But ${message}.${this.#clock.doubt()}`)
  }

  #same (actual: unknown, expected: unknown, call: () => string): void {
    if (actual !== expected) this.fails(`${call()} resolved with ${shown(actual)} instead of ${shown(expected)}`)
  }
}

function setCall (key: string, value: string, options: WriteOptions): string {
  return `set(${shown(key)}, ${shown(value)}, ${shown(options)})`
}

function deleteCall (key: string, options: { if?: string }): string {
  return `delete(${shown(key)}, ${shown(options)})`
}

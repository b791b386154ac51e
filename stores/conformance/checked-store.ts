import assert from 'node:assert/strict'
import type { SetOptions, TokenStore } from '../token-store.ts'
import type { TestClock } from './clock.ts'
import { shown } from './shown.ts'

/**
 * Options of a write in the tests. The deadline defaults to an hour ahead.
 */
export type WriteOptions = Partial<SetOptions>

/**
 * Where a walk through the pages of a tag begins, and how long they may be.
 */
export interface PageOptions {
  limit?: number
  cursor?: string
}

const AN_HOUR = 3_600_000
// A store that looks into one of its partitions for each page may have many without a key.
const MOST_IDLE_PAGES = 5000

/**
 * A store whose every answer is compared with the contract: each verb says what must come of the call.
 * They reject with an AssertionError that names the sentence of the contract, the call and the answer.
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

  /** Reads what must be there, null for nothing. */
  async reads (key: string, value: string | null): Promise<void> {
    this.#same(await this.get(key), value, () => `get(${shown(key)})`)
  }

  /** Writes where the contract lets it. */
  async writes (key: string, value: string, options: WriteOptions = {}): Promise<void> {
    this.#same(await this.set(key, value, options), true, () => setCall(key, value, options))
  }

  /** Writes where the contract refuses it. */
  async refuses (key: string, value: string, options: WriteOptions): Promise<void> {
    this.#same(await this.set(key, value, options), false, () => setCall(key, value, options))
  }

  /** Deletes what is there. */
  async deletes (key: string, options: { if?: string } = {}): Promise<void> {
    this.#same(await this.delete(key, options), true, () => deleteCall(key, options))
  }

  /** Deletes what is not there, or not that value. */
  async deletesNothing (key: string, options: { if?: string } = {}): Promise<void> {
    this.#same(await this.delete(key, options), false, () => deleteCall(key, options))
  }

  /** Finds exactly these keys, in any order. */
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

  /** Walks through the pages of a tag, from a cursor on if one is given; resolves with the keys of all. */
  async walk (tag: string, options: PageOptions = {}): Promise<string[]> {
    const keys: string[] = []
    const seen = new Set<string>()
    let idle = 0
    for (let cursor: string | null | undefined = options.cursor; cursor !== null;) {
      const page = await this.page(tag, cursor === undefined ? options : { ...options, cursor })
      const before = seen.size
      for (const key of page.keys) seen.add(key)
      keys.push(...page.keys)
      cursor = page.cursor
      idle = seen.size === before ? idle + 1 : 0
      if (idle === MOST_IDLE_PAGES && cursor !== null) this.fails(`find(${shown(tag)}) went on after ${MOST_IDLE_PAGES} pages in a row without a new key: the cursor of the last page is null`)
    }
    return keys
  }

  /** Reads one page of a tag; no longer than the limit, with a cursor that is a string or null. */
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

  /** Reads, whatever may come of it. */
  async get (key: string): Promise<string | null> {
    return await this.#store.get(key)
  }

  /** Writes, whatever may come of it. */
  async set (key: string, value: string, options: WriteOptions = {}): Promise<boolean> {
    return await this.#store.set(key, value, { expiresAt: this.#clock.now() + AN_HOUR, ...options })
  }

  /** Deletes, whatever may come of it. */
  async delete (key: string, options: { if?: string } = {}): Promise<boolean> {
    return await this.#store.delete(key, options)
  }

  /** Of what calls at the same moment resolved with, tells the one that is true: exactly one is, and the others are false. */
  onlyOne (outcomes: readonly boolean[], calls: string): number {
    const [won, lost] = [true, false].map((answer) => outcomes.filter((outcome) => outcome === answer).length)
    if (won !== 1 || lost !== outcomes.length - 1) {
      this.fails(`of ${outcomes.length} calls of ${calls} at once ${won} resolved with true and ${lost} with false: exactly one may succeed`)
    }
    return outcomes.indexOf(true)
  }

  /** Ends the test: rejects with an AssertionError that names the contract's sentence, this and what the clock may have to do with it. */
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

import { MemoryStore, type TokenStore } from '../../lib/index.ts'

type Method = 'get' | 'set' | 'delete'

/** A call to a store that hangs until the test decides. */
export interface HeldCall {
  /** Resolves once the store was called. */
  readonly called: Promise<void>
  /** Carries out the call and answers it. */
  carryOut (): Promise<void>
  /** Rejects the call. Carries it out first if the argument says so. */
  fail (options?: { carriedOut?: boolean }): Promise<void>
}

/** A store in memory. A test can hold its calls, and make them lose their answers. */
export class FaultyStore implements TokenStore {
  readonly memory = new MemoryStore()
  /** The keys that were read and written, oldest first. */
  readonly calls: string[] = []
  readonly #faults: Array<{ method: Method, prefix: string, strike: (run: () => Promise<unknown>) => Promise<unknown> }> = []

  async get (key: string): Promise<string | null> {
    return await this.#call('get', key, () => this.memory.get(key))
  }

  async set (...call: Parameters<TokenStore['set']>): Promise<boolean> {
    return await this.#call('set', call[0], () => this.memory.set(...call))
  }

  async delete (...call: Parameters<TokenStore['delete']>): Promise<boolean> {
    return await this.#call('delete', call[0], () => this.memory.delete(...call))
  }

  async find (...call: Parameters<TokenStore['find']>) {
    return await this.memory.find(...call)
  }

  /** Holds the next call of a method whose key begins with the prefix. */
  hold (method: Method, prefix = ''): HeldCall {
    let arrive = () => {}
    let settle: (carryOut: boolean, answer: boolean) => Promise<void> = async () => {}
    const called = new Promise<void>((resolve) => { arrive = resolve })
    this.#faults.push({
      method,
      prefix,
      strike: (run) => new Promise((resolve, reject) => {
        settle = async (carryOut, answer) => {
          const value = carryOut ? await run() : null
          if (answer) resolve(value)
          else reject(new Error('connection lost'))
        }
        arrive()
      })
    })
    return { called, carryOut: () => settle(true, true), fail: ({ carriedOut = false } = {}) => settle(carriedOut, false) }
  }

  /** Loses the answers to a number of calls of a method. Carries the calls out first if the argument says so. */
  lose (method: Method, prefix = '', { carriedOut = true, times = 1 }: { carriedOut?: boolean, times?: number } = {}): void {
    for (let time = 0; time < times; time++) {
      this.#faults.push({
        method,
        prefix,
        strike: async (run) => {
          if (carriedOut) await run()
          throw new Error('connection lost')
        }
      })
    }
  }

  async #call<T> (method: Method, key: string, run: () => Promise<T>): Promise<T> {
    this.calls.push(`${method} ${key}`)
    const index = this.#faults.findIndex((fault) => fault.method === method && key.startsWith(fault.prefix))
    const [fault] = index < 0 ? [] : this.#faults.splice(index, 1)
    if (fault === undefined) return await run()
    let result: { value: T } | undefined
    await fault.strike(async () => { result = { value: await run() } })
    if (result === undefined) throw new Error('nothing was carried out')
    return result.value
  }
}

/** Runs at most `atOnce` tasks at a time. The others wait for their turn, in the order in which they came. */
export class Limit {
  readonly #waiting: Array<() => void> = []
  #free: number

  constructor (atOnce: number) {
    this.#free = atOnce
  }

  async run<T> (task: () => Promise<T>): Promise<T> {
    if (this.#free === 0) await new Promise<void>((resolve) => { this.#waiting.push(resolve) })
    else this.#free--
    try {
      return await task()
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#free++
      else next()
    }
  }
}

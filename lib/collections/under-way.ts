// A store that restarts is back by then.
const pauses = [250, 1000, 4000, 15_000]

/**
 * Work that goes on behind an answer, such as a deletion that the store carries out late. Closing waits for it.
 */
export class UnderWay {
  readonly #tasks = new Set<Promise<unknown>>()
  readonly #timers = new Set<NodeJS.Timeout>()

  /** How many tasks have not settled yet. */
  get size (): number {
    return this.#tasks.size
  }

  /** Remembers a task until it settles; returns the same promise. */
  add<T> (task: Promise<T>): Promise<T> {
    this.#tasks.add(task)
    const remove = () => { this.#tasks.delete(task) }
    task.then(remove, remove)
    return task
  }

  /**
   * Runs a task in the background until it succeeds: at once, and again after growing pauses. Closing waits for the try
   * that is running, and for no pause. Calls `onGivenUp` with the last error when no try has succeeded.
   */
  insist (task: () => Promise<unknown>, onGivenUp: (error: unknown) => void, tries = 0): void {
    this.add(task()).catch((error: unknown) => {
      const pause = pauses[tries]
      if (pause === undefined) onGivenUp(error)
      else this.#after(pause, () => { this.insist(task, onGivenUp, tries + 1) })
    })
  }

  /** Runs a task in the background after a pause. Closing does not wait for the pause; the task must not reject. */
  later (pause: number, task: () => Promise<unknown>): void {
    this.#after(pause, () => { this.add(task()) })
  }

  /** Gives up everything that is in a pause. */
  stop (): void {
    for (const timer of this.#timers) clearTimeout(timer)
    this.#timers.clear()
  }

  #after (pause: number, run: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      run()
    }, pause).unref()
    this.#timers.add(timer)
  }

  /** Resolves when everything that is under way now has settled. */
  async settled (): Promise<void> {
    await Promise.allSettled(this.#tasks)
  }
}

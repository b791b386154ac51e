// The pauses between the tries, in milliseconds. Together they are long enough for a store to restart.
const pauses = [250, 1000, 4000, 15_000]

/**
 * Work that continues after the answer was sent, such as a deletion that the store carries out late. When the app closes,
 * the plugin waits for it.
 */
export class BackgroundTasks {
  readonly #tasks = new Set<Promise<unknown>>()
  /** For each task that is in a pause: its timer, and the function to call if the task is given up. */
  readonly #paused = new Map<NodeJS.Timeout, () => void>()
  #isStopped = false

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
   * Runs a task in the background: at once, and again after growing pauses until it succeeds. When the app closes, the
   * plugin waits for a running try, but not for a pause. Calls `onGivenUp` with the last error when all tries have failed.
   */
  insist (task: () => Promise<unknown>, onGivenUp: (error: unknown) => void, tries = 0): void {
    this.add(task()).catch((error: unknown) => {
      const pause = pauses[tries]
      if (pause === undefined) onGivenUp(error)
      else this.#after(pause, () => { this.insist(task, onGivenUp, tries + 1) }, () => { onGivenUp(error) })
    })
  }

  /** Runs a task in the background after a pause, unless the app closes first. The task must not reject. */
  later (pause: number, task: () => Promise<unknown>): void {
    this.#after(pause, () => { this.add(task()) }, () => {})
  }

  /** Gives up every task that is in a pause. From now on, a task that would have to pause is given up at once. */
  stop (): void {
    this.#isStopped = true
    for (const [timer, giveUp] of this.#paused) {
      clearTimeout(timer)
      giveUp()
    }
    this.#paused.clear()
  }

  /** Resolves when everything that is under way now has settled. */
  async settled (): Promise<void> {
    await Promise.allSettled(this.#tasks)
  }

  #after (pause: number, run: () => void, giveUp: () => void): void {
    if (this.#isStopped) return giveUp()
    const timer = setTimeout(() => {
      this.#paused.delete(timer)
      run()
    }, pause).unref()
    this.#paused.set(timer, giveUp)
  }
}

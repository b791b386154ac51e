/**
 * Work that goes on behind an answer, such as a deletion that the store carries out late. Closing waits for it.
 */
export class UnderWay {
  readonly #tasks = new Set<Promise<unknown>>()

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

  /** Resolves when everything that is under way now has settled. */
  async settled (): Promise<void> {
    await Promise.allSettled(this.#tasks)
  }
}

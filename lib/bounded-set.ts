/** A set of strings that forgets the oldest when it is full. */
export class BoundedSet {
  readonly #values = new Set<string>()
  readonly #limit: number

  constructor (limit: number) {
    this.#limit = limit
  }

  /** Adds a value; tells whether it is new. */
  add (value: string): boolean {
    if (this.#values.has(value)) return false
    const [oldest] = this.#values
    if (oldest !== undefined && this.#values.size >= this.#limit) this.#values.delete(oldest)
    this.#values.add(value)
    return true
  }
}

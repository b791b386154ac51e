/** A map with a size limit. When it is full, it forgets the entry that was set longest ago. */
export class BoundedMap<Value> {
  readonly #values = new Map<string, Value>()
  readonly #limit: number

  constructor (limit: number) {
    this.#limit = limit
  }

  get (key: string): Value | undefined {
    return this.#values.get(key)
  }

  set (key: string, value: Value): void {
    this.#values.delete(key)
    this.#values.set(key, value)
    if (this.#values.size <= this.#limit) return
    const [oldest] = this.#values.keys()
    if (oldest !== undefined) this.#values.delete(oldest)
  }

  delete (key: string): void {
    this.#values.delete(key)
  }
}

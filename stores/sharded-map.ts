// A power of two. Of a million entries a move is of 16,000, within a millisecond or two.
const SHARDS = 64

/**
 * A map from strings for very many entries. V8 moves all entries of a Map at once when it outgrows its table,
 * and again when most of them have gone: with a million, everything waits for a tenth of a second. Here each
 * such move is of one part of the entries only.
 */
export class ShardedMap<Value> {
  readonly #shards: Array<Map<string, Value> | undefined> = []
  #size = 0

  /** How many entries there are. */
  get size (): number {
    return this.#size
  }

  /** The value of the key, or undefined. */
  get (key: string): Value | undefined {
    return this.#shards[shardOf(key)]?.get(key)
  }

  /** Sets the value of the key. */
  set (key: string, value: Value): void {
    const number = shardOf(key)
    const shard = this.#shards[number] ??= new Map()
    const before = shard.size
    shard.set(key, value)
    this.#size += shard.size - before
  }

  /** Forgets the key, if it is there. */
  delete (key: string): void {
    if (this.#shards[shardOf(key)]?.delete(key) === true) this.#size--
  }
}

/** Keys end in what tells them apart: hashes, mostly. */
function shardOf (key: string): number {
  return (key.charCodeAt(key.length - 1) * 31 + key.charCodeAt(key.length - 2)) & (SHARDS - 1)
}

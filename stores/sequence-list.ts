/** What a `SequenceList` orders: each item that is added has a higher number than those before. */
export interface Sequenced {
  readonly sequence: number
}

const CHUNK = 512

/**
 * A list in the order of sequence numbers, in chunks: an item is added at the end, taken out anywhere and found
 * by its number in next to no time, however many there are. A Set would move all of them at once when it grows
 * or shrinks, and be read from its beginning for each page.
 */
export class SequenceList<Item extends Sequenced> {
  /** None of them is empty. */
  readonly #chunks: Item[][]

  /** Makes a list of items, at least one. */
  constructor (...items: Item[]) {
    this.#chunks = [items]
  }

  /** Whether there is no item. */
  get isEmpty (): boolean {
    return this.#chunks.length === 0
  }

  /** Adds an item at the end; the last item again changes nothing. */
  add (item: Item): void {
    const last = this.#chunks.at(-1)
    if (last?.at(-1) === item) return
    if (last === undefined || last.length >= CHUNK) this.#chunks.push([item])
    else last.push(item)
  }

  /** Takes the item out, if it is there. */
  remove (item: Item): void {
    const at = this.#chunkOf(item.sequence)
    const chunk = this.#chunks[at]
    if (chunk === undefined) return
    const index = positionOf(chunk, item.sequence)
    if (chunk[index] !== item) return
    chunk.splice(index, 1)
    // A copy has no room for what has gone.
    if (chunk.length === 0) this.#chunks.splice(at, 1)
    else if (!this.#join(at - 1) && !this.#join(at) && isPowerOfTwo(chunk.length)) this.#chunks[at] = chunk.slice()
  }

  /** Makes one chunk of two that are mostly empty: there are never more than the items need. Tells whether they were. */
  #join (at: number): boolean {
    const [chunk, next] = [this.#chunks[at], this.#chunks[at + 1]]
    if (chunk === undefined || next === undefined || chunk.length + next.length > CHUNK / 2) return false
    this.#chunks.splice(at, 2, [...chunk, ...next])
    return true
  }

  /** The items in their order, from a sequence number on. */
  * from (sequence: number): Generator<Item, void, undefined> {
    const first = this.#chunkOf(sequence)
    for (const chunk of this.#chunks.slice(first)) {
      for (const item of chunk.slice(positionOf(chunk, sequence))) yield item
    }
  }

  /** Finds the chunk in which an item with the number would be. */
  #chunkOf (sequence: number): number {
    return Math.max(0, firstWhere(this.#chunks, ([first]) => first !== undefined && first.sequence > sequence) - 1)
  }
}

/** Finds the first item of a chunk that has the number or a higher one. */
function positionOf (chunk: readonly Sequenced[], sequence: number): number {
  return firstWhere(chunk, (item) => item.sequence >= sequence)
}

/** Finds the first place of a list at which something holds, by halves: from there on it holds everywhere. */
function firstWhere<T> (list: readonly T[], holds: (item: T) => boolean): number {
  let [low, high] = [0, list.length]
  while (low < high) {
    const middle = (low + high) >> 1
    const item = list[middle]
    if (item === undefined || holds(item)) high = middle
    else low = middle + 1
  }
  return low
}

function isPowerOfTwo (length: number): boolean {
  return (length & (length - 1)) === 0
}

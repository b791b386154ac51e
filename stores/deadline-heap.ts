/**
 * An item of a `DeadlineHeap`.
 */
export interface HeapItem {
  /** When the item expires, in Unix milliseconds. The heap is ordered by it. */
  readonly expiresAt: number
  /** Orders items of the same deadline: the lower number comes first. */
  readonly sequence: number
  /** The index of the item in the heap. Only the heap changes it. */
  position: number
}

/**
 * A binary heap, ordered by deadline. Reading the nearest deadline is O(1); adding and removing any item is O(log n).
 * A store with a heap never has to search all of its entries for the expired ones.
 */
export class DeadlineHeap<Item extends HeapItem> {
  readonly #items: Item[] = []

  /** The item with the nearest deadline, or undefined when the heap is empty. */
  get nearest (): Item | undefined {
    return this.#items[0]
  }

  /** Adds an item that is not in the heap. */
  add (item: Item): void {
    this.#rise(item, this.#items.length)
  }

  /** Removes an item that is in the heap. */
  remove (item: Item): void {
    const last = this.#items.pop()
    if (last === undefined || last === item) return
    this.#sink(last, item.position)
    this.#rise(last, last.position)
  }

  #rise (item: Item, from: number): void {
    let position = from
    while (position > 0) {
      const above = (position - 1) >> 1
      const parent = this.#items[above]
      if (parent === undefined || isNearer(parent, item)) break
      this.#place(parent, position)
      position = above
    }
    this.#place(item, position)
  }

  #sink (item: Item, from: number): void {
    let position = from
    for (;;) {
      const child = this.#nearerChild(position)
      if (child === undefined || isNearer(item, child)) break
      const below = child.position
      this.#place(child, position)
      position = below
    }
    this.#place(item, position)
  }

  #nearerChild (position: number): Item | undefined {
    const left = this.#items[2 * position + 1]
    const right = this.#items[2 * position + 2]
    return left !== undefined && right !== undefined && isNearer(right, left) ? right : left
  }

  #place (item: Item, position: number): void {
    this.#items[position] = item
    item.position = position
  }
}

function isNearer (a: HeapItem, b: HeapItem): boolean {
  return a.expiresAt < b.expiresAt || (a.expiresAt === b.expiresAt && a.sequence < b.sequence)
}

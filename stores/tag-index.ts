/**
 * Names the items of a tag, in the order in which they were added. A tag without items takes no room,
 * and one with a single item, as most are, no set of its own: that would be 200 bytes.
 */
export class TagIndex<Item extends object> {
  readonly #tagged = new Map<string, Item | Set<Item>>()

  /** How many tags have an item. */
  get size (): number {
    return this.#tagged.size
  }

  /** The items of the tag, none if nobody has it. */
  of (tag: string): Iterable<Item> {
    const tagged = this.#tagged.get(tag)
    if (tagged === undefined) return []
    return tagged instanceof Set ? tagged : [tagged]
  }

  /** Puts the item under the tag, once however often it is added. */
  add (tag: string, item: Item): void {
    const tagged = this.#tagged.get(tag)
    if (tagged === undefined) this.#tagged.set(tag, item)
    else if (tagged instanceof Set) tagged.add(item)
    else this.#tagged.set(tag, new Set([tagged, item]))
  }

  /** Takes the item from the tag, if it is there. */
  remove (tag: string, item: Item): void {
    const tagged = this.#tagged.get(tag)
    if (tagged instanceof Set) tagged.delete(item)
    if (tagged === item || (tagged instanceof Set && tagged.size === 0)) this.#tagged.delete(tag)
  }
}

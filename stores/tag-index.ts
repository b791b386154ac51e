import { SequenceList, type Sequenced } from './sequence-list.ts'
import { ShardedMap } from './sharded-map.ts'

/**
 * Names the items of a tag, in the order of their sequence numbers. A tag without items takes no room,
 * and one with a single item, as most are, no list of its own: that would be 200 bytes.
 */
export class TagIndex<Item extends Sequenced> {
  readonly #tagged = new ShardedMap<Item | SequenceList<Item>>()

  /** How many tags have an item. */
  get size (): number {
    return this.#tagged.size
  }

  /** The items of the tag, from a sequence number on; none if nobody has it. */
  of (tag: string, first = 0): Iterable<Item> {
    const tagged = this.#tagged.get(tag)
    if (tagged === undefined) return []
    if (tagged instanceof SequenceList) return tagged.from(first)
    return tagged.sequence < first ? [] : [tagged]
  }

  /** Puts the item under the tag, once however often it is added. Its number is higher than those before it. */
  add (tag: string, item: Item): void {
    const tagged = this.#tagged.get(tag)
    if (tagged instanceof SequenceList) tagged.add(item)
    else if (tagged === undefined) this.#tagged.set(tag, item)
    else if (tagged !== item) this.#tagged.set(tag, new SequenceList(tagged, item))
  }

  /** Takes the item from the tag, if it is there. */
  remove (tag: string, item: Item): void {
    const tagged = this.#tagged.get(tag)
    if (tagged instanceof SequenceList) tagged.remove(item)
    if (tagged === item || (tagged instanceof SequenceList && tagged.isEmpty)) this.#tagged.delete(tag)
  }
}

// A client with a pool of connections lets none wait for long.
const MOST_AT_ONCE = 100

/**
 * Does the same with each item at the same time, a hundred at most; rejects with the error of the first in the list that failed, once all have ended.
 */
export async function together<Item> (items: readonly Item[], act: (item: Item, index: number) => Promise<unknown>): Promise<void> {
  for (let first = 0; first < items.length; first += MOST_AT_ONCE) {
    const outcomes = await Promise.allSettled(items.slice(first, first + MOST_AT_ONCE).map((item, index) => act(item, first + index)))
    const failed = outcomes.find((outcome) => outcome.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }
}

/**
 * Does one after the other, whatever fails; rejects with the first error at the end.
 */
export async function inTurn (acts: ReadonlyArray<() => unknown>): Promise<void> {
  const errors: unknown[] = []
  for (const act of acts) {
    try {
      await act()
    } catch (error) {
      errors.push(error)
    }
  }
  if (errors.length > 0) throw errors[0]
}

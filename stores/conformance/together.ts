// Few enough that no call waits long for a connection of a pool.
const MOST_AT_ONCE = 100

/**
 * Calls `act` with each item, a hundred at a time. If a call fails, it waits for the rest of that hundred. Then it rejects with
 * the error of the first failed item in the list.
 */
export async function together<Item> (items: readonly Item[], act: (item: Item, index: number) => Promise<unknown>): Promise<void> {
  for (let first = 0; first < items.length; first += MOST_AT_ONCE) {
    const outcomes = await Promise.allSettled(items.slice(first, first + MOST_AT_ONCE).map((item, index) => act(item, first + index)))
    const failed = outcomes.find((outcome) => outcome.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }
}

/**
 * Calls one function after the other, even if some fail, and rejects with the first error at the end.
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

/** Waits for all of several tasks, though one may fail, and then fails as it did: none goes on behind the back of who waits. */
export async function settleAll<T> (tasks: ReadonlyArray<Promise<T>>): Promise<T[]> {
  await Promise.allSettled(tasks)
  return await Promise.all(tasks)
}

/**
 * Waits until all tasks have settled. Then rejects with the error of the first task that failed, or resolves with all
 * results. Unlike with `Promise.all`, no task is still running when the caller goes on.
 */
export async function settleAll<T> (tasks: ReadonlyArray<Promise<T>>): Promise<T[]> {
  await Promise.allSettled(tasks)
  return await Promise.all(tasks)
}

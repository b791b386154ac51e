/** Lets one turn of the event loop pass, without any timer. */
export const turn = () => new Promise<void>((resolve) => { setImmediate(resolve) })

/** Lets the promises and streams of this process make progress, without any timer. */
export async function turns (): Promise<void> {
  for (let count = 0; count < 20; count++) await turn()
}

/** Waits until something has happened. */
export async function until (hasHappened: () => boolean): Promise<void> {
  while (!hasHappened()) await turn()
  await turns()
}

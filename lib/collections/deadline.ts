// A process that was blocked or frozen loses one slice of its time at the most, however long it was away.
const slices = 10

/**
 * Calls `onTimeout` after so many milliseconds in which this process was running; returns a function that cancels it.
 *
 * Time in which the process was blocked or frozen hardly counts. Node runs overdue timers before it reads the answers
 * that wait in its sockets, so that one long timer would take a healthy server for a dead one.
 */
export function startDeadline (milliseconds: number, onTimeout: () => void): () => void {
  const slice = Math.ceil(milliseconds / slices)
  let left = milliseconds
  let timer: NodeJS.Timeout
  let lastLook: NodeJS.Immediate | undefined
  const wait = () => {
    timer = setTimeout(() => {
      left -= slice
      if (left > 0) wait()
      // Immediates run after the sockets were read.
      else lastLook = setImmediate(onTimeout)
    }, Math.min(slice, left))
  }
  wait()
  return () => {
    clearTimeout(timer)
    clearImmediate(lastLook)
  }
}

/** A deadline that several steps share. */
export interface Deadline {
  /** Whether the time is over. */
  readonly isOver: boolean
  /** Resolves when the time is over; stays pending when the deadline is cancelled before. */
  readonly expired: Promise<void>
}

/** Runs a task with a deadline of so many milliseconds; the deadline ends with the task. */
export async function withDeadline<T> (milliseconds: number, task: (deadline: Deadline) => Promise<T>): Promise<T> {
  let isOver = false
  let cancel = (): void => {}
  const expired = new Promise<void>((resolve) => {
    cancel = startDeadline(milliseconds, () => {
      isOver = true
      resolve()
    })
  })
  try {
    return await task({ expired, get isOver () { return isOver } })
  } finally {
    cancel()
  }
}

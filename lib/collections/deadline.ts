// A deadline waits for this many slices, one after the other. If the process is blocked or frozen, only one slice counts.
const slices = 10

/**
 * Calls `onTimeout` after this process has run for this many milliseconds more. Returns a function that cancels the call.
 *
 * Time in which the process was blocked or frozen hardly counts. After such a time, Node runs overdue timers before it reads
 * the answers that wait in its sockets. With one long timer, a healthy server would look like a dead one.
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
      // Node reads the sockets before it runs immediates, so a waiting answer still arrives first.
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
  /** Resolves when the time is over. Stays pending if the task ends first. */
  readonly expired: Promise<void>
}

class RunningDeadline implements Deadline {
  isOver = false
  readonly expired: Promise<void>
  declare cancel: () => void

  constructor (milliseconds: number) {
    this.expired = new Promise((resolve) => {
      this.cancel = startDeadline(milliseconds, () => {
        this.isOver = true
        resolve()
      })
    })
  }
}

/** Runs a task with a deadline, in milliseconds. The deadline is cancelled when the task ends. */
export async function withDeadline<T> (milliseconds: number, task: (deadline: Deadline) => Promise<T>): Promise<T> {
  const deadline = new RunningDeadline(milliseconds)
  try {
    return await task(deadline)
  } finally {
    deadline.cancel()
  }
}

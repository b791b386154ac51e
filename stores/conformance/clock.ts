/**
 * The clock by which the store judges deadlines. It stands still until the test moves it.
 */
export interface StoreClock {
  /** Returns the current time, in Unix milliseconds. */
  now: () => number
  /** Moves the clock forward by a number of milliseconds. */
  advance: (milliseconds: number) => unknown
}

/**
 * The clock as the tests of the contract use it.
 */
export interface TestClock {
  now: () => number
  /** Returns a deadline in the near future, for which a test can wait. */
  soon: () => number
  /** Returns a time that has passed for the store too. */
  past: () => number
  /** Resolves when a deadline has passed for the store too. */
  reach: (deadline: number) => Promise<void>
  /** Returns a hint that the clock of the store may be wrong. The hint is empty if the test used no near deadline, because then clocks do not matter. */
  doubt: () => string
}

// How far in the future a deadline is that a test waits for, in milliseconds.
const AHEAD = 60
// In milliseconds. The clock of a database on another machine may differ a little.
const SLACK = 20

/**
 * Makes the clock of the tests from the clock of the store, or from the real clock if there is none.
 */
export function testClockOf (clock: StoreClock | undefined): TestClock {
  if (clock === undefined) return createRealClock()
  const { now, advance } = clock
  return {
    now: () => now(),
    soon: () => now() + AHEAD,
    past: () => now() - 1,
    reach: async (deadline) => { await advance(deadline - now()) },
    doubt: () => ''
  }
}

function createRealClock (): TestClock {
  let hasNearDeadline = false
  const near = (deadline: number): number => {
    hasNearDeadline = true
    return deadline
  }
  return {
    now: () => Date.now(),
    soon: () => near(Date.now() + AHEAD),
    past: () => near(Date.now() - SLACK),
    reach: async (deadline) => {
      for (let left = deadline + SLACK - Date.now(); left > 0; left = deadline + SLACK - Date.now()) {
        await new Promise((resolve) => { setTimeout(resolve, left) })
      }
    },
    doubt: () => hasNearDeadline ? ` If the store has a clock of its own, it may differ from this machine's by more than ${SLACK} ms: set both right, or pass \`clock\`.` : ''
  }
}

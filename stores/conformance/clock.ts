/**
 * A clock that goes as the test says, and by which the store judges deadlines.
 */
export interface StoreClock {
  /** Names the present instant, in Unix milliseconds. */
  now: () => number
  /** Moves it on by so many milliseconds. */
  advance: (milliseconds: number) => unknown
}

/**
 * What the tests of the contract know of time.
 */
export interface TestClock {
  now: () => number
  /** Names a deadline that lies ahead and can be waited for. */
  soon: () => number
  /** Names an instant that is past. */
  past: () => number
  /** Resolves when a deadline has come for the store too. */
  reach: (deadline: number) => Promise<void>
  /** Names what else a failure may come from, once a deadline that is near has had a part in the test; else an empty string. */
  doubt: () => string
}

const AHEAD = 60
// A database elsewhere has a clock of its own.
const SLACK = 20

/**
 * Makes the clock of the tests from that of the store, or from the real one.
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
  let isDecisive = false
  const near = (deadline: number): number => {
    isDecisive = true
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
    doubt: () => isDecisive ? ` If it goes by a clock of its own, that may differ from this machine's by more than ${SLACK} ms: set both right, or pass \`clock\`.` : ''
  }
}

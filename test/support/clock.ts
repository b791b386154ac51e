import { mock } from 'node:test'

/** Moves the mocked clock on, a millisecond at a time: a timer that is set on the way fires on the way. */
export function tick (milliseconds: number): void {
  for (let passed = 0; passed < milliseconds; passed++) mock.timers.tick(1)
}

import { mock } from 'node:test'

/** Moves the mocked clock forward, a millisecond at a time, so that a timer that is set meanwhile also fires in time. */
export function tick (milliseconds: number): void {
  for (let passed = 0; passed < milliseconds; passed++) mock.timers.tick(1)
}

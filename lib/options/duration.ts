import { refuseOption } from '../errors.ts'

// The longest delay of a timer in Node. Node fires a longer one at once.
const maxDelay = 2 ** 31 - 1

/** Checks a duration: a whole number, from 1 to the longest delay of a timer. */
export function resolveDuration (option: string, value: unknown, unit: 'seconds' | 'milliseconds'): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value <= 0 || value > maxDelay) {
    return refuseOption(option, `must be a whole number of ${unit}, from 1 to ${maxDelay}`)
  }
  return value
}

import { inspect } from 'node:util'

const MOST = 60

/**
 * Spells anything for the message of a test: in ASCII, so that texts that look alike are told apart, and not at any length.
 */
export function shown (value: unknown): string {
  const text = inspect(value, { breakLength: Infinity, maxStringLength: MOST, maxArrayLength: 10 })
  return text.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

import { inspect } from 'node:util'

const LONGEST = 60

/**
 * Formats a value for a message. Characters outside printable ASCII are escaped, so that texts that look alike can be told apart; long texts are cut.
 */
export function shown (value: unknown): string {
  const text = inspect(value, { breakLength: Infinity, maxStringLength: LONGEST, maxArrayLength: 10 })
  return text.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

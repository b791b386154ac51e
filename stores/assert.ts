/**
 * Refuses options that are not an object, and options that the owner does not have.
 * Throws a TypeError that names the owner, the unknown option and the known ones.
 */
export function assertOptions (owner: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null) {
    throw new TypeError(`${owner} takes an object with its options: ${known.join(', ')}`)
  }
  const unknown = Object.keys(options).find((option) => !known.includes(option))
  if (unknown !== undefined) {
    throw new TypeError(`${owner} has no option \`${unknown}\`: its options are ${known.join(', ')}`)
  }
}

/**
 * Refuses a deadline that is not an integer of Unix milliseconds. Redis refuses such a deadline too.
 * Throws a TypeError that names `expiresAt` and the remedy.
 */
export function assertExpiresAt (expiresAt: unknown): asserts expiresAt is number {
  if (!Number.isSafeInteger(expiresAt)) {
    throw new TypeError('`expiresAt` is not an integer: pass Unix milliseconds, like Date.now() + 60_000')
  }
}

/**
 * Refuses a page size that is not a positive integer.
 * Throws a TypeError that names `limit` and the remedy.
 */
export function assertLimit (limit: unknown): asserts limit is number {
  if (!isPositiveInteger(limit)) {
    throw new TypeError('`limit` is not a positive integer: leave it out for pages of 100')
  }
}

/**
 * Refuses a cursor that does not have the shape of this store's cursors.
 * Throws a TypeError that names `cursor` and the remedy.
 */
export function assertCursor (cursor: unknown, shape: RegExp): asserts cursor is string {
  if (typeof cursor !== 'string' || !shape.test(cursor)) {
    throw new TypeError('`cursor` does not come from find() of this store: leave it out for the first page')
  }
}

/**
 * Tells whether a value is an integer from 1 to `Number.MAX_SAFE_INTEGER`.
 */
export function isPositiveInteger (value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0
}

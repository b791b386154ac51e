/**
 * Refuses anything but an object with none but the known options.
 * Throws a TypeError that names the store, the option and the options there are.
 */
export function assertOptions (store: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null) {
    throw new TypeError(`${store} takes an object with its options: ${known.join(', ')}`)
  }
  const unknown = Object.keys(options).find((option) => !known.includes(option))
  if (unknown !== undefined) {
    throw new TypeError(`${store} has no option \`${unknown}\`: it takes ${known.join(', ')}`)
  }
}

/**
 * Refuses a deadline that is no integer of Unix milliseconds: Redis would, and the stores agree.
 * Throws a TypeError that names `expiresAt` and the remedy.
 */
export function assertExpiresAt (expiresAt: unknown): asserts expiresAt is number {
  if (!Number.isSafeInteger(expiresAt)) {
    throw new TypeError('`expiresAt` is not an integer: pass Unix milliseconds, like Date.now() + 60_000')
  }
}

/**
 * Refuses a size of a page that is not a positive integer.
 * Throws a TypeError that names `limit` and the remedy.
 */
export function assertLimit (limit: unknown): asserts limit is number {
  if (!isPositiveInteger(limit)) {
    throw new TypeError('`limit` is not a positive integer: leave it out for pages of 100')
  }
}

/**
 * Refuses a cursor that does not have the shape this store gives to its own.
 * Throws a TypeError that names `cursor` and the remedy.
 */
export function assertCursor (cursor: unknown, shape: RegExp): asserts cursor is string {
  if (typeof cursor !== 'string' || !shape.test(cursor)) {
    throw new TypeError('`cursor` is none that find() of this store resolved with: leave it out for the first page')
  }
}

/**
 * Tells whether a value is an integer from 1 to the largest that is exact.
 */
export function isPositiveInteger (value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0
}

import { randomFillSync } from 'node:crypto'

// A call of `randomFillSync` is expensive, even for a few bytes, so one call fills this pool for many uses.
const pool = Buffer.alloc(4096)
let taken = pool.length

/** Returns `length` random bytes of cryptographic quality, at most 4,096. Erases them from the pool. */
export function takeRandom (length: number): Buffer {
  if (taken + length > pool.length) {
    randomFillSync(pool)
    taken = 0
  }
  const bytes = Buffer.from(pool.subarray(taken, taken + length))
  pool.fill(0, taken, taken + length)
  taken += length
  return bytes
}

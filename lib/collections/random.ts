import { randomFillSync } from 'node:crypto'

// Each call for random bytes is expensive, whatever their number, so one call fills this pool for many uses.
const pool = Buffer.alloc(4096)
let taken = pool.length

/** Returns so many random bytes, at most 4,096, of cryptographic quality. The pool does not keep the bytes that it has given away. */
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

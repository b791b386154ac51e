import { randomFillSync } from 'node:crypto'

const pool = Buffer.alloc(4096)
let taken = pool.length

/** Makes unguessable bytes, from a pool: most of what asking the system costs is the asking. */
export function randomBytes (length: number): Buffer {
  if (taken + length > pool.length) {
    randomFillSync(pool)
    taken = 0
  }
  const bytes = Buffer.from(pool.subarray(taken, taken + length))
  // Nobody finds in memory later what a session was opened with.
  pool.fill(0, taken, taken += length)
  return bytes
}

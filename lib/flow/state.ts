import { hash, randomFillSync } from 'node:crypto'
import { mac, verifyMac, type DerivedKey } from '../storage/keyring.ts'

const randomLength = 32
const timeLength = 8
const macLength = 32
// A multiple of three bytes has one spelling in base64url only: no second string means the same state.
const shape = /^[\w-]{96}$/
// Most of what random bytes cost is the asking: these are for a hundred states, each wiped when it is taken.
const pool = Buffer.alloc(100 * randomLength)
let taken = pool.length

/**
 * Makes a `state` (RFC 6749, section 10.12): 32 random bytes, the time and a MAC over both, so that a
 * callback can tell without cookie or store that it is ours and how old it is.
 */
export function createState (keys: readonly DerivedKey[], now: number): string {
  const content = Buffer.alloc(randomLength + timeLength)
  takeRandom(content)
  content.writeBigUInt64BE(BigInt(now), randomLength)
  return Buffer.concat([content, mac(keys, content)]).toString('base64url')
}

/** Reads when a `state` was made, in Unix milliseconds; null when it is none of ours. */
export function readState (keys: readonly DerivedKey[], state: string): number | null {
  if (!shape.test(state)) return null
  const bytes = Buffer.from(state, 'base64url')
  const content = bytes.subarray(0, -macLength)
  if (!verifyMac(keys, content, bytes.subarray(-macLength))) return null
  return Number(content.readBigUInt64BE(randomLength))
}

/** Names the cookie of a flow: the first characters of a hash of its state. */
export function flowHandle (state: string): string {
  return hash('sha256', state, 'base64url').slice(0, 16)
}

/** Tells whether the end of a cookie's name is one that `flowHandle` makes. */
export function isFlowHandle (value: string): boolean {
  return /^[\w-]{16}$/.test(value)
}

/** Puts random bytes at the beginning of a state. */
function takeRandom (content: Buffer): void {
  if (taken === pool.length) {
    randomFillSync(pool)
    taken = 0
  }
  pool.copy(content, 0, taken, taken + randomLength)
  pool.fill(0, taken, taken + randomLength)
  taken += randomLength
}

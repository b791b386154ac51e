import { takeRandom } from '../collections/random.ts'
import { mac, verifyMac, type DerivedKey } from '../storage/keyring.ts'

const randomLength = 32
const timeLength = 8
const macLength = 32
// A state has 72 bytes. This is a multiple of three, so a state has only one spelling in base64url.
const shape = /^[\w-]{96}$/

/**
 * Makes a `state` (RFC 6749, section 10.12): 32 random bytes, the time, and a MAC over both. The callback can therefore
 * check, without cookie or store, that this app made the state and how old it is.
 */
export function createState (keys: readonly DerivedKey[], now: number): string {
  const content = Buffer.concat([takeRandom(randomLength)], randomLength + timeLength)
  content.writeBigUInt64BE(BigInt(now), randomLength)
  return Buffer.concat([content, Buffer.from(mac(keys, content), 'base64url')]).toString('base64url')
}

/** Reads when a `state` was made, in Unix milliseconds; null when this app did not make it. */
export function readState (keys: readonly DerivedKey[], state: string): number | null {
  if (!shape.test(state)) return null
  const bytes = Buffer.from(state, 'base64url')
  const content = bytes.subarray(0, -macLength)
  if (!verifyMac(keys, content, bytes.subarray(-macLength).toString('base64url'))) return null
  return Number(content.readBigUInt64BE(randomLength))
}

/**
 * Returns the handle of a flow, which is part of its cookie's name: the first 12 random bytes of the state. The name holds neither
 * the other 20 random bytes nor the MAC, so nobody can make the state from it.
 */
export function flowHandle (state: string): string {
  return state.slice(0, 16)
}

/** Tells whether a string has the form of a flow handle. */
export function isFlowHandle (value: string): boolean {
  return /^[\w-]{16}$/.test(value)
}

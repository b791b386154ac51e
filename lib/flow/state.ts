import { takeRandom } from '../collections/random.ts'
import { mac, verifyMac, type DerivedKey } from '../storage/keyring.ts'

const randomLength = 32
const timeLength = 8
const macLength = 32
// 72 bytes are a multiple of three, so they have only one spelling in base64url: no second string decodes to the same state.
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
 * Returns the part of a flow cookie's name that depends on the flow: the first 12 of the random bytes of its state. The other
 * 20 random bytes and the MAC are not in the name.
 */
export function flowHandle (state: string): string {
  return state.slice(0, 16)
}

/** Tells whether a string has the form of a flow handle. */
export function isFlowHandle (value: string): boolean {
  return /^[\w-]{16}$/.test(value)
}

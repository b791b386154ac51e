import type { DerivedKey } from '../storage/keyring.ts'

/**
 * Derives a session id from the state of a flow and the random bytes in its cookie. A repeated callback therefore gets the
 * same session, and the store never holds the session id.
 */
export function deriveSessionId (key: DerivedKey, state: string, seed: string): string {
  return key.hmac(`${seed}.${state}`)
}

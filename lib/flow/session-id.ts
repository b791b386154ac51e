import type { DerivedKey } from '../storage/keyring.ts'

/**
 * Derives the id of the session that a flow leads to, from its state and the random bytes of its cookie. The same
 * callback gets the same session, and no store has to keep the id.
 */
export function deriveSessionId (key: DerivedKey, state: string, seed: string): string {
  return key.tagOf(`${seed}.${state}`).toString('base64url')
}

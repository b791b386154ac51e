import { createHmac, createSecretKey, hash, hkdfSync, timingSafeEqual, type KeyObject } from 'node:crypto'

/** What a derived key is for: a value made for one purpose never passes for another. */
export type Purpose = 'seal token' | 'seal flow' | 'mac state' | 'mac flow cookie' | 'mac user'

/** A key for one purpose, with the name by which sealed values refer to it. */
export interface DerivedKey {
  /** Derived from the secret, so that it stays the same wherever in the list the secret stands. */
  id: string
  key: KeyObject
}

/** The keys for a purpose: the first makes, all verify. */
export type Keyring = (purpose: Purpose) => readonly DerivedKey[]

/**
 * Derives every key of the plugin from the app's secrets and the client id, by HKDF (RFC 5869).
 */
export function createKeyring (secrets: readonly Buffer[], clientId: string): Keyring {
  return (purpose) => secrets.map((secret) => ({
    id: derive(secret, 'key id', clientId, 6).toString('base64url'),
    key: createSecretKey(derive(secret, purpose, clientId, 32))
  }))
}

/** Authenticates a message with the newest key of a purpose. */
export function mac (keys: readonly DerivedKey[], message: string | Buffer): Buffer {
  const [newest] = keys
  if (newest === undefined) throw new RangeError('a keyring is never empty')
  return hmac(newest.key, message)
}

/** Tells whether a tag was made for the message with any of the keys; takes the same time for every wrong tag. */
export function verifyMac (keys: readonly DerivedKey[], message: string | Buffer, tag: Buffer): boolean {
  let valid = false
  for (const { key } of keys) {
    const expected = hmac(key, message)
    valid = (expected.length === tag.length && timingSafeEqual(expected, tag)) || valid
  }
  return valid
}

/**
 * Names a record after what it belongs to. Plain SHA-256 and no secret, so that rotating `secret`
 * loses nothing; the client id keeps two apps on one store apart.
 */
export function storeId (clientId: string, ...parts: readonly string[]): string {
  return hash('sha256', [clientId, ...parts].join('\0'), 'base64url')
}

function hmac (key: KeyObject, message: string | Buffer): Buffer {
  return createHmac('sha256', key).update(message).digest()
}

function derive (secret: Buffer, purpose: string, clientId: string, length: number): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, '', `fastify-webflow-oauth v1\0${purpose}\0${clientId}`, length))
}

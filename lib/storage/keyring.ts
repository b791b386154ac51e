import { createSecretKey, hash, hkdfSync, timingSafeEqual, type KeyObject } from 'node:crypto'

/** The purpose of a derived key. Each purpose has its own key, so a value made for one purpose is never accepted for another. */
export type Purpose = 'seal token' | 'mac state' | 'mac flow cookie' | 'mac user' | 'derive session id' | 'seal designer session' | 'seal flow owner'

/** A key for one purpose. */
export interface DerivedKey {
  /** The name by which stored values refer to the key. It depends on the secret only, not on the secret's place in the list. */
  id: string
  key: KeyObject
  /** Computes the HMAC-SHA-256 of a message, in base64url. */
  hmac (message: string | Buffer): string
}

/** Returns the keys for a purpose, one for each secret. The first key makes new values; all of them verify. */
export type Keyring = (purpose: Purpose) => readonly DerivedKey[]

/**
 * Derives every key of the plugin from the app's secrets and the client id, by HKDF (RFC 5869).
 */
export function createKeyring (secrets: readonly Buffer[], clientId: string): Keyring {
  return (purpose) => secrets.map((secret) => {
    const key = derive(secret, purpose, clientId, 32)
    return { id: derive(secret, 'key id', clientId, 6).toString('base64url'), key: createSecretKey(key), hmac: createHmac(key) }
  })
}

/** Returns the key that makes new values. */
export function newestOf (keys: readonly DerivedKey[]): DerivedKey {
  const [newest] = keys
  if (newest === undefined) throw new RangeError('a keyring is never empty')
  return newest
}

/** Authenticates a message with the newest key of a purpose; returns the tag in base64url. */
export function mac (keys: readonly DerivedKey[], message: string | Buffer): string {
  return newestOf(keys).hmac(message)
}

/**
 * Tells whether a tag was made for the message with any of the keys. It takes the same time for every wrong tag. Only the
 * spelling that `mac` writes is accepted, although base64url has several for the last character.
 */
export function verifyMac (keys: readonly DerivedKey[], message: string | Buffer, tag: string): boolean {
  const given = Buffer.from(tag)
  let valid = false
  for (const key of keys) {
    const expected = Buffer.from(key.hmac(message))
    valid = (expected.length === given.length && timingSafeEqual(expected, given)) || valid
  }
  return valid
}

/**
 * Makes the id of a record from the values that identify it. It is a plain SHA-256 hash without a secret, so that every
 * record is still found after `secret` was rotated. The client id keeps the records of two apps on one store apart.
 */
export function storeId (clientId: string, ...parts: readonly string[]): string {
  return hash('sha256', [clientId, ...parts].join('\0'), 'base64url')
}

/**
 * Creates HMAC-SHA-256 (RFC 2104) for a key of at most 64 bytes, out of two plain hashes. Node's `createHmac` sets up a
 * native object for each message, which takes several times as long as the hashing itself. The digests are strings, because
 * Node takes three times as long to return a Buffer.
 */
export function createHmac (key: Buffer): (message: string | Buffer) => string {
  const block = Buffer.concat([key], 64)
  const inner = block.map((byte) => byte ^ 0x36)
  const outer = Buffer.concat([block.map((byte) => byte ^ 0x5c)], 64 + 32)
  return (message) => {
    outer.write(hash('sha256', Buffer.concat([inner, Buffer.from(message)]), 'binary'), 64, 'binary')
    return hash('sha256', outer, 'base64url')
  }
}

function derive (secret: Buffer, purpose: string, clientId: string, length: number): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, '', `fastify-webflow-oauth v1\0${purpose}\0${clientId}`, length))
}

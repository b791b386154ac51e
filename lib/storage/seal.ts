import { createCipheriv, createDecipheriv } from 'node:crypto'
import { takeRandom } from '../collections/random.ts'
import { newestOf, type DerivedKey } from './keyring.ts'

const ivLength = 12
const tagLength = 16
const format = /^v1\.([\w-]{8})\.([\w-]{16})\.([\w-]{22,})$/

/** The result of unsealing a value. */
export type Unsealed =
  | { kind: 'unsealed', text: string }
  /** The value was changed, cut, moved from another store key, or was never sealed. */
  | { kind: 'foreign' }
  /** The value was sealed with a secret that this process does not have. This happens in the middle of a deploy, for example. */
  | { kind: 'unknown_key' }

/** Encrypts values before they go into the store, and decrypts them when they come back. */
export interface Sealer {
  seal (place: string, text: string): string
  unseal (place: string, sealed: string): Unsealed
}

/**
 * Creates the sealer for one purpose. It uses AES-256-GCM; a sealed value reads `v1.<key id>.<iv>.<data and tag>`.
 * The place, which is the store key, is authenticated together with the text: somebody who can write to the store cannot
 * give one record the value of another.
 */
export function createSealer (keys: readonly DerivedKey[]): Sealer {
  const newest = newestOf(keys)
  const byId = new Map(keys.map(({ id, key }) => [id, key]))

  return {
    seal (place, text) {
      const iv = takeRandom(ivLength)
      const cipher = createCipheriv('aes-256-gcm', newest.key, iv, { authTagLength: tagLength }).setAAD(Buffer.from(place))
      const data = Buffer.concat([cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()])
      // V8 keeps a concatenated string as a tree of its parts, which takes a third more memory. Stores keep the value for a
      // long time, so it is flattened by going through a Buffer.
      return Buffer.from(`v1.${newest.id}.${iv.toString('base64url')}.${data.toString('base64url')}`, 'latin1').toString('latin1')
    },

    unseal (place, sealed) {
      const [, id = '', iv = '', data = ''] = format.exec(sealed) ?? []
      if (id === '') return { kind: 'foreign' }
      const key = byId.get(id)
      if (key === undefined) return { kind: 'unknown_key' }
      const bytes = Buffer.from(data, 'base64url')
      // The last character of a base64 string has several spellings. Only the one that we write is accepted.
      if (bytes.toString('base64url') !== data) return { kind: 'foreign' }
      const decipher = createDecipheriv('aes-256-gcm', key, Buffer.from(iv, 'base64url'), { authTagLength: tagLength })
        .setAAD(Buffer.from(place))
        .setAuthTag(bytes.subarray(-tagLength))
      try {
        return { kind: 'unsealed', text: decipher.update(bytes.subarray(0, -tagLength), undefined, 'utf8') + decipher.final('utf8') }
      } catch {
        return { kind: 'foreign' }
      }
    }
  }
}

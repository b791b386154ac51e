import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { newestOf, type DerivedKey } from './keyring.ts'

const ivLength = 12
const tagLength = 16
const format = /^v1\.([\w-]{8})\.([\w-]{16})\.([\w-]{22,})$/

/** What became of a sealed value. */
export type Opened =
  | { kind: 'opened', text: string }
  /** It was tampered with, cut, moved from another place, or is no sealed value at all. */
  | { kind: 'foreign' }
  /** It was sealed under a secret that this process does not have: a deploy that is half done. */
  | { kind: 'unknown_key' }

/** Seals what goes into the store and opens what comes out of it. */
export interface Sealer {
  seal (place: string, text: string): string
  open (place: string, sealed: string): Opened
}

/**
 * Creates the sealer of one purpose: AES-256-GCM, `v1.<key id>.<iv>.<data and tag>`.
 * The place (the store key) is authenticated with the text, so that rows cannot be swapped.
 */
export function createSealer (keys: readonly DerivedKey[]): Sealer {
  const newest = newestOf(keys)
  const byId = new Map(keys.map(({ id, key }) => [id, key]))

  return {
    seal (place, text) {
      const iv = randomBytes(ivLength)
      const cipher = createCipheriv('aes-256-gcm', newest.key, iv, { authTagLength: tagLength }).setAAD(Buffer.from(place))
      const data = Buffer.concat([cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()])
      // Stores keep it for long. What is put together by `+` is kept as its parts, by V8 in a third more memory.
      return Buffer.from(`v1.${newest.id}.${iv.toString('base64url')}.${data.toString('base64url')}`, 'latin1').toString('latin1')
    },

    open (place, sealed) {
      const [, id = '', iv = '', data = ''] = format.exec(sealed) ?? []
      if (id === '') return { kind: 'foreign' }
      const key = byId.get(id)
      if (key === undefined) return { kind: 'unknown_key' }
      const bytes = Buffer.from(data, 'base64url')
      // Base64 has several spellings for one end; only ours was sealed.
      if (bytes.toString('base64url') !== data) return { kind: 'foreign' }
      const decipher = createDecipheriv('aes-256-gcm', key, Buffer.from(iv, 'base64url'), { authTagLength: tagLength })
        .setAAD(Buffer.from(place))
        .setAuthTag(bytes.subarray(-tagLength))
      try {
        return { kind: 'opened', text: decipher.update(bytes.subarray(0, -tagLength), undefined, 'utf8') + decipher.final('utf8') }
      } catch {
        return { kind: 'foreign' }
      }
    }
  }
}

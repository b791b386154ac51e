import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Who the demo is: its credentials at the Webflow on this machine, and its secret. */
export interface Identity {
  clientId: string
  clientSecret: string
  secret: string
}

/** Makes an identity that nobody has had before. */
export function newIdentity (): Identity {
  const [clientId = '', clientSecret = '', secret = ''] = Array.from({ length: 3 }, () => randomBytes(32).toString('hex'))
  return { clientId, clientSecret, secret }
}

/**
 * Reads the identity that an earlier start has left in a folder, or leaves a new one there. Only the current user may read it.
 */
export function identityIn (folder: string): Identity {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const file = join(folder, 'identity.json')
  try {
    // Of two that start at once, the second finds the file of the first.
    writeFileSync(file, JSON.stringify(newIdentity()), { flag: 'wx', mode: 0o600 })
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
  }
  return JSON.parse(readFileSync(file, 'utf8'))
}

import { Writable } from 'node:stream'

/** Everything that the apps of this process logged, at trace level. */
const lines: string[] = []
/** Every secret that this process used: credentials, codes, states, tokens, cookies. */
const secrets = new Set<string>()

/** A logger option for Fastify that remembers everything. */
export const recordingLogger = {
  level: 'trace',
  stream: new Writable({
    write (chunk, _encoding, done) {
      lines.push(String(chunk))
      done()
    }
  })
}

/** Remembers secrets. The last test of a file searches the logs for them. */
export function rememberSecrets (...values: ReadonlyArray<string | null | undefined>): void {
  for (const value of values) {
    if (value !== null && value !== undefined && value.length >= 8) secrets.add(value)
  }
}

/** Returns everything that was logged, as one text. */
export function logged (): string {
  return lines.join('')
}

/** Counts the known secrets, and those of them that were logged. */
export function findLeaks (): { known: number, logged: number, leaked: number } {
  const text = logged()
  const spellings = [...secrets].filter((secret) => text.includes(secret) || text.includes(encodeURIComponent(secret)))
  return { known: secrets.size, logged: lines.length, leaked: spellings.length }
}

import { finished, type Readable } from 'node:stream'
import { startDeadline } from '../collections/deadline.ts'

/**
 * The bytes of a body. `too_long`: there are too many. `incomplete`: the body did not end in time, or the client went away
 * before its end.
 */
export type CollectedBody = Buffer | 'too_long' | 'incomplete'

/** Limits for reading a body. */
export interface BodyLimits {
  /** The maximum length, in bytes. */
  maxLength: number
  /** How long to wait for the end of the body, in milliseconds. */
  patience: number
}

/** Collects the bytes of a body. Calls `done` once, as soon as the result is known. */
export function collectBody (payload: Readable, { maxLength, patience }: BodyLimits, done: (body: CollectedBody) => void): void {
  ignoreErrors(payload)
  const chunks: Buffer[] = []
  let length = 0
  let settled = false
  const settle = (body: CollectedBody) => {
    if (settled) return
    settled = true
    cancel()
    chunks.length = 0
    done(body)
  }
  const cancel = startDeadline(patience, () => { settle('incomplete') })
  // After `settle`, the listener keeps reading: Node accepts the next request on the connection only after the whole body.
  payload.on('data', (chunk: Buffer | string) => {
    if (settled) return
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
    length += bytes.length
    if (length > maxLength) settle('too_long')
    else chunks.push(bytes)
  })
  finished(payload, { writable: false }, (error) => { settle(error instanceof Error ? 'incomplete' : Buffer.concat(chunks)) })
}

/** Keeps an error of a body from ending the process. A hook of the app may replace the stream, for example to decompress it, and nobody else may listen. */
export function ignoreErrors (payload: Readable): void {
  payload.on('error', () => {})
}

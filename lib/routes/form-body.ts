import { finished, type Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'

/** The maximum length of a form, in bytes. */
const maxLength = 16 * 1024
/** How long the parser waits for the end of a form, in milliseconds. */
const patience = 5000

/** The media type at the start of a `Content-Type` header (RFC 9110, section 8.3.1). */
const mediaType = /^\s*([\w!#$%&'*+.^`|~-]+\/[\w!#$%&'*+.^`|~-]+)\s*(?:;|$)/

/**
 * Removes a malformed `Content-Type` header, as a `preParsing` hook. Fastify would otherwise answer 415 without calling any parser.
 * The app's hooks still see well-formed content types.
 */
export function hideMalformedType (request: FastifyRequest, _reply: FastifyReply, _payload: unknown, done: () => void): void {
  const type = request.headers['content-type']
  if (type !== undefined && !mediaType.test(type)) request.headers = { ...request.headers, 'content-type': undefined }
  done()
}

/**
 * Parses a urlencoded body into an object without a prototype. Registered for every content type.
 * `request.body` stays undefined for a body of another type, a body over 16 KiB, and a body that does not end within 5 seconds.
 */
export function parseForm (request: FastifyRequest, payload: Readable, done: (error: null, body?: Record<string, string>) => void): void {
  // A hook of the app may replace the stream, for example to decompress it. Without a listener, an error of that stream would end the process.
  payload.on('error', () => {})
  const type = mediaType.exec(request.headers['content-type'] ?? '')?.[1]
  if (type?.toLowerCase() !== 'application/x-www-form-urlencoded') return done(null)
  // Nobody reads this body. Node discards it once the request is answered.
  if (Number(request.headers['content-length']) > maxLength) return done(null)

  const chunks: Buffer[] = []
  let length = 0
  let settled = false
  const settle = (body?: Record<string, string>) => {
    if (settled) return
    settled = true
    clearTimeout(timer)
    done(null, body)
  }
  const timer = setTimeout(settle, patience)
  // After `settle`, the listener keeps reading: Node accepts the next request on the connection only after the whole body.
  payload.on('data', (chunk: Buffer | string) => {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
    length += bytes.length
    if (length > maxLength) settle()
    else chunks.push(bytes)
  })
  finished(payload, { writable: false }, (error) => {
    if (error instanceof Error) settle()
    else settle(parseFields(Buffer.concat(chunks).toString()))
  })
}

function parseFields (text: string): Record<string, string> {
  const fields: Record<string, string> = Object.create(null)
  for (const [name, value] of new URLSearchParams(text)) fields[name] = value
  return fields
}

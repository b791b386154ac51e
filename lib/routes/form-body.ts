import { finished, type Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'

/** The longest form that is read, in bytes. */
const maxLength = 16 * 1024
/** How long the end of a form is waited for, in milliseconds. */
const patience = 5000

/** The start of a content type as RFC 9110, section 8.3.1, has it. */
const mediaType = /^\s*([\w!#$%&'*+.^`|~-]+\/[\w!#$%&'*+.^`|~-]+)\s*(?:;|$)/

/**
 * Hides a malformed content type, as a `preParsing` hook: Fastify would answer 415 before it asks any parser.
 * Well-formed content types stay visible to the hooks of the app.
 */
export function hideMalformedType (request: FastifyRequest, _reply: FastifyReply, _payload: unknown, done: () => void): void {
  const type = request.headers['content-type']
  if (type !== undefined && !mediaType.test(type)) request.headers = { ...request.headers, 'content-type': undefined }
  done()
}

/**
 * Parses a urlencoded body into an object without a prototype, as a content type parser for every type.
 * Any other body, a longer one, and one that does not end in time are ignored: they parse to nothing.
 */
export function parseForm (request: FastifyRequest, payload: Readable, done: (error: null, body?: Record<string, string>) => void): void {
  // An app may put a stream of its own here, such as one that decompresses. Its failure must not end the process.
  payload.on('error', () => {})
  const type = mediaType.exec(request.headers['content-type'] ?? '')?.[1]
  if (type?.toLowerCase() !== 'application/x-www-form-urlencoded') return done(null)
  // Fastify's server throws away what nobody reads, once the request is answered.
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
  // The listener stays when the rest is not waited for: Node takes the next request of the connection only after it.
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

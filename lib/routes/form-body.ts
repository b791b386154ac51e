import type { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { collectBody, ignoreErrors } from './body.ts'

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
  ignoreErrors(payload)
  const type = mediaType.exec(request.headers['content-type'] ?? '')?.[1]
  if (type?.toLowerCase() !== 'application/x-www-form-urlencoded') return done(null)
  // Nobody reads this body. Node discards it once the request is answered.
  if (Number(request.headers['content-length']) > maxLength) return done(null)

  collectBody(payload, { maxLength, patience }, (body) => {
    if (typeof body === 'string') done(null)
    else done(null, parseFields(body.toString()))
  })
}

function parseFields (text: string): Record<string, string> {
  const fields: Record<string, string> = Object.create(null)
  for (const [name, value] of new URLSearchParams(text)) fields[name] = value
  return fields
}

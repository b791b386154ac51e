import { validateHeaderName, validateHeaderValue } from 'node:http'
import type { FastifyReply } from 'fastify'
import { privacyHeaders } from '../http/privacy.ts'
import { gateOf } from '../http/reply-gate.ts'

/**
 * Writes an answer to `reply.raw`, so that it bypasses all hooks and the error handler of the app. Any answer that the handler
 * or a hook sends later is dropped. Headers that were set before stay, except those that describe another body.
 */
export function answerRaw (reply: FastifyReply, statusCode: number, headers: Record<string, string>, body: string): void {
  const { raw } = reply
  // The gate drops every answer that is sent after `hijack`. Without a gate, Fastify would log it with the URL of the request.
  gateOf(reply)
  reply.hijack()
  for (const name of ['content-encoding', 'location', 'transfer-encoding']) reply.removeHeader(name)
  reply.headers({ ...headers, ...privacyHeaders, 'content-length': Buffer.byteLength(body) })
  for (const [name, value] of Object.entries(reply.getHeaders())) {
    // A hook may have set a header that HTTP does not allow. The answer goes without it.
    if (value !== undefined && isAllowed(name, value)) raw.setHeader(name, value)
  }
  raw.writeHead(statusCode)
  raw.end(body)
}

function isAllowed (name: string, value: number | string | readonly string[]): boolean {
  try {
    validateHeaderName(name)
    for (const line of [value].flat()) validateHeaderValue(name, String(line))
    return true
  } catch {
    return false
  }
}

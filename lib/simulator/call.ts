import type { FastifyRequest } from 'fastify'
import { readBody } from './parameters.ts'
import type { Body } from './parameters.ts'

/** A request, read from its raw URL and raw body. */
export interface Call {
  readonly path: string
  readonly query: URLSearchParams
  readonly body: Body
  readonly authorization: string | undefined
}

/** Reads a request. */
export function callOf ({ url, headers, body }: FastifyRequest): Call {
  return {
    ...splitUrl(url),
    body: readBody(headers['content-type'], typeof body === 'string' ? body : ''),
    authorization: headers.authorization
  }
}

/** Splits a URL, absolute or not, at the question mark. */
export function splitUrl (url: string): { path: string, query: URLSearchParams } {
  const start = url.indexOf('?')
  const end = start < 0 ? url.length : start
  return { path: url.slice(0, end), query: new URLSearchParams(url.slice(end)) }
}

import type { FastifyRequest } from 'fastify'
import { readBody } from './parameters.ts'
import type { Body } from './parameters.ts'

/** What a request asks, read from the raw URL and the raw body. */
export interface Call {
  readonly path: string
  readonly query: URLSearchParams
  readonly body: Body
  readonly authorization: string | undefined
}

/** Reads what a request asks. */
export function callOf ({ url, headers, body }: FastifyRequest): Call {
  return {
    ...splitUrl(url),
    body: readBody(headers['content-type'], typeof body === 'string' ? body : ''),
    authorization: headers.authorization
  }
}

/** Parts a URL, absolute or not, into what is before the question mark and the query. */
export function splitUrl (url: string): { path: string, query: URLSearchParams } {
  const start = url.indexOf('?')
  const end = start < 0 ? url.length : start
  return { path: url.slice(0, end), query: new URLSearchParams(url.slice(end)) }
}

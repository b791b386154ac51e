import type { FastifyRequest } from 'fastify'
import { WebflowOAuthError } from '../errors.ts'

/** The parameters that Webflow sends back through the browser (RFC 6749, section 4.1.2). */
export type CallbackQuery =
  | { code: string, error: null, state: string | null }
  | { code: null, error: string, state: string | null }

/** Reads the parameters of a request from its raw URL, because the app's query parser may hide that one is repeated. */
export function readQuery (request: FastifyRequest): URLSearchParams {
  const [, query = ''] = /^[^?#]*\?([^#]*)/.exec(request.originalUrl) ?? []
  return new URLSearchParams(query)
}

/** Reads a parameter; null unless the query has it exactly once. */
export function readOnce (query: URLSearchParams, name: string): string | null {
  const [value = null, ...more] = query.getAll(name)
  return more.length === 0 ? value : null
}

/** Parses a callback. Throws `WEBFLOW_OAUTH_INVALID_CALLBACK` when Webflow would not send such a callback. */
export function parseCallback (request: FastifyRequest): CallbackQuery {
  const query = readQuery(request)
  for (const name of ['code', 'state', 'error', 'error_description']) {
    if (query.getAll(name).length > 1) throw invalidCallback(`\`${name}\` is given more than once`)
  }
  const code = query.get('code')
  const error = query.get('error')
  const state = query.get('state')
  if (code !== null && error !== null) throw invalidCallback('both `code` and `error` are given')
  if (error !== null && error !== '') return { code: null, error, state }
  if (code === null) throw invalidCallback('neither `code` nor `error` is given')
  if (!/^[\x21-\x7e]{1,2048}$/.test(code)) throw invalidCallback('`code` is empty, too long, or not made of visible ASCII characters')
  return { code, error: null, state }
}

function invalidCallback (problem: string): WebflowOAuthError {
  return new WebflowOAuthError('WEBFLOW_OAUTH_INVALID_CALLBACK', `The callback is not one that Webflow sends: ${problem}. Begin again at the authorize route.`)
}

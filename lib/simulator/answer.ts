import type { Html } from './html.ts'
import { styleSource } from './style.ts'

/** A response yet to be sent. */
export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** Makes a JSON response that no cache keeps. */
export function json (status: number, value: object): Answer {
  return {
    status,
    headers: { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' },
    body: JSON.stringify(value)
  }
}

/** Makes an error response in the form of RFC 6749 section 5.2. */
export function oauthError (status: number, error: string, description: string): Answer {
  return json(status, { error, error_description: description })
}

/** Makes an error response in the form of Webflow's Data API. */
export function dataApiError (status: number, code: string, message: string): Answer {
  return json(status, { message, code, externalReference: null, details: [] })
}

/** Makes a redirect that a browser follows with GET. */
export function redirect (location: string): Answer {
  return { status: 302, headers: { location, 'cache-control': 'no-store' }, body: '' }
}

/**
 * Makes the response for a page that runs no script, loads nothing and cannot be framed. `allowed` holds further directives of
 * the content security policy, for a page that needs more.
 */
export function page (status: number, content: Html, allowed: readonly string[] = []): Answer {
  return {
    status,
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'cache-control': 'no-store',
      // `form-action` is left out, because Chromium would also apply it to the redirect after the form, and that redirect
      // leads to the app's origin.
      'content-security-policy': [`default-src 'none'; style-src ${styleSource}; base-uri 'none'; frame-ancestors 'none'`, ...allowed].join('; '),
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff'
    },
    body: content.text
  }
}

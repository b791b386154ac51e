import type { FastifyReply } from 'fastify'
import { readOnce } from './query.ts'

/** The message by which the page at the end of a popup tells its opener how the flow ended. */
export interface PopupMessage {
  source: 'fastify-webflow-oauth'
  outcome: 'connected' | 'failed'
  /** The full code of the error, such as `WEBFLOW_OAUTH_ACCESS_DENIED`. Absent on success, and for an error without a code. */
  code?: string
}

/** What the page at the end of a popup sends to its opener, and the only origins that may receive it. */
export interface PopupNews {
  message: PopupMessage
  origins: readonly string[]
}

/**
 * The script of the page at the end of a popup. It is the same for every flow, so that one hash in the content security
 * policy allows it. The page's `body` holds the message and the origins.
 */
export const popupScript = `
const { message, origins } = document.body.dataset
for (const origin of JSON.parse(origins)) window.opener?.postMessage(JSON.parse(message), origin)
window.close()
`

/** Tells whether the query of the authorize route asks for a flow that ends in a page that closes itself. */
export function asksForPopup (query: URLSearchParams): boolean {
  return readOnce(query, 'popup') === '1'
}

/**
 * Keeps the connection between a popup and its opener. @fastify/helmet sets this header to `same-origin`, and one such answer
 * on the way would cut the connection for good.
 */
export function keepOpener (reply: FastifyReply): void {
  reply.header('cross-origin-opener-policy', 'unsafe-none')
}

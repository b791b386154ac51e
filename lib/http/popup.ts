import type { FastifyReply } from 'fastify'
import { readOnce } from './query.ts'

/** The message that tells the opener of a popup how the flow ended. */
export interface PopupMessage {
  source: 'fastify-webflow-oauth'
  outcome: 'connected' | 'failed'
  /** The full code of the error, such as `WEBFLOW_OAUTH_ACCESS_DENIED`. Absent on success, and for an error without a code. */
  code?: string
}

/** The message of the page at the end of a popup, and the only origins that may receive it. */
export interface PopupNews {
  message: PopupMessage
  origins: readonly string[]
}

/**
 * The script of the page at the end of a popup. It is the same for every flow, so one hash in the content security policy allows
 * it. The script reads the message and the origins from attributes of `body`.
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
 * Sets the header that keeps the connection between a popup and its opener. @fastify/helmet sets the header to `same-origin`. A
 * single answer with that value would cut the connection for the rest of the flow.
 */
export function keepOpener (reply: FastifyReply): void {
  reply.header('cross-origin-opener-policy', 'unsafe-none')
}

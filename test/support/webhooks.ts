import { createHmac } from 'node:crypto'
import type { OutgoingHttpHeaders } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { clientSecret } from './app.ts'
import { rememberSecrets } from './logs.ts'

export const siteId = '62f3b1f7eafac55d0c64ef91'
export const webhookPath = '/webflow/webhook'
/** A text that is in every body, and must never be logged. */
export const submitted = 'submitted-7c1f0e2a'
export const submission = { triggerType: 'form_submission', payload: { name: 'Contact Us – ✓', siteId, text: submitted } }
rememberSecrets(submitted)

/** Signs a body as Webflow does; returns the headers. */
export function sign (body: string | Uint8Array, { secret = clientSecret, timestamp = String(Date.now()) }: { secret?: string, timestamp?: string } = {}) {
  const signature = createHmac('sha256', secret).update(`${timestamp}:`).update(body).digest('hex')
  rememberSecrets(signature)
  return { 'x-webflow-timestamp': timestamp, 'x-webflow-signature': signature }
}

/** Posts to the webhook route. Resolves with the status, the headers and the JSON of the answer. */
export async function post (app: FastifyInstance, body: string | Uint8Array, headers: OutgoingHttpHeaders, path = webhookPath) {
  const response = await app.inject({ method: 'POST', url: path, payload: Buffer.from(body), headers: { 'content-type': 'application/json', ...headers } })
  return { statusCode: response.statusCode, headers: response.headers, body: response.body, json: response.json<Record<string, unknown>>() }
}

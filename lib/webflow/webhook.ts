import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { isObject } from '../collections/json.ts'
import { WebflowOAuthError, type WebhookReason } from '../errors.ts'
import type { WebhookEvent } from '../options/webhook-event.ts'
import { isWebflowId } from './authorization.ts'

/** How webhooks are verified. */
export interface WebhookRules {
  /** The keys that a webhook may be signed with. */
  readonly webhookSecrets: readonly string[]
  /** How far the timestamp may be from the present, in seconds. */
  readonly webhookMaxAge: number
}

const messages: Record<WebhookReason, string> = {
  signature_missing: 'The webhook is not signed: `x-webflow-timestamp` or `x-webflow-signature` is missing. Webflow does not sign webhooks that were made in its dashboard.',
  signature_invalid: 'The signature of the webhook is wrong. If the webhook is from Webflow, it was signed with a secret that the plugin does not know, or something changed its body on the way.',
  stale: 'The webhook is signed, but its timestamp is too far from the present. The webhook was repeated or delayed, or the clock of this machine is wrong.',
  body_invalid: 'The webhook is signed, but its body is not a JSON object in UTF-8 with a string `triggerType`.'
}

function webhookInvalid (reason: WebhookReason): WebflowOAuthError {
  return new WebflowOAuthError('WEBFLOW_OAUTH_WEBHOOK_INVALID', messages[reason], { reason })
}

/**
 * Verifies a webhook and parses it. Throws `WEBFLOW_OAUTH_WEBHOOK_INVALID` if Webflow did not sign it, or if it is too old.
 * The body is parsed only after the signature was verified. `now` is in Unix milliseconds.
 */
export function verifyWebhook ({ webhookSecrets, webhookMaxAge }: WebhookRules, headers: IncomingHttpHeaders, body: Buffer, now: number): WebhookEvent {
  // The app may get its webhooks from a queue, which may write null for a missing header.
  const [timestamp, signature] = [headers['x-webflow-timestamp'] ?? '', headers['x-webflow-signature'] ?? '']
  if (timestamp.length === 0 || signature.length === 0) throw webhookInvalid('signature_missing')
  // A header that was sent twice is a list, or one text that holds a comma.
  if (typeof timestamp !== 'string' || !/^\d+$/.test(timestamp)) throw webhookInvalid('signature_invalid')
  if (typeof signature !== 'string' || !/^[\da-f]{64}$/i.test(signature)) throw webhookInvalid('signature_invalid')
  const secretIndex = findSecret(webhookSecrets, timestamp, body, Buffer.from(signature, 'hex'))
  if (secretIndex < 0) throw webhookInvalid('signature_invalid')
  const sentAt = Number(timestamp)
  if (Math.abs(now - sentAt) > webhookMaxAge * 1000) throw webhookInvalid('stale')

  const content = parseBody(body)
  if (!isObject(content) || typeof content.triggerType !== 'string') throw webhookInvalid('body_invalid')
  const { triggerType, payload = null } = content
  return {
    id: createHash('sha256').update(`${timestamp}:`).update(body).digest('base64url'),
    bodyId: createHash('sha256').update(body).digest('base64url'),
    triggerType,
    payload,
    siteId: isObject(payload) ? [payload.siteId, payload.site].find(isWebflowId) ?? null : null,
    sentAt: new Date(sentAt),
    secretIndex
  }
}

/** Returns the index of the secret that a webhook was signed with, or -1. All secrets are tried in any case, so that the time does not reveal which one matches. */
function findSecret (secrets: readonly string[], timestamp: string, body: Buffer, signature: Buffer): number {
  return secrets.map((secret) => timingSafeEqual(createHmac('sha256', secret).update(`${timestamp}:`).update(body).digest(), signature)).indexOf(true)
}

/** Parses bytes as JSON in UTF-8; undefined if they are something else. */
function parseBody (body: Buffer): unknown {
  try {
    // A visitor of a site may name a form field `__proto__`. If the app copied that member into an object, it would replace the
    // prototype of the object.
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body), (key, value: unknown) => key === '__proto__' ? undefined : value)
  } catch {
    return undefined
  }
}

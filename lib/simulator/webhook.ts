import { createHmac } from 'node:crypto'
import type { Config } from './options.ts'

/** The webhooks that a person can send from the simulator's start page, by their `triggerType`. */
export const triggerTypes = ['form_submission', 'site_publish', 'page_created', 'collection_item_created'] as const

/** A webhook to be sent. */
export interface Webhook {
  /** What happened, such as `form_submission`. */
  readonly triggerType: string
  /** The content, which Webflow documents for each `triggerType`. The site is in its member `siteId`. */
  readonly payload: unknown
}

/** The part of a Fastify instance that receives a webhook. */
export interface InjectTarget {
  inject (request: { method: 'POST', url: string, headers: Record<string, string>, payload: string }): PromiseLike<{ readonly statusCode: number }>
}

/** Where a webhook goes: a URL, or a Fastify instance, which need not listen. */
export type WebhookTarget = string | URL | InjectTarget

/** The options of `deliver`. */
export interface DeliveryOptions {
  /** The key of the signature. Defaults to the client secret of the first app. */
  readonly secret?: string | undefined
  /** When the webhook is first signed, in Unix milliseconds. Defaults to now. */
  readonly timestamp?: number | undefined
  /**
   * The path of the webhook route. Defaults to the path of the URL. For a Fastify instance, it defaults to the path of the first
   * app's first redirect URI with its last segment replaced by `webhook`.
   */
  readonly path?: string | undefined
  /** The most repetitions of a webhook whose answer is not 200. They follow at once. Webflow repeats three times. Defaults to 0. */
  readonly retries?: number | undefined
}

/** The result of `deliver`. */
export interface Delivery {
  /** The status of the last answer. For Webflow any status but 200 is a failure, even a redirect. */
  readonly statusCode: number
  /** How often the webhook was delivered. */
  readonly attempts: number
}

/** Delivers a webhook, and delivers it again while the answer is not 200 and retries are left. Rejects once `closing` is aborted. */
export async function deliver ({ behavior, defaultApp, now }: Config, closing: AbortSignal, target: WebhookTarget, { triggerType, payload }: Webhook, options: DeliveryOptions = {}): Promise<Delivery> {
  const { secret = defaultApp.clientSecret, timestamp = now(), retries = 0 } = options
  const path = options.path ?? webhookUrlBeside(defaultApp.defaultRedirectUri).pathname
  const body = JSON.stringify({ triggerType, payload })
  let statusCode: number
  let attempts = 0
  do {
    const signedAt = String(attempts === 0 || behavior.webhookRetries === 'same' ? timestamp : now())
    const headers = {
      'content-type': 'application/json',
      'x-webflow-timestamp': signedAt,
      'x-webflow-signature': createHmac('sha256', secret).update(`${signedAt}:${body}`).digest('hex')
    }
    statusCode = typeof target === 'string' || target instanceof URL
      ? await post(options.path === undefined ? target : new URL(options.path, target), { method: 'POST', headers, body, redirect: 'manual', signal: closing })
      : (await target.inject({ method: 'POST', url: path, headers, payload: body })).statusCode
    attempts++
  } while (statusCode !== 200 && attempts <= retries)
  return { statusCode, attempts }
}

/** Returns the URL with the last segment of a redirect URI's path replaced by `webhook`. An app may receive webhooks there. */
export function webhookUrlBeside (redirectUri: string): URL {
  return new URL('webhook', redirectUri.replace(/\/+(?=$|\?)/, ''))
}

async function post (url: string | URL, request: RequestInit): Promise<number> {
  const response = await fetch(url, request)
  await response.body?.cancel()
  return response.status
}

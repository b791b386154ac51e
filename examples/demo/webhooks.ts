import { randomBytes } from 'node:crypto'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { WebhookEvent } from 'fastify-webflow-oauth'
import type { Simulator } from 'fastify-webflow-oauth/simulator'

const kept = 100
const shown = 5

/** Keeps the latest webhooks in memory, for the page to show. An app of yours puts them into a queue or a database. */
export class Inbox {
  #events: WebhookEvent[] = []

  /** Is the plugin's `onWebhook`: the signature has been verified. */
  readonly receive = (event: WebhookEvent): void => {
    // Webflow repeats a webhook whose answer got lost.
    if (this.#events.some(({ bodyId }) => bodyId === event.bodyId)) return
    this.#events = [event, ...this.#events].slice(0, kept)
  }

  /** Lists the latest webhooks about sites, newest first. Ask for the sites of the person who looks, and for no others. */
  about (siteIds: readonly string[]): WebhookEvent[] {
    return this.#events.filter(({ siteId }) => siteId !== null && siteIds.includes(siteId)).slice(0, shown)
  }
}

/** Adds a route behind a button: the Webflow on this machine sends a webhook. The real one sends them by itself. */
export async function sendWebhooks (app: FastifyInstance, { simulator, redirectUri }: { simulator: Simulator, redirectUri: string }): Promise<void> {
  app.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, async (_request: FastifyRequest, form: string) => Object.fromEntries(new URLSearchParams(form)))

  app.post<{ Body: { site: string } }>('/send-webhook', {
    preHandler: app.webflowOAuth.requireToken(),
    schema: { body: { type: 'object', required: ['site'], properties: { site: { type: 'string', pattern: '^[0-9a-f]{24}$' } } } }
  }, async ({ body }, reply) => {
    await simulator.deliver(new URL('webhook', redirectUri), { triggerType: 'form_submission', payload: { id: randomBytes(12).toString('hex'), siteId: body.site, name: 'Contact' } })
    return reply.redirect('/', 303)
  })
}

// WEBFLOW_CLIENT_ID=… WEBFLOW_CLIENT_SECRET=… APP_SECRET=$(openssl rand -base64 32) npx tsx examples/webhook.ts
// Connect at http://localhost:3000/webflow/authorize. Webflow signs the webhooks that were made with an app's access token,
// and sends them to http://localhost:3000/webflow/webhook.
import Fastify from 'fastify'
import { WebflowClient } from 'webflow-api'
import webflowOAuth, { type WebhookEvent } from 'fastify-webflow-oauth'
import { endpoints } from './webflow-url.ts'

const { APP_SECRET, PORT = '3000', WEBFLOW_CLIENT_ID, WEBFLOW_CLIENT_SECRET, WEBFLOW_REDIRECT_URI } = process.env
const fastify = Fastify({ logger: true })

await fastify.register(webflowOAuth, {
  clientId: WEBFLOW_CLIENT_ID,
  clientSecret: WEBFLOW_CLIENT_SECRET,
  redirectUri: WEBFLOW_REDIRECT_URI ?? `http://localhost:${PORT}/webflow/callback`,
  scope: ['sites:read'],
  secret: APP_SECRET,
  endpoints,
  // The plugin has verified the signature. If this function throws, Webflow delivers the webhook again, three times at most.
  onWebhook: handle,
  onDisconnect: (token, reason) => fastify.log.info({ tokenId: token.id, reason }, 'Webflow has ended a connection')
})

fastify.get('/', async (request) => ({ connected: Boolean(request.webflowToken) }))

/** The webhooks that were handled. An app with several processes keeps them in a database, for an hour. */
const handled = new Set<string>()

async function handle ({ bodyId, triggerType, siteId }: WebhookEvent): Promise<void> {
  if (siteId === null || handled.has(bodyId)) return
  // The newest first. While nobody can tell, this rejects, and Webflow gets a 502 or 503.
  for (const token of await fastify.webflowOAuth.findTokens({ siteId })) {
    const webflow = new WebflowClient({ accessToken: token.accessToken, baseUrl: fastify.webflowOAuth.apiUrl, timeoutInSeconds: 5, maxRetries: 0 })
    try {
      const { sites = [] } = await webflow.sites.list()
      fastify.log.info(`${triggerType} at ${sites.find(({ id }) => id === siteId)?.displayName}`)
      handled.add(bodyId)
      return
    } catch (error) {
      // A token that Webflow has ended is forgotten. Another user may have connected the same site.
      if (await fastify.webflowOAuth.reportUnauthorized(token, error) === 'revoked') continue
      throw error
    }
  }
  // Nobody has the app at this site any more; a grant of its whole workspace is found by `workspaceId` only.
  fastify.log.info(`${triggerType} at a site that nobody has connected`)
}

await fastify.listen({ port: Number(PORT) })

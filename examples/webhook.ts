// npm run build && WEBFLOW_CLIENT_ID=… WEBFLOW_CLIENT_SECRET=… APP_SECRET=$(openssl rand -base64 32) npx tsx examples/webhook.ts
// Connect at http://localhost:3000/webflow/authorize. Webflow signs the webhooks that were made with an app's access token.
import { createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import Fastify from 'fastify'
import { WebflowClient } from 'webflow-api'
import webflowOAuth from 'fastify-webflow-oauth'
import { baseUrl, endpoints } from './webflow-url.ts'

const { APP_SECRET, PORT = '3000', WEBFLOW_CLIENT_ID, WEBFLOW_CLIENT_SECRET = '', WEBFLOW_REDIRECT_URI } = process.env
const fastify = Fastify({ logger: true })

await fastify.register(webflowOAuth, {
  clientId: WEBFLOW_CLIENT_ID,
  clientSecret: WEBFLOW_CLIENT_SECRET,
  redirectUri: WEBFLOW_REDIRECT_URI ?? `http://localhost:${PORT}/webflow/callback`,
  scope: ['sites:read'],
  secret: APP_SECRET,
  endpoints,
  onDisconnect: (token, reason) => fastify.log.info({ tokenId: token.id, reason }, 'Webflow has ended a connection')
})

fastify.get('/', async (request) => ({ connected: request.webflowToken !== null }))

interface Webhook {
  triggerType: string
  payload: { siteId: string }
}

const webhookSchema = {
  type: 'object',
  required: ['triggerType', 'payload'],
  properties: {
    triggerType: { type: 'string' },
    payload: { type: 'object', required: ['siteId'], properties: { siteId: { type: 'string', pattern: '^[0-9a-f]{24}$' } } }
  }
} as const

// A scope of its own: everywhere else in the app JSON comes unsigned.
await fastify.register(async (scope) => {
  const parseJson = scope.getDefaultJsonParser('error', 'error')
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body: string, done) => {
    // The text as it was sent is signed: JSON that is parsed and written again may differ.
    if (isSigned(request.headers, body)) parseJson(request, body, done)
    else done(Object.assign(new Error('This is not signed by Webflow, or it is old.'), { statusCode: 401 }))
  })

  scope.post<{ Body: Webhook }>('/webhooks/webflow', { schema: { body: webhookSchema } }, async ({ body, log }) => {
    const { triggerType, payload: { siteId } } = body
    // The newest first. While nobody can tell, this rejects with a 502 or 503, and Webflow sends the webhook again.
    for (const token of await fastify.webflowOAuth.findTokens({ siteId })) {
      const webflow = new WebflowClient({ accessToken: token.accessToken, baseUrl, timeoutInSeconds: 5, maxRetries: 0 })
      try {
        const { sites = [] } = await webflow.sites.list()
        log.info(`${triggerType} at ${sites.find(({ id }) => id === siteId)?.displayName}`)
        return { handled: true }
      } catch (error) {
        // A token that Webflow has ended is forgotten. Another user may have connected the same site.
        if (await fastify.webflowOAuth.reportUnauthorized(token, error) === 'revoked') continue
        throw Object.assign(new Error('Webflow did not list the sites.', { cause: error }), { statusCode: 503 })
      }
    }
    // Nobody has the app at this site any more; a grant of its whole workspace is found by `workspaceId` only.
    // Webflow takes anything but a 200 for a failure.
    return { handled: false }
  })
})

await fastify.listen({ port: Number(PORT) })

/** Tells whether Webflow signed the text in the last five minutes. `verifySignature` of its SDK checks no age, and compares with `===`. */
function isSigned (headers: IncomingHttpHeaders, text: string): boolean {
  const { 'x-webflow-timestamp': timestamp, 'x-webflow-signature': signature } = headers
  const expected = createHmac('sha256', WEBFLOW_CLIENT_SECRET).update(`${timestamp}:${text}`).digest()
  const given = Buffer.from(String(signature), 'hex')
  return given.length === expected.length && timingSafeEqual(given, expected) && Date.now() - Number(timestamp) < 5 * 60_000
}

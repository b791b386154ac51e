import Fastify, { type FastifyInstance } from 'fastify'
import webflowOAuth, { type WebflowOAuthOptions } from 'fastify-webflow-oauth'
import { siteApi } from './site-api.ts'

/** Builds the app behind the extension. `origin` is that of the extension: its "Designer Extension URI" in the app's settings. */
export async function createBackend (origin: string, options: Omit<WebflowOAuthOptions, 'scope' | 'designer'>): Promise<FastifyInstance> {
  const app = Fastify({ logger: true, forceCloseConnections: true })

  await app.register(webflowOAuth, {
    ...options,
    // The second one lets Webflow tell who has opened the site.
    scope: ['sites:read', 'authorized_user:read'],
    designer: { origins: [origin] }
  })
  await app.register(siteApi, { prefix: '/api', origins: [origin] })

  // Where a person disconnects: a session of the extension may not.
  app.get('/', async (request, reply) => {
    reply.type('text/html; charset=utf-8').header('cache-control', 'no-store')
    return request.webflowToken === null
      ? '<p>Webflow is not connected. <a href="/webflow/authorize">Connect Webflow</a></p>'
      : '<p>Webflow is connected.</p><form method="post" action="/webflow/revoke"><button>Disconnect</button></form>'
  })
  return app
}

// A small app with users of its own, as its tests build it. The tests beside it show a connected user in one call.
import Fastify, { type FastifyInstance } from 'fastify'
import webflowOAuth, { type WebflowOAuthOptions } from 'fastify-webflow-oauth'

/** Builds the app. A test changes what it needs by `options`. */
export async function buildApp (options: Partial<WebflowOAuthOptions> = {}): Promise<FastifyInstance> {
  const fastify = Fastify()
  await fastify.register(webflowOAuth, {
    clientId: 'my-client-id',
    clientSecret: 'my-client-secret',
    redirectUri: 'https://app.example.com/webflow/callback',
    scope: ['sites:read', 'cms:read'],
    secret: 'a secret of the tests, 32 bytes or more',
    // Your app asks its own session who is signed in.
    identify: ({ headers }) => typeof headers['x-user'] === 'string' ? headers['x-user'] : null,
    ...options
  })
  fastify.get('/report', { preHandler: fastify.webflowOAuth.requireToken({ scope: ['cms:read'] }) }, async (request) => {
    return { by: fastify.webflowOAuth.tokenOf(request).owner }
  })
  return fastify
}

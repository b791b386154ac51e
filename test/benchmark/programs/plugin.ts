import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import webflowOAuth, { MemoryStore, type WebflowOAuthOptions } from '../../../lib/index.ts'
import { RedisStore } from '../../../stores/redis.ts'
import { credentials, page, redirectUri, secret, type Setup } from '../setup.ts'

/** This plugin, used as its README shows. */
export async function plugin (app: FastifyInstance, { webflow, redis, introspect, store }: Setup): Promise<void> {
  const options: WebflowOAuthOptions = {
    ...credentials,
    secret,
    redirectUri,
    scope: ['sites:read'],
    introspect,
    store: redis === null || store === 'memory'
      ? new MemoryStore({ maxEntries: 100_000 })
      : new RedisStore({ client: new Redis(redis), ...store === 'near cache' ? { nearCache: {} } : {} }),
    endpoints: { token: `${webflow}/oauth/access_token` }
  }
  await app.register(webflowOAuth, options)

  app.get('/me', { preHandler: app.webflowOAuth.requireToken() }, async (request) => app.webflowOAuth.tokenOf(request).accessToken === '' ? null : page)
  app.get('/peek', async ({ webflowToken }, reply) => webflowToken === null ? reply.code(401).send() : page)
  app.get('/open', async () => page)
  app.get('/opted-out', { config: { webflowToken: false } }, async () => page)
}

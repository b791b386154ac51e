// As in production: any number of processes, one Redis, TLS ended by a proxy in front of them.
// WEBFLOW_CLIENT_ID, WEBFLOW_CLIENT_SECRET, WEBFLOW_REDIRECT_URI, APP_SECRET and REDIS_URL come from the environment.
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import { WebflowClient } from 'webflow-api'
import webflowOAuth from 'fastify-webflow-oauth'
import { RedisStore } from 'fastify-webflow-oauth/stores/redis'

// X-Forwarded-* is believed only from proxies on this host or in a private network: name your own.
const fastify = Fastify({ logger: true, trustProxy: 'loopback, uniquelocal' })

const redis = new Redis(process.env.REDIS_URL ?? 'redis://localhost')
// Only the message: ioredis hangs the failed command on its errors, at AUTH with the password.
redis.on('error', (error) => fastify.log.error(`Redis: ${error.message}`))
// These hooks run in reverse order: added before the plugin, this one runs when the plugin has finished.
fastify.addHook('onClose', async () => {
  // A Redis that is gone would let quit() wait for its return.
  if (redis.status === 'ready') await redis.quit()
  else redis.disconnect()
})

await fastify.register(webflowOAuth, {
  clientId: process.env.WEBFLOW_CLIENT_ID,
  clientSecret: process.env.WEBFLOW_CLIENT_SECRET,
  redirectUri: process.env.WEBFLOW_REDIRECT_URI,
  scope: ['sites:read'],
  secret: process.env.APP_SECRET,
  store: new RedisStore({ client: redis }),
  successRedirect: '/sites'
})

fastify.get('/sites', { preHandler: fastify.webflowOAuth.requireToken() }, async (request) => {
  const { accessToken } = fastify.webflowOAuth.tokenOf(request)
  return new WebflowClient({ accessToken, baseUrl: fastify.webflowOAuth.apiUrl }).sites.list()
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => fastify.close())
await fastify.listen({ port: Number(process.env.PORT ?? 3000), host: process.env.HOST ?? 'localhost' })

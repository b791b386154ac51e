import Fastify from 'fastify'
import { Redis } from 'ioredis'
import type { Test } from 'tap'
import { webflowOAuth } from '../../lib/index.ts'
import { RedisStore } from '../../stores/redis.ts'
import type { Surroundings } from './examples-webflow.ts'

/** Starts the app that shares its store with a job. People connect to it, and its first page says whether they are connected. It ends with the test. */
export async function startApp (t: Test, { webflow, env }: Pick<Surroundings, 'webflow' | 'env'>, redisUrl: string): Promise<void> {
  const app = Fastify({ forceCloseConnections: true })
  const redis = new Redis(redisUrl)
  t.teardown(async () => {
    await app.close()
    redis.disconnect()
  })
  await app.register(webflowOAuth, {
    clientId: env['WEBFLOW_CLIENT_ID'],
    clientSecret: env['WEBFLOW_CLIENT_SECRET'],
    redirectUri: env['WEBFLOW_REDIRECT_URI'],
    scope: ['sites:read'],
    secret: env['APP_SECRET'],
    store: new RedisStore({ client: redis }),
    endpoints: webflow.endpoints
  })
  app.get('/', async (request) => ({ connected: request.webflowToken !== null }))
  await app.listen({ port: Number(env['PORT']), host: 'localhost' })
}

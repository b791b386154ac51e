// WEBFLOW_CLIENT_ID=… WEBFLOW_CLIENT_SECRET=… WEBFLOW_REDIRECT_URI=… APP_SECRET=… REDIS_URL=… npx tsx examples/nightly.ts
// By cron, with the environment of the app that people connect to, such as examples/redis.ts: the two share its Redis.
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import { WebflowClient } from 'webflow-api'
import webflowOAuth, { type WebflowToken } from 'fastify-webflow-oauth'
import { RedisStore } from 'fastify-webflow-oauth/stores/redis'
import { endpoints } from './webflow-url.ts'

// An instance that never listens. Standard output is for what the job has to say.
const fastify = Fastify({ logger: { level: 'warn', stream: process.stderr } })

const redis = new Redis(process.env.REDIS_URL ?? 'redis://localhost')
// Only the message: ioredis hangs the failed command on its errors, at AUTH with the password.
redis.on('error', (error) => fastify.log.error(`Redis: ${error.message}`))
fastify.addHook('onClose', async () => redis.disconnect())

await fastify.register(webflowOAuth, {
  clientId: process.env.WEBFLOW_CLIENT_ID,
  clientSecret: process.env.WEBFLOW_CLIENT_SECRET,
  redirectUri: process.env.WEBFLOW_REDIRECT_URI,
  scope: ['sites:read'],
  secret: process.env.APP_SECRET,
  store: new RedisStore({ client: redis }),
  endpoints,
  onDisconnect: (token, reason) => console.log(`${token.id} is disconnected: ${reason}`)
})

// Several sessions can hold one authorization, and a token that is written meanwhile may come twice.
// An app with `identify` takes `token.id` instead: two of its users may have connected the same Webflow account.
const outcomes = new Map<string, 'done' | 'ended' | 'failed'>()
try {
  for await (const token of fastify.webflowOAuth.listTokens()) {
    const installation = token.authorization?.id ?? token.id
    if (outcomes.get(installation) !== 'done') outcomes.set(installation, await visit(token))
  }
  const count = { done: 0, ended: 0, failed: 0 }
  for (const outcome of outcomes.values()) count[outcome]++
  console.log(`Installations: ${count.done} done, ${count.ended} ended, ${count.failed} failed`)
  if (count.failed > 0) process.exitCode = 1
} finally {
  await fastify.close()
}

/** Does the work of one installation; what goes wrong there stops no other. */
async function visit (token: WebflowToken): Promise<'done' | 'ended' | 'failed'> {
  try {
    const { sites = [] } = await new WebflowClient({ accessToken: token.accessToken, baseUrl: fastify.webflowOAuth.apiUrl }).sites.list()
    console.log(`${token.id} opens ${sites.map(({ displayName }) => displayName).join(', ')}`)
    return 'done'
  } catch (error) {
    // Webflow tells nobody of an uninstall: a 401 is the first sign of it, and is confirmed before the token is forgotten.
    if (await fastify.webflowOAuth.reportUnauthorized(token, error) === 'revoked') return 'ended'
    console.error(`${token.id} failed: ${error instanceof Error ? error.message : error}`)
    return 'failed'
  }
}

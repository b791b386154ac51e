// INSTALLS=old-app.db WEBFLOW_CLIENT_ID=… WEBFLOW_CLIENT_SECRET=… WEBFLOW_REDIRECT_URI=… APP_SECRET=… REDIS_URL=… npx tsx examples/moving-over/import-tokens.ts
// Imports the tokens of the app that you leave into the store of the app that replaces it. Run it as often as you like.
// docs/moving-over.md says when.
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import webflowOAuth from 'fastify-webflow-oauth'
import { RedisStore } from 'fastify-webflow-oauth/stores/redis'
import { endpoints } from '../webflow-url.ts'

/** A row of the table, whatever its database. */
interface Install {
  user_id: number | string
  access_token: string
  /** When the user connected last; null if the old app did not note it. */
  connected_at: string | number | Date | null
}

const { APP_SECRET, READ_INSTALLS = './read-installs.mjs', REDIS_URL = 'redis://localhost', WEBFLOW_CLIENT_ID, WEBFLOW_CLIENT_SECRET, WEBFLOW_REDIRECT_URI } = process.env
const { readInstalls }: { readInstalls: () => Promise<Install[]> } = await import(READ_INSTALLS)

// An instance that never listens. Its options are those of the new app.
const fastify = Fastify({ logger: { level: 'warn', stream: process.stderr } })
const redis = new Redis(REDIS_URL)
redis.on('error', (error) => fastify.log.error(`Redis: ${error.message}`))
fastify.addHook('onClose', async () => redis.disconnect())
await fastify.register(webflowOAuth, {
  clientId: WEBFLOW_CLIENT_ID,
  clientSecret: WEBFLOW_CLIENT_SECRET,
  redirectUri: WEBFLOW_REDIRECT_URI,
  scope: ['sites:read'],
  secret: APP_SECRET,
  store: new RedisStore({ client: redis }),
  endpoints,
  // The tokens belong to users. Here nobody makes a request.
  identify: () => null
})

const count = { imported: 0, kept: 0, revoked: 0, failed: 0 }
try {
  const installs = await readInstalls()
  console.log(`${installs.length} installs`)
  const startedAt = performance.now()
  // The plugin asks Webflow about eight tokens at a time, however many imports there are.
  await Promise.all(installs.map(importOne))
  const { imported, kept, revoked, failed } = count
  console.log(`${imported} imported, ${kept} kept, ${revoked} revoked, ${failed} failed, in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`)
  if (failed > 0) process.exitCode = 1
} finally {
  await fastify.close()
}

async function importOne ({ user_id: id, access_token: accessToken, connected_at: connectedAt }: Install): Promise<void> {
  try {
    const { outcome } = await fastify.webflowOAuth.importToken({
      accessToken,
      user: String(id),
      // The clock of the old app's database may be ahead, and a time in the future is refused.
      createdAt: connectedAt === null ? undefined : new Date(Math.min(new Date(connectedAt).getTime(), Date.now()))
    })
    count[outcome]++
    if (outcome === 'revoked') console.log(`user ${id} has uninstalled the app`)
  } catch (error) {
    count.failed++
    console.error(`user ${id} failed: ${error instanceof Error ? error.message : error}`)
  }
}

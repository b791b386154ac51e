import { hash, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import type { Simulator } from 'fastify-webflow-oauth/simulator'
import { RedisStore } from 'fastify-webflow-oauth/stores/redis'
import { SqliteStore } from 'fastify-webflow-oauth/stores/sqlite'
import { createDemo, type Registration } from './app.ts'
import { freePort } from './free-port.ts'
import { identityIn, newIdentity, type Identity } from './remembered.ts'
import { simulateWebflow } from './simulated-webflow.ts'

const { APP_SECRET, DEMO_FOLDER, PORT, REDIS_URL, WEBFLOW_CLIENT_ID, WEBFLOW_CLIENT_SECRET, WEBFLOW_REDIRECT_URI } = process.env

try {
  await start()
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exit(1)
}

async function start (): Promise<void> {
  const wanted = Number(PORT || 3000)
  const free = await freePort(wanted)
  if (free === null && PORT) throw new Error(`Port ${PORT} is taken: set PORT to another one, or to 0 for any.`)
  const port = free ?? await freePort(0) ?? 0

  // On a Node with node:sqlite the demo remembers you over a restart. Redis has tokens of its own.
  const folder = DEMO_FOLDER || join(import.meta.dirname, '../../node_modules/.cache/fastify-webflow-oauth-demo')
  const remembers = !REDIS_URL && process.getBuiltinModule('node:sqlite') !== undefined
  const identity = remembers ? identityIn(folder) : newIdentity()
  const secret = APP_SECRET || identity.secret
  // What one secret has sealed no other can open: each has a file of its own.
  const path = join(folder, `tokens-${hash('sha256', secret).slice(0, 8)}.db`)
  const file = remembers ? new SqliteStore({ path }) : null

  const registration = await register(identity, `http://localhost:${port}/webflow/callback`)
  const redis = REDIS_URL ? new Redis(REDIS_URL) : null
  // Only the message: ioredis hangs the failed command on its errors, at AUTH with the password.
  redis?.on('error', (error) => console.error(`Redis: ${error.message}`))
  const app = await createDemo({
    ...registration,
    secret,
    store: redis === null ? file ?? undefined : createStore(redis)
  })

  const stop = async (): Promise<void> => {
    await app.close()
    redis?.disconnect()
    file?.close()
    await registration.webflow?.close()
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, stop)
  // A signal to npm ends its shell, but does not come through to here.
  const { ppid } = process
  const watch = setInterval(() => {
    if (process.ppid === ppid) return
    clearInterval(watch)
    stop()
  }, 500).unref()

  const { webflow } = registration
  if (remembers && webflow !== undefined) await restoreTokens(app, webflow.simulator)
  await app.listen({ port, host: 'localhost' })
  const { origin } = new URL(registration.redirectUri)
  if (redis === null) console.log(remembers ? `Tokens are kept in ${path}` : 'Tokens are kept in memory: with Node 22.13 or later, the demo remembers you over a restart')
  console.log(`Open ${origin}${free === null ? ` (port ${wanted} is taken)` : ''}`)
}

/** Finds the app that the environment names, or registers one with a Webflow on this machine. */
async function register ({ clientId, clientSecret }: Identity, redirectUri: string): Promise<Registration> {
  // One of the two alone is refused by the plugin, which says what is missing.
  if (WEBFLOW_CLIENT_ID || WEBFLOW_CLIENT_SECRET) {
    return { clientId: WEBFLOW_CLIENT_ID, clientSecret: WEBFLOW_CLIENT_SECRET, redirectUri: WEBFLOW_REDIRECT_URI || redirectUri }
  }
  return { clientId, clientSecret, redirectUri, webflow: await simulateWebflow({ clientId, clientSecret, redirectUri }) }
}

/** Tells the Webflow on this machine of the tokens that the demo has kept: it forgets them when it ends. */
async function restoreTokens (app: FastifyInstance, simulator: Simulator): Promise<void> {
  for await (const { accessToken, scope, authorization } of app.webflowOAuth.listTokens()) {
    const { siteIds = [], workspaceIds: [workspaceId] = [] } = authorization ?? {}
    simulator.restoreToken(accessToken, { scope, ...workspaceId === undefined ? { siteIds } : { workspaceId } })
  }
}

function createStore (client: Redis): RedisStore {
  // What a secret of one start has sealed no later one can open: it goes where no later one looks.
  return new RedisStore({ client, keyPrefix: APP_SECRET ? undefined : `webflow:${randomBytes(8).toString('hex')}:` })
}

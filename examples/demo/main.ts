import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import { createSimulator } from 'fastify-webflow-oauth/simulator'
import { RedisStore } from 'fastify-webflow-oauth/stores/redis'
import { createDemo, type Registration } from './app.ts'
import { freePort } from './free-port.ts'

const { APP_SECRET, PORT, REDIS_URL, WEBFLOW_CLIENT_ID, WEBFLOW_CLIENT_SECRET, WEBFLOW_REDIRECT_URI } = process.env

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

  const registration = await register(`http://localhost:${port}/webflow/callback`)
  const redis = REDIS_URL ? new Redis(REDIS_URL) : null
  // Only the message: ioredis hangs the failed command on its errors, at AUTH with the password.
  redis?.on('error', (error) => console.error(`Redis: ${error.message}`))
  const app = await createDemo({
    ...registration,
    // Good enough for a demo: with a new secret at every start, nobody stays connected over a restart.
    secret: APP_SECRET || randomBytes(32).toString('base64'),
    store: redis === null ? undefined : createStore(redis)
  })

  const stop = async (): Promise<void> => {
    await app.close()
    redis?.disconnect()
    await registration.simulator?.close()
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, stop)
  // A signal to npm ends its shell, but does not come through to here.
  const { ppid } = process
  const watch = setInterval(() => {
    if (process.ppid === ppid) return
    clearInterval(watch)
    stop()
  }, 500).unref()

  await app.listen({ port, host: 'localhost' })
  const { origin } = new URL(registration.redirectUri)
  console.log(`Open ${origin}${free === null ? ` (port ${wanted} is taken)` : ''}`)
}

/** Finds the app that the environment names, or registers one with a Webflow on this machine. */
async function register (redirectUri: string): Promise<Registration> {
  // One of the two alone is refused by the plugin, which says what is missing.
  if (WEBFLOW_CLIENT_ID || WEBFLOW_CLIENT_SECRET) {
    return { clientId: WEBFLOW_CLIENT_ID, clientSecret: WEBFLOW_CLIENT_SECRET, redirectUri: WEBFLOW_REDIRECT_URI || redirectUri }
  }
  const clientId = randomBytes(32).toString('hex')
  const clientSecret = randomBytes(32).toString('hex')
  const simulator = createSimulator({
    app: { name: 'Fastify Demo', clientId, clientSecret, redirectUris: [redirectUri], scope: ['sites:read'] }
  })
  await simulator.listen()
  return { clientId, clientSecret, redirectUri, simulator }
}

function createStore (client: Redis): RedisStore {
  // What a secret of one start has sealed no later one can open: it goes where no later one looks.
  return new RedisStore({ client, keyPrefix: APP_SECRET ? undefined : `webflow:${randomBytes(8).toString('hex')}:` })
}

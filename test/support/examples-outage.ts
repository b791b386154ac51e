import { randomBytes } from 'node:crypto'
import { createSimulator } from 'fastify-webflow-oauth/simulator'
import { createDemo } from '../../examples/demo/app.ts'
import { freePort } from '../../examples/demo/free-port.ts'

// The demo before a Webflow that connects people and then lists no sites and revokes nothing.
const port = await freePort(0) ?? 0
const registration = { clientId: randomBytes(32).toString('hex'), clientSecret: randomBytes(32).toString('hex'), redirectUri: `http://localhost:${port}/webflow/callback` }
const simulator = createSimulator({ app: { ...registration, redirectUris: [registration.redirectUri], scope: ['sites:read'] } })
await simulator.listen()
simulator.fail('sites', { status: 503, times: Infinity })
simulator.fail('revoke', { status: 503, times: Infinity })
const app = await createDemo({ ...registration, secret: randomBytes(32).toString('hex'), simulator })
process.once('SIGTERM', async () => {
  await app.close()
  await simulator.close()
})
await app.listen({ port, host: 'localhost' })
console.log(`Open http://localhost:${port}`)

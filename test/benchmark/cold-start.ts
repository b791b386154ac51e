import Fastify from 'fastify'
import { credentials, redirectUri, secret } from './setup.ts'

const app = Fastify()
const began = performance.now()
let imported = began
if (process.argv[2] === 'plugin') {
  const { default: webflowOAuth } = await import('../../lib/index.ts')
  imported = performance.now()
  await app.register(webflowOAuth, { ...credentials, secret, redirectUri, scope: ['sites:read'] })
}
await app.ready()
const { user, system } = process.cpuUsage()
// Since the process began.
process.send?.({ wall: performance.now(), cpu: (user + system) / 1000, importing: imported - began, registering: performance.now() - imported })

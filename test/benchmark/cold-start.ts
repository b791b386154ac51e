import Fastify from 'fastify'
import { credentials, redirectUri, secret } from './setup.ts'

const [, , program, entry = ''] = process.argv
const app = Fastify()
const began = performance.now()
let imported = began
if (program === 'plugin') {
  // The package as it is published: one file.
  const { default: webflowOAuth } = await import(entry)
  imported = performance.now()
  await app.register(webflowOAuth, { ...credentials, secret, redirectUri, scope: ['sites:read'] })
}
if (program === 'oauth2') {
  const { default: fastifyOAuth2 } = await import('@fastify/oauth2')
  const { default: cookie } = await import('@fastify/cookie')
  imported = performance.now()
  await app.register(cookie, { secret })
  await app.register(fastifyOAuth2, {
    name: 'webflow',
    credentials: {
      client: { id: credentials.clientId, secret: credentials.clientSecret },
      auth: { authorizeHost: 'https://webflow.com', authorizePath: '/oauth/authorize', tokenHost: 'https://api.webflow.com', tokenPath: '/oauth/access_token' }
    },
    startRedirectPath: '/webflow/authorize',
    callbackUri: redirectUri
  })
}
await app.ready()
const { user, system } = process.cpuUsage()
// Since the process began.
process.send?.({ wall: performance.now(), cpu: (user + system) / 1000, importing: imported - began, registering: performance.now() - imported })

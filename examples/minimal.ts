// WEBFLOW_CLIENT_ID=… WEBFLOW_CLIENT_SECRET=… APP_SECRET=$(openssl rand -base64 32) npx tsx examples/minimal.ts
// Then open http://localhost:3000/webflow/authorize
import Fastify from 'fastify'
import { WebflowClient } from 'webflow-api'
import webflowOAuth from 'fastify-webflow-oauth'

const port = Number(process.env.PORT ?? 3000)
const fastify = Fastify({ logger: true })

await fastify.register(webflowOAuth, {
  clientId: process.env.WEBFLOW_CLIENT_ID,
  clientSecret: process.env.WEBFLOW_CLIENT_SECRET,
  redirectUri: `http://localhost:${port}/webflow/callback`,
  scope: ['sites:read'],
  secret: process.env.APP_SECRET,
  successRedirect: '/sites'
})

fastify.get('/sites', { preHandler: fastify.webflowOAuth.requireToken() }, async (request) => {
  const { accessToken } = fastify.webflowOAuth.tokenOf(request)
  return new WebflowClient({ accessToken }).sites.list()
})

await fastify.listen({ port })

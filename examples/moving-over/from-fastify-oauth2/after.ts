// The same app on this plugin: see ../from-fastify-oauth2.md
import Fastify from 'fastify'
import { WebflowClient } from 'webflow-api'
import webflowOAuth from 'fastify-webflow-oauth'
import { endpoints } from '../../webflow-url.ts'

const { WEBFLOW_CLIENT_ID, WEBFLOW_CLIENT_SECRET, APP_SECRET, PORT = '3000', APP_URL = `http://localhost:${PORT}` } = process.env
const fastify = Fastify({ logger: true })

await fastify.register(webflowOAuth, {
  clientId: WEBFLOW_CLIENT_ID,
  clientSecret: WEBFLOW_CLIENT_SECRET,
  redirectUri: `${APP_URL}/login/webflow/callback`,
  scope: ['sites:read'],
  secret: APP_SECRET,
  authorizePath: '/login/webflow',
  revokePath: '/logout/webflow',
  successRedirect: '/sites',
  endpoints
})

fastify.get('/', async (request, reply) => {
  const connected = request.webflowToken !== null
  return reply.type('text/html; charset=utf-8').header('cache-control', 'no-store').send(connected
    ? '<p><a href="/sites">List the sites</a></p><form method="post" action="/logout/webflow"><button>Disconnect</button></form>'
    : '<p><a href="/login/webflow">Connect Webflow</a></p>')
})

fastify.get('/sites', { preHandler: fastify.webflowOAuth.requireToken({ onMissing: 'redirect' }) }, async (request, reply) => {
  const token = fastify.webflowOAuth.tokenOf(request)
  try {
    return await new WebflowClient({ accessToken: token.accessToken, baseUrl: fastify.webflowOAuth.apiUrl }).sites.list()
  } catch (error) {
    // The user has uninstalled the app at Webflow: the token is forgotten, and they can connect again.
    if (await fastify.webflowOAuth.reportUnauthorized(token, error) === 'revoked') return reply.redirect('/')
    throw error
  }
})

await fastify.listen({ port: Number(PORT), host: 'localhost' })

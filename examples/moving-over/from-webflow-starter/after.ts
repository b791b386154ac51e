// The starter, moved over to the plugin: see ../from-webflow-starter.md
import Fastify from 'fastify'
import { WebflowClient } from 'webflow-api'
import webflowOAuth from 'fastify-webflow-oauth'
import { endpoints } from '../../webflow-url.ts'

const { WEBFLOW_CLIENT_ID, WEBFLOW_SECRET, APP_SECRET, PORT = '3000', SERVER_HOST = `http://localhost:${PORT}` } = process.env
const server = Fastify({ logger: true })

await server.register(webflowOAuth, {
  clientId: WEBFLOW_CLIENT_ID,
  clientSecret: WEBFLOW_SECRET,
  // As it is registered at Webflow. People begin at /authorize, and disconnect at /revoke.
  redirectUri: `${SERVER_HOST}/auth`,
  scope: ['sites:read'],
  secret: APP_SECRET,
  endpoints
})

server.get('/', async (request, reply) => {
  const connected = request.webflowToken !== null
  return reply.type('text/html; charset=utf-8').header('cache-control', 'no-store').send(connected
    ? '<p>Webflow is connected. <a href="/sites">List the sites</a></p><form method="post" action="/revoke"><button>Disconnect</button></form>'
    : '<p><a href="/authorize">Connect Webflow</a></p>')
})

server.get('/sites', { preHandler: server.webflowOAuth.requireToken() }, async (request) => {
  const { accessToken } = server.webflowOAuth.tokenOf(request)
  return new WebflowClient({ accessToken, baseUrl: server.webflowOAuth.apiUrl }).sites.list()
})

await server.listen({ port: Number(PORT), host: 'localhost' })

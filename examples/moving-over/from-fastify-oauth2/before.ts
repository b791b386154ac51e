// An app on @fastify/oauth2 with routes and sessions by hand. Not to be imitated: see ../from-fastify-oauth2.md
import { randomBytes } from 'node:crypto'
import cookie from '@fastify/cookie'
import oauth2 from '@fastify/oauth2'
import Fastify from 'fastify'
import { WebflowClient } from 'webflow-api'
import { baseUrl, endpoints } from '../../webflow-url.ts'

const { WEBFLOW_CLIENT_ID = '', WEBFLOW_CLIENT_SECRET = '', PORT = '3000', APP_URL = `http://localhost:${PORT}` } = process.env
const fastify = Fastify({ logger: true })

// Access tokens by session.
const tokens = new Map<string, string>()

await fastify.register(cookie)
await fastify.register(oauth2, {
  name: 'webflow',
  scope: ['sites:read'],
  credentials: {
    client: { id: WEBFLOW_CLIENT_ID, secret: WEBFLOW_CLIENT_SECRET },
    auth: {
      authorizeHost: new URL(endpoints?.authorize ?? 'https://webflow.com').origin,
      authorizePath: '/oauth/authorize',
      tokenHost: new URL(endpoints?.token ?? 'https://api.webflow.com').origin,
      tokenPath: '/oauth/access_token'
    },
    options: { authorizationMethod: 'body' }
  },
  startRedirectPath: '/login/webflow',
  callbackUri: `${APP_URL}/login/webflow/callback`
})

fastify.get('/', async (request, reply) => {
  const connected = tokens.has(request.cookies.session ?? '')
  return reply.type('text/html; charset=utf-8').header('cache-control', 'no-store').send(connected
    ? '<p><a href="/sites">List the sites</a> <a href="/logout/webflow">Disconnect</a></p>'
    : '<p><a href="/login/webflow">Connect Webflow</a></p>')
})

fastify.get('/login/webflow/callback', async (request, reply) => {
  const grant = await fastify.oauth2Webflow?.getAccessTokenFromAuthorizationCodeFlow(request, reply)
  const session = randomBytes(32).toString('base64url')
  tokens.set(session, grant?.token.access_token ?? '')
  return reply.setCookie('session', session, { path: '/', httpOnly: true, sameSite: 'lax', secure: 'auto' }).redirect('/sites')
})

fastify.get('/sites', async (request, reply) => {
  const accessToken = tokens.get(request.cookies.session ?? '')
  if (accessToken === undefined) return reply.redirect('/login/webflow')
  return new WebflowClient({ accessToken, baseUrl }).sites.list()
})

fastify.get('/logout/webflow', async (request, reply) => {
  const session = request.cookies.session ?? ''
  // `revokeToken` of @fastify/oauth2 speaks RFC 7009, and Webflow does not.
  await fetch(endpoints?.revoke ?? 'https://webflow.com/oauth/revoke_authorization', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ client_id: WEBFLOW_CLIENT_ID, client_secret: WEBFLOW_CLIENT_SECRET, access_token: tokens.get(session) })
  })
  tokens.delete(session)
  return reply.clearCookie('session', { path: '/' }).redirect('/')
})

await fastify.listen({ port: Number(PORT), host: 'localhost' })

import cookie from '@fastify/cookie'
import fastifyOAuth2 from '@fastify/oauth2'
import type { FastifyInstance } from 'fastify'
import { credentials, redirectUri, secret, type Setup } from '../setup.ts'
import { keepSessions } from './limits.ts'

/** The peer as its documentation shows it, with the sessions of the handwritten program. */
export async function oauth2 (app: FastifyInstance, { webflow }: Setup): Promise<void> {
  await app.register(cookie, { secret })
  await app.register(fastifyOAuth2, {
    name: 'webflow',
    scope: ['sites:read'],
    credentials: {
      client: { id: credentials.clientId, secret: credentials.clientSecret },
      auth: { authorizeHost: 'https://webflow.com', authorizePath: '/oauth/authorize', tokenHost: webflow, tokenPath: '/oauth/access_token' },
      options: { authorizationMethod: 'body', bodyFormat: 'json' }
    },
    startRedirectPath: '/webflow/authorize',
    callbackUri: redirectUri,
    cookie: { path: '/', secure: true }
  })
  const keep = keepSessions(app)
  app.get('/webflow/callback', async (request, reply) => {
    const answer = await app.oauth2Webflow?.getAccessTokenFromAuthorizationCodeFlow(request, reply)
    keep(reply, answer?.token)
    return reply.redirect('/', 303)
  })
}

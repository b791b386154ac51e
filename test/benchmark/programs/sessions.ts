import { randomBytes } from 'node:crypto'
import cookie from '@fastify/cookie'
import fastifySession from '@fastify/session'
import { RedisStore } from 'connect-redis'
import type { FastifyInstance } from 'fastify'
import grantOAuth from 'grant'
import { createClient } from 'redis'
import { credentials, page, secret, type Setup } from '../setup.ts'

/** The peer with its defaults, on memory or on connect-redis. */
export async function session (app: FastifyInstance, { redis }: Setup): Promise<void> {
  await registerSession(app, redis)
  app.get('/login', async ({ session }) => {
    session.set('token', { accessToken: randomBytes(32).toString('hex'), tokenType: 'bearer', scope: ['sites:read'], createdAt: Date.now() })
    return page
  })
  app.get('/me', async ({ session }, reply) => session.get('token') === undefined ? reply.code(401).send() : page)
}

/** The peer on the sessions that it needs, in memory; its own callback only, without the route of the app to which it redirects. */
export async function grant (app: FastifyInstance, { webflow }: Setup): Promise<void> {
  await registerSession(app, null)
  await app.register(grantOAuth.default.fastify()({
    defaults: { origin: 'https://app.example.com', transport: 'session', state: true },
    webflow: {
      authorize_url: 'https://webflow.com/oauth/authorize',
      access_url: `${webflow}/oauth/access_token`,
      oauth: 2,
      key: credentials.clientId,
      secret: credentials.clientSecret,
      scope: ['sites:read'],
      callback: '/me'
    }
  }))
  app.get('/me', async ({ session }, reply) => /"access_token":"\w/.test(JSON.stringify(session.get('grant') ?? null)) ? page : reply.code(401).send())
}

async function registerSession (app: FastifyInstance, redis: string | null): Promise<void> {
  await app.register(cookie)
  // The load comes without TLS: with `secure` the peer would send no cookie.
  const options = { secret, cookie: { secure: false, maxAge: 30 * 24 * 60 * 60 * 1000 } }
  const client = redis === null ? null : await createClient({ url: redis }).connect()
  await app.register(fastifySession, client === null ? options : { ...options, store: new RedisStore({ client }) })
}

declare module 'fastify' {
  interface Session {
    token?: object
    grant?: object
  }
}

import { randomBytes, timingSafeEqual } from 'node:crypto'
import cookie from '@fastify/cookie'
import type { FastifyInstance, FastifyReply } from 'fastify'
import { Redis } from 'ioredis'
import { Pool } from 'undici'
import { credentials, page, redirectUri, secret, type Setup } from '../setup.ts'

/** Fastify with nothing but routes. */
export function bare (app: FastifyInstance): void {
  app.get('/me', async () => page)
}

/** What a careful developer writes by hand: a random state in a signed cookie, one POST on a pool, sessions in a Map. */
export async function handWritten (app: FastifyInstance, { webflow }: Setup): Promise<void> {
  await app.register(cookie, { secret })
  const pool = new Pool(webflow)
  const keep = keepSessions(app)

  app.get('/webflow/authorize', async (_request, reply) => {
    const state = randomBytes(32).toString('base64url')
    const query = new URLSearchParams({ response_type: 'code', client_id: credentials.clientId, redirect_uri: redirectUri, scope: 'sites:read', state })
    reply.setCookie('state', state, { signed: true, httpOnly: true, secure: true, sameSite: 'lax', path: '/', maxAge: 900 })
    return reply.redirect(`https://webflow.com/oauth/authorize?${query}`, 302)
  })

  app.get<{ Querystring: { code: string, state: string } }>('/webflow/callback', async (request, reply) => {
    const { code, state } = request.query
    const { valid, value } = request.unsignCookie(request.cookies['state'] ?? '')
    if (!valid || !isEqual(value ?? '', state)) return reply.code(400).send()
    const { statusCode, body } = await pool.request({
      method: 'POST',
      path: '/oauth/access_token',
      headers: { 'content-type': 'application/json', accept: 'application/json' },
      body: JSON.stringify({ client_id: credentials.clientId, client_secret: credentials.clientSecret, code, grant_type: 'authorization_code', redirect_uri: redirectUri })
    })
    const token = await body.json()
    if (statusCode !== 200) return reply.code(502).send()
    reply.clearCookie('state', { path: '/' })
    keep(reply, token)
    return reply.redirect('/', 303)
  })
}

/** Keeps tokens in a Map under an id in a signed cookie, and serves the page that needs one: the usual code. */
export function keepSessions (app: FastifyInstance): (reply: FastifyReply, token: unknown) => void {
  const sessions = new Map<string, unknown>()
  app.get('/me', async (request, reply) => {
    const { valid, value } = request.unsignCookie(request.cookies['session'] ?? '')
    const token = valid && value !== null ? sessions.get(value) : undefined
    return token === undefined ? reply.code(401).send() : page
  })
  return (reply, token) => {
    const id = randomBytes(32).toString('base64url')
    sessions.set(id, token)
    reply.setCookie('session', id, { signed: true, httpOnly: true, secure: true, sameSite: 'lax', path: '/', maxAge: 30 * 24 * 60 * 60 })
  }
}

/** One GET for each request, of a value as long as that of the plugin, and nothing else. */
export function rawGet (app: FastifyInstance, { redis }: Setup): void {
  const client = new Redis(redis ?? '')
  app.get('/login', async (_request, reply) => {
    const id = randomBytes(32).toString('base64url')
    await client.set(id, randomBytes(265).toString('base64url'))
    reply.header('set-cookie', `id=${id}`)
    return page
  })
  app.get('/me', async ({ headers }, reply) => await client.get(headers.cookie?.slice(3) ?? '') === null ? reply.code(401).send() : page)
}

function isEqual (a: string, b: string): boolean {
  const [one, other] = [Buffer.from(a), Buffer.from(b)]
  return one.length === other.length && timingSafeEqual(one, other)
}

import { randomBytes } from 'node:crypto'
import fastifySecureSession from '@fastify/secure-session'
import type { FastifyInstance } from 'fastify'
import { page } from '../setup.ts'

/** The peer that keeps the session in the cookie itself, encrypted. */
export async function secureSession (app: FastifyInstance): Promise<void> {
  await app.register(fastifySecureSession, { key: randomBytes(32), cookie: { path: '/', httpOnly: true, secure: true } })
  app.get('/login', async ({ session }) => {
    session.set('token', { accessToken: randomBytes(32).toString('hex'), tokenType: 'bearer', scope: ['sites:read'], createdAt: Date.now() })
    return page
  })
  app.get('/me', async ({ session }, reply) => session.get('token') === undefined ? reply.code(401).send() : page)
}

// npm run build && WEBFLOW_CLIENT_ID=… WEBFLOW_CLIENT_SECRET=… APP_SECRET=$(openssl rand -base64 32) npx tsx examples/users.ts
// Then open http://localhost:3000
import { randomBytes } from 'node:crypto'
import cookie from '@fastify/cookie'
import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify'
import { WebflowClient } from 'webflow-api'
import webflowOAuth from 'fastify-webflow-oauth'
import { baseUrl, endpoints } from './webflow-url.ts'

const port = Number(process.env.PORT ?? 3000)
const fastify = Fastify({ logger: true })

// For example only: accounts without passwords, known until the process ends, as are the tokens in memory.
const accounts = new Set(['ada', 'grace'])
await fastify.register(cookie, { secret: randomBytes(32) })
const userOf = (request: FastifyRequest): string | null => {
  const { value } = request.unsignCookie(request.cookies.user ?? '')
  return value !== null && accounts.has(value) ? value : null
}
// Lax, not Strict: the page that follows the callback is still part of the way from Webflow.
const session = { path: '/', signed: true, httpOnly: true, sameSite: 'lax', secure: 'auto' } as const

await fastify.register(webflowOAuth, {
  clientId: process.env.WEBFLOW_CLIENT_ID,
  clientSecret: process.env.WEBFLOW_CLIENT_SECRET,
  redirectUri: `http://localhost:${port}/webflow/callback`,
  scope: ['sites:read'],
  secret: process.env.APP_SECRET,
  identify: userOf,
  endpoints
})

fastify.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, async (_request: FastifyRequest, form: string) => Object.fromEntries(new URLSearchParams(form)))

fastify.get('/', async (request, reply) => {
  const user = userOf(request)
  reply.type('text/html; charset=utf-8').header('cache-control', 'no-store')
  if (user === null) return `<form method="post" action="/login">${[...accounts].map((name) => `<button name="user" value="${name}">Sign in as ${name}</button>`).join(' ')}</form>`
  return `<p>${user} is signed in. Webflow is ${request.webflowToken === null ? 'not connected' : 'connected'}.</p>
    <p><a href="/sites">Your sites</a></p>
    <form method="post" action="/webflow/revoke"><button>Disconnect Webflow</button></form>
    <form method="post" action="/logout"><button>Sign out</button></form>`
})

fastify.post<{ Body: { user: string } }>('/login', {
  schema: { body: { type: 'object', required: ['user'], properties: { user: { enum: [...accounts] } } } }
}, async ({ body }, reply) => reply.setCookie('user', body.user, session).redirect('/', 303))

// Not `endSession`: the connection belongs to the user, on every device, and is there again at the next sign-in.
fastify.post('/logout', async (_request, reply) => reply.clearCookie('user', session).redirect('/', 303))

const signedIn = async (request: FastifyRequest, reply: FastifyReply) => userOf(request) === null ? reply.redirect('/') : undefined

fastify.get('/sites', { preHandler: [signedIn, fastify.webflowOAuth.requireToken({ onMissing: 'redirect' })] }, async (request, reply) => {
  const token = fastify.webflowOAuth.tokenOf(request)
  try {
    return await new WebflowClient({ accessToken: token.accessToken, baseUrl }).sites.list()
  } catch (error) {
    // The user has uninstalled the app at Webflow: the token is forgotten, and they can connect again.
    if (await fastify.webflowOAuth.reportUnauthorized(token, error) === 'revoked') return reply.redirect('/')
    throw error
  }
})

fastify.delete('/account', async (request, reply) => {
  const user = userOf(request)
  if (user === null) return reply.code(401).send()
  // Webflow first: while it cannot be told, this rejects, and the account is still there for another try.
  await fastify.webflowOAuth.revoke({ user })
  accounts.delete(user)
  return reply.clearCookie('user', session).code(204).send()
})

await fastify.listen({ port })

// WEBFLOW_CLIENT_ID=… WEBFLOW_CLIENT_SECRET=… APP_SECRET=$(openssl rand -base64 32) npx tsx examples/users.ts
// Then open http://localhost:3000
import { randomBytes } from 'node:crypto'
import cookie from '@fastify/cookie'
import Fastify, { type FastifyRequest } from 'fastify'
import { WebflowClient } from 'webflow-api'
import webflowOAuth from 'fastify-webflow-oauth'
import { endpoints } from './webflow-url.ts'

const port = Number(process.env.PORT ?? 3000)
const home = `http://localhost:${port}`
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
  redirectUri: `${home}/webflow/callback`,
  scope: ['sites:read'],
  secret: process.env.APP_SECRET,
  identify: userOf,
  // Also for installs that begin at Webflow's Marketplace: nobody consents before the app knows who they are.
  signInRedirect: '/sign-in',
  endpoints
})

fastify.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, async (_request: FastifyRequest, form: string) => Object.fromEntries(new URLSearchParams(form)))

// Only pages of this app: otherwise a link of somebody else's could lead from here to a copy of this app.
const pageAfter = (returnTo = '/') => URL.canParse(returnTo, home) && new URL(returnTo, home).origin === home ? new URL(returnTo, home).href : home
interface SignIn { Querystring: { returnTo?: string }, Body: { user?: string } }

fastify.get<SignIn>('/sign-in', async ({ query }, reply) => {
  // A popup loses its opener on a page with helmet's `same-origin`.
  reply.type('text/html; charset=utf-8').headers({ 'cache-control': 'no-store', 'cross-origin-opener-policy': 'unsafe-none' })
  const next = encodeURIComponent(pageAfter(query.returnTo))
  return `<form method="post" action="/sign-in?returnTo=${next}">${[...accounts].map((name) => `<button name="user" value="${name}">Sign in as ${name}</button>`).join(' ')}</form>
    <form method="post" action="/sign-up?returnTo=${next}"><button>Create an account</button></form>`
})

fastify.post<SignIn>('/sign-in', async ({ body: { user = '' }, query }, reply) => {
  if (!accounts.has(user)) return reply.code(400).send()
  return reply.setCookie('user', user, session).redirect(pageAfter(query.returnTo), 303)
})

fastify.post<SignIn>('/sign-up', async ({ query }, reply) => {
  const user = `guest-${randomBytes(4).toString('hex')}`
  accounts.add(user)
  return reply.setCookie('user', user, session).redirect(pageAfter(query.returnTo), 303)
})

fastify.get('/', async (request, reply) => {
  const user = userOf(request)
  if (user === null) return reply.redirect('/sign-in')
  reply.type('text/html; charset=utf-8').header('cache-control', 'no-store')
  return `<p>${user} is signed in. Webflow is ${request.webflowToken === null ? 'not connected' : 'connected'}.</p>
    <p><a href="/sites">Your sites</a></p>
    <form method="post" action="/webflow/revoke"><button>Disconnect Webflow</button></form>
    <form method="post" action="/logout"><button>Sign out</button></form>`
})

// Not `endSession`: the connection belongs to the user, on every device, and is there again at the next sign-in.
fastify.post('/logout', async (_request, reply) => reply.clearCookie('user', session).redirect('/', 303))

// Strangers sign in first. If they are connected already, they come back here without a visit to Webflow.
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

fastify.delete('/account', async (request, reply) => {
  const user = userOf(request)
  if (user === null) return reply.code(401).send()
  // Webflow first: while it cannot be told, this rejects, and the account is still there for another try.
  await fastify.webflowOAuth.revoke({ user })
  accounts.delete(user)
  return reply.clearCookie('user', session).code(204).send()
})

await fastify.listen({ port })

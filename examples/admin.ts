// WEBFLOW_CLIENT_ID=… WEBFLOW_CLIENT_SECRET=… APP_SECRET=$(openssl rand -base64 32) ADMIN_PASSWORD=… npx tsx examples/admin.ts
// People connect at http://localhost:3000/webflow/authorize. You look at http://localhost:3000/admin, as `admin` with the password.
// The page is in admin/. In production, serve it over https and to your own network only.
import { createHash, timingSafeEqual } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import basicAuth from '@fastify/basic-auth'
import view from '@fastify/view'
import { Eta } from 'eta'
import Fastify, { type FastifyRequest } from 'fastify'
import { Redis } from 'ioredis'
import webflowOAuth, { WebflowOAuthError, type Authorization, type WebflowToken } from 'fastify-webflow-oauth'
import { RedisStore } from 'fastify-webflow-oauth/stores/redis'
import { endpoints } from './webflow-url.ts'

const { ADMIN_PASSWORD = '', APP_SECRET, PORT = '3000', REDIS_URL, WEBFLOW_CLIENT_ID, WEBFLOW_CLIENT_SECRET, WEBFLOW_REDIRECT_URI } = process.env
if (ADMIN_PASSWORD.length < 12) throw new Error('Set ADMIN_PASSWORD to at least 12 characters')
const redirectUri = WEBFLOW_REDIRECT_URI ?? `http://localhost:${PORT}/webflow/callback`
const { origin } = new URL(redirectUri)

const fastify = Fastify({ logger: true })
const redis = REDIS_URL ? new Redis(REDIS_URL) : null
// Only the message: ioredis hangs the failed command on its errors, at AUTH with the password.
redis?.on('error', (error) => fastify.log.error(`Redis: ${error.message}`))
fastify.addHook('onClose', async () => redis?.disconnect())

await fastify.register(webflowOAuth, {
  clientId: WEBFLOW_CLIENT_ID,
  clientSecret: WEBFLOW_CLIENT_SECRET,
  redirectUri,
  scope: ['sites:read', 'authorized_user:read'],
  secret: APP_SECRET,
  store: redis === null ? undefined : new RedisStore({ client: redis }),
  endpoints
})

fastify.get('/', async (request) => ({ connected: Boolean(request.webflowToken) }))

await fastify.register(view, { engine: { eta: new Eta() }, root: fileURLToPath(new URL('admin/', import.meta.url)) })
await fastify.register(basicAuth, { authenticate: { realm: 'Installations' }, validate: checkPassword })
const style = readFileSync(new URL('admin/style.css', import.meta.url), 'utf8')
const headers = {
  'cache-control': 'no-store',
  // Reconnecting is a form that ends at Webflow.
  'content-security-policy': `default-src 'none'; style-src 'self'; img-src data:; form-action 'self' ${new URL(endpoints?.authorize ?? 'https://webflow.com').origin}; base-uri 'none'; frame-ancestors 'none'`,
  'referrer-policy': 'same-origin',
  'x-content-type-options': 'nosniff'
}

const perPage = 25
/** What the list says after an action. The URL has the word alone, so that a link of a stranger's cannot put text on the page. */
const notices = {
  revoked: 'The token is revoked and forgotten.',
  gone: 'That token is no longer there.',
  kept: 'Webflow did not answer, so the token is kept. Please try again.'
}

interface List { Querystring: { page: number, opens?: string, notice?: keyof typeof notices } }
interface Action { Body: { id: string } }
const listSchema = {
  querystring: {
    type: 'object',
    properties: { page: { type: 'integer', minimum: 1, maximum: 100_000, default: 1 }, opens: { type: 'string', maxLength: 100 }, notice: { enum: Object.keys(notices) } }
  }
}
const actionSchema = { body: { type: 'object', required: ['id'], properties: { id: { type: 'string', maxLength: 100 } } } }

await fastify.register(async (admin) => {
  admin.addHook('onRequest', admin.basicAuth)
  // A browser sends the password along with the form of any other site.
  admin.addHook('onRequest', async (request, reply) => {
    if (request.method === 'POST' && !isFromOwnPage(request)) return reply.code(403).send({ error: 'This form is not on a page of this app' })
  })
  admin.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, async (_request: FastifyRequest, form: string) => Object.fromEntries(new URLSearchParams(form)))
  // These routes need no token of the person who opens them.
  const config = { webflowToken: false } as const

  admin.get<List>('/', { config, schema: listSchema }, async ({ query: { page, opens = '', notice } }, reply) => {
    const { tokens, hasMore, isComplete } = opens === '' ? await readPage(page) : await search(opens.trim())
    const rows = await Promise.all(tokens.map(async (token) => rowOf(token, await stateOf(token))))
    return reply.headers(headers).view('installations.eta', { rows, page, opens, hasMore, isComplete, notice: notice === undefined ? null : notices[notice] })
  })

  admin.get('/style.css', { config }, async (_request, reply) => reply.type('text/css').send(style))

  admin.post<Action>('/reconnect', { config, schema: actionSchema }, async (request, reply) => {
    const token = await fastify.webflowOAuth.getToken(request.body.id)
    if (token === null) return reply.redirect('/admin?notice=gone', 303)
    // This browser consents for the owner. With `identify`, the new token takes the place of the owner's old one.
    return reply.redirect(await fastify.webflowOAuth.startAuthorization(request, reply, { returnTo: '/admin', user: token.owner ?? undefined }), 303)
  })

  admin.post<Action>('/revoke', { config, schema: actionSchema }, async (request, reply) => {
    try {
      const { revoked } = await fastify.webflowOAuth.revoke(request.body.id)
      return reply.redirect(`/admin?notice=${revoked ? 'revoked' : 'gone'}`, 303)
    } catch (error) {
      if (error instanceof WebflowOAuthError && error.statusCode > 500) return reply.redirect('/admin?notice=kept', 303)
      throw error
    }
  })
}, { prefix: '/admin' })

await fastify.listen({ port: Number(PORT) })

async function checkPassword (username: string, password: string): Promise<void> {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  const isRight = timingSafeEqual(digest(`${username}:${password}`), digest(`admin:${ADMIN_PASSWORD}`))
  if (!isRight) throw Object.assign(new Error('Wrong name or password'), { statusCode: 401 })
}

function isFromOwnPage ({ headers: { 'sec-fetch-site': site, origin: from } }: FastifyRequest): boolean {
  return site === undefined ? from === origin : site === 'same-origin'
}

interface Found { tokens: WebflowToken[], hasMore: boolean, isComplete: boolean }

/** Reads one page. The walk goes from the first token to the page's last one, and never keeps more than a page in memory. */
async function readPage (page: number): Promise<Found> {
  const tokens: WebflowToken[] = []
  let skipped = 0
  try {
    for await (const token of fastify.webflowOAuth.listTokens()) {
      if (skipped++ < (page - 1) * perPage) continue
      if (tokens.length === perPage) return { tokens, hasMore: true, isComplete: true }
      tokens.push(token)
    }
    return { tokens, hasMore: false, isComplete: true }
  } catch (error) {
    return { tokens, hasMore: false, isComplete: isComplete(error) }
  }
}

/** Finds what opens a site or a workspace, by its id. */
async function search (id: string): Promise<Found> {
  if (!/^[0-9a-f]{24}$/.test(id)) return { tokens: [], hasMore: false, isComplete: true }
  try {
    const tokens = [...await fastify.webflowOAuth.findTokens({ siteId: id }), ...await fastify.webflowOAuth.findTokens({ workspaceId: id })]
    return { tokens, hasMore: false, isComplete: true }
  } catch (error) {
    return { tokens: [], hasMore: false, isComplete: isComplete(error) }
  }
}

/** The store or Webflow did not answer, or a record is sealed under another secret: the page says so. Any other error is one of this app. */
function isComplete (error: unknown): false {
  if (error instanceof WebflowOAuthError) return false
  throw error
}

async function stateOf (token: WebflowToken) {
  return await fastify.webflowOAuth.checkToken(token).catch(() => null) ?? 'unknown'
}

/** What the page shows of a token. The token itself stays here: a view never gets more than it prints. */
function rowOf (token: WebflowToken, state: string) {
  const { authorization, owner, user, scope, createdAt, expiresAt } = token
  return {
    id: token.id,
    state,
    cells: [
      // The user of the app. This app has no users of its own: with the option `identify`, the column is filled.
      { label: 'Owner', text: owner ?? '–' },
      { label: 'Granted by', text: user?.email ?? user?.id ?? 'not known' },
      authorization === null
        ? { label: 'Opens', text: 'not known yet' }
        : { label: 'Opens', text: opened(authorization), more: [...authorization.siteIds, ...authorization.workspaceIds].slice(0, 100) },
      { label: 'Scope', text: scope.join(' ') },
      { label: 'Connected (UTC)', text: createdAt.toISOString().slice(0, 16).replace('T', ' ') },
      { label: 'Kept until', text: expiresAt.toISOString().slice(0, 10) }
    ]
  }
}

function opened ({ siteIds, workspaceIds }: Authorization): string {
  return [count(siteIds.length, 'site'), count(workspaceIds.length, 'workspace')].filter(Boolean).join(', ') || 'nothing'
}

function count (number: number, noun: string): string {
  return number === 0 ? '' : `${number} ${noun}${number === 1 ? '' : 's'}`
}

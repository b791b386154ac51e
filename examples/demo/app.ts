import { readFile } from 'node:fs/promises'
import Fastify, { type FastifyInstance, type FastifyReply } from 'fastify'
import { WebflowClient, WebflowError, WebflowTimeoutError, type Webflow } from 'webflow-api'
import webflowOAuth, { type TokenStore, type WebflowToken } from 'fastify-webflow-oauth'
import { SqliteStore } from 'fastify-webflow-oauth/stores/sqlite'
import { siteApi } from '../designer/site-api.ts'
import type { Html } from './html.ts'
import { connectedPage, disconnectedPage, errorPage, failedPage, goodbyePage, headers, type Surroundings } from './pages.ts'
import type { SimulatedWebflow } from './simulated-webflow.ts'
import { Inbox, sendWebhooks } from './webhooks.ts'

/** The app as Webflow knows it. */
export interface Registration {
  clientId: string | undefined
  clientSecret: string | undefined
  redirectUri: string
  /** The Webflow that knows it. Defaults to the real one. */
  webflow?: SimulatedWebflow
}

/** What the demo is made of. */
export interface DemoOptions extends Registration {
  secret: string
  /** Defaults to memory. */
  store?: TokenStore | undefined
}

/** What became of asking Webflow for the sites. */
type SiteList =
  | { kind: 'sites', sites: Webflow.Site[] }
  | { kind: 'token_ended' }
  | { kind: 'failed' }

/** Builds the demo: a page to connect, one that lists the sites and the webhooks, and one for everything that can go wrong. */
export async function createDemo ({ webflow, ...options }: DemoOptions): Promise<FastifyInstance> {
  // Standard output is for the URL, and for where tokens are kept. Browsers keep connections open that nobody should wait for.
  const app = Fastify({ logger: { level: 'warn', stream: process.stderr }, forceCloseConnections: true })

  const inbox = new Inbox()
  await app.register(webflowOAuth, {
    ...options,
    // The Designer Extension needs the second one. A real app must have it in its settings too, so it is asked for here only.
    scope: webflow === undefined ? ['sites:read'] : ['sites:read', 'authorized_user:read'],
    authorizePath: '/webflow/authorize',
    revokePath: '/webflow/revoke',
    failureRedirect: '/failed',
    revokeRedirect: '/goodbye',
    onWebhook: inbox.receive,
    ...webflow !== undefined && { endpoints: webflow.simulator.endpoints, designer: { origins: [webflow.extensionOrigin] } }
  })

  if (webflow !== undefined) {
    await app.register(siteApi, { prefix: '/api', origins: [webflow.extensionOrigin] })
    await app.register(sendWebhooks, { simulator: webflow.simulator, redirectUri: options.redirectUri })
  }

  const surroundings: Surroundings = {
    redirectUri: options.redirectUri,
    store: options.store === undefined ? 'in memory' : options.store instanceof SqliteStore ? 'in a file' : 'in Redis',
    simulator: webflow === undefined ? null : { url: webflow.simulator.url, clientId: options.clientId ?? '' }
  }

  app.get('/', async (request, reply) => {
    const token = request.webflowToken
    if (token === null) return send(reply, disconnectedPage(surroundings))
    const list = await listSites(token)
    switch (list.kind) {
      case 'sites':
        return send(reply, connectedPage(surroundings, token, list.sites, inbox.about(list.sites.map(({ id }) => id))))
      case 'failed':
        return send(reply.code(502), connectedPage(surroundings, token, null, []))
      case 'token_ended':
        return send(reply, disconnectedPage(surroundings, 'Webflow has ended this connection, so it was forgotten here too. You can connect again at any time.'))
    }
  })

  const script = await readFile(new URL('popup.js', import.meta.url), 'utf8')
  app.get('/popup.js', { config: { webflowToken: false } }, async (_request, reply) => reply.type('text/javascript').send(script))

  app.get('/goodbye', async (request, reply) => {
    return request.webflowToken === null ? send(reply, goodbyePage(surroundings)) : reply.redirect('/')
  })

  app.get<{ Querystring: { error?: string, reason?: string } }>('/failed', {
    config: { webflowToken: false },
    schema: { querystring: { type: 'object', properties: { error: codeSchema, reason: codeSchema } } }
  }, async ({ query }, reply) => send(reply, failedPage(surroundings, query)))

  app.setNotFoundHandler((_request, reply) => send(reply.code(404), errorPage(surroundings, 404)))
  app.setErrorHandler((error, request, reply) => {
    // The extension is a program, and reads Fastify's JSON.
    if (request.headers.accept?.includes('text/html') !== true) throw error
    const status = statusOf(error)
    if (status >= 500) request.log.error(error)
    return send(reply.code(status), errorPage(surroundings, status))
  })

  async function listSites (token: WebflowToken): Promise<SiteList> {
    // Somebody waits for the page: better no list soon than a list after three patient attempts.
    const api = new WebflowClient({ accessToken: token.accessToken, baseUrl: app.webflowOAuth.apiUrl, maxRetries: 0, timeoutInSeconds: 5 })
    try {
      const { sites = [] } = await api.sites.list()
      return { kind: 'sites', sites }
    } catch (error) {
      if (!(error instanceof WebflowError || error instanceof WebflowTimeoutError)) throw error
      // Webflow tells nobody of an uninstall: a 401 is the first sign of it. It is confirmed, and then the token is forgotten.
      if (await app.webflowOAuth.reportUnauthorized(token, error) === 'revoked') return { kind: 'token_ended' }
      app.log.warn(`Webflow did not list the sites: ${error.message}`)
      return { kind: 'failed' }
    }
  }

  return app
}

const codeSchema = { type: 'string', pattern: '^\\w{1,64}$' } as const

function send (reply: FastifyReply, { text }: Html): FastifyReply {
  return reply.headers(headers).send(text)
}

function statusOf (error: unknown): number {
  const status = error instanceof Error && 'statusCode' in error ? error.statusCode : 500
  return typeof status === 'number' && status >= 400 ? status : 500
}

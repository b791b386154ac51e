import { Readable } from 'node:stream'
import { createHash } from 'node:crypto'
import { mock } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { createApi } from '../../lib/api.ts'
import { createParts } from '../../lib/context.ts'
import { loadCookieCodec } from '../../lib/http/cookies.ts'
import { MemoryStore, type TokenStore, type WebflowOAuthOptions, type WebflowToken } from '../../lib/index.ts'
import { resolveOptions } from '../../lib/options/resolve.ts'
import type { BehaviorOptions, Simulator } from '../../lib/simulator/index.ts'
import type { TokenRecord } from '../../lib/tokens/record.ts'
import { baseOptions, createApp, startWebflow } from './app.ts'
import { Browser } from './browser.ts'
import { recordingLogger, rememberSecrets } from './logs.ts'
import { startHttp } from './server-http.ts'
import { ids as simulated } from './simulator-start.ts'

/** The ids of the person, the sites and the workspaces that the simulator has by default, and of one more user. */
export const ids = { ada: '545bbecb7bdd6769632504a7', ...simulated } as const
export const charles = { id: '545bbecb7bdd6769632504a8', email: 'charles@example.com', firstName: 'Charles', lastName: 'Babbage' } as const

export const unavailable = 'WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE'
export const outage = 'WEBFLOW_OAUTH_STORE_UNAVAILABLE'

/** An `identify` that returns the user that a header names. */
export const identify: WebflowOAuthOptions['identify'] = ({ headers }) => typeof headers['x-user'] === 'string' ? headers['x-user'] : null

/** What a user picks on the consent page. */
export type Pick = Parameters<Simulator['approve']>[1]

/** An app, its Webflow, and the arguments that its hooks got. */
export interface Bench {
  webflow: Simulator
  app: FastifyInstance
  /** The tokens that were connected, oldest first. */
  connected: WebflowToken[]
  /** The arguments of each call of `onDisconnect`. */
  disconnected: Array<{ id: string, accessToken: string, reason: string }>
  /** Leads a person through a flow, by default in a new browser. */
  install (pick?: Pick, how?: { browser?: Browser, headers?: Record<string, string>, path?: string, app?: FastifyInstance }): Promise<{ browser: Browser, token: WebflowToken }>
  /** The access tokens that a search finds. */
  found (query: Parameters<FastifyInstance['webflowOAuth']['findTokens']>[0]): Promise<string[]>
}

/** Starts an app and a Webflow for the length of a test. */
export async function startBench (t: Test, { behavior = {}, options = {}, before, after }: { behavior?: BehaviorOptions, options?: Partial<WebflowOAuthOptions>, before?: (app: FastifyInstance) => unknown, after?: (app: FastifyInstance) => unknown } = {}): Promise<Bench> {
  const webflow = await startWebflow(t, behavior)
  const connected: WebflowToken[] = []
  const disconnected: Bench['disconnected'] = []
  const hooks: Partial<WebflowOAuthOptions> = {
    onSuccess (token) {
      rememberSecrets(token.accessToken)
      connected.push(token)
    },
    onDisconnect (token, reason) { disconnected.push({ id: token.id, accessToken: token.accessToken, reason }) }
  }
  const app = await createApp(t, {
    webflow,
    options: { ...hooks, ...options },
    ...before === undefined ? {} : { before },
    after: (app) => {
      after?.(app)
      app.get('/guarded', { preHandler: app.webflowOAuth.requireToken() }, async () => 'ok')
      app.get('/opens', async ({ webflowToken }) => webflowToken === null ? null : { authorization: webflowToken.authorization, user: webflowToken.user })
    }
  })
  return {
    webflow,
    app,
    connected,
    disconnected,
    async install (pick, how = {}) {
      const { browser = new Browser(how.app ?? app), headers = {}, path = '/webflow/authorize' } = how
      const { location } = await browser.navigate(path, headers)
      const { statusCode } = await browser.navigate(await webflow.approve(String(location), pick), headers)
      const token = connected.at(-1)
      if (statusCode !== 303 || token === undefined) throw new Error(`The callback was answered with ${statusCode}`)
      return { browser, token }
    },
    async found (query) {
      return (await app.webflowOAuth.findTokens(query)).map(({ accessToken }) => accessToken)
    }
  }
}

/** The answer of a made-up Webflow. A promise that never settles is a Webflow that hangs. */
export interface MadeUpAnswer {
  statusCode?: number
  body: unknown
}

/** The answer about a token that opens nothing. */
export const nothing: MadeUpAnswer = { body: { authorization: {} } }

/** Says that a token opens a site. */
export function opens (siteId: string): MadeUpAnswer {
  return { body: { authorization: { authorizedTo: { siteIds: [siteId] } } } }
}

/**
 * Makes the parts of an instance with a made-up Webflow: a function of the access token and the path. So even thousands of
 * tokens need no socket.
 */
export async function startParts (t: Test, webflow: (accessToken: string, path: string) => MadeUpAnswer | Promise<MadeUpAnswer>, options: Partial<WebflowOAuthOptions> = {}) {
  const asked: string[] = []
  let background = 0
  let most = 0
  const dispatcher: NonNullable<WebflowOAuthOptions['dispatcher']> = {
    async request ({ path, headers, body }) {
      const accessToken = headers.authorization?.replace('Bearer ', '') ?? String(JSON.parse(body ?? '{}').access_token)
      asked.push(accessToken)
      most = Math.max(most, ++background)
      try {
        const { statusCode = 200, body: answer } = await webflow(accessToken, path)
        const text = typeof answer === 'string' ? answer : JSON.stringify(answer)
        return { statusCode, body: Readable.from([Buffer.from(text)]) }
      } finally {
        background--
      }
    }
  }
  const resolved = resolveOptions({ ...baseOptions(null), store: new MemoryStore({ maxEntries: 100_000 }), dispatcher, ...options }, '')
  const parts = createParts(resolved, Fastify({ logger: recordingLogger }).log, await loadCookieCodec(Fastify()))
  t.teardown(() => { parts.background.stop() })
  const api = createApi(parts)
  return {
    parts,
    api,
    /** The access tokens that Webflow was asked about, in this order. */
    asked,
    /** The most calls that were under way at the same time. */
    most: () => most,
    /** Stores a token that opens nothing yet; resolves with its id. */
    async write (accessToken: string, more: Partial<TokenRecord> = {}, tokenId = idOf(accessToken)): Promise<string> {
      const record = parts.records.create({ accessToken, tokenType: 'bearer', scope: null, expiresIn: null }, ['sites:read'], Date.now())
      await parts.records.write(tokenId, { ...record, ...more })
      return tokenId
    },
    /** The access tokens that a search finds. */
    async found (query: Parameters<typeof api.findTokens>[0]): Promise<string[]> {
      return (await api.findTokens(query)).map(({ accessToken }) => accessToken)
    }
  }
}

/** An id for a record. */
export function idOf (name: string): string {
  return createHash('sha256').update(name).digest('base64url')
}

/** Mocks the clock, so that only the test moves it. Timers keep running by the real clock. */
export function stopClock (t: Test): void {
  mock.timers.enable({ apis: ['Date'], now: Date.now() })
  t.teardown(() => mock.timers.reset())
}

/** A memory store of which a test replaces some methods. */
export function methodsOf (store: MemoryStore): TokenStore {
  return { get: store.get.bind(store), set: store.set.bind(store), delete: store.delete.bind(store), find: store.find.bind(store) }
}

/** Starts a server that answers only once eight requests wait, all with the same JSON. It reports the most requests that waited at the same time. */
export async function startCrowded (t: Test, body: string): Promise<{ url: string, most: () => number }> {
  let background = 0
  let most = 0
  const held: Array<() => void> = []
  const { url } = await startHttp(t, (response) => {
    most = Math.max(most, ++background)
    held.push(() => {
      background--
      response.setHeader('content-type', 'application/json')
      response.end(body)
    })
    if (most >= 8) for (const answer of held.splice(0)) setTimeout(answer, 5)
  })
  return { url, most: () => most }
}

/** A store that counts its calls. A test can make them fail. */
export function watchStore (store: TokenStore): TokenStore & { calls: Record<'get' | 'set' | 'delete' | 'find', number>, down: boolean } {
  const calls = { get: 0, set: 0, delete: 0, find: 0 }
  const watched = {
    calls,
    down: false,
    get: (key: string) => through('get', () => store.get(key)),
    set: (...args: Parameters<TokenStore['set']>) => through('set', () => store.set(...args)),
    delete: (...args: Parameters<TokenStore['delete']>) => through('delete', () => store.delete(...args)),
    find: (...args: Parameters<TokenStore['find']>) => through('find', () => store.find(...args))
  }
  function through<T> (name: keyof typeof calls, run: () => Promise<T>): Promise<T> {
    calls[name]++
    return watched.down ? Promise.reject(new Error('down')) : run()
  }
  return watched
}

/** Waits until something has happened in the background. */
export async function eventually (holds: () => boolean | Promise<boolean>): Promise<boolean> {
  for (let tries = 0; tries < 500; tries++) {
    if (await holds()) return true
    await new Promise((resolve) => { setTimeout(resolve, 10) })
  }
  return false
}

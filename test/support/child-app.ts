import { type ChildProcess, spawn, type StdioOptions } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import Fastify from 'fastify'
import { Cluster, Redis } from 'ioredis'
import type { Test } from 'tap'
import { request as send } from 'undici'
import webflowOAuth, { MemoryStore, type Endpoints, type TokenStore } from '../../lib/index.ts'
import type { Simulator } from '../../lib/simulator/index.ts'
import { RedisStore } from '../../stores/redis.ts'
import { beforeEnd } from './before-end.ts'
import { recordingLogger, rememberSecrets } from './logs.ts'

const program = fileURLToPath(import.meta.url)
const root = fileURLToPath(new URL('../../', import.meta.url))

/** The settings of an app with the plugin that runs in a process of its own. */
export interface ChildConfig {
  clientId: string
  clientSecret: string
  redirectUri: string
  scope: readonly string[]
  secret: string
  endpoints: Partial<Endpoints>
  /** Where the store is. Defaults to memory. */
  redis?: { port: number } | { nodes: readonly number[] } | { sentinels: readonly number[], name: string }
  /** Options of ioredis for a single connection. */
  redisOptions?: { maxRetriesPerRequest?: number, enableOfflineQueue?: boolean, autoResendUnfulfilledCommands?: boolean }
  timeout?: number
  storeTimeout?: number
  sessionMaxAge?: number
  /** Whether tokens belong to the user that the header `x-user` names. */
  byUser?: boolean
  /** Whether closing the app also closes connections that are in use. */
  forceClose?: boolean
  /** How long the app's `beforeStore` takes, in milliseconds. Defaults to no such hook. */
  beforeStore?: number
}

/** A process that a test has started. */
export interface OwnProcess {
  pid: number
  child: ChildProcess
  /** Everything that the process has printed. */
  output (): string
  /** Resolves when the output matches. Rejects with the whole output if the process ends first. */
  printed (pattern: RegExp): Promise<RegExpExecArray>
  signal (name: NodeJS.Signals): void
  /** Ends the process by a signal, by default at once. Resolves with its exit code, or null if a signal has ended it. */
  stop (signal?: NodeJS.Signals): Promise<number | null>
}

/** Starts a process. It ends with this process at the latest. */
export function startProcess (file: string, args: readonly string[], { env = process.env, stdio = ['ignore', 'pipe', 'pipe'] }: { env?: NodeJS.ProcessEnv, stdio?: StdioOptions } = {}): OwnProcess {
  const child = spawn(file, args, { cwd: root, env, stdio })
  const exited = once(child, 'close')
  const forget = beforeEnd(() => { child.kill('SIGKILL') })
  exited.then(forget, forget)
  let output = ''
  const listeners = new Set<() => void>()
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk
      for (const listener of listeners) listener()
    })
  }
  return {
    pid: child.pid ?? 0,
    child,
    output: () => output,
    printed: (pattern) => new Promise((resolve, reject) => {
      const look = (): void => {
        const match = pattern.exec(output)
        if (match === null) return
        listeners.delete(look)
        resolve(match)
      }
      listeners.add(look)
      exited.then(() => reject(new Error(`${file} ended:\n${output}`)), reject)
      look()
    }),
    signal: (name) => { child.kill(name) },
    async stop (signal = 'SIGKILL') {
      child.kill(signal)
      await exited
      return child.exitCode
    }
  }
}

/** An app in a process of its own. */
export interface ChildApp extends OwnProcess {
  url: string
}

/** Starts an app in a process of its own, on a free port of loopback. The test searches its log, at trace level, for secrets. */
export async function startChildApp (t: Test, config: ChildConfig, nodeOptions: readonly string[] = []): Promise<ChildApp> {
  const own = startProcess(process.execPath, ['--import', './test/support/typescript.mjs', ...nodeOptions, program], {
    // Coverage counts only the code that the test process runs.
    env: { PATH: process.env.PATH ?? '', _TAPJS_PROCESSINFO_COVERAGE_: '0', CHILD_APP: JSON.stringify(config) }
  })
  for (const stream of [own.child.stdout, own.child.stderr]) stream?.on('data', (chunk: string) => recordingLogger.stream.write(chunk))
  t.teardown(() => own.stop())
  const [, url = ''] = await own.printed(/Server listening at (http:\/\/127\.0\.0\.1:\d+)/)
  return { ...own, url }
}

/** An answer that came over a socket. */
export interface RemoteAnswer {
  status: number
  location: string | null
  body: string
  /** The members of a JSON body. */
  json: Record<string, unknown>
  /** How long the answer took, in milliseconds. */
  took: number
}

/** A browser without a screen that calls a real port. The test searches the errors that it gets for secrets. */
export class RemoteBrowser {
  readonly url: string
  readonly cookies: Map<string, string>
  readonly #headers: Record<string, string>

  constructor (url: string, { cookies = new Map(), headers = {} }: { cookies?: Map<string, string>, headers?: Record<string, string> } = {}) {
    this.url = url
    this.cookies = cookies
    this.#headers = headers
  }

  /** Makes a second browser with a copy of the cookies, at another app, like a tab whose answers the first browser does not see. */
  at (url: string): RemoteBrowser {
    return new RemoteBrowser(url, { cookies: new Map(this.cookies), headers: this.#headers })
  }

  async request (url: string, method: 'GET' | 'POST' = 'GET'): Promise<RemoteAnswer> {
    const { pathname, search, searchParams } = new URL(url, this.url)
    rememberSecrets(...searchParams.getAll('code'), ...searchParams.getAll('state'))
    const cookie = [...this.cookies].map((pair) => pair.join('=')).join('; ')
    const began = performance.now()
    const { statusCode, headers, body } = await send(`${this.url}${pathname}${search}`, {
      method,
      headers: { ...this.#headers, ...(cookie === '' ? {} : { cookie }) },
      // Each request has a connection of its own, because an app that stops may have left an old one half closed.
      reset: true,
      headersTimeout: 60_000,
      bodyTimeout: 60_000
    })
    const text = await body.text()
    const took = performance.now() - began
    for (const line of [headers['set-cookie'] ?? []].flat()) {
      const [pair = '', ...attributes] = line.split('; ')
      const [name = '', value = ''] = pair.split('=')
      rememberSecrets(value)
      if (attributes.includes('Max-Age=0')) this.cookies.delete(name)
      else this.cookies.set(name, value)
    }
    if (statusCode >= 400) recordingLogger.stream.write(`${text}\n`)
    const json: Record<string, unknown> = text.startsWith('{') ? JSON.parse(text) : {}
    if (typeof json.accessToken === 'string') rememberSecrets(json.accessToken)
    return { status: statusCode, location: headers.location === undefined ? null : String(headers.location), body: text, json, took }
  }

  get (url: string): Promise<RemoteAnswer> {
    return this.request(url)
  }

  post (url: string): Promise<RemoteAnswer> {
    return this.request(url, 'POST')
  }

  /** Begins a flow and approves it. Resolves with the URL of the callback, which the browser has not opened yet. */
  async approve (webflow: Simulator): Promise<string> {
    const { location } = await this.get('/webflow/authorize')
    return await webflow.approve(String(location))
  }

  /** Goes through a whole flow. Resolves with the answer of the callback. */
  async connect (webflow: Simulator): Promise<RemoteAnswer> {
    return await this.get(await this.approve(webflow))
  }
}

if (process.env.CHILD_APP !== undefined) await runApp(JSON.parse(process.env.CHILD_APP))

async function runApp (config: ChildConfig): Promise<void> {
  const { clientId, clientSecret, redirectUri, scope, secret, endpoints, byUser, forceClose, beforeStore, timeout, storeTimeout, sessionMaxAge } = config
  const app = Fastify({ logger: { level: 'trace' }, ...(forceClose === true ? { forceCloseConnections: true } : {}) })
  const client = createClient(config)
  // The message of an error of ioredis may hold a command.
  client?.on('error', ({ name }: Error) => { app.log.debug({ name }, 'app: the connection to Redis failed') })
  const store: TokenStore = client === null ? new MemoryStore() : new RedisStore({ client })
  await app.register(webflowOAuth, {
    clientId,
    clientSecret,
    redirectUri,
    scope,
    secret,
    endpoints,
    store,
    timeout,
    storeTimeout,
    sessionMaxAge,
    ...(beforeStore === undefined ? {} : { beforeStore: async () => { await sleep(beforeStore) } }),
    ...(byUser === true ? { identify: ({ headers }: { headers: Record<string, unknown> }) => typeof headers['x-user'] === 'string' ? headers['x-user'] : null } : {})
  })
  app.get('/token', async ({ webflowToken: token }) => {
    return { connected: token !== null, id: token?.id ?? null, accessToken: token?.accessToken ?? null, expiresAt: token?.expiresAt ?? null, told: token !== null && token.authorization !== null }
  })
  app.get('/free', async () => ({ free: true }))
  app.post('/logout', async (request, reply) => {
    await app.webflowOAuth.endSession(request, reply)
    return { ended: true }
  })
  // As in Fastify's examples, the app closes its own connections last.
  app.addHook('onClose', async () => { client?.disconnect() })
  process.once('SIGTERM', async () => {
    await app.close()
    process.exit(0)
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
}

function createClient ({ redis, redisOptions = {} }: ChildConfig): Redis | Cluster | null {
  if (redis === undefined) return null
  if ('port' in redis) return new Redis({ host: '127.0.0.1', port: redis.port, ...redisOptions })
  if ('nodes' in redis) return new Cluster(redis.nodes.map((port) => ({ host: '127.0.0.1', port })), { slotsRefreshTimeout: 2000, slotsRefreshInterval: 500 })
  return new Redis({ sentinels: redis.sentinels.map((port) => ({ host: '127.0.0.1', port })), name: redis.name, ...redisOptions })
}

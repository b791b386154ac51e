import { EventEmitter } from 'node:events'
import type { Agent } from 'undici'
import { startDeadline } from '../collections/deadline.ts'
import { parseJson } from '../collections/json.ts'
import { diagnostics, ownCode, type CallEnd, type DiagnosticsChannel } from '../diagnostics.ts'
import { WebflowOAuthError, codeOf, describeForeign, isError, readMember, toError, type ErrorCode } from '../errors.ts'
import type { Dispatcher, ResponseBody } from '../options/dispatcher.ts'
import type { Endpoints } from '../options/endpoints.ts'
import type { WebflowUser } from '../options/webflow-token.ts'
import { isSuccess, readIssuedToken, readIntrospection, readRevocation, readUser, type WebflowAnswer, type IssuedToken, type Introspection, type Upstream } from './answers.ts'
import { readResolution, readSite, type Resolution, type SiteLookup } from './id-token-answers.ts'

/** The settings that the client needs. */
export interface ClientOptions {
  clientId: string
  clientSecret: string
  redirectUri: string
  endpoints: Endpoints
  timeout: number
  dispatcher: Dispatcher | null
}

const maxBodyLength = 64 * 1024
// A token may open thousands of sites, and its introspection lists an id of 24 digits for each of them.
const maxInstallationLength = 256 * 1024
// In milliseconds, and shorter than servers keep idle connections. Otherwise a request could go out on a connection that the
// server is just closing.
const keepAlive = 4000
// These codes mean that no connection was opened, so no byte of the request was sent.
const neverSent = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT'])
// Node's code for one address of a host that did not answer in time, see `wasNeverSent`.
const addressTimeout = new Set(['ETIMEDOUT'])
// Our own Agent never reports these, but a dispatcher of the app may have timers of its own.
const timeouts = new Set(['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT'])
const decoder = new TextDecoder()

/** A request to one of Webflow's endpoints. */
interface WebflowRequest {
  endpoint: keyof Endpoints | 'site'
  url: string
  method: 'GET' | 'POST'
  headers: Record<string, string>
  body: string | null
  maxLength: number
}

/** Sends requests to Webflow's endpoints. Each must be answered within `timeout`. */
export class WebflowClient {
  readonly #options: ClientOptions
  #undici: Promise<typeof import('undici')> | undefined
  /** The client's own Agent. It is made for the first request, unless the app has given a dispatcher. */
  #own: Agent | null = null

  constructor (options: ClientOptions) {
    this.#options = options
  }

  /** Exchanges a code for an access token (RFC 6749, section 4.1.3). */
  async exchange (code: string): Promise<IssuedToken> {
    const { clientId, clientSecret, redirectUri } = this.#options
    return await this.#observe(diagnostics.exchange, () => 'issued' as const, async () => readIssuedToken(await this.#post('token', {
      client_id: clientId,
      client_secret: clientSecret,
      code,
      grant_type: 'authorization_code',
      redirect_uri: redirectUri
    }), this.#options))
  }

  /** Revokes an access token. Webflow's revocation request is its own and does not follow RFC 7009. */
  async revoke (accessToken: string): Promise<Upstream> {
    const { clientId, clientSecret } = this.#options
    return await this.#observe(diagnostics.revoke, (upstream) => upstream, async () => readRevocation(await this.#post('revoke', {
      client_id: clientId,
      client_secret: clientSecret,
      access_token: accessToken
    }), this.#options))
  }

  /** Asks what a token opens. The token needs no particular scope. */
  async introspect (accessToken: string): Promise<Introspection> {
    return readIntrospection(await this.#get('introspect', accessToken))
  }

  /** Asks who granted a token; null when the token lacks the scope for this question. */
  async authorizedBy (accessToken: string): Promise<WebflowUser | null> {
    return readUser(await this.#get('authorizedBy', accessToken))
  }

  /** Asks who opened which site in the Designer, by the ID token of the extension and an access token of the app. */
  async resolve (accessToken: string, idToken: string): Promise<Resolution> {
    return readResolution(await this.#post('resolve', { idToken }, bearer(accessToken)))
  }

  /** Asks whether an access token opens a site. */
  async lookUpSite (accessToken: string, siteId: string): Promise<SiteLookup> {
    const url = new URL(`/v2/sites/${siteId}`, this.#options.endpoints.token).href
    return readSite(await this.#call({ endpoint: 'site', url, method: 'GET', headers: bearer(accessToken), body: null, maxLength: maxBodyLength }), siteId)
  }

  /**
   * Loads undici. The plugin calls this when the app starts, because loading undici takes longer than loading the rest of the
   * plugin. Later, in a busy app, the import may fail for lack of file descriptors, and Node never tries a failed import again.
   */
  async prepare (): Promise<typeof import('undici')> {
    return await (this.#undici ??= import('undici'))
  }

  /** Closes the client's own Agent once its running requests have ended. A dispatcher of the app stays open. */
  async close (): Promise<void> {
    await this.#own?.close()
  }

  /** Runs a call, and publishes how it ended and how long it took. */
  async #observe<T, Outcome extends string> (channel: DiagnosticsChannel<CallEnd<Outcome>>, outcomeOf: (value: T) => Outcome, call: () => Promise<T>): Promise<T> {
    const { clientId } = this.#options
    const startedAt = performance.now()
    const publish = (outcome: Outcome | 'failed', code: ErrorCode | null) => {
      channel.publish({ clientId, outcome, code, duration: performance.now() - startedAt })
    }
    try {
      const value = await call()
      publish(outcomeOf(value), null)
      return value
    } catch (error) {
      publish('failed', ownCode(error))
      throw error
    }
  }

  #post (endpoint: keyof Endpoints, fields: Record<string, string>, headers: Record<string, string> = {}): Promise<WebflowAnswer> {
    return this.#call({ endpoint, url: this.#options.endpoints[endpoint], method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(fields), maxLength: maxBodyLength })
  }

  #get (endpoint: 'introspect' | 'authorizedBy', accessToken: string): Promise<WebflowAnswer> {
    return this.#call({ endpoint, url: this.#options.endpoints[endpoint], method: 'GET', headers: bearer(accessToken), body: null, maxLength: maxInstallationLength })
  }

  /** Sends a request within `timeout`. Sends it a second time only if no connection was opened. */
  async #call (request: WebflowRequest): Promise<WebflowAnswer> {
    const { timeout } = this.#options
    // undici accepts an EventEmitter as a signal. It costs much less than an AbortController.
    const signal = new EventEmitter()
    let isOver = false
    return await new Promise((resolve, reject) => {
      const cancel = startDeadline(timeout, () => {
        reject(timedOut(request, timeout))
        isOver = true
        signal.emit('abort')
      })
      this.#send(request, signal)
        .catch((error: unknown) => {
          if (!wasNeverSent(error) || isOver) throw error
          return this.#send(request, signal)
        })
        .then(resolve, (thrown: unknown) => {
          const error = toError(thrown)
          reject(error instanceof WebflowOAuthError ? error : unreachable(error, request, timeout))
        })
        .finally(cancel)
    })
  }

  async #send ({ endpoint, url, method, headers, body, maxLength }: WebflowRequest, signal: EventEmitter): Promise<WebflowAnswer> {
    const { origin, pathname, search } = new URL(url)
    const dispatcher = this.#options.dispatcher ?? await this.#ownDispatcher()
    const response = await dispatcher.request({
      origin,
      path: `${pathname}${search}`,
      method,
      headers: { ...headers, accept: 'application/json', 'user-agent': 'fastify-webflow-oauth' },
      body,
      signal,
      // undici's own timers also count time in which this process was blocked, so `startDeadline` is used instead.
      headersTimeout: 0,
      bodyTimeout: 0,
      // Agents of undici 5 and 6 may follow redirects by default, and would send the credentials to the new URL.
      maxRedirections: 0
    })
    const text = await readBody(response.body, maxLength)
    if (text === null && isSuccess(response.statusCode)) {
      throw new WebflowOAuthError('WEBFLOW_OAUTH_WEBFLOW_RESPONSE_INVALID', `Webflow's endpoint \`${endpoint}\` answered with more than ${maxLength} bytes. Does a proxy answer in Webflow's place, or is a URL in \`endpoints\` wrong?`)
    }
    return { endpoint, status: response.statusCode, body: text === null ? undefined : parseJson(text) }
  }

  async #ownDispatcher (): Promise<Dispatcher> {
    const { Agent } = await this.prepare()
    this.#own ??= new Agent({
      // undici's connect timer is safe to use: unlike undici's other timers, it checks the socket once more before it gives up.
      connect: { timeout: Math.min(3000, Math.ceil(this.#options.timeout / 4)) },
      keepAliveTimeout: keepAlive,
      keepAliveMaxTimeout: keepAlive
    })
    return this.#own
  }
}

function bearer (accessToken: string): Record<string, string> {
  return { authorization: `Bearer ${accessToken}` }
}

/** Reads a body as text. If the body is too long, returns null and closes the connection. Events are faster than an async iterator. */
function readBody (body: ResponseBody, maxLength: number): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const chunks: Uint8Array[] = []
    let length = 0
    body.on('data', (chunk) => {
      length += chunk.length
      if (length <= maxLength) {
        chunks.push(chunk)
      } else {
        resolve(null)
        body.destroy()
      }
    })
    body.on('end', () => { resolve(decoder.decode(Buffer.concat(chunks))) })
    body.on('error', reject)
  })
}

/** Tells whether a request failed before a connection was opened. A second try then cannot send the request twice. */
function wasNeverSent (error: unknown): boolean {
  const errors = readMember(error, 'errors')
  // If Node has tried several addresses of the host, the error holds one error for each. A timeout of a single address, after
  // a quarter of a second, also means that no connection was opened.
  if (Array.isArray(errors)) return errors.length > 0 && errors.every((each) => hasCode(each, neverSent) || hasCode(each, addressTimeout))
  return hasCode(error, neverSent)
}

function hasCode (error: unknown, codes: ReadonlySet<string>): boolean {
  return isError(error) && codes.has(codeOf(error) ?? '')
}

function unreachable (error: Error, request: WebflowRequest, timeout: number): WebflowOAuthError {
  if (hasCode(error, timeouts)) return timedOut(request, timeout)
  return new WebflowOAuthError('WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE', `Webflow's endpoint \`${request.endpoint}\` could not be reached, or the connection broke. Can this machine resolve the host name? Does a firewall block the connection?`, { cause: describeForeign(error) })
}

function timedOut ({ endpoint }: WebflowRequest, timeout: number): WebflowOAuthError {
  return new WebflowOAuthError('WEBFLOW_OAUTH_WEBFLOW_TIMEOUT', `Webflow's endpoint \`${endpoint}\` did not answer within ${timeout} ms. Is Webflow down, or is the network slow? Try again later.`)
}

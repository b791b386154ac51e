import { Agent, request, type Dispatcher } from 'undici'
import { WebflowOAuthError, codeOf, describeForeign, type ErrorCode } from './errors.ts'
import { isObject, parseJson } from './json.ts'

export type { Dispatcher } from 'undici'

/** Where Webflow is asked. Each can be a simulator or a gateway. */
export interface Endpoints {
  /** The authorization endpoint. Defaults to `https://webflow.com/oauth/authorize`. */
  authorize: string
  /** The token endpoint. Defaults to `https://api.webflow.com/oauth/access_token`. */
  token: string
  /** The revocation endpoint. Defaults to `https://webflow.com/oauth/revoke_authorization`. */
  revoke: string
}

/** What Webflow granted for a code. */
export interface Grant {
  accessToken: string
  tokenType: string
  /** The granted scope, or null when Webflow does not say. */
  scope: readonly string[] | null
  /** How long the token lives, in seconds, or null when Webflow does not say. */
  expiresIn: number | null
}

/** How a revocation ended at Webflow: an unknown token counts as revoked already. */
export type Upstream = 'revoked' | 'already_revoked'

/** What the client needs to know of the app. */
export interface ClientOptions {
  clientId: string
  clientSecret: string
  redirectUri: string
  endpoints: Endpoints
  timeout: number
  dispatcher: Dispatcher | null
}

interface Answer {
  status: number
  /** The parsed body, or undefined when it is no JSON. */
  body: unknown
}

const maxBodyLength = 64 * 1024
// Below the idle limit of any server, so that no request is written to a connection that is being closed.
const keepAlive = 4000
// With these no connection was opened, so that no byte of the request can have left.
const neverSent = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT'])
const timeouts = new Set(['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT'])

/** Speaks to Webflow's token and revocation endpoints, each call within its deadline. */
export class WebflowClient {
  readonly #options: ClientOptions
  readonly #own: Agent | null = null
  readonly #dispatcher: Dispatcher

  constructor (options: ClientOptions) {
    const { dispatcher, timeout } = options
    this.#options = options
    if (dispatcher !== null) {
      this.#dispatcher = dispatcher
      return
    }
    this.#own = new Agent({
      connect: { timeout: Math.min(3000, Math.ceil(timeout / 4)) },
      keepAliveTimeout: keepAlive,
      keepAliveMaxTimeout: keepAlive
    })
    this.#dispatcher = this.#own
  }

  /** Exchanges a code for an access token (RFC 6749, section 4.1.3). */
  async exchange (code: string): Promise<Grant> {
    const { clientId, clientSecret, redirectUri, endpoints } = this.#options
    const answer = await this.#post(endpoints.token, {
      client_id: clientId,
      client_secret: clientSecret,
      code,
      grant_type: 'authorization_code',
      redirect_uri: redirectUri
    })
    if (errorOf(answer.body) === 'invalid_grant') {
      throw failure('WEBFLOW_OAUTH_CODE_REJECTED', 'Webflow rejected the code: it was used before, it is older than 15 minutes, or `redirectUri` is not exactly the one registered with Webflow.')
    }
    return readGrant(answer) ?? refuse(answer, 'exchange the code')
  }

  /** Revokes an access token by Webflow's own request, which is not that of RFC 7009. */
  async revoke (accessToken: string): Promise<Upstream> {
    const { clientId, clientSecret, endpoints } = this.#options
    const answer = await this.#post(endpoints.revoke, {
      client_id: clientId,
      client_secret: clientSecret,
      access_token: accessToken
    })
    if (errorOf(answer.body) === 'invalid_token') return 'already_revoked'
    return hasRevoked(answer) ? 'revoked' : refuse(answer, 'revoke the token')
  }

  /** Closes the connections that the client opened, after what is under way; never a dispatcher it was given. */
  async close (): Promise<void> {
    await this.#own?.close()
  }

  async #post (url: string, fields: Record<string, string>): Promise<Answer> {
    const { timeout } = this.#options
    const controller = new AbortController()
    const body = JSON.stringify(fields)
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(timedOut(timeout))
        controller.abort()
      }, timeout)
      this.#send(url, body, controller.signal)
        .catch((error: unknown) => {
          if (!isNeverSent(error) || controller.signal.aborted) throw error
          return this.#send(url, body, controller.signal)
        })
        .then(resolve, (error: unknown) => {
          reject(error instanceof WebflowOAuthError ? error : unreachable(error, timeout))
        })
        .finally(() => clearTimeout(timer))
    })
  }

  async #send (url: string, body: string, signal: AbortSignal): Promise<Answer> {
    const { timeout } = this.#options
    const response = await request(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json', 'user-agent': 'fastify-webflow-oauth' },
      body,
      signal,
      dispatcher: this.#dispatcher,
      headersTimeout: timeout,
      bodyTimeout: timeout
    })
    return { status: response.statusCode, body: parseJson(await readBody(response.body)) }
  }
}

async function readBody (body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of body) {
    length += chunk.length
    if (length > maxBodyLength) throw invalidResponse(`Webflow answered with more than ${maxBodyLength} bytes.`)
    chunks.push(chunk)
  }
  return new TextDecoder().decode(Buffer.concat(chunks))
}

function isSuccess (status: number): boolean {
  return status >= 200 && status <= 299
}

function errorOf (body: unknown): string | null {
  return isObject(body) && typeof body.error === 'string' ? body.error : null
}

function readGrant ({ status, body }: Answer): Grant | null {
  if (!isSuccess(status) || !isObject(body) || errorOf(body) !== null) return null
  const { access_token: accessToken, token_type: tokenType, scope, expires_in: expiresIn } = body
  if (typeof accessToken !== 'string' || accessToken === '') return null
  // Webflow separates by comma in introspection, by space everywhere else.
  const granted = typeof scope === 'string' ? scope.split(/[\s,]+/).filter((name) => name !== '') : []
  const seconds = typeof expiresIn === 'string' ? Number(expiresIn) : expiresIn
  return {
    accessToken,
    tokenType: typeof tokenType === 'string' && tokenType !== '' ? tokenType : 'bearer',
    scope: granted.length > 0 ? granted : null,
    expiresIn: typeof seconds === 'number' && Number.isFinite(seconds) && seconds > 0 ? seconds : null
  }
}

function hasRevoked ({ status, body }: Answer): boolean {
  if (!isSuccess(status) || !isObject(body) || errorOf(body) !== null) return false
  return body.did_revoke === true || body.didRevoke === true
}

/** Turns an answer that is not what was asked for into an error. The `error` member decides before the status. */
function refuse ({ status, body }: Answer, purpose: string): never {
  const error = errorOf(body)
  if (error === 'invalid_client' || error === 'unauthorized_client' || status === 401 || status === 403) {
    throw failure('WEBFLOW_OAUTH_CLIENT_REJECTED', 'Webflow rejected the app\'s credentials: check `clientId` and `clientSecret`.')
  }
  if (status === 429 || status >= 500) {
    throw failure('WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE', `Webflow could not ${purpose}: it answered with status ${status}.`)
  }
  throw invalidResponse(`Webflow did not ${purpose}: its answer, with status ${status}, is not one that the plugin knows.`)
}

function isNeverSent (error: unknown): boolean {
  // Every address of a host failed: Node wraps what became of each, and gives some of them a quarter of a second only.
  if (error instanceof AggregateError) return error.errors.length > 0 && error.errors.every((each) => isNeverSent(each) || hasCode(each, 'ETIMEDOUT'))
  return error instanceof Error && neverSent.has(codeOf(error) ?? '')
}

function hasCode (error: unknown, code: string): boolean {
  return error instanceof Error && codeOf(error) === code
}

function unreachable (error: unknown, timeout: number): WebflowOAuthError {
  if (error instanceof Error && timeouts.has(codeOf(error) ?? '')) return timedOut(timeout)
  return failure('WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE', 'Webflow could not be reached, or the connection broke.', describeForeign(error))
}

function timedOut (timeout: number): WebflowOAuthError {
  return failure('WEBFLOW_OAUTH_WEBFLOW_TIMEOUT', `Webflow did not answer within ${timeout} ms.`)
}

function invalidResponse (message: string): WebflowOAuthError {
  return failure('WEBFLOW_OAUTH_WEBFLOW_RESPONSE_INVALID', message)
}

function failure (code: ErrorCode, message: string, cause?: Error): WebflowOAuthError {
  return new WebflowOAuthError(code, message, { cause })
}

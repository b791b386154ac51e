const statusCodes = {
  WEBFLOW_OAUTH_INVALID_OPTION: 500,
  WEBFLOW_OAUTH_INVALID_CALLBACK: 400,
  WEBFLOW_OAUTH_STATE_INVALID: 400,
  WEBFLOW_OAUTH_ACCESS_DENIED: 403,
  WEBFLOW_OAUTH_AUTHORIZATION_FAILED: 400,
  WEBFLOW_OAUTH_CODE_REJECTED: 400,
  WEBFLOW_OAUTH_CLIENT_REJECTED: 500,
  WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE: 502,
  WEBFLOW_OAUTH_WEBFLOW_TIMEOUT: 504,
  WEBFLOW_OAUTH_WEBFLOW_RESPONSE_INVALID: 502,
  WEBFLOW_OAUTH_STORE_UNAVAILABLE: 503,
  WEBFLOW_OAUTH_TOKEN_REQUIRED: 401,
  WEBFLOW_OAUTH_TOKEN_NOT_LOADED: 500,
  WEBFLOW_OAUTH_SCOPE_MISSING: 403,
  WEBFLOW_OAUTH_USER_REQUIRED: 401,
  WEBFLOW_OAUTH_CROSS_SITE: 403,
  WEBFLOW_OAUTH_WEBHOOK_INVALID: 401,
  WEBFLOW_OAUTH_ID_TOKEN_INVALID: 401,
  WEBFLOW_OAUTH_INVALID_REQUEST: 400,
  WEBFLOW_OAUTH_TOO_MANY_REQUESTS: 429
} as const

/** A code of the plugin's errors. The list is closed. */
export type ErrorCode = keyof typeof statusCodes

/** Why a callback's `state` was refused: the `reason` of `WEBFLOW_OAUTH_STATE_INVALID`. */
export type StateReason =
  | 'state_missing'
  | 'malformed'
  | 'expired'
  | 'already_used'
  | 'host_mismatch'
  | 'cookie_missing'
  | 'other_browser'
  | 'other_user'

/** Why a webhook was refused: the `reason` of `WEBFLOW_OAUTH_WEBHOOK_INVALID`. */
export type WebhookReason =
  | 'signature_missing'
  | 'signature_invalid'
  | 'stale'
  | 'body_invalid'

/** Optional details of an error. */
export interface ErrorDetails {
  /** A word from a closed list that names the case, if the code covers several. */
  reason?: string | undefined
  /** The error that caused this one, already reduced by `describeForeign`. */
  cause?: Error | undefined
  /** A status other than the code's usual one, for example 400 when the wrong argument came from a client. */
  statusCode?: number | undefined
  /** The URL at which a person can connect the app, if that is the remedy. */
  authorizeUrl?: string | undefined
  /** How long the client must wait before it sends the request again, in seconds. */
  retryAfter?: number | undefined
}

/**
 * The only error class of the plugin.
 *
 * Its message, cause and stack never hold an authorization code, a state, a token, a secret, a cookie or the body of an
 * answer. An app may log it and show it as it is.
 */
export class WebflowOAuthError extends Error {
  override readonly name = 'WebflowOAuthError'
  /** The code of the failure, from a closed list. */
  readonly code: ErrorCode
  /** The HTTP status of the answer. Fastify reads it. */
  readonly statusCode: number
  /** Which case of the code this is, if the code covers several. */
  declare readonly reason?: string
  /** The URL of the authorize route with `popup=1`. An extension in the Designer sends a person there to connect the app. */
  declare readonly authorizeUrl?: string
  /** Headers of the answer: `retry-after` with `WEBFLOW_OAUTH_TOO_MANY_REQUESTS`. Fastify sends the headers of an error. */
  declare readonly headers?: { readonly 'retry-after': string }

  constructor (code: ErrorCode, message: string, { reason, cause, statusCode, authorizeUrl, retryAfter }: ErrorDetails = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.statusCode = statusCode ?? statusCodes[code]
    if (reason !== undefined) this.reason = reason
    if (authorizeUrl !== undefined) this.authorizeUrl = authorizeUrl
    if (retryAfter !== undefined) this.headers = { 'retry-after': String(retryAfter) }
  }

  /**
   * The same as `statusCode`, under the name that http-errors uses. NestJS keeps the status of an error only if the error
   * has `statusCode`, `status` and `expose`.
   */
  get status (): number {
    return this.statusCode
  }

  /** Whether a framework may show the message to the client: true below 500. */
  get expose (): boolean {
    return this.statusCode < 500
  }
}

/** Throws the error for a wrong option or argument. `problem` says what is wrong with it and gives the remedy. */
export function refuseOption (option: string, problem: string, details?: ErrorDetails): never {
  throw new WebflowOAuthError('WEBFLOW_OAUTH_INVALID_OPTION', `\`${option}\` ${problem}${problem.endsWith('?') ? '' : '.'}`, details)
}

/** Refuses unknown, perhaps misspelled, options of a call. */
export function refuseUnknown (options: object, known: readonly string[]): void {
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) refuseOption(name, `is not an option of this call: its options are ${known.join(', ')}`)
  }
}

/** Tells whether a string is one of the plugin's codes. */
export function isErrorCode (value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(statusCodes, value)
}

/** The form of the names and codes that a description of a foreign error may hold. */
const plainWord = /^[A-Za-z_][\w.-]{0,63}$/
// The members of an error that Fastify and loggers read.
const readByOthers = ['name', 'message', 'stack', 'code', 'cause', 'statusCode', 'status', 'headers', 'validation', 'toJSON']

/** Tells whether a value is an Error. Never throws, whereas `instanceof` throws for a revoked Proxy. */
export function isError (value: unknown): value is Error {
  return attempt(() => value instanceof Error) === true
}

/** Reads a member of a foreign value; undefined when the member is missing or reading it throws. Never throws. */
export function readMember (value: unknown, name: string): unknown {
  return attempt(() => Object(value)[name])
}

/**
 * Reduces a foreign error, which is any error that the plugin did not make, to its name, its code and the lines of its
 * stack. Never throws, for any value.
 * The message is dropped, because it may hold secrets: ioredis puts keys and values into it, and HTTP clients the request.
 */
export function describeForeign (thrown: unknown): Error {
  if (!isError(thrown)) return withoutStack(new Error('Something that is not an Error was thrown.'))
  const [name, message, stack] = ['name', 'message', 'stack'].map((member) => readMember(thrown, member))
  const code = codeOf(thrown)
  const word = typeof name === 'string' && plainWord.test(name) ? name : 'Error'
  const description = new Error(code === null ? word : `${word} ${code}`)
  if (typeof name !== 'string' || typeof message !== 'string' || typeof stack !== 'string') return withoutStack(description)
  const head = `${name}: ${message}\n`
  // The stack begins with the name and the message, which must be cut off. A stack that begins in any other way is dropped:
  // nobody knows where its message ends.
  if (!stack.startsWith(head)) return withoutStack(description)
  description.stack = `Error: ${description.message}\n${stack.slice(head.length)}`
  return description
}

/** Reads the `code` of an error; null unless it is a plain word, like the codes of Node, undici and Fastify. */
export function codeOf (error: Error): string | null {
  const code = readMember(error, 'code')
  return typeof code === 'string' && plainWord.test(code) ? code : null
}

/** Reads the HTTP status of an error from the members that Fastify reads too; 500 when it has none. */
export function statusOf (error: Error): number {
  return [readMember(error, 'statusCode'), readMember(error, 'status')].find(isFailureStatus) ?? 500
}

/**
 * Returns the thrown value itself if it is an Error whose members can be read. Returns a new Error for any other value. An
 * Error with a getter that throws is replaced too, because it would break Fastify and loggers.
 */
export function toError (thrown: unknown): Error {
  const isReadable = isError(thrown) && attempt(() => readByOthers.map((name) => Reflect.get(thrown, name))) !== undefined
  return isReadable ? thrown : describeForeign(thrown)
}

function isFailureStatus (status: unknown): status is number {
  return typeof status === 'number' && Number.isInteger(status) && status >= 400 && status <= 599
}

function withoutStack (error: Error): Error {
  error.stack = `${error.name}: ${error.message}`
  return error
}

function attempt<T> (read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}

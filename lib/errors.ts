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
  WEBFLOW_OAUTH_CROSS_SITE: 403
} as const

/** The closed list of codes that the plugin's errors carry. */
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

/** What may accompany an error. */
export interface ErrorDetails {
  /** A word from a closed list that says which case of the code it is. */
  reason?: string | undefined
  /** The error behind this one, already reduced to its name and code. */
  cause?: Error | undefined
  /** The status where it is not the code's own: an argument may come from a stranger. */
  statusCode?: number | undefined
}

/**
 * The one error class of the plugin.
 *
 * Message, cause and stack never hold a code, a state, a token, a secret, a cookie or the body of an
 * answer: it may be logged and shown as it is.
 */
export class WebflowOAuthError extends Error {
  override readonly name = 'WebflowOAuthError'
  /** Which failure it is. */
  readonly code: ErrorCode
  /** The HTTP status that answers it; Fastify uses it. */
  readonly statusCode: number
  /** Which case of the code it is, where there are several. */
  declare readonly reason?: string

  constructor (code: ErrorCode, message: string, { reason, cause, statusCode }: ErrorDetails = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.statusCode = statusCode ?? statusCodes[code]
    if (reason !== undefined) this.reason = reason
  }

  /** The same as `statusCode`, under the name that http-errors gives it: NestJS keeps the status of an error that has both and `expose`. */
  get status (): number {
    return this.statusCode
  }

  /** Whether a framework may show the message to the client: true below 500. */
  get expose (): boolean {
    return this.statusCode < 500
  }
}

/** Throws the error for an option, or an argument, that cannot be used: which one, what is wrong with it, and the remedy. */
export function refuseOption (option: string, problem: string, details?: ErrorDetails): never {
  throw new WebflowOAuthError('WEBFLOW_OAUTH_INVALID_OPTION', `\`${option}\` ${problem}${problem.endsWith('?') ? '' : '.'}`, details)
}

/** Refuses what is misspelled among the options of a call. */
export function refuseUnknown (options: object, known: readonly string[]): void {
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) refuseOption(name, `is not an option here: there are ${known.join(', ')}`)
  }
}

/** Tells whether a string is one of the plugin's codes. */
export function isErrorCode (value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(statusCodes, value)
}

const words = /^[A-Za-z_][\w.-]{0,63}$/
// What Fastify and loggers read of an error.
const readByOthers = ['name', 'message', 'stack', 'code', 'cause', 'statusCode', 'status', 'headers', 'validation', 'toJSON']

/** Tells whether a value is an Error. Never throws, whereas `instanceof` throws for a revoked Proxy. */
export function isError (value: unknown): value is Error {
  return attempt(() => value instanceof Error) === true
}

/** Reads a member of a foreign value; undefined when there is none, and when reading it throws. Never throws. */
export function readMember (value: unknown, name: string): unknown {
  return attempt(() => Object(value)[name])
}

/**
 * Reduces a foreign error to its name, its code and the places in the code it came from. Never throws, whatever it is given.
 * The message is dropped: ioredis puts keys and values there, an HTTP client the request.
 */
export function describeForeign (thrown: unknown): Error {
  if (!isError(thrown)) return withoutStack(new Error('Something that is not an Error was thrown.'))
  const [name, message, stack] = ['name', 'message', 'stack'].map((member) => readMember(thrown, member))
  const code = codeOf(thrown)
  const word = typeof name === 'string' && words.test(name) ? name : 'Error'
  const description = new Error(code === null ? word : `${word} ${code}`)
  if (typeof name !== 'string' || typeof message !== 'string' || typeof stack !== 'string') return withoutStack(description)
  const head = `${name}: ${message}\n`
  // Only a stack that begins as Node writes it tells where the message ends.
  if (!stack.startsWith(head)) return withoutStack(description)
  description.stack = `Error: ${description.message}\n${stack.slice(head.length)}`
  return description
}

/** Reads the `code` of an error where it is a plain word, as Node, undici and Fastify give it. */
export function codeOf (error: Error): string | null {
  const code = readMember(error, 'code')
  return typeof code === 'string' && words.test(code) ? code : null
}

/** The HTTP status that an error asks for, by the names that Fastify knows; 500 when it asks for none. */
export function statusOf (error: Error): number {
  return [readMember(error, 'statusCode'), readMember(error, 'status')].find(isFailureStatus) ?? 500
}

/** Makes an error of what was thrown that may be handed on: an Error which throws when it is read would fail whoever logs or answers it. */
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

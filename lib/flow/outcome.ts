import { isObject } from '../collections/json.ts'
import { WebflowOAuthError, isErrorCode, readMember, statusOf } from '../errors.ts'

/**
 * How a flow ended. The plugin stores it, so that a repeated callback gets the same answer. It is stored unsealed, so it
 * holds no secret: no token, no session id, no error message.
 */
export type Outcome =
  | {
    kind: 'connected'
    /** The id of the key from which the session id was derived. */
    keyId: string
  }
  | FailedOutcome

/** The error with which a flow ended. */
export interface FailedOutcome {
  kind: 'failed'
  statusCode: number
  /** The code of the error: one of the plugin's codes, or a hook's own code if that is short and plain. */
  code?: string | number
  /** The reason of the error, if it is short and plain. */
  reason?: string
}

// At most 40 characters, which is shorter than any token: a hook's code or reason cannot put a token into the store.
const plain = /^[\w ./:-]{1,40}$/

/** Describes the error with which a flow ended. */
export function createOutcome (error: Error): FailedOutcome {
  return failed(statusOf(error), { code: readMember(error, 'code'), reason: readMember(error, 'reason') })
}

/** Makes an error with the same status, code and reason as the error with which a flow ended. */
export function restoreError ({ statusCode, code, reason }: FailedOutcome): Error {
  const message = 'The attempt to connect has failed with this error before, and its callback was opened again. Start a new attempt at the authorize route.'
  if (isErrorCode(code)) return new WebflowOAuthError(code, message, { reason, statusCode })
  return Object.assign(new Error(message), { statusCode }, code === undefined ? {} : { code }, reason === undefined ? {} : { reason })
}

/** Reads a stored outcome; null when the value is not an outcome. */
export function parseOutcome (value: unknown): Outcome | null {
  if (!isObject(value)) return null
  if (value.kind === 'connected') return typeof value.keyId === 'string' ? { kind: 'connected', keyId: value.keyId } : null
  return value.kind === 'failed' && typeof value.statusCode === 'number' ? failed(value.statusCode, value) : null
}

function failed (statusCode: number, { code, reason }: { code?: unknown, reason?: unknown }): FailedOutcome {
  return {
    kind: 'failed',
    statusCode,
    ...(typeof code === 'number' || isPlain(code) ? { code } : {}),
    ...(isPlain(reason) ? { reason } : {})
  }
}

function isPlain (value: unknown): value is string {
  return typeof value === 'string' && plain.test(value)
}

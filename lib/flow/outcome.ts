import { isObject } from '../collections/json.ts'
import { WebflowOAuthError, isErrorCode, readMember, statusOf } from '../errors.ts'

/** How a flow ended; kept sealed for a minute, so that the same callback gets the same answer. Never a token. */
export type Outcome =
  | { kind: 'connected', tokenId: string, sessionId: string | null, returnTo: string }
  | FailedOutcome

/** The error with which a flow ended. */
export interface FailedOutcome {
  kind: 'failed'
  message: string
  statusCode: number
  /** A code of ours, or whatever code the error of a hook had. */
  code?: string | number
  reason?: string
}

/** Describes the error with which a flow ended. */
export function createOutcome (error: Error): FailedOutcome {
  const [message, code, reason] = ['message', 'code', 'reason'].map((name) => readMember(error, name))
  return failed(typeof message === 'string' ? message : '', statusOf(error), { code, reason })
}

/** Makes the error again with which a flow ended. */
export function restoreError ({ message, statusCode, code, reason }: FailedOutcome): Error {
  if (isErrorCode(code)) return new WebflowOAuthError(code, message, { reason, statusCode })
  return Object.assign(new Error(message), { statusCode }, code === undefined ? {} : { code }, reason === undefined ? {} : { reason })
}

/** Reads an outcome that was stored; null when it is none. */
export function parseOutcome (value: unknown): Outcome | null {
  if (!isObject(value)) return null
  if (value.kind === 'connected') {
    const { tokenId, sessionId, returnTo } = value
    if (typeof tokenId !== 'string' || typeof returnTo !== 'string' || (sessionId !== null && typeof sessionId !== 'string')) return null
    return { kind: 'connected', tokenId, sessionId, returnTo }
  }
  const { message, statusCode } = value
  if (typeof message !== 'string' || typeof statusCode !== 'number') return null
  return failed(message, statusCode, value)
}

function failed (message: string, statusCode: number, { code, reason }: { code?: unknown, reason?: unknown }): FailedOutcome {
  return {
    kind: 'failed',
    message,
    statusCode,
    ...(typeof code === 'string' || typeof code === 'number' ? { code } : {}),
    ...(typeof reason === 'string' ? { reason } : {})
  }
}

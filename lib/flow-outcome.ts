import { WebflowOAuthError, codeOf, isErrorCode, statusOf } from './errors.ts'
import { isObject } from './json.ts'

/** How a flow ended; kept sealed for a minute, so that the same callback gets the same answer. Never a token. */
export type Outcome =
  | { kind: 'connected', tokenId: string, sessionId: string | null, returnTo: string }
  | FailedOutcome

/** The error with which a flow ended. */
export interface FailedOutcome {
  kind: 'failed'
  message: string
  code: string | null
  reason: string | null
  statusCode: number
}

/** Describes the error with which a flow ended. */
export function createOutcome (error: Error): FailedOutcome {
  const reason = error instanceof WebflowOAuthError ? error.reason ?? null : null
  return { kind: 'failed', message: error.message, code: codeOf(error), reason, statusCode: statusOf(error) }
}

/** Makes the error again with which a flow ended. */
export function restoreError ({ message, code, reason, statusCode }: FailedOutcome): Error {
  if (isErrorCode(code)) return new WebflowOAuthError(code, message, { reason: reason ?? undefined })
  return Object.assign(new Error(message), { statusCode }, code === null ? {} : { code })
}

/** Reads an outcome that was stored; null when it is none. */
export function parseOutcome (value: unknown): Outcome | null {
  if (!isObject(value)) return null
  if (value.kind === 'connected') {
    const { tokenId, sessionId, returnTo } = value
    if (typeof tokenId !== 'string' || typeof returnTo !== 'string' || (sessionId !== null && typeof sessionId !== 'string')) return null
    return { kind: 'connected', tokenId, sessionId, returnTo }
  }
  const { message, code, reason, statusCode } = value
  if (typeof message !== 'string' || typeof statusCode !== 'number') return null
  if ((code !== null && typeof code !== 'string') || (reason !== null && typeof reason !== 'string')) return null
  return { kind: 'failed', message, code, reason, statusCode }
}

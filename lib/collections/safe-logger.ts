import type { FastifyBaseLogger } from 'fastify'

/** The levels that every logger has. */
export const levels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const

/**
 * Logs a line and never throws. The app's logger throws when one of its serializers, formatters or mixins throws. Then the
 * text of the line is logged without the objects beside it. If that fails too, the line is lost.
 */
export function logSafely (log: (args: readonly unknown[]) => unknown, args: readonly unknown[]): unknown {
  try {
    return log(args)
  } catch {
    const text = args.filter((arg) => typeof arg === 'string').join(' ')
    try {
      return log([`${text} [the logger threw an error; the rest of this line is lost]`])
    } catch {
      return undefined
    }
  }
}

/**
 * Makes a logger that never throws. The plugin writes many lines in timers and after the answer was sent, where nothing
 * catches an error: the error would end the process, or leave a promise pending.
 */
export function createSafeLogger (logger: FastifyBaseLogger): FastifyBaseLogger {
  // The methods are replaced on a new object, because the logger belongs to the app and may be frozen.
  const safe: FastifyBaseLogger = Object.create(logger)
  for (const level of levels) {
    // The method is read for each line: pino replaces its methods when the level changes.
    const value = (...args: unknown[]): unknown => logSafely((given) => Reflect.apply(logger[level], logger, given), args)
    Object.defineProperty(safe, level, { value })
  }
  return safe
}

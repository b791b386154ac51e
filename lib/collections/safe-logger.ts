import type { FastifyBaseLogger } from 'fastify'

/** The levels that every logger has. */
export const levels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const

/**
 * Logs a line and never throws. A logger of the app's throws when one of its serializers, formatters or mixins does.
 * Then the text of the line is logged without the objects beside it; if that fails too, the line is lost.
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
 * Makes a logger whose lines never throw. Many lines of the plugin are written where nobody would catch an error,
 * in timers and behind answers: it would end the process, or leave a promise pending.
 */
export function createSafeLogger (logger: FastifyBaseLogger): FastifyBaseLogger {
  // The logger itself stays as it is: it is the app's, and may be frozen.
  const safe: FastifyBaseLogger = Object.create(logger)
  for (const level of levels) {
    // The method is read for each line: pino replaces its methods when the level changes.
    const value = (...args: unknown[]): unknown => logSafely((given) => Reflect.apply(logger[level], logger, given), args)
    Object.defineProperty(safe, level, { value })
  }
  return safe
}

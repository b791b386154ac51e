import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { createCleaner, Redaction } from './redaction.ts'

type Clean = (text: string) => string
type ChildLoggerFactory = FastifyInstance['childLoggerFactory']

/**
 * Wraps the factory that makes the logger of a request, so that no line about the request holds its code or state,
 * whatever logger, serializers and formatters the app has.
 */
export function quietFactory (current: () => ChildLoggerFactory): ChildLoggerFactory {
  return function (logger, bindings, options, request) {
    const clean = createCleaner(request)
    const redaction = new Redaction(clean)
    return quietLogger(Reflect.apply(current(), this, [logger, redaction.show(bindings), options, redaction.show(request)]), clean)
  }
}

/** Wraps a logger and all its children: whatever they are given to log is shown to them without its secrets. */
function quietLogger (logger: FastifyBaseLogger, clean: Clean): FastifyBaseLogger {
  // The Proxy is not made for the logger itself: the methods of a frozen logger could not be replaced.
  const members: FastifyBaseLogger = Object.create(null)
  const quiet = new Proxy(members, {
    get (_members, key) {
      const method: unknown = Reflect.get(logger, key, logger)
      if (typeof method !== 'function') return method
      return (...args: unknown[]): unknown => {
        if (isIdle(method)) return undefined
        const redaction = new Redaction(clean)
        const result: unknown = Reflect.apply(method, logger, args.map((arg) => redaction.show(arg)))
        if (result === logger) return quiet
        return isLogger(result) ? quietLogger(result, clean) : result
      }
    },
    set: (_members, key, value) => Reflect.set(logger, key, value, logger),
    has: (_members, key) => Reflect.has(logger, key),
    getPrototypeOf: () => Object.getPrototypeOf(logger)
  })
  return quiet
}

/** Tells whether a method does nothing: pino puts such a one in place of a level that is off. */
function isIdle (method: object): boolean {
  return /^function \w*\s*\(\)\s*\{\s*\}$/.test(Function.prototype.toString.call(method))
}

function isLogger (value: unknown): value is FastifyBaseLogger {
  return typeof value === 'object' && value !== null && 'info' in value && 'child' in value
}

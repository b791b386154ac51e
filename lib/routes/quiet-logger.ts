import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { levels, logSafely } from '../collections/safe-logger.ts'
import { createCleaner, Redaction, type Cleaner } from './redaction.ts'

type ChildLoggerFactory = FastifyInstance['childLoggerFactory']

const levelNames: ReadonlySet<unknown> = new Set(levels)

/**
 * Wraps the factory that makes a request's logger. No line of such a logger holds the request's code or state,
 * whatever serializers and formatters the app has. `current` returns the app's factory, which may change after `register`.
 */
export function quietFactory (current: () => ChildLoggerFactory): ChildLoggerFactory {
  return function (logger, bindings, options, request) {
    const clean = createCleaner(request)
    const redaction = new Redaction(clean)
    const child: FastifyBaseLogger = Reflect.apply(current(), this, [logger, redaction.show(bindings), options, redaction.show(request)])
    // Without the option `logger`, Fastify uses a logger that does nothing and is its own child. It needs no wrapper.
    return child === logger && levels.every((level) => isIdle(child[level])) ? child : quietLogger(child, clean)
  }
}

/**
 * Wraps a logger and all its children, so that they get their arguments without secrets.
 * If the logger throws while it writes a line, the request goes on.
 */
function quietLogger (logger: FastifyBaseLogger, clean: Cleaner): FastifyBaseLogger {
  // The target is an empty object: a Proxy around a frozen logger would have to return the logger's own methods.
  const target: FastifyBaseLogger = Object.create(null)
  const quiet = new Proxy(target, {
    get (_target, key) {
      const method: unknown = Reflect.get(logger, key, logger)
      if (typeof method !== 'function') return method
      return (...args: unknown[]): unknown => {
        if (isIdle(method)) return undefined
        const call = (given: readonly unknown[]): unknown => {
          const redaction = new Redaction(clean)
          return Reflect.apply(method, logger, given.map((arg) => redaction.show(arg)))
        }
        const result = levelNames.has(key) ? logSafely(call, args) : call(args)
        if (result === logger) return quiet
        return isLogger(result) ? quietLogger(result, clean) : result
      }
    },
    set: (_target, key, value) => Reflect.set(logger, key, value, logger),
    has: (_target, key) => Reflect.has(logger, key),
    getPrototypeOf: () => Object.getPrototypeOf(logger)
  })
  return quiet
}

/** Whether a method does nothing, for each method that was examined. */
const idle = new WeakMap<object, boolean>()

/** Tells whether a method has an empty body, like pino's methods for levels that are off, and all methods of Fastify's logger that does nothing. */
function isIdle (method: object): boolean {
  const known = idle.get(method)
  if (known !== undefined) return known
  const found = /^function \w*\s*\(\)\s*\{\s*\}$/.test(Function.prototype.toString.call(method))
  idle.set(method, found)
  return found
}

function isLogger (value: unknown): value is FastifyBaseLogger {
  return typeof value === 'object' && value !== null && 'info' in value && 'child' in value
}

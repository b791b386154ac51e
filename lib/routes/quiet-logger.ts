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
    // Without the option `logger`, nothing is written: nothing has to be made, and nothing redacted, for any request.
    if (isSilent(logger) && kindOf(current()) === 'child') return logger
    const clean = createCleaner(request)
    const redaction = new Redaction(clean)
    const child: FastifyBaseLogger = Reflect.apply(current(), this, [logger, redaction.show(bindings), options, redaction.show(request)])
    return quietLogger(child, clean)
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
        if (kindOf(method) === 'idle') return undefined
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

/** What the source of a function shows: `idle` does nothing, and `child` does nothing but call the logger's `child`. */
type Kind = 'idle' | 'child' | 'other'

/** Like pino's methods for levels that are off, and all methods of Fastify's logger that does nothing. */
const idleSource = /^function \w*\s*\(\)\s*\{\s*\}$/
/** Like Fastify's own factory, which Fastify does not export. */
const childSource = /^function \w+ \((\w+), (\w+), (\w+)\) \{\s*return \1\.child\(\2, \3\)\s*\}$/

/** The kind of each function that was examined. */
const kinds = new WeakMap<object, Kind>()

function kindOf (method: object): Kind {
  const known = kinds.get(method)
  if (known !== undefined) return known
  const source = Function.prototype.toString.call(method)
  const kind = idleSource.test(source) ? 'idle' : childSource.test(source) ? 'child' : 'other'
  kinds.set(method, kind)
  return kind
}

/** Tells whether a logger writes nothing and is its own child, like the one that Fastify uses without the option `logger`. */
function isSilent (logger: FastifyBaseLogger): boolean {
  return levels.every((level) => kindOf(logger[level]) === 'idle') && logger.child({}) === logger
}

function isLogger (value: unknown): value is FastifyBaseLogger {
  return typeof value === 'object' && value !== null && 'info' in value && 'child' in value
}

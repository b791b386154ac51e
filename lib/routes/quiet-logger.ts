import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { levels, logSafely } from '../collections/safe-logger.ts'
import { createCleaner, Redaction } from './redaction.ts'

type Clean = (text: string) => string
type ChildLoggerFactory = FastifyInstance['childLoggerFactory']

const levelNames: ReadonlySet<unknown> = new Set(levels)

/**
 * Wraps the factory that makes the logger of a request, so that no line about the request holds its code or state,
 * whatever logger, serializers and formatters the app has.
 */
export function quietFactory (current: () => ChildLoggerFactory): ChildLoggerFactory {
  return function (logger, bindings, options, request) {
    const clean = createCleaner(request)
    const redaction = new Redaction(clean)
    const child: FastifyBaseLogger = Reflect.apply(current(), this, [logger, redaction.show(bindings), options, redaction.show(request)])
    // Without a logger, Fastify has one that does nothing and is its own child.
    return child === logger && levels.every((level) => isIdle(child[level])) ? child : quietLogger(child, clean)
  }
}

/**
 * Wraps a logger and all its children: whatever they are given to log is shown to them without its secrets.
 * A line for which the logger throws fails no request.
 */
function quietLogger (logger: FastifyBaseLogger, clean: Clean): FastifyBaseLogger {
  // The Proxy is not made for the logger itself: the methods of a frozen logger could not be replaced.
  const stage: FastifyBaseLogger = Object.create(null)
  return new Proxy(stage, new QuietMethods(logger, clean))
}

class QuietMethods implements ProxyHandler<FastifyBaseLogger> {
  readonly #logger: FastifyBaseLogger
  readonly #clean: Clean

  constructor (logger: FastifyBaseLogger, clean: Clean) {
    this.#logger = logger
    this.#clean = clean
  }

  get (_stage: FastifyBaseLogger, key: PropertyKey, quiet: FastifyBaseLogger): unknown {
    const logger = this.#logger
    const method: unknown = Reflect.get(logger, key, logger)
    if (typeof method !== 'function') return method
    return (...args: unknown[]): unknown => {
      if (isIdle(method)) return undefined
      const call = (given: readonly unknown[]): unknown => {
        const redaction = new Redaction(this.#clean)
        return Reflect.apply(method, logger, given.map((arg) => redaction.show(arg)))
      }
      const result = levelNames.has(key) ? logSafely(call, args) : call(args)
      if (result === logger) return quiet
      return isLogger(result) ? quietLogger(result, this.#clean) : result
    }
  }

  set (_stage: FastifyBaseLogger, key: PropertyKey, value: unknown): boolean {
    return Reflect.set(this.#logger, key, value, this.#logger)
  }

  has (_stage: FastifyBaseLogger, key: PropertyKey): boolean {
    return Reflect.has(this.#logger, key)
  }

  getPrototypeOf (): object | null {
    return Object.getPrototypeOf(this.#logger)
  }
}

/** Methods that were looked at, and whether they do nothing. */
const idle = new WeakMap<object, boolean>()

/** Tells whether a method does nothing: pino puts such a one in place of a level that is off, and Fastify has only such without a logger. */
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

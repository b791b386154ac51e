import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { isObject, parseJson } from '../collections/json.ts'
import { isError, readMember, toError } from '../errors.ts'
import { gateOf, lastSentThrough, openGate } from '../http/reply-gate.ts'
import { answerFailure } from './failure.ts'
import type { Parts, Route } from './parts.ts'

type Handler = (parts: Parts, request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply>

/**
 * Answers errors on the plugin's routes: errors of the handlers and of the app's hooks.
 * `answerFailure` answers the first error of a request. If it sends nothing, the error handler of the surrounding instance
 * answers. That handler also answers every further error of the request.
 */
export class RouteFailures {
  readonly #parts: Parts
  /** The requests whose first error has gone to `answerFailure`. */
  readonly #failed = new WeakSet<FastifyRequest>()

  constructor (parts: Parts) {
    this.#parts = parts
  }

  /** Wraps the handler of a route. */
  handle (route: Route, handler: Handler) {
    return async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
      try {
        return await handler(this.#parts, request, reply)
      } catch (thrown) {
        // Fastify's `handlerTimeout` has failed the request before, and the error of the timeout is being answered.
        if (this.#failed.has(request)) return reply
        const error = toError(thrown)
        if (await this.#answer(route, error, request, reply)) return reply
        throw error
      }
    }
  }

  /** Makes the error handler of a route. */
  errorHandler (route: Route) {
    return async (thrown: unknown, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
      if (!this.#failed.has(request)) {
        setHeadersOf(thrown, reply)
        if (await this.#answer(route, errorFrom(thrown), request, reply)) return reply
      }
      openGate(reply)
      throw thrown
    }
  }

  #answer (route: Route, error: Error, request: FastifyRequest, reply: FastifyReply): Promise<boolean> {
    this.#failed.add(request)
    return answerFailure(this.#parts, route, error, request, reply)
  }
}

/**
 * Passes errors from the scope of the routes to the error handler of the surrounding instance. This works even for a handler
 * that the app sets after it has registered the plugin.
 */
export function passErrorsOn (fastify: FastifyInstance, surrounding: FastifyInstance): void {
  // A scope inherits the error handler that the surrounding instance had when the scope was made. The app may set another one later.
  const registered = fastify.errorHandler
  fastify.setErrorHandler((thrown: unknown, request, reply) => {
    // The gate remembers the error that is sent. `withDetails` reads it there.
    gateOf(reply)
    // If the app has set no other handler, throwing makes Fastify call the inherited one, and then those of the outer scopes.
    // Fastify does this only for Error objects.
    if (surrounding.errorHandler === registered && thrown instanceof Error) throw thrown
    return surrounding.errorHandler(thrown, request, reply)
  })
  fastify.addHook('onSend', (_request, reply, payload, done) => { done(null, withDetails(reply, payload)) })
}

/**
 * Adds `reason` and `authorizeUrl` of an error to its JSON, because Fastify's error serializer leaves them out.
 * An answer that an error handler or a hook of the app has written stays as it is.
 */
function withDetails (reply: FastifyReply, payload: unknown): unknown {
  const error = lastSentThrough(reply)
  const added = isError(error) ? ['reason', 'authorizeUrl'].flatMap((name) => typeof readMember(error, name) === 'string' ? [[name, readMember(error, name)]] : []) : []
  if (added.length === 0 || typeof payload !== 'string') return payload
  const json = parseJson(payload)
  if (!isObject(json) || json.message !== readMember(error, 'message')) return payload
  const { statusCode, code, message } = json
  return JSON.stringify({ statusCode, code, error: json.error, message, ...Object.fromEntries(added) })
}

/** Sets the headers that an error carries in `headers`, as Fastify's own error handler does. */
export function setHeadersOf (thrown: unknown, reply: FastifyReply): void {
  const headers = readMember(thrown, 'headers')
  if (!isObject(headers)) return
  for (const name of Object.keys(headers)) reply.header(name, readMember(headers, name))
}

/** Turns any thrown value into an Error. Some plugins throw plain objects with a status and a message. */
export function errorFrom (thrown: unknown): Error {
  const error = toError(thrown)
  if (error === thrown) return error
  const [statusCode, status, code, message] = ['statusCode', 'status', 'code', 'message'].map((name) => readMember(thrown, name))
  return Object.assign(error, { statusCode, status, code }, typeof message === 'string' && { message })
}

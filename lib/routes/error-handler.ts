import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { isObject, parseJson } from '../collections/json.ts'
import { isError, readMember, toError } from '../errors.ts'
import { gateOf, lastSentThrough, openGate } from '../http/reply-gate.ts'
import { answerFailure, type Route } from './failure.ts'
import type { Parts } from './parts.ts'

type Handler = (parts: Parts, request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply>

/**
 * Answers what fails on the plugin's routes: errors of their handlers, and errors of other plugins' hooks.
 * `answerFailure` gets the first error of a request. What it leaves, and any further error, goes to the error
 * handler of the surrounding instance.
 */
export class RouteFailures {
  readonly #parts: Parts
  readonly #offered = new WeakSet<FastifyRequest>()

  constructor (parts: Parts) {
    this.#parts = parts
  }

  /** Wraps the handler of a route. */
  handle (route: Route, handler: Handler) {
    return async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
      try {
        return await handler(this.#parts, request, reply)
      } catch (thrown) {
        // Fastify's `handlerTimeout` failed the request before, and that error is being answered.
        if (this.#offered.has(request)) return reply
        const error = toError(thrown)
        if (await this.#offer(route, error, request, reply)) return reply
        throw error
      }
    }
  }

  /** Makes the error handler of a route. */
  errorHandler (route: Route) {
    const answer = async (thrown: unknown, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
      keepHeaders(thrown, reply)
      if (await this.#offer(route, errorFrom(thrown), request, reply)) return reply
      openGate(reply)
      throw thrown
    }
    return (thrown: unknown, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
      if (!this.#offered.has(request)) return answer(thrown, request, reply)
      openGate(reply)
      throw thrown
    }
  }

  #offer (route: Route, error: Error, request: FastifyRequest, reply: FastifyReply): Promise<boolean> {
    this.#offered.add(request)
    return answerFailure(this.#parts, route, error, request, reply)
  }
}

/** Makes the scope of the routes pass errors on to the error handler that the surrounding instance has now. */
export function passErrorsOn (fastify: FastifyInstance, surrounding: FastifyInstance): void {
  // Fastify remembers the error handler of the moment in which a scope is made; the app may set another later.
  const registered = fastify.errorHandler
  fastify.setErrorHandler((thrown: unknown, request, reply) => {
    gateOf(reply)
    // Fastify goes on to the remembered one by itself, and from there to those of outer scopes. It does so for errors only.
    if (surrounding.errorHandler === registered && thrown instanceof Error) throw thrown
    return surrounding.errorHandler(thrown, request, reply)
  })
  fastify.addHook('onSend', (_request, reply, payload, done) => { done(null, withReason(reply, payload)) })
}

/**
 * Adds `reason` to the JSON that Fastify makes of an error: its own serializer knows four members only.
 * Anything that an error handler or another hook of the app made of the error stays as it is.
 */
function withReason (reply: FastifyReply, payload: unknown): unknown {
  const error = lastSentThrough(reply)
  const reason = isError(error) ? readMember(error, 'reason') : undefined
  if (typeof reason !== 'string' || typeof payload !== 'string') return payload
  const json = parseJson(payload)
  if (!isObject(json) || json.message !== readMember(error, 'message')) return payload
  const { statusCode, code, message } = json
  return JSON.stringify({ statusCode, code, error: json.error, message, reason })
}

/** The headers that an error names, as Fastify's own error handler sets them. */
function keepHeaders (thrown: unknown, reply: FastifyReply): void {
  const headers = readMember(thrown, 'headers')
  if (!isObject(headers)) return
  for (const name of Object.keys(headers)) reply.header(name, readMember(headers, name))
}

/** Some plugins throw plain objects with a status and a message. */
function errorFrom (thrown: unknown): Error {
  const error = toError(thrown)
  if (error === thrown) return error
  const [statusCode, status, code, message] = ['statusCode', 'status', 'code', 'message'].map((name) => readMember(thrown, name))
  return Object.assign(error, { statusCode, status, code }, typeof message === 'string' && { message })
}

import { STATUS_CODES } from 'node:http'
import { finished, type Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { createSafeLogger } from '../collections/safe-logger.ts'
import { WebflowOAuthError, codeOf, describeForeign, statusOf, toError } from '../errors.ts'
import type { WebhookEvent } from '../options/webhook-event.ts'
import { verifyWebhook } from '../webflow/webhook.ts'
import { collectBody, type CollectedBody } from './body.ts'
import { errorFrom, setHeadersOf } from './error-handler.ts'
import type { Parts } from './parts.ts'
import { answerRaw } from './raw-answer.ts'

/** The maximum length of a webhook, in bytes. */
const maxLength = 1024 * 1024
/** How long the route waits for the end of a webhook, in milliseconds. */
const patience = 10_000

/** The bodies by their requests. They are not kept as `request.body`, because a serializer of the app's logger may print that. */
const bodies = new WeakMap<FastifyRequest, CollectedBody>()

/** Reads the bytes of a webhook. Registered for every content type. `request.body` stays undefined. */
export function readWebhook (request: FastifyRequest, payload: Readable, done: (error: null) => void): void {
  if (Number(request.headers['content-length']) > maxLength) {
    bodies.set(request, 'too_long')
    return done(null)
  }
  collectBody(payload, { maxLength, patience }, (body) => {
    bodies.set(request, body)
    done(null)
  })
}

/** Returns the body of a request, and forgets it. Fastify calls no parser for a request without a body. */
function takeBody (request: FastifyRequest): CollectedBody {
  const body = bodies.get(request) ?? Buffer.alloc(0)
  bodies.delete(request)
  return body
}

type RouteParts = Pick<Parts, 'background' | 'settings'>
type Handler = (event: WebhookEvent, request: FastifyRequest) => unknown

/**
 * The route that receives webhooks. It writes its answers past the hooks and the error handler of the app: Webflow delivers a
 * webhook again only if the answer is not 200, so nothing may turn a failure into a success.
 */
export class WebhookRoute {
  readonly #parts: RouteParts
  readonly #onWebhook: Handler

  constructor (parts: RouteParts, onWebhook: Handler) {
    this.#parts = parts
    this.#onWebhook = onWebhook
  }

  /** Verifies a webhook and hands it to `onWebhook`. */
  readonly handler = async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const body = takeBody(request)
    // The client may never send the rest of the body, and would keep the server from closing.
    if (typeof body === 'string') reply.raw.shouldKeepAlive = false
    const verified = this.#verify(request, body)
    if (verified.kind === 'refused') return this.#refuse(verified.error, request, reply)
    try {
      await this.#onWebhook(verified.event, request)
    } catch (thrown) {
      return this.#fail(toError(thrown), request, reply)
    }
    return send(reply, 200, {})
  }

  /** Answers when a hook of the app has refused the request, such as a rate limiter. */
  readonly errorHandler = async (thrown: unknown, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    setHeadersOf(thrown, reply)
    const error = errorFrom(thrown)
    const status = statusOf(error)
    // As in Fastify, a status that a hook has set counts if the error has none of its own.
    return this.#answer(error, status === 500 && reply.statusCode >= 400 ? reply.statusCode : status, request, reply)
  }

  #verify (request: FastifyRequest, body: CollectedBody): { kind: 'verified', event: WebhookEvent } | { kind: 'refused', error: Error } {
    const { webhookSecrets, webhookMaxAge } = this.#parts.settings
    try {
      if (body === 'too_long') throw tooLong()
      const event = body === 'incomplete'
        // A body that has not arrived in full fits no key.
        ? verifyWebhook({ webhookSecrets: [], webhookMaxAge }, request.headers, Buffer.alloc(0), Date.now())
        : verifyWebhook({ webhookSecrets, webhookMaxAge }, request.headers, body, Date.now())
      return { kind: 'verified', event }
    } catch (error) {
      return { kind: 'refused', error: toError(error) }
    }
  }

  /** Refuses a webhook. Strangers cause this, so `onFailure` is not told. */
  #refuse (error: Error, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    createSafeLogger(request.log).info({ code: codeOf(error), reason: Reflect.get(error, 'reason') }, `webflow-oauth: a webhook was refused: ${error.message}`)
    return sendError(reply, error, statusOf(error))
  }

  #fail (error: Error, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const status = error instanceof WebflowOAuthError && [502, 503, 504].includes(error.statusCode) ? error.statusCode : 500
    return this.#answer(error, status, request, reply)
  }

  /** Answers first, and tells `onFailure` once the response has finished. */
  #answer (error: Error, status: number, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    // Fastify's `handlerTimeout` or the closing of the app has already answered.
    if (reply.sent) return reply
    const log = createSafeLogger(request.log)
    // The message of an app's error may hold the payload.
    const err = error instanceof WebflowOAuthError ? error : describeForeign(error)
    if (status >= 500) log.error({ err }, 'webflow-oauth: a webhook could not be handled. Webflow delivers it again')
    else log.info({ err }, 'webflow-oauth: a hook of the app refused a webhook')
    const { background, settings: { onFailure } } = this.#parts
    if (onFailure !== undefined && status !== 401) {
      const tell = async () => {
        try {
          await onFailure(error, request, reply)
        } catch (thrown) {
          log.error({ err: describeForeign(thrown) }, 'webflow-oauth: `onFailure` threw an error')
        }
      }
      finished(reply.raw, () => { background.add(tell()) })
    }
    return sendError(reply, error, status)
  }
}

/** Makes the error that Fastify has for a body that is too long. */
function tooLong (): Error {
  return Object.assign(new Error(`The body is longer than ${maxLength} bytes.`), { statusCode: 413, code: 'FST_ERR_CTP_BODY_TOO_LARGE' })
}

function sendError (reply: FastifyReply, error: Error, statusCode: number): FastifyReply {
  const text = STATUS_CODES[statusCode] ?? 'Error'
  const own = error instanceof WebflowOAuthError
  return send(reply, statusCode, {
    statusCode,
    code: codeOf(error) ?? undefined,
    error: text,
    message: own ? error.message : text,
    reason: own ? error.reason : undefined
  })
}

/** Answers so that no hook and no error handler of the app changes the answer. */
function send (reply: FastifyReply, statusCode: number, content: object): FastifyReply {
  if (reply.sent || reply.raw.headersSent) return reply
  answerRaw(reply, statusCode, { 'content-type': 'application/json; charset=utf-8' }, JSON.stringify(content))
  return reply
}

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

/** The longest body that the route reads, in bytes. */
const maxLength = 1024 * 1024
/** How long the route waits for the end of a body, in milliseconds. */
const patience = 10_000

/** The body of each request. It is not in `request.body`, because a serializer of the app's logger may print that property. */
const bodies = new WeakMap<FastifyRequest, CollectedBody>()

/** The parser of the route, for every content type. It keeps the bytes in `bodies`, and leaves `request.body` undefined. */
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

/** Removes the body of a request from `bodies` and resolves with it. */
async function takeBody (request: FastifyRequest): Promise<CollectedBody> {
  const body = bodies.get(request)
  bodies.delete(request)
  // Fastify calls no parser for a request without content type and length. Over HTTP/2, such a request may have a body.
  return body ?? await new Promise((resolve) => { collectBody(request.raw, { maxLength, patience }, resolve) })
}

type RouteParts = Pick<Parts, 'background' | 'settings'>
type Handler = (event: WebhookEvent, request: FastifyRequest) => unknown

/**
 * The route that receives webhooks. Its answers bypass the hooks and the error handler of the app, because nothing may turn a
 * failure into a success: Webflow delivers a webhook again only if the answer is not 200.
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
    const body = await takeBody(request)
    // A client that never sends the rest of the body would keep the server from closing.
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

  /** Answers when a hook of the app, such as a rate limiter, has refused the request. */
  readonly errorHandler = async (thrown: unknown, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    setHeadersOf(thrown, reply)
    const error = errorFrom(thrown)
    const status = statusOf(error)
    // As in Fastify, if the error has no status, the status that a hook has set counts.
    return this.#answer(error, status === 500 && reply.statusCode >= 400 ? reply.statusCode : status, request, reply)
  }

  #verify (request: FastifyRequest, body: CollectedBody): { kind: 'verified', event: WebhookEvent } | { kind: 'refused', error: Error } {
    const { webhookSecrets, webhookMaxAge } = this.#parts.settings
    try {
      if (body === 'too_long') throw tooLong()
      const event = body === 'incomplete'
        // Without secrets, every signature is wrong: a body that did not arrive in full gets the answer of a wrong signature.
        ? verifyWebhook({ webhookSecrets: [], webhookMaxAge }, request.headers, Buffer.alloc(0), Date.now())
        : verifyWebhook({ webhookSecrets, webhookMaxAge }, request.headers, body, Date.now())
      return { kind: 'verified', event }
    } catch (error) {
      return { kind: 'refused', error: toError(error) }
    }
  }

  /** Refuses a webhook. `onFailure` does not run, because strangers could make it run as often as they like. */
  #refuse (error: Error, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    createSafeLogger(request.log).info({ code: codeOf(error), reason: Reflect.get(error, 'reason') }, `webflow-oauth: a webhook was refused: ${error.message}`)
    return sendError(reply, error, statusOf(error))
  }

  #fail (error: Error, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const status = error instanceof WebflowOAuthError && [502, 503, 504].includes(error.statusCode) ? error.statusCode : 500
    return this.#answer(error, status, request, reply)
  }

  /** Answers a failed webhook. `onFailure` runs once the response has finished. */
  #answer (error: Error, status: number, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    // Fastify's `handlerTimeout` or the closing app has already answered.
    if (reply.sent) return reply
    const log = createSafeLogger(request.log)
    // The message of an app's error may hold the payload.
    const err = error instanceof WebflowOAuthError ? error : describeForeign(error)
    if (status >= 500) log.error({ err }, 'webflow-oauth: a webhook could not be handled. Webflow delivers it again')
    else log.warn({ err }, `webflow-oauth: a hook of the app refused a webhook with status ${status}`)
    const { background, settings: { onFailure } } = this.#parts
    if (onFailure !== undefined && status !== 401) {
      const run = async () => {
        try {
          await onFailure(error, request, reply)
        } catch (thrown) {
          log.error({ err: describeForeign(thrown) }, 'webflow-oauth: `onFailure` threw an error')
        }
      }
      finished(reply.raw, () => { background.add(run()) })
    }
    return sendError(reply, error, status)
  }
}

/** Makes the same error that Fastify makes for a body that is too long. */
function tooLong (): Error {
  return Object.assign(new Error(`The body is longer than ${maxLength} bytes.`), { statusCode: 413, code: 'FST_ERR_CTP_BODY_TOO_LARGE' })
}

function sendError (reply: FastifyReply, error: Error, statusCode: number): FastifyReply {
  const text = STATUS_CODES[statusCode] ?? 'Error'
  const isOwn = error instanceof WebflowOAuthError
  return send(reply, statusCode, {
    statusCode,
    code: codeOf(error) ?? undefined,
    error: text,
    message: isOwn ? error.message : text,
    reason: isOwn ? error.reason : undefined
  })
}

/** Sends an answer that no hook and no error handler of the app can change. */
function send (reply: FastifyReply, statusCode: number, content: object): FastifyReply {
  if (reply.sent || reply.raw.headersSent) return reply
  answerRaw(reply, statusCode, { 'content-type': 'application/json; charset=utf-8' }, JSON.stringify(content))
  return reply
}

import type { FastifyInstance, FastifyReply } from 'fastify'
import { createSafeLogger } from '../collections/safe-logger.ts'
import { isNavigation } from '../http/navigation.ts'
import { pageHeaders, renderPage } from '../http/page.ts'
import { gateOf } from '../http/reply-gate.ts'
import { failurePage } from './failure.ts'
import type { Parts } from './parts.ts'

/** How long closing waits for requests beyond the time that their calls to Webflow and to the store may take, in milliseconds. */
const grace = 5000

/** The instances on one server: Fastify closes them one after another, and their time begins together. */
const instances = new WeakMap<object, Set<Closing>>()

/**
 * Lets an app close without losing what is under way on the plugin's routes, and without waiting for ever.
 * After `timeout`, twice `storeTimeout` and 5 seconds, requests that are still open get 503.
 */
export class Closing {
  readonly #parts: Parts
  readonly #instances: Set<Closing>
  /** The open requests on the plugin's routes. */
  readonly #open = new Map<FastifyReply, Promise<void>>()
  /** Resolves when the time for closing is over; null until it has begun. */
  #expired: Promise<void> | null = null
  #timer: NodeJS.Timeout | undefined
  /** How long closing waits at most, in milliseconds. */
  readonly #patience: number
  /** How long one `preClose` hook may take, in milliseconds. */
  readonly #turn: number

  constructor (parts: Parts, { initialConfig: { pluginTimeout = 0 }, server }: FastifyInstance) {
    const { timeout, storeTimeout } = parts.settings
    this.#parts = parts
    this.#patience = timeout + 2 * storeTimeout + grace
    this.#turn = pluginTimeout === 0 ? this.#patience : pluginTimeout / 2
    this.#instances = instances.get(server) ?? new Set()
    instances.set(server, this.#instances.add(this))
  }

  /** Adds the hooks that closing runs. */
  addHooks (fastify: FastifyInstance): void {
    // Before any `onClose` hook: the app's Redis and its sockets are still there. Fastify lets `close()` fail when
    // one `preClose` hook takes longer than `pluginTimeout`, so that several share the time.
    const turns = Math.ceil(this.#patience / this.#turn)
    for (let turn = 0; turn < turns; turn++) fastify.addHook('preClose', async () => { await this.#waitForRequests() })
    fastify.addHook('onClose', async () => { await this.#waitForTasks() })
  }

  /** Follows a request until its response has finished, or its connection has closed. */
  follow (reply: FastifyReply): void {
    this.#open.set(reply, new Promise((resolve) => {
      reply.raw.once('close', () => {
        this.#open.delete(reply)
        resolve()
      })
    }))
  }

  /** Waits until the plugin's routes are at rest, or until their time, or this turn, is over. */
  async #waitForRequests (): Promise<void> {
    for (const instance of this.#instances) instance.#begin()
    let timer: NodeJS.Timeout | undefined
    const turn = new Promise<void>((resolve) => { timer = setTimeout(resolve, this.#turn) })
    await Promise.race([this.#begin(), this.#atRest(), turn])
    clearTimeout(timer)
  }

  /** Waits until the tasks that the last requests have begun are done, or until their time is over. No task begins after a pause any more. */
  async #waitForTasks (): Promise<void> {
    this.#parts.underWay.stop()
    await Promise.race([this.#begin(), this.#parts.underWay.settled()])
    clearTimeout(this.#timer)
  }

  #begin (): Promise<void> {
    this.#expired ??= new Promise((resolve) => {
      this.#timer = setTimeout(() => {
        resolve()
        this.#giveUp()
      }, this.#patience)
    })
    return this.#expired
  }

  async #atRest (): Promise<void> {
    await Promise.all([...this.#open.values(), this.#parts.underWay.settled()])
  }

  #giveUp (): void {
    const { log, underWay } = this.#parts
    for (const reply of this.#open.keys()) this.#refuse(reply)
    if (underWay.size > 0) log.error({ tasks: underWay.size }, 'webflow-oauth: tasks were still under way when the app closed; closing no longer waits for them')
  }

  /** Answers an open request past Fastify, in which a hook or the handler hangs. */
  #refuse (reply: FastifyReply): void {
    const { raw, request } = reply
    const { method } = request
    createSafeLogger(request.log).error({ method, path: request.url.split('?')[0] }, 'webflow-oauth: a request was still under way when the app closed; it is ended with 503')
    try {
      this.#answer(reply)
    } catch {
      raw.destroy()
    }
    // An `onSend` hook that hung may go on: Fastify would throw where nobody catches it, and log the URL.
    raw.writeHead = () => raw
  }

  #answer (reply: FastifyReply): void {
    const { raw } = reply
    // Whatever the request's own handler sends later is dropped.
    gateOf(reply)
    reply.hijack()
    if (raw.headersSent) {
      raw.destroy()
      return
    }
    for (const name of ['content-encoding', 'content-length', 'location', 'transfer-encoding']) reply.removeHeader(name)
    raw.shouldKeepAlive = false
    const { headers, body } = this.#answerFor(reply)
    reply.headers({ ...headers, 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' })
    // The cookies that were set stay: the token of a new session cookie may be stored already.
    for (const [name, value] of Object.entries(reply.getHeaders())) if (value !== undefined) raw.setHeader(name, value)
    raw.writeHead(503)
    raw.end(body)
  }

  #answerFor (reply: FastifyReply): { headers: Record<string, string>, body: string } {
    const { settings } = this.#parts
    const message = 'The app is closing. Please try again in a moment.'
    if (!isNavigation(reply.request)) {
      return {
        headers: { 'content-type': 'application/json; charset=utf-8' },
        body: JSON.stringify({ statusCode: 503, error: 'Service Unavailable', message })
      }
    }
    const route = reply.request.method === settings.revokeMethod ? 'revoke' : 'callback'
    const page = failurePage(this.#parts, route, Object.assign(new Error(message), { statusCode: 503 }), reply.request, reply)
    return { headers: pageHeaders, body: renderPage(page) }
  }
}

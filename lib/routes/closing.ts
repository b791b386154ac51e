import { finished } from 'node:stream'
import type { FastifyReply } from 'fastify'
import type { Context } from '../context.ts'
import { failurePage } from '../failure.ts'
import { isNavigation } from '../navigation.ts'
import { pageHeaders, renderPage } from '../page.ts'
import { gateOf } from '../reply-gate.ts'

/** How long closing waits for requests beyond the time that their calls to Webflow and to the store may take, in milliseconds. */
const grace = 5000

/** The instances on one server: Fastify closes them one after another, and their time begins together. */
const instances = new WeakMap<object, Set<Closing>>()

/**
 * Lets an app close without losing what is under way on the plugin's routes, and without waiting for ever.
 * After `timeout`, twice `storeTimeout` and 5 seconds, requests that are still open get 503.
 */
export class Closing {
  readonly #context: Context
  readonly #instances: Set<Closing>
  /** The open requests on the plugin's routes. */
  readonly #open = new Map<FastifyReply, Promise<void>>()
  readonly #expired: Promise<void>
  #expire: () => void = () => {}
  #timer: NodeJS.Timeout | undefined

  constructor (context: Context, server: object) {
    this.#context = context
    this.#expired = new Promise((resolve) => { this.#expire = resolve })
    this.#instances = instances.get(server) ?? new Set()
    instances.set(server, this.#instances.add(this))
  }

  /** Follows a request until its response has finished, or its connection has closed. */
  follow (reply: FastifyReply): void {
    this.#open.set(reply, new Promise((resolve) => {
      finished(reply.raw, () => {
        this.#open.delete(reply)
        resolve()
      })
    }))
  }

  /** Resolves when the plugin's routes are at rest, or when their time is over. */
  async waitForRequests (): Promise<void> {
    for (const instance of this.#instances) instance.#begin()
    await Promise.race([this.#expired, this.#atRest()])
  }

  /** Resolves when the tasks that the last requests have begun are done, or when their time is over. */
  async waitForTasks (): Promise<void> {
    this.#begin()
    await Promise.race([this.#expired, this.#context.underWay.settled()])
    clearTimeout(this.#timer)
  }

  #begin (): void {
    const { timeout, storeTimeout } = this.#context.settings
    this.#timer ??= setTimeout(() => { this.#giveUp() }, timeout + 2 * storeTimeout + grace)
  }

  async #atRest (): Promise<void> {
    do await Promise.all([...this.#open.values(), this.#context.underWay.settled()])
    while (this.#open.size > 0)
  }

  #giveUp (): void {
    const { log, underWay } = this.#context
    for (const reply of this.#open.keys()) this.#refuse(reply)
    if (underWay.size > 0) log.error({ tasks: underWay.size }, 'webflow-oauth: tasks were still under way when the app closed; closing no longer waits for them')
    this.#expire()
  }

  /** Answers an open request past Fastify, in which a hook or the handler hangs. */
  #refuse (reply: FastifyReply): void {
    const { raw, request } = reply
    const { method } = request
    request.log.error({ method, path: request.url.split('?')[0] }, 'webflow-oauth: a request was still under way when the app closed; it is ended with 503')
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
    try {
      // The cookies that were set stay: the token of a new session cookie may be stored already.
      for (const [name, value] of Object.entries(reply.getHeaders())) if (value !== undefined) raw.setHeader(name, value)
      raw.writeHead(503)
      raw.end(body)
    } catch {
      raw.destroy()
    }
    // An `onSend` hook that hung may go on: Fastify would throw where nobody catches it, and log the URL.
    raw.writeHead = () => raw
  }

  #answerFor (reply: FastifyReply): { headers: Record<string, string>, body: string } {
    const { settings } = this.#context
    const message = 'The app is closing. Please try again in a moment.'
    if (!isNavigation(reply.request)) {
      return {
        headers: { 'content-type': 'application/json; charset=utf-8' },
        body: JSON.stringify({ statusCode: 503, error: 'Service Unavailable', message })
      }
    }
    const route = reply.request.method === settings.revokeMethod ? 'revoke' : 'callback'
    const page = failurePage(this.#context, route, Object.assign(new Error(message), { statusCode: 503 }), reply.request, reply)
    return { headers: pageHeaders, body: renderPage(page) }
  }
}

import { finished } from 'node:stream'
import type { FastifyInstance, FastifyReply } from 'fastify'
import { createSafeLogger } from '../collections/safe-logger.ts'
import { isNavigation } from '../http/navigation.ts'
import { pageHeaders, renderPage } from '../http/page.ts'
import { gateOf } from '../http/reply-gate.ts'
import { failurePage } from './failure.ts'
import type { Parts } from './parts.ts'
import { answerRaw } from './raw-answer.ts'

/** How long closing waits beyond the time that calls to Webflow and to the store may take, in milliseconds. */
const grace = 5000

/** The `Closing` of each instance on a server. Fastify runs their hooks one after another, so the first hook starts the clock of all. */
const instances = new WeakMap<object, Set<Closing>>()

/**
 * Delays the closing of an app until the requests and tasks of the plugin have finished, but not for ever.
 * After `timeout`, twice `storeTimeout` and 5 seconds, requests that are still open get 503, and the app closes.
 */
export class Closing {
  readonly #parts: Parts
  readonly #instances: Set<Closing>
  /** The unanswered requests on the plugin's routes. */
  readonly #unanswered = new Set<FastifyReply>()
  /** The requests that get JSON instead of a page, even if they look like a navigation. */
  readonly #withoutPage = new WeakSet<FastifyReply>()
  /** Resolves when the time for closing is over. Null until the app begins to close. */
  #expired: Promise<void> | null = null
  #timer: NodeJS.Timeout | undefined
  /** How long closing waits at most, in milliseconds. */
  readonly #patience: number
  /** How long one `preClose` hook waits at most, in milliseconds. */
  readonly #patiencePerHook: number

  constructor (parts: Parts, { initialConfig: { pluginTimeout = 0 }, server }: FastifyInstance) {
    const { timeout, storeTimeout } = parts.settings
    this.#parts = parts
    this.#patience = timeout + 2 * storeTimeout + grace
    this.#patiencePerHook = pluginTimeout === 0 ? this.#patience : pluginTimeout / 2
    this.#instances = instances.get(server) ?? new Set()
    instances.set(server, this.#instances.add(this))
  }

  /** Adds the `preClose` and `onClose` hooks. */
  addHooks (fastify: FastifyInstance): void {
    // The wait is in `preClose`, because the requests still need Redis, and an `onClose` hook of the app may close Redis.
    // `close()` fails if one `preClose` hook takes longer than `pluginTimeout`, so several hooks share the wait.
    const hooks = Math.ceil(this.#patience / this.#patiencePerHook)
    for (let i = 0; i < hooks; i++) fastify.addHook('preClose', async () => { await this.#waitForRequests() })
    fastify.addHook('onClose', async () => { await this.#waitForTasks() })
  }

  /** Counts a request as open until its response has finished or its connection has closed. */
  track (reply: FastifyReply): void {
    // The connection may have closed before this hook ran. Then there is no further event.
    if (reply.raw.closed) return
    this.#unanswered.add(reply)
    reply.raw.once('close', () => { this.#unanswered.delete(reply) })
  }

  /** Marks a request that is refused with JSON, even if it looks like a navigation. */
  refuseWithoutPage (reply: FastifyReply): void {
    this.#withoutPage.add(reply)
  }

  /** Waits until all open requests and tasks are done, this hook's time is up, or the time for closing is over. */
  async #waitForRequests (): Promise<void> {
    for (const instance of this.#instances) instance.#startClock()
    let timer: NodeJS.Timeout | undefined
    const hookExpired = new Promise<void>((resolve) => { timer = setTimeout(resolve, this.#patiencePerHook) })
    const removals: Array<() => void> = []
    const allFinished = [...this.#unanswered].map(({ raw }) => new Promise<void>((resolve) => { removals.push(finished(raw, () => { resolve() })) }))
    const allDone = Promise.all([...allFinished, this.#parts.background.settled()])
    await Promise.race([this.#startClock(), allDone, hookExpired])
    clearTimeout(timer)
    for (const removeListeners of removals) removeListeners()
  }

  /** Waits until the tasks of the last requests are done, or the time for closing is over. Tasks that pause before another try are given up. */
  async #waitForTasks (): Promise<void> {
    this.#parts.background.stop()
    await Promise.race([this.#startClock(), this.#parts.background.settled()])
    clearTimeout(this.#timer)
  }

  /** Starts the clock for closing on the first call. Resolves when the time is over. */
  #startClock (): Promise<void> {
    this.#expired ??= new Promise((resolve) => {
      this.#timer = setTimeout(() => {
        resolve()
        this.#giveUp()
      }, this.#patience)
    })
    return this.#expired
  }

  #giveUp (): void {
    const { log, background } = this.#parts
    for (const reply of this.#unanswered) this.#refuse(reply)
    if (background.size > 0) log.error({ tasks: background.size }, 'webflow-oauth: tasks were still running when the app closed, and are abandoned. Does a hook of the app hang?')
  }

  /** Answers an open request over `reply.raw`, because a hook or the handler hangs inside Fastify. */
  #refuse (reply: FastifyReply): void {
    const { raw, request } = reply
    const { method } = request
    createSafeLogger(request.log).error({ method, path: request.url.split('?')[0] }, 'webflow-oauth: a request was still unanswered when the app closed, and gets 503. Does a hook of the app hang?')
    try {
      this.#answer(reply)
    } catch {
      raw.destroy()
    }
    // If the hanging `onSend` hook goes on later, Fastify writes the head again. Without this line, Node would throw an error that
    // nobody catches, and Fastify would log the URL.
    raw.writeHead = () => raw
  }

  #answer (reply: FastifyReply): void {
    const { raw } = reply
    if (raw.headersSent) {
      gateOf(reply)
      reply.hijack()
      raw.destroy()
      return
    }
    raw.shouldKeepAlive = false
    // Cookies stay in the answer: if the callback has set a session cookie, its token is stored already.
    const { headers, body } = this.#answerFor(reply)
    answerRaw(reply, 503, headers, body)
  }

  #answerFor (reply: FastifyReply): { headers: Record<string, string>, body: string } {
    const { settings } = this.#parts
    const message = 'The app is closing. Please try again in a moment.'
    if (this.#withoutPage.has(reply) || !isNavigation(reply.request)) {
      return {
        headers: { 'content-type': 'application/json; charset=utf-8' },
        body: JSON.stringify({ statusCode: 503, error: 'Service Unavailable', message })
      }
    }
    // The authorize route gets the page of the callback: without a `state` in the URL, both are the same.
    const route = reply.request.method === settings.revokeMethod ? 'revoke' : 'callback'
    const page = failurePage(this.#parts, route, Object.assign(new Error(message), { statusCode: 503 }), reply.request, reply)
    return { headers: pageHeaders(page), body: renderPage(page) }
  }
}

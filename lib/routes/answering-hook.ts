import type { FastifyReply, FastifyRequest } from 'fastify'
import { startDeadline } from '../collections/deadline.ts'
import { createSafeLogger } from '../collections/safe-logger.ts'
import { describeForeign } from '../errors.ts'
import { gateOf } from '../http/reply-gate.ts'

/** How long a hook that returned the reply may take to send something, in milliseconds. */
const patience = 500

/**
 * Runs a hook of the app's that may answer by itself; resolves whether it did. After a hook that did not,
 * the reply has its former status again, and what the hook sends later is dropped.
 * What the hook throws is logged and changes nothing.
 */
export async function answersByItself (name: string, request: FastifyRequest, reply: FastifyReply, hook: () => unknown): Promise<boolean> {
  const gate = gateOf(reply)
  const { statusCode, then } = reply
  let hasSent = false
  // `reply.sent` alone does not tell: it stays false while an asynchronous `onSend` hook of the app is at work,
  // and while a hook writes to `reply.raw`.
  const isAnswered = () => hasSent || reply.sent || reply.raw.headersSent
  const isGivenUp = await new Promise<boolean>((resolve) => {
    let cancel: (() => void) | undefined
    gate.isOpen = true
    gate.hook = name
    gate.onSend = () => { hasSent = true }
    // A reply is thenable. JavaScript calls `then` when a hook returns or awaits it, and that resolves only
    // once the response has finished. If nothing was sent, that may be never.
    reply.then = (fulfilled, rejected) => {
      if (!isAnswered()) cancel ??= startDeadline(patience, () => { resolve(true) })
      then.call(reply, fulfilled, rejected)
    }
    const run = async () => {
      try {
        await hook()
      } catch (error) {
        // The app may have put a logger of its own here, and nobody would catch what that throws.
        createSafeLogger(request.log).error({ err: describeForeign(error) }, `webflow-oauth: \`${name}\` threw an error`)
      } finally {
        cancel?.()
        resolve(false)
      }
    }
    run()
  })
  reply.then = then
  gate.onSend = null
  if (isAnswered()) return true
  if (isGivenUp) request.log.warn(`webflow-oauth: \`${name}\` returned the reply and sent nothing within ${patience} ms; the usual answer follows`)
  gate.isOpen = false
  if (reply.statusCode !== statusCode) reply.code(statusCode)
  return false
}

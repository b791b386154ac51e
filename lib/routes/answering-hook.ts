import type { FastifyReply, FastifyRequest } from 'fastify'
import { startDeadline } from '../collections/deadline.ts'
import { createSafeLogger } from '../collections/safe-logger.ts'
import { describeForeign } from '../errors.ts'
import { gateOf } from '../http/reply-gate.ts'

/** How long the plugin waits for an answer after a hook has returned the reply without sending one, in milliseconds. */
const patience = 500

/**
 * Runs one of the app's hooks that may answer the request, and resolves to true if the hook has answered.
 * Otherwise the reply gets back the status that it had before, and anything that the hook sends later is dropped.
 * An error of the hook is logged and has no other effect.
 */
export async function runAnsweringHook (name: string, request: FastifyRequest, reply: FastifyReply, hook: () => unknown): Promise<boolean> {
  const gate = gateOf(reply)
  const { statusCode, then } = reply
  let hasSent = false
  // `reply.sent` is not enough: it stays false while an asynchronous `onSend` hook runs and after a write to `reply.raw`.
  const isAnswered = () => hasSent || reply.sent || reply.raw.headersSent
  const isGivenUp = await new Promise<boolean>((resolve) => {
    let cancel: (() => void) | undefined
    gate.admits = 'all'
    gate.hook = name
    gate.onSend = () => { hasSent = true }
    // A reply is thenable. When a hook returns or awaits the reply, JavaScript calls `reply.then`, which resolves once
    // the response has finished. If the hook has sent nothing, that never happens, so the wait needs a limit.
    reply.then = (fulfilled, rejected) => {
      if (!isAnswered()) cancel ??= startDeadline(patience, () => { resolve(true) })
      then.call(reply, fulfilled, rejected)
    }
    const run = async () => {
      try {
        await hook()
      } catch (error) {
        // A hook of the app may have replaced `request.log`. Nobody would catch an error that this logger throws.
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
  if (isGivenUp) request.log.warn(`webflow-oauth: \`${name}\` returned the reply but sent nothing within ${patience} ms, so the plugin sends its usual answer. If the hook is to answer, call \`reply.send\` in it`)
  gate.admits = 'errors'
  if (reply.statusCode !== statusCode) reply.code(statusCode)
  return false
}

import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import { createSafeLogger } from '../collections/safe-logger.ts'

/** What a reply knows of the answers that were sent through it. */
export interface ReplyGate {
  /** Whether anybody may send. While it is closed, errors pass, and so do the plugin's own answers. */
  isOpen: boolean
  /** Whether an answer of the plugin's own is being sent. */
  isPassing: boolean
  /** The hook that may have answered, for the log. */
  hook: string | null
  /** What was sent last; an error on its way to an error handler too. */
  lastSent: unknown
  /** Called for each answer that passes. */
  onSend: (() => void) | null
}

const gates = new WeakMap<FastifyReply, ReplyGate>()

/**
 * Puts a gate before `reply.send`, once for each reply, and returns it.
 * An answer that comes too late is dropped. Fastify itself would log the URL of the request then, with code and state.
 */
export function gateOf (reply: FastifyReply): ReplyGate {
  const known = gates.get(reply)
  if (known !== undefined) return known
  const gate: ReplyGate = { isOpen: true, isPassing: false, hook: null, lastSent: undefined, onSend: null }
  gates.set(reply, gate)
  const { send } = reply
  reply.send = function (payload) {
    if (this.sent || !(gate.isOpen || gate.isPassing || payload instanceof Error)) {
      createSafeLogger(this.log).warn({ hook: gate.hook }, 'webflow-oauth: an answer came too late and was dropped')
      // Nobody else would close the file behind it.
      if (payload instanceof Readable) payload.destroy()
      return this
    }
    gate.lastSent = payload
    gate.onSend?.()
    return send.call(this, payload)
  }
  return gate
}

/** Sends an answer of the plugin's own, also through a gate that is closed to hooks. */
export function passGate<T> (reply: FastifyReply, answer: () => T): T {
  const gate = gates.get(reply)
  if (gate === undefined) return answer()
  gate.isPassing = true
  try {
    return answer()
  } finally {
    gate.isPassing = false
  }
}

/** Opens the gate of a reply, if it has one: an error handler of the app answers next. */
export function openGate (reply: FastifyReply): void {
  const gate = gates.get(reply)
  if (gate !== undefined) gate.isOpen = true
}

/** What was sent last through the gate of a reply; undefined without a gate. */
export function lastSentThrough (reply: FastifyReply): unknown {
  return gates.get(reply)?.lastSent
}

import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import { createSafeLogger } from '../collections/safe-logger.ts'

/** Controls which answers a reply may send, and remembers the last one. */
export interface ReplyGate {
  /** Whether the app may send answers. While the gate is closed, only errors and the plugin's own answers pass. */
  isOpen: boolean
  /** Whether the plugin has sent an answer of its own. After that, nothing else passes a closed gate, not even an error. */
  hasPassed: boolean
  /** Whether the plugin is sending an answer of its own right now. */
  isPassing: boolean
  /** The name of the app's hook that may try to answer too late, for the log. */
  hook: string | null
  /** The last payload that was sent. It may be an error that an error handler will answer. */
  lastSent: unknown
  /** Called for each answer that passes. */
  onSend: (() => void) | null
}

const gates = new WeakMap<FastifyReply, ReplyGate>()

/**
 * Wraps `reply.send` with a gate, once for each reply, and returns the gate.
 * The gate drops answers that come too late. Without the gate, Fastify would log the URL of the request for such an answer,
 * with code and state.
 */
export function gateOf (reply: FastifyReply): ReplyGate {
  const known = gates.get(reply)
  if (known !== undefined) return known
  const gate: ReplyGate = { isOpen: true, hasPassed: false, isPassing: false, hook: null, lastSent: undefined, onSend: null }
  gates.set(reply, gate)
  const { send } = reply
  reply.send = function (payload) {
    if (this.sent || !(gate.isOpen || gate.isPassing || (payload instanceof Error && !gate.hasPassed))) {
      createSafeLogger(this.log).warn({ hook: gate.hook }, 'webflow-oauth: an answer came too late and was dropped')
      // A dropped stream is destroyed here. Otherwise the file behind it would stay open.
      if (payload instanceof Readable) payload.destroy()
      return this
    }
    gate.lastSent = payload
    gate.onSend?.()
    return send.call(this, payload)
  }
  return gate
}

/** Sends an answer of the plugin's own, even while the gate is closed. */
export function passGate<T> (reply: FastifyReply, answer: () => T): T {
  const gate = gates.get(reply)
  if (gate === undefined) return answer()
  gate.isPassing = true
  try {
    return answer()
  } finally {
    gate.isPassing = false
    gate.hasPassed = true
  }
}

/** Opens the gate of a reply, if it has one, so that the app's error handler can answer. */
export function openGate (reply: FastifyReply): void {
  const gate = gates.get(reply)
  if (gate === undefined) return
  gate.isOpen = true
  gate.hasPassed = false
}

/** Returns the last payload that passed the gate of a reply; undefined without a gate. */
export function lastSentThrough (reply: FastifyReply): unknown {
  return gates.get(reply)?.lastSent
}

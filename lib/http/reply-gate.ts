import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import { createSafeLogger } from '../collections/safe-logger.ts'

/** Decides which answers a reply sends and which it drops. Remembers the last one that it sent. */
export interface ReplyGate {
  /**
   * Which answers of others pass: `all` while the app may answer, `errors` once the app's hook has had its turn, and `none`
   * once the plugin has answered after that. The plugin's own answer always passes.
   */
  admits: 'all' | 'errors' | 'none'
  /** Whether the plugin is sending its own answer right now. */
  isOwnAnswer: boolean
  /** The name of the app's hook that may try to answer too late, for the log. */
  hook: string | null
  /** The last payload that was sent. It may be an error that an error handler will answer. */
  lastSent: unknown
  /** Called for each answer that passes; null if nobody needs to know. */
  onSend: (() => void) | null
}

const gates = new WeakMap<FastifyReply, ReplyGate>()

/**
 * Returns the gate of a reply. The first call makes it, by wrapping `reply.send`.
 * The gate drops an answer that comes too late. Without the gate, Fastify would log such an answer with the URL of the request,
 * which holds code and state.
 */
export function gateOf (reply: FastifyReply): ReplyGate {
  const known = gates.get(reply)
  if (known !== undefined) return known
  const gate: ReplyGate = { admits: 'all', isOwnAnswer: false, hook: null, lastSent: undefined, onSend: null }
  gates.set(reply, gate)
  const { send } = reply
  reply.send = function (payload) {
    const isAdmitted = gate.isOwnAnswer || gate.admits === 'all' || (gate.admits === 'errors' && payload instanceof Error)
    if (this.sent || !isAdmitted) {
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

/** Sends the plugin's own answer, whatever the gate admits. */
export function passGate<T> (reply: FastifyReply, answer: () => T): T {
  const gate = gates.get(reply)
  if (gate === undefined) return answer()
  gate.isOwnAnswer = true
  try {
    return answer()
  } finally {
    gate.isOwnAnswer = false
    if (gate.admits === 'errors') gate.admits = 'none'
  }
}

/** Lets the app's error handler answer. */
export function openGate (reply: FastifyReply): void {
  const gate = gates.get(reply)
  if (gate !== undefined) gate.admits = 'all'
}

/** Returns the last payload that passed the gate of a reply; undefined if the reply has no gate. */
export function lastSentThrough (reply: FastifyReply): unknown {
  return gates.get(reply)?.lastSent
}

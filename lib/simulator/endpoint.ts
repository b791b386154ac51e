import { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { dataApiError } from './answer.ts'
import type { Answer } from './answer.ts'
import { Authorizations } from './authorizations.ts'
import { callOf } from './call.ts'
import type { Call } from './call.ts'
import type { EndpointName } from './endpoints.ts'
import { answerOf } from './faults.ts'
import type { Faults } from './faults.ts'
import type { App } from './options.ts'
import { readForm } from './parameters.ts'
import { isOfOtherRegion, isServedAt } from './regions.ts'
import type { RequestRecorder } from './requests.ts'
import type { Webflow } from './webflow.ts'

/** The parts that each endpoint's route handler uses. */
export interface Wiring {
  readonly webflow: Webflow
  readonly recorder: RequestRecorder
  readonly faults: Faults
  /** Aborted when the simulator closes, to end delays at once. */
  readonly closing: AbortSignal
}

/** A function that computes the answer to a call. */
export type Handler = (webflow: Webflow, call: Call) => Answer

/** Makes the route handler of an endpoint. It records the request, applies the next fault if there is one, and answers. */
export function endpoint (name: EndpointName, handler: Handler, { webflow, recorder, faults, closing }: Wiring) {
  const { config } = webflow
  // The other region has no app and no token of this one.
  const otherRegion = { ...webflow, config: { ...config, apps: new Map<string, App>() }, authorizations: new Authorizations(config) }
  const handle = (hostname: string, call: Call): Answer => {
    if (isOfOtherRegion(hostname, config.region)) return handler(otherRegion, call)
    return isServedAt(hostname, call.path, config) ? handler(webflow, call) : dataApiError(404, 'route_not_found', 'Route not found')
  }
  return async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const call = callOf(request)
    recorder.add(name, {
      method: request.method,
      path: call.path,
      headers: request.headers,
      parameters: request.method === 'POST' ? call.body.fields : readForm(call.query),
      at: config.now()
    })
    const fault = faults.take(name)
    if (fault === null) return send(reply, handle(request.hostname, call))

    const handled = fault.handled === true ? handle(request.hostname, call) : null
    if (fault.delay !== undefined) await sleep(fault.delay, undefined, { signal: closing }).catch(() => {})
    if (fault.hang === true || closing.aborted) return reply.hijack()
    if (fault.reset === true) return reset(request, reply.hijack())
    return send(reply, answerOf(fault) ?? handled ?? handle(request.hostname, call))
  }
}

/** Sends an answer. */
export function send (reply: FastifyReply, { status, headers, body }: Answer): FastifyReply {
  return reply.code(status).headers(headers).send(body)
}

function reset ({ raw }: FastifyRequest, reply: FastifyReply): FastifyReply {
  // A request that a test makes with `inject` has no real socket.
  if (raw.socket instanceof Socket) raw.socket.resetAndDestroy()
  else reply.raw.destroy()
  return reply
}

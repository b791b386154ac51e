import type { Answer } from './answer.ts'
import { endpointNames, isEndpointName } from './endpoints.ts'
import type { EndpointName } from './endpoints.ts'

/**
 * What goes wrong with a call. A `delay` is applied first, and may be the only member. If several of the others are given,
 * `hang` wins over `reset`, and `reset` wins over an answer.
 */
export interface Fault {
  /** The answer's status. Defaults to 200 if `body` or `headers` is given. */
  readonly status?: number
  /** The answer's body. A string is sent as it is, an object as JSON. Defaults to an empty body. */
  readonly body?: string | object
  readonly headers?: Readonly<Record<string, string>>
  /** How long the simulator waits before anything else happens, in real milliseconds. */
  readonly delay?: number
  /** Never answers and keeps the connection open. */
  readonly hang?: boolean
  /** Ends the connection with a TCP reset. */
  readonly reset?: boolean
  /**
   * Whether the simulator carries the call out before the fault, so that only the answer is lost. The code is then spent, or
   * the token revoked. Defaults to false.
   */
  readonly handled?: boolean
  /** How many calls fail. Defaults to 1. With `Infinity`, all following calls fail. */
  readonly times?: number
}

/** The most common faults, by name. */
export const namedFaults = {
  slow: { delay: 3000 },
  silent: { hang: true },
  reset: { reset: true },
  rate_limited: { status: 429, headers: { 'retry-after': '30' }, body: { message: 'Too many requests', code: 'too_many_requests' } },
  unavailable: { status: 503, body: { message: 'Service unavailable', code: 'service_unavailable' } },
  html: { headers: { 'content-type': 'text/html; charset=utf-8' }, body: '<!doctype html><title>Something else answers here</title>' },
  half_body: { headers: { 'content-type': 'application/json; charset=utf-8' }, body: '{"access_token":"' },
  error_in_200: { body: { error: 'server_error', error_description: 'This answer has the status 200' } }
} as const satisfies Readonly<Record<string, Fault>>

/** The name of a fault. */
export type FaultName = keyof typeof namedFaults

/** Tells whether a text is the name of a fault. */
export function isFaultName (name: unknown): name is FaultName {
  return typeof name === 'string' && Object.hasOwn(namedFaults, name)
}

const faultNames: ReadonlySet<string> = new Set(['status', 'body', 'headers', 'delay', 'hang', 'reset', 'handled', 'times'])

/** The queued faults of each endpoint, in the order in which they were added. Each call takes the first one. */
export class Faults {
  readonly #queues: Readonly<Record<EndpointName, Array<{ fault: Fault, name: string, left: number }>>> = {
    authorize: [], token: [], revoke: [], introspect: [], authorizedBy: [], sites: [], site: [], resolve: []
  }

  /** Queues a fault. Throws a TypeError when the endpoint, a member or a number is not valid. */
  add (endpoint: EndpointName, wanted: Fault | FaultName): void {
    if (!isEndpointName(endpoint)) throw new TypeError(`The simulator has no endpoint \`${endpoint}\`: choose one of ${endpointNames.join(', ')}`)
    const fault = typeof wanted === 'string' ? faultOf(wanted) : wanted
    const unknown = Object.keys(fault).find((name) => !faultNames.has(name))
    if (unknown !== undefined) throw new TypeError(`A fault has no member \`${unknown}\`: choose among ${[...faultNames].join(', ')}`)
    if (Object.keys(fault).every((name) => name === 'times' || name === 'handled')) throw new TypeError(`A fault needs at least one of ${[...faultNames].filter((name) => name !== 'times' && name !== 'handled').join(', ')}`)
    const { times = 1, status = 200, delay = 0 } = fault
    if (!(times >= 1)) throw new TypeError('`times` of a fault must be at least 1')
    if (!(Number.isInteger(status) && status >= 200 && status <= 599)) throw new TypeError('`status` of a fault must be a whole number from 200 to 599')
    if (!(delay >= 0)) throw new TypeError('`delay` of a fault must be a number of milliseconds, 0 or more')
    this.#queues[endpoint].push({ fault, name: typeof wanted === 'string' ? wanted : 'a fault', left: times })
  }

  /** The next fault of each endpoint, in words. */
  get waiting (): string[] {
    return endpointNames.flatMap((endpoint) => this.#queues[endpoint].slice(0, 1).map(({ name }) => `${endpoint} (${name})`))
  }

  /** Takes the next fault of an endpoint from its queue; null when there is none. */
  take (endpoint: EndpointName): Fault | null {
    const queue = this.#queues[endpoint]
    const [next] = queue
    if (next === undefined) return null
    next.left -= 1
    if (next.left < 1) queue.shift()
    return next.fault
  }
}

function faultOf (name: string): Fault {
  if (!isFaultName(name)) throw new TypeError(`The simulator has no fault with this name: choose one of ${Object.keys(namedFaults).join(', ')}, or pass an object that describes a fault`)
  return namedFaults[name]
}

/** Makes the answer that a fault gives instead of the endpoint's answer; null when the fault gives none. */
export function answerOf ({ status, body, headers }: Fault): Answer | null {
  if (status === undefined && body === undefined && headers === undefined) return null
  return {
    status: status ?? 200,
    headers: { 'content-type': `${typeof body === 'object' ? 'application/json' : 'text/plain'}; charset=utf-8`, ...headers },
    body: typeof body === 'object' ? JSON.stringify(body) : body ?? ''
  }
}

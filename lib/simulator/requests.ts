import type { IncomingHttpHeaders } from 'node:http'
import type { EndpointName } from './endpoints.ts'
import type { Fields } from './parameters.ts'

/** A request an endpoint received. It holds secrets and tokens as they were sent: do not print it. */
export interface RecordedRequest {
  readonly method: string
  /** The path, without the query. */
  readonly path: string
  readonly headers: IncomingHttpHeaders
  /** The query of a GET, the parsed body of a POST; a form field sent twice is a list, an unreadable body is empty. */
  readonly parameters: Fields
  /** When it came, in Unix milliseconds. */
  readonly at: number
}

/** The requests of each endpoint, oldest first. */
export type RecordedRequests = Readonly<Record<EndpointName, readonly RecordedRequest[]>>

const limit = 1000

/** Keeps the last 1000 requests of each endpoint. */
export class RequestRecorder {
  readonly requests: Readonly<Record<EndpointName, RecordedRequest[]>> = {
    authorize: [], token: [], revoke: [], introspect: [], authorizedBy: [], sites: []
  }

  /** Records a request. */
  add (endpoint: EndpointName, request: RecordedRequest): void {
    const list = this.requests[endpoint]
    list.push(request)
    if (list.length > limit) list.shift()
  }
}

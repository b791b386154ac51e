import type { IncomingHttpHeaders } from 'node:http'
import type { EndpointName } from './endpoints.ts'
import type { Fields } from './parameters.ts'

/** A request that an endpoint received. Do not print it: it holds the secrets and tokens that were sent. */
export interface RecordedRequest {
  readonly method: string
  /** The path, without the query. */
  readonly path: string
  readonly headers: IncomingHttpHeaders
  /**
   * The query of a GET or the parsed body of a POST. A form field that was sent twice is a list. An unreadable body counts as
   * empty.
   */
  readonly parameters: Fields
  /** When the request arrived, in Unix milliseconds. */
  readonly at: number
}

/** The requests of each endpoint, oldest first. */
export type RecordedRequests = Readonly<Record<EndpointName, readonly RecordedRequest[]>>

const limit = 1000

/** Keeps the last 1000 requests of each endpoint. */
export class RequestRecorder {
  readonly requests: Readonly<Record<EndpointName, RecordedRequest[]>> = {
    authorize: [], token: [], revoke: [], introspect: [], authorizedBy: [], sites: [], site: [], resolve: []
  }

  /** Records a request. */
  add (endpoint: EndpointName, request: RecordedRequest): void {
    const list = this.requests[endpoint]
    list.push(request)
    if (list.length > limit) list.shift()
  }
}

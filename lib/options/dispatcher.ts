/**
 * What the plugin uses of a Dispatcher: an Agent, a ProxyAgent, a MockAgent of any undici from 5 to 8. Spelled as a shape,
 * since the types of two versions do not fit each other, and no version can work with a dispatcher of another but by the
 * dispatcher's own methods.
 */
export interface Dispatcher {
  request (options: DispatcherRequest): Promise<DispatcherResponse>
}

/** A request as every version of undici takes it. */
export interface DispatcherRequest {
  origin: string
  path: string
  method: 'GET' | 'POST'
  headers: Record<string, string>
  body: string | null
  signal: AbortSignal
  /** 0 for none. */
  headersTimeout: number
  /** 0 for none. */
  bodyTimeout: number
  maxRedirections: number
}

/** What the plugin reads of a response. */
export interface DispatcherResponse {
  statusCode: number
  body: AsyncIterable<Uint8Array>
}

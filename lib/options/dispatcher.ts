import type { EventEmitter } from 'node:events'

/**
 * The part of an undici Dispatcher that the plugin uses. Every Agent, ProxyAgent and MockAgent of undici 5 to 8 has it.
 * The plugin declares this interface itself, because the types of two undici versions are incompatible. At run time,
 * calling the dispatcher's own methods is the only thing that works with every version.
 */
export interface Dispatcher {
  request (options: DispatcherRequest): Promise<DispatcherResponse>
}

/** A request in the form that every version of undici accepts. */
export interface DispatcherRequest {
  origin: string
  path: string
  method: 'GET' | 'POST'
  headers: Record<string, string>
  body: string | null
  /** Emits `abort`. */
  signal: EventEmitter
  /** 0 means no timeout. */
  headersTimeout: number
  /** 0 means no timeout. */
  bodyTimeout: number
  maxRedirections: number
}

/** The part of a response that the plugin reads. */
export interface DispatcherResponse {
  statusCode: number
  body: ResponseBody
}

/** The part of a response's body that the plugin uses: a stream. */
export interface ResponseBody {
  on (event: 'data', listener: (chunk: Uint8Array) => void): unknown
  on (event: 'end', listener: () => void): unknown
  on (event: 'error', listener: (error: Error) => void): unknown
  destroy (): unknown
}

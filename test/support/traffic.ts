import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { rememberSecrets } from './logs.ts'

/** A request that reached a server. */
export interface Arrival {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: IncomingHttpHeaders
}

/** A request that is kept waiting. */
export interface Held {
  /** Resolves once the request is there. */
  readonly arrived: Promise<void>
  /** Lets the request continue. */
  release (): void
}

/** Records the requests that reach a server, and can keep one of them waiting. */
export class Traffic {
  /** All requests, oldest first. */
  readonly arrivals: Arrival[] = []
  readonly #waiting: Array<{ path: string, arrive: () => void, released: Promise<void> }> = []

  /** Watches a server that does not listen yet. */
  constructor (server: FastifyInstance) {
    server.addHook('onRequest', async ({ method, url, headers }) => {
      const { pathname: path, searchParams: query } = new URL(url, 'http://localhost')
      rememberSecrets(query.get('code'), query.get('state'))
      this.arrivals.push({ method, path, query, headers })
      const index = this.#waiting.findIndex((held) => held.path === path)
      for (const held of index < 0 ? [] : this.#waiting.splice(index, 1)) {
        held.arrive()
        await held.released
      }
    })
  }

  /** Finds the requests to a path. */
  to (path: string): Arrival[] {
    return this.arrivals.filter((arrival) => arrival.path === path)
  }

  /** Keeps the next request to a path waiting. A second call keeps the one after that waiting too. */
  hold (path: string): Held {
    let arrive = () => {}
    let release = () => {}
    const arrived = new Promise<void>((resolve) => { arrive = resolve })
    const released = new Promise<void>((resolve) => { release = resolve })
    this.#waiting.push({ path, arrive, released })
    return { arrived, release: () => release() }
  }
}

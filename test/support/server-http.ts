import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import { createServer as createNetServer, type AddressInfo, type Server, type Socket } from 'node:net'
import type { Test } from 'tap'

/** A request as a server read it. */
export interface SeenRequest {
  method: string | undefined
  url: string | undefined
  headers: IncomingHttpHeaders
  body: string
}

/** A server on loopback, with the requests and connections that it got. */
export interface TestServer {
  url: string
  /** The requests whose bodies were read to the end, oldest first. */
  requests: SeenRequest[]
  /** Every connection that was opened, oldest first. */
  sockets: Socket[]
}

/** Starts an HTTP server that answers when it has read the whole request. */
export async function startHttp (t: Test, answer: (response: ServerResponse, request: SeenRequest) => unknown): Promise<TestServer> {
  const requests: SeenRequest[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const seen = { method: request.method, url: request.url, headers: request.headers, body: Buffer.concat(chunks).toString() }
      requests.push(seen)
      answer(response, seen)
    })
  })
  // The server keeps idle connections open for longer than any test, so only the client can close one.
  server.keepAliveTimeout = 60_000
  return { ...await listen(t, server), requests }
}

/** Starts a TCP server. The test decides what happens with a connection. */
export async function startTcp (t: Test, connected: (socket: Socket) => unknown): Promise<Omit<TestServer, 'requests'>> {
  return await listen(t, createNetServer(connected))
}

/** Returns a URL on loopback at which nobody listens. */
export async function closedUrl (): Promise<string> {
  const server = createNetServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = urlOf(server.address())
  server.close()
  await once(server, 'close')
  return url
}

async function listen (t: Test, server: Server): Promise<Omit<TestServer, 'requests'>> {
  const sockets: Socket[] = []
  server.on('connection', (socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { url: urlOf(server.address()), sockets }
}

function urlOf (address: AddressInfo | string | null): string {
  if (address === null || typeof address === 'string') throw new TypeError('The server has no port')
  return `http://127.0.0.1:${address.port}/`
}

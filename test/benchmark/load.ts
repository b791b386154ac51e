import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** How many requests are under way at a time, each on a connection of its own. */
export const concurrency = 32

/** What a client sends. */
export interface Request {
  path: string
  cookie: string
}

/** A client of one server. */
export interface Client {
  /** Sends requests and resolves with the heads of the answers in their order, and with how long each took, in milliseconds. Rejects on a status of 400 or more. */
  send (requests: readonly Request[]): Promise<{ heads: string[], latencies: number[] }>
  close (): void
}

/** Creates the client of a server on loopback: bare sockets, since whoever sends must be faster than whoever answers. */
export function createClient (port: number): Client {
  let sockets: Socket[] = []
  return {
    async send (requests) {
      sockets = sockets.filter((socket) => socket.writable)
      const missing = Array.from({ length: concurrency - sockets.length }, () => connect(port, '127.0.0.1').setNoDelay())
      await Promise.all(missing.map((socket) => once(socket, 'connect')))
      sockets.push(...missing)
      const lines = requests.map(({ path, cookie }) => `GET ${path} HTTP/1.1\r\nhost: app.example.com\r\n${cookie === '' ? '' : `cookie: ${cookie}\r\n`}\r\n`)
      const heads: string[] = []
      const latencies: number[] = []
      const queue = lines.entries()
      await Promise.all(sockets.map((socket) => drain(socket, queue, heads, latencies)))
      return { heads, latencies }
    },
    close () {
      for (const socket of sockets) socket.destroy()
    }
  }
}

/** Sends one request after the other on a connection, until the queue is empty. */
async function drain (socket: Socket, queue: Iterator<[number, string]>, heads: string[], latencies: number[]): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    let current = queue.next()
    let began = 0
    let read = ''
    const ended = () => { finish(new Error('the server closed a connection')) }
    const finish = (error?: Error) => {
      socket.off('data', take).off('close', ended).off('error', finish)
      if (error === undefined) resolve()
      else reject(error)
    }
    const send = () => {
      if (current.done === true) return finish()
      began = performance.now()
      socket.write(current.value[1], 'latin1')
    }
    const take = (chunk: Buffer) => {
      read += chunk.toString('latin1')
      const end = read.indexOf('\r\n\r\n') + 4
      if (end < 4) return
      const length = Number(/\r\ncontent-length: (\d+)/i.exec(read)?.[1])
      if (read.length < end + length) return
      if (current.done === true || Number(read.slice(9, 12)) >= 400 || read.length !== end + length) return finish(new Error(`unexpected answer to ${current.value?.[1]}\n${read}`))
      latencies.push(performance.now() - began)
      heads[current.value[0]] = read.slice(0, end)
      read = ''
      current = queue.next()
      send()
    }
    socket.on('data', take).on('close', ended).on('error', finish)
    send()
  })
}

/** A part of what is measured: requests, and the requests that follow from the answers to them. */
export interface Work {
  requests: readonly Request[]
  next?: (heads: readonly string[]) => Request[]
}

/** Makes the work of a round, of the size that is asked for. What the work needs is made before, unmeasured. */
export type Source = (count: number) => Promise<Work>

/** Sends the requests of a round; resolves with how long each took, in milliseconds. */
export async function sendWork (client: Client, { requests, next }: Work): Promise<number[]> {
  const { heads, latencies } = await client.send(requests)
  return next === undefined ? latencies : [...latencies, ...(await client.send(next(heads))).latencies]
}

/** What a contender is sent: prepared once for each process. */
export type Plan = (client: Client) => Promise<Source>

/** The same request each time. */
export function always (path: string, cookie = ''): Plan {
  return async () => async (count) => ({ requests: repeated(path, count, cookie) })
}

/** Requests of so many browsers with a session, at random; each was opened by a flow, or at `/login`. */
export function withSessions (path: string, { opened = 'flow', browsers = 1000 }: { opened?: 'flow' | 'login', browsers?: number } = {}): Plan {
  return async (client) => {
    const cookies = opened === 'flow'
      ? await connectBrowsers(client, browsers)
      : (await client.send(repeated('/login', browsers))).heads.map((head) => cookieHeader(cookiesOf(head)))
    return async (count) => ({ requests: Array.from({ length: count }, () => ({ path, cookie: cookies[Math.floor(Math.random() * cookies.length)] ?? '' })) })
  }
}

/** Whole flows: each begins at the authorize route, and ends with its callback. */
export function wholeFlows (authorizePath = '/webflow/authorize'): Plan {
  return async (client) => {
    // That connecting works, and leads to a session.
    const cookies = await connectBrowsers(client, 10, authorizePath)
    await client.send(cookies.map((cookie) => ({ path: '/me', cookie })))
    return async (count) => ({ requests: repeated(authorizePath, count), next: (heads) => heads.map(callbackOf).map(({ path, cookies }) => ({ path, cookie: cookieHeader(cookies) })) })
  }
}

function repeated (path: string, count: number, cookie = ''): Request[] {
  return Array.from({ length: count }, () => ({ path, cookie }))
}

async function connectBrowsers (client: Client, browsers: number, authorizePath?: string): Promise<string[]> {
  const flows = await beginFlows(client, browsers, authorizePath)
  const { heads } = await client.send(flows.map(({ path, cookies }) => ({ path, cookie: cookieHeader(cookies) })))
  // The cookies of flows are gone a minute later.
  return heads.map((head, index) => cookieHeader([...flows[index]?.cookies ?? [], ...cookiesOf(head)].filter(([name]) => !name.includes('_flow_'))))
}

async function beginFlows (client: Client, count: number, authorizePath = '/webflow/authorize') {
  const { heads } = await client.send(repeated(authorizePath, count))
  return heads.map(callbackOf)
}

/** Makes the callback that follows an answer of the authorize route, as Webflow would. */
function callbackOf (head: string) {
  const { searchParams } = new URL(/\r\nlocation: (.*)\r\n/i.exec(head)?.[1] ?? '')
  const query = new URLSearchParams({ code: 'a'.repeat(64), state: searchParams.get('state') ?? '' })
  return { path: `${new URL(searchParams.get('redirect_uri') ?? '').pathname}?${query}`, cookies: cookiesOf(head) }
}

function cookiesOf (head: string): Array<readonly [string, string]> {
  return [...head.matchAll(/\r\nset-cookie: ([^=]+)=([^;\r]*)/gi)].map(([, name = '', value = '']) => [name, value] as const)
}

/** As a browser would send them back: the last of each name, none that have ended. */
function cookieHeader (cookies: Iterable<readonly [string, string]>): string {
  return [...new Map(cookies)].filter(([, value]) => value !== '').map(([name, value]) => `${name}=${value}`).join('; ')
}

import type { Test } from 'tap'
import { request } from 'undici'
import { createSimulator } from '../../lib/simulator/index.ts'
import type { Simulator, SimulatorOptions } from '../../lib/simulator/index.ts'

/** The app of the simulator's tests. */
export const app = {
  clientId: 'c1'.repeat(32),
  clientSecret: '5e'.repeat(32),
  name: 'Tidy <Sites>',
  redirectUris: ['https://app.example.com/webflow/callback', 'http://localhost:3000/callback?from=webflow'],
  scope: ['sites:read', 'cms:read', 'cms:write', 'authorized_user:read']
} as const

/** The sites and workspaces that the simulator has by default. */
export const ids = {
  studio: '52f3b1f7eafac55d0c64ef91',
  engine: '62f3b1f7eafac55d0c64ef91',
  notes: '62f3b1f7eafac55d0c64ef92',
  park: '52f3b1f7eafac55d0c64ef92',
  gardens: '62f3b1f7eafac55d0c64ef93'
} as const

/** A simulator with one app, and the calls that tests make to it. */
export interface Bench {
  readonly webflow: Simulator
  /** Builds an authorize URL. A parameter that is null is left out. */
  authorizeUrl (parameters?: Readonly<Record<string, string | null>>): string
  /** Authorizes without a redirect URI and exchanges the code. */
  connect (pick?: Parameters<Simulator['approve']>[1]): Promise<string>
  /** Posts JSON to the token endpoint. A parameter that is undefined is left out. */
  exchange (code: string, parameters?: Readonly<Record<string, unknown>>): Promise<Reply>
  /** Posts JSON to the revocation endpoint. */
  revoke (parameters: Readonly<Record<string, unknown>>): Promise<Reply>
  /** Reads from the Data API. */
  get (path: string, accessToken?: string): Promise<Reply>
}

/** A status and a JSON body. */
export interface Reply {
  readonly status: number
  readonly body: unknown
}

/** Starts a simulator. It closes when the test ends. */
export async function start (t: Test, options: Partial<SimulatorOptions> = {}): Promise<Bench> {
  const webflow = createSimulator({ app, ...options })
  t.teardown(() => webflow.close())
  const url = await webflow.listen()
  const credentials = { client_id: app.clientId, client_secret: app.clientSecret }

  async function exchange (code: string, parameters: Readonly<Record<string, unknown>> = {}): Promise<Reply> {
    return post(webflow.endpoints.token, { ...credentials, grant_type: 'authorization_code', code, ...parameters })
  }

  function authorizeUrl (parameters: Readonly<Record<string, string | null>> = {}): string {
    const query = new URLSearchParams()
    const all = { response_type: 'code', client_id: app.clientId, scope: app.scope.join(' '), ...parameters }
    for (const [name, value] of Object.entries(all)) if (value !== null) query.set(name, value)
    return `${webflow.endpoints.authorize}?${query.toString()}`
  }

  return {
    webflow,
    authorizeUrl,
    exchange,
    revoke: (parameters) => post(webflow.endpoints.revoke, { ...credentials, ...parameters }),
    async connect (pick) {
      const { body } = await exchange(parameter(await webflow.approve(authorizeUrl(), pick), 'code'))
      return member(body, 'access_token')
    },
    async get (path, accessToken) {
      const { statusCode, body } = await request(`${url}${path}`, {
        headers: accessToken === undefined ? {} : { authorization: `Bearer ${accessToken}` }
      })
      return { status: statusCode, body: await body.json() }
    }
  }
}

/** Reads a parameter of a URL's query; an empty string if it is missing. */
export function parameter (url: string, name: string): string {
  return new URL(url).searchParams.get(name) ?? ''
}

/** Reads a string member of a JSON object; an empty string if it is missing. */
export function member (body: unknown, name: string): string {
  return typeof body === 'object' && body !== null ? `${new Map(Object.entries(body)).get(name) ?? ''}` : ''
}

async function post (url: string, parameters: Readonly<Record<string, unknown>>): Promise<Reply> {
  const { statusCode, body } = await request(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(parameters)
  })
  return { status: statusCode, body: await body.json() }
}

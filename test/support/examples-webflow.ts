import type { Test } from 'tap'
import { createSimulator } from '../../lib/simulator/index.ts'
import type { Simulator, SimulatorOptions } from '../../lib/simulator/index.ts'
import type { Output } from './examples-process.ts'
import { freePort } from './free-port.ts'

/** The credentials of an example. */
export interface Credentials {
  WEBFLOW_CLIENT_ID: string
  WEBFLOW_CLIENT_SECRET: string
  APP_SECRET: string
}

/** A Webflow for an example. */
export interface Surroundings {
  webflow: Simulator
  /** The origin at which Webflow expects the example. */
  home: string
  /** The environment variables with which the example finds the credentials and this Webflow. */
  env: Record<string, string>
  /** Checks that a text holds no secret, token or code that this Webflow knows. */
  assertNothingPrinted (t: Test, output: Output): void
}

/** Starts a Webflow that knows the credentials of an example. It ends with the test. */
export async function startWebflow (t: Test, credentials: Credentials, behavior: SimulatorOptions['behavior'] = {}): Promise<Surroundings> {
  const { WEBFLOW_CLIENT_ID: clientId, WEBFLOW_CLIENT_SECRET: clientSecret, APP_SECRET } = credentials
  const port = await freePort()
  const home = `http://localhost:${port}`
  const redirectUri = `${home}/webflow/callback`
  const webflow = createSimulator({ app: { clientId, clientSecret, redirectUris: [redirectUri], scope: ['sites:read', 'authorized_user:read'] }, behavior })
  t.teardown(() => webflow.close())
  const url = await webflow.listen()
  return {
    webflow,
    home,
    env: { ...credentials, WEBFLOW_URL: url, WEBFLOW_REDIRECT_URI: redirectUri, PORT: String(port) },
    assertNothingPrinted (t, { stdout, stderr }) {
      const { token, sites, introspect } = webflow.requests
      const codes = token.map(({ parameters }) => String(parameters['code']))
      const tokens = [...sites, ...introspect].map(({ headers }) => String(headers.authorization).replace('Bearer ', ''))
      t.ok(codes.length > 0 && tokens.length > 0)
      t.notOk([clientSecret, APP_SECRET, ...codes, ...tokens].some((secret) => `${stdout}${stderr}`.includes(secret)), 'no secret is printed')
    }
  }
}

/** The user who is signed in at first. */
export const ada = { id: '545bbecb7bdd6769632504a7', email: 'ada@example.com', firstName: 'Ada', lastName: 'Lovelace' } as const
/** Another user with a Webflow account. */
export const grace = { id: '545bbecb7bdd6769632504a8', email: 'grace@example.com', firstName: 'Grace', lastName: 'Hopper' } as const

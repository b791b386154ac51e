import type { Test } from 'tap'
import { createSimulator } from '../../lib/simulator/index.ts'
import type { Simulator } from '../../lib/simulator/index.ts'
import { startExample, type Output } from './examples-process.ts'
import { ada } from './examples-webflow.ts'
import { freePort } from './free-port.ts'

/** A program of a guide, and the Webflow that it knows. */
export interface MovingOverApp {
  webflow: Simulator
  /** Its origin. */
  home: string
  /** All that it has printed so far. */
  output: Output
  /** The tokens that Webflow was shown, and the codes. */
  secrets (): string[]
}

/** What a program of a guide needs. */
export interface Program {
  /** Below `examples/moving-over`. */
  file: string
  /** The path of the redirect URI that is registered at Webflow. */
  callbackPath: string
  /** The environment that it has in both its states. */
  env: Record<string, string>
}

/** The credentials that the programs have at Webflow. */
export const credentials = { clientId: 'c'.repeat(64), clientSecret: 's'.repeat(64) } as const

/** A site that people pick unless told otherwise, and one of another workspace. */
export const sites = { engine: '62f3b1f7eafac55d0c64ef91', gardens: '62f3b1f7eafac55d0c64ef93' } as const

/** Starts a program of a guide beside a Webflow of its own, until the test ends. */
export async function startMovingOver (t: Test, { file, callbackPath, env }: Program): Promise<MovingOverApp> {
  const port = await freePort()
  const home = `http://localhost:${port}`
  const webflow = createSimulator({ app: { ...credentials, redirectUris: [`${home}${callbackPath}`], scope: ['sites:read'] }, user: ada })
  t.teardown(() => webflow.close())
  const url = await webflow.listen()
  const { output } = await startExample(t, `examples/moving-over/${file}`, {
    env: { ...env, WEBFLOW_URL: url, PORT: String(port) },
    up: /Server listening at (http:\/\/[^"]+)/
  })
  return {
    webflow,
    home,
    output,
    secrets: () => [
      ...webflow.requests.token.map(({ parameters }) => String(parameters['code'])),
      ...webflow.requests.sites.map(({ headers }) => String(headers.authorization).replace('Bearer ', ''))
    ]
  }
}

import type { Test } from 'tap'
import { createSimulator } from '../../lib/simulator/index.ts'
import type { Simulator } from '../../lib/simulator/index.ts'
import { startExample, type Output } from './examples-process.ts'
import { ada } from './examples-webflow.ts'
import { freePort } from './free-port.ts'

/** A running program of a guide, and its Webflow. */
export interface MovingOverApp {
  webflow: Simulator
  /** The origin of the program. */
  home: string
  /** Everything that the program has printed so far. */
  output: Output
  /** The tokens and the codes that Webflow has received. */
  secrets (): string[]
}

/** Where a program of a guide is, and what it needs. */
export interface Program {
  /** The path of the program below `examples/moving-over`. */
  file: string
  /** The path of the redirect URI that is registered at Webflow. */
  callbackPath: string
  /** The environment variables of the program, before the change and after it. */
  env: Record<string, string>
}

/** The credentials that the programs have at Webflow. */
export const credentials = { clientId: 'c'.repeat(64), clientSecret: 's'.repeat(64) } as const

/** The site that people pick by default, and a site of another workspace. */
export const sites = { engine: '62f3b1f7eafac55d0c64ef91', gardens: '62f3b1f7eafac55d0c64ef93' } as const

/** Starts a program of a guide, with a Webflow of its own. Both end with the test. */
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

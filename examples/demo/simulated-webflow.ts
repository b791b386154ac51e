import { createSimulator, type AppOptions, type Simulator } from 'fastify-webflow-oauth/simulator'
import { serveExtension } from '../designer/serve-extension.ts'

/** A Webflow on this machine that knows the demo and its Designer Extension. */
export interface SimulatedWebflow {
  simulator: Simulator
  /** The origin from which the extension calls the demo. */
  extensionOrigin: string
  close (): Promise<void>
}

/** Starts a Webflow on this machine, and serves the example extension to its Designer. */
export async function simulateWebflow ({ redirectUri, ...credentials }: Pick<AppOptions, 'clientId' | 'clientSecret'> & { redirectUri: string }): Promise<SimulatedWebflow> {
  const extension = await serveExtension({ port: 0, appUrl: new URL(redirectUri).origin })
  const simulator = createSimulator({
    app: { ...credentials, name: 'Fastify Demo', redirectUris: [redirectUri], scope: ['sites:read', 'authorized_user:read'], extensionUrl: extension.origin }
  })
  await simulator.listen()
  return { simulator, extensionOrigin: extension.origin, close: async () => { await Promise.all([simulator.close(), extension.close()]) } }
}

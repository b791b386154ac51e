import type { FastifyInstance } from 'fastify'
import { readAuthorizationRequest } from './authorization-request.ts'
import type { AuthorizationRequest } from './authorization-request.ts'
import { Authorizations } from './authorizations.ts'
import { approve, deny } from './authorize.ts'
import type { EndpointName } from './endpoints.ts'
import { Faults } from './faults.ts'
import type { Fault, FaultName } from './faults.ts'
import { assertUser, completeOptions } from './options.ts'
import type { App, SimulatorOptions, User } from './options.ts'
import { RequestRecorder } from './requests.ts'
import type { RecordedRequests } from './requests.ts'
import { defaultSelection } from './selection.ts'
import type { SitesOrWorkspace } from './selection.ts'
import { createServer } from './server.ts'
import type { Webflow } from './webflow.ts'

/** A local Webflow. */
export interface Simulator {
  /** The Fastify instance that serves it, for `inject()`. */
  readonly server: FastifyInstance
  /** Its origin, `http://127.0.0.1:port`; the Data API is under `/v2` of it. Throws before `listen` and after `close`. */
  readonly url: string
  /** The URLs an app sends people and requests to, in the shape of the plugin's option. Throws before `listen`. */
  readonly endpoints: Readonly<Record<'authorize' | 'token' | 'revoke' | 'introspect' | 'authorizedBy', string>>
  /** What each endpoint was asked, oldest first, with secrets and tokens as sent; the last 1000. */
  readonly requests: RecordedRequests
  /** Listens, on a free port of 127.0.0.1 unless told otherwise, and resolves with `url`. */
  listen (options?: { readonly port?: number, readonly host?: string }): Promise<string>
  /** Stops at once, whatever is still hanging. */
  close (): Promise<void>
  /**
   * Follows an authorize URL, of the simulator or of webflow.com, and approves with the first site there is or what is
   * picked; resolves with the URL the browser is sent to, which is an error's where Webflow would redirect with one.
   * Rejects where Webflow would show an error page.
   */
  approve (authorizeUrl: string, pick?: SitesOrWorkspace): Promise<string>
  /** Follows an authorize URL and denies; resolves and rejects as `approve` does. */
  deny (authorizeUrl: string): Promise<string>
  /** Installs the app, the first one unless named, from Webflow's side; resolves with a callback URL that has `code` and no `state`. */
  install (options?: SitesOrWorkspace & { readonly clientId?: string }): Promise<string>
  /** Ends every token and all that the signed-in user granted to the app, the first one unless named, behind the app's back. */
  uninstall (clientId?: string): void
  /** Ends one token behind the app's back; tells whether it was alive. */
  revokeToken (accessToken: string): boolean
  /** Makes somebody else the user of all that follows. Throws a TypeError for what is no user. */
  signIn (user: User): void
  /** Makes the next call, or the next `times` calls, to an endpoint fail; faults queue up. Throws a TypeError for a fault that makes no sense. */
  fail (endpoint: EndpointName, fault: Fault | FaultName): void
}

/** Creates a local Webflow; throws a TypeError that names the option at fault. */
export function createSimulator (options: SimulatorOptions): Simulator {
  const config = completeOptions(options)
  const webflow: Webflow = { config, authorizations: new Authorizations(config), user: config.user }
  const recorder = new RequestRecorder()
  const faults = new Faults()
  const closing = new AbortController()
  const server = createServer({ webflow, recorder, faults, closing: closing.signal })
  let url: string | null = null

  function listeningUrl (): string {
    if (url === null) throw new Error('The simulator is not listening: await `listen()` first')
    return url
  }

  function appOf (clientId: string | undefined): App {
    const app = clientId === undefined ? config.defaultApp : config.apps.get(clientId)
    if (app === undefined) throw new TypeError('The simulator has no app with this `clientId`')
    return app
  }

  async function follow (authorizeUrl: string, decide: (request: AuthorizationRequest) => string): Promise<string> {
    const { pathname, search, searchParams } = new URL(authorizeUrl, 'https://webflow.com')
    const { statusCode, headers } = await server.inject(`${pathname}${search}`)
    if (headers.location !== undefined) return headers.location
    if (statusCode === 404) throw new Error(`There is nothing to approve or deny at ${pathname}, status 404: pass the \`location\` to which the app has redirected. Has it?`)
    const reading = readAuthorizationRequest(searchParams, config)
    if (statusCode !== 200 || reading.kind !== 'request') {
      throw new Error(`The authorize URL is answered with status ${statusCode}${reading.kind === 'refused' ? `: ${reading.message}` : ''}`)
    }
    return decide(reading.request)
  }

  async function approveUrl (authorizeUrl: string, pick: SitesOrWorkspace = {}): Promise<string> {
    const { siteIds, workspaceId } = pick
    const selection = siteIds === undefined && workspaceId === undefined
      ? defaultSelection(config.workspaces)
      : { siteIds: siteIds ?? [], workspaceIds: workspaceId === undefined ? [] : [workspaceId] }
    return follow(authorizeUrl, (request) => {
      const approval = approve(webflow, request, selection)
      if (approval.kind === 'refused') throw new Error(approval.message)
      return approval.location
    })
  }

  return {
    server,
    requests: recorder.requests,
    get url () {
      return listeningUrl()
    },
    get endpoints () {
      const origin = listeningUrl()
      return {
        authorize: `${origin}/oauth/authorize`,
        token: `${origin}/oauth/access_token`,
        revoke: `${origin}/oauth/revoke_authorization`,
        introspect: `${origin}/v2/token/introspect`,
        authorizedBy: `${origin}/v2/token/authorized_by`
      }
    },
    async listen ({ port = 0, host = '127.0.0.1' } = {}) {
      url = await server.listen({ port, host })
      return url
    },
    async close () {
      url = null
      closing.abort()
      await server.close()
    },
    approve: approveUrl,
    async deny (authorizeUrl) {
      return follow(authorizeUrl, (request) => deny(webflow, request))
    },
    async install ({ clientId, ...pick } = {}) {
      const { headers } = await server.inject(`/install/${encodeURIComponent(appOf(clientId).clientId)}`)
      return approveUrl(`${headers.location}`, pick)
    },
    uninstall (clientId) {
      webflow.authorizations.uninstall(webflow.user, appOf(clientId))
    },
    revokeToken (accessToken) {
      const token = webflow.authorizations.find(accessToken)
      if (token === undefined) return false
      webflow.authorizations.revoke(token)
      return true
    },
    signIn (user) {
      assertUser(user)
      webflow.user = user
    },
    fail (endpoint, fault) {
      faults.add(endpoint, fault)
    }
  }
}

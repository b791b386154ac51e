import { setMaxListeners } from 'node:events'
import type { FastifyInstance } from 'fastify'
import { readAuthorizationRequest } from './authorization-request.ts'
import type { AuthorizationRequest } from './authorization-request.ts'
import { Authorizations } from './authorizations.ts'
import { approve, deny } from './authorize.ts'
import type { EndpointName } from './endpoints.ts'
import { Faults } from './faults.ts'
import type { Fault, FaultName } from './faults.ts'
import { IdTokens } from './id-tokens.ts'
import { assertUser, completeOptions } from './options.ts'
import type { App, SimulatorOptions, User } from './options.ts'
import { isOfOtherRegion, siteOrigin } from './regions.ts'
import { RequestRecorder } from './requests.ts'
import type { RecordedRequests } from './requests.ts'
import { defaultSelection } from './selection.ts'
import type { Selection, SitesOrWorkspace } from './selection.ts'
import { createServer } from './server.ts'
import type { Webflow } from './webflow.ts'
import { deliver } from './webhook.ts'
import type { Delivery, DeliveryOptions, Webhook, WebhookTarget } from './webhook.ts'

/** A simulated Webflow on this machine. */
export interface Simulator {
  /** The Fastify instance that serves the simulator, for `inject()`. */
  readonly server: FastifyInstance
  /**
   * The origin of the simulator, such as `http://127.0.0.1:4000`. The Data API is below its path `/v2`. Throws before
   * `listen` and after `close`.
   */
  readonly url: string
  /** The simulator's URLs, in the form of the plugin's option `endpoints`. Throws before `listen` and after `close`. */
  readonly endpoints: Readonly<Record<'authorize' | 'token' | 'revoke' | 'introspect' | 'authorizedBy' | 'resolve', string>>
  /** The last 1000 requests to each endpoint, oldest first. They hold secrets and tokens as they were sent. */
  readonly requests: RecordedRequests
  /** Starts to listen and resolves with `url`. Defaults to a free port of 127.0.0.1. */
  listen (options?: { readonly port?: number, readonly host?: string }): Promise<string>
  /** Stops the simulator at once, even if calls are still waiting for an answer. */
  close (): Promise<void>
  /**
   * Opens an authorize URL, of the simulator or of webflow.com (in the region `eu` of eu.webflow.com), and approves. `pick`
   * defaults to the first site.
   * Resolves with the URL to which Webflow would redirect the browser. This URL may have an `error` instead of a code.
   * Rejects if Webflow would show an error page instead of redirecting.
   */
  approve (authorizeUrl: string, pick?: SitesOrWorkspace): Promise<string>
  /** Opens an authorize URL and denies. Resolves and rejects like `approve`. */
  deny (authorizeUrl: string): Promise<string>
  /**
   * Installs an app from Webflow's side and approves. `clientId` defaults to that of the first app. Resolves with a callback
   * URL that has a `code` and no `state`.
   */
  install (options?: SitesOrWorkspace & { readonly clientId?: string }): Promise<string>
  /**
   * Ends everything that the signed-in user granted to an app, including all tokens, without telling the app. `clientId`
   * defaults to that of the first app.
   */
  uninstall (clientId?: string): void
  /** Ends one token without telling the app. Returns whether the token was still valid. */
  revokeToken (accessToken: string): boolean
  /**
   * Makes any string a valid access token, as if the simulator had issued it: for tests of imported tokens, and for an app that
   * kept its tokens while the simulator was started anew.
   * `user` defaults to the signed-in user, `clientId` to that of the first app, and `scope` to that of the app. Without `siteIds`
   * and `workspaceId`, the token opens the first site.
   */
  restoreToken (accessToken: string, options?: SitesOrWorkspace & { readonly user?: User, readonly clientId?: string, readonly scope?: readonly string[] }): void
  /**
   * Makes the ID token that a Designer Extension gets from `webflow.getIdToken()`. It has the shape of a JWT and lives for 15
   * minutes. `user` defaults to the signed-in user, and `clientId` to that of the first app. Throws a TypeError if the user is
   * not valid, or if the site is in none of the `workspaces`.
   */
  mintIdToken (options: { readonly user?: User, readonly siteId: string, readonly clientId?: string }): string
  /** Signs in another user for all that follows. Throws a TypeError when the value is not a user. */
  signIn (user: User): void
  /**
   * Sends a signed webhook to a URL or to a Fastify instance, and resolves with the status of the last answer and the number
   * of deliveries. Rejects only if there is no answer.
   */
  deliver (target: WebhookTarget, webhook: Webhook, options?: DeliveryOptions): Promise<Delivery>
  /**
   * Makes the next call to an endpoint fail, or the next `times` calls. Further faults wait in a queue. Throws a TypeError
   * when the endpoint or the fault is not valid.
   */
  fail (endpoint: EndpointName, fault: Fault | FaultName): void
}

/** Creates a simulated Webflow. Throws a TypeError that names the wrong option. */
export function createSimulator (options: SimulatorOptions): Simulator {
  const config = completeOptions(options)
  const webflow: Webflow = {
    config,
    authorizations: new Authorizations(config),
    idTokens: new IdTokens(config),
    user: config.user,
    extensionUrls: new Map([...config.apps.values()].flatMap(({ clientId, extensionUrl }) => extensionUrl === null ? [] : [[clientId, extensionUrl]])),
    delivered: null
  }
  const recorder = new RequestRecorder()
  const faults = new Faults()
  const closing = new AbortController()
  // Each delayed call listens, and Node would warn of the eleventh.
  setMaxListeners(0, closing.signal)
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
    const { hostname, pathname, search, searchParams } = new URL(authorizeUrl, siteOrigin(config.region))
    if (isOfOtherRegion(hostname, config.region)) throw new Error(`The authorize URL is at ${hostname}, but this simulator plays the region \`${config.region}\`: does the app have the same \`region\`?`)
    const { statusCode, headers } = await server.inject(`${pathname}${search}`)
    if (headers.location !== undefined) return headers.location
    if (statusCode === 404) throw new Error(`The simulator has no page at ${pathname} to approve or deny: pass the header \`location\` of the app's redirect. Did the app redirect?`)
    const reading = readAuthorizationRequest(searchParams, config)
    if (statusCode !== 200 || reading.kind !== 'request') {
      throw new Error(`The authorize URL was answered with status ${statusCode}${reading.kind === 'refused' ? `: ${reading.message}` : ''}`)
    }
    return decide(reading.request)
  }

  function selectionOf ({ siteIds, workspaceId }: SitesOrWorkspace): Selection {
    return siteIds === undefined && workspaceId === undefined
      ? defaultSelection(config.workspaces)
      : { siteIds: siteIds ?? [], workspaceIds: workspaceId === undefined ? [] : [workspaceId] }
  }

  async function approveUrl (authorizeUrl: string, pick: SitesOrWorkspace = {}): Promise<string> {
    const selection = selectionOf(pick)
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
        authorizedBy: `${origin}/v2/token/authorized_by`,
        resolve: `${origin}/beta/token/resolve`
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
    restoreToken (accessToken, { user = webflow.user, clientId, scope, ...pick } = {}) {
      assertUser(user)
      const app = appOf(clientId)
      webflow.authorizations.restore({ user, app, scope: scope ?? app.scope, selection: selectionOf(pick) }, accessToken)
    },
    mintIdToken ({ user = webflow.user, siteId, clientId }) {
      assertUser(user)
      if (!config.workspaces.some(({ sites }) => sites.some(({ id }) => id === siteId))) throw new TypeError('`siteId` must be the id of a site in `workspaces`')
      return webflow.idTokens.mint(appOf(clientId), user, siteId)
    },
    signIn (user) {
      assertUser(user)
      webflow.user = user
    },
    async deliver (target, webhook, options) {
      return deliver(config, closing.signal, target, webhook, options)
    },
    fail (endpoint, fault) {
      faults.add(endpoint, fault)
    }
  }
}

import { page, redirect } from './answer.ts'
import type { Answer } from './answer.ts'
import type { Call } from './call.ts'
import type { Wiring } from './endpoint.ts'
import { isEndpointName } from './endpoints.ts'
import { isFaultName } from './faults.ts'
import type { User } from './options.ts'
import { dashboardPage, errorPage } from './pages.ts'
import type { Webflow } from './webflow.ts'
import { deliver, triggerTypes, webhookUrlBeside } from './webhook.ts'

/** How many of the latest requests the dashboard lists. */
const listed = 10

/** Answers `GET /` with the dashboard: the signed-in user, the apps, the faults and the latest requests. */
export function dashboard ({ faults, recorder, webflow }: Wiring): Answer {
  const { authorizations, config, delivered, user } = webflow
  return page(200, dashboardPage({
    region: config.region,
    user,
    others: otherUsers(webflow),
    apps: [...config.apps.values()].map((app) => ({ app, installed: authorizations.grantOf(user, app) !== undefined })),
    sites: config.workspaces.flatMap(({ sites }) => sites),
    delivered,
    broken: faults.waiting,
    requests: Object.values(recorder.requests).flatMap((requests) => requests.slice(-listed)).sort((a, b) => b.at - a.at).slice(0, listed)
  }))
}

/** Answers `GET /install/:clientId` like the App Install URL that Webflow recommends: with an authorize link without `state`. */
export function install ({ config }: Webflow, clientId: string): Answer {
  const app = config.apps.get(clientId)
  if (app === undefined) return unknownApp()
  const query = new URLSearchParams({ response_type: 'code', client_id: clientId, scope: app.scope.join(' ') })
  return redirect(`/oauth/authorize?${query.toString()}`)
}

/** Answers `POST /uninstall/:clientId`. Like Webflow, it does not tell the app. */
export function uninstall ({ authorizations, config, user }: Webflow, clientId: string): Answer {
  const app = config.apps.get(clientId)
  if (app === undefined) return unknownApp()
  authorizations.uninstall(user, app)
  return redirect('/')
}

/** Answers `POST /sign-in`. The body has the id of a `user`, who is then signed in for all that follows. */
export function signIn (webflow: Webflow, { body }: Call): Answer {
  const { user: id } = body.fields
  const user = typeof id === 'string' ? webflow.config.users.get(id) : undefined
  if (user === undefined) return page(404, errorPage('The simulator has no user with this id.'))
  webflow.user = user
  return redirect('/')
}

/** Answers `POST /fail`. The body has an `endpoint` and a `fault`, and the next call to that endpoint fails. */
export function breakNext ({ faults }: Wiring, { body }: Call): Answer {
  const { endpoint, fault } = body.fields
  if (!isEndpointName(endpoint) || !isFaultName(fault)) return page(400, errorPage('The simulator has no such endpoint or no such fault.'))
  faults.add(endpoint, fault)
  return redirect('/')
}

/**
 * Answers `POST /webhook/:clientId`. The body has a `trigger`. Sends a webhook about the first site to the app, once, and shows on
 * the dashboard how the app answered.
 */
export async function sendWebhook ({ closing, webflow }: Wiring, clientId: string, { body }: Call): Promise<Answer> {
  const { config } = webflow
  const app = config.apps.get(clientId)
  if (app === undefined) return unknownApp()
  const triggerType = triggerTypes.find((known) => known === body.fields.trigger)
  if (triggerType === undefined) return page(400, errorPage('The simulator sends no such webhook.'))
  const url = webhookUrlBeside(app.defaultRedirectUri)
  const siteId = config.workspaces.flatMap(({ sites }) => sites)[0]?.id
  const answer = await deliver({ ...config, defaultApp: app }, closing, url, { triggerType, payload: { siteId } }).then(
    ({ statusCode }) => `was answered with ${statusCode}${statusCode === 200 ? '' : ', which Webflow takes for a failure'}`,
    () => 'got no answer'
  )
  webflow.delivered = `The webhook ${triggerType} to ${url.href} ${answer}.`
  return redirect('/')
}

/** Lists the users as whom a person can sign in, besides the one who is signed in. */
export function otherUsers ({ config, user }: Webflow): User[] {
  return [...config.users.values()].filter(({ id }) => id !== user.id)
}

/** Answers a request for an app that the simulator does not know. */
export function unknownApp (): Answer {
  return page(404, errorPage('The simulator has no app with this client id.'))
}

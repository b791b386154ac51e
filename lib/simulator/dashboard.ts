import { page, redirect } from './answer.ts'
import type { Answer } from './answer.ts'
import type { Call } from './call.ts'
import type { Wiring } from './endpoint.ts'
import { isEndpointName } from './endpoints.ts'
import { isFaultName } from './faults.ts'
import { dashboardPage, errorPage } from './pages.ts'
import type { Webflow } from './webflow.ts'

/** How many of the latest requests are listed. */
const listed = 10

/** Answers `GET /`: who is signed in, the apps, what to break, and what was asked of late. */
export function dashboard ({ faults, recorder, webflow: { authorizations, config, user } }: Wiring): Answer {
  return page(200, dashboardPage({
    user,
    others: [...config.users.values()].filter(({ id }) => id !== user.id),
    apps: [...config.apps.values()].map((app) => ({ app, installed: authorizations.grantOf(user, app) !== undefined })),
    broken: faults.waiting,
    requests: Object.values(recorder.requests).flatMap((requests) => requests.slice(-listed)).sort((a, b) => b.at - a.at).slice(0, listed)
  }))
}

/** Answers `GET /install/:clientId`, the App Install URL that Webflow recommends: a bare authorize link, without `state`. */
export function install ({ config }: Webflow, clientId: string): Answer {
  const app = config.apps.get(clientId)
  if (app === undefined) return unknownApp()
  const query = new URLSearchParams({ response_type: 'code', client_id: clientId, scope: app.scope.join(' ') })
  return redirect(`/oauth/authorize?${query.toString()}`)
}

/** Answers `POST /uninstall/:clientId`: the app is not told. */
export function uninstall ({ authorizations, config, user }: Webflow, clientId: string): Answer {
  const app = config.apps.get(clientId)
  if (app === undefined) return unknownApp()
  authorizations.uninstall(user, app)
  return redirect('/')
}

/** Answers `POST /sign-in` with a `user`'s id: everything that follows is that user's doing. */
export function signIn (webflow: Webflow, { body }: Call): Answer {
  const { user: id } = body.fields
  const user = typeof id === 'string' ? webflow.config.users.get(id) : undefined
  if (user === undefined) return page(404, errorPage('There is no user with this id.'))
  webflow.user = user
  return redirect('/')
}

/** Answers `POST /fail` with an `endpoint` and a `fault`: the next call fails. */
export function breakNext ({ faults }: Wiring, { body }: Call): Answer {
  const { endpoint, fault } = body.fields
  if (!isEndpointName(endpoint) || !isFaultName(fault)) return page(400, errorPage('There is no such endpoint, or no such fault.'))
  faults.add(endpoint, fault)
  return redirect('/')
}

function unknownApp (): Answer {
  return page(404, errorPage('There is no app with this client id.'))
}

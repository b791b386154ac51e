import { page, redirect } from './answer.ts'
import type { Answer } from './answer.ts'
import { dashboardPage, errorPage } from './pages.ts'
import type { Webflow } from './webflow.ts'

/** Answers `GET /`: the apps, with links to install and buttons to uninstall them. */
export function dashboard ({ authorizations, config, user }: Webflow): Answer {
  return page(200, dashboardPage(user, [...config.apps.values()].map((app) => ({
    app,
    installed: authorizations.grantOf(user, app) !== undefined
  }))))
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

function unknownApp (): Answer {
  return page(404, errorPage('There is no app with this client id.'))
}

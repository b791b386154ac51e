import { dataApiError, json, page, redirect } from './answer.ts'
import type { Answer } from './answer.ts'
import type { Call } from './call.ts'
import { otherUsers, unknownApp } from './dashboard.ts'
import { designerPage, scriptSource } from './designer-page.ts'
import { isExtensionUrl } from './options.ts'
import type { App, Site, Workspace } from './options.ts'
import { designerPath, errorPage } from './pages.ts'
import type { Webflow } from './webflow.ts'

/** What the path of the Designer names. */
interface Names {
  readonly clientId: string
  readonly siteId: string
}

/** A site that is open in the Designer, with the extension of an app. */
interface OpenSite {
  readonly app: App
  readonly workspace: Workspace
  readonly site: Site
}

/** Answers `GET /designer/:clientId/:siteId` with a page that shows the app's extension in a frame, as Webflow's Designer does. */
export function designer (webflow: Webflow, names: Names): Answer {
  const open = openSite(webflow, names)
  if (open === null) return nothingToOpen(webflow, names)
  const { extensionUrls, user } = webflow
  const extensionUrl = extensionUrls.get(names.clientId) ?? null
  const allowed = extensionUrl === null ? [] : [`script-src ${scriptSource}`, 'connect-src \'self\'', `frame-src ${new URL(extensionUrl).origin}`]
  return page(200, designerPage({ ...open, user, others: otherUsers(webflow), extensionUrl }), allowed)
}

/** Answers `POST /designer/:clientId/:siteId`. The body has the id of the `user` who opens the site, and the URL of the `extension`. */
export function setUpDesigner (webflow: Webflow, names: Names, { body }: Call): Answer {
  if (openSite(webflow, names) === null) return nothingToOpen(webflow, names)
  const { extension, user: id } = body.fields
  const user = [webflow.user, ...otherUsers(webflow)].find((known) => known.id === id)
  if (user === undefined) return page(404, errorPage('The simulator has no user with this id.'))
  if (!isExtensionUrl(extension)) return page(400, errorPage('The URL of the extension must be https, or http on localhost, such as http://localhost:1337.'))
  webflow.user = user
  webflow.extensionUrls.set(names.clientId, extension)
  return redirect(designerPath(names.clientId, names.siteId))
}

/** Answers `POST /designer/:clientId/:siteId/id-token`, which the page of the Designer calls, with an ID token of the signed-in user. */
export function giveIdToken (webflow: Webflow, names: Names): Answer {
  const open = openSite(webflow, names)
  if (open === null) return dataApiError(404, 'resource_not_found', 'Requested resource not found')
  return json(200, { idToken: webflow.idTokens.mint(open.app, webflow.user, open.site.id) })
}

function openSite ({ config }: Webflow, { clientId, siteId }: Names): OpenSite | null {
  const app = config.apps.get(clientId)
  const [open] = config.workspaces.flatMap((workspace) => workspace.sites.filter(({ id }) => id === siteId).map((site) => ({ workspace, site })))
  return app === undefined || open === undefined ? null : { app, ...open }
}

function nothingToOpen ({ config }: Webflow, { clientId }: Names): Answer {
  return config.apps.has(clientId) ? page(404, errorPage('The simulator has no site with this id.')) : unknownApp()
}

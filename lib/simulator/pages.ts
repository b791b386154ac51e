import type { AuthorizationRequest } from './authorization-request.ts'
import { endpointNames } from './endpoints.ts'
import { namedFaults } from './faults.ts'
import { html } from './html.ts'
import type { Html } from './html.ts'
import type { App, Site, User, Workspace } from './options.ts'
import type { RecordedRequest } from './requests.ts'
import type { Region } from './regions.ts'
import { describeScope } from './scope.ts'
import type { Selection } from './selection.ts'
import { style } from './style.ts'
import { triggerTypes, webhookUrlBeside } from './webhook.ts'

/** The content of the consent page. */
export interface ConsentView {
  readonly request: AuthorizationRequest
  readonly user: User
  readonly workspaces: readonly Workspace[]
  /** The ticked sites and workspaces. */
  readonly selection: Selection
  /** The URL to which the form is sent. */
  readonly action: string
  /** What was wrong with the last decision; null at first. */
  readonly message: string | null
}

/** Draws the page on which a user approves or denies. */
export function consentPage ({ request, user, workspaces, selection, action, message }: ConsentView): Html {
  const { app, scope, redirectUri } = request
  return layout(`${app.name} asks for access`, html`
    <h1>${app.name} asks for access to your Webflow account</h1>
    <p class="soft">You are signed in as ${user.firstName} ${user.lastName} (${user.email}).</p>
    <h2>It will be able to</h2>
    <ul>${describeScope(scope).map((phrase) => html`<li>${phrase}</li>`)}</ul>
    <form method="post" action="${action}">
      <h2>Where?</h2>
      <p class="soft">Pick sites of one workspace, or one whole workspace.</p>
      ${message === null ? '' : html`<p role="alert">${message}</p>`}
      ${workspaces.map((workspace) => workspaceFields(workspace, selection))}
      <div class="actions">
        <button class="primary" name="decision" value="approve">Approve</button>
        <button name="decision" value="deny">Deny</button>
      </div>
    </form>
    <p class="soft">Either way you go back to ${new URL(redirectUri).host}.</p>`)
}

function workspaceFields ({ id, displayName, sites }: Workspace, { siteIds, workspaceIds }: Selection): Html {
  return html`<fieldset>
      <legend>${displayName}</legend>
      ${checkbox('workspace', id, 'The whole workspace, including future sites', workspaceIds.includes(id))}
      ${sites.map((site) => checkbox('site', site.id, site.displayName, siteIds.includes(site.id)))}
    </fieldset>`
}

function checkbox (name: string, value: string, text: string, checked: boolean): Html {
  return html`<label><input type="checkbox" name="${name}" value="${value}"${checked ? html` checked` : ''}> ${text}</label>`
}

/** Draws the error page. It ends an authorization without a redirect to the app. */
export function errorPage (message: string): Html {
  return layout('This link does not work', html`
    <h1>This link does not work</h1>
    <p role="alert">${message}</p>
    <p class="soft">The app does not learn of this error. Its developer has to correct the link.</p>`)
}

/** The content of the dashboard. */
export interface DashboardView {
  readonly region: Region
  readonly user: User
  /** The other users as whom a person can sign in. */
  readonly others: readonly User[]
  readonly apps: ReadonlyArray<{ readonly app: App, readonly installed: boolean }>
  /** The sites that can be opened in the Designer. */
  readonly sites: readonly Site[]
  /** What became of the last webhook, in words; null if none was sent. */
  readonly delivered: string | null
  /** The next fault of each endpoint, in words. */
  readonly broken: readonly string[]
  /** The latest requests, newest first. */
  readonly requests: readonly RecordedRequest[]
}

/** Draws the page on which a person installs and uninstalls apps, sends webhooks, opens the Designer, signs in as somebody else, and breaks the next call. */
export function dashboardPage ({ region, user, others, apps, sites, delivered, broken, requests }: DashboardView): Html {
  return layout('Apps', html`
    <h1>Apps of ${user.firstName} ${user.lastName}</h1>
    ${region === 'us' ? '' : html`<p class="soft">Hosted in the EU</p>`}
    ${apps.map(({ app, installed }) => html`<h2>${app.name}</h2>
    <p class="soft">${installed ? 'Installed' : 'Not installed'}; returns to ${app.redirectUris.join(' or ')}</p>
    <form class="actions" method="post" action="/uninstall/${encodeURIComponent(app.clientId)}">
      <a class="button${installed ? '' : ' primary'}" href="/install/${encodeURIComponent(app.clientId)}">${installed ? 'Install again' : 'Install'}</a>
      ${installed ? html`<button>Uninstall</button>` : ''}
    </form>
    <form class="actions" method="post" action="/webhook/${encodeURIComponent(app.clientId)}">
      ${select('trigger', `Webhook to ${webhookUrlBeside(app.defaultRedirectUri).pathname}`, triggerTypes)}
      <button>Send it</button>
    </form>
    <p class="soft">Open a site in the Designer, with the app's extension in a frame:</p>
    <div class="actions sites">${sites.map(({ id, displayName }) => html`<a class="button" href="${designerPath(app.clientId, id)}">${displayName}</a>`)}</div>`)}
    ${delivered === null ? '' : html`<p role="status">${delivered}</p>`}
    ${others.length === 0
? ''
: html`<h2>Be somebody else</h2>
    <form class="actions" method="post" action="/sign-in">
      ${others.map(({ id, firstName, lastName }) => html`<button name="user" value="${id}">Sign in as ${firstName} ${lastName}</button>`)}
    </form>`}
    <h2>Make the next call fail</h2>
    ${broken.length === 0 ? '' : html`<p role="status">The next call to ${broken.join(', ')} fails.</p>`}
    <form class="actions" method="post" action="/fail">
      ${select('endpoint', 'Endpoint', endpointNames)}
      ${select('fault', 'Fault', Object.keys(namedFaults))}
      <button>Break it</button>
    </form>
    <h2>Latest calls</h2>
    ${requests.length === 0 ? html`<p class="soft">None yet.</p>` : html`<ul>${requests.map(({ at, method, path }) => html`<li><code>${method} ${path}</code> <span class="soft">${new Date(at).toISOString().slice(11, 19)} UTC</span></li>`)}</ul>`}`)
}

function select (name: string, label: string, values: readonly string[]): Html {
  return html`<label>${label} <select name="${name}">${values.map((value) => html`<option>${value}</option>`)}</select></label>`
}

/** Draws the frame of every page. `head` is added to the page's head. */
export function layout (title: string, content: Html, head: Html | string = ''): Html {
  return html`<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>${title} · Webflow simulator</title>
    <style>${{ text: style }}</style>${head}
  </head>
  <body>
  <main>${content}
    <footer class="soft">This is a simulator. Nothing here reaches Webflow.</footer>
  </main>
  </body>
</html>
`
}

/** Returns the path at which a site is open in the Designer, with the extension of an app. */
export function designerPath (clientId: string, siteId: string): string {
  return `/designer/${encodeURIComponent(clientId)}/${encodeURIComponent(siteId)}`
}

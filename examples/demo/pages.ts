import type { Webflow } from 'webflow-api'
import type { WebflowToken, WebhookEvent } from 'fastify-webflow-oauth'
import { html, type Html } from './html.ts'
import { style, styleSource } from './style.ts'

/** What runs around the app, for the pages to tell. */
export interface Surroundings {
  redirectUri: string
  store: string
  /** Null where the real Webflow is used. */
  simulator: { url: string, clientId: string } | null
}

/** The headers of every page: no script runs but the demo's own, and nothing else is loaded, framed or kept in a cache. */
export const headers = {
  'content-type': 'text/html; charset=utf-8',
  'cache-control': 'no-store',
  'content-security-policy': `default-src 'none'; style-src ${styleSource}; img-src data:; script-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`,
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff'
}

/** Draws the first page; the notice says why it is shown again. */
export function disconnectedPage (surroundings: Surroundings, notice: string | null = null): Html {
  const { redirectUri, simulator } = surroundings
  return layout(surroundings, 'Connect Webflow', html`
    ${notice === null ? '' : html`<p class="note" role="alert">${notice}</p>`}
    <p class="state">Not connected</p>
    <h1>Connect your Webflow account</h1>
    <p>Your sites will be listed here. At Webflow you choose which ones this app may see, and you can disconnect it whenever you like.</p>
    <div class="actions">
      <a class="button primary" href="/webflow/authorize">Connect Webflow</a>
      <a class="button" id="popup" href="/webflow/authorize?popup=1" target="_blank" rel="opener">Connect in a popup</a>
    </div>
    <p class="note" role="alert" id="popup-note" hidden></p>
    ${simulator === null
      ? html`<p class="soft try">Webflow must know this redirect URI of the app: <code>${redirectUri}</code></p>`
      : html`<section class="try">
      <h2>Also worth a try</h2>
      <ul>
        <li>Choose <strong>Deny</strong> when Webflow asks.</li>
        <li><a href="${simulator.url}/install/${simulator.clientId}">Install from the Marketplace</a>, where it is Webflow that begins. For your safety the app then begins once more itself, so you are asked twice.</li>
        <li><a href="${simulator.url}">Open a site in the Designer</a>: a Designer Extension of this app runs there in a frame, and connects from there.</li>
      </ul>
    </section>`}
    <script src="/popup.js"></script>`)
}

/** Draws the page of somebody who is connected, with the latest webhooks about their sites; without sites, Webflow could not be asked for them. */
export function connectedPage (surroundings: Surroundings, { createdAt, scope }: WebflowToken, sites: Webflow.Site[] | null, webhooks: WebhookEvent[]): Html {
  const { simulator } = surroundings
  const [first] = sites ?? []
  return layout(surroundings, 'Your Webflow sites', html`
    <p class="state good">Connected</p>
    <h1>Your Webflow sites</h1>
    ${sites === null
      ? html`<p class="note" role="alert">Webflow does not list them right now. Your connection is kept: <a href="/">try again</a> in a moment.</p>`
      : sites.length === 0
        ? html`<p>There are none that this app may see.</p>`
        : html`<ul class="sites">${sites.map(siteItem)}</ul>`}
    <p class="soft">Connected on ${createdAt.toUTCString()} with the scope ${scope.join(', ')}.</p>
    <div class="actions">
      <a class="button" href="/webflow/authorize">Choose other sites</a>
      <form method="post" action="/webflow/revoke"><button class="button">Disconnect</button></form>
    </div>
    ${first === undefined ? '' : webhookSection(surroundings, first, webhooks)}
    ${simulator === null
      ? ''
      : html`<section class="try">
      <h2>Also worth a try</h2>
      <ul>
        ${first === undefined ? '' : html`<li><a href="${simulator.url}/designer/${simulator.clientId}/${first.id}">Open a site in the Designer</a>: a Designer Extension of this app runs there in a frame.</li>`}
        <li>Go back in the browser and approve again: for a minute the same attempt leads here once more, after that to a page that says why not.</li>
        <li><a href="${simulator.url}">Uninstall the app at Webflow</a>, then come back and reload this page.</li>
      </ul>
    </section>`}`)
}

function webhookSection ({ simulator }: Surroundings, site: Webflow.Site, webhooks: WebhookEvent[]): Html {
  return html`<section class="try">
      <h2>Webhooks</h2>
      ${webhooks.length === 0
        ? html`<p>None has arrived yet.</p>`
        : html`<ul class="webhooks">${webhooks.map(({ triggerType, sentAt }) => html`<li><code>${triggerType}</code> <span class="soft">${sentAt.toUTCString()}</span></li>`)}</ul>`}
      ${simulator === null ? '' : html`<form class="actions" method="post" action="/send-webhook"><button class="button" name="site" value="${site.id}">Send one about ${nameOf(site)}</button></form>`}
    </section>`
}

function nameOf ({ displayName, shortName }: Webflow.Site): string {
  return displayName ?? shortName ?? 'Unnamed site'
}

function siteItem (site: Webflow.Site): Html {
  const { shortName } = site
  const name = nameOf(site)
  const [initial = ''] = name
  return html`<li><span class="initial" aria-hidden="true">${initial}</span><div><strong>${name}</strong>${shortName === undefined ? '' : html`<span class="soft">${shortName}.webflow.io</span>`}</div></li>`
}

/** Draws the page after disconnecting. */
export function goodbyePage (surroundings: Surroundings): Html {
  return layout(surroundings, 'Disconnected', html`
    <p class="state">Not connected</p>
    <h1>Webflow is disconnected</h1>
    <p>Webflow has revoked the access, and this app has forgotten it.</p>
    <div class="actions">
      <a class="button primary" href="/webflow/authorize">Connect again</a>
      <a class="button" href="/">Back to the start</a>
    </div>`)
}

const failures = new Map<string | undefined, { title: string, text: string }>(Object.entries({
  WEBFLOW_OAUTH_ACCESS_DENIED: { title: 'You declined, and that is fine', text: 'This app got no access, and nothing was stored. You can change your mind at any time.' },
  WEBFLOW_OAUTH_AUTHORIZATION_FAILED: { title: 'Webflow did not agree', text: 'It refused what this app asked for. Its scopes and its redirect URI have to match its settings at Webflow.' },
  WEBFLOW_OAUTH_CODE_REJECTED: { title: 'Webflow did not take the answer back', text: 'The attempt is over for Webflow. Please connect once more; if that fails too, check the app\'s credentials.' },
  WEBFLOW_OAUTH_CLIENT_REJECTED: { title: 'Webflow does not know this app', text: 'The client id or the client secret is wrong. Please check both.' },
  WEBFLOW_OAUTH_STORE_UNAVAILABLE: { title: 'The connection could not be stored', text: 'The app\'s storage does not answer. Please try again in a moment.' },
  WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE: { title: 'Webflow cannot be reached', text: 'Nothing was connected. Please try again in a moment.' },
  WEBFLOW_OAUTH_WEBFLOW_TIMEOUT: { title: 'Webflow took too long', text: 'Nothing was connected. Please try again in a moment.' },
  already_used: { title: 'This attempt has ended already', text: 'The link back from Webflow works once. Go back to the start to see whether you are connected, or connect anew.' },
  cookie_missing: { title: 'Your browser sent no cookies', text: 'Connecting safely needs them. Please allow them for this site, and connect once more.' },
  expired: { title: 'That took too long', text: 'The attempt to connect has expired. Please connect once more.' },
  host_mismatch: { title: 'You came back to another address', text: 'The attempt began under another host name. Please connect once more from here.' },
  other_browser: { title: 'That began somewhere else', text: 'In another browser, or under another address such as 127.0.0.1 instead of localhost. Please connect once more, from here.' }
}))
const anyFailure = { title: 'Webflow was not connected', text: 'The link back from Webflow is not one that this app asked for, or it is not complete. Please connect once more.' }

/** Draws the page that a failed attempt to connect ends on. Anybody can make a link to it: it shows codes, never text from the URL. */
export function failedPage (surroundings: Surroundings, { error, reason }: { error?: string, reason?: string }): Html {
  const { title, text } = failures.get(reason) ?? failures.get(error) ?? anyFailure
  return layout(surroundings, title, html`
    <p class="state${error === 'WEBFLOW_OAUTH_ACCESS_DENIED' ? '' : ' bad'}">Nothing new was connected</p>
    <h1>${title}</h1>
    <p>${text}</p>
    <div class="actions">
      <a class="button primary" href="/webflow/authorize">Try again</a>
      <a class="button" href="/">Back to the start</a>
    </div>
    ${error === undefined ? '' : html`<p class="soft try">For the developer: <code>${[error, reason].filter(Boolean).join(' · ')}</code></p>`}`)
}

/** Draws the page for what is not there and for what went wrong here. */
export function errorPage (surroundings: Surroundings, status: number): Html {
  const title = status === 404 ? 'There is nothing here' : status < 500 ? 'That did not work' : 'The app is having trouble'
  return layout(surroundings, title, html`
    <p class="state bad">Error ${String(status)}</p>
    <h1>${title}</h1>
    <p>${status < 500 ? 'The link seems to be wrong or incomplete.' : 'Nothing was changed. Please try again in a moment.'}</p>
    <div class="actions"><a class="button primary" href="/">Back to the start</a></div>`)
}

const logo = html`<svg width="28" height="28" viewBox="0 0 28 28" aria-hidden="true"><rect width="28" height="28" rx="8" fill="#146ef5"/><path d="M10.5 14h7" stroke="#fff" stroke-width="2.5"/><circle cx="8.5" cy="14" r="3.25" fill="#fff"/><circle cx="19.5" cy="14" r="3.25" fill="none" stroke="#fff" stroke-width="2.5"/></svg>`

function layout ({ simulator, store }: Surroundings, title: string, content: Html): Html {
  return html`<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>${title} · fastify-webflow-oauth</title>
  <link rel="icon" href="data:,">
  <style>${{ text: style }}</style>
</head>
<body>
  <header>${logo}<a href="/">fastify-webflow-oauth demo</a></header>
  <main>${content}
  </main>
  <footer>${simulator === null ? 'This talks to the real Webflow' : html`Webflow is <a href="${simulator.url}">simulated on this machine</a>`}. Tokens are kept ${store}.</footer>
</body>
</html>
`
}

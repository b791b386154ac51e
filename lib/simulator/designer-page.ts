import { createHash } from 'node:crypto'
import { html } from './html.ts'
import type { Html } from './html.ts'
import type { App, Site, User, Workspace } from './options.ts'
import { designerPath, layout } from './pages.ts'

/** The content of the Designer's page. */
export interface DesignerView {
  readonly app: App
  readonly workspace: Workspace
  readonly site: Site
  readonly user: User
  /** The other users who can open the site. */
  readonly others: readonly User[]
  /** Null while nobody has given one. */
  readonly extensionUrl: string | null
}

/**
 * The script of the page. It answers the extension, and nobody else: a message counts only if it comes from the window in the
 * frame while a page of the extension's origin is in it. The answer goes through the port that came with the message.
 * The script stands before the frame, so that it misses no message.
 */
const script = `
addEventListener('message', async ({ data, origin, ports: [port], source }) => {
  const frame = document.querySelector('iframe')
  if (source !== frame?.contentWindow || origin !== new URL(frame.src).origin || data?.source !== 'designer-extension' || port === undefined) return
  try {
    port.postMessage({ result: await answer(data.method, frame) })
  } catch (error) {
    port.postMessage({ error: String(error) })
  }
})

async function answer (method, frame) {
  if (method === 'getSiteInfo') return JSON.parse(frame.dataset.site)
  if (method !== 'getIdToken') throw new Error('The Designer of the simulator knows getIdToken and getSiteInfo only')
  const response = await fetch(location.pathname + '/id-token', { method: 'POST' })
  return (await response.json()).idToken
}
`

/** The source expression that allows the script in a content security policy. */
export const scriptSource = `'sha256-${createHash('sha256').update(script).digest('base64')}'`

/** Draws the page that stands for Webflow's Designer: one site, and the extension of an app in a frame. */
export function designerPage ({ app, workspace, site, user, others, extensionUrl }: DesignerView): Html {
  const info = { siteId: site.id, siteName: site.displayName, shortName: site.shortName, workspaceId: workspace.id }
  return layout(`${site.displayName} in the Designer`, html`
    <h1>${site.displayName} in the Designer</h1>
    <p class="soft">Opened by ${user.firstName} ${user.lastName}, with the extension of ${app.name}.</p>
    ${extensionUrl === null
      ? html`<p role="alert">The simulator does not know where the extension is. Enter its URL, or start the simulator with <code>--extension</code>.</p>`
      : html`<p role="alert" class="without-scripts">Scripts are blocked, so the Designer can give the extension no ID token. Allow scripts for this page.</p>
    <iframe title="The extension of ${app.name}" src="${extensionUrl}" data-site="${JSON.stringify(info)}" referrerpolicy="origin" sandbox="allow-scripts allow-same-origin allow-forms allow-popups allow-popups-to-escape-sandbox"></iframe>`}
    <form class="actions" method="post" action="${designerPath(app.clientId, site.id)}">
      <label class="wide">Extension <input type="url" name="extension" required placeholder="http://localhost:1337" value="${extensionUrl ?? ''}"></label>
      <label>Opened by <select name="user">${[user, ...others].map(({ id, firstName, lastName }) => html`<option value="${id}">${firstName} ${lastName}</option>`)}</select></label>
      <button>Open</button>
    </form>
    <div class="actions"><a class="button" href="/">Back to the apps</a></div>`, extensionUrl === null
    ? ''
    : html`
    <script>${{ text: script }}</script>`)
}

/* global webflow */
// The extension: shows what the app knows of the site that is open in the Designer.

const app = document.body.dataset.app
const [state, title, note, facts, connect, again, fallback, link] = ['state', 'title', 'note', 'facts', 'connect', 'again', 'fallback', 'link'].map((id) => document.getElementById(id))

/** The session of this page. It is in memory only, never in a storage that outlives the page: a reload opens another one. */
let session = null
/** Whether the person has gone to Webflow and may come back connected. */
let isConnecting = false
/** What the last attempt to connect came to, if it failed. */
let failure = null

/** Exchanges an ID token of the Designer for a session token of the app. */
async function openSession () {
  const { siteId, workspaceId } = await webflow.getSiteInfo()
  const answer = await fetch(`${app}/webflow/designer`, {
    method: 'POST',
    headers: { authorization: `Bearer ${await webflow.getIdToken()}`, 'content-type': 'application/json' },
    body: JSON.stringify({ siteId, workspaceId })
  })
  session = await readJson(answer)
}

/** Calls a route of the app. A session that has ended is replaced by a new one, once. */
async function call (path) {
  const isNew = session === null
  if (isNew) await openSession()
  const answer = await fetch(app + path, { headers: { authorization: `Bearer ${session.sessionToken}` } })
  if (answer.status !== 401) return await readJson(answer)
  session = null
  return isNew ? await readJson(answer) : await call(path)
}

async function readJson (answer) {
  const body = await answer.json()
  if (!answer.ok) throw Object.assign(new Error(body.message), { code: body.code, authorizeUrl: body.authorizeUrl, retryAfter: answer.headers.get('retry-after') })
  return body
}

async function show () {
  try {
    const { name, shortName, lastPublished, user } = await call('/api/site')
    isConnecting = false
    draw({ state: 'Connected', title: name, facts: { Address: `${shortName}.webflow.io`, Published: new Date(lastPublished).toLocaleDateString(), 'Opened by': user } })
  } catch (error) {
    if (error.authorizeUrl === undefined) return draw({ state: 'Trouble', note: explain(error) })
    link.href = error.authorizeUrl
    draw({ state: 'Not connected', title: 'Connect this site', note: failure ?? explain(error), canConnect: true })
  }
}

function explain ({ code, retryAfter }) {
  switch (code) {
    case 'WEBFLOW_OAUTH_TOKEN_REQUIRED': return 'The app has no access to this site yet. You choose what it may see at Webflow.'
    case 'WEBFLOW_OAUTH_SCOPE_MISSING': return 'The app needs to know who opens it. Please connect once more.'
    case 'WEBFLOW_OAUTH_ID_TOKEN_INVALID': return 'The app does not accept the answer of the Designer. Reload the Designer, and try again.'
    case 'WEBFLOW_OAUTH_TOO_MANY_REQUESTS': return `That was too often. Try again in ${retryAfter} seconds.`
    default: return 'The app does not answer right now. Try again in a moment.'
  }
}

function draw (view) {
  state.textContent = view.state
  title.textContent = view.title ?? 'Site facts'
  note.textContent = view.note ?? ''
  note.hidden = view.note === undefined
  facts.hidden = view.facts === undefined
  facts.replaceChildren(...Object.entries(view.facts ?? {}).flatMap(([name, value]) => [element('dt', name), element('dd', value)]))
  connect.hidden = view.canConnect !== true
  if (connect.hidden) fallback.hidden = true
}

function element (name, text) {
  return Object.assign(document.createElement(name), { textContent: text })
}

// One after the other, so that the last answer is the newest.
let last = Promise.resolve()
function refresh () {
  last = last.then(show)
  return last
}

connect.addEventListener('click', () => {
  isConnecting = true
  failure = null
  // Webflow's consent page cannot be in a frame. A browser or a frame without popups answers null.
  fallback.hidden = window.open(link.href, '_blank', 'popup,width=600,height=760') !== null
})

again.addEventListener('click', refresh)

// The popup says how it ended. Anybody can send such a message, so it counts as a hint: whether Webflow is connected is what
// the app answers.
window.addEventListener('message', ({ origin, data }) => {
  if (origin !== new URL(app).origin || data?.source !== 'fastify-webflow-oauth') return
  if (data.outcome === 'failed') failure = data.code === 'WEBFLOW_OAUTH_ACCESS_DENIED' ? 'Access was declined, so nothing was connected.' : `Webflow was not connected: ${data.code ?? 'please try again'}`
  refresh()
})

// A browser may cut the popup off from this page, so the app is also asked when the person is back.
const comesBack = () => { if (isConnecting && document.visibilityState === 'visible') refresh() }
window.addEventListener('focus', comesBack)
document.addEventListener('visibilitychange', comesBack)

if (typeof webflow === 'undefined') draw({ state: 'Nothing to show', note: 'This page is an extension of Webflow\'s Designer: open it there.' })
else refresh()

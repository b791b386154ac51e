// Connects in a popup, and leaves the page as it is until then. Where this does not run, the link opens a tab.
const link = document.querySelector('#popup')
const note = document.querySelector('#popup-note')
let popup = null

link.addEventListener('click', (event) => {
  popup = window.open(link.href, '_blank', 'popup,width=600,height=760')
  // A blocked popup is null: the link then opens a tab.
  if (popup !== null) event.preventDefault()
})

// A message is a hint, which anybody can send: the page asks the app again.
window.addEventListener('message', ({ origin, data }) => {
  if (origin !== window.location.origin || data?.source !== 'fastify-webflow-oauth') return
  if (data.outcome === 'connected') return window.location.reload()
  note.textContent = data.code === 'WEBFLOW_OAUTH_ACCESS_DENIED' ? 'You declined, so nothing was connected.' : 'Webflow was not connected. Please try again.'
  note.hidden = false
})

// A browser may cut the popup off from this page.
window.addEventListener('focus', () => {
  if (popup?.closed === true && note.hidden) window.location.reload()
})

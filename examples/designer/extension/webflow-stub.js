// STUB. This whole file stands for what Webflow's own Designer gives to an extension, and it does nothing there. It asks the
// Designer of the simulator, which is the page around this frame. Leave it out of what you upload to Webflow.

const stubDesigner = URL.canParse(document.referrer) ? new URL(document.referrer) : null

// Only a Designer on this machine: another page around the frame could hand over the ID token of somebody else.
if (!('webflow' in window) && window.parent !== window && /^(?:.+\.)?localhost$|^127\.0\.0\.1$/.test(stubDesigner?.hostname)) {
  // The answer comes through a port that nobody but the page of that origin gets.
  const ask = (method) => new Promise((resolve, reject) => {
    const { port1, port2 } = new MessageChannel()
    port1.onmessage = ({ data: { result, error } }) => error === undefined ? resolve(result) : reject(new Error(error))
    window.parent.postMessage({ source: 'designer-extension', method }, stubDesigner.origin, [port2])
  })
  window.webflow = {
    getIdToken: () => ask('getIdToken'),
    getSiteInfo: () => ask('getSiteInfo')
  }
}

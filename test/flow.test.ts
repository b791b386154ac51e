import t from 'tap'
import { assertNothingLeaked, connect, createApp, redirectUri, startWebflow } from './support/app.ts'
import { Browser } from './support/browser.ts'

t.test('a user connects, a handler uses the token, the user disconnects', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))

  const begun = await browser.navigate('/webflow/authorize?returnTo=/welcome')
  t.equal(begun.statusCode, 302)
  const url = new URL(String(begun.location))
  t.equal(url.searchParams.get('response_type'), 'code')
  t.equal(url.searchParams.get('redirect_uri'), redirectUri)
  t.equal(url.searchParams.get('scope'), 'sites:read cms:read')

  const back = await browser.navigate(await webflow.approve(url.href))
  t.equal(back.statusCode, 303)
  t.equal(back.location, 'https://app.example.com/welcome')

  const token = (await browser.get('/token')).json()
  t.equal(token.connected, true)
  t.strictSame(token.scope, ['sites:read', 'cms:read'])

  const gone = await browser.request('/webflow/revoke', { method: 'POST' })
  t.equal(gone.statusCode, 200)
  t.strictSame(gone.json(), { revoked: true, upstream: 'revoked' })
  t.equal((await browser.get('/token')).json().connected, false)
  t.equal(browser.cookies.size, 1, 'of the cookies only the ended flow is left')
})

t.test('connecting anew', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))
  const back = await connect(browser, webflow)
  t.equal(back.location, 'https://app.example.com/')
})

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

import { createHash, createHmac } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { Writable } from 'node:stream'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { request } from 'undici'
import { WebflowClient } from 'webflow-api'
import { createSimulator } from '../lib/simulator/index.ts'
import type { BehaviorOptions } from '../lib/simulator/index.ts'
import { describeScope, isKnownScope } from '../lib/simulator/scope.ts'
import { app, ids, member, parameter, start, type Bench } from './support/simulator-start.ts'

const [redirectUri, localRedirectUri] = app.redirectUris
const form = { 'content-type': 'application/x-www-form-urlencoded' }
const hex64 = /^[0-9a-f]{64}$/

t.test('authorization requests', async (t) => {
  t.test('approve leads to the redirect URI with a code and the state unchanged', async (t) => {
    const { webflow, authorizeUrl } = await start(t)
    const state = 'a b+c%20&é=?'
    const url = new URL(await webflow.approve(authorizeUrl({ redirect_uri: redirectUri, state })))
    t.equal(`${url.origin}${url.pathname}`, redirectUri)
    t.match(url.searchParams.get('code'), hex64)
    t.equal(url.searchParams.get('state'), state)
    t.strictSame([...url.searchParams.keys()], ['code', 'state'])
  })

  t.test('deny leads to the redirect URI with access_denied and the state unchanged', async (t) => {
    const { webflow, authorizeUrl } = await start(t)
    const url = await webflow.deny(authorizeUrl({ redirect_uri: localRedirectUri, state: '' }))
    t.ok(url.startsWith(`${localRedirectUri}&error=access_denied&error_description=`))
    t.ok(url.endsWith('&state='))
  })

  t.test('a request without redirect_uri and state goes to the first registered one without state', async (t) => {
    const { webflow, authorizeUrl } = await start(t)
    const url = await webflow.approve(authorizeUrl())
    t.ok(url.startsWith(`${redirectUri}?code=`))
    t.notOk(new URL(url).searchParams.has('state'))
  })

  t.test('a scope separated by form-style plus signs is understood, one with literal plus signs is an invalid_scope redirect', async (t) => {
    const { webflow, authorizeUrl } = await start(t)
    t.match(await webflow.approve(authorizeUrl({ scope: null }) + '&scope=sites:read+cms:read'), /[?]code=/)
    const url = await webflow.approve(authorizeUrl({ scope: null, state: 's' }) + '&scope=sites:read%2Bcms:read')
    t.equal(parameter(url, 'error'), 'invalid_scope')
    t.equal(parameter(url, 'error_description'), 'The following scopes are invalid: sites:read+cms:read')
    t.equal(parameter(url, 'state'), 's')
  })

  t.test('scopes that Webflow does not have are an invalid_scope redirect', async (t) => {
    const { webflow, authorizeUrl } = await start(t)
    const scope = 'webhooks:read sites:admin site_activity:write sites sites:read:more'
    const url = await webflow.deny(authorizeUrl({ scope }))
    t.equal(parameter(url, 'error_description'), `The following scopes are invalid: ${scope.replaceAll(' ', ', ')}`)
  })

  t.test('a scope that only the app knows is accepted, whatever it looks like', async (t) => {
    for (const scope of ['new_thing:write', 'new_thing:delete', 'openid', '!', 's'.repeat(100), "#$%&'()*+-./:;<=>?@[]^_`{|}~"]) {
      const { webflow, authorizeUrl } = await start(t, { app: { ...app, scope: [scope] } })
      t.match(await webflow.approve(authorizeUrl({ scope })), /[?]code=/)
    }
  })

  t.test('a missing or foreign response_type is an error redirect', async (t) => {
    const { webflow, authorizeUrl } = await start(t)
    t.equal(parameter(await webflow.approve(authorizeUrl({ response_type: null })), 'error'), 'invalid_request')
    t.equal(parameter(await webflow.approve(authorizeUrl({ response_type: 'token' })), 'error'), 'unsupported_response_type')
  })

  const pages: ReadonlyArray<readonly [string, Record<string, string | null>]> = [
    ['an unknown client id', { client_id: 'unknown' }],
    ['a prototype member as client id', { client_id: '__proto__' }],
    ['no client id', { client_id: null }],
    ['a redirect URI that is not registered', { redirect_uri: 'https://evil.example.com/callback' }],
    ['a redirect URI with a trailing slash too many', { redirect_uri: `${redirectUri}/` }],
    ['a redirect URI on another port', { redirect_uri: 'http://localhost:3001/callback?from=webflow' }],
    ['a scope the app has not configured', { scope: 'sites:read pages:write' }]
  ]
  for (const [title, parameters] of pages) {
    t.test(`${title} ends on a page with status 400 and no redirect`, async (t) => {
      const { webflow, authorizeUrl } = await start(t)
      const { statusCode, headers } = await request(authorizeUrl({ state: 's', ...parameters }))
      t.equal(statusCode, 400)
      t.equal(headers['location'], undefined)
      t.match(headers['content-type'], /^text\/html/)
      await t.rejects(webflow.approve(authorizeUrl(parameters)), /status 400: /)
    })
  }

  t.test('a parameter that appears twice ends on a page with status 400', async (t) => {
    const { authorizeUrl } = await start(t)
    for (const name of ['client_id', 'redirect_uri', 'response_type', 'scope', 'state']) {
      const { statusCode } = await request(`${authorizeUrl({ [name]: null })}&${name}=a&${name}=a`)
      t.equal(statusCode, 400, name)
    }
  })

  t.test('an unknown parameter is ignored', async (t) => {
    const { webflow, authorizeUrl } = await start(t)
    t.match(await webflow.approve(authorizeUrl({ code_challenge: 'x', __proto__: 'y' })), /[?]code=/)
  })

  t.test('a URL of webflow.com, made by the SDK, is followed on the simulator', async (t) => {
    const { webflow } = await start(t)
    const url = WebflowClient.authorizeURL({ clientId: app.clientId, scope: ['sites:read', 'cms:read'], redirectUri, state: 's' })
    t.equal(parameter(await webflow.approve(url), 'state'), 's')
    t.match(webflow.requests.authorize, [{ method: 'GET', path: '/oauth/authorize', parameters: { scope: 'sites:read cms:read' } }])
  })

  t.test('a URL that is not an authorize URL is refused', async (t) => {
    const { webflow, authorizeUrl } = await start(t)
    await t.rejects(webflow.approve(authorizeUrl().replace('/authorize', '/elsewhere')), /no page at \/oauth\/elsewhere to approve or deny/)
    await t.rejects(webflow.approve(String(undefined)), /\/undefined to .* `location`/)
    await t.rejects(webflow.deny(authorizeUrl({ client_id: 'unknown' })), /client_id/)
  })
})

t.test('the consent page', async (t) => {
  t.test('says who asks for what, escaped, and offers sites and workspaces', async (t) => {
    const { authorizeUrl } = await start(t)
    const { statusCode, body } = await request(authorizeUrl({ state: '"><script>' }))
    const page = await body.text()
    t.equal(statusCode, 200)
    t.match(page, 'Tidy &#60;Sites&#62; asks for access')
    t.match(page, 'See and change CMS collections and items')
    t.match(page, 'See your name and email address')
    t.match(page, `<input type="checkbox" name="site" value="${ids.engine}" checked>`)
    t.match(page, `<input type="checkbox" name="workspace" value="${ids.park}">`)
    t.notMatch(page, '<script')
    t.match(page, '<meta name="viewport"')
  })

  t.test('escapes text in attributes', async (t) => {
    const { authorizeUrl } = await start(t, {
      workspaces: [{ id: 'w', displayName: 'W', sites: [{ id: '"autofocus \'&', displayName: 'S', shortName: 's' }] }]
    })
    const { body } = await request(authorizeUrl())
    t.match(await body.text(), 'value="&#34;autofocus &#39;&#38;" checked>')
  })

  t.test('describes write-only scopes and unknown scopes', async (t) => {
    const { authorizeUrl } = await start(t, { app: { ...app, scope: ['assets:write', 'new_thing:read'] } })
    const { body } = await request(authorizeUrl({ scope: null }))
    const page = await body.text()
    t.match(page, '<li>Change assets</li>')
    t.match(page, '<li>See new thing</li>')
  })

  t.test('allows only its own style sheet, and lets the form redirect to the app', async (t) => {
    const { authorizeUrl } = await start(t)
    const { headers, body } = await request(authorizeUrl())
    const [, style = ''] = /<style>(.*)<\/style>/s.exec(await body.text()) ?? []
    const hash = createHash('sha256').update(style).digest('base64')
    t.equal(headers['content-security-policy'], `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; frame-ancestors 'none'`)
    t.equal(headers['cache-control'], 'no-store')
  })

  // Submits the page's form as a browser without JavaScript does.
  async function submit (authorizeUrl: string, fields: string, headers: Record<string, string> = form) {
    const page = await (await request(authorizeUrl)).body.text()
    const [, action = ''] = /<form method="post" action="([^"]*)">/.exec(page) ?? []
    const target = new URL(action.replaceAll('&#38;', '&').replaceAll('&#39;', "'"), authorizeUrl)
    const { statusCode, headers: answer, body } = await request(target, { method: 'POST', headers, body: fields })
    return { status: statusCode, location: `${answer['location']}`, page: await body.text() }
  }

  t.test('Approve leads to the app with a code for the sites that are ticked', async (t) => {
    const { authorizeUrl, exchange, get } = await start(t)
    const { status, location } = await submit(authorizeUrl({ state: "it's & so" }), `decision=approve&site=${ids.engine}&site=${ids.notes}`)
    t.equal(status, 302)
    t.equal(parameter(location, 'state'), "it's & so")
    const { body } = await exchange(parameter(location, 'code'))
    t.match(await get('/v2/sites', member(body, 'access_token')), { body: { sites: [{ id: ids.engine }, { id: ids.notes }] } })
  })

  t.test('Deny leads to the app with access_denied, whatever is ticked', async (t) => {
    const { authorizeUrl } = await start(t)
    const { status, location } = await submit(authorizeUrl({ state: 's' }), 'decision=deny&site=nonsense')
    t.equal(status, 302)
    t.equal(parameter(location, 'error'), 'access_denied')
    t.equal(parameter(location, 'state'), 's')
  })

  const picks: ReadonlyArray<readonly [string, string]> = [
    ['decision=approve', 'Pick at least one site, or a workspace.'],
    [`decision=approve&site=${ids.engine}&site=${ids.gardens}`, 'Pick sites of one workspace only.'],
    [`decision=approve&workspace=${ids.studio}&site=${ids.engine}`, 'Pick either sites or a workspace, not both.'],
    [`decision=approve&workspace=${ids.studio}&workspace=${ids.park}`, 'Pick one workspace only.'],
    ['decision=approve&site=constructor', 'There is no site constructor.'],
    ['decision=approve&workspace=constructor', 'There is no workspace constructor.'],
    [`site=${ids.engine}`, 'Press Approve or Deny.'],
    [`decision=approve&decision=approve&site=${ids.engine}`, 'Press Approve or Deny.']
  ]
  for (const [fields, message] of picks) {
    t.test(`is shown again with the message: ${message} (${fields.split('&').length} fields)`, async (t) => {
      const { authorizeUrl } = await start(t)
      const { status, page } = await submit(authorizeUrl(), fields)
      t.equal(status, 400)
      t.match(page, `<p role="alert">${message}</p>`)
    })
  }

  t.test('keeps the ticked boxes when it is shown again', async (t) => {
    const { authorizeUrl } = await start(t)
    const { page } = await submit(authorizeUrl(), `decision=approve&site=${ids.notes}&site=${ids.gardens}`)
    t.strictSame([...page.matchAll(/value="(\w+)" checked/g)].map(([, id]) => id), [ids.notes, ids.gardens])
  })

  t.test('is shown again when its form is unreadable', async (t) => {
    const { authorizeUrl } = await start(t)
    t.equal((await submit(authorizeUrl(), '{', { 'content-type': 'application/json' })).status, 400)
  })

  t.test('checks the authorization request again when its form is sent', async (t) => {
    const { authorizeUrl } = await start(t)
    const refused = await request(authorizeUrl({ client_id: 'unknown' }), { method: 'POST', headers: form, body: 'decision=approve' })
    t.equal(refused.statusCode, 400)
    const redirected = await request(authorizeUrl({ scope: 'nonsense' }), { method: 'POST', headers: form, body: 'decision=approve' })
    t.equal(parameter(`${redirected.headers['location']}`, 'error'), 'invalid_scope')
  })

  t.test('`approve` refuses a selection that Webflow does not offer', async (t) => {
    const { webflow, authorizeUrl } = await start(t)
    await t.rejects(webflow.approve(authorizeUrl(), { siteIds: [] }), /Pick at least one site/)
    await t.rejects(webflow.approve(authorizeUrl(), { siteIds: [ids.engine], workspaceId: ids.studio }), /not both/)
  })
})

t.test('the token endpoint', async (t) => {
  t.test('exchanges a code, as JSON and as a form, on both of its paths', async (t) => {
    const { webflow, authorizeUrl, exchange } = await start(t)
    const json = await exchange(parameter(await webflow.approve(authorizeUrl()), 'code'))
    t.match(json, { status: 200, body: { access_token: hex64, token_type: 'bearer' } })
    t.strictSame(Object.keys(json.body ?? {}), ['access_token', 'token_type'])

    const code = parameter(await webflow.approve(authorizeUrl({ redirect_uri: localRedirectUri })), 'code')
    const { statusCode, headers, body } = await request(`${webflow.url}/oauth/token`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded; charset=UTF-8' },
      body: new URLSearchParams({ client_id: app.clientId, client_secret: app.clientSecret, code, grant_type: 'authorization_code', redirect_uri: localRedirectUri }).toString()
    })
    t.equal(statusCode, 200)
    t.match(await body.json(), { access_token: hex64 })
    t.equal(headers['cache-control'], 'no-store')
  })

  t.test('serves the code exchange of the SDK', async (t) => {
    const { webflow, authorizeUrl } = await start(t)
    const { url } = webflow
    const { fetch } = globalThis
    // The SDK knows no other host than api.webflow.com for its exchange.
    t.intercept(globalThis, 'fetch', {
      value: (target: string, init: RequestInit) => fetch(target.replace('https://api.webflow.com', url), init)
    })
    const code = parameter(await webflow.approve(authorizeUrl({ redirect_uri: redirectUri })), 'code')
    t.match(await WebflowClient.getAccessToken({ clientId: app.clientId, clientSecret: app.clientSecret, code, redirectUri }), hex64)
    t.match(webflow.requests.token, [{ path: '/oauth/access_token', parameters: { code, redirect_uri: redirectUri } }])
  })

  t.test('a redirect URI sent at authorize must be sent again', async (t) => {
    const { webflow, authorizeUrl, exchange } = await start(t)
    const refused = { status: 400, body: { error: 'invalid_grant', error_description: 'invalid_redirect_uri' } }
    const code = parameter(await webflow.approve(authorizeUrl({ redirect_uri: redirectUri })), 'code')
    t.strictSame(await exchange(code), refused)
    t.strictSame(await exchange(code, { redirect_uri: localRedirectUri }), refused)
    t.equal((await exchange(code, { redirect_uri: redirectUri })).status, 200)
  })

  t.test('a redirect URI that was not sent at authorize may be sent if it equals the one that was used', async (t) => {
    const { webflow, authorizeUrl, exchange } = await start(t)
    const code = parameter(await webflow.approve(authorizeUrl()), 'code')
    t.equal((await exchange(code, { redirect_uri: localRedirectUri })).status, 400)
    t.equal((await exchange(code, { redirect_uri: redirectUri })).status, 200)
  })

  t.test('a code works once', async (t) => {
    const { webflow, authorizeUrl, exchange, get } = await start(t)
    const code = parameter(await webflow.approve(authorizeUrl()), 'code')
    const first = await exchange(code)
    t.match(await exchange(code), { status: 400, body: { error: 'invalid_grant' } })
    t.equal((await get('/v2/sites', member(first.body, 'access_token'))).status, 200)
  })

  t.test('a code expires after 15 minutes', async (t) => {
    let now = Date.parse('2026-11-01')
    const { webflow, authorizeUrl, exchange } = await start(t, { now: () => now })
    const early = parameter(await webflow.approve(authorizeUrl()), 'code')
    const late = parameter(await webflow.approve(authorizeUrl()), 'code')
    now += 15 * 60 * 1000 - 1
    t.equal((await exchange(early)).status, 200)
    now += 1
    t.match(await exchange(late), { status: 400, body: { error: 'invalid_grant' } })
    await webflow.approve(authorizeUrl())
    t.match(await exchange(late), { status: 400, body: { error: 'invalid_grant' } })
  })

  t.test('a code of another app is unknown', async (t) => {
    const other = { ...app, clientId: 'other', clientSecret: 'other-secret' }
    const { webflow, exchange } = await start(t, { apps: [other] })
    const code = parameter(await webflow.install({ clientId: 'other' }), 'code')
    t.match(await exchange(code), { status: 400, body: { error: 'invalid_grant' } })
    t.equal((await exchange(code, { client_id: 'other', client_secret: 'other-secret' })).status, 200)
  })

  t.test('wrong credentials are invalid_grant and leave the code unspent', async (t) => {
    const { webflow, authorizeUrl, exchange } = await start(t)
    const code = parameter(await webflow.approve(authorizeUrl()), 'code')
    t.match(await exchange(code, { client_secret: 'wrong' }), { status: 400, body: { error: 'invalid_grant' } })
    t.match(await exchange(code, { client_id: 'unknown' }), { status: 400, body: { error: 'invalid_grant' } })
    t.equal((await exchange(code)).status, 200)
  })

  t.test('a grant type other than authorization_code is unsupported', async (t) => {
    const { exchange } = await start(t)
    for (const grantType of ['refresh_token', 'client_credentials']) {
      t.match(await exchange('x', { grant_type: grantType }), { status: 400, body: { error: 'unsupported_grant_type' } })
    }
  })

  t.test('a parameter that is missing or not a string is invalid_request', async (t) => {
    const { exchange } = await start(t)
    for (const name of ['grant_type', 'client_id', 'client_secret', 'code', 'redirect_uri']) {
      for (const value of [...(name === 'redirect_uri' ? [] : [undefined, '']), null, 1, true, ['x'], { x: 'y' }]) {
        t.match(await exchange('x', { [name]: value }), { status: 400, body: { error: 'invalid_request', error_description: name } }, `${name}: ${JSON.stringify(value)}`)
      }
    }
  })
})

t.test('bodies that cannot be read', async (t) => {
  const bodies: ReadonlyArray<readonly [string, Record<string, string>, string]> = [
    ['broken JSON', { 'content-type': 'application/json' }, '{"client_id":'],
    ['a JSON list', { 'content-type': 'application/json' }, '[{}]'],
    ['JSON null', { 'content-type': 'application/json' }, 'null'],
    ['a JSON string', { 'content-type': 'application/json' }, '"x"'],
    ['no body', { 'content-type': 'application/json' }, ''],
    ['only prototype members', { 'content-type': 'application/json' }, '{"__proto__":{"client_id":"x"},"constructor":{"prototype":{}}}'],
    ['deeply nested JSON', { 'content-type': 'application/json' }, '['.repeat(60000)],
    ['a form that repeats every field', form, 'client_id=a&client_id=a&grant_type=b&grant_type=b'],
    ['text', { 'content-type': 'text/plain' }, 'client_id=a'],
    ['multipart', { 'content-type': 'multipart/form-data; boundary=x' }, '--x--'],
    ['no content type', {}, 'client_id=a'],
    ['a malformed content type', { 'content-type': ';;' }, 'client_id=a']
  ]
  for (const [title, headers, body] of bodies) {
    t.test(`${title}: token and revocation endpoint say invalid_request`, async (t) => {
      const { webflow } = await start(t)
      for (const url of [webflow.endpoints.token, webflow.endpoints.revoke]) {
        const answer = await request(url, { method: 'POST', headers, body })
        t.ok(answer.statusCode >= 400 && answer.statusCode < 500, `status ${answer.statusCode}`)
        t.match(await answer.body.json(), { error: 'invalid_request', error_description: String })
      }
    })
  }

  t.test('a body above 64 KiB is refused with status 413', async (t) => {
    const { webflow } = await start(t)
    const oauth = await request(webflow.endpoints.token, { method: 'POST', headers: form, body: 'x'.repeat(65537) })
    t.equal(oauth.statusCode, 413)
    t.match(await oauth.body.json(), { error: 'invalid_request' })
    const other = await request(`${webflow.url}/uninstall/x`, { method: 'POST', headers: form, body: 'x'.repeat(65537) })
    t.equal(other.statusCode, 413)
    t.match(await other.body.json(), { code: 'bad_request' })
  })

  t.test('a path that cannot be decoded is refused with status 400', async (t) => {
    const { get } = await start(t)
    t.match(await get('/%ZZ'), { status: 400, body: { code: 'bad_request' } })
    t.match(await get(`/install/${'x'.repeat(500)}`), { status: 400, body: { code: 'bad_request' } })
  })

  t.test('bytes that are not HTTP are refused with status 400, and headers that are too large with 431', async (t) => {
    const { webflow } = await start(t)
    for (const [bytes, status] of [['nonsense\r\n\r\n', 400], [`GET / HTTP/1.1\r\nhost: x\r\nx: ${'x'.repeat(20000)}\r\n\r\n`, 431]] as const) {
      const socket = connect(Number(new URL(webflow.url).port), '127.0.0.1')
      socket.write(bytes)
      t.ok((await text(socket)).startsWith(`HTTP/1.1 ${status} `))
    }
  })
})

t.test('the revocation endpoint', async (t) => {
  t.test('ends a token, once', async (t) => {
    const { connect, get, revoke } = await start(t)
    const accessToken = await connect()
    t.strictSame(await revoke({ access_token: accessToken }), { status: 200, body: { did_revoke: true } })
    t.match(await get('/v2/sites', accessToken), { status: 401 })
    t.match(await revoke({ access_token: accessToken }), { status: 400, body: { error: 'invalid_token' } })
  })

  t.test('leaves the other tokens of the user alone', async (t) => {
    const { connect, get, revoke } = await start(t)
    const older = await connect()
    const newer = await connect()
    await revoke({ access_token: newer })
    t.match(await get('/v2/sites', older), { status: 200 })
  })

  t.test('refuses wrong credentials, unknown tokens and tokens of another app', async (t) => {
    const other = { ...app, clientId: 'other', clientSecret: 'other-secret' }
    const { connect, get, revoke } = await start(t, { apps: [other] })
    const accessToken = await connect()
    t.match(await revoke({ access_token: accessToken, client_secret: 'wrong' }), { status: 401, body: { error: 'invalid_client' } })
    t.match(await revoke({ access_token: accessToken, client_id: 'unknown' }), { status: 401, body: { error: 'invalid_client' } })
    t.match(await revoke({ access_token: 'unknown' }), { status: 400, body: { error: 'invalid_token' } })
    t.match(await revoke({ access_token: accessToken, client_id: 'other', client_secret: 'other-secret' }), { status: 400, body: { error: 'invalid_token' } })
    t.match(await get('/v2/sites', accessToken), { status: 200 })
  })

  t.test('a parameter that is missing or not a string is invalid_request', async (t) => {
    const { revoke } = await start(t)
    for (const name of ['client_id', 'client_secret', 'access_token']) {
      for (const value of [undefined, null, 1, ['x'], { x: 'y' }]) {
        t.match(await revoke({ access_token: 'x', [name]: value }), { status: 400, body: { error: 'invalid_request', error_description: name } }, `${name}: ${JSON.stringify(value)}`)
      }
    }
  })
})

t.test('the scopes', async (t) => {
  const things: Array<[name: string, words: string, readOnly?: boolean]> = [
    ['authorized_user', 'your name and email address', true],
    ['app_subscriptions', 'your subscriptions to the app', true],
    ['assets', 'assets'],
    ['cms', 'CMS collections and items'],
    ['comments', 'comments'],
    ['components', 'components'],
    ['custom_code', 'custom code'],
    ['ecommerce', 'products, orders and inventory'],
    ['forms', 'forms and their submissions'],
    ['pages', 'pages'],
    ['sites', 'sites'],
    ['site_activity', 'activity logs of sites', true],
    ['site_config', 'settings of sites'],
    ['users', 'accounts of the users of sites'],
    ['workspace', 'the workspace']
  ]
  for (const [name, words, readOnly = false] of things) {
    t.equal(isKnownScope(`${name}:read`), true)
    t.equal(isKnownScope(`${name}:write`), !readOnly, name)
    t.strictSame(describeScope([`${name}:read`]), [`See ${words}`])
    t.strictSame(describeScope([`${name}:write`]), [`Change ${words}`])
    t.strictSame(describeScope([`${name}:write`, `${name}:read`]), [`See and change ${words}`])
  }
  for (const scope of ['', ':read', 'sites', 'sites:', 'sites:delete', 'sites:read:write', 'Sites:read', 'collections:read']) t.equal(isKnownScope(scope), false, scope)
  t.strictSame(describeScope(['new_thing:read', 'a:reader:read']), ['See new thing', 'See a:reader'])
  for (const scope of ['branches:create', 'branches:read', 'branches:publish', 'ai:write', 'page_client:write', 'site_access:read', 'workspace_members:write', 'devlink_export:read']) t.equal(isKnownScope(scope), true, scope)
  t.strictSame(describeScope(['branches:create', 'branches:read', 'branches:merge', 'new_thing:delete', 'openid', 'ai:write']), ['Create branches of pages', 'See branches of pages', 'Merge branches of pages', 'Delete new thing', 'Use openid', 'Change content by AI'])
})

t.test('the Data API', async (t) => {
  t.test('serves a site with exactly the members that Webflow sends', async (t) => {
    const { connect, get } = await start(t)
    const { body } = await get('/v2/sites', await connect({ siteIds: [ids.notes] }))
    t.strictSame(body, {
      sites: [{
        id: ids.notes,
        workspaceId: ids.studio,
        createdOn: '2024-01-15T09:00:00.000Z',
        displayName: 'Notes by A. A. L.',
        shortName: 'notes-by-aal',
        lastPublished: '2024-06-01T12:00:00.000Z',
        lastUpdated: '2024-06-01T12:00:00.000Z',
        previewUrl: `https://screenshots.webflow.com/sites/${ids.notes}/preview.png`,
        timeZone: 'Europe/London',
        customDomains: [],
        locales: { primary: { id: '62f3b1f7eafac55d0c6410ca', cmsLocaleId: '62f3b1f7eafac55d0c6410cb', enabled: true, displayName: 'English', redirect: false, subdirectory: '', tag: 'en' }, secondary: [] },
        dataCollectionEnabled: false,
        dataCollectionType: 'always'
      }]
    })
  })

  t.test('serves sites, introspection and user to the SDK', async (t) => {
    const now = Date.parse('2026-11-01T10:00:00.000Z')
    const { webflow, connect } = await start(t, { now: () => now })
    const client = new WebflowClient({ accessToken: await connect({ workspaceId: ids.studio }), baseUrl: `${webflow.url}/v2` })
    const { sites = [] } = await client.sites.list()
    t.match(sites, [
      { id: ids.engine, workspaceId: ids.studio, displayName: 'Difference Engine', shortName: 'difference-engine', createdOn: Date, locales: { primary: { tag: 'en' } } },
      { id: ids.notes }
    ])
    t.equal(sites.length, 2)
    t.match(await client.token.introspect(), {
      authorization: {
        id: /^[0-9a-f]{24}$/,
        createdOn: new Date(now),
        lastUsed: new Date(now),
        grantType: 'authorization_code',
        rateLimit: 60,
        scope: 'sites:read,cms:read,cms:write,authorized_user:read',
        authorizedTo: { siteIds: [], workspaceIds: [ids.studio], userIds: ['545bbecb7bdd6769632504a7'] }
      },
      application: { id: /^[0-9a-f]{24}$/, displayName: app.name, homepage: 'https://app.example.com' }
    })
    t.strictSame({ ...await client.token.authorizedBy() }, { id: '545bbecb7bdd6769632504a7', email: 'ada@example.com', firstName: 'Ada', lastName: 'Lovelace' })
  })

  t.test('says when a token was last used', async (t) => {
    let now = Date.parse('2026-11-01T10:00:00.000Z')
    const { connect, get } = await start(t, { now: () => now })
    const accessToken = await connect()
    now += 60000
    t.match(await get('/v2/token/introspect', accessToken), {
      body: { authorization: { createdOn: '2026-11-01T10:00:00.000Z', lastUsed: '2026-11-01T10:01:00.000Z' } }
    })
  })

  t.test('a missing, malformed or unknown token is not_authorized', async (t) => {
    const { webflow, get } = await start(t)
    const refused = { message: 'Request not authorized', code: 'not_authorized', externalReference: null, details: [] }
    for (const path of ['/v2/sites', '/v2/token/introspect', '/v2/token/authorized_by']) {
      t.strictSame(await get(path), { status: 401, body: refused }, path)
      t.strictSame(await get(path, 'unknown'), { status: 401, body: refused }, path)
      t.strictSame(await get(path, '__proto__'), { status: 401, body: refused }, path)
    }
    const { statusCode } = await request(`${webflow.url}/v2/sites`, { headers: { authorization: 'Basic eDp5' } })
    t.equal(statusCode, 401)
  })

  t.test('a scope that was not asked for is missing_scopes, and the SDK says Forbidden', async (t) => {
    const { webflow, authorizeUrl, exchange, get } = await start(t)
    const { body } = await exchange(parameter(await webflow.approve(authorizeUrl({ scope: 'cms:read' })), 'code'))
    const accessToken = member(body, 'access_token')
    t.match(await get('/v2/token/authorized_by', accessToken), { status: 403, body: { code: 'missing_scopes', message: /authorized_user:read/, details: [] } })
    await t.rejects(new WebflowClient({ accessToken, baseUrl: `${webflow.url}/v2` }).sites.list(), /Status code: 403/)
    t.equal((await get('/v2/token/introspect', accessToken)).status, 200)
  })

  t.test('anything else is not found', async (t) => {
    const { webflow, get } = await start(t)
    t.match(await get('/v2/collections'), { status: 404, body: { code: 'route_not_found', externalReference: null, details: [] } })
    t.match(await get('/oauth/access_token'), { status: 404 })
    t.equal((await request(webflow.endpoints.authorize, { method: 'DELETE' })).statusCode, 404)
  })

  t.test('a grant is cumulative: every token lists everything that the user has ever allowed', async (t) => {
    const { connect, get } = await start(t)
    const older = await connect({ siteIds: [ids.engine] })
    await connect({ siteIds: [ids.gardens] })
    const newest = await connect({ workspaceId: ids.park })
    for (const accessToken of [older, newest]) {
      t.match(await get('/v2/token/introspect', accessToken), {
        body: { authorization: { authorizedTo: { siteIds: [ids.engine, ids.gardens], workspaceIds: [ids.park] } } }
      })
      t.match(await get('/v2/sites', accessToken), { body: { sites: [{ id: ids.engine }, { id: ids.gardens }] } })
    }
  })

  t.test('a grant ends with the last of its tokens', async (t) => {
    const { webflow, connect, get, authorizeUrl, exchange } = await start(t)
    const first = await connect({ siteIds: [ids.engine] })
    const pending = await webflow.approve(authorizeUrl(), { siteIds: [ids.notes] })
    t.equal(webflow.revokeToken(first), true)
    const { body } = await exchange(parameter(pending, 'code'))
    t.strictSame(await get('/v2/token/introspect', member(body, 'access_token')).then(({ body }) => JSON.stringify(body).match(/"siteIds":(.*?),"w/)?.[1]), JSON.stringify([ids.notes]))
  })

  t.test('users have grants of their own', async (t) => {
    const { webflow, connect, get } = await start(t)
    const ada = await connect({ siteIds: [ids.engine] })
    webflow.signIn({ id: '545bbecb7bdd6769632504a8', email: 'charles@example.com', firstName: 'Charles', lastName: 'Babbage' })
    const charles = await connect({ siteIds: [ids.gardens] })
    t.match(await get('/v2/token/authorized_by', ada), { body: { firstName: 'Ada' } })
    t.match(await get('/v2/token/authorized_by', charles), { body: { firstName: 'Charles' } })
    t.match(await get('/v2/token/introspect', charles), { body: { authorization: { authorizedTo: { siteIds: [ids.gardens] } } } })
    webflow.uninstall()
    t.equal((await get('/v2/sites', ada)).status, 200)
    t.equal((await get('/v2/sites', charles)).status, 401)
  })
})

t.test('installing and uninstalling at Webflow', async (t) => {
  t.test('an install comes back with a code and without state', async (t) => {
    const { webflow, exchange } = await start(t)
    const url = await webflow.install({ siteIds: [ids.gardens] })
    t.strictSame([...new URL(url).searchParams.keys()], ['code'])
    t.equal((await exchange(parameter(url, 'code'))).status, 200)
  })

  t.test('the install link leads to the consent page by a bare authorize link', async (t) => {
    const { webflow } = await start(t)
    const { statusCode, headers } = await request(`${webflow.url}/install/${app.clientId}`)
    t.equal(statusCode, 302)
    const { pathname, searchParams } = new URL(`${headers['location']}`, webflow.url)
    t.equal(pathname, '/oauth/authorize')
    t.strictSame(Object.fromEntries(searchParams), { response_type: 'code', client_id: app.clientId, scope: app.scope.join(' ') })
    t.equal((await request(`${webflow.url}${headers['location']}`)).statusCode, 200)
  })

  t.test('the dashboard shows the installed apps and uninstalls them', async (t) => {
    const { webflow, connect, get } = await start(t)
    const dashboard = async (): Promise<string> => (await request(webflow.url)).body.text()
    t.match(await dashboard(), 'Not installed')
    t.notMatch(await dashboard(), 'Uninstall')
    const accessToken = await connect()
    t.match(await dashboard(), `action="/uninstall/${app.clientId}"`)
    t.match(await dashboard(), 'Uninstall')
    const { statusCode, headers } = await request(`${webflow.url}/uninstall/${app.clientId}`, { method: 'POST' })
    t.equal(statusCode, 302)
    t.equal(headers['location'], '/')
    t.equal((await get('/v2/sites', accessToken)).status, 401)
    t.match(await dashboard(), 'Not installed')
  })

  t.test('an unknown client id can be neither installed nor uninstalled', async (t) => {
    const { webflow } = await start(t)
    t.equal((await request(`${webflow.url}/install/unknown`)).statusCode, 404)
    t.equal((await request(`${webflow.url}/uninstall/unknown`, { method: 'POST' })).statusCode, 404)
    await t.rejects(webflow.install({ clientId: 'unknown' }), TypeError)
    t.throws(() => webflow.uninstall('unknown'), TypeError)
  })

  t.test('uninstall ends every token, the grant and codes not yet exchanged', async (t) => {
    const other = { ...app, clientId: 'other', clientSecret: 'other-secret' }
    const { webflow, connect, exchange, get, revoke, authorizeUrl } = await start(t, { apps: [other] })
    const tokens = [await connect(), await connect()]
    const code = parameter(await webflow.approve(authorizeUrl()), 'code')
    const foreign = parameter(await webflow.install({ clientId: 'other' }), 'code')
    webflow.uninstall(app.clientId)
    for (const accessToken of tokens) t.match(await get('/v2/token/introspect', accessToken), { status: 401 })
    t.match(await exchange(code), { status: 400, body: { error: 'invalid_grant' } })
    t.match(await revoke({ access_token: tokens[0] }), { body: { error: 'invalid_token' } })
    t.equal((await exchange(foreign, { client_id: 'other', client_secret: 'other-secret' })).status, 200)
    webflow.uninstall(app.clientId)
  })

  t.test('revokeToken ends one token and returns whether it was alive', async (t) => {
    const { webflow, connect, get } = await start(t)
    const [ended, alive] = [await connect(), await connect()]
    t.equal(webflow.revokeToken(ended), true)
    t.equal(webflow.revokeToken(ended), false)
    t.equal((await get('/v2/sites', ended)).status, 401)
    t.equal((await get('/v2/sites', alive)).status, 200)
  })

  t.test('restoreToken makes a token valid that an earlier simulator has issued', async (t) => {
    const earlier = await start(t)
    const [first, second] = [await earlier.connect(), await earlier.connect()]
    const { webflow, get } = await start(t)
    t.equal((await get('/v2/sites', first)).status, 401)
    webflow.restoreToken(first)
    webflow.restoreToken(first, { scope: [] })
    t.equal((await get('/v2/sites', first)).status, 200, 'with its first scope')
    t.equal((await get('/v2/sites', second)).status, 401)
    t.throws(() => webflow.restoreToken(second, { clientId: 'unknown' }), TypeError)
  })
})

t.test('switches', async (t) => {
  t.test('repeatedAuthorization new: the old token stays valid beside the new one', async (t) => {
    const { connect, get } = await start(t)
    const [older, newer] = [await connect(), await connect()]
    t.not(older, newer)
    t.equal((await get('/v2/sites', older)).status, 200)
  })

  t.test('repeatedAuthorization same: the same token, with the scopes of both', async (t) => {
    const { webflow, authorizeUrl, exchange, get } = await start(t, { behavior: { repeatedAuthorization: 'same' } })
    const codes = [
      await webflow.approve(authorizeUrl({ scope: 'cms:read' })),
      await webflow.approve(authorizeUrl({ scope: 'sites:read' }))
    ]
    const tokens: string[] = []
    for (const url of codes) tokens.push(member((await exchange(parameter(url, 'code'))).body, 'access_token'))
    t.equal(tokens[0], tokens[1])
    t.match(await get('/v2/token/introspect', tokens[0]), { body: { authorization: { scope: 'cms:read,sites:read' } } })
  })

  t.test('repeatedAuthorization new-ends-old: the old token ends', async (t) => {
    const { connect, get } = await start(t, { behavior: { repeatedAuthorization: 'new-ends-old' } })
    const [older, newer] = [await connect(), await connect()]
    t.equal((await get('/v2/sites', older)).status, 401)
    t.equal((await get('/v2/sites', newer)).status, 200)
  })

  t.test('repeatedConsent skip: the page is shown only when the app asks for more', async (t) => {
    const { webflow, authorizeUrl, exchange } = await start(t, { behavior: { repeatedConsent: 'skip' } })
    const url = authorizeUrl({ scope: 'sites:read', state: 's' })
    t.equal((await request(url)).statusCode, 200)
    await webflow.approve(url)
    const { statusCode, headers } = await request(url)
    t.equal(statusCode, 302)
    t.equal(parameter(`${headers['location']}`, 'state'), 's')
    t.equal((await exchange(parameter(await webflow.deny(url), 'code'))).status, 200)
    t.equal((await request(authorizeUrl({ scope: 'sites:read cms:read' }))).statusCode, 200)
  })

  t.test('omittedRedirectUri refuse: an error page when several are registered, otherwise the only one counts', async (t) => {
    const behavior: BehaviorOptions = { omittedRedirectUri: 'refuse' }
    const several = await start(t, { behavior })
    await t.rejects(several.webflow.approve(several.authorizeUrl()), /no redirect_uri, and the app has several/)
    const one = await start(t, { behavior, app: { ...app, redirectUris: [redirectUri] } })
    t.match(await one.webflow.approve(one.authorizeUrl()), /[?]code=/)
  })

  t.test('omittedScope: all configured scopes, or an error', async (t) => {
    const configured = await start(t)
    const { body } = await configured.exchange(parameter(await configured.webflow.approve(configured.authorizeUrl({ scope: null })), 'code'))
    t.match(await configured.get('/v2/token/introspect', member(body, 'access_token')), { body: { authorization: { scope: app.scope.join(',') } } })
    const refuse = await start(t, { behavior: { omittedScope: 'refuse' } })
    t.equal(parameter(await refuse.webflow.approve(refuse.authorizeUrl({ scope: null })), 'error'), 'invalid_scope')
  })

  t.test('denialError: another error for a denial', async (t) => {
    const { webflow, authorizeUrl } = await start(t, { behavior: { denialError: 'user_denied' } })
    t.equal(parameter(await webflow.deny(authorizeUrl()), 'error'), 'user_denied')
  })

  t.test('wrongCredentials invalid_client: status 401', async (t) => {
    const { exchange } = await start(t, { behavior: { wrongCredentials: 'invalid_client' } })
    t.match(await exchange('x', { client_secret: 'wrong' }), { status: 401, body: { error: 'invalid_client' } })
  })

  t.test('reusedCodeEndsToken: the second exchange ends the token of the first', async (t) => {
    const { webflow, authorizeUrl, exchange, get } = await start(t, { behavior: { reusedCodeEndsToken: true } })
    const code = parameter(await webflow.approve(authorizeUrl()), 'code')
    const { body } = await exchange(code)
    t.match(await exchange(code), { status: 400, body: { error: 'invalid_grant' } })
    t.equal((await get('/v2/sites', member(body, 'access_token'))).status, 401)
  })

  t.test('scopeInTokenResponse and expiresIn: the answer has them, and the token expires in time', async (t) => {
    let now = Date.parse('2026-11-01')
    const { webflow, authorizeUrl, exchange, get } = await start(t, { now: () => now, behavior: { scopeInTokenResponse: true, expiresIn: 3600 } })
    const { body } = await exchange(parameter(await webflow.approve(authorizeUrl({ scope: 'sites:read cms:read' })), 'code'))
    t.match(body, { expires_in: 3600, scope: 'sites:read cms:read' })
    now += 3600 * 1000 - 1
    t.equal((await get('/v2/sites', member(body, 'access_token'))).status, 200)
    now += 1
    t.equal((await get('/v2/sites', member(body, 'access_token'))).status, 401)
  })

  t.test('an expired token is not issued again', async (t) => {
    let now = Date.parse('2026-11-01')
    const { connect } = await start(t, { now: () => now, behavior: { repeatedAuthorization: 'same', expiresIn: 60 } })
    const first = await connect()
    t.ok(first === await connect(), 'the same token while it is valid')
    now += 60000
    t.notOk(first === await connect(), 'another token once it has expired')
  })

  t.test('revokedMember: the answer has the old name', async (t) => {
    const { connect, revoke } = await start(t, { behavior: { revokedMember: 'didRevoke' } })
    t.strictSame(await revoke({ access_token: await connect() }), { status: 200, body: { didRevoke: true } })
  })

  t.test('revocationErrorStatus: other statuses, one by one', async (t) => {
    const { revoke } = await start(t, { behavior: { revocationErrorStatus: { invalid_token: 404 } } })
    t.match(await revoke({ access_token: 'unknown' }), { status: 404, body: { error: 'invalid_token' } })
    t.match(await revoke({ access_token: 'unknown', client_id: 'unknown' }), { status: 401, body: { error: 'invalid_client' } })
  })

  t.test('revocationEndsSiblings: the user has no token left', async (t) => {
    const { connect, get, revoke } = await start(t, { behavior: { revocationEndsSiblings: true } })
    const [older, newer] = [await connect(), await connect()]
    await revoke({ access_token: newer })
    t.equal((await get('/v2/sites', older)).status, 401)
  })

  t.test('introspectionScopeSeparator: introspection separates scopes by a space', async (t) => {
    const { connect, get } = await start(t, { behavior: { introspectionScopeSeparator: ' ' } })
    t.match(await get('/v2/token/introspect', await connect()), { body: { authorization: { scope: app.scope.join(' ') } } })
  })

  t.test('authorizationOf grant: all tokens of a grant have one authorization', async (t) => {
    const idOf = async ({ get }: Bench, accessToken: string) => /"id":"(\w{24})","createdOn":"([^"]+)"/.exec(JSON.stringify((await get('/v2/token/introspect', accessToken)).body))?.slice(1)
    let clock = 1_800_000_000_000
    const now = () => clock++
    const byToken = await start(t, { now })
    t.notSame(await idOf(byToken, await byToken.connect()), await idOf(byToken, await byToken.connect()))
    const byGrant = await start(t, { now, behavior: { authorizationOf: 'grant' } })
    const first = await idOf(byGrant, await byGrant.connect())
    t.equal(first?.length, 2)
    t.strictSame(await idOf(byGrant, await byGrant.connect()), first)
  })

  t.test('introspectionListsUsers false: introspection lists no users', async (t) => {
    const { connect, get } = await start(t, { behavior: { introspectionListsUsers: false } })
    t.match(await get('/v2/token/introspect', await connect()), { status: 200, body: { authorization: { authorizedTo: { userIds: [] } } } })
  })

  t.test('workspaceGrantListsSites: introspection lists the sites beside the workspace', async (t) => {
    const { connect, get } = await start(t, { behavior: { workspaceGrantListsSites: true } })
    t.match(await get('/v2/token/introspect', await connect({ workspaceId: ids.studio })), {
      body: { authorization: { authorizedTo: { siteIds: [ids.engine, ids.notes], workspaceIds: [ids.studio] } } }
    })
  })
})

/** Starts an app that remembers the webhooks it receives and answers with the given statuses, then with 200. */
async function startReceiver (t: Test, ...statuses: number[]) {
  const received: Array<{ url: string, body: unknown, headers: Record<string, unknown>, isSigned: (secret: string) => boolean }> = []
  const receiver = Fastify()
  t.teardown(() => receiver.close())
  receiver.removeAllContentTypeParsers()
  receiver.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => { done(null, body) })
  receiver.post('/*', async ({ url, headers, body }, reply) => {
    const isSigned = (secret: string) => createHmac('sha256', secret).update(`${headers['x-webflow-timestamp']}:${body}`).digest('hex') === headers['x-webflow-signature']
    received.push({ url, headers, isSigned, body: JSON.parse(String(body)) })
    return reply.code(statuses.shift() ?? 200).header('location', '/elsewhere').send()
  })
  return { receiver, received, url: await receiver.listen({ port: 0, host: '127.0.0.1' }) }
}

t.test('webhooks', async (t) => {
  const webhook = { triggerType: 'site_publish', payload: { siteId: ids.engine, publishedOn: 'é' } }

  t.test('deliver signs the bytes with the client secret, and posts them to a Fastify instance beside the redirect URI', async (t) => {
    const { webflow } = await start(t)
    const { receiver, received } = await startReceiver(t)
    t.strictSame(await webflow.deliver(receiver, webhook), { statusCode: 200, attempts: 1 })
    t.match(received, [{ url: '/webflow/webhook', body: webhook, headers: { 'content-type': 'application/json', 'x-webflow-timestamp': /^\d{13}$/, 'x-webflow-signature': hex64 } }])
    t.equal(received[0]?.isSigned(app.clientSecret), true)
    await webflow.deliver(receiver, webhook, { secret: 'another', timestamp: 5, path: '/hooks?a=b' })
    t.match(received[1], { url: '/hooks?a=b', headers: { 'x-webflow-timestamp': '5' } })
    t.equal(received[1]?.isSigned('another'), true)
  })

  t.test('deliver posts to a URL, and rejects only when there is no answer', async (t) => {
    const { webflow } = await start(t)
    const { receiver, received, url } = await startReceiver(t, 302, 500)
    t.strictSame(await webflow.deliver(`${url}/a?b=c`, webhook), { statusCode: 302, attempts: 1 }, 'a redirect is not followed')
    t.strictSame(await webflow.deliver(new URL(url), webhook, { path: '/d' }), { statusCode: 500, attempts: 1 })
    t.strictSame(received.map(({ url }) => url), ['/a?b=c', '/d'])
    t.ok(received.every(({ isSigned }) => isSigned(app.clientSecret)))
    await receiver.close()
    await t.rejects(webflow.deliver(url, webhook))
  })

  t.test('closing the simulator ends a delivery that is not answered', async (t) => {
    const { webflow } = await start(t)
    let receive = () => {}
    const received = new Promise<void>((resolve) => { receive = resolve })
    const silent = createServer(() => { receive() }).listen(0, '127.0.0.1')
    await once(silent, 'listening')
    t.teardown(() => silent.close())
    const address = silent.address()
    const delivery = webflow.deliver(`http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}/`, webhook)
    await received
    await Promise.all([t.rejects(delivery), webflow.close()])
  })

  t.test('deliver repeats a webhook until it is answered with 200, at most as often as `retries` says', async (t) => {
    const { webflow } = await start(t)
    const { receiver } = await startReceiver(t, 500, 204, 500, 500, 500)
    t.strictSame(await webflow.deliver(receiver, webhook, { retries: 1 }), { statusCode: 204, attempts: 2 })
    t.strictSame(await webflow.deliver(receiver, webhook, { retries: 2 }), { statusCode: 500, attempts: 3 })
    t.strictSame(await webflow.deliver(receiver, webhook, { retries: 3 }), { statusCode: 200, attempts: 1 })
  })

  t.test('webhookRetries: a repetition is signed anew with its own time, or carries the first time and signature', async (t) => {
    for (const [behavior, timestamps] of [[{}, ['5', '7']], [{ webhookRetries: 'signed-anew' }, ['5', '7']], [{ webhookRetries: 'same' }, ['5', '5']]] as const) {
      const { webflow } = await start(t, { now: () => 7, behavior })
      const { receiver, received } = await startReceiver(t, 500)
      t.strictSame(await webflow.deliver(receiver, webhook, { timestamp: 5, retries: 3 }), { statusCode: 200, attempts: 2 })
      t.strictSame(received.map(({ headers }) => headers['x-webflow-timestamp']), timestamps)
      t.ok(received.every(({ isSigned }) => isSigned(app.clientSecret)))
    }
  })

  t.test('the dashboard sends a webhook with one click, and shows how the app answered', async (t) => {
    const { receiver, received, url } = await startReceiver(t, 200, 401)
    const { webflow } = await start(t, { app: { ...app, redirectUris: [`${url}/webflow/callback/`] } })
    const dashboard = async () => (await webflow.server.inject('/')).body
    const click = (clientId: string, trigger: string) => webflow.server.inject({ method: 'POST', url: `/webhook/${clientId}`, headers: form, payload: `trigger=${trigger}` })
    t.match(await dashboard(), `action="/webhook/${app.clientId}"`)
    t.match(await dashboard(), 'Webhook to /webflow/webhook')
    for (const answer of ['200.', '401, which Webflow takes for a failure.', null]) {
      if (answer === null) await receiver.close()
      const { statusCode, headers } = await click(app.clientId, 'site_publish')
      t.strictSame([statusCode, headers.location], [302, '/'])
      t.match(await dashboard(), `The webhook site_publish to ${url}/webflow/webhook ${answer === null ? 'got no answer.' : `was answered with ${answer}`}`)
    }
    t.match(received[0], { url: '/webflow/webhook', body: { triggerType: 'site_publish', payload: { siteId: ids.engine } } })
    t.equal(received[0]?.isSigned(app.clientSecret), true)
    t.equal((await click('unknown', 'site_publish')).statusCode, 404)
    t.equal((await click(app.clientId, 'unknown')).statusCode, 400)
    t.equal(received.length, 2)
  })
})

t.test('faults', async (t) => {
  t.test('an answer in place of the endpoint’s own is given once and leaves the code unspent', async (t) => {
    const { webflow, authorizeUrl, exchange } = await start(t)
    const code = parameter(await webflow.approve(authorizeUrl()), 'code')
    webflow.fail('token', { status: 503, body: { message: 'later' }, headers: { 'retry-after': '7' } })
    t.strictSame(await exchange(code), { status: 503, body: { message: 'later' } })
    t.equal((await exchange(code)).status, 200)
  })

  t.test('a body is sent as it is, with status 200 by default', async (t) => {
    const { webflow } = await start(t)
    webflow.fail('introspect', { body: '<h1>oops' })
    webflow.fail('introspect', { body: '<h1>oops', headers: { 'content-type': 'text/html' } })
    webflow.fail('introspect', { status: 204 })
    const first = await request(`${webflow.url}/v2/token/introspect`)
    t.equal(first.statusCode, 200)
    t.equal(first.headers['content-type'], 'text/plain; charset=utf-8')
    t.equal(await first.body.text(), '<h1>oops')
    t.equal((await request(`${webflow.url}/v2/token/introspect`)).headers['content-type'], 'text/html')
    const third = await request(`${webflow.url}/v2/token/introspect`)
    t.equal(third.statusCode, 204)
    t.equal(await third.body.text(), '')
  })

  t.test('faults are queued, each for its number of calls', async (t) => {
    const { webflow, get } = await start(t)
    webflow.fail('sites', { status: 429, body: {}, times: 2 })
    webflow.fail('sites', { status: 500, body: {} })
    const statuses: number[] = []
    for (let call = 0; call < 4; call++) statuses.push((await get('/v2/sites')).status)
    t.strictSame(statuses, [429, 429, 500, 401])
    webflow.fail('authorizedBy', { status: 500, body: {}, times: Infinity })
    for (let call = 0; call < 3; call++) t.equal((await get('/v2/token/authorized_by')).status, 500)
  })

  t.test('reset ends the connection, and an injected request', async (t) => {
    const { webflow, get } = await start(t)
    webflow.fail('sites', { reset: true, times: 2 })
    await t.rejects(get('/v2/sites'), { code: 'ECONNRESET' })
    await t.rejects(webflow.server.inject('/v2/sites'))
    t.equal((await get('/v2/sites')).status, 401)
  })

  t.test('a handled call loses only its answer: the code is spent', async (t) => {
    const { webflow, authorizeUrl, exchange, get, revoke, connect } = await start(t)
    const code = parameter(await webflow.approve(authorizeUrl()), 'code')
    webflow.fail('token', { reset: true, handled: true })
    await t.rejects(exchange(code), { code: 'ECONNRESET' })
    t.match(await exchange(code), { status: 400, body: { error: 'invalid_grant' } })

    const accessToken = await connect()
    webflow.fail('revoke', { status: 502, body: {}, handled: true })
    t.equal((await revoke({ access_token: accessToken })).status, 502)
    t.equal((await get('/v2/sites', accessToken)).status, 401)
  })

  t.test('after a mere delay, the endpoint gives its own answer', async (t) => {
    const { webflow, get, connect } = await start(t)
    const accessToken = await connect()
    webflow.fail('sites', { delay: 1 })
    webflow.fail('sites', { delay: 1, handled: true })
    t.equal((await get('/v2/sites', accessToken)).status, 200)
    t.equal((await get('/v2/sites', accessToken)).status, 200)
  })

  t.test('a dozen delayed calls at once make Node warn of nothing', async (t) => {
    const warnings: Error[] = []
    const keep = (warning: Error) => { warnings.push(warning) }
    process.on('warning', keep)
    t.teardown(() => { process.removeListener('warning', keep) })
    const { webflow, get } = await start(t)
    webflow.fail('sites', { delay: 3600000, times: 12 })
    const calls = Array.from({ length: 12 }, () => t.rejects(get('/v2/sites'), { code: 'UND_ERR_SOCKET' }))
    while (webflow.requests.sites.length < 12) await new Promise(setImmediate)
    await webflow.close()
    await Promise.all(calls)
    t.strictSame(warnings, [])
  })

  t.test('a call that hangs is never answered, and does not keep the simulator from closing', async (t) => {
    const { webflow, get } = await start(t)
    webflow.fail('sites', { hang: true })
    webflow.fail('introspect', { delay: 3600000 })
    const calls = [get('/v2/sites'), get('/v2/token/introspect')].map((call) => t.rejects(call, { code: 'UND_ERR_SOCKET' }))
    while (webflow.requests.sites.length + webflow.requests.introspect.length < 2) await new Promise(setImmediate)
    await webflow.close()
    await Promise.all(calls)
  })

  t.test('a fault of authorize is answered to the browser', async (t) => {
    const { webflow, authorizeUrl } = await start(t)
    webflow.fail('authorize', { status: 503, body: 'oops' })
    await t.rejects(webflow.approve(authorizeUrl()), /status 503$/)
    t.match(await webflow.approve(authorizeUrl()), /[?]code=/)
  })

  t.test('the most common faults have names', async (t) => {
    const { webflow } = await start(t)
    const cases = [
      ['rate_limited', 429, /"code":"too_many_requests"/],
      ['unavailable', 503, /"code":"service_unavailable"/],
      ['html', 200, /^<!doctype html>/],
      ['half_body', 200, /^\{"access_token":"$/],
      ['error_in_200', 200, /"error":"server_error"/]
    ] as const
    for (const [name, status, text] of cases) {
      webflow.fail('token', name)
      const { statusCode, body } = await request(webflow.endpoints.token, { method: 'POST' })
      t.equal(statusCode, status, name)
      t.match(await body.text(), text)
    }
    webflow.fail('token', 'reset')
    await t.rejects(request(webflow.endpoints.token, { method: 'POST' }), { code: /ECONNRESET|UND_ERR_SOCKET/ })
    webflow.fail('token', 'silent')
    await t.rejects(request(webflow.endpoints.token, { method: 'POST', headersTimeout: 50, signal: AbortSignal.timeout(100) }))
    webflow.fail('sites', 'slow')
    await t.rejects(request(`${webflow.url}/v2/sites`, { signal: AbortSignal.timeout(100) }), { name: 'TimeoutError' })
  })

  t.test('an invalid fault is refused', async (t) => {
    const { webflow } = await start(t)
    t.throws(() => webflow.fail('token', { status: 99 }), /from 200 to 599/)
    t.throws(() => webflow.fail('token', { status: 600 }), TypeError)
    t.throws(() => webflow.fail('token', { times: 0, status: 500 }), /at least 1/)
    t.throws(() => webflow.fail('token', { delay: NaN }), TypeError)
    t.throws(() => webflow.fail('token', {}), /needs at least one of status/)
    t.throws(() => webflow.fail('token', { times: 2, handled: true }), /needs at least one of status/)
    // @ts-expect-error: misspelled, as a caller in JavaScript may have it
    t.throws(() => webflow.fail('token', { stauts: 500 }), /no member `stauts`/)
    // @ts-expect-error: no such endpoint, as a caller in JavaScript may have it
    t.throws(() => webflow.fail('nowhere', { hang: true }), /no endpoint `nowhere`/)
    // @ts-expect-error: no such fault, as a caller in JavaScript may have it
    t.throws(() => webflow.fail('token', 'toString'), /no fault with this name: choose one of slow, silent, /)
  })
})

t.test('recorded requests', async (t) => {
  t.test('hold method, path, headers, parameters and time, oldest first', async (t) => {
    const { webflow, get, exchange } = await start(t, { now: () => 1000 })
    await get('/v2/sites?limit=1&limit=2', 'x')
    await exchange('first')
    await exchange('second', { extra: { deep: [1] } })
    await request(webflow.endpoints.token, { method: 'POST', headers: form, body: 'code=a&code=b&__proto__=c' })
    await request(webflow.endpoints.token, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{' })
    t.match(webflow.requests.sites, [
      { method: 'GET', path: '/v2/sites', headers: { authorization: 'Bearer x' }, parameters: { limit: ['1', '2'] }, at: 1000 }
    ])
    t.match(webflow.requests.token, [
      { method: 'POST', path: '/oauth/access_token', parameters: { code: 'first' } },
      { parameters: { code: 'second', extra: { deep: [1] } } },
      { parameters: { code: ['a', 'b'] } },
      { parameters: {} }
    ])
    t.equal(webflow.requests.revoke.length, 0)
  })

  t.test('are the last 1000', async (t) => {
    const { webflow } = await start(t)
    for (let call = 0; call <= 1000; call++) await webflow.server.inject(`/v2/sites?call=${call}`)
    t.equal(webflow.requests.sites.length, 1000)
    t.match(webflow.requests.sites[0], { parameters: { call: '1' } })
  })
})

t.test('the simulator', async (t) => {
  t.test('has a URL and endpoints only while it listens', async (t) => {
    const webflow = createSimulator({ app })
    t.throws(() => webflow.url, /not listening/)
    t.throws(() => webflow.endpoints, /not listening/)
    const url = await webflow.listen({ host: '127.0.0.1', port: 0 })
    t.match(url, /^http:\/\/127\.0\.0\.1:\d+$/)
    t.equal(webflow.url, url)
    t.strictSame(webflow.endpoints, {
      authorize: `${url}/oauth/authorize`,
      token: `${url}/oauth/access_token`,
      revoke: `${url}/oauth/revoke_authorization`,
      introspect: `${url}/v2/token/introspect`,
      authorizedBy: `${url}/v2/token/authorized_by`,
      resolve: `${url}/beta/token/resolve`
    })
    await webflow.close()
    t.throws(() => webflow.url, /not listening/)
  })

  t.test('approves, denies and installs without listening', async (t) => {
    const webflow = createSimulator({ app })
    t.teardown(() => webflow.close())
    t.match(await webflow.approve(`/oauth/authorize?response_type=code&client_id=${app.clientId}`), /[?]code=/)
    t.match(await webflow.install(), /[?]code=/)
  })

  t.test('serves the user and the workspaces it is given', async (t) => {
    const { connect, get } = await start(t, {
      user: { id: 'a'.repeat(24), email: 'grace@example.com', firstName: 'Grace', lastName: 'Hopper' },
      workspaces: [{ id: 'b'.repeat(24), displayName: 'Navy', sites: [{ id: 'c'.repeat(24), displayName: 'Moth', shortName: 'moth' }] }]
    })
    const accessToken = await connect()
    t.match(await get('/v2/token/authorized_by', accessToken), { body: { firstName: 'Grace' } })
    t.match(await get('/v2/sites', accessToken), { body: { sites: [{ id: 'c'.repeat(24), workspaceId: 'b'.repeat(24) }] } })
  })

  t.test('an error of the injected clock is answered with status 500', async (t) => {
    const { get, webflow } = await start(t, { now: () => { throw new Error('the clock stopped') } })
    t.match(await get('/v2/sites'), { status: 500, body: { message: 'the clock stopped' } })
    t.equal(webflow.requests.sites.length, 0)
  })

  const options: ReadonlyArray<readonly [string, object, RegExp]> = [
    ['no app', {}, /`app` is missing/],
    ['an app without client id', { app: { ...app, clientId: '' } }, /`clientId`/],
    ['an app whose client id is not a string', { app: { ...app, clientId: undefined } }, /`clientId`/],
    ['an app without client secret', { app: { ...app, clientSecret: '' } }, /`clientSecret`/],
    ['an app whose client secret is not a string', { app: { ...app, clientSecret: 1 } }, /`clientSecret`/],
    ['an app without redirect URIs', { app: { ...app, redirectUris: [] } }, /`redirectUris` of an app is empty/],
    ['a value of `redirectUris` that is not a list', { app: { ...app, redirectUris: redirectUri } }, /`redirectUris` of an app must be a list/],
    ['a value of `scope` that is not a list', { app: { ...app, scope: 'sites:read' } }, /`scope` of an app must be a list/],
    ...['', 'a b', 'a,b', 'a"b', 'a\\b', 'é', 's'.repeat(101), 5, null].map((scope) => [`the scope ${JSON.stringify(scope)}`, { app: { ...app, scope: [scope] } }, /`scope` of an app holds an entry that is not a scope/] as const),
    ['a redirect URI that is not a URL', { app: { ...app, redirectUris: ['/callback'] } }, /https, or http on localhost/],
    ['a redirect URI on http', { app: { ...app, redirectUris: ['http://app.example.com/'] } }, /https, or http on localhost/],
    ...['localhost.example.com', 'notlocalhost', '127.0.0.1.example.com', '128.0.0.1', '[::2]'].map((host) => [`a redirect URI on http at ${host}`, { app: { ...app, redirectUris: [`http://${host}/`] } }, /https, or http on localhost/] as const),
    ['a redirect URI with a fragment', { app: { ...app, redirectUris: ['https://app.example.com/#x'] } }, /without a fragment/],
    ...['EU', '', null, 5, 'toString'].map((region) => [`the region ${JSON.stringify(region)}`, { app, region }, /`region` must be us or eu/] as const),
    ['an unknown option', { app, workspace: [] }, /no option `workspace`: choose among app, apps, user/],
    ...['grace', {}, { id: 'x' }, null].map((user) => [`the user ${JSON.stringify(user)}`, { app, user }, /A user must be an object with the strings `id`/] as const),
    ['a value of `users` that is not a list', { app, users: 'grace' }, /`users` must be a list/],
    ['a list of users with an invalid user', { app, users: ['grace'] }, /A user must be an object with the strings `id`/],
    ...['studio', [null], [{ id: 'x' }], [{ id: 'x', displayName: 'X', sites: [{ id: 'y' }] }]].map((workspaces) => [`the workspaces ${JSON.stringify(workspaces)}`, { app, workspaces }, /`workspaces` must be a list of objects with `id`/] as const),
    ['a second app with the same client id', { app, apps: [app] }, /Two apps have the same `clientId`/],
    ...[[1], { typo: 400 }, { invalid_token: 42 }, { invalid_token: '400' }, null].map((revocationErrorStatus) => [`the statuses ${JSON.stringify(revocationErrorStatus)}`, { app, behavior: { revocationErrorStatus } }, /`behavior.revocationErrorStatus` cannot be/] as const),
    ...[Infinity, -1, '60'].map((expiresIn) => [`a life of ${expiresIn}`, { app, behavior: { expiresIn } }, /`behavior.expiresIn` cannot be/] as const),
    ['an unknown switch', { app, behavior: { repeatedConsents: 'skip' } }, /`behavior.repeatedConsents`/]
  ]
  for (const [title, given, message] of options) {
    t.test(`${title} is refused`, async (t) => {
      t.throws(() => Reflect.apply(createSimulator, undefined, [given]), { name: 'TypeError', message })
    })
  }

  t.test('http is for loopback, by every name', async (t) => {
    for (const host of ['localhost', 'app.localhost', '127.0.0.1', '127.1.2.30', '[::1]']) {
      t.doesNotThrow(() => createSimulator({ app: { ...app, redirectUris: [`http://${host}:3000/callback`] } }), host)
    }
  })

  t.test('its log has method, path and status, and no parameters', async (t) => {
    const lines: string[] = []
    const stream = new Writable({
      write (chunk, _encoding, done) {
        lines.push(`${chunk}`)
        done()
      }
    })
    const { webflow, authorizeUrl, exchange, get, revoke } = await start(t, { logger: { level: 'trace', stream } })
    const state = 'state-to-look-for'
    const code = parameter(await webflow.approve(authorizeUrl({ state })), 'code')
    const accessToken = member((await exchange(code)).body, 'access_token')
    await get(`/v2/sites?access_token=${accessToken}`, accessToken)
    await get(`/nowhere?access_token=${accessToken}`, accessToken)
    await get(`/%ZZ?access_token=${accessToken}`)
    await revoke({ access_token: accessToken })
    const socket = connect(Number(new URL(webflow.url).port), '127.0.0.1')
    socket.write(`nonsense ${accessToken}\r\n\r\n`)
    await text(socket)
    const log = lines.join('')
    t.match(log, '"path":"/oauth/access_token"')
    t.match(log, '"statusCode":200')
    t.notMatch(log, 'rawPacket')
    for (const secret of [state, code, accessToken, app.clientSecret]) {
      t.ok(secret.length > 10 && !log.includes(secret), 'a secret is not in the log')
    }
  })

  t.test('the logger that `true` switches on logs no parameters either', async (t) => {
    const webflow = createSimulator({ app, logger: true })
    t.teardown(() => webflow.close())
    const { req } = Reflect.get(webflow.server.log, Symbol.for('pino.serializers'))
    t.strictSame(req({ method: 'GET', url: '/path?code=x' }), { method: 'GET', path: '/path' })
  })
})

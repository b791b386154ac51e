import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import * as client from 'openid-client'
import t, { type Test } from 'tap'
import { Webflow, WebflowClient, WebflowError } from 'webflow-api'
import { withoutCurl } from '../support/curl.ts'
import { app, ids, member, parameter, start, type Bench } from '../support/simulator-start.ts'

const [redirectUri] = app.redirectUris
const hex64 = /^[0-9a-f]{64}$/

t.test('openid-client', async (t) => {
  t.test('connects and reads from the Data API, although it sends every body as a form', async (t) => {
    const { webflow } = await start(t)
    const config = configure(webflow)
    const state = client.randomState()
    const url = client.buildAuthorizationUrl(config, { redirect_uri: redirectUri, scope: 'sites:read cms:read', state })
    const callback = new URL(await webflow.approve(url.href))
    const tokens = await exchange(config, callback, { expectedState: state })
    t.ok(hex64.test(tokens.access_token))
    t.equal(tokens.token_type, 'bearer')
    t.equal(tokens.expiresIn(), undefined, 'an answer that does not say when the token ends is accepted')
    t.match(webflow.requests.token[0]?.headers['content-type'], 'application/x-www-form-urlencoded')

    const response = await client.fetchProtectedResource(config, tokens.access_token, new URL(`${webflow.url}/v2/sites`), 'GET')
    t.match(await response.json(), { sites: [{ id: ids.engine }] })
  })

  t.test('refuses a state that is not its own, and the code stays unspent', async (t) => {
    const { webflow } = await start(t)
    const { config, callback, expectedState } = await begin(webflow)
    const forged = new URL(callback)
    forged.searchParams.set('state', client.randomState())
    t.equal(codeOf(await outcome(client.authorizationCodeGrant(config, forged, { expectedState }))), 'OAUTH_INVALID_RESPONSE')
    t.equal(webflow.requests.token.length, 0)
    t.ok(hex64.test((await exchange(config, callback, { expectedState })).access_token))
  })

  t.test('refuses an install that began at Webflow, since no state comes with it', async (t) => {
    const { webflow } = await start(t)
    const error = await outcome(client.authorizationCodeGrant(configure(webflow), new URL(await webflow.install()), { expectedState: 'x' }))
    t.equal(codeOf(error), 'OAUTH_INVALID_RESPONSE')
  })

  t.test('reports a denial as access_denied', async (t) => {
    const { webflow } = await start(t)
    const { config, callback, expectedState } = await begin(webflow, 'deny')
    const error = await outcome(client.authorizationCodeGrant(config, callback, { expectedState }))
    t.ok(error instanceof client.AuthorizationResponseError)
    t.match(error, { error: 'access_denied', error_description: String })
  })

  t.test('reports a code that was used before as invalid_grant', async (t) => {
    const { webflow } = await start(t)
    const { config, callback, expectedState } = await begin(webflow)
    await exchange(config, callback, { expectedState })
    const error = await outcome(client.authorizationCodeGrant(config, callback, { expectedState }))
    t.ok(error instanceof client.ResponseBodyError)
    t.match(error, { error: 'invalid_grant', status: 400 })
  })

  for (const [wrongCredentials, status] of [['invalid_grant', 400], ['invalid_client', 401]] as const) {
    t.test(`reports a wrong secret as ${wrongCredentials} with status ${status}`, async (t) => {
      const { webflow } = await start(t, { behavior: { wrongCredentials } })
      const { callback, expectedState } = await begin(webflow)
      const error = await outcome(client.authorizationCodeGrant(configure(webflow, 'wrong'), callback, { expectedState }))
      t.ok(error instanceof client.ResponseBodyError)
      t.match(error, { error: wrongCredentials, status })
    })
  }

  t.test('can send PKCE, which has no effect', async (t) => {
    const { webflow } = await start(t)
    const config = configure(webflow)
    const verifier = client.randomPKCECodeVerifier()
    const url = client.buildAuthorizationUrl(config, {
      redirect_uri: redirectUri,
      scope: 'sites:read',
      code_challenge: await client.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256'
    })
    const good = new URL(await webflow.approve(url.href))
    t.ok(hex64.test((await exchange(config, good, { pkceCodeVerifier: verifier })).access_token))
    const bad = new URL(await webflow.approve(url.href))
    t.ok(hex64.test((await exchange(config, bad, { pkceCodeVerifier: client.randomPKCECodeVerifier() })).access_token))
  })

  t.test('cannot send its credentials in a header, because Webflow documents only the body', async (t) => {
    const { webflow } = await start(t)
    const { callback, expectedState } = await begin(webflow)
    const config = configure(webflow, app.clientSecret, client.ClientSecretBasic(app.clientSecret))
    const error = await outcome(client.authorizationCodeGrant(config, callback, { expectedState }))
    t.ok(error instanceof client.ResponseBodyError)
    t.match(error, { error: 'invalid_request' })
  })

  t.test('cannot revoke, because it follows RFC 7009 and Webflow does not', async (t) => {
    const { webflow } = await start(t)
    const { config, callback, expectedState } = await begin(webflow)
    const tokens = await exchange(config, callback, { expectedState })
    const error = await outcome(client.tokenRevocation(config, tokens.access_token))
    t.ok(error instanceof client.ResponseBodyError)
    t.match(error, { error: 'invalid_request', status: 400 })
    t.equal(webflow.revokeToken(tokens.access_token), true, 'it is alive')
  })

  t.test('cannot introspect, because Webflow expects a GET with the token as bearer', async (t) => {
    const { webflow } = await start(t)
    const { config, callback, expectedState } = await begin(webflow)
    const tokens = await exchange(config, callback, { expectedState })
    t.equal(codeOf(await outcome(client.tokenIntrospection(config, tokens.access_token))), 'OAUTH_RESPONSE_IS_NOT_CONFORM')
  })
})

// Where Webflow's pages give a command, it stands here as they have it, but for the origin and the values:
// https://developers.webflow.com/data/reference/oauth-app (the token request has a table of parameters there, and no command any more),
// http://developers.webflow.com/oauth (its older form, with a command for the token request),
// https://developers.webflow.com/data/reference/authentication/site-token and the pages of the endpoints, such as https://developers.webflow.com/data/reference/token/introspect
t.test('curl', { skip: withoutCurl }, async (t) => {
  t.test('exchanges a code by a form and by JSON', async (t) => {
    const bench = await start(t)
    const { webflow } = bench
    const url = webflow.endpoints.token
    const code = async () => parameter(await webflow.approve(bench.authorizeUrl()), 'code')
    const commands = {
      '-d': async () => [url, '-d', `client_id=${app.clientId}`, '-d', `client_secret=${app.clientSecret}`, '-d', `code=${await code()}`, '-d', 'grant_type=authorization_code'],
      '--data-urlencode': async () => ['--request', 'POST', url, '--data-urlencode', `client_id=${app.clientId}`, '--data-urlencode', `client_secret=${app.clientSecret}`, '--data-urlencode', `code=${await code()}`, '--data-urlencode', 'grant_type=authorization_code'],
      JSON: async () => ['-X', 'POST', url, '-H', 'Content-Type: application/json', '-d', JSON.stringify({ client_id: app.clientId, client_secret: app.clientSecret, code: await code(), grant_type: 'authorization_code' })],
      'JSON with a redirect URI': async () => {
        const approved = parameter(await webflow.approve(bench.authorizeUrl({ redirect_uri: redirectUri })), 'code')
        return ['-X', 'POST', url, '-H', 'Content-Type: application/json', '-d', JSON.stringify({ client_id: app.clientId, client_secret: app.clientSecret, code: approved, grant_type: 'authorization_code', redirect_uri: redirectUri })]
      }
    }
    for (const [form, command] of Object.entries(commands)) {
      const { status, body } = await curl(await command())
      t.equal(status, 200, form)
      t.ok(hex64.test(member(body, 'access_token')), form)
      t.equal(member(body, 'token_type'), 'bearer', form)
    }
  })

  t.test('revokes by JSON, once', async (t) => {
    const { webflow, connect } = await start(t)
    const command = ['-X', 'POST', webflow.endpoints.revoke, '-H', 'Content-Type: application/json', '-d', `{
        "client_id": "${app.clientId}",
        "client_secret": "${app.clientSecret}",
        "access_token": "${await connect()}"
      }`]
    t.strictSame(await curl(command), { status: 200, body: { did_revoke: true } })
    t.match(await curl(command), { status: 400, body: { error: 'invalid_token' } })
  })

  t.test('revokes nothing with a wrong secret, or without a token', async (t) => {
    const { webflow, connect } = await start(t)
    const revoke = (body: object) => curl(['-X', 'POST', webflow.endpoints.revoke, '-H', 'Content-Type: application/json', '-d', JSON.stringify(body)])
    t.match(await revoke({ client_id: app.clientId, client_secret: 'wrong', access_token: await connect() }), { body: { error: 'invalid_client' } })
    t.match(await revoke({ client_id: app.clientId, client_secret: app.clientSecret }), { body: { error: 'invalid_request' } })
  })

  t.test('reads sites, introspection and user, by either of the documented forms', async (t) => {
    const { webflow, connect } = await start(t)
    const accessToken = await connect()
    const answers = {
      '/v2/sites': { sites: [{ id: ids.engine }] },
      '/v2/token/introspect': { authorization: { grantType: 'authorization_code', authorizedTo: { siteIds: [ids.engine] } }, application: { displayName: app.name } },
      '/v2/token/authorized_by': { id: String, email: String, firstName: String, lastName: String }
    }
    for (const [path, body] of Object.entries(answers)) {
      const url = `${webflow.url}${path}`
      t.match(await curl([url, '-H', `Authorization: Bearer ${accessToken}`]), { status: 200, body })
      t.match(await curl(['--request', 'GET', '--url', url, '--header', 'accept: application/json', '--header', `authorization: Bearer ${accessToken}`]), { status: 200, body })
      t.match(await curl([url, '-H', 'Authorization: Bearer YOUR_API_TOKEN']), { status: 401, body: { code: 'not_authorized' } })
    }
  })
})

t.test("Webflow's SDK", async (t) => {
  t.test('makes an authorize URL from a scope that is one string, without redirect URI and state', async (t) => {
    const { webflow } = await start(t)
    const callback = await webflow.approve(WebflowClient.authorizeURL({ clientId: app.clientId, scope: 'sites:read' }))
    t.strictSame([...new URL(callback).searchParams.keys()], ['code'])
  })

  t.test('exchanges a code without a redirect URI if none was sent before', async (t) => {
    const bench = await start(t)
    reach(t, bench)
    const code = parameter(await bench.webflow.approve(WebflowClient.authorizeURL({ clientId: app.clientId, scope: 'sites:read' })), 'code')
    t.ok(hex64.test(await WebflowClient.getAccessToken({ clientId: app.clientId, clientSecret: app.clientSecret, code })))
  })

  t.test('drops a misspelt redirect URI, as in an example of the documentation, and is refused', async (t) => {
    const bench = await start(t)
    reach(t, bench)
    const code = parameter(await bench.webflow.approve(bench.authorizeUrl({ redirect_uri: redirectUri })), 'code')
    const misspelt = { clientId: app.clientId, clientSecret: app.clientSecret, code, redirect_uri: redirectUri }
    const error = await outcome(WebflowClient.getAccessToken(misspelt))
    t.ok(error instanceof WebflowError)
    t.match(error, { statusCode: 400, body: { error: 'invalid_grant', error_description: 'invalid_redirect_uri' } })
  })

  t.test('reports a code that was used before', async (t) => {
    const bench = await start(t)
    reach(t, bench)
    const code = parameter(await bench.webflow.approve(bench.authorizeUrl()), 'code')
    const exchange = async () => WebflowClient.getAccessToken({ clientId: app.clientId, clientSecret: app.clientSecret, code })
    await exchange()
    t.match(await outcome(exchange()), { statusCode: 400, body: { error: 'invalid_grant' } })
  })

  t.test('sends a code again when it is answered with a 503, though a code works once', async (t) => {
    const bench = await start(t)
    reach(t, bench)
    bench.webflow.fail('token', { status: 503, handled: true })
    const code = parameter(await bench.webflow.approve(bench.authorizeUrl()), 'code')
    const error = await outcome(WebflowClient.getAccessToken({ clientId: app.clientId, clientSecret: app.clientSecret, code }))
    t.match(error, { statusCode: 400, body: { error: 'invalid_grant' } }, 'the second try finds the code used')
    t.equal(bench.webflow.requests.token.length, 2)
  })

  t.test('reports an ended token as Unauthorized, with Webflow\'s code', async (t) => {
    const { webflow, connect } = await start(t)
    const accessToken = await connect()
    webflow.revokeToken(accessToken)
    const sdk = new WebflowClient({ accessToken, baseUrl: `${webflow.url}/v2` })
    for (const call of [() => sdk.sites.list(), () => sdk.token.introspect(), () => sdk.token.authorizedBy()]) {
      const error = await outcome(call())
      t.ok(error instanceof Webflow.UnauthorizedError)
      t.match(error, { statusCode: 401, body: { code: 'not_authorized' } })
    }
  })

  t.test('reports a missing scope as Forbidden', async (t) => {
    const bench = await start(t)
    const callback = await bench.webflow.approve(bench.authorizeUrl({ scope: 'sites:read' }))
    const { body } = await bench.exchange(parameter(callback, 'code'))
    const sdk = new WebflowClient({ accessToken: member(body, 'access_token'), baseUrl: `${bench.webflow.url}/v2` })
    t.match(await outcome(sdk.token.authorizedBy()), { statusCode: 403, body: { code: 'missing_scopes' } })
  })
})

/** What openid-client needs to know of a server that publishes nothing about itself. */
function configure ({ url, endpoints }: Bench['webflow'], clientSecret: string = app.clientSecret, auth = client.ClientSecretPost(clientSecret)): client.Configuration {
  const config = new client.Configuration({
    issuer: url,
    authorization_endpoint: endpoints.authorize,
    token_endpoint: endpoints.token,
    revocation_endpoint: endpoints.revoke,
    introspection_endpoint: endpoints.introspect
  }, app.clientId, undefined, auth)
  // The simulator speaks http, on loopback.
  client.allowInsecureRequests(config)
  return config
}

/** Takes a user to Webflow and back. */
async function begin (webflow: Bench['webflow'], decision: 'approve' | 'deny' = 'approve') {
  const config = configure(webflow)
  const expectedState = client.randomState()
  const url = client.buildAuthorizationUrl(config, { redirect_uri: redirectUri, scope: 'sites:read', state: expectedState })
  return { config, expectedState, callback: new URL(await webflow[decision](url.href)) }
}

/** Lets the SDK find the simulator: for its exchange it knows no other host than Webflow's. */
function reach (t: Test, { webflow: { url } }: Bench): void {
  const { fetch } = globalThis
  t.intercept(globalThis, 'fetch', {
    value: (target: string, init: RequestInit) => fetch(target.replace('https://api.webflow.com', url), init)
  })
}

/** Resolves with what a promise rejects with: what it resolves with may be a token, which a failed assertion would print. */
async function outcome (promise: Promise<unknown>): Promise<unknown> {
  return promise.then(() => 'no error', (error: unknown) => error)
}

/** Exchanges a code with openid-client. What it rejects with holds the callback, which nobody needs to read in a log. */
async function exchange (config: client.Configuration, callback: URL, checks: client.AuthorizationCodeGrantChecks) {
  return client.authorizationCodeGrant(config, callback, checks).catch((error: unknown) => {
    throw new Error(`openid-client refuses the exchange: ${codeOf(error)}`)
  })
}

function codeOf (error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : error
}

/** Runs curl; resolves with the status and the JSON that it got. */
async function curl (command: readonly string[]): Promise<{ status: number, body: unknown }> {
  const child = spawn('curl', ['--silent', '--max-time', '10', '--write-out', '\n%{http_code}', ...command], { stdio: ['ignore', 'pipe', 'ignore'] })
  const [body = '', status] = (await text(child.stdout)).split(/\n(?=\d+$)/)
  return { status: Number(status), body: JSON.parse(body) }
}

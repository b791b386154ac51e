import { createServer } from 'node:net'
import t, { type Test } from 'tap'
import { request } from 'undici'
import { runCommand } from '../lib/simulator/command.ts'
import { createSimulator } from '../lib/simulator/index.ts'
import { Visitor } from './support/examples-visitor.ts'
import { loader } from './support/node-process.ts'
import { run } from './support/readme-project.ts'

/** Runs a command to the point where it listens or has failed. */
async function command (t: Test, args: string, env: Record<string, string> = {}) {
  const lines: string[] = []
  const errors: string[] = []
  const { exitCode, simulator } = await runCommand(args.split(' '), env, { log: (text) => { lines.push(text) }, error: (text) => { errors.push(text) } })
  t.teardown(() => simulator?.close())
  return { exitCode, simulator, printed: lines.join('\n'), complaint: errors.join('\n') }
}

t.test('the command starts a Webflow and prints what an app needs to find it', async (t) => {
  const { exitCode, simulator, printed } = await command(t, 'simulator --port 0')
  t.equal(exitCode, 0)
  t.ok(printed.includes(`Open ${simulator?.url}\n`))
  t.ok(printed.includes('redirect URI  http://localhost:3000/webflow/callback\n'))
  for (const name of ['authorize', 'token', 'revoke'] as const) t.ok(printed.includes(`${name}: '${simulator?.endpoints[name]}'`), name)

  const [, clientId = ''] = /WEBFLOW_CLIENT_ID=([0-9a-f]{64})\n/.exec(printed) ?? []
  const [, clientSecret = ''] = /WEBFLOW_CLIENT_SECRET=([0-9a-f]{64})\n/.exec(printed) ?? []
  const callback = new URL(await simulator?.approve(`/oauth/authorize?response_type=code&client_id=${clientId}&scope=sites:read+custom_code:write`) ?? '')
  const { statusCode, body } = await request(simulator?.endpoints.token ?? '', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ client_id: clientId, client_secret: clientSecret, code: callback.searchParams.get('code'), grant_type: 'authorization_code' })
  })
  await body.dump()
  t.equal(statusCode, 200)
  t.match((await command(t, 'simulator --port 0')).printed, clientSecret, 'the credentials are the same at every start')
})

t.test('the app is described by options and the environment', async (t) => {
  const { simulator, printed } = await command(t, 'simulator --port 0 --redirect-uri http://localhost:5000/a --redirect-uri https://app.example.com/b --scope cms:read,cms:write,branches:merge,any-scope --name Demo --behavior denialError=no --behavior expiresIn=60 --behavior reusedCodeEndsToken=true', { WEBFLOW_CLIENT_ID: 'my-id', WEBFLOW_CLIENT_SECRET: 'my-secret' })
  t.notOk(printed.includes('my-secret'), 'a secret from the environment is not printed')
  t.match(printed, /redirect URI {2}http:\/\/localhost:5000\/a\n {16}https:\/\/app\.example\.com\/b\n/)
  t.match(await simulator?.deny('/oauth/authorize?response_type=code&client_id=my-id&scope=cms:read'), 'http://localhost:5000/a?error=no')
  t.match(await simulator?.approve('/oauth/authorize?response_type=code&client_id=my-id&scope=any-scope+branches:merge'), 'http://localhost:5000/a?code=')
  await t.rejects(async () => simulator?.approve('/oauth/authorize?response_type=code&client_id=my-id&scope=cms:read&redirect_uri=http://localhost:3000/webflow/callback'))
  t.match(await (await request(simulator?.url ?? '')).body.text(), /<h2>Demo<\/h2>/)
})

t.test('with --region eu the command plays the EU, with credentials of its own', async (t) => {
  const [eu, us] = [await command(t, 'simulator --port 0 --region eu'), await command(t, 'simulator --port 0')]
  t.match(eu.printed, /Options of the plugin:\n {2}region: 'eu',\n {2}endpoints: /)
  t.notMatch(us.printed, 'region: ')
  const credentialsOf = (printed: string) => printed.match(/[0-9a-f]{64}/g) ?? []
  t.equal(new Set([...credentialsOf(eu.printed), ...credentialsOf(us.printed)]).size, 4)
  t.match((await command(t, 'simulator --region asia')).complaint, '`--region` must be us or eu')
})

t.test('requests are printed with --verbose', async (t) => {
  const program = run(t, [...loader, 'lib/simulator/bin.ts', 'simulator', '--port', '0', '--verbose'])
  await program.prints(/Open http/)
  const [, url = ''] = /Open (\S+)/.exec(program.printed()) ?? []
  await (await request(`${url}/oauth/authorize?state=confidential`)).body.dump()
  await program.prints(/"path":"\/oauth\/authorize"/)
  t.notMatch(program.printed(), 'confidential')
})

t.test('the program ends when it gets a signal', async (t) => {
  const program = run(t, [...loader, 'lib/simulator/bin.ts', 'simulator', '--port', '0'])
  await program.prints(/Open http/)
  program.kill('SIGTERM')
  t.equal(await program.exited, 0)

  const wrong = run(t, [...loader, 'lib/simulator/bin.ts', 'simulate'])
  t.equal(await wrong.exited, 2)
})

t.test('a wrong argument is named, and the usage is printed', async (t) => {
  const server = createServer()
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => { server.close() })
  const address = server.address()
  const taken = typeof address === 'object' ? address?.port : null
  const cases = [
    ['', /the only command is `simulator`/],
    ['start', /the only command is `simulator`/],
    ['simulator again', /`again` is not an option/],
    ['simulator --prot 4000', /--prot/],
    ['simulator --port', /--port/],
    ['simulator --port 0 --scope sites:read,sites"read', /`--scope` holds sites"read, which is not a scope: pass scopes such as authorized_user:read /],
    [`simulator --port 0 --scope ${'s'.repeat(101)}`, /`--scope` holds s{101}, which is not a scope: /],
    ['simulator --port 0 --scope ,', /`--scope` is empty/],
    ['simulator --port 0 --host=', /`--host` is empty/],
    ['simulator --port x', /`--port` must be a number/],
    ['simulator --port 65536', /`--port` must be a number/],
    ['simulator --port 0 --redirect-uri http://app.example.com/', /`redirectUris`/],
    ['simulator --port 0 --extension localhost:1337', /`extensionUrl` of an app must be a URL, https or http on localhost/],
    ['simulator --port 0 --behavior repeatedAuthorisation=new', /no switch `behavior\.repeatedAuthorisation`: choose among repeatedAuthorization, /],
    ['simulator --port 0 --behavior repeatedAuthorization=some', /`behavior\.repeatedAuthorization` cannot be "some": choose one of new, same, new-ends-old/],
    ['simulator --port 0 --behavior expiresIn=soon', /`behavior\.expiresIn` cannot be "soon"$/m],
    [`simulator --port ${taken}`, new RegExp(`port ${taken} is in use`)],
    ['simulator --port 0 --host 192.0.2.1', /EADDRNOTAVAIL/]
  ] as const
  for (const [args, message] of cases) {
    const { exitCode, simulator, printed, complaint } = await command(t, args)
    t.strictSame([exitCode, simulator, printed], [2, null, ''], args)
    t.match(complaint, message)
    t.match(complaint, /^Try: fastify-webflow-oauth simulator --help$/m)
  }
})

t.test('the Designer of a site shows the extension that the command line names, or that a person enters', async (t) => {
  const site = '62f3b1f7eafac55d0c64ef92'
  const { simulator, printed } = await command(t, 'simulator --port 0 --extension http://localhost:1337', { WEBFLOW_CLIENT_ID: 'my-id' })
  t.match(printed, /redirect URI {2}http:\/\/localhost:3000\/webflow\/callback\n {2}extension {5}http:\/\/localhost:1337\n/)
  const visitor = new Visitor()
  await visitor.open(simulator?.url ?? '')
  const open = await visitor.click('Notes by A. A. L.')
  t.equal(open.url, `${simulator?.url}/designer/my-id/${site}`)
  t.match(open.text, /Notes by A\. A\. L\. in the Designer Opened by Ada Lovelace, with the extension of My Amazing App\. Scripts are blocked, so the Designer can give the extension no ID token/)
  t.match(open.html, '<iframe title="The extension of My Amazing App" src="http://localhost:1337" ')
  t.match(open.headers['content-security-policy'], /^default-src 'none'; .*frame-ancestors 'none'; script-src 'sha256-[^']+'; connect-src 'self'; frame-src http:\/\/localhost:1337$/)

  const without = await command(t, 'simulator --port 0', { WEBFLOW_CLIENT_ID: 'my-id' })
  const url = `${without.simulator?.url}/designer/my-id/${site}`
  const missing = await visitor.open(url)
  t.match(missing.text, 'The simulator does not know where the extension is')
  t.notMatch(missing.html, /<iframe|<script/)
  t.notMatch(missing.headers['content-security-policy'], 'script-src')
  const enter = async (form: Record<string, string>, to = url, headers = {}) => {
    const { statusCode, body } = await request(to, { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers }, body: new URLSearchParams(form).toString() })
    return { statusCode, text: await body.text() }
  }
  const grace = '545bbecb7bdd6769632504a8'
  t.equal((await enter({ user: grace, extension: 'https://0123456789abcdef01234567.webflow-ext.com/a?b' })).statusCode, 302)
  const entered = await visitor.open(url)
  t.match(entered.text, 'Opened by Grace Hopper')
  t.match(entered.html, 'src="https://0123456789abcdef01234567.webflow-ext.com/a?b"')
  t.match(entered.headers['content-security-policy'], 'frame-src https://0123456789abcdef01234567.webflow-ext.com')

  for (const extension of ['', 'localhost', 'http://example.com', 'http://[::1]:1337', 'javascript:alert(1)', 'file:///etc/passwd']) {
    t.match(await enter({ user: grace, extension }), { statusCode: 400, text: 'The URL of the extension must be https' }, extension)
  }
  t.equal((await enter({ user: 'nobody', extension: 'http://localhost:1337' })).statusCode, 404)
  t.equal((await enter({ user: grace, extension: 'http://localhost:1337' }, url, { 'sec-fetch-site': 'cross-site' })).statusCode, 403)
  for (const path of ['your-id/' + site, 'my-id/nowhere']) {
    t.equal((await visitor.open(`${without.simulator?.url}/designer/${path}`)).status, 404)
    for (const end of ['', '/id-token']) t.equal((await enter({}, `${without.simulator?.url}/designer/${path}${end}`)).statusCode, 404)
  }
  t.equal((await enter({}, `${url}/id-token`, { 'sec-fetch-site': 'cross-site' })).statusCode, 403, 'no other site gets an ID token')
  t.match(JSON.parse((await enter({}, `${url}/id-token`)).text), { idToken: /^ey/ })
})

t.test('--help prints the usage', async (t) => {
  for (const args of ['--help', '-h', 'simulator --help']) {
    const { exitCode, printed, complaint } = await command(t, args)
    t.strictSame([exitCode, complaint], [0, ''])
    t.match(printed, 'Usage: fastify-webflow-oauth simulator')
  }
})

t.test('on the start page a person signs in as somebody else, makes the next call fail, and sees the latest calls', async (t) => {
  const { simulator } = await command(t, 'simulator --port 0')
  const visitor = new Visitor()
  t.match((await visitor.open(simulator?.url ?? '')).text, /Apps of Ada Lovelace .* Latest calls None yet\./)
  t.match((await visitor.press('Sign in as Grace Hopper')).text, /Apps of Grace Hopper .* Sign in as Ada Lovelace/)

  const post = async (path: string, form: Record<string, string>) => {
    const { statusCode, body } = await request(`${simulator?.url}${path}`, { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: new URLSearchParams(form).toString() })
    return { statusCode, text: await body.text() }
  }
  t.equal((await post('/fail', { endpoint: 'sites', fault: 'rate_limited' })).statusCode, 302)
  t.match((await visitor.open(simulator?.url ?? '')).text, 'The next call to sites (rate_limited) fails.')
  const { statusCode, headers, body } = await request(`${simulator?.url}/v2/sites`)
  await body.dump()
  t.strictSame([statusCode, headers['retry-after']], [429, '30'])
  const after = await visitor.open(simulator?.url ?? '')
  t.notMatch(after.text, 'The next call to')
  t.match(after.text, /Latest calls GET \/v2\/sites \d\d:\d\d:\d\d UTC/)

  const alone = createSimulator({ app: { clientId: 'a', clientSecret: 'b', redirectUris: ['https://app.example.com/'], scope: ['sites:read'] }, users: [] })
  t.notMatch((await alone.server.inject('/')).body, 'Be somebody else')
  await alone.close()
  t.equal((await post('/sign-in', { user: 'nobody' })).statusCode, 404)
  const { statusCode: ofObject, body: object } = await request(`${simulator?.url}/sign-in`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"user":{"toString":1}}' })
  await object.dump()
  t.equal(ofObject, 404)
  const { statusCode: ofStranger, body: refusal } = await request(`${simulator?.url}/fail`, { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded', 'sec-fetch-site': 'cross-site' }, body: 'endpoint=token&fault=silent' })
  t.match(await refusal.text(), 'This request came from another site.')
  t.equal(ofStranger, 403)
  for (const form of [{ endpoint: 'sites', fault: 'toString' }, { endpoint: 'constructor', fault: 'html' }, {}]) {
    t.match(await post('/fail', form), { statusCode: 400, text: 'The simulator has no such endpoint or no such fault.' })
  }
})

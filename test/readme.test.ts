import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import Fastify from 'fastify'
import t from 'tap'
import { request } from 'undici'
import webflowOAuth from '../lib/index.ts'
import { namedFaults } from '../lib/simulator/faults.ts'
import { flowExpired } from '../lib/flow/state-errors.ts'
import { baseOptions, createApp, scope, startWebflow } from './support/app.ts'
import { Browser } from './support/browser.ts'
import { anchorsOf, blocksOf, rowsOf, sectionOf } from './support/readme-blocks.ts'
import { createProject, read, run, typeErrors } from './support/readme-project.ts'
import { freePort } from './support/free-port.ts'

const readme = read('README.md')
const blocks = blocksOf(readme)
const inLanguage = (language: string) => blocks.filter((block) => block.language === language)
const tsUnder = (title: string) => inLanguage('ts').find(({ heading }) => heading === title)?.text ?? ''
const names = (text: string, pattern: RegExp) => [...new Set([...text.matchAll(pattern)].map(([, name = '']) => name))].sort()

/** What the README says that a reader has, for the blocks that are a part of an app. */
const preambles: Readonly<Record<string, string>> = {
  app: [
    'import Fastify, { type FastifyRequest } from \'fastify\'',
    'import webflowOAuth, { WebflowOAuthError, type WebflowOAuthOptions, type WebflowToken } from \'fastify-webflow-oauth\'',
    'import { RedisStore } from \'fastify-webflow-oauth/stores/redis\'',
    'const fastify = Fastify()',
    'declare const options: WebflowOAuthOptions',
    'declare function currentUser (request: FastifyRequest): Promise<{ id: string } | null>'
  ].join('; ')
}

// Somebody may have the one that is printed.
const port = String(await freePort())
const programs = {
  'app.mjs': tsUnder('Quick start').replaceAll('3000', port),
  'simulator.test.mjs': tsUnder('Testing with the simulator'),
  'bearer.ts': [
    'import Fastify, { type FastifyRequest } from \'fastify\'',
    'import webflowOAuth from \'fastify-webflow-oauth\'',
    'const fastify = Fastify()',
    'const currentUser = async ({ headers }: FastifyRequest) => headers.authorization === \'Bearer of-ada\' ? { id: \'ada\' } : null',
    'await fastify.register(webflowOAuth, { ...JSON.parse(process.env.OPTIONS ?? \'\'), identify: async (request) => (await currentUser(request))?.id })',
    'fastify.get(\'/me\', async (request) => ({ connected: Boolean(request.webflowToken) }))',
    tsUnder('Clients with a bearer token'),
    'console.log(await fastify.listen({ port: 0, host: \'127.0.0.1\' }))'
  ].join('\n')
}
const modules = Object.fromEntries(inLanguage('ts').map(({ text, line, preamble }) => [
  // In a name like this the compiler's errors tell the line of the README, and that of the block behind its preamble.
  `readme-line-${line}.ts`, `${preamble === null ? '' : preambles[preamble] ?? ''}\n${text}`
]))
const project = await createProject(t, { ...programs, ...modules })

t.test('every block of TypeScript compiles against the package as it is shipped', async (t) => {
  t.ok(Object.keys(modules).length > 10)
  for (const { preamble } of blocks) t.ok(preamble === null || Object.hasOwn(preambles, preamble))
  t.equal(await typeErrors(t, project), '')
})

t.test('the quick start runs as printed, but for its port', async (t) => {
  const quickStart = run(t, ['app.mjs'], {
    cwd: project,
    env: { WEBFLOW_CLIENT_ID: 'c'.repeat(64), WEBFLOW_CLIENT_SECRET: 's'.repeat(64), APP_SECRET: randomBytes(32).toString('base64') }
  })
  await quickStart.prints(/Server listening at http:\/\/127\.0\.0\.1/)
  const origin = `http://127.0.0.1:${port}`

  const guarded = await request(`${origin}/`)
  t.equal(guarded.statusCode, 401)
  t.match(await guarded.body.json(), { code: 'WEBFLOW_OAUTH_TOKEN_REQUIRED' })
  for (const [path, headers] of [['/webflow/authorize', {}], ['/', { accept: 'text/html' }]] as const) {
    const begun = await request(`${origin}${path}`, { headers })
    t.equal(begun.statusCode, 302)
    const url = new URL(String(begun.headers.location))
    t.equal(url.origin + url.pathname, 'https://webflow.com/oauth/authorize')
    t.equal(url.searchParams.get('redirect_uri'), `http://localhost:${port}/webflow/callback`)
  }
})

t.test('the test with the simulator runs as printed', async (t) => {
  const example = run(t, ['--test', 'simulator.test.mjs'], { cwd: project })
  t.equal(await example.exited, 0, example.printed())
  t.match(example.printed(), /pass 1\b/)
})

t.test('a client with a bearer token connects its user as printed, though it has no cookie of the app', async (t) => {
  const webflow = await startWebflow(t)
  const options = JSON.stringify({ ...baseOptions(webflow), allowedOrigins: ['https://spa.example.com'] })
  const app = run(t, ['--import', 'tsx', 'bearer.ts'], { cwd: project, env: { OPTIONS: options } })
  await app.prints(/http:\/\/127\.0\.0\.1:\d+/)
  const [origin = ''] = /http:\/\/127\.0\.0\.1:\d+/.exec(app.printed()) ?? []
  const ask = async (path: string, headers: Record<string, string>, method: 'GET' | 'POST' = 'GET') => {
    const { statusCode, headers: { location, 'set-cookie': cookie }, body } = await request(origin + path, { method, headers: { host: 'app.example.com', ...headers } })
    return { statusCode, location: String(location), cookie: String(cookie).split(';')[0] ?? '', text: await body.text() }
  }
  const client = { authorization: 'Bearer of-ada' }
  const pathOf = (url: string) => url.replace('https://app.example.com', '')
  const ticketPath = async () => pathOf(JSON.parse((await ask('/connect', client, 'POST')).text).url)
  const opened = { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document', 'sec-fetch-site': 'same-site' }

  t.equal((await ask('/connect', {}, 'POST')).statusCode, 401, 'a stranger gets no ticket')
  t.equal((await ask('/connect', opened)).statusCode, 403, 'nor goes on without one')
  t.equal((await ask(await ticketPath(), { ...opened, 'sec-fetch-site': 'cross-site' })).statusCode, 403, 'a link on another site leads nowhere')

  const path = await ticketPath()
  const begun = await ask(path, opened)
  t.equal(begun.statusCode, 302)
  t.equal((await ask(path, opened)).statusCode, 403, 'a ticket works once')
  const back = pathOf(await webflow.approve(begun.location))
  t.equal(JSON.parse((await ask(back, {})).text).reason, 'cookie_missing', 'a browser that only opened the URL has no cookie')
  t.strictSame(JSON.parse((await ask('/me', client)).text), { connected: false })
  const done = await ask(back, { ...opened, 'sec-fetch-site': 'cross-site', cookie: begun.cookie })
  t.equal(done.statusCode, 303)
  t.equal(done.location, 'https://spa.example.com/done')
  t.strictSame(JSON.parse((await ask('/me', client)).text), { connected: true })
})

t.test('an install by somebody who is not signed in goes as the README says: refused at the end, with the code unspent', async (t) => {
  const webflow = await startWebflow(t)
  const app = await createApp(t, { webflow, options: { identify: (request) => request.headers.authorization } })
  const browser = new Browser(app)
  const begunAnew = await browser.navigate(await webflow.install(), { 'sec-fetch-site': 'cross-site' })
  t.equal(begunAnew.statusCode, 302, 'from a bare link, a second consent')
  for (const location of [begunAnew.location, (await browser.navigate('/webflow/authorize')).location]) {
    const back = await webflow.approve(String(location))
    const refused = await browser.get(back)
    t.equal(refused.statusCode, 401)
    t.equal(refused.json()['code'], 'WEBFLOW_OAUTH_USER_REQUIRED')
    t.equal(webflow.requests.token.length, 0)
    if (location === begunAnew.location) continue
    t.equal((await browser.get(back, { authorization: 'ada' })).statusCode, 303, 'after signing in, the same callback connects')
    t.equal(webflow.requests.token.length, 1)
  }
})

t.test('outside the scope of the plugin the token is undefined, and what the README shows takes nobody there for connected', async (t) => {
  t.match(tsUnder('Guards'), 'connected: Boolean(request.webflowToken)')
  t.notMatch(readme.replaceAll('`request.webflowToken !== null` would show', ''), /webflowToken [!=]== null/)
  const fastify = Fastify()
  t.teardown(() => fastify.close())
  await fastify.register(async (inner) => {
    await inner.register(webflowOAuth, { ...baseOptions(null), scope })
    inner.get('/inside', async ({ webflowToken }) => ({ is: String(webflowToken), connected: Boolean(webflowToken) }))
  })
  fastify.get('/outside', async ({ webflowToken }) => ({ is: String(webflowToken), connected: Boolean(webflowToken) }))
  t.strictSame((await fastify.inject('/inside')).json(), { is: 'null', connected: false })
  t.strictSame((await fastify.inject('/outside')).json(), { is: 'undefined', connected: false })
})

t.test('the commands name scripts and packages that there are', async (t) => {
  const { scripts, name, peerDependencies } = JSON.parse(read('package.json'))
  const commands = inLanguage('sh').map(({ text }) => text).join('')
  t.match(commands, /^npm ci && npm start$/m)
  t.match(commands, /^npm cit$/m)
  t.type(scripts.start, 'string')
  t.type(scripts.test, 'string')
  for (const script of names(commands, /npm run (\S+)/g)) t.type(scripts[script], 'string', script)
  for (const packages of names(commands, /npm install (.+)/g)) {
    for (const one of packages.split(' ')) t.ok(one === name || one in peerDependencies, one)
  }
})

t.test('an error reads as printed, diagrams speak of those who take part, and no block is left unchecked', (t) => {
  const { statusCode, code, message, reason } = flowExpired(Date.now() - 1_042_000, 900)
  for (const { text } of inLanguage('json')) t.strictSame(JSON.parse(text), { statusCode, code, error: 'Bad Request', message, reason })
  for (const { text } of inLanguage('mermaid')) {
    const [first, ...lines] = text.trimEnd().split('\n')
    t.equal(first, 'sequenceDiagram')
    const participants = names(text, /^ {2}participant (\w+) as .+$/gm).join('|')
    const step = new RegExp(`^ {2}(?:(?:${participants})--?>>(?:${participants}): [^;#]+|Note over (?:${participants}): [^;#]+|participant .+)$`)
    t.strictSame(lines.filter((line) => !step.test(line)), [])
  }
  const checked = ['ts', 'sh', 'json', 'mermaid']
  t.strictSame(blocks.filter(({ language }) => !checked.includes(language)), [])
  t.end()
})

t.test('every link within the package leads to a file that is packed, and to a heading that it has', async (t) => {
  const { stdout } = await promisify(execFile)('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: fileURLToPath(new URL('..', import.meta.url)) })
  const [{ files = [] } = {}]: Array<{ files?: Array<{ path: string }> }> = JSON.parse(stdout)
  const packed = new Set(files.map(({ path }) => path))
  const texts = [...packed].filter((file) => file.endsWith('.md'))
  for (const file of ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'ERRORS.md', 'SECURITY.md']) t.ok(texts.includes(file), file)
  let found = 0
  for (const from of texts) {
    for (const target of names(read(from), /\]\((?!https?:)([^)]+)\)/g)) {
      const [file = '', anchor] = target.split('#')
      const to = file === '' ? from : posix.join(posix.dirname(from), file)
      t.ok(packed.has(to), `${from}: ${target}`)
      if (anchor !== undefined) t.ok(anchorsOf(read(to)).has(anchor), `${from}: ${target}`)
      found++
    }
  }
  t.ok(found > 80)
})

t.test('every option has its row', (t) => {
  const options = names(between(read('lib/options/options.ts'), 'interface WebflowOAuthOptions', '\n}'), /^ {2}(\w+)\??:/gm)
  t.ok(options.length > 20)
  t.strictSame(rowsOf(sectionOf(readme, 'Options')).flatMap(({ names }) => names).sort(), options)
  t.end()
})

t.test('every error code has its row, with its status and a link to its section', (t) => {
  const statuses = [...read('lib/errors.ts').matchAll(/^ {2}(WEBFLOW_OAUTH_\w+): (\d+)/gm)].map(([, code, status]) => `${code} ${status}`)
  t.ok(statuses.length > 10)
  const rows = [...sectionOf(readme, 'Errors').matchAll(/^\| \[`(\w+)`\]\(ERRORS\.md#(\w+)\) \| (\d+) \|/gm)]
  t.strictSame(rows.map(([, code, , status]) => `${code} ${status}`), statuses)
  for (const [, code = '', anchor] of rows) t.equal(anchor, code.toLowerCase())
  t.end()
})

t.test('every error code and every reason is explained: what it looks like, the usual cause, how to see it, the remedy', (t) => {
  const explained = read('ERRORS.md')
  const sources = read('lib/errors.ts')
  const statuses = [...sources.matchAll(/^ {2}(WEBFLOW_OAUTH_\w+): (\d+)/gm)].map(([, code = '', status = '']) => [code, status] as const)
  const reasons = names(between(sources, 'type StateReason =', '\n\n'), /'(\w+)'/g)
  t.ok(reasons.length > 5)
  t.strictSame(names(explained, /^### (WEBFLOW_OAUTH_\w+)$/gm), statuses.map(([code]) => code).sort())
  t.strictSame(names(explained, /^#### (\w+)$/gm), reasons)
  t.strictSame(names(sectionOf(readme, 'Errors'), /\[`(\w+)`\]\(ERRORS\.md#[a-z_]+\)(?! \|)/g), reasons)

  for (const heading of [...statuses.map(([code]) => code), ...reasons].filter((heading) => heading !== 'WEBFLOW_OAUTH_STATE_INVALID')) {
    t.strictSame([...sectionOf(explained, heading).matchAll(/^- \*\*(.+?):\*\* \S/gm)].map(([, label]) => label), ['Looks like', 'Usual cause', 'See it', 'Remedy'], heading)
  }
  for (const [code, status] of statuses) t.match(sectionOf(explained, code), new RegExp(`\\b${status}\\b`), code)
  t.end()
})

t.test('every channel has its row', (t) => {
  const channels = [...read('lib/diagnostics.ts').matchAll(/^ {2}(\w+): channel\('fastify-webflow-oauth:([\w:]+)'\)/gm)].map(([, member, name]) => `${member} ${name}`)
  t.ok(channels.length > 5)
  t.strictSame(rowsOf(sectionOf(readme, 'Seeing in')).map(({ names: [member], cells: [name] }) => `${member} ${name?.replaceAll('`', '')}`), channels)
  t.end()
})

t.test('the contract of the stores is printed to the letter', (t) => {
  t.ok(readme.includes(read('stores/token-store.ts').trim()))
  t.end()
})

t.test('every option of the suite for stores has its row', (t) => {
  const options = names(between(read('stores/conformance.ts'), 'interface StoreTestsOptions', '\n}'), /^ {2}(\w+)\??: /gm)
  t.ok(options.length > 3)
  t.strictSame(rowsOf(sectionOf(readme, 'Testing one')).flatMap(({ names: [name = ''] }) => [name]).sort(), options)
  t.end()
})

t.test('the simulator is described in full', (t) => {
  const sections = ['Testing with the simulator', 'Making it fail', 'What nobody knows']
  const rows = new Set(sections.flatMap((title) => rowsOf(sectionOf(readme, title))).flatMap(({ names: [name = ''] }) => [name]))
  const described = [
    ...Object.keys(namedFaults),
    ...names(between(read('lib/simulator/simulator.ts'), 'interface Simulator', '\n}'), /^ {2}(?:readonly )?(\w+)(?:: | \()/gm),
    ...names(between(read('lib/simulator/faults.ts'), 'interface Fault', '\n}'), /^ {2}readonly (\w+)\?:/gm),
    ...names(between(read('lib/simulator/behavior.ts'), 'interface Behavior', '\n}'), /^ {2}readonly (\w+):/gm)
  ]
  t.ok(described.length > 30)
  t.strictSame([...rows].sort(), [...new Set(described)].sort())
  t.end()
})

/** The part of a text from a first mark on, up to a second. */
function between (text: string, from: string, to: string): string {
  return text.split(from)[1]?.split(to)[0] ?? ''
}

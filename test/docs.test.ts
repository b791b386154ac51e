import { readdirSync } from 'node:fs'
import { posix } from 'node:path'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { request } from 'undici'
import webflowOAuth from '../lib/index.ts'
import { namedFaults } from '../lib/simulator/faults.ts'
import { flowExpired } from '../lib/flow/state-errors.ts'
import { baseOptions, createApp, scope, startWebflow } from './support/app.ts'
import { Browser } from './support/browser.ts'
import { createDocsProject, typeErrors } from './support/docs-project.ts'
import { Visitor } from './support/examples-visitor.ts'
import { anchorsOf, blocksOf, rowsOf, sectionOf } from './support/markdown.ts'
import { loader } from './support/node-process.ts'
import { read, run } from './support/readme-project.ts'
import { freePort } from './support/free-port.ts'

const filesIn = (folder: string) => readdirSync(new URL(`../${folder}/`, import.meta.url), { recursive: true, encoding: 'utf8' }).map((name) => `${folder}/${name}`)
const pages = ['README.md', ...filesIn('docs')]
const blocks = pages.flatMap((page) => blocksOf(read(page)).map((block) => ({ page, ...block })))
const inLanguage = (language: string) => blocks.filter((block) => block.language === language)
const tsUnder = (page: string, title: string) => inLanguage('ts').find((block) => block.page === page && block.heading === title)?.text ?? ''
const names = (text: string, pattern: RegExp) => [...new Set([...text.matchAll(pattern)].map(([, name = '']) => name))].sort()

/** What the pages say that a reader has, for the blocks that are a part of an app. */
const preambles: Readonly<Record<string, string>> = {
  app: [
    'import Fastify, { type FastifyRequest } from \'fastify\'',
    'import webflowOAuth, { WebflowOAuthError, type WebflowOAuthOptions, type WebflowToken } from \'fastify-webflow-oauth\'',
    'const fastify = Fastify()',
    'declare const options: WebflowOAuthOptions',
    'declare function currentUser (request: FastifyRequest): Promise<{ id: string } | null>'
  ].join('; '),
  // For whole programs, which make the instance themselves.
  options: [
    'import type { FastifyRequest } from \'fastify\'',
    'import webflowOAuth, { type WebflowOAuthOptions } from \'fastify-webflow-oauth\'',
    'declare const options: WebflowOAuthOptions'
  ].join('; ')
}

// The port that is printed may be taken.
const port = String(await freePort())
const quickStart = tsUnder('README.md', 'Quick start').replaceAll('3000', port)
const programs = {
  'bearer.ts': [
    'import Fastify, { type FastifyRequest } from \'fastify\'',
    'import webflowOAuth from \'fastify-webflow-oauth\'',
    'const fastify = Fastify()',
    'const currentUser = async ({ headers }: FastifyRequest) => headers.authorization === \'Bearer of-ada\' ? { id: \'ada\' } : null',
    'await fastify.register(webflowOAuth, { ...JSON.parse(process.env.OPTIONS ?? \'\'), identify: async (request) => (await currentUser(request))?.id })',
    'fastify.get(\'/me\', async (request) => ({ connected: Boolean(request.webflowToken) }))',
    tsUnder('docs/users.md', 'Clients with a bearer token'),
    'console.log(await fastify.listen({ port: 0, host: \'127.0.0.1\' }))'
  ].join('\n')
}
// By names like these the compiler's errors tell the page, the line of the block in it, and the line in the block behind its preamble.
const nameOf = ({ page, line }: { page: string, line: number }, extension: string) => `${page.replace('/', '-')}-line-${line}.${extension}`
const modules = Object.fromEntries([
  ...inLanguage('ts').map((block) => [nameOf(block, 'ts'), `${block.preamble === null ? '' : preambles[block.preamble] ?? ''}\n${block.text}`]),
  // Snippets for packages that are not installed here: only their syntax is checked.
  ...inLanguage('js').map((block) => [nameOf(block, 'mjs'), `${block.text}export {}\n`])
])
const project = createDocsProject({ ...programs, ...modules })

/** Runs a block as printed. */
const runBlock = (t: Test, text: string, env: Record<string, string> = {}) => run(t, [...loader, '--input-type=module', '--eval', text], { env })

t.test('the quick start runs as printed, except for its port: it connects, lists the sites and disconnects', async (t) => {
  const app = runBlock(t, quickStart)
  await app.prints(/^Open http:\/\/localhost:\d+$/m)
  const visitor = new Visitor()
  await visitor.open(`http://localhost:${port}`)
  await visitor.click('Connect Webflow')
  await visitor.press('Approve')
  t.equal(visitor.page.url, `http://localhost:${port}/`)
  await visitor.click('Your sites')
  t.match(JSON.parse(visitor.page.html), { sites: [{ displayName: 'Difference Engine' }] })
  await visitor.open(`http://localhost:${port}`)
  await visitor.press('Disconnect')
  t.equal(visitor.page.url, `http://localhost:${port}/`)
  t.equal(visitor.page.text, 'Connect Webflow')
})

t.test('the quick start leads to the real Webflow once the credentials are in the environment', async (t) => {
  const app = runBlock(t, quickStart, { WEBFLOW_CLIENT_ID: 'c'.repeat(64), WEBFLOW_CLIENT_SECRET: 's'.repeat(64), APP_SECRET: 'a'.repeat(40) })
  await app.prints(/^Open /m)
  for (const path of ['/webflow/authorize', '/sites']) {
    const begun = await request(`http://localhost:${port}${path}`, { headers: { accept: 'text/html' } })
    t.equal(begun.statusCode, 302)
    const url = new URL(String(begun.headers.location))
    t.equal(url.origin + url.pathname, 'https://webflow.com/oauth/authorize')
    t.equal(url.searchParams.get('redirect_uri'), `http://localhost:${port}/webflow/callback`)
  }
})

t.test('the test with the simulator runs as printed', async (t) => {
  const example = runBlock(t, tsUnder('docs/testing.md', 'In tests'))
  t.equal(await example.exited, 0, example.printed())
  t.match(example.printed(), /pass 1\b/)
})

t.test('a client with a bearer token connects its user as printed, though it has no cookie of the app', async (t) => {
  const webflow = await startWebflow(t)
  const options = JSON.stringify({ ...baseOptions(webflow), allowedOrigins: ['https://spa.example.com'] })
  const app = run(t, [...loader, 'bearer.ts'], { cwd: project, env: { OPTIONS: options } })
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

t.test('an install by somebody who is not signed in is refused at the end with the code unspent, as docs/users.md says', async (t) => {
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

t.test('outside the scope of the plugin the token is undefined, and the code on the pages does not treat it as connected', async (t) => {
  t.match(tsUnder('README.md', 'Guards'), 'connected: Boolean(request.webflowToken)')
  for (const page of pages) t.notMatch(read(page).replaceAll('`request.webflowToken !== null` would show', ''), /webflowToken [!=]== null/)
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

t.test('the commands name scripts and packages that exist', (t) => {
  const { scripts, name, peerDependencies, devDependencies } = JSON.parse(read('package.json'))
  const readme = read('README.md')
  t.match(readme, '`npm ci && npm start`')
  t.match(readme, '`npm cit`')
  t.type(scripts.start, 'string')
  t.type(scripts.test, 'string')
  for (const page of pages) {
    for (const script of names(read(page), /npm run ([\w:]+)/g)) t.type(scripts[script], 'string', script)
    for (const packages of names(read(page), /npm install ([^`\n]+)/g)) {
      for (const one of packages.split(' ')) t.ok(one === name || one in peerDependencies || one in devDependencies, one)
    }
  }
  t.end()
})

t.test('the README is short and links to each page of docs/, and each page says first which question it answers', (t) => {
  const readme = read('README.md')
  t.ok(Buffer.byteLength(readme) <= 15 * 1024)
  for (const page of pages.slice(1)) {
    t.ok(readme.includes(`](${page})`), page)
    t.match(read(page), /^# .+\n\nThis page answers .+\n\n/, page)
  }
  t.end()
})

t.test('an error reads as printed, diagrams name their participants, and no block is left unchecked', (t) => {
  const { statusCode, code, message, reason } = flowExpired(Date.now() - 1_042_000, 900)
  for (const { text } of inLanguage('json')) t.strictSame(JSON.parse(text), { statusCode, code, error: 'Bad Request', message, reason })
  for (const { text } of inLanguage('mermaid')) {
    const [first, ...lines] = text.trimEnd().split('\n')
    t.equal(first, 'sequenceDiagram')
    const participants = names(text, /^ {2}participant (\w+) as .+$/gm).join('|')
    const step = new RegExp(`^ {2}(?:(?:${participants})--?>>(?:${participants}): [^;#]+|Note over (?:${participants}): [^;#]+|participant .+)$`)
    t.strictSame(lines.filter((line) => !step.test(line)), [])
  }
  const checked = ['ts', 'js', 'sh', 'json', 'mermaid']
  t.strictSame(blocks.filter(({ language }) => !checked.includes(language)), [])
  for (const { preamble } of blocks) t.ok(preamble === null || Object.hasOwn(preambles, preamble))
  t.end()
})

t.test('every link within the package leads to a file that is packed, and to a heading that it has', async (t) => {
  const { files }: { files: string[] } = JSON.parse(read('package.json'))
  // The build is left out: no text links into it.
  const packed = new Set(['README.md', 'LICENSE', 'package.json', ...files.flatMap((path) => path.startsWith('dist/') ? [] : path.endsWith('.md') ? [path] : filesIn(path))])
  const texts = [...packed].filter((file) => file.endsWith('.md'))
  for (const file of [...pages, 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md']) t.ok(texts.includes(file), file)
  const anchors = new Map(texts.map((file) => [file, anchorsOf(read(file))]))
  let found = 0
  for (const from of texts) {
    for (const target of names(read(from), /\]\((?!https?:)([^)]+)\)/g)) {
      const [file = '', anchor] = target.split('#')
      const to = file === '' ? from : posix.join(posix.dirname(from), file)
      t.ok(packed.has(to), `${from}: ${target}`)
      if (anchor !== undefined) t.ok(anchors.get(to)?.has(anchor), `${from}: ${target}`)
      found++
    }
  }
  t.ok(found > 80)
})

t.test('every option has its row', (t) => {
  const options = names(between(read('lib/options/options.ts'), 'interface WebflowOAuthOptions', '\n}'), /^ {2}(\w+)\??:/gm)
  t.ok(options.length > 20)
  t.strictSame(rowsOf(sectionOf(read('README.md'), 'Options')).flatMap(({ names }) => names).sort(), options)
  t.end()
})

t.test('every error code has its row, with its status and a link to its section', (t) => {
  const statuses = [...read('lib/errors.ts').matchAll(/^ {2}(WEBFLOW_OAUTH_\w+): (\d+)/gm)].map(([, code, status]) => `${code} ${status}`)
  t.ok(statuses.length > 10)
  const rows = [...sectionOf(read('docs/errors.md'), 'All codes').matchAll(/^\| \[`(\w+)`\]\(#(\w+)\) \| (\d+) \|/gm)]
  t.strictSame(rows.map(([, code, , status]) => `${code} ${status}`), statuses)
  for (const [, code = '', anchor] of rows) t.equal(anchor, code.toLowerCase())
  t.end()
})

t.test('every error code and every reason is explained: what it looks like, the usual cause, how to see it, the remedy', (t) => {
  const explained = read('docs/errors.md')
  const sources = read('lib/errors.ts')
  const statuses = [...sources.matchAll(/^ {2}(WEBFLOW_OAUTH_\w+): (\d+)/gm)].map(([, code = '', status = '']) => [code, status] as const)
  const reasons = names(between(sources, 'type StateReason =', '\n\n') + between(sources, 'type WebhookReason =', '\n\n'), /'(\w+)'/g)
  t.ok(reasons.length > 5)
  t.strictSame(names(explained, /^### (WEBFLOW_OAUTH_\w+)$/gm), statuses.map(([code]) => code).sort())
  t.strictSame(names(explained, /^#### (\w+)$/gm), reasons)
  t.strictSame(names(sectionOf(explained, 'All codes'), /\[`(\w+)`\]\(#[a-z_]+\)(?! \|)/g), reasons)

  for (const heading of [...statuses.map(([code]) => code), ...reasons].filter((heading) => heading !== 'WEBFLOW_OAUTH_STATE_INVALID' && heading !== 'WEBFLOW_OAUTH_WEBHOOK_INVALID')) {
    t.strictSame([...sectionOf(explained, heading).matchAll(/^- \*\*(.+?):\*\* \S/gm)].map(([, label]) => label), ['Looks like', 'Usual cause', 'See it', 'Remedy'], heading)
  }
  for (const [code, status] of statuses) t.match(sectionOf(explained, code), new RegExp(`\\b${status}\\b`), code)
  t.end()
})

t.test('every channel has its row', (t) => {
  const channels = [...read('lib/diagnostics.ts').matchAll(/^ {2}(\w+): channel\('fastify-webflow-oauth:([\w:]+)'\)/gm)].map(([, member, name]) => `${member} ${name}`)
  t.ok(channels.length > 5)
  t.strictSame(rowsOf(sectionOf(read('docs/observing.md'), 'Diagnostics')).map(({ names: [member], cells: [name] }) => `${member} ${name?.replaceAll('`', '')}`), channels)
  t.end()
})

t.test('the contract of the stores is printed word for word', (t) => {
  t.ok(read('docs/stores.md').includes(read('stores/token-store.ts').trim()))
  t.end()
})

t.test('every option of the suite for stores has its row', (t) => {
  const options = names(between(read('stores/conformance.ts'), 'interface StoreTestsOptions', '\n}'), /^ {2}(\w+)\??: /gm)
  t.ok(options.length > 3)
  t.strictSame(rowsOf(sectionOf(read('docs/stores.md'), 'Testing a store')).flatMap(({ names: [name = ''] }) => [name]).sort(), options)
  t.end()
})

t.test('every member, fault and behavior of the simulator has its row', (t) => {
  const sections = ['In tests', 'Making it fail', 'What nobody knows']
  const rows = new Set(sections.flatMap((title) => rowsOf(sectionOf(read('docs/testing.md'), title))).flatMap(({ names: [name = ''] }) => [name]))
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

t.test('every code of SqliteStore has its row', (t) => {
  const codes = ['stores/sqlite.ts', 'stores/sqlite-database.ts', 'stores/sqlite-failure.ts'].flatMap((file) => names(read(file), /'(SQLITE_[A-Z_]+)'/g))
  const rows = rowsOf(sectionOf(read('docs/stores.md'), 'A file, by SqliteStore')).flatMap(({ names }) => names).filter((name) => name.startsWith('SQLITE_'))
  t.strictSame(rows.sort(), [...new Set(codes)].sort())
  t.end()
})

t.test('every warning at start-up has its row', (t) => {
  const warnings = read('lib/options/warnings.ts').match(/lines\.push\(|return `/g)
  t.equal(sectionOf(read('docs/observing.md'), 'Warnings at start-up').match(/^\| (?!Warning )/gm)?.length, warnings?.length)
  t.end()
})

t.test('every block of TypeScript compiles against the plugin, and every other program has valid syntax', async (t) => {
  t.ok(inLanguage('ts').length > 15)
  t.equal(await typeErrors(project), '')
})

/** The part of a text from a first mark on, up to a second. */
function between (text: string, from: string, to: string): string {
  return text.split(from)[1]?.split(to)[0] ?? ''
}

import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { request } from 'undici'
import { withoutCurl } from '../support/curl.ts'
import { Visitor } from '../support/examples-visitor.ts'
import { grace } from '../support/examples-webflow.ts'
import { credentials, sites, startMovingOver, type MovingOverApp, type Program } from '../support/moving-over-app.ts'
import { anchorsOf, blocksOf } from '../support/markdown.ts'
import { applyDiff } from '../support/unified-diff.ts'

// Each program is started once, beside a Webflow of its own; the programs run at the same time.
t.jobs = 4

const folder = new URL('../../examples/moving-over/', import.meta.url)
const read = (file: string) => readFileSync(new URL(file, folder), 'utf8')
const blockOf = (guide: string, language: string) => blocksOf(read(`${guide}.md`)).find((block) => block.language === language)?.text ?? ''

const appSecret = { APP_SECRET: 'not a secret, but 32 bytes of one' }
const starter = { callbackPath: '/auth', env: { WEBFLOW_CLIENT_ID: credentials.clientId, WEBFLOW_SECRET: credentials.clientSecret } }
const oauth2 = { callbackPath: '/login/webflow/callback', env: { WEBFLOW_CLIENT_ID: credentials.clientId, WEBFLOW_CLIENT_SECRET: credentials.clientSecret } }

const before = async (t: Test, guide: string, program: Omit<Program, 'file'>) => startMovingOver(t, { ...program, file: `${guide}/before.ts` })
const after = async (t: Test, guide: string, { env, ...program }: Omit<Program, 'file'>) => startMovingOver(t, { ...program, env: { ...env, ...appSecret }, file: `${guide}/after.ts` })

const isLeaked = ({ output, secrets }: MovingOverApp) => secrets().some((secret) => `${output.stdout}${output.stderr}`.includes(secret))
const callbackOf = ({ trail }: Visitor) => trail.findLast((url) => /[?&]code=/.test(url)) ?? ''

for (const guide of ['from-webflow-starter', 'from-fastify-oauth2']) {
  t.test(`the diff of ${guide} turns the program before into the program after`, (t) => {
    t.equal(applyDiff(read(`${guide}/before.ts`), blockOf(guide, 'diff')), read(`${guide}/after.ts`))
    t.end()
  })

  t.test(`every link of ${guide} leads somewhere`, (t) => {
    const guideText = read(`${guide}.md`)
    for (const [, target = ''] of guideText.matchAll(/\]\((?!https?:)([^)]+)\)/g)) {
      const [file = '', anchor] = target.split('#')
      t.ok(file === '' || existsSync(new URL(file, folder)), target)
      if (anchor !== undefined) t.ok(anchorsOf(file === '' ? guideText : read(file)).has(anchor), target)
    }
    t.end()
  })

  t.test(`every block of ${guide} is a diff or a command`, (t) => {
    t.strictSame(blocksOf(read(`${guide}.md`)).filter(({ language }) => !['diff', 'sh'].includes(language)), [])
    t.end()
  })
}

t.test('a diff that does not fit exactly is refused', (t) => {
  const diff = ['--- before.ts', '+++ after.ts', '@@ -1,3 +1,3 @@', ' one', '-two', '+2', ' three', '@@ -5 +5,2 @@', ' five', '+six', '']
  const text = 'one\ntwo\nthree\nfour\nfive\n'
  t.equal(applyDiff(text, diff.join('\n')), 'one\n2\nthree\nfour\nfive\nsix\n')
  const wrong: ReadonlyArray<readonly [number, string]> = [
    [0, 'before.ts'], [2, '@@ one @@'], [2, '@@ -2,3 +2,3 @@'], [2, '@@ -1,2 +1,3 @@'], [2, '@@ -1,3 +1,2 @@'],
    [3, ' One'], [3, 'one'], [4, '-Two'], [6, ' three '], [7, '@@ -5 +4,2 @@'], [7, '@@ -3 +3,2 @@'], [10, 'seven']
  ]
  for (const [at, line] of wrong) t.throws(() => applyDiff(text, diff.with(at, line).join('\n')), Error, line)
  t.throws(() => applyDiff(text.trimEnd(), diff.join('\n')), /does not end with a line/)
  t.end()
})

t.test('the starter before', async (t) => {
  const app = await before(t, 'from-webflow-starter', starter)

  t.test('connects and lists the sites', async (t) => {
    const visitor = new Visitor()
    t.match((await connect(visitor, app)).text, 'Webflow is connected')
    t.match((await visitor.click('List the sites')).text, 'Difference Engine')

    t.test('shows the sites of the first visitor to everybody', async (t) => {
      t.match((await new Visitor().open(`${app.home}/sites`)).text, 'Difference Engine')
    })

    t.test('prints the token, and logs the code', (t) => {
      const [code = '', token = ''] = app.secrets()
      t.ok(app.output.stdout.includes(`\n${token}\n`))
      t.ok(app.output.stdout.includes(`/auth?code=${code}`))
      t.end()
    })

    t.test('uses the code again when the page is reloaded, and fails', async (t) => {
      t.equal((await visitor.open(callbackOf(visitor))).status, 500)
    })

    t.test('accepts the code of a stranger with a made-up state, and everybody then works with that stranger\'s sites', async (t) => {
      app.webflow.signIn(grace)
      const code = await app.webflow.install({ siteIds: [sites.gardens] })
      await new Visitor().open(`${code}&state=forged`)
      const page = await visitor.open(`${app.home}/sites`)
      t.match(page.text, sites.gardens)
      t.notMatch(page.text, sites.engine)
    })
  })

  t.test('ends a token at Webflow by the command of the guide', { skip: withoutCurl }, (t) => endsByCommand(t, 'from-webflow-starter', app))

  t.test('sends a visitor who declines back to Webflow', async (t) => {
    const visitor = new Visitor()
    await visitor.open(app.home)
    await visitor.click('Connect Webflow')
    t.match((await visitor.press('Deny')).url, `${app.webflow.url}/oauth/authorize`)
    t.match((await visitor.press('Deny')).url, `${app.webflow.url}/oauth/authorize`)
  })

  t.test('loops if Webflow returns an error without asking the user', async (t) => {
    refuseScope(app, '/auth')
    await t.rejects(new Visitor().open(`${app.home}/auth`), /The redirects do not end/)
  })
})

t.test('the starter after', async (t) => {
  const app = await after(t, 'from-webflow-starter', starter)

  t.test('connects, lists the sites and disconnects, with one more variable in its environment', async (t) => {
    const visitor = new Visitor()
    t.match((await connect(visitor, app)).text, 'Webflow is connected')
    t.equal(new URL(callbackOf(visitor)).pathname, '/auth', 'and nothing changes at Webflow')
    t.match((await visitor.click('List the sites')).text, sites.engine)

    t.test('shows another visitor nothing', async (t) => {
      const page = await new Visitor().open(`${app.home}/sites`)
      t.equal(page.status, 401)
      t.match(page.text, 'WEBFLOW_OAUTH_TOKEN_REQUIRED')
    })

    t.test('answers a reload as before', async (t) => {
      t.match((await visitor.open(callbackOf(visitor))).text, 'Webflow is connected')
    })

    t.test('refuses the code of a stranger, with a made-up state or without one', async (t) => {
      app.webflow.signIn(grace)
      const code = await app.webflow.install({ siteIds: [sites.gardens] })
      const forged = await new Visitor().open(`${code}&state=forged`)
      t.equal(forged.status, 400)
      const begunAgain = await new Visitor().open(code)
      t.match(begunAgain.url, /\/oauth\/authorize\?.*state=/)
      t.match((await visitor.open(`${app.home}/sites`)).text, sites.engine)
      t.equal(app.webflow.requests.token.length, 1)
    })

    t.test('prints neither token nor code', (t) => {
      t.equal(app.secrets().length > 1 && isLeaked(app), false)
      t.end()
    })

    t.test('ends the token at Webflow', async (t) => {
      await visitor.open(app.home)
      t.match((await visitor.press('Disconnect')).text, 'Connect Webflow')
      t.equal((await visitor.open(`${app.home}/sites`)).status, 401)
      t.equal(app.webflow.revokeToken(app.secrets().at(-1) ?? ''), false)
    })
  })

  t.test('has only its callback at /auth, and tells a visitor who begins there where to begin', async (t) => {
    const visitor = new Visitor()
    t.equal((await visitor.open(`${app.home}/auth`)).status, 400)
    t.match((await visitor.click('Try again')).text, 'asks for access')
  })

  t.test('explains the failure to a visitor who declines, and to one whom Webflow refuses', async (t) => {
    const visitor = new Visitor()
    await visitor.open(app.home)
    await visitor.click('Connect Webflow')
    const denied = await visitor.press('Deny')
    t.equal(denied.status, 403)
    t.match(denied.text, 'Try again')

    refuseScope(app, '/auth')
    t.equal((await new Visitor().open(`${app.home}/authorize`)).status, 400)
  })
})

t.test('the app on @fastify/oauth2 before', async (t) => {
  const app = await before(t, 'from-fastify-oauth2', oauth2)

  t.test('connects, lists the sites and disconnects', async (t) => {
    const visitor = new Visitor()
    t.match((await connect(visitor, app)).text, 'Difference Engine')

    t.test('logs code and state', (t) => {
      t.ok(app.output.stdout.includes(`/login/webflow/callback?code=${app.secrets()[0]}&state=`))
      t.end()
    })

    t.test('fails when the callback is reloaded', async (t) => {
      t.equal((await visitor.open(callbackOf(visitor))).status, 500)
    })

    t.test('keeps a token that the user has ended, and offers no way out', async (t) => {
      app.webflow.uninstall()
      t.equal((await visitor.open(`${app.home}/sites`)).status, 401)
      t.equal((await visitor.open(`${app.home}/sites`)).status, 401)
      t.match((await visitor.open(app.home)).text, 'List the sites')
    })
  })

  t.test('ends a token at Webflow by the command of the guide', { skip: withoutCurl }, (t) => endsByCommand(t, 'from-fastify-oauth2', app))

  t.test('answers every failure with a 500', async (t) => {
    const visitor = new Visitor()
    await visitor.open(app.home)
    await visitor.click('Connect Webflow')
    t.equal((await visitor.press('Deny')).status, 500, 'a denial')
    t.equal((await visitor.open(await app.webflow.install())).status, 500, 'an install that began at Webflow')
    t.equal((await visitor.open(await approveFirstOfTwoTabs(visitor, app))).status, 500, 'the first of two tabs')
    app.webflow.fail('token', { status: 400, body: { error: 'invalid_grant' } })
    t.equal((await connect(visitor, app)).status, 500, 'a code or a secret that Webflow refuses')
  })

  t.test('forgets a token that Webflow did not end', async (t) => {
    const visitor = new Visitor()
    await connect(visitor, app)
    app.webflow.fail('revoke', { status: 503 })
    await visitor.open(app.home)
    t.match((await visitor.click('Disconnect')).text, 'Connect Webflow')
    t.equal(app.webflow.revokeToken(app.secrets().at(-1) ?? ''), true, 'it is alive')
  })

  t.test('disconnects by a link, which a page of another site can contain too', async (t) => {
    const visitor = new Visitor()
    await connect(visitor, app)
    await visitor.open(`${app.home}/logout/webflow`)
    t.match(visitor.page.text, 'Connect Webflow')
  })
})

t.test('the app on @fastify/oauth2 after', async (t) => {
  const app = await after(t, 'from-fastify-oauth2', oauth2)

  t.test('connects, lists the sites and disconnects, on the same paths', async (t) => {
    const visitor = new Visitor()
    t.match((await connect(visitor, app)).text, 'Difference Engine')
    t.ok(visitor.trail.includes(`${app.home}/login/webflow`))
    t.equal(new URL(callbackOf(visitor)).pathname, '/login/webflow/callback')
    t.match((await visitor.open(callbackOf(visitor))).text, 'Difference Engine', 'and answers a reload as before')

    t.test('is disconnected neither by a link nor by another site', async (t) => {
      t.equal((await visitor.open(`${app.home}/logout/webflow`)).status, 404)
      const { statusCode } = await request(`${app.home}/logout/webflow`, { method: 'POST', headers: { origin: 'https://other.example.com' } })
      t.equal(statusCode, 403)
      t.match((await visitor.open(app.home)).text, 'Disconnect')
    })

    t.test('keeps the token until Webflow has ended it', async (t) => {
      app.webflow.fail('revoke', { status: 503 })
      await visitor.open(app.home)
      t.equal((await visitor.press('Disconnect')).status, 502)
      await visitor.open(app.home)
      t.match((await visitor.press('Disconnect')).text, 'Connect Webflow')
      t.equal(app.webflow.revokeToken(app.secrets().at(-1) ?? ''), false)
    })

    t.test('prints neither token nor code', (t) => {
      t.equal(app.secrets().length > 1 && isLeaked(app), false)
      t.end()
    })
  })

  t.test('has an error of its own for each failure, and continues where nothing has failed', async (t) => {
    const visitor = new Visitor()
    await visitor.open(app.home)
    await visitor.click('Connect Webflow')
    t.equal((await visitor.press('Deny')).status, 403, 'a denial')
    app.webflow.fail('token', { status: 400, body: { error: 'invalid_grant' } })
    t.equal((await connect(visitor, app)).status, 400, 'a code or a secret that Webflow refuses')
    t.match((await visitor.open(await app.webflow.install())).text, 'asks for access', 'an install that began at Webflow')
    t.match((await visitor.open(await approveFirstOfTwoTabs(visitor, app))).text, 'Difference Engine', 'the first of two tabs')
  })

  t.test('lets a user who has uninstalled the app connect again', async (t) => {
    const visitor = new Visitor()
    await connect(visitor, app)
    app.webflow.uninstall()
    t.match((await visitor.open(`${app.home}/sites`)).text, 'Connect Webflow')
    await visitor.click('Connect Webflow')
    t.match((await visitor.press('Approve')).text, 'Difference Engine')
  })
})

/** Connects by the first page; resolves with the page that follows. */
async function connect (visitor: Visitor, { home }: MovingOverApp) {
  await visitor.open(home)
  await visitor.click('Connect Webflow')
  return visitor.press('Approve')
}

/** Connects, and has the command of a guide end the token. */
async function endsByCommand (t: Test, guide: string, app: MovingOverApp): Promise<void> {
  const visitor = new Visitor()
  await connect(visitor, app)
  await visitor.open(`${app.home}/sites`)
  const token = app.secrets().at(-1) ?? ''

  const shell = spawn('sh', ['-c', blockOf(guide, 'sh').replaceAll('https://webflow.com', app.webflow.url)], {
    env: { PATH: process.env['PATH'] ?? '', ...starter.env, ...oauth2.env, OLD_TOKEN: token },
    stdio: ['ignore', 'pipe', 'ignore']
  })
  t.strictSame(JSON.parse(await text(shell.stdout)), { did_revoke: true })
  t.equal(app.webflow.revokeToken(token), false, 'it was alive, and is not any more')
}

/** Begins in two tabs; resolves with the callback of the first. */
async function approveFirstOfTwoTabs (visitor: Visitor, { home, webflow }: MovingOverApp): Promise<string> {
  const { url } = await visitor.open(`${home}/login/webflow`)
  await visitor.open(`${home}/login/webflow`)
  return webflow.approve(url)
}

/** Makes Webflow refuse a scope, as it does: by a redirect that asks nobody. */
function refuseScope ({ webflow, home }: MovingOverApp, callbackPath: string): void {
  webflow.fail('authorize', { status: 302, headers: { location: `${home}${callbackPath}?error=invalid_scope` }, times: Infinity })
}

import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { assertNothingLeaked, clientId, clientSecret, redirectUri, scope, secret, startWebflow } from '../support/app.ts'
import { RemoteBrowser, startChildApp, type ChildApp } from '../support/child-app.ts'
import { findRedis, startRedis } from '../support/redis-server.ts'

const beforeStore = 3000

t.test('a heap snapshot holds the token, the code and the state of requests under way, and nothing of finished ones', async (t) => {
  if (findRedis() === null) {
    t.comment('no redis-server on PATH: heap snapshots were left out')
    t.not(process.env.REQUIRE_REDIS, '1', 'a redis-server is not required')
    return
  }
  const folder = mkdtempSync(join(tmpdir(), 'heap-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const webflow = await startWebflow(t)
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const config = { clientId, clientSecret, redirectUri, scope, secret, endpoints: webflow.endpoints, redis: { port: redis.port } }
  const app = await startChildApp(t, { ...config, beforeStore }, ['--heapsnapshot-signal=SIGUSR2', `--diagnostic-dir=${folder}`])
  const other = await startChildApp(t, config)
  const browser = new RemoteBrowser(app.url)
  const url = await browser.approve(webflow)
  const { searchParams } = new URL(url)
  const code = String(searchParams.get('code'))
  const state = String(searchParams.get('state'))
  const callback = browser.get(url)
  while (webflow.requests.token.length === 0) await sleep(20)
  // The exchange is done and the app's hook has the token: what can be found, is.
  await sleep(beforeStore / 3)
  const during = await takeSnapshot(app, folder)
  t.equal((await callback).status, 303)
  const connected = await takeSnapshot(app, folder)
  const accessToken = String((await browser.get('/token')).json.accessToken)
  const used = await takeSnapshot(app, folder)
  t.equal((await browser.post('/webflow/revoke')).json.revoked, true)
  const revoked = await takeSnapshot(app, folder)

  await browser.connect(webflow)
  const second = String((await browser.get('/token')).json.accessToken)
  t.equal((await browser.at(other.url).post('/webflow/revoke')).json.revoked, true)
  t.equal((await browser.get('/token')).json.connected, false)
  const revokedElsewhere = await takeSnapshot(app, folder)

  const found = (text: string, token = accessToken) => ({ token: text.includes(token), code: text.includes(code), state: text.includes(state) })
  t.strictSame(found(during), { token: true, code: true, state: true }, 'what is under way is found')
  t.strictSame(found(connected), { token: false, code: false, state: false }, 'a token that is kept is sealed')
  t.strictSame(found(used), { token: true, code: false, state: false }, 'one that is used is kept open')
  t.strictSame(found(revoked), { token: false, code: false, state: false }, 'until it ends')
  t.strictSame(found(revokedElsewhere, second), { token: false, code: false, state: false }, 'or a read finds that another process ended it')
})

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

/** What a reader of a process's heap sees. */
async function takeSnapshot (app: ChildApp, folder: string): Promise<string> {
  const before = readdirSync(folder).length
  app.signal('SIGUSR2')
  for (;;) {
    const files = readdirSync(folder).sort()
    if (files.length > before) {
      const text = readFileSync(join(folder, String(files.at(-1))), 'utf8')
      // Written to the end.
      if (text.trimEnd().endsWith(']}')) return text
    }
    await sleep(50)
  }
}

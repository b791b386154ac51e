import { readFileSync } from 'node:fs'
import t from 'tap'
import { MemoryStore } from '../lib/index.ts'
import { assertNothingLeaked, connect, createApp, startWebflow } from './support/app.ts'
import { Browser } from './support/browser.ts'

const callbackPath = '/webflow/callback'

t.test('every test that docs/security.md names exists', (t) => {
  const rows = [...readFileSync(new URL('../docs/security.md', import.meta.url), 'utf8').matchAll(/`test\/([\w/.-]+\.test\.ts)`: “([^”]+)”/g)]
  t.ok(rows.length > 30)
  for (const [, file = '', title = ''] of rows) {
    const source = readFileSync(new URL(file, import.meta.url), 'utf8').replaceAll('\\\'', '\'')
    t.ok(source.includes(`('${title}'`) || source.includes(`(\`${title}`), `${file}: ${title}`)
  }
  t.end()
})

t.test('a state of another app is refused, although secret, store and host are the same', async (t) => {
  const webflow = await startWebflow(t)
  const store = new MemoryStore()
  const one = new Browser(await createApp(t, { webflow, options: { store } }))
  const two = one.clone(await createApp(t, { webflow, options: { store, clientId: 'd'.repeat(64) } }))
  const { location } = await one.navigate('/webflow/authorize')
  const url = await webflow.approve(String(location))
  for (const [name, value] of one.cookies) two.cookies.set(name, value)
  t.equal((await two.get(url)).json().reason, 'malformed')
  await one.navigate(url)
  two.cookies.set('__Host-webflow', String(one.cookies.get('__Host-webflow')))
  t.equal((await two.get('/token')).json().connected, false, 'a session of another app is refused too')
})

t.test('a victim who is led to an attacker\'s callback is not connected to the attacker\'s account', async (t) => {
  const webflow = await startWebflow(t)
  const app = await createApp(t, { webflow })
  const attacker = new Browser(app)
  const victim = new Browser(app)
  const url = await webflow.approve(String((await attacker.navigate('/webflow/authorize')).location))
  t.equal((await victim.navigate(url)).statusCode, 400)
  await victim.navigate('/webflow/authorize')
  t.equal((await victim.navigate(url)).statusCode, 400, 'not during a flow of the victim either')
  const [, ownState] = String((await victim.navigate('/webflow/authorize')).location).split('state=')
  const mixed = new URL(url)
  mixed.searchParams.set('state', String(ownState))
  t.equal((await victim.navigate(mixed.href)).statusCode, 303, 'a code with the victim\'s state is as good as Webflow\'s: the state must not leak')
  t.equal((await attacker.navigate(url)).statusCode, 400, 'and the code works once')
})

t.test('the cookie of a revoked session works for nobody', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))
  await connect(browser, webflow)
  const thief = browser.clone()
  await browser.request('/webflow/revoke', { method: 'POST' })
  t.equal((await thief.get('/token')).json().connected, false)
  t.strictSame((await thief.request('/webflow/revoke', { method: 'POST' })).json(), { revoked: false })
})

t.test('a page of another site disconnects nobody, by form, fetch, image or link', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))
  await connect(browser, webflow)
  const site = { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' }
  t.equal((await browser.request('/webflow/revoke', { method: 'POST', headers: { ...site, 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document', 'content-type': 'application/x-www-form-urlencoded' }, body: 'a=b' })).statusCode, 403)
  t.equal((await browser.request('/webflow/revoke', { method: 'POST', headers: { ...site, 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'empty', 'content-type': 'text/plain' } })).statusCode, 403)
  t.equal((await browser.get('/webflow/revoke', { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image' })).statusCode, 404)
  t.equal((await browser.navigate('/webflow/revoke', { 'sec-fetch-site': 'cross-site' })).statusCode, 404)
  t.equal((await browser.get('/token')).json().connected, true)
})

t.test('nothing that a stranger sends appears in a header, a page or a log line', async (t) => {
  const lines: string[] = []
  const webflow = await startWebflow(t)
  const app = await createApp(t, { webflow, server: { logger: { level: 'trace', stream: { write: (line: string) => lines.push(line) } } }, options: { failureRedirect: '/failed' } })
  const pageless = await createApp(t, { webflow, server: { logger: { level: 'trace', stream: { write: (line: string) => lines.push(line) } } } })
  const payloads = ['<img src=x onerror=alert(1)>', '"><script>alert(1)</script>', '\r\nset-cookie: planted=1', '\n{"level":60,"msg":"planted"}', '\u0000planted', '\u2028planted', '__proto__', 'javascript:planted()']
  for (const payload of payloads) {
    const text = encodeURIComponent(payload)
    for (const target of [app, pageless]) {
      const browser = new Browser(target)
      const state = encodeURIComponent(String(new URL(String((await browser.navigate('/webflow/authorize')).location)).searchParams.get('state')))
      const urls = [
        `/webflow/authorize?returnTo=${text}&${text}=${text}`, `${callbackPath}?code=${text}&state=${text}`, `${callbackPath}?code=${text}&state=${state}`,
        `${callbackPath}?error=${text}&error_description=${text}&state=${state}`, `${callbackPath}?error=x&error_description=${text}&state=${text}`, `${callbackPath}?${text}=${text}`
      ]
      for (const url of urls) {
        const answer = await browser.navigate(url, { 'user-agent': text, referer: text, origin: text })
        t.ok(answer.statusCode < 500)
        t.notMatch(answer.body, /alert|planted|onerror|__proto__/)
        t.notOk(answer.cookies.some(({ name }) => !name.startsWith('__Host-webflow')))
        t.notMatch(answer.location ?? '', /alert|planted|javascript/)
      }
    }
  }
  for (const line of lines) {
    t.equal(line.indexOf('\n'), line.length - 1)
    t.notMatch(JSON.parse(line), { msg: /planted|alert/ })
  }
})

t.test('bytes that are not valid text are refused like any other malformed callback', async (t) => {
  const browser = new Browser(await createApp(t))
  for (const query of ['code=%ff%fe&state=%ff', 'code=%c3&state=%c0%80', 'state=%e0%a4&code=a', `code=a&state=${'%ff'.repeat(2000)}`, 'code=a&state=%', 'error=%ff&state=%ff']) {
    const answer = await browser.get(`${callbackPath}?${query}`)
    t.equal(answer.statusCode, 400)
  }
  t.equal((await browser.get('/webflow/authorize?returnTo=%ff%c0')).statusCode, 302)
})

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

import t, { type Test } from 'tap'
import type { WebflowOAuthOptions } from '../lib/index.ts'
import type { Simulator } from '../lib/simulator/index.ts'
import { assertNothingLeaked, connect, createApp, startWebflow } from './support/app.ts'
import { Browser } from './support/browser.ts'

const fallback = 'https://app.example.com/home'
const allowedOrigins = ['https://spa.example.com', 'http://localhost:5173']
const trusted = ['https://app.example.com', ...allowedOrigins]

/** Takes browsers through whole flows; tells where each of them ends. */
async function createGuide (t: Test, options: Partial<WebflowOAuthOptions> = {}, behind: Simulator | null = null) {
  const webflow = behind ?? await startWebflow(t)
  const app = await createApp(t, { webflow, options: { successRedirect: '/home', allowedOrigins, introspect: false, ...options } })
  const follow = async (query: string): Promise<string> => {
    const back = await connect(new Browser(app), webflow, { path: `/webflow/authorize?${query}` })
    t.equal(back.statusCode, 303, query)
    return String(back.location)
  }
  return { follow, to: (returnTo: string) => follow(`returnTo=${encodeURIComponent(returnTo)}`) }
}

/** Values that must end at `successRedirect`. */
const refused = [
  // Other hosts, by the letter.
  'https://evil.example/',
  'http://evil.example/',
  'HTTPS://EVIL.EXAMPLE/',
  'https://evil.example:443/',
  'https://app.example.com.evil.example/',
  'https://evil.example/https://app.example.com/',
  'https://evil.example?https://app.example.com/',
  'https://evil.example#https://app.example.com/',
  'https://evil.example\\.app.example.com/',
  'https://xapp.example.com/',
  'https://example.com/',
  'https://sub.app.example.com/',
  'https://app.example.com./',
  'https://app-example.com/',
  // The own host under another scheme or port.
  'http://app.example.com/',
  'https://app.example.com:8443/',
  'http://app.example.com:443/',
  'ws://app.example.com/',
  'wss://app.example.com/',
  'ftp://app.example.com/',
  'https://spa.example.com:8443/',
  'http://spa.example.com/',
  'https://localhost:5173/',
  'http://localhost:5174/',
  'http://127.0.0.1:5173/',
  // Hosts without a scheme.
  '//evil.example',
  '//evil.example/home',
  '///evil.example',
  '////evil.example',
  '/////evil.example/home',
  '\\\\evil.example',
  '/\\evil.example',
  '\\/evil.example',
  '/\\/evil.example',
  '/\\\\evil.example',
  '\\\\\\evil.example',
  'http:evil.example',
  'https:///evil.example',
  'https:/\\evil.example',
  'https:\\\\evil.example',
  // What a URL parser drops before it reads.
  ' //evil.example',
  '\t//evil.example',
  '\n//evil.example',
  '\r\n//evil.example',
  '/\t/evil.example',
  '/\n/evil.example',
  '/\r/evil.example',
  '\t/\t/\tevil.example',
  'ht\ntps://evil.example',
  '\u0000//evil.example',
  '\u0001//evil.example',
  '\u001F//evil.example',
  '//evil\t.example',
  '/\\\t/evil.example',
  // Characters that become others.
  '//evil。example',
  '//evil.example',
  '//ⓔvil.example',
  'https://app。example。com.evil.example/',
  '//evil%2Eexample',
  '//%65vil.example',
  '//[::1]/',
  '//0x7f.1/',
  '//2130706433/',
  // Names and passwords.
  'https://app.example.com@evil.example/',
  'https://app.example.com:443@evil.example/',
  'https://app.example.com%40evil.example/',
  '//app.example.com@evil.example',
  'https://user@app.example.com/',
  'https://user:password@app.example.com/',
  'https://:password@app.example.com/',
  '//user@app.example.com/',
  'https://evil.example%2F@app.example.com/',
  // What is no page.
  'javascript:alert(1)',
  'JaVaScRiPt:alert(1)',
  ' javascript:alert(1)',
  'java\tscript:alert(1)',
  'java\nscript:alert(1)',
  'javascript://app.example.com/%0aalert(1)',
  'javascript://https://app.example.com/',
  'data:text/html,<script>alert(1)</script>',
  'data:text/html;base64,PHNjcmlwdD4=',
  'vbscript:msgbox(1)',
  'blob:https://app.example.com/4b8f0a3e-0000-0000-0000-000000000000',
  'blob:https://spa.example.com/x',
  'filesystem:https://app.example.com/temporary/x',
  'file:///etc/passwd',
  'file://app.example.com/',
  'about:blank',
  'mailto:ada@app.example.com',
  'view-source:https://app.example.com/',
  'intent://app.example.com#Intent;scheme=https;end',
  'tel:1',
  // What is no URL.
  '',
  'https://',
  'http://',
  'https://[',
  'https://app.example.com:99999/',
  'https://a b/',
  '//',
  'https://%',
  // Back into the flow.
  '/webflow/authorize',
  '/webflow/callback',
  '/webflow/revoke',
  '/webflow/authorize?returnTo=/x',
  '/webflow/callback?code=x&state=y',
  '/webflow/authorize#x',
  '/webflow/authorize/',
  '/webflow/callback//',
  '//app.example.com/webflow/authorize',
  'webflow/authorize',
  './webflow/authorize',
  '/x/../webflow/authorize',
  '/x/%2e%2e/webflow/authorize',
  '/./webflow/./callback',
  '/webflow//authorize',
  '/.//webflow/authorize',
  '\\webflow\\authorize',
  '/Webflow/Authorize',
  '/WEBFLOW/CALLBACK',
  '/%77ebflow/authorize',
  '/webflow/%61uthorize',
  '/webflow/%61uthorize;%ZZ',
  '/%57ebflow/callback;%80',
  '/webflow/%61%75%74%68%6F%72%69%7A%65',
  '/webflow/authorize;x=y',
  '/webflow/callback;',
  '/webflow/auth\torize',
  '/webflow/callback ',
  'https://app.example.com/webflow/callback',
  'https://app.example.com:443/webflow/callback',
  'https://spa.example.com/webflow/callback',
  // Too long, as it is or as it becomes.
  `/${'a'.repeat(2048)}`,
  `/${'é'.repeat(342)}`,
  `/?${'"'.repeat(682)}1`,
  `/#${'a'.repeat(2047)}`,
  `https://spa.example.com/${'a'.repeat(2025)}`
]

/** Values that stay on a trusted origin: they may be followed, as what they resolve to. */
const defused: ReadonlyArray<readonly [returnTo: string, location: string]> = [
  ['/.//evil.example', 'https://app.example.com//evil.example'],
  ['/..//evil.example', 'https://app.example.com//evil.example'],
  ['/x/..//evil.example', 'https://app.example.com//evil.example'],
  ['/%2e//evil.example', 'https://app.example.com//evil.example'],
  ['.//evil.example', 'https://app.example.com//evil.example'],
  ['/%2F/evil.example', 'https://app.example.com/%2F/evil.example'],
  ['/%5Cevil.example', 'https://app.example.com/%5Cevil.example'],
  ['/%09/evil.example', 'https://app.example.com/%09/evil.example'],
  ['%2F%2Fevil.example', 'https://app.example.com/%2F%2Fevil.example'],
  ['https:%2F%2Fevil.example', 'https://app.example.com/%2F%2Fevil.example'],
  ['evil.example', 'https://app.example.com/evil.example'],
  ['@evil.example', 'https://app.example.com/@evil.example'],
  ['/@evil.example', 'https://app.example.com/@evil.example'],
  ['?//evil.example', 'https://app.example.com/?//evil.example'],
  ['#//evil.example', 'https://app.example.com/#//evil.example'],
  ['/x?returnTo=//evil.example', 'https://app.example.com/x?returnTo=//evil.example'],
  ['/javascript:alert(1)', 'https://app.example.com/javascript:alert(1)'],
  ['/x\r\nset-cookie: a=b', 'https://app.example.com/xset-cookie:%20a=b'],
  ['/x%0d%0aset-cookie:%20a=b', 'https://app.example.com/x%0d%0aset-cookie:%20a=b'],
  ['/x"><script>', 'https://app.example.com/x%22%3E%3Cscript%3E'],
  ['https:evil.example', 'https://app.example.com/evil.example'],
  ['https:\\evil.example', 'https://app.example.com/evil.example'],
  ['https:/x', 'https://app.example.com/x'],
  ['https:x', 'https://app.example.com/x'],
  ['//app.example.com//evil.example', 'https://app.example.com//evil.example'],
  ['/webflow/authorize%2Fx', 'https://app.example.com/webflow/authorize%2Fx'],
  ['/webflow%2Fauthorize', 'https://app.example.com/webflow%2Fauthorize'],
  ['/webflow/%2561uthorize', 'https://app.example.com/webflow/%2561uthorize']
]

/** Values of people who mean well. */
const kept: ReadonlyArray<readonly [returnTo: string, location: string]> = [
  ['/', 'https://app.example.com/'],
  ['/welcome', 'https://app.example.com/welcome'],
  ['/welcome?a=b&c=d#e', 'https://app.example.com/welcome?a=b&c=d#e'],
  ['welcome', 'https://app.example.com/welcome'],
  ['?tab=2', 'https://app.example.com/?tab=2'],
  ['/a/../b', 'https://app.example.com/b'],
  ['/webflow', 'https://app.example.com/webflow'],
  ['/webflow/authorize/more', 'https://app.example.com/webflow/authorize/more'],
  ['/webflow/authorized', 'https://app.example.com/webflow/authorized'],
  ['/sites/webflow/authorize', 'https://app.example.com/sites/webflow/authorize'],
  ['/é', 'https://app.example.com/%C3%A9'],
  ['/a b', 'https://app.example.com/a%20b'],
  ['/a%20b', 'https://app.example.com/a%20b'],
  ['https://app.example.com', 'https://app.example.com/'],
  ['HTTPS://APP.example.com:443/x', 'https://app.example.com/x'],
  ['//app.example.com/x', 'https://app.example.com/x'],
  ['https://spa.example.com/done?x=1', 'https://spa.example.com/done?x=1'],
  ['http://localhost:5173/done', 'http://localhost:5173/done'],
  // As long as it may be: path, query and fragment of the own origin, the whole URL of another.
  [`/${'a'.repeat(2047)}`, `https://app.example.com/${'a'.repeat(2047)}`],
  [`https://app.example.com/${'a'.repeat(2047)}`, `https://app.example.com/${'a'.repeat(2047)}`],
  [`/${'é'.repeat(341)}`, `https://app.example.com/${'%C3%A9'.repeat(341)}`],
  [`/${'語'.repeat(227)}`, `https://app.example.com/${'%E8%AA%9E'.repeat(227)}`],
  [`/?${'"'.repeat(682)}`, `https://app.example.com/?${'%22'.repeat(682)}`],
  [`/#${'a'.repeat(2046)}`, `https://app.example.com/#${'a'.repeat(2046)}`],
  [`https://spa.example.com/${'a'.repeat(2024)}`, `https://spa.example.com/${'a'.repeat(2024)}`],
  // What the URL parser takes out is not counted.
  [`${'/a/..'.repeat(500)}/b`, 'https://app.example.com/b'],
  [`https://app.example.com//${'a'.repeat(2046)}`, `https://app.example.com//${'a'.repeat(2046)}`]
]

t.test('a returnTo that leads elsewhere, or back into the flow, ends at successRedirect', async (t) => {
  const { to } = await createGuide(t)
  t.ok(refused.length >= 80)
  for (const returnTo of refused) t.equal(await to(returnTo), fallback, JSON.stringify(returnTo))
})

t.test('a returnTo that only looks like a foreign URL is sent as an absolute URL of the app', async (t) => {
  const { to } = await createGuide(t)
  for (const [returnTo, expected] of defused) {
    const location = await to(returnTo)
    t.equal(location, expected, JSON.stringify(returnTo))
    t.ok(trusted.includes(new URL(location).origin), JSON.stringify(returnTo))
  }
})

t.test('a returnTo of the app or of an allowed origin is kept', async (t) => {
  const { to } = await createGuide(t)
  for (const [returnTo, expected] of kept) t.equal(await to(returnTo), expected, JSON.stringify(returnTo))
})

t.test('a returnTo is read once, as the URL spells it', async (t) => {
  const { follow } = await createGuide(t)
  t.equal(await follow('returnTo=/a&returnTo=/b'), fallback, 'given twice')
  t.equal(await follow('returnTo=/a&return%54o=/b'), fallback, 'given twice in two spellings')
  t.equal(await follow('returnTo=/a&returnTo='), fallback)
  t.equal(await follow('returnTo[]=/a'), fallback)
  t.equal(await follow('returnTo[a]=/a'), fallback)
  t.equal(await follow('returnto=/a'), fallback)
  t.equal(await follow('returnTo'), fallback)
  t.equal(await follow(''), fallback)
  t.equal(await follow('x=1&returnTo=/a+b%2Bc'), 'https://app.example.com/a%20b+c')
  t.equal(await follow('returnTo=/a;returnTo=//evil.example'), 'https://app.example.com/a;returnTo=//evil.example')
  t.equal(await follow('returnTo=%2F%2Fevil.example'), fallback)
  t.equal(await follow('returnTo=%252F%252Fevil.example'), 'https://app.example.com/%2F%2Fevil.example')
})

t.test('without allowedOrigins only the origin of redirectUri is followed', async (t) => {
  const { to } = await createGuide(t, { allowedOrigins: undefined })
  t.equal(await to('https://spa.example.com/done'), fallback)
  t.equal(await to('https://app.example.com/done'), 'https://app.example.com/done')
})

t.test('successRedirect may be elsewhere; its origin is not thereby allowed', async (t) => {
  const { to } = await createGuide(t, { successRedirect: 'https://elsewhere.example.com/done' })
  t.equal(await to('//evil.example'), 'https://elsewhere.example.com/done')
  t.equal(await to('https://elsewhere.example.com/other'), 'https://elsewhere.example.com/done')
  t.equal(await to('/x'), 'https://app.example.com/x')
})

t.test('the paths that were given are the plugin\'s own routes, and the others are not', async (t) => {
  const { to } = await createGuide(t, { revokePath: '/disconnect' })
  t.equal(await to('/disconnect'), fallback)
  t.equal(await to('/webflow/revoke'), 'https://app.example.com/webflow/revoke')
  const without = await createGuide(t, { revokePath: false })
  t.equal(await without.to('/webflow/revoke'), 'https://app.example.com/webflow/revoke')
})

t.test('behind a proxy that rewrites paths, the world\'s spelling of the own routes is refused', async (t) => {
  const redirectUri = 'https://app.example.com/public/webflow/callback'
  const webflow = await startWebflow(t, {}, [redirectUri])
  const app = await createApp(t, { webflow, options: { redirectUri, callbackPath: '/webflow/callback', successRedirect: '/home' } })
  for (const [returnTo, expected] of [
    ['/public/webflow/authorize', fallback],
    ['/public/webflow/callback', fallback],
    ['/public/webflow/revoke', fallback],
    ['/webflow/authorize', 'https://app.example.com/webflow/authorize']
  ] as const) {
    const browser = new Browser(app)
    const { location } = await browser.navigate(`/webflow/authorize?returnTo=${returnTo}`)
    const { search } = new URL(await webflow.approve(String(location)))
    t.equal((await browser.navigate(`/webflow/callback${search}`)).location, expected, returnTo)
  }
})

t.test('startAuthorization follows the same rules', async (t) => {
  const webflow = await startWebflow(t)
  const app = await createApp(t, {
    webflow,
    options: { successRedirect: '/home', allowedOrigins },
    after: (app) => {
      app.post<{ Body: { returnTo: string } }>('/begin', async (request, reply) => ({ url: await app.webflowOAuth.startAuthorization(request, reply, request.body) }))
    }
  })
  const rows = [...refused.slice(0, 5), '//evil.example', 'javascript:alert(1)', 'blob:https://app.example.com/x', '/webflow/authorize'].map((returnTo) => [returnTo, fallback] as const)
  for (const [returnTo, expected] of [...rows, ...kept.slice(0, 3), ...defused.slice(0, 2)]) {
    const browser = new Browser(app)
    const begun = await browser.request('/begin', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ returnTo }) })
    const back = await browser.navigate(await webflow.approve(String(begun.json().url)))
    t.equal(back.location, expected, JSON.stringify(returnTo))
  }
})

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

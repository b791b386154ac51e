import fastifyCookie, { type FastifyCookieOptions } from '@fastify/cookie'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { WebflowOAuthOptions } from '../lib/index.ts'
import { assertNothingLeaked, connect, createApp, startWebflow } from './support/app.ts'
import { Browser, type Answer, type SetCookie } from './support/browser.ts'
import { rememberSecrets } from './support/logs.ts'

const signingSecret = 'signing-secret-of-the-app-itself'
rememberSecrets(signingSecret)

/** Where the app registers @fastify/cookie, if it does. */
type Place = 'before' | 'after' | 'in a child scope' | 'never'

interface Row {
  place: Place
  cookie?: FastifyCookieOptions
  options?: Partial<WebflowOAuthOptions>
  title: string
}

/** What each cookie of ours looks like, whatever the app does: its name up to the flow's handle, and its attributes. */
const session = ['__Host-webflow', 'HttpOnly', 'Max-Age=34560000', 'Path=/', 'SameSite=Lax', 'Secure']
const flow = (maxAge: number) => ['__Host-webflow_flow_', 'HttpOnly', `Max-Age=${maxAge}`, 'Path=/', 'SameSite=Lax', 'Secure']
const ended = ['__Host-webflow', 'HttpOnly', 'Max-Age=0', 'Path=/', 'SameSite=Lax', 'Secure']

const shapeOf = ({ name, attributes }: SetCookie) => [name.replace(/(_flow_).{16}$/, '$1'), ...attributes.sort()]
const ours = ({ cookies }: Answer) => cookies.filter(({ name }) => name.startsWith('__Host-webflow')).map(shapeOf).sort()

async function createAppWith (t: Test, { place, cookie = {}, options = {} }: Row) {
  const webflow = await startWebflow(t)
  const register = (app: FastifyInstance) => app.register(fastifyCookie, cookie)
  const app = await createApp(t, {
    webflow,
    options,
    before: (app) => place === 'before' ? register(app) : undefined,
    after: async (app) => {
      if (place === 'after') await register(app)
      if (place === 'in a child scope') {
        app.register(async (inner) => {
          await register(inner)
          inner.get('/inner', async (request, reply) => {
            reply.setCookie('inner', 'value')
            return { connected: request.webflowToken !== null }
          })
        })
      }
    }
  })
  return { webflow, browser: new Browser(app) }
}

// The types of @fastify/cookie leave `decode` out; its parser takes it.
const decoding = (decode: (value: string) => string) => Object.assign({ path: '/' }, { decode })

const rows: readonly Row[] = [
  { title: 'never registered', place: 'never' },
  ...(['before', 'after', 'in a child scope'] as const).flatMap((place): Row[] => [
    { title: `registered ${place}`, place },
    { title: `registered ${place}, decoding to upper case`, place, cookie: { parseOptions: decoding((value) => value.toUpperCase()) } },
    { title: `registered ${place}, decoding to nothing`, place, cookie: { parseOptions: decoding(() => '') } },
    { title: `registered ${place}, with a decoder that throws when it is asked`, place, cookie: { hook: false, parseOptions: decoding(() => { throw new TypeError('the decoder of the app failed') }) } },
    { title: `registered ${place}, with attributes of its own`, place, cookie: { secret: signingSecret, parseOptions: { signed: true, domain: 'evil.example', path: '/app', httpOnly: false, secure: false, sameSite: 'none', maxAge: 5, partitioned: true, priority: 'low' } } },
    { title: `registered ${place}, encoding in its own way`, place, cookie: { parseOptions: { encode: () => 'encoded' } } },
    { title: `registered ${place}, signing`, place, cookie: { secret: signingSecret, hook: 'preHandler' } },
    { title: `registered ${place}, with a signer of its own`, place, cookie: { secret: { sign: (value: string) => value, unsign: () => ({ valid: false, renew: false, value: null }) } } },
    ...([false, 'preParsing', 'preValidation', 'preHandler'] as const).map((hook): Row => ({ title: `registered ${place}, parsing at ${hook}`, place, cookie: { hook } }))
  ])
]

for (const row of rows) {
  t.test(`@fastify/cookie ${row.title}: a user connects, is known and disconnects`, async (t) => {
    const { webflow, browser } = await createAppWith(t, row)
    t.strictSame(ours(await browser.navigate('/webflow/authorize')), [flow(900)])
    const back = await connect(browser, webflow)
    t.equal(back.statusCode, 303)
    t.strictSame(ours(back), [session, flow(60)])
    t.equal((await browser.get('/token')).json().connected, true)
    t.equal(webflow.requests.token.length, 1)

    const gone = await browser.request('/webflow/revoke', { method: 'POST' })
    t.strictSame(gone.json(), { revoked: true, upstream: 'revoked' })
    t.strictSame(ours(gone), [ended])
    t.equal((await browser.get('/token')).json().connected, false)
  })
}

t.test('a handler in a scope with cookies of its own sees the token', async (t) => {
  const { webflow, browser } = await createAppWith(t, { title: '', place: 'in a child scope' })
  await connect(browser, webflow)
  const answer = await browser.get('/inner')
  t.equal(answer.json().connected, true)
  t.strictSame(answer.cookies.map(({ name }) => name), ['inner'], 'an answer of the app carries its own cookies only')
})

const hooks: Array<FastifyCookieOptions['hook']> = [undefined, false, 'preHandler']

for (const place of ['before', 'after'] as const) {
  for (const hook of hooks) {
    t.test(`cookies that the app sets on the plugin's answers are sent beside the plugin's cookies: registered ${place}, hook ${String(hook)}`, async (t) => {
      const { webflow, browser } = await createAppWith(t, {
        title: '',
        place,
        cookie: hook === undefined ? {} : { hook },
        options: {
          onSuccess: (_token, _request, reply) => { reply.setCookie('welcome', 'yes', { path: '/' }).setCookie('second', 'too', { path: '/', httpOnly: true }) },
          onFailure: (_error, _request, reply) => { reply.setCookie('sorry', 'yes', { path: '/' }) }
        }
      })
      const back = await connect(browser, webflow)
      t.strictSame(back.cookies.map(shapeOf).map(([name]) => name).sort(), ['__Host-webflow', '__Host-webflow_flow_', 'second', 'welcome'])
      t.strictSame(ours(back), [session, flow(60)])
      t.strictSame(back.cookies.filter(({ name }) => name === 'second').map(shapeOf), [['second', 'HttpOnly', 'Path=/', 'SameSite=Lax']])
      t.equal((await browser.get('/token')).json().connected, true)

      const { location } = await browser.navigate('/webflow/authorize')
      const denied = await browser.navigate(await webflow.deny(String(location)))
      t.equal(denied.statusCode, 403)
      t.strictSame(denied.cookies.map(shapeOf).map(([name]) => name).sort(), ['__Host-webflow_flow_', 'sorry'])
    })
  }
}

t.test('a cookie that `onSuccess` sets on its own answer is sent beside the plugin\'s cookies', async (t) => {
  const { webflow, browser } = await createAppWith(t, {
    title: '',
    place: 'before',
    options: { onSuccess: (_token, _request, reply) => { reply.setCookie('welcome', 'yes', { path: '/' }).send({ welcome: true }) } }
  })
  const back = await connect(browser, webflow)
  t.strictSame(back.json(), { welcome: true })
  t.strictSame(back.cookies.map(shapeOf).map(([name]) => name).sort(), ['__Host-webflow', '__Host-webflow_flow_', 'welcome'])
})

t.test('cookies of the app with names like the plugin\'s are left alone', async (t) => {
  const { webflow, browser } = await createAppWith(t, { title: '', place: 'before' })
  for (const [name, value] of [['webflow', 'x'.repeat(43)], ['__Host-webflow_other', 'y'.repeat(43)], ['__proto__', 'z'], ['constructor', 'z'], ['x', '%E0%A4%A'], ['empty', '']] as const) browser.cookies.set(name, value)
  t.equal((await browser.get('/token')).json().connected, false)
  await connect(browser, webflow)
  t.equal((await browser.get('/token')).json().connected, true)
  t.strictSame((await browser.request('/webflow/revoke', { method: 'POST' })).json(), { revoked: true, upstream: 'revoked' })
  t.equal(browser.cookies.get('webflow'), 'x'.repeat(43), 'and they stay')
})

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

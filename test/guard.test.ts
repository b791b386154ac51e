import { connect as connectTo } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import webflowOAuth, { type RequireTokenOptions, type WebflowOAuthOptions } from '../lib/index.ts'
import { assertNothingLeaked, baseOptions, connect, createApp, startWebflow } from './support/app.ts'
import { Browser } from './support/browser.ts'
import { FaultyStore } from './support/faulty-store.ts'
import { recordingLogger } from './support/logs.ts'

const misplaced = { statusCode: 500, code: 'WEBFLOW_OAUTH_INVALID_OPTION' }

/** Rejections that nobody handled: in an app they end the process. */
const unhandled: unknown[] = []
process.on('unhandledRejection', (reason) => { unhandled.push(reason) })

t.test('a guard that was not called fails the request and says so', async (t) => {
  const app = await createApp(t, {
    after: (app) => { Reflect.apply(app.get, app, ['/uncalled', { preHandler: app.webflowOAuth.requireToken }, async () => 'never']) }
  })
  t.match((await app.inject('/uncalled')).json(), { ...misplaced, message: /was used as a hook itself: call it, as in `preHandler: requireToken\(\)`/ })
})

t.test('a guard for the whole app', async (t) => {
  for (const onMissing of ['redirect', 'error'] as const) {
    t.test(`with \`${onMissing}\` lets the routes of the plugin pass, sibling instances included`, async (t) => {
      const webflow = await startWebflow(t, {}, ['https://app.example.com/webflow/callback', 'https://app.example.com/other/callback'])
      const app = Fastify({ logger: recordingLogger })
      t.teardown(() => app.close())
      await app.register(async (scope) => {
        await scope.register(webflowOAuth, { ...baseOptions(webflow), scope: ['authorized_user:read'], designer: { origins: ['http://localhost:1337'] }, onWebhook: () => {} })
        const guard = scope.webflowOAuth.requireToken({ onMissing })
        app.addHook('preHandler', guard)
        scope.addHook('preHandler', guard)
        scope.addHook('preValidation', async (request, reply) => { await guard(request, reply) })
        scope.get('/page', async () => 'page')
      })
      await app.register(async (scope) => {
        await scope.register(webflowOAuth, { ...baseOptions(webflow), cookieName: 'other', redirectUri: 'https://app.example.com/other/callback' })
      })
      const browser = new Browser(app)
      const begun = await browser.navigate('/page')
      t.equal(begun.statusCode, onMissing === 'redirect' ? 302 : 401)
      t.equal((await browser.get('/page')).json().code, 'WEBFLOW_OAUTH_TOKEN_REQUIRED')
      t.equal((await browser.request('/webflow/revoke', { method: 'POST' })).statusCode, 200)
      t.equal((await browser.navigate('/other/authorize')).statusCode, 302)
      t.strictSame(await webflow.deliver(app, { triggerType: 'form_submission', payload: null }), { statusCode: 200, attempts: 1 })
      t.equal((await app.inject({ method: 'OPTIONS', url: '/webflow/designer' })).statusCode, 204)
      t.match((await browser.request('/webflow/designer', { method: 'POST' })).json(), { code: 'WEBFLOW_OAUTH_INVALID_REQUEST' })
      t.equal((await connect(browser, webflow)).statusCode, 303)
      t.equal((await browser.navigate('/page')).body, 'page')
      t.equal(webflow.requests.token.length, 1)
    })
  }

  t.test('added as the wrong kind of hook lets the plugin\'s own routes pass too', async (t) => {
    for (const name of ['preParsing', 'onSend'] as const) {
      const webflow = await startWebflow(t)
      const app = await createApp(t, { webflow, after: (app) => { Reflect.apply(app.addHook, app, [name, app.webflowOAuth.requireToken()]) } })
      const browser = new Browser(app)
      t.match((await browser.get('/token')).json(), misplaced)
      t.equal((await browser.navigate('/webflow/authorize')).statusCode, 302)
    }
  })

  t.test('lets the plugin\'s own routes pass while the store is down', async (t) => {
    const webflow = await startWebflow(t)
    const store = new FaultyStore()
    const app = await createApp(t, { webflow, options: { store }, after: (app) => { app.addHook('preHandler', app.webflowOAuth.requireToken()) } })
    const browser = new Browser(app)
    await connect(browser, webflow)
    store.lose('get', 'token:', { times: 2 })
    t.equal((await browser.get('/token')).statusCode, 503)
    t.equal((await browser.navigate('/webflow/authorize')).statusCode, 302)
  })
})

t.test('a guard that is awaited', async (t) => {
  /** An app whose pages await a guard: in a hook, in a handler. */
  const createAwaiting = async (t: Test, options: RequireTokenOptions) => {
    const webflow = await startWebflow(t)
    const ran: string[] = []
    const app = await createApp(t, {
      webflow,
      after: (app) => {
        const guard = app.webflowOAuth.requireToken(options)
        app.get('/hook', { preHandler: async (request, reply) => { await guard(request, reply) } }, async () => { ran.push('/hook'); return 'data' })
        app.get('/handler', async (request, reply) => {
          await guard(request, reply)
          if (reply.sent) return reply
          ran.push('/handler')
          return 'data'
        })
        app.get('/careless', async (request, reply) => {
          await guard(request, reply)
          return 'data'
        })
      }
    })
    return { webflow, browser: new Browser(app), ran }
  }

  t.test('rejects without a token, so that no handler runs and no data is sent', async (t) => {
    const { webflow, browser, ran } = await createAwaiting(t, {})
    for (const url of ['/hook', '/handler', '/careless']) {
      const answer = await browser.get(url)
      t.equal(answer.statusCode, 401)
      t.equal(answer.json().code, 'WEBFLOW_OAUTH_TOKEN_REQUIRED')
    }
    t.strictSame(ran, [])
    await connect(browser, webflow)
    for (const url of ['/hook', '/handler', '/careless']) t.equal((await browser.get(url)).body, 'data')
  })

  t.test('resolves after its redirect has been sent', async (t) => {
    const { webflow, browser, ran } = await createAwaiting(t, { onMissing: 'redirect' })
    for (const url of ['/hook', '/handler', '/careless']) {
      const answer = await browser.navigate(url)
      t.equal(answer.statusCode, 302)
      t.match(answer.location, /oauth\/authorize/)
      t.not(answer.body, 'data')
      t.equal((await browser.navigate(url, { 'sec-purpose': 'prefetch' })).statusCode, 503)
      t.equal((await browser.get(url)).statusCode, 401)
    }
    t.strictSame(ran, [])
    await connect(browser, webflow)
    for (const url of ['/hook', '/handler', '/careless']) t.equal((await browser.navigate(url)).body, 'data')
  })

  t.test('rejects while the store is down, and when it is awaited too early', async (t) => {
    const webflow = await startWebflow(t)
    const store = new FaultyStore()
    const browser = new Browser(await createApp(t, {
      webflow,
      options: { store },
      after: (app) => {
        const guard = app.webflowOAuth.requireToken()
        app.get('/page', { preHandler: async (request, reply) => { await guard(request, reply) } }, async () => 'page')
        app.get('/early', { onRequest: async (request, reply) => { await guard(request, reply) } }, async () => 'early')
        app.get('/opted-out', { config: { webflowToken: false }, preHandler: async (request, reply) => { await guard(request, reply) } }, async () => 'never')
        app.get('/opted-out/hook', { config: { webflowToken: false }, preHandler: guard }, async () => 'never')
      }
    }))
    await connect(browser, webflow)
    t.match((await browser.get('/early')).json(), misplaced)
    for (const url of ['/opted-out', '/opted-out/hook']) t.equal((await browser.get(url)).json().code, 'WEBFLOW_OAUTH_TOKEN_NOT_LOADED')
    store.lose('get', 'token:')
    t.equal((await browser.get('/page')).json().code, 'WEBFLOW_OAUTH_STORE_UNAVAILABLE')
  })

  t.test('rejects when the client disconnects before the redirect is sent', async (t) => {
    const webflow = await startWebflow(t)
    const outcomes: string[] = []
    const held: Array<() => void> = []
    const app = await createApp(t, {
      webflow,
      after: (app) => {
        const guard = app.webflowOAuth.requireToken({ onMissing: 'redirect' })
        app.addHook('onSend', async () => { await new Promise<void>((resolve) => { held.push(resolve) }) })
        app.get('/page', {
          preHandler: async (request, reply) => {
            await guard(request, reply).then(() => { outcomes.push('passed') }, (error: { code: string }) => {
              outcomes.push(error.code)
              throw error
            })
          }
        }, async () => { outcomes.push('handled'); return 'page' })
      }
    })
    const { port } = new URL(await app.listen({ port: 0, host: '127.0.0.1' }))
    const socket = connectTo(Number(port), '127.0.0.1')
    socket.write('GET /page HTTP/1.1\r\nHost: app.example.com\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n\r\n')
    const arrived = async (holds: () => boolean) => { while (!holds()) await setImmediate() }
    await arrived(() => held.length > 0)
    socket.destroy()
    await arrived(() => outcomes.length > 0)
    t.strictSame(outcomes, ['WEBFLOW_OAUTH_TOKEN_REQUIRED'])
    for (let turn = 0; turn < 10; turn++) await setImmediate()
    t.equal(held.length, 1, 'no second answer is sent')
    for (const goOn of held) goOn()
  })

  t.test('rejects when it is awaited while its own answer is being sent', async (t) => {
    const webflow = await startWebflow(t)
    const codes: string[] = []
    const browser = new Browser(await createApp(t, {
      webflow,
      after: (app) => {
        const guard = app.webflowOAuth.requireToken({ onMissing: 'redirect' })
        app.get('/page', { preHandler: guard }, async () => 'page')
        app.addHook('onSend', async (request, reply) => {
          await guard(request, reply).catch((error: { code: string }) => { codes.push(error.code) })
        })
      }
    }))
    t.equal((await browser.navigate('/page')).statusCode, 302)
    t.strictSame(codes, [misplaced.code])
  })
})

t.test('a guard in the wrong place', async (t) => {
  const hooks = ['onRequest', 'preParsing', 'preSerialization', 'onSend', 'onError', 'onResponse', 'onTimeout', 'onRequestAbort']
  for (const onMissing of ['error', 'redirect'] as const) {
    for (const name of hooks) {
      t.test(`with \`${onMissing}\` as \`${name}\` fails the request or is logged, and never ends the process`, async (t) => {
        const lines: string[] = []
        const webflow = await startWebflow(t)
        const app = await createApp(t, {
          webflow,
          server: { logger: { level: 'error', stream: { write: (line: string) => { lines.push(line) } } }, trustProxy: true },
          after: (app) => {
            const guard = app.webflowOAuth.requireToken({ onMissing })
            // JavaScript allows every kind of hook.
            Reflect.apply(app.get, app, ['/page', { [name]: guard }, async () => {
              if (name === 'onError') throw Object.assign(new Error('teapot'), { statusCode: 418 })
              return { data: true }
            }])
            // A socket that breaks is hard to time: this is how Fastify calls `onRequestAbort`.
            app.get('/aborted', { preHandler: (request, _reply, done) => { Reflect.apply(guard, null, [request, done]) } }, async () => 'aborted')
          }
        })
        const browser = new Browser(app)
        for (const isConnected of [false, true]) {
          if (isConnected) await connect(browser, webflow)
          lines.length = 0
          const answer = await browser.navigate('/page')
          const isLogged = ['onError', 'onResponse'].includes(name)
          if (['onRequest', 'preParsing', 'preSerialization', 'onSend'].includes(name)) {
            t.equal(answer.statusCode, 500)
            t.match(answer.json(), misplaced)
            t.notMatch(answer.body, 'data')
          } else {
            t.equal(answer.statusCode, name === 'onError' ? 418 : 200)
          }
          t.equal(lines.some((line) => line.includes('no effect in this kind of hook')), isLogged)
          t.equal((await browser.navigate('/aborted')).body, 'aborted')
          t.ok(lines.some((line) => line.includes('no effect in this kind of hook')))
        }
        t.equal((await browser.get('/token')).statusCode, 200, 'the app still answers')
      })
    }
  }
})

t.test('a guard in the wrong place works although the app\'s logger throws', async (t) => {
  let threw = 0
  const app = await createApp(t, {
    server: {
      logger: {
        level: 'error',
        stream: { write: () => {} },
        serializers: {
          err: () => {
            threw++
            throw new TypeError('a bug of the app')
          }
        }
      }
    },
    after: (app) => {
      const guard = app.webflowOAuth.requireToken()
      app.get('/aborted', { preHandler: (request, _reply, done) => { Reflect.apply(guard, null, [request, done]) } }, async () => 'aborted')
    }
  })
  const { statusCode, body } = await new Browser(app).get('/aborted')
  t.strictSame([statusCode, body, threw], [200, 'aborted', 1])
})

t.test('`request.webflowToken` in hooks', async (t) => {
  /** Adds a hook of every kind that reads the token, and notes what it found. */
  const addReaders = (app: FastifyInstance, read: string[], label: string) => {
    const reader = (name: string) => async (request: FastifyRequest) => {
      try {
        read.push(`${label} ${name}: ${request.webflowToken === null ? 'null' : typeof request.webflowToken}`)
      } catch (error) {
        read.push(`${label} ${name}: ${error instanceof Error && 'code' in error ? String(error.code) : 'error'}`)
      }
    }
    app.addHook('onRequest', reader('onRequest'))
    app.addHook('preParsing', async (request) => { await reader('preParsing')(request) })
    app.addHook('preValidation', reader('preValidation'))
    app.addHook('preHandler', reader('preHandler'))
    app.addHook('onSend', async (request) => { await reader('onSend')(request) })
    app.addHook('onError', reader('onError'))
    app.addHook('onResponse', reader('onResponse'))
  }

  t.test('throws only between the plugin\'s own `onRequest` hook and the loading of the token', async (t) => {
    const read: string[] = []
    const webflow = await startWebflow(t)
    const browser = new Browser(await createApp(t, {
      webflow,
      before: (app) => { addReaders(app, read, 'before') },
      after: (app) => {
        addReaders(app, read, 'after')
        app.get('/page', async () => 'page')
      }
    }))
    await browser.get('/page')
    t.strictSame(read, [
      'before onRequest: null', 'after onRequest: WEBFLOW_OAUTH_TOKEN_NOT_LOADED',
      'before preParsing: WEBFLOW_OAUTH_TOKEN_NOT_LOADED', 'after preParsing: null',
      'before preValidation: null', 'after preValidation: null', 'before preHandler: null', 'after preHandler: null',
      'before onSend: null', 'after onSend: null', 'before onResponse: null', 'after onResponse: null'
    ])
    await connect(browser, webflow)
    read.length = 0
    await browser.get('/page')
    t.strictSame(read.filter((line) => line.endsWith(': object')).length, 9, 'with a token it can be read from preParsing on')
  })

  const early: Record<string, (app: FastifyInstance) => void> = {
    'an `onRequest` hook of the app that sends': (app) => { app.addHook('onRequest', async (_request, reply) => { await reply.code(429).send({ slow: 'down' }) }) },
    'an `onRequest` hook of the app that throws': (app) => { app.addHook('onRequest', async () => { throw Object.assign(new Error('slow down'), { statusCode: 429 }) }) },
    'a `preParsing` hook of the app that throws': (app) => { app.addHook('preParsing', async () => { throw Object.assign(new Error('slow down'), { statusCode: 429 }) }) },
    'an `onRequest` hook of the route, as a rate limiter adds it': (app) => {
      app.addHook('onRoute', (route) => {
        const limit = async () => { throw Object.assign(new Error('slow down'), { statusCode: 429 }) }
        route.onRequest = [...[route.onRequest ?? []].flat(), limit]
      })
    }
  }
  for (const [name, answerEarly] of Object.entries(early)) {
    for (const isBefore of [true, false]) {
      t.test(`is null when ${name} ${isBefore ? 'before' : 'after'} the plugin has answered early, and the answer does not change`, async (t) => {
        const webflow = await startWebflow(t)
        const readers = (app: FastifyInstance) => {
          app.addHook('onSend', async (request, _reply, payload) => request.webflowToken === null ? payload : '{"token":true}')
          app.addHook('onError', async (request) => { t.equal(request.webflowToken, null) })
          app.addHook('onResponse', async (request) => { t.equal(request.webflowToken, null) })
        }
        const browser = new Browser(await createApp(t, {
          webflow,
          before: (app) => {
            readers(app)
            if (isBefore) answerEarly(app)
          },
          after: (app) => {
            readers(app)
            if (!isBefore) answerEarly(app)
            app.get('/page', async () => 'page')
            app.get('/opted-out', { config: { webflowToken: false } }, async () => 'page')
          }
        }))
        for (const url of ['/page', '/opted-out']) t.equal((await browser.get(url)).statusCode, 429)
      })
    }
  }

  t.test('is null in `onSend` of a route that opted out, with and without a cookie', async (t) => {
    const webflow = await startWebflow(t)
    const browser = new Browser(await createApp(t, {
      webflow,
      after: (app) => {
        app.addHook('onSend', async (request, reply) => { reply.header('x-connected', String(request.webflowToken !== null)) })
        app.get('/opted-out', { config: { webflowToken: false } }, async () => 'page')
      }
    }))
    for (const isConnected of [false, true]) {
      if (isConnected) await connect(browser, webflow)
      const answer = await browser.get('/opted-out')
      t.equal(answer.statusCode, 200)
      t.equal(answer.headers['x-connected'], 'false')
      t.equal((await browser.get('/token')).headers['x-connected'], String(isConnected))
    }
  })
})

t.test('an app that signs its users in as late as `preValidation`', async (t) => {
  const signedIn = new WeakMap<FastifyRequest, string | null>()
  const ways: Record<string, NonNullable<WebflowOAuthOptions['identify']>> = {
    'whose `identify` names nobody before': (request) => signedIn.get(request) ?? null,
    'whose `identify` throws before': (request) => {
      if (!signedIn.has(request)) throw new TypeError('there is no session yet')
      return signedIn.get(request) ?? null
    },
    'whose `identify` is asynchronous': async (request) => signedIn.get(request) ?? null
  }
  for (const [name, identify] of Object.entries(ways)) {
    t.test(`${name}: handlers see the user's token all the same`, async (t) => {
      const webflow = await startWebflow(t)
      const browser = new Browser(await createApp(t, {
        webflow,
        options: { identify },
        after: (app) => {
          app.addHook('preValidation', async (request) => {
            const { 'x-user': user } = request.headers
            signedIn.set(request, typeof user === 'string' ? user : null)
          })
          app.get('/page', { preHandler: app.webflowOAuth.requireToken() }, async () => 'page')
          app.get('/validated', { preValidation: app.webflowOAuth.requireToken() }, async () => 'page')
          app.get('/validated/awaited', { preValidation: async (request, reply) => { await app.webflowOAuth.requireToken()(request, reply) } }, async () => 'page')
          app.get('/opted-out', { config: { webflowToken: false } }, async () => 'opted out')
        }
      }))
      const ada = { 'x-user': 'ada' }
      t.equal((await browser.get('/token', ada)).json().connected, false)
      t.equal((await connect(browser, webflow, { headers: ada })).statusCode, 303)
      t.equal((await browser.get('/token', ada)).json().connected, true)
      for (const url of ['/page', '/validated', '/validated/awaited']) t.equal((await browser.get(url, ada)).body, 'page')
      t.equal((await browser.get('/token', { 'x-user': 'bob' })).json().connected, false)
      t.equal((await browser.get('/token')).json().connected, false)
      t.equal((await browser.get('/page')).json().code, 'WEBFLOW_OAUTH_TOKEN_REQUIRED')
      t.equal((await browser.get('/opted-out', ada)).body, 'opted out')
    })
  }

  t.test('gets the error of its `identify`, which is not called again once it has named a user', async (t) => {
    let asked = 0
    const webflow = await startWebflow(t)
    const browser = new Browser(await createApp(t, {
      webflow,
      options: {
        identify: ({ headers }) => {
          asked++
          if (headers['x-user'] === undefined) throw new TypeError('never')
          return String(headers['x-user'])
        }
      }
    }))
    t.match((await browser.get('/token')).json(), misplaced)
    asked = 0
    t.equal((await browser.get('/token', { 'x-user': 'ada' })).statusCode, 200)
    t.equal(asked, 1)
  })
})

t.test('no rejection was left unhandled', async (t) => { t.strictSame(unhandled, []) })

t.test('no secret was logged', async (t) => { assertNothingLeaked(t) })

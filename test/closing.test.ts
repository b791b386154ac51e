import { connect as openSocket } from 'node:net'
import { mock } from 'node:test'
import { PassThrough } from 'node:stream'
import Fastify, { type FastifyInstance, type FastifyReply } from 'fastify'
import t, { type Test } from 'tap'
import { createParts } from '../lib/context.ts'
import { loadCookieCodec } from '../lib/http/cookies.ts'
import webflowOAuth from '../lib/index.ts'
import { resolveOptions } from '../lib/options/resolve.ts'
import { Closing } from '../lib/routes/closing.ts'
import { assertNothingLeaked, baseOptions, connect, createApp, startWebflow, type AppOptions } from './support/app.ts'
import { Browser, navigation } from './support/browser.ts'
import { logged, recordingLogger } from './support/logs.ts'
import { tick } from './support/clock.ts'
import { turns, until } from './support/turns.ts'

// Once for the whole file: a mocked timer that is cleared after a second `enable` would remove another timer.
mock.timers.enable({ apis: ['setTimeout'] })
t.teardown(() => { mock.timers.reset() })

/** `timeout`, twice `storeTimeout`, and 5 seconds. */
const bound = 10_000 + 2 * 1000 + 5000
const authorize = '/webflow/authorize?state=a-state&code=a-code'
const forever = () => new Promise<never>(() => {})

/** Moves the clock in small steps, between which promises go on. */
async function advance (milliseconds: number): Promise<void> {
  for (let left = milliseconds; left > 0; left -= 500) {
    tick(Math.min(left, 500))
    await turns()
  }
}

/** Closes an app that must not have closed before its time is over; resolves with what it logged. */
async function closeAtBound (t: Test, app: FastifyInstance): Promise<string> {
  const before = logged().length
  let isClosed = false
  const closing = app.close().then(() => { isClosed = true })
  await turns()
  await advance(bound - 1)
  t.equal(isClosed, false, 'closing waits')
  await advance(1)
  await closing
  return logged().slice(before)
}

t.test('a request that hangs gets 503 when the time for closing is over, wherever it hangs', async (t) => {
  let hung = 0
  const hang = () => {
    hung++
    return forever()
  }
  const hook = (name: 'preParsing' | 'preValidation' | 'preHandler' | 'onSend'): AppOptions => ({ before: (app) => { app.addHook(name, hang) } })
  const cases: Array<[string, AppOptions]> = [
    ['`identify`', { options: { identify: hang } }],
    ['`onFailure`', { before: (app) => { app.addHook('preHandler', async () => { throw new Error('refused') }) }, options: { onFailure: hang } }],
    ['preParsing', hook('preParsing')],
    ['preValidation', hook('preValidation')],
    ['preHandler', hook('preHandler')],
    ['onSend', hook('onSend')],
    ['a hijacked reply', {
      before: (app) => {
        app.addHook('preHandler', async (_request, reply) => {
          hung++
          reply.hijack()
        })
      }
    }]
  ]
  for (const [name, options] of cases) {
    hung = 0
    const app = await createApp(t, options)
    const person = new Browser(app).navigate(authorize)
    const program = new Browser(app).get(authorize)
    await until(() => hung === 2)
    const log = await closeAtBound(t, app)
    const [page, json] = await Promise.all([person, program])
    t.strictSame([page.statusCode, json.statusCode], [503, 503], name)
    t.match(page.headers['content-type'], 'text/html')
    t.match(page.body, '<a href="https://app.example.com/webflow/authorize">Try again</a>')
    t.match(page.headers['content-security-policy'], 'default-src')
    t.strictSame(json.json(), { statusCode: 503, error: 'Service Unavailable', message: 'The app is closing. Please try again in a moment.' })
    for (const { headers } of [page, json]) {
      t.equal(headers['cache-control'], 'no-store')
      t.equal(headers['referrer-policy'], 'no-referrer')
    }
    t.equal(log.split('"path":"/webflow/authorize","msg":"webflow-oauth: a request was still unanswered when the app closed').length - 1, 2, 'one line for each request, with its path')
    t.notMatch(log, /a-state|a-code/)
  }
})

t.test('a callback whose hook hangs gets 503 with its session cookie, and a link that keeps its `returnTo`', async (t) => {
  const webflow = await startWebflow(t)
  for (const name of ['beforeStore', 'onSuccess'] as const) {
    let isHung = false
    const app = await createApp(t, {
      webflow,
      options: {
        [name]: () => {
          isHung = true
          return forever()
        }
      }
    })
    const browser = new Browser(app)
    const pending = connect(browser, webflow, { path: '/webflow/authorize?returnTo=/welcome%3Fa=%22b' })
    await until(() => isHung)
    const log = await closeAtBound(t, app)
    const { statusCode, body } = await pending
    t.equal(statusCode, 503)
    t.match(body, '<a href="https://app.example.com/webflow/authorize?returnTo=https%3A%2F%2Fapp.example.com%2Fwelcome%3Fa%3D%2522b">Try again</a>')
    t.equal([...browser.cookies.keys()].includes('__Host-webflow'), name === 'onSuccess', 'the cookie is sent once the token is stored')
    t.match(log, '"tasks":1,"msg":"webflow-oauth: tasks were still running when the app closed')
  }
})

t.test('an app closes although its logger throws or a reply cannot be answered', async (t) => {
  const thrown: string[] = []
  let hung = 0
  const app = await createApp(t, {
    server: {
      logger: {
        level: 'trace',
        hooks: {
          logMethod (args, method) {
            const text = String(args.at(-1))
            if (!text.includes('when the app closed')) return Reflect.apply(method, this, args)
            thrown.push(text)
            throw new TypeError('a bug of the app')
          }
        },
        stream: { write: () => {} }
      }
    },
    before: (app) => {
      app.addHook('preHandler', async (request, reply) => {
        hung++
        if (request.headers['x-broken'] !== undefined) reply.hijack = () => { throw new Error('a bug of the app') }
        if (request.headers['x-logger'] !== undefined) {
          request.log = Object.assign(Object.create(request.log), { error: () => { throw new Error('a bug of the app') } })
        }
        await forever()
      })
    }
  })
  const address = await app.listen({ port: 0, host: '127.0.0.1' })
  const answers = ['broken', 'kept', 'logger'].map((name) => exchange(address, `GET ${authorize} HTTP/1.1\r\nx-${name}: 1`))
  await until(() => hung === 3)
  await closeAtBound(t, app)
  const [broken, kept, logger] = await Promise.all(answers)
  t.equal(broken, '', 'its socket is closed')
  t.match(kept, /^HTTP\/1.1 503 /)
  t.match(logger, /^HTTP\/1.1 503 /)
  t.ok(thrown.length > 0)
})

t.test('a revocation whose `onRevoke` hangs gets 503, and a link back to the app', async (t) => {
  const webflow = await startWebflow(t)
  let isHung = false
  const app = await createApp(t, {
    webflow,
    options: {
      onRevoke: () => {
        isHung = true
        return forever()
      }
    }
  })
  const browser = new Browser(app)
  await connect(browser, webflow)
  const pending = browser.request('/webflow/revoke', { method: 'POST', headers: navigation })
  await until(() => isHung)
  await closeAtBound(t, app)
  const { statusCode, body } = await pending
  t.equal(statusCode, 503)
  t.match(body, '<a href="https://app.example.com/">Try again</a>')
})

t.test('closing ends as soon as the last request has been answered', async (t) => {
  let goOn = () => {}
  const app = await createApp(t, { before: (app) => { app.addHook('preHandler', (_request, _reply, done) => { goOn = done }) } })
  const pending = new Browser(app).get('/webflow/authorize')
  await turns()
  const closing = app.close()
  await advance(bound - 500)
  goOn()
  t.equal((await pending).statusCode, 302)
  await closing
})

t.test('a hook or handler that continues after the 503 breaks nothing and logs no URL', async (t) => {
  const webflow = await startWebflow(t)
  const rejected: unknown[] = []
  const onRejection = (reason: unknown) => { rejected.push(reason) }
  process.on('unhandledRejection', onRejection)
  t.teardown(() => { process.off('unhandledRejection', onRejection) })

  let wake: Array<(error?: Error) => void> = []
  let late: FastifyReply | undefined
  const sleep = () => new Promise<void>((resolve, reject) => { wake.push((error) => { error === undefined ? resolve() : reject(error) }) })
  const ways: Array<[string, AppOptions]> = [
    ['a hook that answers', {
      options: {
        onSuccess: async (_token, _request, reply) => {
          await sleep()
          return reply.send('late')
        }
      }
    }],
    ['a handler that continues', { options: { beforeStore: sleep } }],
    ['an asynchronous `onSend`', { after: (app) => { app.addHook('onSend', async (request) => { if (request.url.includes('callback')) await sleep() }) } }],
    ['an `onSend` with a callback', {
      after: (app) => {
        app.addHook('onSend', (request, _reply, _payload, done) => {
          if (request.url.includes('callback')) sleep().then(() => { done() }, done)
          else done()
        })
      }
    }],
    ['a `preHandler` that answers', {
      after: (app) => {
        app.addHook('preHandler', async (request, reply) => {
          if (!request.url.includes('callback')) return
          late = reply
          await sleep()
          return reply.send('late')
        })
      }
    }],
    ['a `preHandler` that fails', { after: (app) => { app.addHook('preHandler', async (request) => { if (request.url.includes('callback')) await sleep() }) } }]
  ]
  for (const [name, options] of ways) {
    for (const error of [undefined, new Error('late')]) {
      wake = []
      const app = await createApp(t, { webflow, ...options })
      const pending = connect(new Browser(app), webflow)
      await until(() => wake.length > 0)
      const before = logged().length
      await closeAtBound(t, app)
      t.equal((await pending).statusCode, 503, name)
      for (const each of wake) each(error)
      await turns()
      t.notMatch(logged().slice(before), /state=|already sent/)
    }
  }
  t.ok(late)
  t.strictSame(rejected, [])
})

/** Sends a request over a socket of its own; resolves with all that came back until the server closed the socket. */
function exchange (address: string, head: string): Promise<string> {
  return new Promise((resolve) => {
    let text = ''
    const socket = openSocket(Number(new URL(address).port), '127.0.0.1', () => { socket.write(`${head}\r\nhost: app.example.com\r\n\r\n`) })
    socket.on('data', (chunk) => { text += String(chunk) })
    socket.on('error', () => {})
    socket.on('close', () => { resolve(text) })
  })
}

t.test('no socket stays open after closing', async (t) => {
  let hung = 0
  const endless = new PassThrough()
  endless.write('begun')
  const app = await createApp(t, {
    before: (app) => {
      app.addHook('preHandler', async (request, reply) => {
        hung++
        if (request.headers.accept === 'stream') return reply.send(endless)
        if (request.headers.accept === 'broken') reply.raw.setHeader = () => { throw new Error('no header') }
        await forever()
      })
    }
  })
  const address = await app.listen({ port: 0, host: '127.0.0.1' })
  const answers = ['json', 'stream', 'broken'].map((accept) => exchange(address, `GET /webflow/authorize HTTP/1.1\r\naccept: ${accept}`))
  await until(() => hung === 3)
  await closeAtBound(t, app)
  const [json = '', stream = '', broken = ''] = await Promise.all(answers)
  t.match(json, /^HTTP\/1.1 503 /)
  t.match(json, /connection: close/i)
  t.match(stream, /^HTTP\/1.1 200 [^]*begun/, 'an answer that has begun can only be cut off')
  t.equal(broken, '')
  t.ok(endless.destroyed)
})

t.test('a connection that closed before the hooks of the route ran does not delay closing', async (t) => {
  const requests: Array<{ closed: boolean, goOn: () => void }> = []
  const app = await createApp(t, {
    before: (app) => {
      app.addHook('onRequest', (_request, reply, done) => {
        const request = { closed: false, goOn: done }
        requests.push(request)
        reply.raw.on('close', () => { request.closed = true })
      })
    }
  })
  const { port } = new URL(await app.listen({ port: 0, host: '127.0.0.1' }))
  const socket = openSocket(Number(port), '127.0.0.1')
  socket.write(`GET ${authorize} HTTP/1.1\r\nhost: app.example.com\r\n\r\n`)
  await until(() => requests.length === 1)
  socket.destroy()
  await until(() => requests.every(({ closed }) => closed))
  const before = logged().length
  for (const { goOn } of requests) goOn()
  await app.close()
  t.notMatch(logged().slice(before), /unanswered/)
})

t.test('headers of an unfinished answer do not break the 503', async (t) => {
  let isHung = false
  const app = await createApp(t, {
    before: (app) => {
      app.addHook('onSend', (_request, reply) => {
        reply.headers({ 'content-encoding': 'gzip', 'content-length': 3, location: '/elsewhere', 'x-empty': undefined, 'x-kept': 'yes' })
        isHung = true
      })
    }
  })
  const pending = new Browser(app).get('/webflow/authorize')
  await until(() => isHung)
  await closeAtBound(t, app)
  const { statusCode, headers, location } = await pending
  t.equal(statusCode, 503)
  t.equal(headers['content-encoding'], undefined)
  t.equal(location, null)
  t.equal(headers['x-kept'], 'yes')
})

t.test('tasks that hang do not keep an app from closing', async (t) => {
  for (const pluginTimeout of [0, 10_000]) {
    const app = Fastify({ logger: recordingLogger, pluginTimeout })
    const parts = createParts(resolveOptions(baseOptions(null), ''), app.log, await loadCookieCodec(app))
    new Closing(parts, app).addHooks(app)
    parts.background.add(forever())
    await app.ready()
    t.match(await closeAtBound(t, app), '"tasks":1')
  }
})

t.test('closing waits for a task that begins while the server closes', async (t) => {
  const app = Fastify()
  const parts = createParts(resolveOptions(baseOptions(null), ''), app.log, await loadCookieCodec(app))
  let finish = () => {}
  new Closing(parts, app).addHooks(app)
  app.addHook('onClose', async () => { parts.background.add(new Promise<void>((resolve) => { finish = resolve })) })
  await app.ready()
  let isClosed = false
  const closing = app.close().then(() => { isClosed = true })
  await advance(1000)
  t.equal(isClosed, false)
  finish()
  await closing
})

t.test('two instances on one server share the time for closing', async (t) => {
  let hung = 0
  const hang = () => {
    hung++
    return forever()
  }
  const app = Fastify({ logger: recordingLogger })
  for (const name of ['us', 'eu']) {
    await app.register(async (scope) => {
      await scope.register(webflowOAuth, { ...baseOptions(null), redirectUri: `https://app.example.com/${name}/callback`, cookieName: name, identify: hang })
    }, { prefix: name })
  }
  await app.ready()
  const pending = [new Browser(app).get('/us/authorize'), new Browser(app).get('/eu/authorize')]
  await until(() => hung === 2)
  await closeAtBound(t, app)
  for (const { statusCode } of await Promise.all(pending)) t.equal(statusCode, 503)
})

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

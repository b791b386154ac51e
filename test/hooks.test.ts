import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { mock } from 'node:test'
import { Readable } from 'node:stream'
import t, { type Test } from 'tap'
import { WebflowOAuthError, type WebflowOAuthOptions } from '../lib/index.ts'
import { assertNothingLeaked, connect, createApp, startWebflow, type AppOptions } from './support/app.ts'
import { Browser, type Answer } from './support/browser.ts'
import { logged } from './support/logs.ts'
import { tick } from './support/clock.ts'
import { turn, turns, until } from './support/turns.ts'

const broken = '/webflow/callback?state=nonsense&code=x'
type Hook = (request: FastifyRequest, reply: FastifyReply) => unknown

/** What was logged while something ran. */
async function logOf<T> (run: () => Promise<T>): Promise<{ result: T, log: string }> {
  const before = logged().length
  const result = await run()
  return { result, log: logged().slice(before) }
}

/** A way to the usual answer, and that answer. */
interface Way {
  name: 'onSuccess' | 'onFailure'
  options: (hook: Hook) => Partial<WebflowOAuthOptions>
  open: (browser: Browser) => Promise<Answer>
  status: number
}

async function waysOf (t: Test): Promise<{ ways: Way[], createWith: (way: Way, hook: Hook, after?: (app: FastifyInstance) => unknown) => Promise<Browser> }> {
  const webflow = await startWebflow(t)
  const onFailure = (hook: Hook): Partial<WebflowOAuthOptions> => ({ onFailure: (_error, request, reply) => hook(request, reply) })
  const ways: Way[] = [
    { name: 'onSuccess', options: (hook) => ({ onSuccess: (_token, request, reply) => hook(request, reply) }), open: (browser) => connect(browser, webflow, { path: '/webflow/authorize?returnTo=/welcome' }), status: 303 },
    { name: 'onFailure', options: onFailure, open: (browser) => browser.navigate(broken), status: 400 },
    { name: 'onFailure', options: onFailure, open: (browser) => browser.get(broken), status: 400 }
  ]
  const createWith = async (way: Way, hook: Hook, after?: (app: FastifyInstance) => unknown) => new Browser(await createApp(t, { webflow, options: way.options(hook), ...(after === undefined ? {} : { after }) }))
  return { ways, createWith }
}

/** Opens a page whose hook is given up on after 500 ms, by a clock that the test moves. */
async function giveUp (t: Test, browser: Browser, way: Way, isReached: () => boolean): Promise<Answer> {
  let isAnswered = false
  const pending = way.open(browser).finally(() => { isAnswered = true })
  await until(isReached)
  tick(499)
  await turns()
  t.equal(isAnswered, false, 'the hook has 500 ms')
  tick(1)
  return await pending
}

// Once for the whole file: a mocked timer that is cleared after a second `enable` would remove another timer.
mock.timers.enable({ apis: ['setTimeout'] })
t.teardown(() => { mock.timers.reset() })

t.test('a hook that returns the reply and sends nothing gets the usual answer after 500 ms', async (t) => {
  const { ways, createWith } = await waysOf(t)
  const returns: Array<[string, Hook]> = [
    ['returns it', (_request, reply) => reply.header('x-hook', 'seen').code(418)],
    ['returns it later', async (_request, reply) => reply.header('x-hook', 'seen').code(418)],
    ['awaits it', async (_request, reply) => { await reply.header('x-hook', 'seen').code(418) }]
  ]
  for (const way of ways) {
    for (const [name, hook] of returns) {
      let isReached = false
      const browser = await createWith(way, (request, reply) => {
        isReached = true
        return hook(request, reply)
      })
      const { result, log } = await logOf(() => giveUp(t, browser, way, () => isReached))
      t.equal(result.statusCode, way.status, `${way.name} ${name}: the usual status`)
      t.equal(result.headers['x-hook'], 'seen', 'the headers of the hook stay')
      t.match(log, `webflow-oauth: \`${way.name}\` returned the reply but sent nothing within 500 ms`)
      if (way.name === 'onSuccess') {
        t.equal(result.location, 'https://app.example.com/welcome')
        t.equal((await browser.get('/token')).json().connected, true)
      }
    }
  }
})

t.test('after a hook that sent nothing the flow has ended, so that its callback can be repeated and the app can close', async (t) => {
  const webflow = await startWebflow(t)
  let calls = 0
  const app = await createApp(t, {
    webflow,
    options: {
      onSuccess (_token, _request, reply) {
        calls++
        return reply.header('x', 'y')
      }
    }
  })
  const browser = new Browser(app)
  const url = await webflow.approve(String((await browser.navigate('/webflow/authorize?returnTo=/welcome')).location))
  const again = browser.clone()
  const first = browser.navigate(url)
  await until(() => calls > 0)
  tick(500)
  t.equal((await first).location, 'https://app.example.com/welcome')
  t.equal((await again.navigate(url)).location, 'https://app.example.com/welcome')
  t.equal(calls, 1)
  await app.close()
})

t.test('a hook that returns the reply may send within 500 ms', async (t) => {
  const { ways, createWith } = await waysOf(t)
  const sends: Array<[string, Hook]> = [
    ['a text in the next turn', (_request, reply) => {
      setImmediate(() => { reply.code(202).send('mine') })
      return reply
    }],
    ['a stream', async (_request, reply) => {
      setImmediate(() => { reply.code(202).send(Readable.from(['mi', 'ne'])) })
      return reply
    }],
    ['a text after a while, awaited', async (_request, reply) => {
      setTimeout(() => { reply.code(202).send('mine') }, 499)
      await reply
    }],
    ['by `reply.raw`', (_request, reply) => {
      setTimeout(() => { reply.hijack().raw.writeHead(202).end('mine') }, 499)
      return reply
    }]
  ]
  for (const way of ways) {
    for (const [name, hook] of sends) {
      let isReached = false
      const browser = await createWith(way, (request, reply) => {
        isReached = true
        return hook(request, reply)
      })
      const { result, log } = await logOf(async () => {
        const pending = way.open(browser)
        await until(() => isReached)
        tick(499)
        await turns()
        tick(5000)
        return await pending
      })
      t.equal(result.statusCode, 202, `${way.name} ${name}`)
      t.equal(result.body, 'mine')
      t.notMatch(log, /sent nothing|too late/)
    }
  }
})

t.test('a hook may answer in every way that Fastify offers', async (t) => {
  const { ways, createWith } = await waysOf(t)
  const answers: Array<[string, Hook, number, RegExp]> = [
    ['sends', (_request, reply) => { reply.code(202).send('mine') }, 202, /^mine$/],
    ['returns what it sent', (_request, reply) => reply.code(202).send('mine'), 202, /^mine$/],
    ['awaits what it sends', async (_request, reply) => {
      await reply.code(202).send('mine')
      await turn()
    }, 202, /^mine$/],
    ['redirects', async (_request, reply) => reply.redirect('/mine'), 302, /^$/],
    ['hijacks', (_request, reply) => { reply.hijack().raw.writeHead(202).end('mine') }, 202, /^mine$/],
    ['hijacks and returns the reply', (_request, reply) => {
      reply.hijack().raw.writeHead(202).end('mine')
      return reply
    }, 202, /^mine$/],
    ['writes without hijacking', (_request, reply) => {
      reply.raw.writeHead(202).write('mi')
      setImmediate(() => { reply.raw.end('ne') })
    }, 202, /^mine$/],
    ['writes without hijacking and returns the reply', async (_request, reply) => {
      reply.raw.writeHead(202).write('mi')
      setImmediate(() => { reply.raw.end('ne') })
      return reply
    }, 202, /^mine$/],
    ['finds nothing', (_request, reply) => { reply.callNotFound() }, 404, /Not Found/],
    ['throws after sending', (_request, reply) => {
      reply.code(202).send('mine')
      throw new Error('a bug of the app')
    }, 202, /^mine$/],
    ['sends twice', (_request, reply) => {
      reply.code(202).send('mine')
      reply.send('again')
    }, 202, /^mine$/]
  ]
  for (const way of ways) {
    for (const [name, hook, statusCode, body] of answers) {
      const answer = await way.open(await createWith(way, hook, (app) => { app.setNotFoundHandler((_request, reply) => { reply.code(404).send('Not Found') }) }))
      t.equal(answer.statusCode, statusCode, `${way.name} ${name}`)
      t.match(answer.body, body)
    }
  }
})

const dropped = 'webflow-oauth: an answer came too late and was dropped'

t.test('an answer that a hook sends after its 500 ms is dropped, and nothing of the request is logged', async (t) => {
  const { ways, createWith } = await waysOf(t)
  for (const way of ways) {
    let late: FastifyReply | undefined
    const browser = await createWith(way, (_request, reply) => {
      late = reply
      return reply
    })
    const { log } = await logOf(async () => {
      const answer = await giveUp(t, browser, way, () => late !== undefined)
      t.equal(answer.statusCode, way.status, way.name)
      late?.code(202).send('late')
      late?.redirect('/late')
      late?.send(new Error('late'))
      await turns()
    })
    t.equal(log.split(dropped).length - 1, 3)
    t.match(log, `"hook":"${way.name}"`)
    t.notMatch(log, /state=|already sent/)
  }
})

t.test('a late answer of a hook is dropped while the usual answer is being sent, and a stream is closed', async (t) => {
  const { ways, createWith } = await waysOf(t)
  // A page and a redirect are the plugin's own; what goes to an error handler may be answered by anybody.
  for (const way of ways.slice(0, 2)) {
    let late: FastifyReply | undefined
    let sendings = 0
    const file = Readable.from(['late'])
    const browser = await createWith(way, (_request, reply) => {
      late = reply
      return reply
    }, (app) => {
      app.addHook('onSend', async (request) => {
        if (request !== late?.request) return
        sendings++
        await turn()
        late.send('late')
        late.send(new Error('late'))
        late.send(file)
        await turn()
      })
    })
    const answer = await giveUp(t, browser, way, () => late !== undefined)
    t.equal(answer.statusCode, way.status, way.name)
    t.notMatch(answer.body, /^late/)
    t.equal(sendings, 1, 'another answer was being sent')
    t.ok(file.destroyed, 'a stream that nobody reads is closed')
  }
})

t.test('a hook that returns without the reply can no longer answer', async (t) => {
  const { ways, createWith } = await waysOf(t)
  for (const way of ways) {
    let isLate = false
    const browser = await createWith(way, (_request, reply) => {
      setTimeout(() => {
        isLate = true
        reply.code(202).send('late')
      }, 10)
    })
    const { log } = await logOf(async () => {
      t.equal((await way.open(browser)).statusCode, way.status, way.name)
      tick(10)
    })
    t.ok(isLate)
    t.match(log, dropped)
    t.notMatch(log, 'state=')
  }
})

t.test('a hook that throws after its 500 ms is logged', async (t) => {
  const { ways: [way], createWith } = await waysOf(t)
  if (way === undefined) return t.fail('there is a way')
  let isReached = false
  const browser = await createWith(way, async (_request, reply) => {
    isReached = true
    await reply
    throw new RangeError('free text')
  })
  const { log } = await logOf(async () => {
    t.equal((await giveUp(t, browser, way, () => isReached)).statusCode, 303)
    await turns()
  })
  t.match(log, '`onSuccess` threw an error')
  t.notMatch(log, 'free text')
})

t.test('a logger that throws delays no answer and does not end the process', async (t) => {
  const webflow = await startWebflow(t)
  const rejected: unknown[] = []
  const onRejection = (reason: unknown) => { rejected.push(reason) }
  process.on('unhandledRejection', onRejection)
  t.teardown(() => { process.off('unhandledRejection', onRejection) })
  const thrown: string[] = []
  const fail = (text: unknown): never => {
    thrown.push(String(text))
    throw new TypeError('a bug of the app')
  }
  let late: FastifyReply | undefined
  const options: Partial<WebflowOAuthOptions> = {
    onSuccess: () => { throw new Error('a bug of the app') },
    onFailure: (_error, _request, reply) => {
      late = reply
      setTimeout(() => { reply.send('late') }, 10)
      throw new Error('a bug of the app')
    }
  }
  const loggers: Array<[string, AppOptions, RegExp]> = [
    ['a serializer', { server: { logger: { level: 'trace', stream: { write: () => {} }, serializers: { err: (error) => ({ type: '', message: '', stack: '', sql: Reflect.get(error, 'query').text }) } } } }, /^$/],
    ['each line of the plugin', {
      server: { logger: { level: 'trace', stream: { write: () => {} }, hooks: { logMethod (args, method) { String(args.at(-1)).startsWith('webflow-oauth') ? fail(args.at(-1)) : Reflect.apply(method, this, args) } } } }
    }, /`onSuccess` threw[^]*`onFailure` threw[^]*came too late/],
    ['another logger that the app has put into the request', {
      server: { logger: false },
      before: (app) => {
        app.addHook('onRequest', async (request, reply) => {
          const { log } = request
          const broken: FastifyBaseLogger = Object.assign(Object.create(log), { error: (_: unknown, text: unknown) => fail(text), warn: (_: unknown, text: unknown) => fail(text) })
          request.log = broken
          reply.log = broken
        })
      }
    }, /`onSuccess` threw[^]*`onFailure` threw[^]*came too late/]
  ]
  for (const [name, how, expected] of loggers) {
    const app = await createApp(t, { webflow, options, ...how })
    thrown.length = 0
    late = undefined
    t.equal((await connect(new Browser(app), webflow)).statusCode, 303, name)
    t.equal((await new Browser(app).navigate(broken)).statusCode, 400)
    t.ok(late)
    tick(10)
    await turns()
    t.match(thrown.join('\n'), expected)
  }
  t.strictSame(rejected, [])
})

t.test('`onFailure` may answer if `onSuccess` did not', async (t) => {
  const webflow = await startWebflow(t)
  const app = await createApp(t, {
    webflow,
    options: {
      // No server sends such a header.
      onSuccess: (_token, _request, reply) => { reply.header('x-broken', 'a\nb') },
      onFailure: async (_error, _request, reply) => {
        await turn()
        return reply.removeHeader('x-broken').code(202).send('mine')
      }
    }
  })
  const answer = await connect(new Browser(app), webflow)
  t.equal(answer.statusCode, 202)
  t.equal(answer.body, 'mine')
})

t.test('an error handler of the app answers after an `onFailure` that sent nothing', async (t) => {
  let isReached = false
  const app = await createApp(t, {
    options: {
      onFailure (_error, _request, reply) {
        isReached = true
        return reply.code(418)
      }
    },
    after: (app) => { app.setErrorHandler((error, _request, reply) => { reply.send({ problem: error instanceof WebflowOAuthError && error.code, status: reply.statusCode }) }) }
  })
  const pending = new Browser(app).get(broken)
  await until(() => isReached)
  tick(500)
  t.strictSame((await pending).json(), { problem: 'WEBFLOW_OAUTH_STATE_INVALID', status: 200 }, 'the status is what it was before the hook')
})

t.test('an error handler of the app may answer later, even if another hook or the page itself fails', async (t) => {
  const fail: Record<string, (app: FastifyInstance) => unknown> = {
    onRequest: (app) => app.addHook('onRequest', async () => { throw new Error('a bug of the app') }),
    onSend: (app) => app.addHook('onSend', async (_request, reply) => { if (String(reply.getHeader('content-type')).startsWith('text/html')) throw new Error('a bug of the app') })
  }
  for (const [name, before] of Object.entries(fail)) {
    const app = await createApp(t, {
      before,
      options: { onFailure: () => {} },
      after: (app) => {
        app.setErrorHandler(async (_error, _request, reply) => {
          await turn()
          return reply.code(499).send({ mine: true })
        })
      }
    })
    const browser = new Browser(app)
    const answer = name === 'onSend' ? await browser.navigate(broken) : await browser.get(broken)
    t.equal(answer.statusCode, 499, name)
    t.strictSame(answer.json(), { mine: true })
  }
})

t.test('a request that exceeds Fastify\'s `handlerTimeout` is answered once, no matter how its handler ends', async (t) => {
  const webflow = await startWebflow(t)
  for (const name of ['onSuccess', 'beforeStore'] as const) {
    let isReached = false
    let failures = 0
    const app = await createApp(t, {
      webflow,
      before: (app) => { app.addHook('onRoute', (route) => { if (route.url === '/webflow/callback') route.handlerTimeout = 300 }) },
      options: {
        [name]: async () => {
          isReached = true
          await new Promise((resolve) => { setTimeout(resolve, 400) })
          throw new Error('a bug of the app')
        },
        onFailure: async () => {
          failures++
          await new Promise((resolve) => { setTimeout(resolve, 400) })
        }
      }
    })
    const pending = connect(new Browser(app), webflow)
    await until(() => isReached)
    for (const step of [300, 100, 300, 400]) {
      tick(step)
      await turns()
    }
    const answer = await pending
    t.equal(answer.statusCode, 503, name)
    t.match(answer.headers['content-type'], 'text/html')
    t.equal(failures, 1)
  }
})

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

import { once } from 'node:events'
import { request as sendRequest } from 'node:http'
import { mock } from 'node:test'
import { inspect, types } from 'node:util'
import Fastify, { type FastifyBaseLogger, type FastifyInstance, type FastifyReply, type FastifyServerOptions } from 'fastify'
import t, { type Test } from 'tap'
import { MemoryStore } from '../lib/index.ts'
import { createCleaner, Redaction } from '../lib/routes/redaction.ts'
import type { Simulator } from '../lib/simulator/index.ts'
import { connect, createApp, startWebflow, withoutRequestLogs } from './support/app.ts'
import { Browser, navigation } from './support/browser.ts'

const callbackPath = '/webflow/callback'

/** Reads whatever can be read from a value: members of all kinds, inherited ones too, and what methods without arguments tell. */
function readAll (root: unknown): string {
  const texts: string[] = []
  const seen = new Set<unknown>([root])
  for (const value of seen) {
    if (typeof value === 'string') texts.push(value)
    if (typeof value !== 'object' || value === null || seen.size > 1500) continue
    for (let owner: object | null = value; owner !== null && owner !== Object.prototype; owner = Object.getPrototypeOf(owner)) {
      for (const key of Reflect.ownKeys(owner)) {
        if (key === 'server' || key === 'constructor') continue
        try {
          const member: unknown = Reflect.get(value, key)
          texts.push(String(key))
          seen.add(typeof member === 'function' && /^(?:get(?:Raw)?Headers|to(?:String|JSON|ISOString)|entries)$/.test(String(key)) ? Reflect.apply(member, value, []) : member)
        } catch {}
      }
    }
  }
  return texts.join('\n')
}

/** A serializer that prints all that it can reach. It reads the deprecated members too, of which Node and Fastify would warn. */
function printAll (value: object) {
  process.noDeprecation = true
  const printed = { read: readAll(value), inspected: inspect(value, { depth: 6, showHidden: true, getters: true }), json: toJson(value) }
  process.noDeprecation = false
  return printed
}

/** A serializer of a reply that prints where the secrets of a flow are. */
const printReply = (reply: FastifyReply) => {
  const { request } = reply
  return {
    url: request?.url,
    originalUrl: request?.originalUrl,
    raw: request?.raw.url,
    incoming: Reflect.get(Object(reply.raw), 'req')?.url,
    headers: reply.getHeaders?.(),
    location: reply.getHeader?.('Location'),
    cookies: reply.getHeader?.('Set-Cookie'),
    referer: request?.raw.rawHeaders,
    block: Reflect.get(Object(reply.raw), '_header'),
    query: request?.query
  }
}

function toJson (value: unknown): string {
  const seen = new Set<unknown>()
  return JSON.stringify(value, (key, member: unknown) => {
    if (key === 'server' || seen.has(member) || seen.size > 3000) return undefined
    if (typeof member === 'object' && member !== null) seen.add(member)
    return member
  })
}

type Write = (line: string) => void

const streamTo = (write: Write) => ({ write })

/** The loggers that an app may have. */
const loggers: Record<string, (write: Write) => { server: FastifyServerOptions, before?: (app: FastifyInstance) => void, after?: (app: FastifyInstance) => void, options?: object, expected?: string }> = {
  'Fastify\'s own': (write) => ({ server: { logger: { level: 'trace', stream: streamTo(write) } } }),
  'one whose serializers print all that they reach': (write) => ({
    server: { logger: { level: 'trace', stream: streamTo(write), serializers: { req: (request) => printAll(request), res: (reply) => printAll(reply), err: (error) => ({ type: 'x', message: '', stack: '', ...printAll(error) }) } } }
  }),
  'one whose serializers print headers, cookies and URLs': (write) => ({
    server: { logger: { level: 'trace', stream: streamTo(write), serializers: { req: (request) => ({ query: Reflect.get(request, 'query'), url: request.url, original: request.originalUrl, raw: request.raw.url, headers: request.headers, list: request.raw.rawHeaders }), res: (reply) => printReply(Object(reply)) } } }
  }),
  'one whose formatter prints everything': (write) => ({
    server: { logger: { level: 'trace', stream: streamTo(write), formatters: { log: (line: object) => ({ dump: printAll(line), text: inspect(line, { depth: null }) }) } } }
  }),
  'one whose formatter and redaction change what they are given': (write) => ({
    server: {
      logger: {
        level: 'trace',
        stream: streamTo(write),
        redact: ['req.headers.host', 'req.url'],
        serializers: { req: (request) => Object(request), res: (reply) => Object.assign(reply, { note: reply.statusCode }) && printReply(Object(reply)) },
        formatters: { log: (line: Record<string, unknown>) => Object.assign(line, { extra: 1 }) }
      }
    }
  }),
  'an instance': (write) => ({ server: { logger: false, loggerInstance: Fastify({ logger: { level: 'trace', stream: streamTo(write), serializers: { req: printAll, res: printAll } } }).log } }),
  'one with levels of its own': (write) => ({
    server: { logger: { level: 'trace', stream: streamTo(write), customLevels: { audit: 35 } } },
    before: (app) => { app.addHook('onRequest', async ({ log, raw, url }) => { Reflect.apply(Reflect.get(log, 'audit'), log, [{ raw }, `audited ${url}`]) }) }
  }),
  'a frozen object': (write) => {
    const log = (...args: unknown[]) => write(args.map((arg) => typeof arg === 'string' ? arg : inspect(arg, { depth: 8 })).join(' '))
    const logger: FastifyBaseLogger = Object.freeze({
      level: 'trace',
      fatal: log,
      error: log,
      warn: log,
      info: log,
      debug: log,
      trace: log,
      silent: log,
      child: (bindings: object) => {
        log(bindings)
        return logger
      }
    })
    return { server: { logger: false, loggerInstance: logger } }
  },
  'children of the app\'s making': (write) => ({
    server: { logger: { level: 'trace', stream: streamTo(write) } },
    before: (app) => {
      app.setChildLoggerFactory(function (logger, bindings, options, raw) {
        return logger.child({ scope: this.prefix, ...bindings, url: raw.url, raw: printAll(raw) }, { ...options, msgPrefix: `${raw.url}: ` })
      })
    },
    expected: '"msg":"/webflow/callback: '
  }),
  'children whose making the app has changed since': (write) => ({
    server: { genReqId: ({ url }) => url ?? '', logger: { level: 'trace', stream: streamTo(write) } },
    after: (app) => { app.setChildLoggerFactory((logger, bindings, options, raw) => logger.child({ ...bindings, url: raw.url }, options)) },
    expected: '"url":"/webflow/callback"'
  }),
  'children that the app gives each route, from another logger': (write) => {
    const { log } = Fastify({ logger: { level: 'trace', stream: streamTo(write) } })
    return {
      server: { logger: { level: 'trace', stream: streamTo(write) } },
      before: (app) => { app.addHook('onRoute', (route) => { route.childLoggerFactory = (_logger, bindings, _options, raw) => log.child({ ...bindings, given: raw.url }) }) },
      expected: '"given":"/webflow/callback"'
    }
  },
  'serializers and a level of `register`': (write) => ({
    server: { logger: { level: 'error', stream: streamTo(write) } },
    options: { logLevel: 'trace', logSerializers: { req: printAll, res: printReply } }
  }),
  'one that tells of no requests': (write) => ({ server: { ...withoutRequestLogs, logger: { level: 'trace', stream: streamTo(write) } } })
}

/** What may happen to a callback. */
interface Situation {
  before?: (app: FastifyInstance) => void
  request?: { method?: 'HEAD', headers?: Record<string, string> }
  denies?: boolean
}

const situations: Record<string, Situation> = {
  'a callback': {},
  'a callback that is denied': { denies: true },
  'a look ahead': { request: { method: 'HEAD' } },
  'a prefetch': { request: { headers: { 'sec-purpose': 'prefetch' } } },
  'a program without cookies': { request: { headers: { cookie: 'a=b' } } },
  'callNotFound in onRequest': { before: (app) => { app.addHook('onRequest', async (request, reply) => { if (request.url.startsWith(callbackPath)) return reply.callNotFound() }) } },
  'callNotFound in preHandler': { before: (app) => { app.addHook('preHandler', async (request, reply) => { if (request.url.startsWith(callbackPath)) return reply.callNotFound() }) } },
  'an answer that is sent twice': {
    before: (app) => {
      app.addHook('onRequest', (request, reply, done) => {
        if (!request.url.startsWith(callbackPath)) return done()
        reply.send('one')
        reply.send('two')
      })
    }
  },
  'an answer before the hook is over': {
    before: (app) => {
      app.addHook('preHandler', async (request, reply) => {
        if (request.url.startsWith(callbackPath)) reply.send('early')
      })
      app.addHook('onSend', async () => { await new Promise((resolve) => { setImmediate(resolve) }) })
    }
  },
  'an early 429 by an error': {
    before: (app) => { app.addHook('onRequest', async (request) => { if (request.url.startsWith(callbackPath)) throw Object.assign(new Error(`too many requests for ${request.url}`), { statusCode: 429, url: request.url }) }) }
  },
  'an early 429 by an answer': {
    before: (app) => { app.addHook('onRequest', async (request, reply) => { if (request.url.startsWith(callbackPath)) return await reply.code(429).send({ url: request.url }) }) }
  },
  'an error of a hook that quotes the URL': {
    before: (app) => {
      app.addHook('preHandler', async (request) => {
        if (!request.url.startsWith(callbackPath)) return
        const cause = Object.assign(new TypeError(`cannot read "${request.originalUrl}"`), { request })
        throw Object.assign(new Error(`failed at '${request.url}'`, { cause }), { errors: [cause], query: request.query })
      })
    }
  },
  'a hook that logs by itself': {
    before: (app) => {
      app.addHook('preHandler', async (request, reply) => {
        if (!request.url.startsWith(callbackPath)) return
        const { url, query, headers, raw } = request
        request.log.warn({ url, query, headers, request, reply, raw, map: new Map([['url', url]]), encoded: encodeURIComponent(url) }, `at ${url} now`)
        request.log.child({ url, query }).child({}, { msgPrefix: url }).error(new RangeError(url))
        request.log.fatal(raw)
        request.log.info({ [url]: 1, deep: [{ [url]: { [url]: url } }] })
        request.log.debug('%s and %j', url, { query })
        reply.log.info(reply.raw)
      })
    }
  }
}

/** Takes a browser through a flow; resolves with all secrets of it. */
async function act (browser: Browser, webflow: Simulator, { denies = false, request = {} }: Situation): Promise<string[]> {
  const begun = await browser.navigate('/webflow/authorize')
  const url = await (denies ? webflow.deny(String(begun.location)) : webflow.approve(String(begun.location)))
  const { searchParams } = new URL(url)
  const answer = await browser.request(url, { ...request, headers: { ...navigation, referer: url, authorization: 'Bearer a-secret-of-the-app', ...request.headers } })
  const cookies = [...begun.cookies, ...answer.cookies].map(({ value }) => value)
  return [...searchParams.getAll('code'), ...searchParams.getAll('state'), ...cookies, 'a-secret-of-the-app'].filter((value) => value !== '')
}

function findLeaks (text: string, secrets: readonly string[]): string[] {
  return secrets.filter((secret) => text.includes(secret) || text.includes(encodeURIComponent(secret)))
    .map((secret) => text.slice(text.indexOf(secret) - 200, text.indexOf(secret) + 20))
}

async function run (t: Test, webflow: Simulator, createLogger: (typeof loggers)[string], situation: Situation): Promise<{ text: string, secrets: string[], expected: string }> {
  const lines: string[] = []
  const { server, options = {}, expected = callbackPath, before, after } = createLogger((line) => { lines.push(line) })
  const app = await createApp(t, {
    webflow,
    server,
    options,
    before: (app) => {
      before?.(app)
      situation.before?.(app)
    },
    after: (app) => after?.(app)
  })
  const secrets = await act(new Browser(app), webflow, situation)
  return { text: lines.join('\n'), secrets, expected }
}

for (const [name, createLogger] of Object.entries(loggers)) {
  t.test(`no code, state or cookie reaches the log: ${name}`, async (t) => {
    const webflow = await startWebflow(t)
    for (const [title, situation] of Object.entries(situations)) {
      const { text, secrets, expected } = await run(t, webflow, createLogger, situation)
      t.ok(secrets.length >= 3 && (name === 'one that tells of no requests' || text.includes(expected)), 'there are secrets, and lines about the callback')
      t.strictSame(findLeaks(text, secrets), [], title)
    }
  })
}

t.test('no code or state reaches the log when a request is aborted or takes too long on a real socket', async (t) => {
  const lines: string[] = []
  const secrets = ['code-of-the-aborted-request', 'state-of-the-aborted-request']
  const ended: Array<() => void> = []
  const app = await createApp(t, {
    server: { logger: { level: 'trace', stream: streamTo((line) => lines.push(line)), serializers: { req: printAll, res: printAll } } },
    before: (app) => {
      app.addHook('onRequest', async ({ headers, raw }) => {
        if (headers['x-hangs'] === undefined) return
        raw.socket.emit('timeout')
        await new Promise<void>((resolve) => { ended.push(resolve) })
      })
      app.addHook('onTimeout', async (request, reply) => { reply.log.error({ req: request, res: reply }, `${request.url} took too long`) })
      app.addHook('onRequestAbort', async ({ url }) => { throw new Error(`aborted: ${url}`) })
    }
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const port = app.addresses().map((address) => typeof address === 'string' ? 0 : address.port)[0]
  const path = `${callbackPath}?code=${secrets[0]}&state=${secrets[1]}`
  const hanging = sendRequest({ agent: false, port, path, headers: { 'x-hangs': '1', referer: `http://127.0.0.1:${port}${path}` } }).end()
  await t.rejects(once(hanging, 'response'), { code: 'ECONNRESET' })
  const answered = sendRequest({ agent: false, port, path, headers: { referer: path } }).end()
  const [answer] = await once(answered, 'response')
  t.equal(answer.statusCode, 400)
  answer.resume()
  await once(answer, 'end')
  for (const end of ended) end()
  await app.close()
  const text = lines.join('')
  t.match(text, '"msg":"/webflow/callback took too long"')
  t.match(text, '"message":"aborted: /webflow/callback"')
  t.strictSame(findLeaks(text, secrets), [])
})

t.test('the query of a request is not logged, whatever characters it has', async (t) => {
  const said = 'private-4f7d09a1c3'
  const lines: string[] = []
  const app = await createApp(t, { server: { logger: { level: 'trace', stream: { write: (line: string) => lines.push(line) } } } })
  for (const character of ['`', '\'', '?', '|', '^', '{']) {
    t.equal((await app.inject(`${callbackPath}?error=a${character}&error_description=${said}&state=s`)).statusCode, 400)
  }
  t.notMatch(lines.join(''), said)
  for (const character of ['`', '"', '\'', ' ']) {
    const clean = createCleaner({ url: `/callback?a=${character}${said}` })
    t.equal(clean(`GET /callback?a=${character}${said} failed`), 'GET /callback failed')
  }
})

t.test('a line about a route of the plugin has everything that a serializer of the app reads', async (t) => {
  const lines: Array<Record<string, unknown>> = []
  const app = await createApp(t, {
    server: {
      logger: {
        level: 'info',
        stream: { write: (line) => { lines.push(JSON.parse(line)) } },
        serializers: { req: (request) => ({ url: request.url, route: request.routeOptions.url, agent: request.headers['user-agent'], plan: Reflect.get(request, 'plan'), keys: Object.keys(request.headers) }), res: (reply) => ({ statusCode: reply.statusCode, location: reply.getHeader?.('location'), caching: Object(reply.getHeaders?.())['cache-control'] }) }
      }
    },
    before: (app) => { app.decorateRequest('plan', { getter: () => ({ name: 'team', since: new Date(0) }) }) }
  })
  lines.length = 0
  await new Browser(app).request('/webflow/authorize?returnTo=/sites', { headers: { 'user-agent': 'a-browser' } })
  t.match(lines, [
    { req: { url: '/webflow/authorize', route: '/webflow/authorize', agent: 'a-browser', plan: { name: 'team', since: '1970-01-01T00:00:00.000Z' }, keys: ['host', 'user-agent'] }, msg: 'incoming request' },
    { res: { statusCode: 302, location: 'https://webflow.com/oauth/authorize', caching: 'no-store' }, msg: 'request completed' }
  ])
})

t.test('the logger of a request works like the app\'s own logger', async (t) => {
  const lines: Array<Record<string, unknown>> = []
  const seen: unknown[] = []
  const app = await createApp(t, {
    server: { logger: { level: 'info', stream: { write: (line) => { lines.push(JSON.parse(line)) } } }, ...withoutRequestLogs },
    before: (app) => {
      app.addHook('preHandler', async ({ log }) => {
        const { debug, info } = log
        debug(new Proxy({}, { getPrototypeOf: () => { throw new Error('nobody looks at what is not logged') } }), 'off')
        seen.push(log.level, 'bindings' in log, Object.getPrototypeOf(log) === Object.getPrototypeOf(Object.getPrototypeOf(log)))
        info('unbound')
        log.level = 'debug'
        log.debug({ tokenId: 'abc' }, 'is this on? yes')
        log.child({ part: 'mail' }).warn('of a child')
        seen.push(Reflect.apply(Reflect.get(log, 'setBindings'), log, [{ extra: 1 }]))
        log.info('bound')
      })
    }
  })
  lines.length = 0
  await new Browser(app).get('/webflow/authorize')
  t.strictSame(seen, ['info', true, false, undefined])
  t.match(lines, [{ msg: 'unbound' }, { msg: 'is this on? yes', tokenId: 'abc' }, { msg: 'of a child', part: 'mail' }, { msg: 'bound', extra: 1 }])
})

t.test('no URL is logged by a logger whose methods return it, or that makes child loggers by another method', async (t) => {
  const lines: string[] = []
  const log = (text: unknown) => {
    lines.push(String(text))
    return logger
  }
  const logger = { level: 'info', fatal: log, error: log, warn: log, info: log, debug: log, trace: log, silent: log, child: () => logger, named: () => ({ ...logger }) }
  const app = await createApp(t, {
    server: { logger: false, loggerInstance: logger, ...withoutRequestLogs },
    before: (app) => {
      app.addHook('preHandler', async ({ log, url }) => {
        const same: unknown = Reflect.apply(log.info, log, ['one'])
        t.equal(same, log)
        const other: FastifyBaseLogger = Reflect.apply(Reflect.get(log, 'named'), log, [])
        other.info(url)
      })
    }
  })
  await new Browser(app).get('/webflow/authorize?returnTo=/secret-page')
  t.strictSame(lines.slice(-2), ['one', '/webflow/authorize'])
})

t.test('without a logger nothing is logged', async (t) => {
  let looks = 0
  const watched = new Proxy({}, { getPrototypeOf: () => Object(++looks) })
  const app = await createApp(t, {
    server: { logger: false },
    before: (app) => {
      app.addHook('preHandler', async ({ log }) => {
        log.child({}).info(watched, 'unread')
        t.equal(log, app.log)
      })
    }
  })
  t.equal((await new Browser(app).get('/webflow/authorize')).statusCode, 302)
  t.equal(looks, 0)
})

t.test('a logger that clones its arguments can log lines about the plugin\'s routes', async (t) => {
  const lines: unknown[][] = []
  const log = (...args: unknown[]) => { lines.push(structuredClone(args)) }
  const logger: FastifyBaseLogger = { level: 'info', fatal: log, error: log, warn: log, info: log, debug: log, trace: log, silent: log, child: () => logger }
  const app = await createApp(t, {
    server: { logger: false, loggerInstance: logger },
    before: (app) => {
      app.addHook('preHandler', async ({ log, raw, url }) => {
        const cause = new TypeError(`cannot read ${url}`)
        log.info({ list: [{ url, [url]: Object.assign(Object.create(null), { url }) }], err: new RangeError(`failed at ${url}`, { cause }) }, 'copied')
        log.info({ raw }, `${url} cannot be cloned`)
      })
    }
  })
  lines.length = 0
  t.equal((await new Browser(app).get('/webflow/authorize?returnTo=/secret-page')).statusCode, 302)
  const path = '/webflow/authorize'
  const [, copied = [], uncloneable] = lines
  const { list, err } = Object(copied[0])
  t.strictSame([list, copied[1], uncloneable], [[{ url: path, [path]: { url: path } }], 'copied', [`${path} cannot be cloned [the logger threw an error; the rest of this line is lost]`]])
  t.ok(err instanceof RangeError && err.cause instanceof TypeError)
  t.match(err, { message: `failed at ${path}`, stack: `RangeError: failed at ${path}\n`, cause: { message: `cannot read ${path}` } })
  t.notMatch(inspect(lines), 'secret-page')
})

t.test('an app whose logger throws for every line about the plugin\'s routes still answers their requests', async (t) => {
  const webflow = await startWebflow(t)
  const fail = (): never => { throw new TypeError('a bug of the app') }
  const throwing: Array<[string, FastifyServerOptions['logger'] & object]> = [
    ['serializers', { serializers: { req: fail, res: fail, err: fail } }],
    ['a formatter', { formatters: { log: (line) => 'req' in line || 'res' in line || 'err' in line || 'code' in line ? fail() : line } }],
    ['a mixin', { mixin: (line) => Object.keys(line).length > 0 ? fail() : {} }],
    ['every call', { hooks: { logMethod: fail } }]
  ]
  for (const [name, logger] of throwing) {
    const lines: string[] = []
    let isReady = false
    const app = await createApp(t, {
      webflow,
      // The rest of the app has lines of its own, which the plugin does not look after.
      server: { logger: { level: 'trace', stream: streamTo((line) => { lines.push(line) }), ...logger, ...name === 'every call' && { hooks: { logMethod: (args, method) => isReady ? fail() : Reflect.apply(method, null, args) } } } },
      options: { onFailure: fail }
    })
    isReady = true
    const browser = new Browser(app)
    t.equal((await connect(browser, webflow)).statusCode, 303, name)
    t.equal((await browser.navigate(`${callbackPath}?code=x&state=y`)).statusCode, 400)
    t.equal((await browser.request('/webflow/revoke', { method: 'POST' })).statusCode, 200)
    t.equal(lines.join('').includes('`onFailure` threw an error [the logger threw an error; the rest of this line is lost]'), name !== 'every call')
    isReady = false
  }
})

t.test('a logger that throws after the answer was sent does not end the process', async (t) => {
  mock.timers.enable({ apis: ['Date'], now: Date.now() })
  t.teardown(() => { mock.timers.reset() })
  const rejected: unknown[] = []
  const onRejection = (reason: unknown) => { rejected.push(reason) }
  process.on('unhandledRejection', onRejection)
  t.teardown(() => { process.off('unhandledRejection', onRejection) })
  const webflow = await startWebflow(t)
  const store = new MemoryStore()
  const { set } = store
  const thrown: string[] = []
  const app = await createApp(t, {
    webflow,
    server: {
      logger: {
        level: 'trace',
        stream: streamTo(() => {}),
        hooks: {
          logMethod (args, method) {
            const text = args.join(' ')
            if (!text.includes('webflow-oauth: ')) return Reflect.apply(method, this, args)
            thrown.push(text)
            throw new TypeError('a bug of the app')
          }
        }
      }
    },
    options: { store, sessionMaxAge: 1000 }
  })
  t.match(thrown.splice(0)[0], '`trustProxy` is not set', 'there was a warning while the plugin was registered')
  const browser = new Browser(app)
  await connect(browser, webflow)
  mock.timers.tick(500_001)
  store.set = async () => { throw new Error('down') }
  t.equal((await browser.get('/token')).json().connected, true)
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => { setImmediate(resolve) })
  t.match(thrown.splice(0)[0], 'a token could not be renewed')
  store.set = set
  t.strictSame(rejected, [])
})

t.test('a serializer or formatter that changes an object changes the line, but not the request', async (t) => {
  const webflow = await startWebflow(t)
  const lines: Array<Record<string, unknown>> = []
  const app = await createApp(t, {
    webflow,
    server: {
      logger: {
        level: 'info',
        stream: { write: (line) => { lines.push(JSON.parse(line)) } },
        serializers: {
          req (request) {
            const { headers } = request
            for (const name of Object.keys(headers)) headers[name] = `${String(headers[name])}!`
            delete headers.accept
            request.raw.url = '/elsewhere'
            return { host: String(headers.host), accept: 'accept' in headers, headers, url: request.raw.url }
          }
        }
      }
    }
  })
  const browser = new Browser(app)
  lines.length = 0
  const { location } = await browser.navigate('/webflow/authorize')
  t.equal((await browser.navigate(await webflow.approve(String(location)))).statusCode, 303)
  t.match(lines[0], { req: { host: 'app.example.com!', accept: false, headers: { host: 'app.example.com!', 'sec-fetch-mode': 'navigate!' }, url: '/elsewhere' } })
  t.notMatch(lines[0], { req: { headers: { accept: String } } })
})

t.test('the cleaned view of a value behaves like the value', (t) => {
  const clean = createCleaner({ url: '/cb?code=0123456789&state=abc%20defgh&code=x', originalUrl: '/a?state=originalstate' })
  const view = (value: object): object => Object(new Redaction(clean).show(value))
  class Secretive extends Error {
    readonly #code = '0123456789'
    get code (): string { return `code ${this.#code}` }
  }
  const error: object = view(new Secretive('at /cb?a=b "or" abc defgh, abc%20defgh, originalstate'))
  t.ok(error instanceof Secretive)
  t.match(error, { message: 'at /cb "or" [hidden], [hidden], [hidden]', code: 'code [hidden]' })
  t.match(inspect(error), 'at /cb "or" [hidden]')
  t.notMatch(inspect(error), 'abc defgh')
  t.equal(Object.getPrototypeOf(error), Secretive.prototype)
  t.equal(types.isNativeError(error), true)

  const inner = Object.assign(new TypeError('inner 0123456789'), { '/x?y=z': 1, cookie: 'a=b', again: {} })
  const outer = new AggregateError([inner, 'one ?q'], 'outer', { cause: inner })
  inner.again = outer
  const [shownOuter, original] = [view(outer), view(new DOMException('at /cb?a=b', 'AbortError'))]
  const shownInner = Reflect.get(shownOuter, 'cause')
  t.match(shownOuter, { message: 'outer', errors: [shownInner, 'one '] })
  t.equal(Reflect.get(shownOuter, 'errors')[0], shownInner)
  t.match(shownInner, { name: 'TypeError', message: 'inner [hidden]', '/x': 1, cookie: '[hidden]', again: shownOuter })
  t.match(Reflect.get(shownInner, 'stack'), /^TypeError: inner \[hidden\]\n +at /)
  t.strictSame(Object.keys(shownInner), ['/x', 'cookie', 'again'], 'what loggers list is what they list of the original')
  t.match(original, { name: 'AbortError', message: 'at /cb', code: 20 })
  t.match(structuredClone(shownOuter), { message: 'outer', stack: /^AggregateError: outer\n +at /, cause: { message: 'inner [hidden]' } })
  class WithJson extends Error {
    toJSON () { return { url: `${this.message}?q=1` } }
  }
  t.equal(JSON.stringify(view(new WithJson('/x'))), '{"url":"/x"}')

  const circle: Record<string, unknown> = { url: '/x?y=z', list: ['Cookie', 'a=b', 'x?y'], cookies: { a: 'b' }, none: null, ok: true, [Symbol.for('cookie')]: '?q=1' }
  circle.self = circle
  circle.all = [circle]
  const shown = view(Object.freeze(circle))
  t.strictSame(Object.keys(shown), ['url', 'list', 'cookies', 'none', 'ok', 'self', 'all'])
  t.equal(Reflect.get(shown, 'self'), shown)
  t.strictSame({ ...shown, self: 1, all: 1, [Symbol.for('cookie')]: 1 }, { url: '/x', list: ['Cookie', '[hidden]', 'x'], cookies: '[hidden]', none: null, ok: true, self: 1, all: 1, [Symbol.for('cookie')]: 1 })
  t.match(inspect(shown, { depth: null }), /<ref \*1>.*self: \[Circular \*1\]/s)
  t.equal(Reflect.getOwnPropertyDescriptor(shown, 'missing'), undefined)
  t.equal(Reflect.deleteProperty(shown, 'url'), true)
  t.equal('url' in shown, false)
  t.equal(Reflect.getOwnPropertyDescriptor(shown, 'ok')?.value, true)
  t.strictSame(Reflect.ownKeys(shown).length, 7)
  t.equal(String(shown), '[object Object]', 'what is inherited is there still')

  class Order {
    id = 1
    url = '/x?y=z'
    self = this
    get link () { return `${this.url}&state=originalstate` }
  }
  const order = new Order()
  const seenOrder = view(order)
  t.ok(seenOrder instanceof Order)
  t.equal(Reflect.get(seenOrder, 'self'), seenOrder)
  t.equal(Reflect.get(seenOrder, 'link'), '/x')
  t.equal(Reflect.getOwnPropertyDescriptor(seenOrder, 'url')?.value, '/x')
  t.equal(Reflect.getOwnPropertyDescriptor(seenOrder, 'missing'), undefined)
  t.strictSame(['url', 'link', 'missing'].map((name) => name in seenOrder), [true, true, false])
  t.equal(Reflect.deleteProperty(seenOrder, 'id'), true)
  Reflect.set(seenOrder, 'note', 'written')
  t.strictSame(Object.keys(seenOrder), ['url', 'self', 'note'])
  t.strictSame(['id', 'link', 'note'].map((name) => Reflect.get(seenOrder, name)), [undefined, '/x', 'written'])
  t.strictSame(Object.keys(order), ['id', 'url', 'self'], 'the original stays as it is')

  const bare = view(Object.assign(Object.create(null), { a: '?q' }))
  Reflect.set(bare, 'b', 2)
  t.strictSame(Object.entries(bare), [['a', ''], ['b', 2]])
  t.equal(Reflect.get(bare, 'toString'), undefined)

  const lazy = view({ get url () { return '/x?y=z' }, get broken () { throw new Error('read too early') } })
  t.match(inspect(lazy), /url: \[Getter\], broken: \[Getter\]/, 'getters are not called for it')
  t.equal(Reflect.get(Object.defineProperties({}, { url: Object(Reflect.getOwnPropertyDescriptor(lazy, 'url')) }), 'url'), '/x')

  const settable = view({ get url () { return '/x?y=z' }, set url (_value) { throw new Error('the original is not written to') } })
  t.equal(Reflect.get(settable, 'url'), '/x')
  t.equal(Reflect.set(settable, 'url', '/written'), true)
  t.strictSame({ ...settable }, { url: '/written' })
  t.equal(Reflect.set(lazy, 'url', '/written'), false)

  const headers = view(new Headers({ cookie: 'a=b', referer: 'http://x/?code=1', etag: '"e"' }))
  t.strictSame(['cookie', 'referer', 'etag', 'x'].map((name) => Reflect.get(headers, 'get')(name)), ['[hidden]', 'http://x/', '"e"', null])
  t.equal(Reflect.get(headers, 'has')('cookie'), true)
  t.equal(headers.constructor, Headers)
  t.equal(Reflect.get(view({ block: 'HTTP/1.1 200 OK\r\nset-cookie: a=b; Path=/\r\nAuthorization: Bearer x\r\nx: y' }), 'block'), 'HTTP/1.1 200 OK\r\nset-cookie: [hidden]\r\nAuthorization: [hidden]\r\nx: y')
  t.strictSame({ ...view({ query: { code: 'short' } }) }, { query: {} })
  t.equal(Reflect.get(view({ query: 'SELECT 1' }), 'query'), 'SELECT 1')
  t.end()
})

import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Writable } from 'node:stream'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import webflowOAuth, { MemoryStore, type WebflowOAuthOptions } from '../../lib/index.ts'
import { createSimulator, type Simulator } from '../../lib/simulator/index.ts'
import { baseOptions, clientId, clientSecret, redirectUri, secret } from '../support/app.ts'

// FUZZ_SEED=<number> FUZZ_REQUESTS=<number> npx tap --disable-coverage --timeout=900 test/slow/fuzz.test.ts
const seed = Number(process.env['FUZZ_SEED'] ?? 20_261_123)
const total = Number(process.env['FUZZ_REQUESTS'] ?? 75_000)
const warmUp = Math.min(10_000, total / 4)
const maxGrowth = 4 * 1024 * 1024

const origins = ['https://app.example.com', 'https://spa.example.com']
const ownRoutes = new Set(['/webflow/authorize', '/webflow/callback', '/webflow/revoke'])
const marker = '<fuzz7731>'

/** A generator of numbers from 0 to 1 (mulberry32). */
function createRandom (state: number): () => number {
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A request before it is sent. */
interface Draft {
  method: Method
  path: string
  /** Names and values as they are written into the URL. */
  query: Array<[name: string, value: string]>
  cookies: Array<[name: string, value: string]>
  headers: Record<string, string | string[]>
  body: string | Buffer | null
}

const methods = ['GET', 'HEAD', 'POST', 'DELETE', 'PUT', 'PATCH', 'OPTIONS'] as const
type Method = typeof methods[number]

/** A browser, or somebody who plays one. */
class Visitor {
  readonly cookies = new Map<string, string>()
  /** The redirect that its last flow began with. */
  pending: string | null = null
  /** Where Webflow sent it. */
  callback: URL | null = null
}

const values = ['', ' ', '\0', '%00', '%0d%0aSet-Cookie:%20a=b', '\r\nx: y', '%ff%fe%fd', '%', '%zz', '%u0041', '𝕏', 'é', '\ud800', '__proto__', 'constructor', '[object Object]', '../..', ';', '&', '#', '=', '"', '\'', '\\', '<script>', marker, encodeURIComponent(marker), '{{7*7}}', '{"$gt":""}', 'null', 'undefined', 'NaN', '-1', '1e999', 'a'.repeat(2048), 'a'.repeat(2049), 'a'.repeat(9000), 'A'.repeat(43), 'A'.repeat(96), '_'.repeat(128), 'access_denied', 'server_error']
const destinations = ['/', '/home?a=b#c', '//evil.example', '/\\evil.example', 'https://evil.example/', 'https://app.example.com@evil.example/', 'https://spa.example.com/x', 'https://spa.example.com.evil.example/', 'javascript:alert(1)', 'data:text/html,x', '/.//evil.example', '/webflow/authorize', '/Webflow/%61uthorize/', '/webflow/callback?code=x', 'http://app.example.com/', '\t//evil.example', '///evil.example', 'https:evil.example', 'blob:https://app.example.com/x', '/%2f%2fevil.example', '/a;b', `/${'x'.repeat(600)}`, `/${'ü'.repeat(200)}`, '?x', '#y', '.', '..']
const parameters = ['code', 'state', 'error', 'error_description', 'returnTo', 'code[]', 'state[a]', 'CODE', '__proto__', 'constructor[prototype]', 'x']
const headerValues: Record<string, readonly string[]> = {
  host: ['app.example.com', 'evil.example', 'APP.EXAMPLE.COM', 'app.example.com:443', '[::1', 'a b', '', marker, 'x'.repeat(300), 'app.example.com, evil.example'],
  origin: ['https://app.example.com', 'https://spa.example.com', 'https://evil.example', 'null', '', 'https://app.example.com.evil.example'],
  referer: ['https://evil.example/', marker],
  'sec-fetch-site': ['same-origin', 'same-site', 'cross-site', 'none', '', 'Same-Origin', 'x'],
  'sec-fetch-mode': ['navigate', 'cors', 'no-cors', '', 'x'],
  'sec-fetch-dest': ['document', 'iframe', 'image', 'empty', ''],
  'sec-purpose': ['prefetch', 'prefetch;prerender', '', 'x'],
  purpose: ['prefetch', 'preview'],
  accept: ['text/html', 'application/json', '*/*', '', 'TEXT/HTML;q=0', marker],
  authorization: ['Bearer x', 'Basic !!', '', marker],
  'content-type': ['application/json', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'text/plain', 'nonsense', '', 'a/b; charset=\u00ff', marker],
  'content-length': ['0', '1', '99999999999', '-1', 'x'],
  'transfer-encoding': ['chunked', 'gzip'],
  'x-forwarded-host': ['evil.example'],
  'x-forwarded-proto': ['http'],
  'x-http-method-override': ['DELETE'],
  'x-user': ['ada', 'grace', '', '\u00ff', '__proto__', 'u'.repeat(5000)],
  upgrade: ['websocket', 'h2c'],
  'if-none-match': ['*']
}
const bodies = ['', '{}', '{', '{"__proto__":{"x":1}}', 'code=1&code=2', '\0', Buffer.from([0xff, 0xfe, 0]), 'x'.repeat(70_000)]

/** Makes requests: whole flows, and at random what somebody could make of them. */
class Fuzzer {
  readonly #random: () => number
  readonly #visitors = Array.from({ length: 24 }, () => new Visitor())

  constructor (random: () => number) {
    this.#random = random
  }

  visitor (): Visitor {
    const index = this.below(this.#visitors.length)
    if (this.chance(0.02)) this.#visitors[index] = new Visitor()
    return this.#visitors[index] ?? new Visitor()
  }

  draft (visitor: Visitor): Draft {
    const draft = this.#plain(visitor)
    if (this.chance(0.35)) return draft
    for (let left = 1 + this.below(4); left > 0; left--) this.#mutate(draft)
    return draft
  }

  chance (probability: number): boolean {
    return this.#random() < probability
  }

  below (limit: number): number {
    return Math.floor(this.#random() * limit)
  }

  pick<T> (list: readonly T[], fallback: T): T {
    return list[this.below(list.length)] ?? fallback
  }

  #plain (visitor: Visitor): Draft {
    const draft: Draft = { method: 'GET', path: '/webflow/authorize', query: [], cookies: [...visitor.cookies], headers: { host: 'app.example.com' }, body: null }
    if (this.chance(0.6)) Object.assign(draft.headers, { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document', 'sec-fetch-site': this.pick(['none', 'cross-site', 'same-origin'], 'none'), accept: 'text/html' })
    if (this.chance(0.7)) draft.headers['x-user'] = this.pick(['ada', 'grace', 'ida'], 'ada')
    const what = this.#random()
    if (what < 0.25) {
      if (this.chance(0.5)) draft.query.push(['returnTo', encodeURIComponent(this.pick(destinations, '/').replace('\ud800', ''))])
    } else if (what < 0.7) {
      draft.path = '/webflow/callback'
      for (const [name, value] of visitor.callback?.searchParams ?? []) draft.query.push([name, encodeURIComponent(value)])
    } else if (what < 0.85) {
      draft.path = '/webflow/revoke'
      draft.method = 'POST'
      draft.headers['sec-fetch-site'] = 'same-origin'
    } else {
      draft.path = this.pick(['/token', '/guarded', '/page'], '/token')
    }
    return draft
  }

  #mutate (draft: Draft): void {
    const { query, cookies, headers } = draft
    const kinds = [
      () => { draft.method = this.pick(methods, 'GET') },
      () => { draft.path = this.pick(['/webflow/authorize', '/webflow/callback', '/webflow/revoke'], '/') },
      () => { draft.path += this.pick(['/', '//', ';x', '%00', '%2f', '%zz', '/..', '/../callback', '.', '\0'], '/') },
      () => { draft.path = draft.path.replace(/[a-z]/, (letter) => this.pick([letter.toUpperCase(), `%${letter.charCodeAt(0).toString(16)}`], letter)) },
      () => { query.push([this.pick(parameters, 'x'), this.#value()]) },
      () => { query.push(query[this.below(query.length)] ?? ['state', '']) },
      () => { query.splice(this.below(query.length), 1) },
      () => { for (const pair of query) if (this.chance(0.5)) pair[1] = this.#bend(pair[1]) },
      () => { query.push(['returnTo', this.pick(destinations, '/')]) },
      () => { query.reverse() },
      () => { for (const pair of cookies) if (this.chance(0.5)) pair[1] = this.#bend(pair[1]) },
      () => { for (const pair of cookies) if (this.chance(0.5)) pair[0] = this.#bend(pair[0]) },
      () => { cookies.splice(this.below(cookies.length), 1) },
      () => { cookies.push([this.pick(['__Host-webflow', '__Host-webflow_restart', `__Host-webflow_flow_${'a'.repeat(16)}`, 'webflow', '__proto__', 'x'], 'x'), this.#value()]) },
      () => { for (let left = this.below(12); left > 0; left--) cookies.push([`__Host-webflow_flow_${left}`, this.#value()]) },
      () => { cookies.reverse() },
      () => {
        const name = this.pick(Object.keys(headerValues), 'accept')
        headers[name] = this.pick(headerValues[name] ?? [], '')
      },
      () => { headers[this.pick(['accept', 'purpose', 'x-user'], 'accept')] = [this.#value(), this.#value()] },
      () => { draft.body = this.pick<string | Buffer>(bodies, '') }
    ]
    this.pick(kinds, () => {})()
  }

  #value (): string {
    return this.chance(0.3) ? Array.from({ length: this.below(40) }, () => String.fromCharCode(this.below(this.chance(0.8) ? 128 : 0xffff))).join('') : this.pick(values, '')
  }

  #bend (value: string): string {
    const at = this.below(value.length + 1)
    return this.pick([
      () => value.slice(0, at),
      () => value.slice(0, at) + this.#value() + value.slice(at),
      () => value.slice(0, at) + this.pick([...'AZaz09-_.=+/ '], 'A') + value.slice(at + 1),
      () => value + value,
      () => [...value].reverse().join(''),
      () => this.#value()
    ], () => value)()
  }
}

/** What of a header's value Node's parser lets through. */
const onTheWire = (value: string) => value.replace(/[^\t\x20-\x7e\x80-\xff]/g, '')

setFlagsFromString('--expose-gc')
const collect: unknown = runInNewContext('gc')

async function heapUsed (): Promise<number> {
  for (let round = 0; round < 3; round++) {
    await setImmediate()
    if (typeof collect === 'function') collect()
  }
  return process.memoryUsage().heapUsed
}

const rejections: unknown[] = []
process.on('unhandledRejection', (reason) => { rejections.push(reason) })

/** An app that tells which route a request came to and what it logged. */
async function createFuzzedApp (t: Test, webflow: Simulator, options: Partial<WebflowOAuthOptions>) {
  const seen: { route: string | undefined, lines: string[] } = { route: undefined, lines: [] }
  const stream = new Writable({
    write (chunk, _encoding, done) {
      seen.lines.push(String(chunk))
      done()
    }
  })
  const app: FastifyInstance = Fastify({ logger: { level: 'trace', stream } })
  t.teardown(() => app.close())
  app.addHook('onRequest', async (request) => { seen.route = request.routeOptions.url })
  await app.register(webflowOAuth, { ...baseOptions(webflow), store: new MemoryStore({ maxEntries: 300 }), allowedOrigins: ['https://spa.example.com'], ...options })
  app.get('/token', async (request) => ({ id: request.webflowToken?.id ?? null }))
  app.get('/guarded', { preHandler: app.webflowOAuth.requireToken({ scope: ['sites:read'] }) }, async () => ({}))
  app.get('/page', { preHandler: app.webflowOAuth.requireToken({ onMissing: 'redirect' }) }, async () => ({}))
  await app.ready()
  return { app, seen }
}

async function startSimulator (port = 0): Promise<Simulator> {
  const webflow = createSimulator({ app: { clientId, clientSecret, redirectUris: [redirectUri], scope: ['sites:read', 'cms:read'] } })
  await webflow.listen({ port })
  return webflow
}

async function fuzz (t: Test, options: Partial<WebflowOAuthOptions>): Promise<void> {
  const fuzzer = new Fuzzer(createRandom(seed))
  let webflow = await startSimulator()
  t.teardown(() => webflow.close())
  const endpoint = `${webflow.endpoints.authorize}?`
  const port = Number(new URL(webflow.url).port)
  const { app, seen } = await createFuzzedApp(t, webflow, options)
  const outcomes = new Map<string, number>()
  let heapBefore = 0

  /** The simulator remembers every code and token: what it holds is not what is measured. */
  const measure = async (): Promise<number> => {
    await webflow.close()
    webflow = await startSimulator(port)
    return await heapUsed()
  }

  for (let index = 0; index < total / 2; index++) {
    if (index === warmUp) heapBefore = await measure()
    const visitor = fuzzer.visitor()
    if (visitor.pending !== null && fuzzer.chance(0.5)) {
      visitor.callback = new URL(fuzzer.chance(0.9) ? await webflow.approve(visitor.pending) : await webflow.deny(visitor.pending))
      visitor.pending = null
    } else if (fuzzer.chance(0.01)) {
      visitor.callback = new URL(await webflow.install())
    }
    const draft = fuzzer.draft(visitor)
    const query = draft.query.map(([name, value]) => `${name}=${value}`).join('&')
    const url = `http://app.example.com${draft.path}${query === '' ? '' : `?${query}`}`
    const cookie = draft.cookies.map(([name, value]) => `${name}=${value}`).join('; ')
    const headers = Object.fromEntries(Object.entries({ ...draft.headers, ...(cookie === '' ? {} : { cookie }) }).map(([name, value]) => [name, Array.isArray(value) ? value.map(onTheWire) : onTheWire(value)]))
    seen.route = undefined
    seen.lines.length = 0

    const response = await app.inject({ method: draft.method, url, headers, ...(draft.body === null ? {} : { payload: draft.body }) })
    const { statusCode } = response
    const location = response.headers.location ?? null
    const setCookies = [response.headers['set-cookie'] ?? []].flat()
    const isOurs = seen.route !== undefined && ownRoutes.has(seen.route)
    const outcome = `${isOurs ? seen.route : 'other'} ${draft.method} ${statusCode}`
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)

    const check = (holds: boolean, promise: string) => {
      if (!holds) throw new Error(`FUZZ_SEED=${seed}, request ${index}: not ${promise}: ${draft.method} ${JSON.stringify({ url, headers, body: draft.body?.slice(0, 100) })} → ${statusCode} ${JSON.stringify(response.headers)} ${response.body.slice(0, 500)}`)
    }
    const isPrefetch = statusCode === 503 && response.body === '' && [draft.headers['sec-purpose'], draft.headers['purpose']].flat().some((value) => value?.toLowerCase().includes('prefetch'))
    check(statusCode < 500 || isPrefetch, 'an answer without a fault')
    check(location === null || location.startsWith(endpoint) || origins.includes(new URL(location).origin), 'a redirect to Webflow or an allowed origin')
    for (const line of setCookies) check(/^__Host-webflow(?:_restart|_flow_[\w-]{1,32}|_flow_[^;\s]*)?=[\w.-]*; Max-Age=\d+; Path=\/; HttpOnly; Secure; SameSite=Lax$/.test(line), 'a cookie of ours by the letter')
    if (isOurs) {
      check(response.headers['cache-control'] === 'no-store' && response.headers['referrer-policy'] === 'no-referrer', 'no trace of an answer of ours')
      check(!response.body.includes(marker), 'nothing of the request in the answer')
      const fresh = setCookies.map((line) => /=([^;]*)/.exec(line)?.[1] ?? '')
      const secrets = [clientSecret, secret, ...visitor.cookies.values(), ...fresh, ...visitor.callback?.searchParams.values() ?? [], ...draft.query.map(([, value]) => value), ...webflow.requests.token.slice(-1).map(({ parameters }) => String(parameters['code'])), new URL(location ?? 'https://a.example').searchParams.get('state') ?? '']
      const text = seen.lines.join('')
      check(!secrets.some((each) => each.length >= 20 && !destinations.includes(each) && text.includes(each)), 'a log without secrets')
      check(response.body === '' || !secrets.some((each) => /^[\w.-]{32,}$/.test(each) && response.body.includes(each)), 'an answer without secrets in its body')
    }
    for (const line of setCookies) {
      const [, name = '', value = ''] = /^([^=]*)=([^;]*)/.exec(line) ?? []
      if (line.includes('Max-Age=0')) visitor.cookies.delete(name)
      else visitor.cookies.set(name, value)
    }
    if (location?.startsWith(endpoint) === true && location.includes('state=')) visitor.pending = location
  }

  const ours = [...outcomes].filter(([outcome]) => outcome.startsWith('/')).reduce((sum, [, count]) => sum + count, 0)
  const growth = await measure() - heapBefore
  for (const [outcome, count] of [...outcomes].sort()) t.comment(`${outcome}: ${count}`)
  t.comment(`${ours} of ${total / 2} requests came to our routes`)
  t.comment(`the heap grew by ${Math.round(growth / 1024)} KiB over ${total / 2 - warmUp} requests`)
  t.ok(growth < maxGrowth, 'the heap does not grow')
  const happened = (outcome: string) => outcomes.get(outcome) ?? 0
  t.ok(happened('/webflow/callback GET 303') > total / 200, 'many flows ended')
  t.ok(happened('/webflow/revoke POST 200') + happened('/webflow/revoke POST 303') > total / 200, 'many tokens were revoked')
  t.ok(happened('/webflow/callback GET 400') > total / 200, 'many callbacks were refused')
}

t.comment(`FUZZ_SEED=${seed} FUZZ_REQUESTS=${total}`)

t.test('no request does harm where tokens belong to browser sessions', async (t) => { await fuzz(t, {}) })

t.test('no request does harm where tokens belong to users', async (t) => {
  await fuzz(t, {
    failureRedirect: '/failed',
    identify: (request) => {
      const user = [request.headers['x-user'] ?? ''].flat().join()
      // A longer one would be an error of the app.
      return Buffer.byteLength(user) <= 255 && user.isWellFormed() ? user : null
    }
  })
})

t.test('nothing was left to reject unheard', async (t) => { t.strictSame(rejections, []) })

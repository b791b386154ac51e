import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { mock } from 'node:test'
import fc, { type Arbitrary } from 'fast-check'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { Agent } from 'undici'
import webflowOAuth, { MemoryStore, WebflowOAuthError, type WebflowOAuthOptions } from '../lib/index.ts'
import { createFlowCookie, peekFlowCookie, readFlowCookie, type FlowCookie } from '../lib/flow/cookie.ts'
import { createOutcome, parseOutcome, restoreError } from '../lib/flow/outcome.ts'
import { createKeyring, mac, storeId, verifyMac } from '../lib/storage/keyring.ts'
import { resolvePaths } from '../lib/options/paths.ts'
import { Cookies, loadCookieCodec } from '../lib/http/cookies.ts'
import { parseCallback } from '../lib/http/query.ts'
import { judgeReturnTo, normalizePath, resolveReturnTo } from '../lib/http/return-to.ts'
import { createSealer } from '../lib/storage/seal.ts'
import { createState, readState } from '../lib/flow/state.ts'
import { parseRecord, serializeRecord, type TokenRecord } from '../lib/tokens/record.ts'
import type { IssuedToken, Upstream } from '../lib/webflow/answers.ts'
import { WebflowClient } from '../lib/webflow/client.ts'
import { baseOptions, clientId, clientSecret, redirectUri, secret } from './support/app.ts'
import { startHttp } from './support/server-http.ts'

// A failure prints the seed and the path to the smallest counterexample. FC_SEED and FC_RUNS look elsewhere.
const times = Number(process.env['FC_RUNS'] ?? 1)
fc.configureGlobal({ seed: Number(process.env['FC_SEED'] ?? 20_261_123), numRuns: 200 * times })

const keyring = createKeyring([Buffer.from(secret), Buffer.alloc(32, 7)], clientId)
const foreignKeyring = createKeyring([Buffer.alloc(32, 9)], clientId)

/** Any text of whole characters. */
const text = fc.string({ unit: 'binary', maxLength: 200 })
/** Any string of JavaScript's, halves of characters included. */
const anyString = fc.oneof(text, fc.string({ unit: fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit)), maxLength: 100 }))
const base64url = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_']
const instant = fc.integer({ min: 0, max: 8.64e15 })
const scopes = fc.array(fc.constantFrom('sites:read', 'sites:write', 'cms:read', 'cms:write', 'a.b-c_d:read'), { minLength: 1, maxLength: 5 })

/** How a string is changed: a character replaced, put in or taken out. */
const mutation = fc.record({
  kind: fc.constantFrom('replace', 'insert', 'remove', 'truncate', 'swapCase'),
  at: fc.nat(),
  character: fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...base64url, '.', '=', '+', '/', ' ', '\n', '\0') }, { weight: 1, arbitrary: fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }) })
})

type Mutation = typeof mutation extends Arbitrary<infer M> ? M : never

function mutate (value: string, { kind, at, character }: Mutation): string {
  const index = value === '' ? 0 : at % value.length
  const [before, here, after] = [value.slice(0, index), value.slice(index, index + 1), value.slice(index + 1)]
  switch (kind) {
    case 'replace': return before + character + after
    case 'insert': return before + character + here + after
    case 'remove': return before + after
    case 'truncate': return before
    default: return before + (here === here.toLowerCase() ? here.toUpperCase() : here.toLowerCase()) + after
  }
}

/** Runs what may fail with an error of ours only; the error, or null. */
async function failureOf (act: () => unknown): Promise<WebflowOAuthError | null> {
  try {
    await act()
    return null
  } catch (error) {
    if (!(error instanceof WebflowOAuthError)) throw error
    return error
  }
}

t.test('a state holds the time when it was made, with any of the secrets', async () => {
  fc.assert(fc.property(instant, (now) => {
    for (const keys of [keyring('mac state'), foreignKeyring('mac state')]) assert.equal(readState(keys, createState(keys, now)), now)
    const [, old] = keyring('mac state')
    assert.equal(readState(keyring('mac state'), createState(old === undefined ? [] : [old], now)), now)
    assert.equal(readState(keyring('mac state'), createState(foreignKeyring('mac state'), now)), null)
    assert.equal(readState(keyring('mac user'), createState(keyring('mac state'), now)), null, 'one made for another purpose')
  }))
})

t.test('a state with any changed character is refused', async () => {
  fc.assert(fc.property(instant, mutation, (now, change) => {
    const state = createState(keyring('mac state'), now)
    const changed = mutate(state, change)
    fc.pre(changed !== state)
    assert.equal(readState(keyring('mac state'), changed), null)
  }))
  const state = createState(keyring('mac state'), 1)
  for (const [index, character] of [...state].entries()) {
    for (const other of base64url.filter((candidate) => candidate !== character)) {
      assert.equal(readState(keyring('mac state'), state.slice(0, index) + other + state.slice(index + 1)), null, `${index} ${other}`)
    }
  }
})

t.test('no made-up string is a state', async () => {
  const shaped = fc.string({ unit: fc.constantFrom(...base64url), minLength: 96, maxLength: 96 })
  fc.assert(fc.property(fc.oneof(anyString, shaped), (value) => {
    assert.equal(readState(keyring('mac state'), value), null)
  }))
})

const hashOf = (user: string) => mac(keyring('mac user'), user)

const flowCookie: Arbitrary<FlowCookie> = fc.record({
  returnTo: fc.oneof(text, fc.webUrl(), fc.constantFrom('', '\n', '/a\nb', '/\u2028', '/?q=%00#"\\')),
  scope: scopes,
  startedAt: instant,
  user: fc.option(text.map(hashOf)),
  owner: fc.option(text.map((user) => createSealer(keyring('seal flow owner')).seal('state', user))),
  popup: fc.boolean(),
  endedAt: fc.option(instant),
  seed: text.map(hashOf)
}, { noNullPrototype: true })

t.test('a flow cookie reads as it was written, with its own state only', async () => {
  fc.assert(fc.property(flowCookie, text, text, (flow, state, other) => {
    const keys = keyring('mac flow cookie')
    const value = createFlowCookie(keys, state, flow)
    assert.match(value, /^[\w-]+\.[\w-]{43}$/, 'a cookie needs no encoding')
    assert.deepEqual(readFlowCookie(keys, state, value), flow)
    const { startedAt, endedAt } = peekFlowCookie(value)
    assert.deepEqual({ startedAt, endedAt }, { startedAt: flow.startedAt, endedAt: flow.endedAt })
    if (other !== state) assert.equal(readFlowCookie(keys, other, value), null)
    assert.equal(readFlowCookie(foreignKeyring('mac flow cookie'), state, value), null)
    assert.equal(readFlowCookie(keyring('mac state'), state, value), null, 'keys of another purpose')
  }))
})

t.test('a changed flow cookie is refused, unless the change is another spelling of the same MAC', async () => {
  fc.assert(fc.property(flowCookie, mutation, (flow, change) => {
    const value = createFlowCookie(keyring('mac flow cookie'), 'state', flow)
    const changed = mutate(value, change)
    fc.pre(changed !== value)
    const read = readFlowCookie(keyring('mac flow cookie'), 'state', changed)
    if (read === null) return
    assert.deepEqual(read, flow)
    const [payload, tag = ''] = value.split('.')
    const [samePayload, sameTag = ''] = changed.split('.')
    assert.equal(samePayload, payload)
    assert.deepEqual(Buffer.from(sameTag, 'base64url'), Buffer.from(tag, 'base64url'))
  }), { numRuns: 600 * times })
})

t.test('the session id is the one that the parser of @fastify/cookie finds, whatever other cookies the header has', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const cookies = new Cookies(await loadCookieCodec(app), 'webflow', true)
  const ids = ['a'.repeat(43), 'b'.repeat(43)]
  app.get('/', async (request) => ({ session: cookies.readSession(request), parsed: cookies.read(request)[cookies.names.session] ?? '' }))
  const name = fc.constantFrom('', ' ', '\t', 'x', '_', '\u00a0').chain((before) => fc.constantFrom('', ' ', '\t', 'x', '_flow_x').map((after) => `${before}${cookies.names.session}${after}`))
  const value = fc.constantFrom(...ids, `"${ids[0]}"`, ` ${ids[0]} `, encodeURIComponent(`${'a'.repeat(42)}-`).replace('-', '%2D'), '', 'a'.repeat(42), `${cookies.names.session}=${ids[1]}`)
  const pair = fc.oneof({ weight: 4, arbitrary: fc.tuple(name, fc.constantFrom('=', '==', ''), value).map((parts) => parts.join('')) }, { weight: 1, arbitrary: fc.constantFrom('a=b', '', ';', cookies.names.session) })
  await fc.assert(fc.asyncProperty(fc.array(fc.tuple(pair, fc.constantFrom('; ', ';', ' ; ', ';;', ',')), { maxLength: 4 }), async (pairs) => {
    const cookie = pairs.map((parts) => parts.join('')).join('')
    const { session, parsed } = (await app.inject({ url: '/', headers: { cookie } })).json()
    assert.equal(session, /^[\w-]{43}$/.test(parsed) ? parsed : null, cookie)
  }), { numRuns: 1000 * times })
})

t.test('no made-up string is a flow cookie, and reading the times of any string never throws', async () => {
  const encoded = fc.oneof(anyString, fc.json()).map((value) => Buffer.from(`${value}\n`).toString('base64url'))
  fc.assert(fc.property(fc.oneof(anyString, encoded, fc.tuple(encoded, encoded).map((parts) => parts.join('.'))), text, (value, state) => {
    assert.equal(readFlowCookie(keyring('mac flow cookie'), state, value), null)
    const { startedAt, endedAt } = peekFlowCookie(value)
    assert.equal(typeof startedAt, 'number')
    assert.ok(endedAt === null || typeof endedAt === 'number')
  }))
})

t.test('two users never have the same keyed hash, and no user has the store id of a session', async () => {
  fc.assert(fc.property(text, text, (user, other) => {
    const keys = keyring('mac user')
    assert.ok(verifyMac(keys, user, mac(keys, user)))
    assert.equal(verifyMac(keys, other, mac(keys, user)), user === other)
    assert.match(storeId(clientId, 'user', user), /^[\w-]{43}$/)
    assert.equal(storeId(clientId, 'user', user) === storeId(clientId, 'user', other), user === other)
    if (!other.includes('\0')) assert.notEqual(storeId(clientId, 'user', user), storeId(clientId, other))
  }))
})

t.test('a sealed value can be unsealed only at its own place', async () => {
  const sealer = createSealer(keyring('seal token'))
  fc.assert(fc.property(text, text, text, (place, other, content) => {
    const sealed = sealer.seal(place, content)
    assert.match(sealed, /^v1\.[\w-]{8}\.[\w-]{16}\.[\w-]{22,}$/)
    assert.deepEqual(sealer.unseal(place, sealed), { kind: 'unsealed', text: content })
    if (other !== place) assert.deepEqual(sealer.unseal(other, sealed), { kind: 'foreign' })
    assert.deepEqual(createSealer(keyring('derive session id')).unseal(place, sealed), { kind: 'foreign' }, 'for another purpose')
    assert.deepEqual(createSealer(foreignKeyring('seal token')).unseal(place, sealed), { kind: 'unknown_key' }, 'under another secret')
    assert.notEqual(sealer.seal(place, content), sealed, 'no two are alike')
  }))
})

t.test('a sealed value with any changed character cannot be unsealed', async () => {
  const sealer = createSealer(keyring('derive session id'))
  fc.assert(fc.property(text, text, mutation, (place, content, change) => {
    const sealed = sealer.seal(place, content)
    const changed = mutate(sealed, change)
    fc.pre(changed !== sealed)
    assert.notEqual(sealer.unseal(place, changed).kind, 'unsealed')
  }), { numRuns: 600 * times })
})

t.test('no made-up string can be unsealed, and unsealing any string never throws', async () => {
  const sealer = createSealer(keyring('seal token'))
  const part = (length: number) => fc.string({ unit: fc.constantFrom(...base64url), minLength: length, maxLength: length + 1 })
  const ids = keyring('seal token').map(({ id }) => id)
  const shaped = fc.tuple(fc.constantFrom('v1', 'v2', 'V1', ''), fc.oneof(part(8), fc.constantFrom(...ids)), part(16), part(22)).map((parts) => parts.join('.'))
  fc.assert(fc.property(fc.oneof(anyString, shaped), text, (value, place) => {
    assert.notEqual(sealer.unseal(place, value).kind, 'unsealed')
  }))
})

const webflowId = fc.stringMatching(/^[0-9a-f]{24}$/)
const record: Arbitrary<TokenRecord> = fc.record({
  accessToken: anyString,
  tokenType: anyString,
  scope: scopes,
  createdAt: instant,
  expiresAt: instant,
  endsAt: fc.option(instant),
  authorization: fc.option(fc.record({
    id: fc.option(webflowId),
    siteIds: fc.uniqueArray(webflowId),
    workspaceIds: fc.uniqueArray(webflowId),
    userIds: fc.uniqueArray(webflowId),
    scope: fc.oneof(scopes, fc.constant([])),
    createdOn: fc.option(fc.date({ noInvalidDate: true, min: new Date(0), max: new Date('9999-12-31') }))
  }, { noNullPrototype: true })),
  user: fc.option(fc.record({ id: fc.option(webflowId), email: fc.option(anyString), firstName: fc.option(anyString), lastName: fc.option(anyString) }, { noNullPrototype: true })),
  owner: fc.option(anyString),
  askedAt: instant,
  complete: fc.boolean()
}, { noNullPrototype: true })

t.test('a token record reads as it was written, sealed or not', async () => {
  const sealer = createSealer(keyring('seal token'))
  fc.assert(fc.property(record, (made) => {
    const written = serializeRecord(made)
    assert.deepEqual(parseRecord(written), made)
    const opened = sealer.unseal('token:1', sealer.seal('token:1', written))
    assert.deepEqual(opened.kind === 'unsealed' ? parseRecord(opened.text) : null, made)
  }))
})

t.test('a text that is not a token record reads as null, and every record that is read has the right types', async () => {
  const names = ['token', 'type', 'scope', 'created', 'expires', 'ends', 'opens', 'user', 'owner', 'asked', 'told']
  const members = fc.record(Object.fromEntries(names.map((name) => [name, fc.anything()])), { requiredKeys: [] })
  fc.assert(fc.property(fc.oneof(anyString, fc.json(), members.map(toJson), fc.tuple(record, mutation).map(([made, change]) => mutate(serializeRecord(made), change))), (value) => {
    const read = parseRecord(value)
    if (read === null) return
    assert.ok(typeof read.accessToken === 'string' && typeof read.tokenType === 'string' && read.scope.every((name) => typeof name === 'string'))
    assert.ok(typeof read.createdAt === 'number' && typeof read.expiresAt === 'number' && (read.endsAt === null || typeof read.endsAt === 'number'))
  }))
})

/** JSON where a value has one; a text that is none otherwise. */
function toJson (value: unknown): string {
  try {
    return JSON.stringify(value) ?? ''
  } catch {
    return 'no JSON'
  }
}

t.test('an error that ends a flow keeps its status, code and reason in the store, and nothing of its message', async () => {
  const plain = fc.stringMatching(/^[\w ./:-]{1,40}$/)
  const code = fc.oneof(plain, fc.integer(), fc.constant(undefined)).filter((value) => !String(value).startsWith('WEBFLOW_OAUTH_'))
  const secretMessage = 'said in confidence'
  const foreign = fc.record({ statusCode: fc.option(fc.integer({ min: 400, max: 599 }), { nil: undefined }), code, reason: fc.option(plain, { nil: undefined }) })
    .map((members) => Object.assign(new Error(secretMessage), Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined))))
  const own = fc.tuple(fc.constantFrom('WEBFLOW_OAUTH_ACCESS_DENIED', 'WEBFLOW_OAUTH_CODE_REJECTED', 'WEBFLOW_OAUTH_STORE_UNAVAILABLE', 'WEBFLOW_OAUTH_STATE_INVALID'), fc.option(plain, { nil: undefined }))
    .map(([ownCode, reason]) => new WebflowOAuthError(ownCode, secretMessage, { reason }))
  const facts = (error: Error) => Object.fromEntries(['code', 'statusCode', 'reason'].map((name) => [name, Reflect.get(error, name)]))
  fc.assert(fc.property(fc.oneof(foreign, own), (error) => {
    const stored = JSON.stringify(createOutcome(error))
    assert.ok(!stored.includes(secretMessage))
    const outcome = parseOutcome(JSON.parse(stored))
    assert.ok(outcome !== null && outcome.kind === 'failed')
    const restored = restoreError(outcome)
    assert.deepEqual(facts(restored), { ...facts(error), statusCode: Reflect.get(error, 'statusCode') ?? 500 })
    assert.equal(restored instanceof WebflowOAuthError, error instanceof WebflowOAuthError)
  }))
})

t.test('any other stored value reads as null, or as an outcome with the right types', async () => {
  const members = fc.record({ kind: fc.constantFrom('connected', 'failed', 'other', 1), keyId: fc.anything(), statusCode: fc.anything(), code: fc.anything(), reason: fc.anything() }, { requiredKeys: [] })
  const likely = fc.record({ kind: fc.constant('connected'), keyId: text })
  fc.assert(fc.property(fc.oneof(fc.anything(), members, likely), (value) => {
    const outcome = parseOutcome(value)
    if (outcome === null) return
    if (outcome.kind === 'connected') assert.equal(typeof outcome.keyId, 'string')
    else assert.ok(restoreError(outcome) instanceof Error)
  }))
})

/** A request of Fastify's, to be asked for by other URLs. */
async function anyRequest (t: Test): Promise<FastifyRequest> {
  const app = Fastify()
  t.teardown(() => app.close())
  return await new Promise((resolve, reject) => {
    app.get('/', async (request) => { resolve(request) })
    app.inject('/').catch(reject)
  })
}

t.test('every query of a callback is refused, or read exactly as it was sent', async (t) => {
  const request = await anyRequest(t)
  const name = fc.oneof({ weight: 4, arbitrary: fc.constantFrom('code', 'state', 'error', 'error_description', 'CODE', 'code[]', 'state[a]', '__proto__', 'constructor', '%63ode') }, { weight: 1, arbitrary: anyString })
  const spell = fc.constantFrom((value: string) => value, (value: string) => encodeURIComponent(Buffer.from(value).toString()), (value: string) => [...Buffer.from(value)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join(''))
  const value = fc.oneof(anyString, fc.constantFrom('', 'a'.repeat(2048), 'a'.repeat(2049), '%00', '%ff%fe', '%', 'access_denied', '\0', ' '))
  const query = fc.array(fc.tuple(name, fc.constantFrom('=', '', '=='), value, spell).map(([key, equals, content, spelled]) => key + equals + spelled(content)), { maxLength: 6 }).map((pairs) => pairs.join('&'))
  await fc.assert(fc.asyncProperty(fc.oneof(query, anyString), async (search) => {
    const asked: FastifyRequest = Object.create(request, { originalUrl: { value: `/callback?${search}` } })
    let read: ReturnType<typeof parseCallback> | null = null
    const error = await failureOf(() => { read = parseCallback(asked) })
    if (error !== null) {
      assert.equal(error.code, 'WEBFLOW_OAUTH_INVALID_CALLBACK')
      assert.equal(error.statusCode, 400)
      return
    }
    const { code, error: refusal, state } = read ?? parseCallback(asked)
    const parameters = new URLSearchParams(search.split('#')[0])
    for (const once of ['code', 'state', 'error', 'error_description']) assert.ok(parameters.getAll(once).length <= 1)
    assert.equal((code === null) !== (refusal === null), true, 'exactly one of both')
    if (code !== null) assert.match(code, /^[!-~]{1,2048}$/)
    assert.notEqual(refusal, '')
    assert.ok(state === null || typeof state === 'string')
  }), { numRuns: 500 * times })
})

const callbackUrl = new URL('https://app.example.com/Web%20flow/c%C3%A4llback')
const paths = resolvePaths({ redirectUri: callbackUrl, prefix: '', authorizePath: undefined, callbackPath: undefined, revokePath: undefined, hasDesigner: true, designerPath: undefined, hasWebhook: true, webhookPath: undefined })
const rules = { origin: callbackUrl.origin, allowedOrigins: new Set([callbackUrl.origin, 'https://spa.example.com', 'http://localhost:5173']), ownPaths: paths.own }

const routerOptions = [
  {},
  { caseSensitive: false },
  { ignoreTrailingSlash: true },
  { ignoreDuplicateSlashes: true },
  { useSemicolonDelimiter: true },
  { caseSensitive: false, ignoreTrailingSlash: true, ignoreDuplicateSlashes: true, useSemicolonDelimiter: true }
]

/** Apps with our paths for routes, one for each way in which a router may read paths. */
async function startRouters (t: Test): Promise<FastifyInstance[]> {
  return await Promise.all(routerOptions.map(async (options) => {
    const app = Fastify({ routerOptions: options })
    t.teardown(() => app.close())
    for (const url of [paths.routes.authorize, paths.routes.callback, ...[paths.routes.revoke, paths.routes.designer].filter((path) => path !== null)]) {
      app.get(url, async (_request, reply) => reply.code(299).send())
    }
    await app.ready()
    return app
  }))
}

const own = [callbackUrl.pathname, '/Web%20flow/authorize', '/Web%20flow/revoke']
/** Spellings of one path that some router takes for the same. */
const spelling = fc.tuple(fc.constantFrom(...own), fc.infiniteStream(fc.nat({ max: 60 })), fc.constantFrom('', '/', '//', ';', ';a=b', ';/x', '?', '?a', '#a', '/.', '/x/..', '/%2e', '/.%2E/', '%2f', '%3b', '%00', '.', ' ', '%20', '/;')).map(([path, choices, end]) => {
  const spelled = path.match(/%[\dA-F]{2}|[^]/gi) ?? []
  return spelled.map((character) => {
    const [choice = 0] = choices
    switch (choice) {
      case 0: return character.length === 1 && character !== '/' ? `%${character.charCodeAt(0).toString(16).padStart(2, '0')}` : character.toLowerCase()
      case 1: return character.toUpperCase()
      case 2: return character.toLowerCase()
      case 3: return character === '/' ? '//' : character
      case 4: return character === '/' ? '/./' : character
      case 5: return character === '/' ? '\\' : character
      case 6: return character === '/' ? '/x/../' : decodeURIComponent(character.startsWith('%C') || /%A4/i.test(character) ? '' : character)
      case 7: return character === '/' ? '%2f' : `\t${character}`
      case 8: return character.startsWith('%') ? `%25${character.slice(1)}` : character
      default: return character
    }
  }).join('') + end
})
const address = fc.tuple(
  fc.constantFrom('', '', '', '', 'https:', 'http:', 'HTTPS:', 'https:/', 'javascript:', 'data:', 'blob:https:', 'ws:', 'file:', ' https:', '\thttps:', 'h\nttps:', 'view-source:'),
  fc.constantFrom('', '', '', '', '//', '/', '\\\\', '/\\', '///', '//\t/'),
  fc.constantFrom('', '', '', '', 'app.example.com', 'APP.example.com', 'app.example.com:443', 'app.example.com:80', 'app.example.com.', 'spa.example.com', 'localhost:5173', 'evil.example', 'app.example.com@evil.example', 'evil.example@app.example.com', ':@app.example.com', '@app.example.com', 'a:b@spa.example.com', 'app。example。com', 'app%2eexample.com', 'ａpp.example.com', 'app.example.com%00.evil.example', '[::1]', '0x7f.1'),
  fc.oneof(spelling, spelling, fc.webPath(), text)
).map((parts) => parts.join(''))

t.test('a `returnTo` is dropped, or leads to an allowed origin and, whatever the router, to none of our own routes', async (t) => {
  const routers = await startRouters(t)
  const leading = [...own, '/Web flow/authorize', `${rules.origin}/Web%20flow/revoke?x`, '/./%57eb%20flow/authorize', '/x/../Web%20flow/revoke#a']
  const staying = ['/', '/home?a=b#c', '/Web%20flow', '/Web%20flow/authorized', 'https://spa.example.com/Web%20flow/authorize']
  let [kept, reached] = [0, 0]
  await fc.assert(fc.asyncProperty(fc.oneof({ weight: 6, arbitrary: address }, { weight: 1, arbitrary: anyString }, { weight: 1, arbitrary: fc.webUrl() }), async (value) => {
    const target = resolveReturnTo(value, rules)
    if (target === null) {
      const url = URL.canParse(value, rules.origin) ? new URL(value, rules.origin) : null
      const answers = url?.protocol !== 'https:' || url.origin !== rules.origin ? [] : await Promise.all(routers.map((router) => router.inject(url.href)))
      if (answers.some(({ statusCode }) => statusCode === 299)) reached++
      return
    }
    kept++
    const url = new URL(target)
    assert.equal(url.href, target, 'it is absolute')
    assert.ok(url.origin === rules.origin ? target.length - rules.origin.length <= 2048 : target.length <= 2048)
    assert.match(url.protocol, /^https?:$/)
    assert.ok(rules.allowedOrigins.has(url.origin))
    assert.equal(url.username + url.password, '')
    assert.doesNotMatch(target, /[\s\\\0]/)
    if (url.origin !== rules.origin) return
    for (const [index, router] of routers.entries()) {
      assert.notEqual((await router.inject(target)).statusCode, 299, JSON.stringify(routerOptions[index]))
    }
  }), { numRuns: 300 * times, examples: [...leading, ...staying].map((value) => [value]) })
  t.ok(kept >= staying.length, 'some are kept')
  t.ok(reached >= leading.length, 'some that are dropped would have led to us')
})

t.test('the shortest spelling of a `returnTo` is never longer than the given one, and leads to the same URL', async (t) => {
  const long = fc.tuple(fc.constantFrom('', '', rules.origin, 'https://spa.example.com', '//app.example.com'), fc.constantFrom('/', '/.//', '//', '/?', '#', ''), fc.string({ unit: 'binary', maxLength: 3000 }))
  let [good, tooLong] = [0, 0]
  fc.assert(fc.property(fc.oneof({ weight: 4, arbitrary: address }, { weight: 1, arbitrary: anyString }, { weight: 2, arbitrary: long.map((parts) => parts.join('')) }), (value) => {
    const target = judgeReturnTo(value, rules)
    assert.equal(resolveReturnTo(value, rules), target.kind === 'good' ? target.href : null)
    if (target.kind === 'too long') tooLong++
    if (target.kind !== 'good') return
    good++
    assert.ok(Buffer.byteLength(target.shortest) <= Buffer.byteLength(value))
    // A flow cookie holds it as UTF-8.
    assert.equal(resolveReturnTo(Buffer.from(target.shortest).toString(), rules), target.href)
  }), { numRuns: 1000 * times, examples: [[`//app.example.com//${'a'.repeat(9)}`], ['/.//x'], [`${rules.origin}/x`], ['/\uD800'], [`/${'a'.repeat(2048)}`]] })
  t.ok(good > 0 && tooLong > 0)
})

t.test('all spellings that a router treats as one path are normalised to one spelling', async () => {
  const path = fc.array(fc.string({ unit: fc.constantFrom(...'abcXYZ019-._~!$&\'()*,'), minLength: 1, maxLength: 8 }), { minLength: 1, maxLength: 4 }).map((segments) => `/${segments.join('/')}`)
  fc.assert(fc.property(path, fc.infiniteStream(fc.nat({ max: 3 })), fc.constantFrom('', '/', '//', ';', ';a=/b'), (plain, choices, end) => {
    const spelled = [...plain].map((character) => {
      const [choice = 0] = choices
      if (character === '/') return '/'.repeat(1 + choice)
      // What decodeURI leaves alone no router decodes either.
      if (choice === 0 && !/[$&,]/.test(character)) return `%${character.charCodeAt(0).toString(16)}`
      return choice === 1 ? character.toUpperCase() : character
    }).join('')
    assert.equal(normalizePath(spelled + end), normalizePath(plain))
  }))
  fc.assert(fc.property(anyString, (value) => { assert.equal(typeof normalizePath(value), 'string') }))
})

t.test('whatever path `redirectUri` has, the callback is found there or the path is refused', async (t) => {
  const segment = fc.oneof(fc.string({ maxLength: 8 }), fc.string({ unit: 'binary', maxLength: 5 }), fc.constantFrom(':id', '*', ':a(^\\d+)', '::', 'a:b*c', '(x)', '{y}', 'ü', '%', '%41', '%2F', 'a%3Ab', '...', '~', '-', '"', '|', '^', '`', '[', ']', '_', '', ' ', '\0'))
  const path = fc.tuple(fc.array(segment, { maxLength: 4 }), fc.constantFrom('', '/')).map(([segments, end]) => `/${segments.join('/')}${end}`)
  let routed = 0
  await fc.assert(fc.asyncProperty(path, fc.boolean(), async (raw, encoded) => {
    const uri = `https://app.example.com${encoded ? encodeURI(raw) : raw}`
    const app = Fastify()
    try {
      const error = await failureOf(() => app.register(webflowOAuth, { ...baseOptions(null), redirectUri: uri, successRedirect: 'https://home.example.com/', revokeRedirect: 'https://home.example.com/', authorizePath: '/-begin', revokePath: false }).ready())
      if (error !== null) {
        assert.equal(error.code, 'WEBFLOW_OAUTH_INVALID_OPTION')
        const { pathname } = URL.canParse(uri) ? new URL(uri) : { pathname: '' }
        const reserved = /%(?:2[3-6BCF]|3[ABDF]|40)/i.test(pathname)
        const undecodable = error.message.includes('a percent-encoded character in its path') && !isDecodable(pathname)
        const wrong = /[\s\\#?]/.test(uri)
        assert.ok(reserved || undecodable || wrong, `${uri}: ${error.message}`)
        return
      }
      routed++
      const { statusCode, body } = await app.inject(uri)
      assert.equal(statusCode, 400, `${uri}: ${body}`)
      assert.match(body, /WEBFLOW_OAUTH_INVALID_CALLBACK/)
    } finally {
      await app.close()
    }
  }), { numRuns: 100 * times })
  t.ok(routed > 30, 'many are routed')
})

function isDecodable (path: string): boolean {
  try {
    return decodeURI(path) !== ''
  } catch {
    return false
  }
}

t.test('for any options, `register` accepts them or names the wrong one, and repeats no secret', async (t) => {
  const likely: Arbitrary<unknown> = fc.constantFrom<unknown>(undefined, null, '', '/', '/a', '//a', 'https://a.example/', 'http://a.example', 'http://localhost:1/', 'javascript:1', 0, 1, -1, 1.5, 2 ** 31, NaN, true, false, [], ['sites:read'], [null], {}, { get: 1 }, () => 'x', 'GET', 'POST', 'DELETE', 'restart', 'reject', 'webflow_flow', '__Host-a', 'x'.repeat(40), Buffer.alloc(32), Buffer.alloc(31), [Buffer.alloc(32), 'y'.repeat(40)], new MemoryStore(), new Map(), { token: 'https://a.example/' }, { token: 1 }, { tokens: 'x' }, ['https://a.example'], ['*'], Symbol('s'), 1n, new Date(0), /x/)
  const value = fc.oneof(likely, fc.anything({ withBigInt: true, withDate: true, withMap: true, withSet: true, withTypedArray: true, withNullPrototype: true, withBoxedValues: true }), anyString)
  const names = ['clientId', 'clientSecret', 'redirectUri', 'scope', 'secret', 'store', 'authorizePath', 'revokePath', 'revokeMethod', 'callbackPath', 'successRedirect', 'failureRedirect', 'revokeRedirect', 'allowedOrigins', 'onMissingState', 'identify', 'cookieName', 'sessionMaxAge', 'flowMaxAge', 'timeout', 'storeTimeout', 'dispatcher', 'endpoints', 'beforeStore', 'onSuccess', 'onFailure', 'onRevoke']
  const known = new Set(names)
  const right: Array<[string, unknown]> = [['successRedirect', '/home'], ['failureRedirect', 'https://a.example/'], ['revokeRedirect', undefined], ['authorizePath', '/begin'], ['revokePath', false], ['callbackPath', '/back'], ['allowedOrigins', ['https://a.example']], ['onMissingState', 'reject'], ['cookieName', 'a-b'], ['flowMaxAge', 60], ['timeout', 1], ['endpoints', {}], ['identify', () => null], ['secret', [Buffer.alloc(32), 'y'.repeat(40)]], ['revokeMethod', 'DELETE'], ['scope', ['x:read', 'x:read']]]
  const given = fc.array(fc.oneof({ weight: 2, arbitrary: fc.constantFrom(...right) }, { weight: 1, arbitrary: fc.tuple(fc.oneof({ weight: 20, arbitrary: fc.constantFrom(...names) }, { weight: 1, arbitrary: fc.constantFrom('prefix', 'clientID', 'constructor', '') }), value) }), { minLength: 1, maxLength: 4 })
  let [taken, refused] = [0, 0]
  await fc.assert(fc.asyncProperty(given, async (pairs) => {
    const options: WebflowOAuthOptions = Object.assign(baseOptions(null), Object.fromEntries(pairs))
    const app = Fastify()
    const error = await failureOf(() => app.register(webflowOAuth, options).ready())
    await app.close()
    if (error === null) {
      taken++
      return
    }
    refused++
    assert.equal(error.code, 'WEBFLOW_OAUTH_INVALID_OPTION')
    // A misspelt name comes from the options themselves, and may hold anything.
    const [, option = 'none'] = /^`(endpoints(?=\.)|[^`]*)[`.]/.exec(error.message) ?? []
    assert.ok(known.has(option) || pairs.some(([name]) => name === option), error.message)
    const secrets = [secret, clientSecret, ...pairs.flatMap(([name, content]) => name === 'secret' || name === 'clientSecret' ? [content].flat() : [])]
    for (const each of secrets) {
      if (typeof each === 'string' && each.length >= 16) assert.ok(!error.message.includes(each))
    }
  }), { numRuns: 200 * times })
  t.ok(taken > 20 && refused > 20, `${taken} are taken, ${refused} refused`)
})

const canary = 'said-5e7f90aa42-by-webflow'
const anyBody: Arbitrary<string | Buffer> = fc.oneof(
  fc.json(),
  fc.record({ access_token: fc.anything(), token_type: fc.anything(), scope: fc.anything(), expires_in: fc.anything(), error: fc.anything(), did_revoke: fc.anything() }, { requiredKeys: [] }).map(toJson),
  fc.record({
    access_token: fc.oneof(anyString, fc.constant(canary)),
    token_type: fc.constantFrom('bearer', '', null, 1, canary),
    scope: fc.oneof(anyString, fc.constantFrom('sites:read cms:read', 'sites:read,cms:read', '', ' , ', null)),
    expires_in: fc.oneof(fc.double(), fc.constantFrom('3600', '1e400', '-1', '', ' ', 'x', '0x10', null, true)),
    error: fc.constantFrom('invalid_grant', 'invalid_client', 'unauthorized_client', 'invalid_token', 'invalid_request', '', null, 1, canary),
    error_description: fc.constant(canary),
    did_revoke: fc.constantFrom(true, false, 'true', 1, null),
    didRevoke: fc.constantFrom(true, false, null)
  }, { requiredKeys: [] }).map(toJson),
  anyString,
  fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  fc.constantFrom('', '[]', 'null', '"x"', '{', `<html>${canary}</html>`, 'x'.repeat(64 * 1024 + 1), `{"access_token":"${'x'.repeat(70_000)}"}`, '{"__proto__":{"access_token":"x"}}', '{"access_token":"x","access_token":""}', '\ufeff{"access_token":"x"}', `{"a":${'['.repeat(20_000)}`)
)

t.test('any answer of Webflow is read as a token, as a revocation or as an error of the plugin that repeats nothing of the answer', async (t) => {
  let respond: (response: ServerResponse) => void = (response) => { response.end() }
  const other = await startHttp(t, (response) => response.end('{"access_token":"stolen","did_revoke":true}'))
  const server = await startHttp(t, (response) => respond(response))
  const dispatcher = new Agent()
  t.teardown(() => dispatcher.close())
  const client = new WebflowClient({ clientId, clientSecret, redirectUri, endpoints: { authorize: server.url, token: server.url, revoke: server.url, introspect: server.url, authorizedBy: server.url, resolve: server.url }, timeout: 5000, dispatcher })
  const codes = ['WEBFLOW_OAUTH_CODE_REJECTED', 'WEBFLOW_OAUTH_CLIENT_REJECTED', 'WEBFLOW_OAUTH_WEBFLOW_UNAVAILABLE', 'WEBFLOW_OAUTH_WEBFLOW_RESPONSE_INVALID']
  const status = fc.oneof({ weight: 2, arbitrary: fc.constantFrom(200, 201, 400, 401) }, { weight: 1, arbitrary: fc.integer({ min: 200, max: 599 }) })
  const type = fc.constantFrom('application/json', 'text/html', 'application/x-www-form-urlencoded', 'nonsense', '')
  const seen = new Set<string>()

  const judge = (error: WebflowOAuthError | null, allowed: readonly string[]) => {
    seen.add(error?.code ?? 'done')
    if (error === null) return
    assert.ok(allowed.includes(error.code), error.code)
    const told = `${error.message} ${error.stack} ${JSON.stringify(error)} ${String(error.cause)}`
    for (const word of [canary, clientSecret, 'the-code-itself', 'the-token-itself']) assert.ok(!told.includes(word))
  }
  await fc.assert(fc.asyncProperty(status, type, anyBody, async (statusCode, contentType, body) => {
    respond = (response) => response.writeHead(statusCode, { location: other.url, ...(contentType === '' ? {} : { 'content-type': contentType }) }).end(body)
    const answers: { grant?: IssuedToken, upstream?: Upstream } = {}
    judge(await failureOf(async () => { answers.grant = await client.exchange('the-code-itself') }), codes)
    judge(await failureOf(async () => { answers.upstream = await client.revoke('the-token-itself') }), codes.slice(1))
    const { grant, upstream } = answers
    if (grant !== undefined) {
      assert.ok(statusCode < 300 && typeof grant.accessToken === 'string' && grant.accessToken !== '')
      assert.ok(typeof grant.tokenType === 'string' && grant.tokenType !== '')
      assert.ok(grant.scope === null || (grant.scope.length > 0 && grant.scope.every((name) => name !== '' && !/[\s,]/.test(name))))
      assert.ok(grant.expiresIn === null || (Number.isFinite(grant.expiresIn) && grant.expiresIn > 0))
    }
    if (upstream !== undefined) assert.ok(upstream === 'revoked' ? statusCode < 300 : upstream === 'already_revoked')
  }), { numRuns: 300 * times })
  t.strictSame([...seen].sort(), ['done', ...codes].sort(), 'every outcome was seen')
  t.equal(other.requests.length, 0, 'no redirect is followed')
})

/** What happens to a store. */
type Command =
  | { kind: 'set', key: string, value: string, life: number, tags: readonly string[], condition: 'none' | 'unknown' | 'current' | 'other' }
  | { kind: 'delete', key: string, condition: 'none' | 'current' | 'other' }
  | { kind: 'get', key: string }
  | { kind: 'find', tag: string, limit: number }
  | { kind: 'wait', time: number }

const key = fc.constantFrom('a', 'b', 'c', 'd', 'e', '__proto__', 'constructor', '')
const tag = fc.constantFrom('x', 'y', '__proto__')
const command: Arbitrary<Command> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('set' as const), key, value: fc.constantFrom('1', '2', ''), life: fc.oneof(fc.integer({ min: 1, max: 50 }), fc.constantFrom(0, -1)), tags: fc.array(tag, { maxLength: 3 }), condition: fc.constantFrom('none' as const, 'unknown' as const, 'current' as const, 'other' as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('delete' as const), key, condition: fc.constantFrom('none' as const, 'current' as const, 'other' as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('get' as const), key }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('find' as const), tag, limit: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('wait' as const), time: fc.integer({ min: 1, max: 20 }) }) }
)

/** The plainest store there is: it looks at everything, each time. */
class Model {
  entries: Array<{ key: string, value: string, expiresAt: number, tags: readonly string[] }> = []

  living (name: string) {
    this.entries = this.entries.filter(({ expiresAt }) => expiresAt > Date.now())
    return this.entries.find((entry) => entry.key === name)
  }

  set (name: string, value: string, expiresAt: number, tags: readonly string[], limit: number): void {
    this.entries = this.entries.filter((entry) => entry.key !== name)
    if (expiresAt <= Date.now()) return
    if (this.entries.length >= limit) {
      const nearest = Math.min(...this.entries.map((entry) => entry.expiresAt))
      this.entries = this.entries.filter((entry) => entry.expiresAt !== nearest)
    }
    this.entries.push({ key: name, value, expiresAt, tags })
  }
}

t.test('a MemoryStore answers any calls like the simplest store', async (t) => {
  mock.timers.enable({ apis: ['Date'], now: 1_800_000_000_000 })
  t.teardown(() => mock.timers.reset())
  await fc.assert(fc.asyncProperty(fc.array(command, { minLength: 1, maxLength: 60, size: 'max' }), fc.integer({ min: 1, max: 8 }), async (commands, maxEntries) => {
    const store = new MemoryStore({ maxEntries })
    const model = new Model()
    for (const [index, step] of commands.entries()) {
      if (step.kind === 'wait') {
        mock.timers.tick(step.time * 100)
        continue
      }
      if (step.kind === 'find') {
        const keys: string[] = []
        for (let cursor: string | null | undefined; cursor !== null;) {
          const page = await store.find(step.tag, { limit: step.limit, ...(cursor === undefined ? {} : { cursor }) })
          assert.ok(page.keys.length <= step.limit)
          keys.push(...page.keys)
          cursor = page.cursor
        }
        model.living('')
        assert.deepEqual(keys, model.entries.filter(({ tags }) => tags.includes(step.tag)).map((entry) => entry.key))
        continue
      }
      const current = model.living(step.key)
      if (step.kind === 'get') {
        assert.equal(await store.get(step.key), current?.value ?? null)
        continue
      }
      const { condition } = step
      const only = condition === 'none' ? {} : { if: condition === 'current' ? current?.value ?? 'nothing' : 'something else' }
      const holds = condition === 'none' || (condition === 'unknown' && current === undefined) || (condition === 'current' && current !== undefined)
      if (step.kind === 'delete') {
        assert.equal(await store.delete(step.key, only), holds && current !== undefined)
        if (holds) model.entries = model.entries.filter((entry) => entry.key !== step.key)
        continue
      }
      // No two deadlines are alike, so that there is one nearest.
      const expiresAt = Date.now() + (step.life > 0 ? step.life * 100 + index : step.life)
      assert.equal(await store.set(step.key, step.value, { expiresAt, tags: step.tags, ...(condition === 'unknown' ? { if: null } : only) }), holds)
      if (holds) model.set(step.key, step.value, expiresAt, step.tags, maxEntries)
      assert.ok(store.size <= maxEntries)
    }
    for (const { key: name, value } of model.entries) assert.equal(await store.get(name), model.living(name) === undefined ? null : value)
  }), { numRuns: 400 * times })
})

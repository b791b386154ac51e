import { inspect } from 'node:util'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { MemoryStore, WebflowOAuthError, type ErrorCode, type WebflowOAuthOptions } from '../lib/index.ts'
import { ownCode } from '../lib/diagnostics.ts'
import { codeOf, describeForeign, isError, readMember, statusOf, toError } from '../lib/errors.ts'
import { createOutcome, parseOutcome, restoreError } from '../lib/flow/outcome.ts'
import { reportedStatus } from '../lib/webflow/reported-status.ts'
import { assertNothingLeaked, createApp, startWebflow } from './support/app.ts'
import { Browser } from './support/browser.ts'

// What a foreign error says belongs into no error of ours.
const said = 'said-0b6df1a9e3'
const members = ['name', 'message', 'stack', 'code', 'reason', 'errors', 'cause', 'statusCode', 'status', 'headers', 'response', 'then', 'toJSON']

const throwing = () => { throw new TypeError(said) }

/** An error with a getter that throws. */
const withGetter = (name: string) => Object.defineProperty(new Error(said), name, { get: throwing })

/** A Proxy that throws on everything, `instanceof` included. */
function createHostileProxy (target: object): object {
  return new Proxy(target, Object.fromEntries(Object.getOwnPropertyNames(Reflect).map((trap) => [trap, throwing])))
}

function createRevokedProxy (target: object): object {
  const { proxy, revoke } = Proxy.revocable(target, {})
  revoke()
  return proxy
}

/** An error whose stack is a list, as an app's `Error.prepareStackTrace` may make it. */
function withStackOfFrames (): Error {
  const { prepareStackTrace } = Error
  Error.prepareStackTrace = (_error, frames) => frames
  const error = new Error(said)
  const { stack } = error
  Error.prepareStackTrace = prepareStackTrace
  if (typeof stack === 'string') throw new TypeError('The stack is no list')
  return error
}

const hostile: ReadonlyArray<readonly [title: string, thrown: unknown]> = [
  ['a stack of frames', withStackOfFrames()],
  ...members.map((name) => [`a ${name} that throws`, withGetter(name)] as const),
  ...members.flatMap((name) => [null, undefined, 5, 5n, Symbol(said), {}, [said], throwing].map((value) => [`a ${name} that is ${typeof value}`, Object.defineProperty(new Error(said), name, { value })] as const)),
  ['a Proxy of an error that throws on everything', createHostileProxy(new Error(said))],
  ['a Proxy of a function that throws on everything', createHostileProxy(throwing)],
  ['a revoked Proxy', createRevokedProxy(new Error(said))],
  ['a Proxy whose reads throw', new Proxy(new Error(said), { get: throwing })],
  ['a frozen error', Object.freeze(new Error(said))],
  ['an error that holds itself', Object.defineProperty(new Error(said), 'cause', { get () { return this } })],
  ['an error without prototype', Object.setPrototypeOf(new Error(said), null)],
  ...[null, undefined, said, 5, Symbol(said), {}, [], Object.create(null)].map((thrown) => [`a thrown ${typeof thrown}`, thrown] as const)
]

/** Every function that is given foreign errors. */
function touchAll (thrown: unknown): { described: Error, error: Error } {
  const described = describeForeign(thrown)
  const error = toError(thrown)
  isError(thrown)
  ownCode(thrown)
  reportedStatus(thrown)
  for (const name of members) readMember(thrown, name)
  for (const each of [described, error, ...isError(thrown) ? [thrown] : []]) {
    codeOf(each)
    const outcome = createOutcome(each)
    restoreError(outcome)
    if (parseOutcome(JSON.parse(JSON.stringify(outcome))) === null) throw new TypeError('The outcome cannot be read')
    if (statusOf(each) < 400 || statusOf(each) > 599) throw new TypeError('The status is none of a failure')
  }
  return { described, error }
}

t.test('every foreign error can be turned into an error of the plugin, which never repeats the foreign message', async (t) => {
  for (const [title, thrown] of hostile) {
    const { described, error } = touchAll(thrown)
    t.notMatch(inspect(described, { showHidden: true, depth: 5 }), said, title)
    t.type(described.stack, 'string', title)
    for (const name of ['name', 'message', 'stack', 'code', 'cause', 'statusCode', 'headers']) t.doesNotThrow(() => Reflect.get(error, name), `${title}: what is handed on can be read`)
  }
})

t.test('an error whose members can be read is passed on unchanged', async (t) => {
  for (const error of [new Error(said), Object.freeze(new RangeError(said)), withStackOfFrames(), new WebflowOAuthError('WEBFLOW_OAUTH_CROSS_SITE', 'x')]) t.equal(toError(error), error)
})

t.test('no combination of odd members and traps makes the error functions throw', async () => {
  // fast-check cannot hold a revoked Proxy, so that it makes what makes the values.
  const value = fc.oneof(fc.anything({ withBigInt: true, withNullPrototype: true }).map((value) => () => value), fc.constantFrom(() => throwing, () => Symbol(said), () => createRevokedProxy({}), () => createHostileProxy({})))
  const member = fc.tuple(fc.constantFrom(...members), fc.oneof({ weight: 3, arbitrary: value }, { weight: 1, arbitrary: fc.constant(null) }))
  const error = fc.tuple(fc.array(member), fc.constantFrom('plain', 'frozen', 'trapped', 'revoked')).map(([list, kind]) => () => {
    const error = new Error(said)
    // V8 reads the message when the stack is first touched: that must not come after the message was replaced.
    Object.defineProperty(error, 'stack', { configurable: true, value: error.stack })
    for (const [name, make] of list) Object.defineProperty(error, name, { configurable: true, ...make === null ? { get: throwing } : { value: make() } })
    if (kind === 'frozen') Object.freeze(error)
    if (kind === 'trapped') return new Proxy(error, { get: throwing, has: throwing, getPrototypeOf: throwing })
    return kind === 'revoked' ? createRevokedProxy(error) : error
  })
  fc.assert(fc.property(fc.oneof({ weight: 4, arbitrary: error }, { weight: 1, arbitrary: value }), (make) => { touchAll(make()) }), { numRuns: 1000 })
})

t.test('the stack lines of a foreign error are kept', async (t) => {
  const error = Object.assign(new RangeError(said), { code: 'ERR_OUT_OF_RANGE' })
  const { message, stack } = describeForeign(error)
  t.equal(message, 'RangeError ERR_OUT_OF_RANGE')
  t.match(stack, /^Error: RangeError ERR_OUT_OF_RANGE\n\s+at .*errors\.test\.ts/)
  t.equal(describeForeign(withStackOfFrames()).stack, 'Error: Error', 'a stack that is not a string is dropped')
})

/** Runs a test while the app makes stacks into lists. */
function withFrames (t: Test): void {
  const { prepareStackTrace } = Error
  Error.prepareStackTrace = (_error, frames) => frames
  t.teardown(() => { Error.prepareStackTrace = prepareStackTrace })
}

t.test('errors can be made although the app\'s `Error.prepareStackTrace` throws', async (t) => {
  const { prepareStackTrace } = Error
  t.teardown(() => { Error.prepareStackTrace = prepareStackTrace })
  Error.prepareStackTrace = throwing
  const foreign = new RangeError(said)
  const made = [describeForeign(foreign), describeForeign(null), toError(foreign), new WebflowOAuthError('WEBFLOW_OAUTH_CROSS_SITE', 'x', { cause: describeForeign(foreign) })]
  Error.prepareStackTrace = prepareStackTrace
  t.strictSame(made.map(({ message }) => message), ['RangeError', 'Something that is not an Error was thrown.', 'RangeError', 'x'])
})

t.test('an app whose stacks are lists gets its answers while the store and hooks fail', async (t) => {
  withFrames(t)
  const failing = new MemoryStore()
  failing.get = () => Promise.reject(new Error(said))
  const webflow = await startWebflow(t)
  const app = await createApp(t, { webflow, options: { store: failing } })
  const { statusCode } = await app.inject({ url: '/token', headers: { cookie: `__Host-webflow=${'A'.repeat(43)}` } })
  t.equal(statusCode, 503)

  const refusing = await createApp(t, { webflow, options: { beforeStore: () => { throw Object.assign(new Error('no'), { statusCode: 403 }) } } })
  const browser = new Browser(refusing)
  const callback = await webflow.approve(String((await browser.navigate('/webflow/authorize')).location))
  t.equal((await browser.get(callback)).statusCode, 403)
})

const hooks: ReadonlyArray<readonly [name: string, options: (thrown: unknown) => Partial<WebflowOAuthOptions>, statusCode: number]> = [
  ['beforeStore', (thrown) => ({ beforeStore: () => { throw thrown } }), 500],
  ['onSuccess', (thrown) => ({ onSuccess: () => { throw thrown } }), 303],
  ['onFailure', (thrown) => ({ beforeStore: () => { throw Object.assign(new Error('no'), { statusCode: 403 }) }, onFailure: () => { throw thrown } }), 403],
  ['identify', (thrown) => ({ identify: () => { throw thrown } }), 500]
]

for (const [name, options, statusCode] of hooks) {
  t.test(`a callback is answered, and its repetition too, whatever \`${name}\` throws`, async (t) => {
    const webflow = await startWebflow(t)
    const odd = [createHostileProxy(new Error(said)), createRevokedProxy({}), withGetter('message'), withGetter('stack'), withGetter('statusCode'), Object.freeze(new Error('frozen')), Object.assign(new Error('odd'), { code: { deep: {} } }), Object.assign(new Error('odd'), { code: 5n }), withStackOfFrames()]
    for (const thrown of odd) {
      const app = await createApp(t, { webflow, options: options(thrown) })
      const browser = new Browser(app)
      const { location, statusCode: begun } = await browser.navigate('/webflow/authorize')
      if (name === 'identify') {
        t.equal(begun, statusCode)
        continue
      }
      const callback = await webflow.approve(String(location))
      t.equal((await browser.get(callback)).statusCode, statusCode)
      t.equal((await browser.get(callback)).statusCode, statusCode, 'the same callback again')
    }
  })
}

t.test('`reportUnauthorized` accepts any value as the reported error', async (t) => {
  const webflow = await startWebflow(t)
  const app = await createApp(t, { webflow })
  for (const [title, thrown] of hostile) t.equal(await app.webflowOAuth.reportUnauthorized('A'.repeat(43), thrown), null, title)
})

// NestJS 12 keeps the status of an error, in `isHttpError` of its BaseExceptionFilter, when `expose` is a boolean, `statusCode` a number
// that `status` equals, and it is an Error; otherwise it answers 500. With `expose: false` it replaces the message by the status's own text.
// NestJS 10 and 11 look at `statusCode` and `message` alone.
t.test('NestJS recognises an error of the plugin as an HTTP error, and shows its message below 500', async (t) => {
  const rows: ReadonlyArray<readonly [code: ErrorCode, statusCode: number, expose: boolean]> = [
    ['WEBFLOW_OAUTH_TOKEN_REQUIRED', 401, true],
    ['WEBFLOW_OAUTH_STATE_INVALID', 400, true],
    ['WEBFLOW_OAUTH_SCOPE_MISSING', 403, true],
    ['WEBFLOW_OAUTH_INVALID_OPTION', 500, false],
    ['WEBFLOW_OAUTH_STORE_UNAVAILABLE', 503, false]
  ]
  for (const [code, statusCode, expose] of rows) {
    const error = new WebflowOAuthError(code, 'a message')
    t.ok(error instanceof Error)
    t.strictSame([error.statusCode, error.status, error.expose], [statusCode, statusCode, expose], code)
  }
  const other = new WebflowOAuthError('WEBFLOW_OAUTH_INVALID_OPTION', 'a message', { statusCode: 400 })
  t.strictSame([other.status, other.expose], [400, true], 'a status of its own decides `status` and `expose`')
  t.strictSame(Object.keys(other).sort(), ['code', 'name', 'statusCode'], 'loggers do not list `status` and `expose`')
})

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

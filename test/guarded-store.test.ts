import Fastify from 'fastify'
import { createHmac as createNodeHmac, randomBytes } from 'node:crypto'
import { Console } from 'node:console'
import { Writable } from 'node:stream'
import { mock } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { format, inspect } from 'node:util'
import { serialize } from 'node:v8'
import t, { type Test } from 'tap'
import { BoundedMap } from '../lib/collections/bounded-map.ts'
import { diagnostics } from '../lib/diagnostics.ts'
import { WebflowOAuthError, codeOf, describeForeign, isErrorCode, statusOf, toError } from '../lib/errors.ts'
import { createFlowCookie, peekFlowCookie, readFlowCookie } from '../lib/flow/cookie.ts'
import { createOutcome, parseOutcome, restoreError } from '../lib/flow/outcome.ts'
import { FlowRecords } from '../lib/flow/records.ts'
import { GuardedStore } from '../lib/storage/guarded-store.ts'
import { isObject, parseJson } from '../lib/collections/json.ts'
import { createHmac, createKeyring, mac, storeId, verifyMac, type Keyring } from '../lib/storage/keyring.ts'
import { Limit } from '../lib/collections/limit.ts'
import { resolveOptions } from '../lib/options/resolve.ts'
import { createSealer, type Sealer } from '../lib/storage/seal.ts'
import { SealedStore } from '../lib/storage/sealed-store.ts'
import { createState, flowHandle, readState } from '../lib/flow/state.ts'
import { TagNames } from '../lib/tokens/tags.ts'
import { TokenRecords } from '../lib/tokens/records.ts'
import { ProtectedToken, absorb, isNewer, parseRecord, serializeRecord, type TokenRecord } from '../lib/tokens/record.ts'
import { BackgroundTasks } from '../lib/collections/background-tasks.ts'
import { MemoryStore } from '../stores/memory.ts'
import type { TokenStore } from '../stores/token-store.ts'
import { tick } from './support/clock.ts'

const start = 1_800_000_000_000
const clientId = 'c'.repeat(64)
const secrets = { old: randomBytes(32), new: randomBytes(32), other: randomBytes(32) }
const accessToken = 'token-51d7a0c29e'
const base64url = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
// What a foreign error carries and nobody may see.
const hidden = 'hidden-8e1f44b7d3'

const keyringOf = (...names: ReadonlyArray<keyof typeof secrets>) => createKeyring(names.map((name) => secrets[name]), clientId)
const inAMinute = () => Date.now() + 60_000

/** A store of which a test has replaced some methods, by right ones or wrong ones. */
const storeWith = (methods: Record<string, unknown>): TokenStore => Object.defineProperties(new MemoryStore(), Object.getOwnPropertyDescriptors(methods))
const never = () => new Promise<never>(() => {})

/** Puts the test on a clock of its own. */
function useClock (t: Test): void {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: start })
  t.teardown(() => mock.timers.reset())
}

/** What a promise has come to, without waiting for it. */
async function stateOf (promise: Promise<unknown>): Promise<string> {
  const state = await Promise.race([promise.then(() => 'resolved', (error: unknown) => error instanceof WebflowOAuthError ? error.code : 'rejected'), setImmediate('pending')])
  return state
}

const outage = 'WEBFLOW_OAUTH_STORE_UNAVAILABLE'

async function failureOf (promise: Promise<unknown>): Promise<WebflowOAuthError> {
  const error: unknown = await promise.then(() => null, (thrown: unknown) => thrown)
  if (!(error instanceof WebflowOAuthError)) throw new TypeError('The call did not fail as it should')
  return error
}

/** Every way in which an error can be printed, at once. */
const printed = (error: Error) => inspect(error, { depth: null, showHidden: true, getters: true }) + String(error.stack) + JSON.stringify(error) + format('%s %o %O', error, error, error)

/** A logger whose lines a test reads. */
function createLog () {
  const lines: Array<Record<string, unknown>> = []
  const stream = new Writable({
    write (chunk, _encoding, done) {
      lines.push(JSON.parse(String(chunk)))
      done()
    }
  })
  return { log: Fastify({ logger: { level: 'trace', stream } }).log, lines }
}

t.test('GuardedStore', async (t) => {
  t.test('calls and answers pass through unchanged', async (t) => {
    const store = new GuardedStore(new MemoryStore(), 1000, 'client')
    t.equal(await store.get('key'), null)
    t.equal(await store.set('key', 'one', { expiresAt: inAMinute(), if: null }), true)
    t.equal(await store.set('key', 'two', { expiresAt: inAMinute(), if: null }), false)
    t.equal(await store.get('key'), 'one')
    t.equal(await store.delete('key', { if: 'two' }), false)
    t.equal(await store.delete('key'), true)
  })

  t.test('`getSync` returns at once what the store knows, and undefined if `get` must be called', async (t) => {
    const answers: Array<string | null | undefined> = ['one', null, undefined]
    const store = new GuardedStore(storeWith({ getSync: () => answers.shift() }), 1000, 'client')
    t.strictSame([store.getSync('key'), store.getSync('key'), store.getSync('key')], ['one', null, undefined])
    t.equal(new GuardedStore(storeWith({ getSync: undefined }), 1000, 'client').getSync('key'), undefined, 'a store without it')
  })

  t.test('a store is synchronous only if it says so, and as long as `getSync` may be called', async (t) => {
    const isSynchronous = (over: Parameters<typeof storeWith>[0]) => new GuardedStore(storeWith(over), 1000, 'client').isSynchronous
    t.equal(isSynchronous({ isSynchronous: true, getSync: () => null }), true)
    t.equal(isSynchronous({ isSynchronous: false, getSync: () => null }), false)
    t.equal(isSynchronous({ isSynchronous: true, getSync: undefined }), false)
    const store = new MemoryStore()
    const guarded = new GuardedStore(store, 1000, 'client')
    t.equal(guarded.isSynchronous, true)
    store.get = async () => 'replaced'
    t.equal(guarded.isSynchronous, false)
    const spied = new MemoryStore()
    spied.getSync = () => null
    t.equal(new GuardedStore(spied, 1000, 'client').isSynchronous, false, 'a replaced `getSync` may return undefined')
  })

  t.test('a store whose `get` was replaced is read only by `get`', async (t) => {
    class Counting extends MemoryStore {
      override async get () { return 'counted' }
    }
    t.equal(new GuardedStore(new Counting(), 1000, 'client').getSync('key'), undefined, 'by a subclass')
    class Own extends Counting {
      override getSync () { return 'at once' }
    }
    t.equal(new GuardedStore(new Own(), 1000, 'client').getSync('key'), 'at once', 'by a subclass that has both')
    const store = new MemoryStore()
    const guarded = new GuardedStore(store, 1000, 'client')
    t.equal(guarded.getSync('key'), null)
    store.get = async () => 'replaced'
    t.equal(guarded.getSync('key'), undefined, 'on the store itself, later')
    const proxied: TokenStore = new Proxy(storeWith({}), { getPrototypeOf: () => null })
    t.equal(new GuardedStore(proxied, 1000, 'client').getSync('key'), undefined, 'by a Proxy that does not show what it has')
  })

  t.test('an error or a wrong answer of `getSync` is an outage, and the store does not rest after it', async (t) => {
    for (const getSync of [() => { throw new Error(hidden) }, () => 7, () => Promise.reject(new Error(hidden)), () => ({})]) {
      const store = new GuardedStore(storeWith({ getSync, get: async () => 'value' }), 1000, 'client')
      const failures: unknown[] = []
      const note = (message: unknown) => { failures.push(message) }
      diagnostics.storeFailure.subscribe(note)
      t.throws(() => store.getSync('key'), { code: outage, statusCode: 503, message: /^The token store's method `getSync` failed\./ })
      diagnostics.storeFailure.unsubscribe(note)
      t.match(failures, [{ clientId: 'client', method: 'get', reason: 'error', duration: 0 }])
      t.equal(await store.get('key'), 'value')
    }
  })

  t.test('`getSync` is not called while the store rests', async (t) => {
    useClock(t)
    let calls = 0
    const store = new GuardedStore(storeWith({ get: () => new Promise(() => {}), getSync: () => { calls++; return 'value' } }), 100, 'client')
    const call = store.get('key')
    tick(100)
    t.equal((await failureOf(call)).code, outage)
    t.equal(store.getSync('key'), undefined)
    tick(1000)
    t.equal(store.getSync('key'), undefined, 'until one call has tried it')
    t.equal(calls, 0)
  })

  t.test('a call that takes too long is an outage, and its late answer is ignored', async (t) => {
    useClock(t)
    const late: { answer?: (value: string) => void, fail?: (error: Error) => void } = {}
    const store = new GuardedStore(storeWith({ get: () => new Promise((resolve, reject) => { Object.assign(late, { answer: resolve, fail: reject }) }) }), 300, 'client')
    const call = store.get('key')
    tick(299)
    t.equal(await stateOf(call), 'pending')
    tick(1)
    const error = await failureOf(call)
    t.match(error, { code: outage, statusCode: 503, message: 'The token store did not answer `get` within 300 ms.' })
    late.fail?.(new Error(hidden))
    late.answer?.('value')
    await setImmediate()
    t.equal(await stateOf(call), outage)
  })

  t.test('`afterFailure` gets the late answer of a call that was reported as failed', async (t) => {
    useClock(t)
    const cases = [
      { settle: (resolve: (value: unknown) => void) => { resolve(true) }, becomes: true },
      { settle: (resolve: (value: unknown) => void) => { resolve(false) }, becomes: false },
      { settle: (resolve: (value: unknown) => void) => { resolve('nonsense') }, becomes: null },
      { settle: (_resolve: unknown, reject: (error: Error) => void) => { reject(new Error(hidden)) }, becomes: null }
    ]
    for (const { settle, becomes } of cases) {
      for (const isLate of [true, false]) {
        const answers: unknown[] = []
        let answer = (): void => {}
        const call = () => new Promise((resolve, reject) => { answer = () => { settle(resolve, reject) } })
        const store = new GuardedStore(storeWith({ set: call, delete: call }), 100, 'client')
        const afterFailure = (value: boolean | null) => { answers.push(value) }
        for (const pending of [() => store.set('key', 'value', { expiresAt: inAMinute() }, { afterFailure, whileResting: true }), () => store.delete('key', {}, { afterFailure, whileResting: true })]) {
          const state = pending().then(() => 'answered', (error: WebflowOAuthError) => error.code)
          if (isLate) {
            tick(100)
            t.equal(await state, outage)
            t.strictSame(answers, [], 'nothing is known yet')
          }
          answer()
          await state
          await setImmediate()
          const isFailure = isLate || becomes === null
          t.strictSame(answers.splice(0), isFailure ? [becomes] : [])
        }
      }
    }
  })

  t.test('a call with `whileResting` is made even while the store rests', async (t) => {
    useClock(t)
    const store = new GuardedStore(storeWith({ get: never }), 100, 'client')
    const slow = store.get('key')
    tick(100)
    t.equal(await stateOf(slow), outage)
    t.equal(await stateOf(store.set('key', 'value', { expiresAt: inAMinute() })), outage)
    t.equal(await store.set('key', 'value', { expiresAt: inAMinute() }, { whileResting: true }), true)
    t.equal(await stateOf(store.set('key', 'value', { expiresAt: inAMinute() })), outage, 'the rest continues')
  })

  t.test('late answers do not change how long the store rests', async (t) => {
    useClock(t)
    const pending: Array<(value: string | null) => void> = []
    const store = new GuardedStore(storeWith({ get: () => new Promise((resolve) => { pending.push(resolve) }) }), 300, 'client')
    const first = store.get('a')
    tick(200)
    const second = store.get('b')
    tick(100)
    t.equal(await stateOf(first), outage)
    tick(200)
    t.equal(await stateOf(second), outage)
    tick(800)
    const probe = store.get('c')
    t.equal(pending.length, 3, 'the second timeout did not make the rest longer')
    pending[0]?.('late')
    await setImmediate()
    t.equal(await stateOf(store.get('d')), outage, 'a late answer does not end the probing')
    tick(300)
    t.equal(await stateOf(probe), outage)
    pending[2]?.('late')
    await setImmediate()
    t.equal(await stateOf(store.get('e')), outage, 'a late answer of the probe does not end the next rest')

    tick(1000)
    const recovered = store.get('f')
    pending[3]?.(null)
    t.equal(await recovered, null)
    const slow = store.get('g')
    tick(300)
    t.equal(await stateOf(slow), outage)
    t.equal(await stateOf(store.get('h')), outage, 'a store that has recovered rests again after a new timeout')
    t.equal(pending.length, 5)
  })

  t.test('a call that ends in time leaves no timer behind', async (t) => {
    useClock(t)
    let calls = 0
    const store = new GuardedStore(storeWith({ get: async () => { calls++; return null } }), 300, 'client')
    await store.get('key')
    tick(10_000)
    await store.get('key')
    t.equal(calls, 2, 'nothing has opened the circuit')
  })

  t.test('after a timeout, calls fail at once for a second; then exactly one call probes the store', async (t) => {
    useClock(t)
    const pending: Array<(value: string | null) => void> = []
    const store = new GuardedStore(storeWith({ get: () => new Promise((resolve) => { pending.push(resolve) }) }), 300, 'client')
    const together = [store.get('a'), store.get('b')]
    tick(300)
    for (const call of together) t.equal(await stateOf(call), outage)
    t.equal(pending.length, 2)

    t.match(await failureOf(store.get('c')), { code: outage, message: /a call timed out a moment ago/ })
    tick(999)
    t.equal(await stateOf(store.set('c', 'value', { expiresAt: inAMinute() })), outage)
    t.equal(await stateOf(store.delete('c')), outage)
    t.equal(pending.length, 2, 'the store was not called')

    tick(1)
    const [probe, ...others] = [store.get('d'), store.get('e'), store.get('f')]
    t.equal(pending.length, 3, 'one call probes')
    for (const call of others) t.equal(await stateOf(call), outage)
    pending[2]?.('value')
    t.equal(await probe, 'value')

    const after = [store.get('g'), store.get('h')]
    t.equal(pending.length, 5, 'calls reach the store again')
    pending[3]?.(null)
    pending[4]?.(null)
    t.strictSame(await Promise.all(after), [null, null])
  })

  t.test('a probe that takes too long begins another second', async (t) => {
    useClock(t)
    let calls = 0
    const store = new GuardedStore(storeWith({ get: () => { calls++; return never() } }), 300, 'client')
    for (const expected of [1, 2, 3]) {
      const probe = store.get('key')
      t.equal(calls, expected)
      tick(300)
      t.equal(await stateOf(probe), outage)
      tick(999)
      t.equal(await stateOf(store.get('key')), outage)
      t.equal(calls, expected)
      tick(1)
    }
  })

  t.test('a probe that is answered by an error ends the rest, because the store has answered', async (t) => {
    useClock(t)
    const answers = [never, () => Promise.reject(new Error(hidden)), async () => 'value']
    const store = new GuardedStore(storeWith({ get: () => answers.shift()?.() }), 300, 'client')
    const first = store.get('key')
    tick(300)
    t.equal(await stateOf(first), outage)
    tick(1000)
    t.match(await failureOf(store.get('key')), { message: /method `get` failed/ })
    t.equal(await store.get('key'), 'value')
  })

  t.test('a store that has failed is called again at once', async (t) => {
    let calls = 0
    const store = new GuardedStore(storeWith({ get: async () => { calls++; throw new Error(hidden) } }), 300, 'client')
    for (const expected of [1, 2, 3]) {
      t.equal(await stateOf(store.get('key')), outage)
      t.equal(calls, expected)
    }
  })

  t.test('a store that throws instead of rejecting is an outage', async (t) => {
    const broken = () => { throw new TypeError(hidden) }
    const store = new GuardedStore(storeWith({ get: broken, set: broken, delete: broken }), 300, 'client')
    for (const [name, call] of [['get', store.get('key')], ['set', store.set('key', 'value', { expiresAt: inAMinute() })], ['delete', store.delete('key')]] as const) {
      const error = await failureOf(call)
      t.match(error, { code: outage, message: `The token store's method \`${name}\` failed.`, cause: { message: 'TypeError' } })
      t.notOk(printed(error).includes(hidden))
    }
  })

  t.test('an answer that the contract does not allow is an outage, never a missing token', async (t) => {
    for (const answer of [undefined, 5, true, {}, Buffer.from('value'), ['value']]) {
      const store = new GuardedStore(storeWith({ get: async () => answer }), 300, 'client')
      t.equal(await stateOf(store.get('key')), outage, `get: ${inspect(answer)}`)
    }
    for (const answer of [undefined, null, 0, 1, 'OK', {}]) {
      const store = new GuardedStore(storeWith({ set: async () => answer, delete: async () => answer }), 300, 'client')
      t.equal(await stateOf(store.set('key', 'value', { expiresAt: inAMinute() })), outage, `set: ${inspect(answer)}`)
      t.equal(await stateOf(store.delete('key')), outage, `delete: ${inspect(answer)}`)
    }
  })

  t.test('a store may answer without a promise', async (t) => {
    const store = new GuardedStore(storeWith({ get: () => 'value', delete: () => ({ then: (done: (value: boolean) => void) => done(true) }) }), 300, 'client')
    t.equal(await store.get('key'), 'value')
    t.equal(await store.delete('key'), true)
  })

  t.test('a foreign error is reduced to its name and its code', async (t) => {
    class ReplyError extends Error {
      override name = 'ReplyError'
      command = { name: 'set', args: [`webflow:token:${hidden}`, hidden, 'PXAT', 1] }
    }
    class MaxRetriesPerRequestError extends Error {
      override name = 'MaxRetriesPerRequestError'
      previousErrors = [new Error(hidden)]
      lastNodeError = new Error(hidden)
    }
    const rewritten = new Error('harmless')
    rewritten.stack = `Error: ${hidden}\n    at ${hidden} (file:1:1)`
    const renamed = Object.assign(new Error(`first line\nsecond ${hidden}`), { code: `E ${hidden}`, errno: hidden })
    renamed.name = `Name ${hidden}`
    const rows: ReadonlyArray<readonly [thrown: unknown, message: string]> = [
      [Object.assign(new ReplyError(`WRONGTYPE ${hidden}`), { code: 'WRONGTYPE' }), 'ReplyError WRONGTYPE'],
      [new ReplyError(`READONLY You can't write against a read only replica. ${hidden}\nscript: ${hidden}`), 'ReplyError'],
      [new MaxRetriesPerRequestError(hidden), 'MaxRetriesPerRequestError'],
      [Object.assign(new Error(`connect ECONNREFUSED ${hidden}`), { code: 'ECONNREFUSED', address: hidden }), 'Error ECONNREFUSED'],
      [new Error(hidden, { cause: new Error(hidden) }), 'Error'],
      [new AggregateError([new Error(hidden)], hidden), 'AggregateError'],
      [Object.assign(new Error(hidden), { code: 5 }), 'Error'],
      [rewritten, 'Error'],
      [renamed, 'Error'],
      [hidden, 'Something that is not an Error was thrown.'],
      [undefined, 'Something that is not an Error was thrown.'],
      [{ message: hidden, stack: hidden, code: hidden }, 'Something that is not an Error was thrown.']
    ]
    for (const [thrown, message] of rows) {
      const store = new GuardedStore(storeWith({ set: () => Promise.reject(thrown) }), 300, 'client')
      const error = await failureOf(store.set('key', hidden, { expiresAt: inAMinute() }))
      t.match(error, { code: outage, message: 'The token store\'s method `set` failed.', cause: { message } }, message)
      t.notOk(printed(error).includes(hidden), message)
    }
  })

  t.test('the stack lines of a foreign error are kept', async (t) => {
    const described = describeForeign(Object.assign(new TypeError(`${hidden}\n    at ${hidden}`), { code: 'ERR_X' }))
    t.equal(described.message, 'TypeError ERR_X')
    t.match(described.stack, /^Error: TypeError ERR_X\n +at .*guarded-store\.test\./)
    t.notOk(String(described.stack).includes(hidden))
  })
})

t.test('keys', async (t) => {
  t.test('differ by secret, purpose and client, and not by their place in the list', async (t) => {
    const rotated = keyringOf('new', 'old')('seal token')
    const before = keyringOf('old', 'new')('seal token')
    t.strictSame(rotated.map(({ id }) => id).reverse(), before.map(({ id }) => id))
    t.strictSame(rotated.map(({ key }) => key.export()).reverse(), before.map(({ key }) => key.export()))
    const keys = [
      ...(['seal token', 'mac state', 'mac flow cookie', 'mac user', 'derive session id'] as const).flatMap((purpose) => keyringOf('old', 'new')(purpose)),
      ...createKeyring([secrets.old], 'another client')('seal token')
    ].map(({ key }) => key.export().toString('hex'))
    t.equal(new Set(keys).size, 11)
    t.equal(keys.some((key) => Object.values(secrets).some((secret) => secret.toString('hex') === key)), false, 'no key is the secret itself')
  })

  t.test('the first key makes new values, and every key verifies', async (t) => {
    const made = mac(keyringOf('old')('mac state'), 'message')
    t.equal(verifyMac(keyringOf('new', 'old')('mac state'), 'message', made), true)
    t.equal(verifyMac(keyringOf('old', 'new')('mac state'), 'message', made), true)
    t.strictSame(mac(keyringOf('old', 'new')('mac state'), 'message'), made)
    t.not(mac(keyringOf('new', 'old')('mac state'), 'message'), made)
    t.equal(verifyMac(keyringOf('new')('mac state'), 'message', made), false)
    t.equal(verifyMac(keyringOf('old')('mac user'), 'message', made), false)
    t.equal(verifyMac(keyringOf('old')('mac state'), 'massage', made), false)
    for (const tag of ['', made.slice(1), made + made, `${made}=`, 'é'.repeat(43), made.replace(/.$/, (last) => base64url[base64url.indexOf(last) ^ 1] ?? '')]) {
      t.equal(verifyMac(keyringOf('old')('mac state'), 'message', tag), false, tag)
    }
  })

  t.test('tags are those of HMAC-SHA-256', async (t) => {
    for (const keyLength of [1, 32, 64]) {
      const key = randomBytes(keyLength)
      const tagOf = createHmac(key)
      for (const length of [0, 1, 55, 56, 63, 64, 65, 127, 128, 5000]) {
        const message = randomBytes(length)
        t.equal(tagOf(message), createNodeHmac('sha256', key).update(message).digest('base64url'), `a key of ${keyLength} and a message of ${length} bytes`)
      }
      t.equal(tagOf('é\u{1f36a}'), createNodeHmac('sha256', key).update('é\u{1f36a}').digest('base64url'))
    }
  })

  t.test('an empty keyring throws', async (t) => {
    t.throws(() => mac([], 'message'), RangeError)
    t.throws(() => createSealer([]), RangeError)
    t.equal(verifyMac([], 'message', createNodeHmac('sha256', '').update('message').digest('base64url')), false)
  })

  t.test('a store id is a hash that depends on no secret and keeps its parts apart', async (t) => {
    const ids = [storeId('a', 'b'), storeId('a', 'b', 'c'), storeId('ab'), storeId('a', 'bc'), storeId('b', 'a')]
    t.equal(new Set(ids).size, ids.length)
    for (const id of ids) t.match(id, /^[\w-]{43}$/)
    t.equal(storeId('a', 'b'), ids[0])
  })
})

t.test('sealing', async (t) => {
  const place = 'token:place'
  const sealer = createSealer(keyringOf('old')('seal token'))

  t.test('a text can be unsealed with the key and the place for which it was sealed', async (t) => {
    for (const text of ['', 'text', '{"a":"é😀"}', 'x'.repeat(100_000)]) {
      const sealed = sealer.seal(place, text)
      t.match(sealed, /^v1\.[\w-]{8}\.[\w-]{16}\.[\w-]{22,}$/)
      t.strictSame(sealer.unseal(place, sealed), { kind: 'unsealed', text })
    }
    t.not(sealer.seal(place, 'text'), sealer.seal(place, 'text'), 'no two sealed values are the same')
  })

  t.test('a sealed text cannot be unsealed for another place, purpose or client', async (t) => {
    const sealed = sealer.seal(place, 'text')
    t.strictSame(sealer.unseal('token:another', sealed), { kind: 'foreign' })
    t.strictSame(createSealer(keyringOf('old')('derive session id')).unseal(place, sealed), { kind: 'foreign' }, 'another purpose')
    t.strictSame(createSealer(createKeyring([secrets.old], 'another client')('seal token')).unseal(place, sealed), { kind: 'unknown_key' }, 'another client')
  })

  t.test('a sealed text with any changed character cannot be unsealed', async (t) => {
    // With the tag 27 bytes, so that every character of the base64url counts.
    const sealed = sealer.seal(place, 'eleven char')
    const [, id = '', iv = '', data = ''] = sealed.split('.')
    const outcomes = new Map<string, Set<string>>()
    for (let index = 0; index < sealed.length; index++) {
      const changed = `${sealed.slice(0, index)}${sealed[index] === 'A' ? 'B' : 'A'}${sealed.slice(index + 1)}`
      const segment = index < 3 ? 'version' : index < 11 ? 'id' : index === 11 ? 'dot' : index < 28 ? 'iv' : index === 28 ? 'dot' : 'data'
      outcomes.set(segment, (outcomes.get(segment) ?? new Set()).add(sealer.unseal(place, changed).kind))
    }
    t.strictSame(Object.fromEntries([...outcomes].map(([segment, kinds]) => [segment, [...kinds]])), {
      version: ['foreign'], id: ['unknown_key'], dot: ['foreign'], iv: ['foreign'], data: ['foreign']
    })
    for (let length = 0; length < sealed.length; length++) {
      if (sealer.unseal(place, sealed.slice(0, length)).kind !== 'foreign') t.fail(`cut at ${length}`)
    }
    for (const value of [`${sealed}\n`, ` ${sealed}`, `v1.${id}.${iv}`, `v1.${id}..${data}`, `v1.${id}.${iv}.${data}.x`, `v2.${id}.${iv}.${data}`, 'null', '{}', 'text', `v1.${id}.${iv}.${data}==`]) {
      t.strictSame(sealer.unseal(place, value), { kind: 'foreign' }, 'a text that is not a sealed value')
    }
  })

  t.test('a text with changed spare bits in its last character cannot be unsealed', async (t) => {
    // With the tag 20 bytes: two bits of the 27 characters are nobody's.
    const sealed = sealer.seal(place, 'text')
    const data = String(sealed.split('.').at(-1))
    const bytes = Buffer.from(data, 'base64url')
    const twins = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'].map((last) => data.slice(0, -1) + last).filter((twin) => twin !== data && Buffer.from(twin, 'base64url').equals(bytes))
    t.equal(twins.length, 3)
    for (const twin of twins) t.strictSame(sealer.unseal(place, sealed.replace(data, twin)), { kind: 'foreign' })
  })

  t.test('values, names and signatures of earlier versions are still accepted', async (t) => {
    const keyring = createKeyring([Buffer.from('0123456789abcdef'.repeat(2))], 'client')
    t.strictSame(createSealer(keyring('seal token')).unseal('token:place', 'v1.v1BslhOx.9KSuLl_2MDEqIt04.Gq1M5amu3N-bJ34S5AdaMi1G8kkLBwM'), { kind: 'unsealed', text: 'é text' })
    t.equal(mac(keyring('mac state'), 'message'), '0TXW0yBibEI3zKv9SUmSH5r19tEjJcmRVIk27Ju149I')
    t.equal(storeId('client', 'user', 'ada'), '1rtSj-p2ymHUc30uhnGKCTE02swx8E0ADBxbPmojywo')
  })

  t.test('a value that was sealed with the old secret can be unsealed in both orders of the list', async (t) => {
    const sealed = sealer.seal(place, 'text')
    const first = createSealer(keyringOf('old', 'new')('seal token'))
    const then = createSealer(keyringOf('new', 'old')('seal token'))
    const last = createSealer(keyringOf('new')('seal token'))
    for (const step of [first, then]) t.strictSame(step.unseal(place, sealed), { kind: 'unsealed', text: 'text' })
    t.strictSame(last.unseal(place, sealed), { kind: 'unknown_key' })
    t.strictSame(sealer.unseal(place, first.seal(place, 'text')), { kind: 'unsealed', text: 'text' }, 'the first step can still be undone')
    t.strictSame(first.unseal(place, then.seal(place, 'text')), { kind: 'unsealed', text: 'text' }, 'replicas of both steps read each other')
    t.strictSame(last.unseal(place, then.seal(place, 'text')), { kind: 'unsealed', text: 'text' })
  })
})

/** A store that counts what is opened, and the parts around it. */
function createStores (keyring: Keyring, inner: TokenStore = new MemoryStore()) {
  const real = createSealer(keyring('seal token'))
  const counted = { opened: 0 }
  const sealer: Sealer = { seal: real.seal, unseal: (place, sealed) => { counted.opened++; return real.unseal(place, sealed) } }
  const { log, lines } = createLog()
  const guarded = new GuardedStore(inner, 1000, 'client')
  const sealed = new SealedStore(guarded, sealer, log)
  const recordsFor = (maxAge: number) => new TokenRecords(sealed, new TagNames(clientId), { region: 'us', sessionMaxAge: maxAge }, log, new BackgroundTasks())
  return { inner, guarded, sealed, lines, counted, recordsFor, records: recordsFor(100), sealer }
}

t.test('SealedStore', async (t) => {
  t.test('the store gets only sealed values', async (t) => {
    const { inner, sealed, lines } = createStores(keyringOf('old'))
    const written = await sealed.set('key', 'text', { expiresAt: inAMinute() })
    t.equal(await inner.get('key'), written)
    t.notOk(written?.includes('text'))
    t.strictSame(await sealed.get('key'), { sealed: written, text: 'text' })
    t.equal(await sealed.getSealed('key'), written)
    t.equal(await sealed.get('another'), null)
    t.strictSame(lines, [], 'a missing value is not logged as foreign')
  })

  t.test('conditions compare the sealed value', async (t) => {
    const { sealed } = createStores(keyringOf('old'))
    const first = await sealed.set('key', 'text', { expiresAt: inAMinute(), if: null })
    t.type(first, 'string')
    t.equal(await sealed.set('key', 'other', { expiresAt: inAMinute(), if: null }), null)
    t.equal(await sealed.set('key', 'other', { expiresAt: inAMinute(), if: 'text' }), null)
    const second = await sealed.set('key', 'other', { expiresAt: inAMinute(), if: first })
    t.equal(await sealed.delete('key', { if: String(first) }), false)
    t.equal(await sealed.delete('key', { if: String(second) }), true)
  })

  t.test('a value that was swapped or changed counts as absent and is logged once', async (t) => {
    const { inner, sealed, lines } = createStores(keyringOf('old'))
    const options = { expiresAt: inAMinute() }
    const mine = await sealed.set('mine', 'my text', options)
    await inner.set('yours', String(mine), options)
    await inner.set('mine', `${mine}`.slice(0, -4), options)
    for (const key of ['mine', 'yours', 'mine', 'yours']) t.equal(await sealed.get(key), null, key)
    t.strictSame(lines.map(({ level, key, msg }) => ({ level, key, msg })), ['mine', 'yours'].map((key) => ({
      level: 50, key, msg: 'webflow-oauth: a stored value was not written by this plugin or was changed, so it is ignored. Does something else write to the store under the same prefix?'
    })))
    t.notOk(JSON.stringify(lines).includes('my text'))
  })

  t.test('the memory of logged keys has a bound', async (t) => {
    const { sealed, lines } = createStores(keyringOf('old'))
    for (let index = 0; index < 1001; index++) sealed.unseal(`key ${index}`, 'foreign')
    t.equal(lines.length, 1001)
    sealed.unseal('key 1000', 'foreign')
    t.equal(lines.length, 1001)
    sealed.unseal('key 0', 'foreign')
    t.equal(lines.length, 1002)
  })

  t.test('a value that was sealed under an unknown secret is an outage, not a logout', async (t) => {
    const inner = new MemoryStore()
    await createStores(keyringOf('new'), inner).sealed.set('key', 'text', { expiresAt: inAMinute() })
    const { sealed, lines } = createStores(keyringOf('old'), inner)
    t.match(await failureOf(sealed.get('key')), { code: outage, statusCode: 503, message: /add that secret to the list in the option `secret`/ })
    t.equal(lines.length, 0)
    t.match(await createStores(keyringOf('old', 'new'), inner).sealed.get('key'), { text: 'text' })
  })
})

const untold = { owner: null, authorization: null, user: null, askedAt: 0, complete: false }
const grant = { accessToken, tokenType: 'bearer', scope: null, expiresIn: null }

t.test('Limit runs a given number of tasks at a time and the others in their order, although some fail', async (t) => {
  const limit = new Limit(2)
  const started: number[] = []
  const gates: Array<{ open: () => void, fail: () => void }> = []
  const tasks = [0, 1, 2, 3, 4].map((number) => limit.run(async () => {
    started.push(number)
    await new Promise<void>((resolve, reject) => { gates[number] = { open: resolve, fail: () => reject(new Error('failed')) } })
    return number
  }))
  await setImmediate()
  t.strictSame(started, [0, 1])
  gates[1]?.fail()
  const failing: Promise<unknown> | undefined = tasks[1]
  await t.rejects(failing ?? Promise.resolve(), { message: 'failed' })
  t.strictSame(started, [0, 1, 2])
  gates[0]?.open()
  gates[2]?.open()
  t.strictSame(await Promise.all([tasks[0], tasks[2]]), [0, 2])
  t.strictSame(started, [0, 1, 2, 3, 4])
  gates[3]?.open()
  gates[4]?.open()
  t.strictSame(await Promise.all([tasks[3], tasks[4]]), [3, 4])
  t.equal(await limit.run(async () => 'free again'), 'free again')
})

t.test('BoundedMap forgets the entry that was set longest ago', (t) => {
  const map = new BoundedMap<number>(2)
  map.set('a', 1)
  map.set('b', 2)
  map.set('a', 3)
  map.set('c', 4)
  t.strictSame(['a', 'b', 'c'].map((key) => map.get(key)), [3, undefined, 4])
  map.delete('a')
  map.set('d', 5)
  t.strictSame(['a', 'b', 'c', 'd'].map((key) => map.get(key)), [undefined, undefined, 4, 5])
  t.end()
})

t.test('TokenRecords', async (t) => {
  t.test('a record has the granted scope, or else the requested one, and ends with the token', async (t) => {
    const { records } = createStores(keyringOf('old'))
    t.strictSame(records.create(grant, ['sites:read'], start), {
      accessToken, tokenType: 'bearer', scope: ['sites:read'], createdAt: start, expiresAt: start + 100_000, endsAt: null, ...untold
    })
    t.strictSame(records.create({ ...grant, scope: ['cms:read'], expiresIn: 50.5 }, ['sites:read'], start), {
      accessToken, tokenType: 'bearer', scope: ['cms:read'], createdAt: start, expiresAt: start + 50_500, endsAt: start + 50_500, ...untold
    })
    t.equal(records.create({ ...grant, expiresIn: 1000 }, ['sites:read'], start).expiresAt, start + 100_000)
    t.ok(Number.isInteger(records.create({ ...grant, expiresIn: 0.0017 }, ['sites:read'], start).expiresAt), 'a store takes integers only')
  })

  t.test('a record reads as it was written, until it is dropped', async (t) => {
    useClock(t)
    const { inner, records } = createStores(keyringOf('old'))
    const record = records.create({ ...grant, expiresIn: 70 }, ['sites:read', 'cms:read'], Date.now())
    await records.write('id', record)
    const sealed = await records.readSealed('id')
    t.strictSame(await records.read('id'), { tokenId: 'id', sealed, record })
    t.equal(await inner.get('token:id'), sealed)
    t.notOk(sealed?.includes(accessToken))
    t.equal(await records.read('another'), null)
    await records.drop('id')
    await records.drop('id')
    t.equal(await records.read('id'), null)
  })

  t.test('a use in the first half of its life leaves a record alone', async (t) => {
    useClock(t)
    const { records } = createStores(keyringOf('old'))
    await records.write('id', records.create(grant, ['sites:read'], Date.now()))
    const sealed = await records.readSealed('id')
    tick(50_000)
    await records.read('id')
    await setImmediate()
    t.equal(await records.readSealed('id'), sealed)
  })

  t.test('a use in the second half of its life moves the deadline once, in the background', async (t) => {
    useClock(t)
    let writes = 0
    const memory = new MemoryStore()
    const { records } = createStores(keyringOf('old'), storeWith({
      get: (key: string) => memory.get(key),
      set: (...args: Parameters<TokenStore['set']>) => { writes++; return memory.set(...args) }
    }))
    await records.write('id', records.create(grant, ['sites:read'], Date.now()))
    const sealed = await records.readSealed('id') ?? ''
    tick(50_001)
    for (let use = 0; use < 3; use++) t.equal(records.open('id', sealed)?.record.expiresAt, start + 100_000, 'this use gets the record that it has read')
    await setImmediate()
    t.equal(writes, 2, 'simultaneous uses renew the record once')
    t.match(await records.read('id'), { record: { accessToken, createdAt: start, expiresAt: start + 150_001 } })
    tick(99_999)
    t.match(await records.read('id'), { record: { accessToken } }, 'the record outlives its first deadline')
  })

  t.test('no renewal moves the deadline beyond the end of the token itself', async (t) => {
    useClock(t)
    const { records } = createStores(keyringOf('old'))
    await records.write('id', records.create({ ...grant, expiresIn: 120 }, ['sites:read'], Date.now()))
    tick(60_000)
    await records.read('id')
    await setImmediate()
    const renewed = await records.read('id')
    t.equal(renewed?.record.expiresAt, start + 120_000)
    tick(59_000)
    await records.read('id')
    await setImmediate()
    t.equal((await records.read('id'))?.sealed, renewed?.sealed, 'the deadline cannot move any further')
    tick(1000)
    t.equal(await records.read('id'), null)
  })

  t.test('a renewal brings back no deleted value and overwrites no newer value', async (t) => {
    useClock(t)
    const { records } = createStores(keyringOf('old'))
    await records.write('id', records.create(grant, ['sites:read'], Date.now()))
    const sealed = await records.readSealed('id') ?? ''
    tick(60_000)
    await records.drop('id')
    t.match(records.open('id', sealed), { record: { accessToken } }, 'a request that has read the record before continues')
    await setImmediate()
    t.equal(await records.read('id'), null)

    await records.write('id', records.create({ ...grant, accessToken: 'newer' }, ['sites:read'], Date.now()))
    records.open('id', sealed)
    await setImmediate()
    t.match(await records.read('id'), { record: { accessToken: 'newer' } })
  })

  t.test('a renewal that fails is logged, and the next use tries again', async (t) => {
    useClock(t)
    const memory = new MemoryStore()
    let fails = false
    const { records, lines } = createStores(keyringOf('old'), storeWith({
      get: (key: string) => memory.get(key),
      set: (...args: Parameters<TokenStore['set']>) => fails ? Promise.reject(new Error(hidden)) : memory.set(...args)
    }))
    await records.write('id', records.create(grant, ['sites:read'], Date.now()))
    tick(60_000)
    fails = true
    t.match(await records.read('id'), { record: { accessToken } })
    await setImmediate()
    t.match(lines, [{ level: 40, msg: /could not be renewed; the next use tries again/, err: { code: outage } }])
    t.notOk(JSON.stringify(lines).includes(hidden))
    fails = false
    await records.read('id')
    await setImmediate()
    t.match(await records.read('id'), { record: { expiresAt: start + 160_000 } })
  })

  t.test('a renewal seals under the newest secret', async (t) => {
    useClock(t)
    const inner = new MemoryStore()
    const before = createStores(keyringOf('old'), inner).records
    await before.write('id', before.create(grant, ['sites:read'], Date.now()))
    tick(60_000)
    await createStores(keyringOf('new', 'old'), inner).records.read('id')
    await setImmediate()
    t.match(await createStores(keyringOf('new'), inner).records.read('id'), { record: { accessToken } })
  })

  t.test('a revoked token is forgotten', async (t) => {
    const { records } = createStores(keyringOf('old'))
    await records.write('id', records.create(grant, ['sites:read'], Date.now()))
    t.equal(await records.forget('id', accessToken, async () => {}), true)
    t.equal(await records.read('id'), null)
    t.equal(await records.forget('id', accessToken, async () => {}), false)
  })

  t.test('a record that is renewed while it is being revoked is deleted too', async (t) => {
    useClock(t)
    const memory = new MemoryStore()
    let reads = 0
    let revoking = false
    const { records } = createStores(keyringOf('old'), storeWith({
      get: async (key: string) => {
        const value = await memory.get(key)
        reads++
        // Between the read and the deletion another replica renews.
        if (revoking && reads === 1) await records.write('id', records.create(grant, ['sites:read'], Date.now() + 1000))
        return value
      },
      set: (...args: Parameters<TokenStore['set']>) => memory.set(...args),
      delete: (...args: Parameters<TokenStore['delete']>) => memory.delete(...args)
    }))
    await records.write('id', records.create(grant, ['sites:read'], Date.now()))
    revoking = true
    reads = 0
    t.equal(await records.forget('id', accessToken, async () => {}), true)
    t.equal(reads, 3, 'before, for the renewal, and after it')
    t.equal(await memory.get('token:id'), null)
  })

  t.test('a newer token is not forgotten', async (t) => {
    const { records } = createStores(keyringOf('old'))
    await records.write('id', records.create({ ...grant, accessToken: 'newer' }, ['sites:read'], Date.now()))
    t.equal(await records.forget('id', accessToken, async () => {}), false)
    t.match(await records.read('id'), { record: { accessToken: 'newer' } })
  })

  t.test('a value that cannot be unsealed is not deleted', async (t) => {
    const inner = new MemoryStore()
    const { records } = createStores(keyringOf('old'), inner)
    await inner.set('token:id', 'foreign', { expiresAt: inAMinute() })
    t.equal(await records.forget('id', accessToken, async () => {}), false)
    t.equal(await inner.get('token:id'), 'foreign')
    const later = createStores(keyringOf('new'), inner).records
    await later.write('id', later.create(grant, ['sites:read'], Date.now()))
    t.equal((await failureOf(records.forget('id', accessToken, async () => {}))).code, outage)
  })

  t.test('a write that the store carries out late does not replace a newer token', async (t) => {
    const memory = new MemoryStore()
    const late: Array<() => Promise<boolean>> = []
    const slow = createStores(keyringOf('old'), storeWith({
      get: memory.get.bind(memory),
      set: async (...call: Parameters<MemoryStore['set']>) => {
        late.push(() => memory.set(...call))
        throw new Error('timed out')
      }
    })).records
    const { records } = createStores(keyringOf('old'), memory)
    const recordOf = (token: string) => records.create({ ...grant, accessToken: token }, ['sites:read'], Date.now())
    await records.write('id', recordOf('the first'))
    t.equal((await failureOf(slow.write('id', recordOf('the late one')))).code, outage)
    await records.write('id', recordOf('the newest'))
    t.strictSame(await Promise.all(late.map((carryOut) => carryOut())), [false])
    t.equal((await records.read('id'))?.record.accessToken, 'the newest')
  })

  t.test('a deletion that the store carries out late does not delete a newer token', async (t) => {
    const memory = new MemoryStore()
    const late: Array<() => Promise<boolean>> = []
    const slow = createStores(keyringOf('old'), storeWith({
      get: memory.get.bind(memory),
      delete: async (...call: Parameters<MemoryStore['delete']>) => {
        late.push(() => memory.delete(...call))
        throw new Error('timed out')
      }
    })).records
    const { records } = createStores(keyringOf('old'), memory)
    await records.write('id', records.create(grant, ['sites:read'], Date.now()))
    t.equal((await failureOf(slow.drop('id'))).code, outage)
    await records.write('id', records.create({ ...grant, accessToken: 'newer' }, ['sites:read'], Date.now()))
    t.strictSame(await Promise.all(late.map((carryOut) => carryOut())), [false])
    t.equal((await records.read('id'))?.record.accessToken, 'newer')
  })

  t.test('reading a missing token logs nothing', async (t) => {
    const { records, lines } = createStores(keyringOf('old'))
    t.equal(await records.read('id'), null)
    await records.write('id', records.create(grant, ['sites:read'], Date.now()))
    t.strictSame(lines, [])
  })

  t.test('a repeated write whose first answer was lost counts as done', async (t) => {
    const memory = new MemoryStore()
    const { records } = createStores(keyringOf('old'), storeWith({
      get: memory.get.bind(memory),
      set: async (...call: Parameters<MemoryStore['set']>) => {
        await memory.set(...call)
        return await memory.set(...call)
      }
    }))
    await records.write('id', records.create(grant, ['sites:read'], Date.now()))
    t.equal((await records.read('id'))?.record.accessToken, accessToken)
  })

  t.test('a record with the same access token that was renewed meanwhile is not mistaken for the new record', async (t) => {
    const memory = new MemoryStore()
    const old = createStores(keyringOf('old'), memory).records
    const recordOf = (scope: string) => old.create(grant, [scope], Date.now())
    await old.write('id', recordOf('sites:read'))
    let renewals = 0
    const { records } = createStores(keyringOf('old'), storeWith({
      get: memory.get.bind(memory),
      set: async (...call: Parameters<MemoryStore['set']>) => {
        if (renewals++ === 0) await old.write('id', recordOf('sites:read'))
        return await memory.set(...call)
      }
    }))
    await records.write('id', recordOf('cms:write'))
    t.strictSame((await records.read('id'))?.record.scope, ['cms:write'])
  })

  t.test('a value under an unknown secret can be overwritten', async (t) => {
    const inner = new MemoryStore()
    const before = createStores(keyringOf('new'), inner).records
    await before.write('id', before.create(grant, ['sites:read'], Date.now()))
    const { records } = createStores(keyringOf('old'), inner)
    t.match(await records.write('id', records.create({ ...grant, accessToken: 'newer' }, ['sites:read'], Date.now())), { record: { accessToken: 'newer' } })
    t.match(await records.read('id'), { record: { accessToken: 'newer' } })
  })

  t.test('a change is made only while the record still holds the same access token', async (t) => {
    const { records, inner } = createStores(keyringOf('old'))
    await records.write('id', records.create(grant, ['sites:read'], Date.now()))
    const complete = (record: TokenRecord) => ({ ...record, complete: true })
    t.match(await records.change('id', accessToken, complete), { tokenId: 'id', record: { accessToken, complete: true } })
    t.match(await records.peek('id'), { record: { complete: true } })
    const before = await inner.get('token:id')
    t.match(await records.change('id', accessToken, (record) => record), { record: { complete: true } })
    t.equal(await inner.get('token:id'), before, 'an unchanged record is not written')
    t.equal(await records.change('id', 'another token', complete), null)
    t.equal(await records.change('another id', accessToken, complete), null)
    t.equal(await inner.get('token:id'), before)
  })

  t.test('a change keeps the changes that others have made meanwhile', async (t) => {
    const memory = new MemoryStore()
    const { records: others } = createStores(keyringOf('old'), memory)
    await others.write('id', others.create(grant, ['sites:read'], Date.now()))
    let changes = 0
    const { records } = createStores(keyringOf('old'), storeWith({
      get: memory.get.bind(memory),
      set: async (...call: Parameters<MemoryStore['set']>) => {
        if (changes++ === 0) await others.change('id', accessToken, (record) => ({ ...record, scope: ['cms:read'] }))
        return await memory.set(...call)
      }
    }))
    t.match(await records.change('id', accessToken, (record) => ({ ...record, complete: true })), { record: { scope: ['cms:read'], complete: true } })
    t.equal(changes, 2)
  })

  t.test('a store that refuses every change is an outage', async (t) => {
    const memory = new MemoryStore()
    const { records: others } = createStores(keyringOf('old'), memory)
    await others.write('id', others.create(grant, ['sites:read'], Date.now()))
    const { records } = createStores(keyringOf('old'), storeWith({ get: memory.get.bind(memory), set: async () => false }))
    t.equal((await failureOf(records.change('id', accessToken, (record) => ({ ...record, complete: true })))).code, outage)
  })

  t.test('a store that never deletes a dropped token is an outage', async (t) => {
    const { records } = createStores(keyringOf('old'), storeWith({ delete: async () => false }))
    await records.write('id', records.create(grant, ['sites:read'], Date.now()))
    t.equal((await failureOf(records.drop('id'))).code, outage)
  })

  t.test('a store that keeps a revoked token is an outage', async (t) => {
    const { records } = createStores(keyringOf('old'), storeWith({ delete: async () => false }))
    await records.write('id', records.create(grant, ['sites:read'], Date.now()))
    t.equal((await failureOf(records.forget('id', accessToken, async () => {}))).code, outage)
  })

  t.test('an opened record is reused only for the same sealed value', async (t) => {
    useClock(t)
    const { inner, records, counted } = createStores(keyringOf('old'))
    await records.write('id', records.create(grant, ['sites:read'], Date.now()))
    for (let use = 0; use < 3; use++) await records.read('id')
    t.equal(counted.opened, 1)
    await records.write('id', records.create({ ...grant, accessToken: 'newer' }, ['sites:read'], Date.now()))
    t.match(await records.read('id'), { record: { accessToken: 'newer' } })
    t.equal(counted.opened, 2)
    await inner.set('token:id', 'foreign', { expiresAt: inAMinute() })
    t.equal(await records.read('id'), null, 'a record that was opened before is not returned instead')
  })

  t.test('an opened record ends at its deadline, even if the store still returns it', async (t) => {
    useClock(t)
    const { records } = createStores(keyringOf('old'))
    await records.write('id', records.create(grant, ['sites:read'], Date.now()))
    const sealed = await records.readSealed('id') ?? ''
    t.match(records.open('id', sealed), { tokenId: 'id' })
    tick(100_000)
    t.equal(records.open('id', sealed), null)
  })

  t.test('the number of opened records has a bound', async (t) => {
    const { records, counted } = createStores(keyringOf('old'))
    for (let index = 0; index <= 1000; index++) {
      await records.write(`id ${index}`, records.create(grant, ['sites:read'], Date.now()))
      await records.read(`id ${index}`)
    }
    t.equal(counted.opened, 1001)
    await records.read('id 1000')
    t.equal(counted.opened, 1001)
    await records.read('id 0')
    t.equal(counted.opened, 1002)
  })

  t.test('a page leaves out a token without opening it', async (t) => {
    const { records, counted } = createStores(keyringOf('old'))
    for (const id of ['one', 'two']) await records.write(id, records.create(grant, ['sites:read'], Date.now()))
    t.match(await records.page(records.tags.all, null, 10, 'one'), { tokens: [{ tokenId: 'two' }], cursor: null })
    t.equal(counted.opened, 1)
  })

  t.test('a sealed text that is not a record is not a token', async (t) => {
    const { sealed, records } = createStores(keyringOf('old'))
    await sealed.set('token:id', '{"kind":"claimed"}', { expiresAt: inAMinute() })
    t.equal(await records.read('id'), null)
  })
})

const record: TokenRecord = { accessToken, tokenType: 'bearer', scope: ['sites:read', 'cms:read'], createdAt: start, expiresAt: start + 1, endsAt: null, ...untold }

t.test('the text of a record', async (t) => {
  t.test('reads as it was written', async (t) => {
    t.strictSame(parseRecord(serializeRecord(record)), record)
    t.strictSame(parseRecord(serializeRecord({ ...record, endsAt: start + 5 })), { ...record, endsAt: start + 5 })
    const authorization = { id: 'a1'.repeat(12), siteIds: ['b2'.repeat(12)], workspaceIds: [], userIds: [], scope: ['sites:read'], createdOn: new Date(start) }
    const user = { id: 'c3'.repeat(12), email: 'ada@example.com', firstName: null, lastName: 'Lovelace' }
    const told = { ...record, authorization, user, askedAt: start, complete: true }
    t.strictSame(parseRecord(serializeRecord(told)), told)
    t.strictSame(parseRecord(serializeRecord({ ...told, owner: '\0 \ufffd' })), { ...told, owner: '\0 \ufffd' })
  })

  t.test('has the form of an earlier version when it holds no installation', async (t) => {
    const written = '{"token":"token-51d7a0c29e","type":"bearer","scope":"sites:read cms:read","created":1800000000000,"expires":1800000000001}'
    t.strictSame(parseRecord(written), record)
    t.equal(serializeRecord(record), written)
  })

  t.test('is refused when any part of it is wrong', async (t) => {
    const right = parseJson(serializeRecord(record))
    t.type(parseRecord(JSON.stringify(right)), 'object')
    for (const name of ['token', 'type', 'scope', 'created', 'expires']) {
      for (const value of [undefined, null, {}, true]) {
        t.equal(parseRecord(JSON.stringify(Object.assign({}, right, { [name]: value }))), null, `${name}: ${String(value)}`)
      }
    }
    for (const wrong of [{ ends: 'soon' }, { asked: 'then' }, { told: 1 }, { owner: 5 }]) t.equal(parseRecord(JSON.stringify(Object.assign({}, right, wrong))), null)
    for (const text of ['', 'null', '[]', '5', '"text"', '{']) t.equal(parseRecord(text), null, text)
  })
})

t.test('what Webflow has said about a token', async (t) => {
  const authorization = (site: string) => ({ id: null, siteIds: [site], workspaceIds: [], userIds: [], scope: [], createdOn: null })
  const told = absorb(record, { authorization: authorization('new'), user: null, askedAt: start + 10 })

  t.test('is replaced by a newer answer, but not by an older one', async (t) => {
    t.strictSame(told, { ...record, authorization: authorization('new'), askedAt: start + 10, complete: true })
    t.equal(absorb(told, { authorization: authorization('old'), user: null, askedAt: start + 9 }), told)
    t.equal(absorb(told, { authorization: authorization('new'), user: null, askedAt: start + 11 }), told, 'an equal answer is no change')
    t.strictSame(absorb(told, { authorization: authorization('newer'), user: null, askedAt: start + 10 }).authorization?.siteIds, ['newer'])
  })

  t.test('keeps the known user and the requested scope if Webflow does not mention them', async (t) => {
    const user = { id: null, email: 'ada@example.com', firstName: null, lastName: null }
    const known = absorb(told, { authorization: { ...authorization('new'), scope: ['cms:read'] }, user, askedAt: start + 20 })
    t.match(known, { user, scope: ['cms:read'], complete: true })
    t.match(absorb(known, { authorization: authorization('newer'), user: undefined, askedAt: start + 30 }), { user, scope: ['cms:read'], complete: true })
    t.match(absorb(record, { authorization: authorization('new'), user: undefined, askedAt: start }), { user: null, scope: record.scope, complete: false })
  })
})

t.test('the newer of two records', async (t) => {
  const issued = (token: string, createdAt: number, createdOn: number | null, askedAt = 0): TokenRecord => ({
    ...record, accessToken: token, createdAt, askedAt, authorization: createdOn === null ? null : { id: null, siteIds: [], workspaceIds: [], userIds: [], scope: [], createdOn: new Date(createdOn) }
  })
  const rows: ReadonlyArray<readonly [name: string, one: TokenRecord, other: TokenRecord]> = [
    ['has the later authorization by Webflow\'s clock', issued('a', start, start + 2), issued('b', start + 9, start + 1)],
    ['was issued later by ours, where Webflow does not say', issued('a', start + 2, null), issued('b', start + 1, start + 9)],
    ['or where Webflow says the same of both', issued('a', start + 2, start), issued('b', start + 1, start)],
    ['of one token is the one of which Webflow told later', issued('a', start, start, start + 2), issued('a', start + 9, start + 9, start + 1)]
  ]
  for (const [name, one, other] of rows) {
    t.equal(isNewer(one, other), true, name)
    t.equal(isNewer(other, one), false, name)
    t.equal(isNewer(one, one), false, name)
  }
})

t.test('WebflowToken', async (t) => {
  const token = new ProtectedToken('id-of-the-token', { ...record, endsAt: start + 5 }, 'eu')

  t.test('shows a handler the members of the record', async (t) => {
    t.equal(token.id, 'id-of-the-token')
    t.equal(token.accessToken, accessToken)
    t.equal(token.tokenType, 'bearer')
    t.equal(token.region, 'eu')
    t.strictSame(token.scope, ['sites:read', 'cms:read'])
    t.strictSame([token.createdAt, token.expiresAt], [new Date(start), new Date(start + 1)])
    t.not(token.scope, record.scope, 'changing the list in a handler does not change the record')
  })

  t.test('is never printed, copied or serialised with its access token', async (t) => {
    const lines: string[] = []
    const stream = new Writable({ write (chunk, _encoding, done) { lines.push(String(chunk)); done() } })
    const print = new Console(stream)
    print.log(token)
    print.log('%s %o %O %j %d', token, token, token, token, token)
    print.dir(token, { showHidden: true, depth: null })
    print.table([token])
    print.error({ nested: [token] })
    const { log } = Fastify({ logger: { level: 'trace', stream } })
    log.info(token)
    log.info({ token }, 'with %s and %j and %o', token, token, token)
    log.child({ token }).error(Object.assign(new Error('failed'), { token }))
    t.ok(lines.join('').includes('id-of-the-token'), 'something was printed')
    t.notOk(lines.join('').includes(accessToken))

    const copies: ReadonlyArray<readonly [how: string, text: string]> = [
      ['JSON', JSON.stringify({ token, list: [token] })],
      ['inspect', inspect(token)],
      ['inspect, hidden', inspect({ token }, { showHidden: true, depth: null })],
      ['inspect, getters', inspect({ token }, { getters: true, depth: null })],
      ['inspect, without custom inspection', inspect(token, { customInspect: false, showHidden: true, showProxy: true, compact: false, sorted: true })],
      ['inspect, everything', inspect({ token }, { showHidden: true, getters: true, depth: null })],
      ['inspect, everything, without custom inspection', inspect(token, { showHidden: true, getters: true, customInspect: false })],
      ['inspect of a copy', inspect({ ...token }, { showHidden: true, getters: true })],
      ['inspect of a clone', inspect(structuredClone(token), { showHidden: true, getters: true })],
      ['String', String(token)],
      ['template', `${token}`],
      ['concatenation', '' + token],
      ['spread', JSON.stringify({ ...token })],
      ['assign', JSON.stringify(Object.assign({}, token))],
      ['entries', String(Object.entries(token))],
      ['values', String(Object.values(token))],
      ['keys', String(Reflect.ownKeys(token))],
      ['descriptors', JSON.stringify(Object.getOwnPropertyDescriptors(token))],
      ['clone', JSON.stringify(structuredClone(token))],
      ['v8', serialize(token).toString('latin1')],
      ['query', new URLSearchParams(Object.fromEntries(Object.entries(token).map(([name, value]) => [name, String(value)]))).toString()],
      ['error', printed(Object.assign(new Error('failed', { cause: token.id }), { cause: { ...token } }))]
    ]
    for (const [how, text] of copies) {
      t.ok(text.length > 0, how)
      t.notOk(text.includes(accessToken), how)
    }
    const enumerated = []
    for (const name in token) enumerated.push(name)
    t.notOk(enumerated.includes('accessToken'))
  })
})

t.test('state', async (t) => {
  const keys = keyringOf('old')('mac state')

  t.test('a state holds the time when it was made, and no two states are equal', async (t) => {
    const state = createState(keys, start)
    t.match(state, /^[\w-]{96}$/)
    t.equal(readState(keys, state), start)
    t.equal(new Set(Array.from({ length: 1000 }, () => createState(keys, start).slice(0, 42))).size, 1000, 'the random bytes alone')
  })

  t.test('a state is accepted if it was made with any of the app\'s secrets, and only then', async (t) => {
    const state = createState(keys, start)
    for (const keyring of [keyringOf('old', 'new'), keyringOf('new', 'old')]) t.equal(readState(keyring('mac state'), state), start)
    t.equal(readState(keyringOf('new', 'other')('mac state'), state), null)
    t.equal(readState(keyringOf('old')('mac user'), state), null, 'another purpose')
    t.equal(readState(createKeyring([secrets.old], 'another client')('mac state'), state), null, 'another client')
  })

  t.test('a state with any changed character is refused', async (t) => {
    const state = createState(keys, start)
    const changed = Array.from(state, (character, index) => `${state.slice(0, index)}${character === 'A' ? 'B' : 'A'}${state.slice(index + 1)}`)
    t.equal(changed.filter((value) => readState(keys, value) !== null).length, 0)
    for (const value of ['', 'x', state.slice(1), `${state}A`, `${state}\n`, ` ${state}`, `${state}=`, state.replace(/.$/, '+'), 'A'.repeat(96), state.repeat(2)]) {
      t.equal(readState(keys, value), null, 'another shape')
    }
  })

  t.test('a flow is named by a part of the random bytes of its state', async (t) => {
    const state = createState(keys, start)
    t.match(flowHandle(state), /^[\w-]{16}$/)
    t.equal(flowHandle(state), flowHandle(state))
    t.not(flowHandle(state), flowHandle(createState(keys, start)))
    t.ok(state.startsWith(flowHandle(state)))
  })
})

t.test('the cookie of a flow', async (t) => {
  const keys = keyringOf('old')('mac flow cookie')
  const pending = { returnTo: 'https://app.example.com/é?a=b', scope: ['sites:read', 'cms:read'], startedAt: start, user: null, owner: null, popup: false, endedAt: null, seed: 'seed' }
  const ended = { ...pending, user: 'hash', owner: 'id', popup: true, endedAt: start + 5 }
  const sign = (payload: unknown) => {
    const encoded = Buffer.from(typeof payload === 'string' ? payload : `${JSON.stringify(payload)}\nhttps://app.example.com/`).toString('base64url')
    return `${encoded}.${mac(keys, `${encoded}.state`)}`
  }

  t.test('reads as it was written, with its state', async (t) => {
    for (const flow of [pending, ended]) {
      const value = createFlowCookie(keys, 'state', flow)
      t.match(value, /^[\w-]+\.[\w-]{43}$/)
      t.strictSame(readFlowCookie(keys, 'state', value), flow)
      t.strictSame(readFlowCookie(keyringOf('new', 'old')('mac flow cookie'), 'state', value), flow)
      t.match(peekFlowCookie(value), { startedAt: flow.startedAt, endedAt: flow.endedAt })
    }
  })

  t.test('cannot be read without its state, its secret or any of its characters', async (t) => {
    const value = createFlowCookie(keys, 'state', pending)
    t.equal(readFlowCookie(keys, 'another', value), null)
    t.equal(readFlowCookie(keys, '', value), null)
    t.equal(readFlowCookie(keyringOf('new')('mac flow cookie'), 'state', value), null)
    t.equal(readFlowCookie(keyringOf('old')('mac state'), 'state', value), null)
    const [payload = '', tag = ''] = value.split('.')
    const other = createFlowCookie(keys, 'state', ended)
    for (const wrong of ['', '.', payload, `${payload}.`, `.${tag}`, tag, `${payload}.${tag.slice(1)}`, `${payload.slice(1)}.${tag}`, `${payload}.${other.split('.')[1]}`, `${other.split('.')[0]}.${tag}`]) {
      t.equal(readFlowCookie(keys, 'state', wrong), null)
    }
    const changed = Array.from(payload, (character, index) => `${payload.slice(0, index)}${character === 'A' ? 'B' : 'A'}${payload.slice(index + 1)}.${tag}`)
    t.equal(changed.filter((wrong) => readFlowCookie(keys, 'state', wrong) !== null).length, 0)
  })

  t.test('is refused if any part of the flow is missing, even when it is signed', async (t) => {
    const right = { scope: 'sites:read', startedAt: start, seed: 'seed' }
    t.match(readFlowCookie(keys, 'state', sign(right)), { returnTo: 'https://app.example.com/', user: null, owner: null, popup: false, endedAt: null })
    const wrong = [
      ...['scope', 'startedAt', 'seed'].flatMap((name) => [undefined, null, {}].map((value) => ({ ...right, [name]: value }))),
      { ...right, startedAt: '5' },
      { ...right, user: 5 },
      { ...right, owner: {} },
      { ...right, endedAt: '5' },
      [], null, 5, '', '{'
    ]
    for (const payload of wrong) {
      t.equal(readFlowCookie(keys, 'state', sign(payload)), null, inspect(payload))
      t.strictSame(peekFlowCookie(sign(payload)), { startedAt: 0, endedAt: null }, inspect(payload))
    }
    t.strictSame(peekFlowCookie(''), { startedAt: 0, endedAt: null })
  })
})

const flowSettings = resolveOptions({ clientId, clientSecret: 'x', redirectUri: 'https://app.example.com/cb', scope: ['sites:read'], secret: secrets.old, flowMaxAge: 10 }, '')
const connected = { kind: 'connected', keyId: 'key' } as const

t.test('the outcome of a flow is known for a minute, even if the flow ended after its deadline', async (t) => {
  useClock(t)
  const flowRecords = new FlowRecords(createStores(keyringOf('old')).guarded, flowSettings, new BackgroundTasks())
  tick(9000)
  const claim = await flowRecords.claimOrWait('state', start, false)
  if (claim?.kind !== 'claim') return t.fail('the flow is free')
  tick(8000)
  t.equal(await flowRecords.settle(claim, connected), true)
  t.equal(await flowRecords.settle(claim, connected), false, 'once')
  tick(59_000)
  t.match(await flowRecords.claimOrWait('state', start, true), { kind: 'done', outcome: connected, endedAt: start + 17_000 })
  tick(1000)
  t.equal(await flowRecords.claimOrWait('state', start, true), null)
})

t.test('a repeated claim whose first answer was lost can be settled', async (t) => {
  const memory = new MemoryStore()
  const { guarded } = createStores(keyringOf('old'), storeWith({
    get: memory.get.bind(memory),
    set: async (...call: Parameters<MemoryStore['set']>) => {
      const written = await memory.set(...call)
      return call[2].if === null ? false : written
    }
  }))
  const flowRecords = new FlowRecords(guarded, flowSettings, new BackgroundTasks())
  const claim = await flowRecords.claimOrWait('state', Date.now(), false)
  if (claim?.kind !== 'claim') return t.fail('the claim is one\'s own')
  t.equal(await flowRecords.settle(claim, connected), true)
  t.match(await flowRecords.progress('state'), { kind: 'done', outcome: connected })
})

t.test('a flow whose claim was removed while other callbacks waited can be claimed again', async (t) => {
  const memory = new MemoryStore()
  const { guarded } = createStores(keyringOf('old'), memory)
  const key = `flow:${storeId(clientId, 'state')}`
  await memory.set(key, '{"kind":"claimed","attempt":"of another"}', { expiresAt: inAMinute() })
  const flowRecords = new FlowRecords(guarded, flowSettings, new BackgroundTasks())
  const waiting = flowRecords.claimOrWait('state', Date.now(), false)
  await setImmediate()
  await memory.delete(key)
  t.match(await waiting, { kind: 'claim', key })
})

t.test('a flow whose claims are removed again and again counts as used', async (t) => {
  const { guarded } = createStores(keyringOf('old'), storeWith({ get: async () => null, set: async () => false }))
  t.equal(await new FlowRecords(guarded, flowSettings, new BackgroundTasks()).claimOrWait('state', Date.now(), false), null)
})

t.test('an unreadable flow record counts as somebody\'s claim', async (t) => {
  const { guarded } = createStores(keyringOf('old'))
  const flowRecords = new FlowRecords(guarded, flowSettings, new BackgroundTasks())
  t.strictSame(await flowRecords.progress('state'), { kind: 'unclaimed' })
  for (const text of ['5', '{}', '{"kind":"done"}', '{"kind":"done","endedAt":1,"outcome":{}}', '{"kind":"done","endedAt":"1","outcome":{"kind":"failed","statusCode":400}}', 'no JSON']) {
    await guarded.set(`flow:${storeId(clientId, 'state')}`, text, { expiresAt: inAMinute() })
    t.strictSame(await flowRecords.progress('state'), { kind: 'claimed' })
  }
})

t.test('the outcome of a flow', async (t) => {
  t.test('an error of the plugin is restored with code, reason and status, but without its message', async (t) => {
    const error = new WebflowOAuthError('WEBFLOW_OAUTH_STATE_INVALID', hidden, { reason: 'expired', cause: new Error(hidden) })
    const outcome = createOutcome(error)
    t.strictSame(outcome, { kind: 'failed', code: error.code, reason: 'expired', statusCode: 400 })
    const restored = restoreError(outcome)
    t.ok(restored instanceof WebflowOAuthError)
    t.match(restored, { code: error.code, reason: 'expired', message: /failed with this error before/, statusCode: 400 })
    t.equal(restored.cause, undefined)
    t.notOk('reason' in restoreError(createOutcome(new WebflowOAuthError('WEBFLOW_OAUTH_CODE_REJECTED', 'The message.'))))
  })

  t.test('an error of a hook is restored with code, reason and status if they are short and plain', async (t) => {
    const rows: ReadonlyArray<readonly [error: Error, expected: object]> = [
      [Object.assign(new Error(hidden), { code: 'NO_SEATS', statusCode: 402 }), { code: 'NO_SEATS', statusCode: 402 }],
      [new TypeError(hidden), { statusCode: 500 }],
      [Object.assign(new Error(hidden), { code: 5, statusCode: '402' }), { code: 5, statusCode: 500 }],
      [Object.assign(new Error(hidden), { code: 'plan/limit exceeded', status: 422, reason: 'plan' }), { code: 'plan/limit exceeded', statusCode: 422, reason: 'plan' }],
      [Object.assign(new Error(hidden), { code: {}, statusCode: 200, reason: 7 }), { statusCode: 500 }],
      [Object.assign(new Error(hidden), { code: 'f'.repeat(64), reason: 'a?b=c' }), { statusCode: 500 }]
    ]
    for (const [error, expected] of rows) {
      const outcome = createOutcome(error)
      t.strictSame(outcome, { kind: 'failed', ...expected })
      const restored = restoreError(outcome)
      t.notMatch(restored.message, hidden)
      t.equal(statusOf(restored), outcome.statusCode)
      t.equal('code' in restored ? restored.code : undefined, outcome.code)
      t.equal('reason' in restored ? restored.reason : undefined, outcome.reason)
    }
  })

  t.test('a stored outcome is read as a whole or not at all', async (t) => {
    const failed = { kind: 'failed', statusCode: 400 }
    for (const outcome of [connected, failed, { ...failed, code: 'X', reason: 'y' }]) t.strictSame(parseOutcome(outcome), outcome)
    t.strictSame(parseOutcome({ ...connected, accessToken }), connected, 'other members are dropped')
    const wrong = [undefined, null, 5, 'connected', [], {}, { ...connected, keyId: null }, { kind: 'connected' }, { ...failed, kind: 'lost' }, { ...failed, statusCode: '400' }]
    for (const value of wrong) t.equal(parseOutcome(value), null, inspect(value))
  })
})

t.test('errors', async (t) => {
  t.test('each code has its status', async (t) => {
    const statuses = {
      INVALID_OPTION: 500,
      INVALID_CALLBACK: 400,
      STATE_INVALID: 400,
      ACCESS_DENIED: 403,
      AUTHORIZATION_FAILED: 400,
      CODE_REJECTED: 400,
      CLIENT_REJECTED: 500,
      WEBFLOW_UNAVAILABLE: 502,
      WEBFLOW_TIMEOUT: 504,
      WEBFLOW_RESPONSE_INVALID: 502,
      STORE_UNAVAILABLE: 503,
      TOKEN_REQUIRED: 401,
      TOKEN_NOT_LOADED: 500,
      SCOPE_MISSING: 403,
      USER_REQUIRED: 401,
      CROSS_SITE: 403
    }
    for (const [name, statusCode] of Object.entries(statuses)) {
      const code = `WEBFLOW_OAUTH_${name}`
      if (!isErrorCode(code)) {
        t.fail(`${code} is missing`)
        continue
      }
      const error = new WebflowOAuthError(code, 'The message.')
      t.match(error, { name: 'WebflowOAuthError', code, statusCode, message: 'The message.' })
      t.ok(error instanceof Error)
      t.notOk('reason' in error || 'cause' in error, 'absent members stay absent')
    }
    for (const code of ['toString', 'INVALID_OPTION', 'WEBFLOW_OAUTH_', '', null, 5]) t.equal(isErrorCode(code), false, inspect(code))
  })

  t.test('a status or a code of a foreign error counts when it makes sense', async (t) => {
    for (const [statusCode, expected] of [[400, 400], [599, 599], [399, 500], [600, 500], [404.5, 500], ['404', 500], [undefined, 500], [null, 500]] as const) {
      t.equal(statusOf(Object.assign(new Error('x'), { statusCode })), expected, inspect(statusCode))
    }
    t.equal(statusOf(new Error('x')), 500)
    for (const [code, expected] of [['FST_ERR_X', 'FST_ERR_X'], ['E-1.2', 'E-1.2'], ['_', '_'], ['', null], ['two words', null], ['1X', null], ['é', null], ['X\n', null], [`X${'x'.repeat(64)}`, null], [5, null], [null, null]] as const) {
      t.equal(codeOf(Object.assign(new Error('x'), { code })), expected, inspect(code))
    }
    t.equal(codeOf(new Error('x')), null)
  })

  t.test('every thrown value becomes an error', async (t) => {
    const error = new Error(hidden)
    t.equal(toError(error), error)
    for (const thrown of [hidden, undefined, null, 5, { message: hidden }]) {
      const made = toError(thrown)
      t.equal(made.message, 'Something that is not an Error was thrown.')
      t.equal(made.stack, 'Error: Something that is not an Error was thrown.')
      t.notOk(printed(made).includes(hidden))
    }
  })
})

t.test('JSON from outside', async (t) => {
  for (const value of [{}, { a: 1 }, Object.create(null), new Date()]) t.equal(isObject(value), true, inspect(value))
  for (const value of [null, undefined, [], 'text', 5, () => {}]) t.equal(isObject(value), false, inspect(value))
  t.strictSame(parseJson('{"a":[1]}'), { a: [1] })
  for (const text of ['', '{', 'undefined', '\u0000']) t.equal(parseJson(text), undefined, inspect(text))
})

import { mock } from 'node:test'
import t from 'tap'
import { storeTests } from '../stores/conformance.ts'
import { MemoryStore } from '../stores/memory.ts'
import { loader } from './support/node-process.ts'
import { run } from './support/readme-project.ts'
import { ReferenceStore } from './support/reference-store.ts'
import { clockOfItsOwn, failuresOf, isFairMessage, right, testsOf, type Made } from './support/store-verdicts.ts'
import { createClock, createCutStore, wrongStores, type CutStore } from './support/wrong-stores.ts'

const titles = testsOf(right).map(({ title }) => title)
const cutOff = 'a store that cannot do its work rejects, and never resolves as if a key were unknown'

t.test('a store that keeps the contract passes', async (t) => {
  t.strictSame([...await failuresOf(testsOf(right))], [])
  t.ok(titles.length > 40)
  t.equal(new Set(titles).size, titles.length)
})

t.test('a store without getSync and getMany passes', async (t) => {
  const without = (store: CutStore): CutStore => ({
    get reference () { return store.reference },
    get isCut () { return store.isCut },
    set isCut (isCut) { store.isCut = isCut },
    get: (key) => store.get(key),
    set: (key, value, options) => store.set(key, value, options),
    delete: (key, options) => store.delete(key, options),
    find: (tag, options) => store.find(tag, options)
  })
  t.strictSame([...await failuresOf(testsOf({ createStore: (clock, rows) => without(right.createStore(clock, rows)) }))], [])
})

// The slow tests run the whole suite against each of these stores.
t.test('each store with one fault fails the tests that must catch the fault, and the message says what the contract says and what the store did', async (t) => {
  t.ok(wrongStores.length > 90)
  for (const { name, caughtBy, ...made } of wrongStores) {
    const failures = await failuresOf(testsOf(made).filter(({ title }) => caughtBy.includes(title)))
    t.strictSame(caughtBy.filter((title) => !failures.has(title)), [], name)
    for (const [title, error] of failures) if (!isFairMessage(title, error)) t.fail(`${name}: ${String(error)}`)
  }
})

t.test('every test of the suite catches at least one wrong store', async (t) => {
  const caught = new Set(wrongStores.flatMap(({ caughtBy }) => caughtBy))
  t.strictSame(titles.filter((title) => !caught.has(title)), [])
  t.strictSame([...caught].filter((title) => !titles.includes(title)), [])
})

t.test('a message shows the difference between texts that look alike', async (t) => {
  const { createStore } = wrongStores.find(({ name }) => name === 'keeps a value in Unicode\'s normal form') ?? right
  const failures = await failuresOf(testsOf({ createStore }))
  t.match(String(failures.get('values that look alike are different values')), /set\('key \d+', 'new', \{ if: 'caf\\u00e9' \}\) resolved with true instead of false/)
})

t.test('a store with many pages without a key passes', async (t) => {
  const PARTITIONS = 1024
  const partitionOf = (key: string): number => Buffer.from(key).reduce((hash, byte) => (hash * 31 + byte) % PARTITIONS, 7)
  const partitioned: Made = {
    createStore ({ now }, rows) {
      const right = new ReferenceStore(now, {}, rows)
      return createCutStore(right, {
        find: async (tag, { limit = 100, cursor = '0:' } = {}) => {
          const [number, after] = [parseInt(cursor), cursor.slice(cursor.indexOf(':') + 1)]
          const keys = right.tagged(tag).filter((key) => partitionOf(key) === number && (after === '' || `+${key}` > after))
          const page = keys.slice(0, limit)
          const next = number + 1 < PARTITIONS ? `${number + 1}:` : null
          return { keys: page, cursor: keys.length > limit ? `${number}:+${page.at(-1)}` : next }
        }
      })
    }
  }
  // The reference store, which sorts all its keys for each page, would take seconds for that one.
  const tests = testsOf(partitioned).filter(({ title }) => !title.startsWith('find pages through 1,100 keys'))
  t.equal(tests.length, titles.length - 1)
  t.strictSame([...await failuresOf(tests)], [])
})

t.test('a store that ignores the limit fails, and its only page counts as the last', async (t) => {
  const unlimited: Made = {
    createStore ({ now }, rows) {
      const right = new ReferenceStore(now, {}, rows)
      return createCutStore(right, { find: async (tag) => await right.find(tag, { limit: 5000 }) })
    }
  }
  const failures = await failuresOf(testsOf(unlimited).filter(({ title }) => /\bpages?\b/.test(title)))
  t.match(String(failures.get('find pages through 1,100 keys, each once, and no page is longer than its limit')), 'limit')
})

t.test('a store whose pages never end fails', async (t) => {
  const { createStore } = wrongStores.find(({ name }) => name === 'has a cursor behind the last page too') ?? right
  const failures = await failuresOf(testsOf({ createStore }).slice(0, 1))
  t.match(String(failures.get('a key that nobody has set reads as null')), 'find(\'tag\') went on after 5000 pages in a row without a new key: the cursor of the last page must be null')
})

t.test('on the real clock, the message about a near deadline says that the clock of the store may differ', async (t) => {
  const skewed = (ahead: number) => storeTests({ createStore: () => new ReferenceStore(() => Date.now() + ahead) })
  for (const failures of await Promise.all([-1000, 1000].map(async (ahead) => await failuresOf(skewed(ahead))))) {
    t.ok(failures.size > 0)
    for (const [title, error] of failures) t.match(String(error), clockOfItsOwn, title)
  }
  t.strictSame([...await failuresOf(skewed(0))], [])
  const forgetful = storeTests({ createStore: () => Object.assign(new ReferenceStore(Date.now), { get: async () => null }) })
  const failures = await failuresOf(forgetful.filter(({ title }) => /reads as it was|kept exactly|largest exact/.test(title)))
  t.equal(failures.size, 3)
  for (const error of failures.values()) t.notMatch(String(error), clockOfItsOwn)
})

t.test('every store is closed even if closing one fails, and the first error is reported', async (t) => {
  const failing = (options: object, title = titles[0]) => {
    const closed: unknown[] = []
    const tests = storeTests({
      createStore: () => new MemoryStore(),
      connect: (store) => Object.assign(new MemoryStore(), { get: (key: string) => store.get(key) }),
      closeStore: async (store) => {
        closed.push(store)
        throw new Error(`close ${closed.length}`)
      },
      ...options
    })
    return { closed, ended: Promise.all(tests.filter((test) => test.title === title).map(({ run }) => run())) }
  }
  const passing = failing({})
  await t.rejects(passing.ended, { message: 'close 1' })
  t.equal(passing.closed.length, 2)

  const wrong = failing({ createStore: () => Object.assign(new MemoryStore(), { get: async () => undefined }) })
  await t.rejects(wrong.ended, { name: 'AssertionError' })
  t.equal(wrong.closed.length, 2)

  const lonely = failing({ connect: () => { throw new Error('no connection') } })
  await t.rejects(lonely.ended, { message: 'no connection' })
  t.equal(lonely.closed.length, 1)

  const lost = failing({ interrupt: async () => async () => { throw new Error('not restored') } }, cutOff)
  await t.rejects(lost.ended, { name: 'AssertionError' })
})

t.test('a store that lacks a method is refused, and the message names the method', async (t) => {
  const of = async (options: object) => { for (const { run } of storeTests({ createStore: () => new MemoryStore(), ...options }).slice(0, 1)) await run() }
  for (const method of ['get', 'set', 'delete', 'find']) {
    const broken = (): object => Object.assign(new MemoryStore(), { [method]: undefined })
    const message = new RegExp(`\\bhas no method \`${method}\`: a TokenStore has get, set, delete, find`)
    await t.rejects(of({ createStore: broken }), { name: 'TypeError', message })
    await t.rejects(of({ connect: async () => broken() }), { name: 'TypeError', message: /^`connect`/ })
  }
  await t.rejects(of({ createStore: () => undefined, closeStore: (store: MemoryStore) => store.size }), { name: 'TypeError', message: /^`createStore`.* no method `get`/ })
})

t.test('a call that never ends fails after five seconds', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const hangs: Made = { createStore: ({ now }, rows) => createCutStore(new ReferenceStore(now, {}, rows), {}, { get: () => new Promise(() => {}) }) }
  const test = testsOf(hangs).find(({ title }) => title === cutOff)
  const failed = t.rejects(async () => { await test?.run() }, { name: 'AssertionError', message: /But get\("key"\) had neither resolved nor rejected after 5 seconds while the connection was lost/ })
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => { setImmediate(resolve) })
  mock.timers.tick(5000)
  await failed
})

t.test('after a failed test the connection is restored, and every store is closed, including those of `connect`', async (t) => {
  const opened: CutStore[] = []
  const closed: CutStore[] = []
  const clock = createClock()
  const create = (rows?: Map<string, never>): CutStore => {
    const store = createCutStore(new ReferenceStore(clock.now, {}, rows), {}, { get: async () => null })
    opened.push(store)
    return store
  }
  const tests = storeTests({
    clock,
    createStore: async () => create(),
    connect: async (store) => Object.assign(create(), { reference: store.reference }),
    interrupt: async (store) => {
      store.isCut = true
      return async () => { store.isCut = false }
    },
    closeStore: async (store) => { closed.push(store) }
  })
  for (const title of [cutOff, 'two stores share nothing', titles[0]]) {
    opened.length = closed.length = 0
    await failuresOf(tests.filter((test) => test.title === title))
    t.equal(opened.length, title === 'two stores share nothing' ? 3 : 2)
    t.strictSame(new Set(closed), new Set(opened))
    t.notOk(opened.some(({ isCut }) => isCut))
  }
})

t.test('no option removes a test', async (t) => {
  const createStore = () => new MemoryStore()
  const titlesOf = (options: object) => storeTests({ createStore, ...options }).map(({ title }) => title)
  const least = titlesOf({})
  t.ok(least.length > 30)
  const additions = [
    { clock: createClock() },
    { connect: (store: MemoryStore) => store },
    { interrupt: async () => () => {} }
  ]
  for (const addition of additions) {
    const more = titlesOf(addition)
    t.ok(more.length > least.length)
    t.strictSame(least.filter((title) => !more.includes(title)), [])
  }
  t.strictSame(titlesOf({ closeStore () {} }), least)
  t.strictSame(titlesOf(Object.assign({}, ...additions)), titles)
})

t.test('wrong options are refused', async (t) => {
  const createStore = () => new MemoryStore()
  const refusals: Array<[unknown, RegExp]> = [
    [undefined, /^storeTests takes .*createStore, connect, clock, interrupt, closeStore/],
    [{}, /`createStore`.*missing/],
    [{ createStore: new MemoryStore() }, /`createStore`.*missing/],
    [{ createStore, conect: createStore }, /`conect`.*connect/],
    [{ createStore, connect: new MemoryStore() }, /`connect`.*not a function/],
    [{ createStore, interrupt: 5 }, /`interrupt`.*not a function/],
    [{ createStore, closeStore: 'x' }, /`closeStore`.*not a function/],
    ...[{}, null, 5, { now: Date.now }, { now: 5, advance () {} }].map((clock): [unknown, RegExp] => [{ createStore, clock }, /`clock`.*not a clock.*now and advance/])
  ]
  for (const [options, message] of refusals) t.throws(() => Reflect.apply(storeTests, null, [options]), { name: 'TypeError', message })
})

t.test('the suite runs with tap, on the real clock', async (t) => {
  for (const { title, run } of storeTests({ createStore: () => new MemoryStore() })) t.test(title, run)
})

t.test('the suite runs with node:test, imported by the name of the package', async (t) => {
  const program = (store: string): string => [
    'import test from \'node:test\'',
    'import { MemoryStore } from \'fastify-webflow-oauth/stores/memory\'',
    'import { storeTests } from \'fastify-webflow-oauth/stores/conformance\'',
    `class Forgetful extends MemoryStore { async get (key) { return ${store} } }`,
    'for (const { title, run } of storeTests({ createStore: () => new Forgetful() })) test(title, run)'
  ].join('\n')
  const project = t.testdir({
    'right.test.mjs': program('super.get(key)'),
    'wrong.test.mjs': program('(await super.get(key)) || null')
  })
  const passing = run(t, [...loader, '--test', 'right.test.mjs'], { cwd: project })
  const failing = run(t, [...loader, '--test', 'wrong.test.mjs'], { cwd: project })
  t.equal(await passing.exited, 0, passing.printed())
  t.match(passing.printed(), new RegExp(`pass ${storeTests({ createStore: () => new MemoryStore() }).length}\\b`))
  t.equal(await failing.exited, 1)
  t.match(failing.printed(), 'The contract says: an empty string is a value, a key and a tag like any other. But get(\'\') resolved with null instead of \'\'.')
})

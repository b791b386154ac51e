import type { TokenStore } from '../../stores/token-store.ts'

/**
 * Runs one test: with tap, `(title, body) => t.test(title, body)`.
 */
export type RunTest = (title: string, body: (t: Assertions) => Promise<void>) => PromiseLike<unknown>

/**
 * What the contract asks of a runner's assertions; those of tap have it.
 */
export interface Assertions {
  equal (actual: unknown, expected: unknown, ...message: [] | [string]): unknown
  strictSame (actual: unknown, expected: unknown, ...message: [] | [string]): unknown
  rejects (promise: Promise<unknown>, expected: { name: string, message?: RegExp }, ...message: [] | [string]): unknown
}

/**
 * A kind of store, and the clock that it and Date.now() go by.
 */
export interface StoreSubject {
  name: string
  /** Makes an empty store that shares nothing with the others. */
  createStore (): TokenStore
  /** Resolves when Date.now() has come to the instant: a clock of the test's own jumps, a real one is waited for. */
  reach (instant: number): Promise<void>
  /** Whether `reach` comes to the very millisecond. */
  exact: boolean
}

/**
 * Runs the contract of `TokenStore`: whatever passes can stand behind the plugin.
 */
export async function storeContract (run: RunTest, subject: StoreSubject): Promise<void> {
  const { name, createStore, reach, exact } = subject
  const test = (title: string, body: (t: Assertions, store: TokenStore) => Promise<void>): PromiseLike<unknown> =>
    run(`${name}: ${title}`, (t) => body(t, createStore()))

  await test('a key nobody has set is null', async (t, store) => {
    t.equal(await store.get('key'), null)
    t.equal(await store.delete('key'), false)
  })

  await test('a value reads as it was written until it is overwritten', async (t, store) => {
    t.equal(await store.set('key', 'one', { expiresAt: inAMinute() }), true)
    t.equal(await store.get('key'), 'one')
    t.equal(await store.set('key', 'two', { expiresAt: inAMinute() }), true)
    t.equal(await store.get('key'), 'two')
    t.equal(await store.get('other'), null)
  })

  await test('delete forgets the key and resolves whether it was there', async (t, store) => {
    await store.set('key', 'value', { expiresAt: inAMinute() })
    t.equal(await store.delete('key'), true)
    t.equal(await store.get('key'), null)
    t.equal(await store.delete('key'), false)
  })

  await test('if: null writes only while the key is unknown', async (t, store) => {
    t.equal(await store.set('key', 'first', { expiresAt: inAMinute(), if: null }), true)
    t.equal(await store.set('key', 'second', { expiresAt: inAMinute(), if: null }), false)
    t.equal(await store.get('key'), 'first')
    await store.delete('key')
    t.equal(await store.set('key', 'third', { expiresAt: inAMinute(), if: null }), true)
    t.equal(await store.get('key'), 'third')
  })

  await test('if: null takes an expired key for unknown', async (t, store) => {
    const expiresAt = Date.now() + 50
    await store.set('key', 'old', { expiresAt })
    await reach(expiresAt)
    t.equal(await store.set('key', 'new', { expiresAt: inAMinute(), if: null }), true)
    t.equal(await store.get('key'), 'new')
  })

  await test('if: a string replaces exactly that value', async (t, store) => {
    t.equal(await store.set('key', 'two', { expiresAt: inAMinute(), if: 'one' }), false)
    t.equal(await store.get('key'), null)
    await store.set('key', 'one', { expiresAt: inAMinute(), tags: ['tag'] })
    for (const other of ['', 'on', 'one ', 'One', 'tag \none', '\none']) {
      t.equal(await store.set('key', 'two', { expiresAt: inAMinute(), if: other }), false, JSON.stringify(other))
    }
    t.equal(await store.get('key'), 'one')
    t.equal(await store.set('key', 'two', { expiresAt: inAMinute(), if: 'one' }), true)
    t.equal(await store.get('key'), 'two')
    t.equal(await store.set('key', 'three', { expiresAt: inAMinute(), if: 'one' }), false)
  })

  await test('if: a string never brings an expired value back', async (t, store) => {
    const expiresAt = Date.now() + 50
    await store.set('key', 'one', { expiresAt })
    await reach(expiresAt)
    t.equal(await store.set('key', 'two', { expiresAt: inAMinute(), if: 'one' }), false)
    t.equal(await store.get('key'), null)
  })

  await test('delete with if forgets exactly that value', async (t, store) => {
    t.equal(await store.delete('key', { if: 'value' }), false)
    await store.set('key', 'value', { expiresAt: inAMinute(), tags: ['tag'] })
    for (const other of ['', 'valu', 'value ', 'tag \nvalue']) {
      t.equal(await store.delete('key', { if: other }), false, JSON.stringify(other))
    }
    t.equal(await store.get('key'), 'value')
    t.equal(await store.delete('key', { if: 'value' }), true)
    t.equal(await store.get('key'), null)
    t.equal(await store.delete('key', { if: 'value' }), false)
  })

  await test('of a hundred claims at once exactly one succeeds', async (t, store) => {
    const claims = await Promise.all(range(100).map((claim) =>
      store.set('flow', `claim ${claim}`, { expiresAt: inAMinute(), if: null })))
    t.equal(claims.filter(Boolean).length, 1)
    t.equal(await store.get('flow'), `claim ${claims.indexOf(true)}`)
  })

  await test('of a hundred replacements at once exactly one succeeds', async (t, store) => {
    await store.set('key', 'old', { expiresAt: inAMinute() })
    const replaced = await Promise.all(range(100).map((writer) =>
      store.set('key', `new ${writer}`, { expiresAt: inAMinute(), if: 'old' })))
    t.equal(replaced.filter(Boolean).length, 1)
    t.equal(await store.get('key'), `new ${replaced.indexOf(true)}`)
  })

  await test('of a hundred deletions at once exactly one succeeds', async (t, store) => {
    for (const options of [{}, { if: 'value' }]) {
      await store.set('key', 'value', { expiresAt: inAMinute() })
      const deleted = await Promise.all(range(100).map(() => store.delete('key', options)))
      t.equal(deleted.filter(Boolean).length, 1)
    }
  })

  await test('of a renewal and a deletion at once the deletion stands', async (t, store) => {
    for (let round = 0; round < 20; round++) {
      await store.set('key', 'old', { expiresAt: inAMinute() })
      await Promise.all([store.delete('key'), store.set('key', 'old', { expiresAt: inAMinute(), if: 'old' }), store.delete('key')])
      t.equal(await store.get('key'), null)
    }
  })

  await test('a value ends at its deadline', async (t, store) => {
    const expiresAt = Date.now() + 80
    await store.set('key', 'value', { expiresAt, tags: ['tag'] })
    if (exact) await reach(expiresAt - 1)
    t.equal(await store.get('key'), 'value')
    t.strictSame((await store.find('tag')).keys, ['key'])
    await reach(expiresAt)
    t.equal(await store.get('key'), null)
    t.strictSame(await store.find('tag'), { keys: [], cursor: null })
    t.equal(await store.delete('key'), false)
    t.equal(await store.delete('key', { if: 'value' }), false)
  })

  await test('an expired key is not there for find and delete though nobody read it', async (t, store) => {
    const expiresAt = Date.now() + 50
    await store.set('key', 'value', { expiresAt, tags: ['tag'] })
    await reach(expiresAt)
    t.strictSame((await store.find('tag')).keys, [])
    t.equal(await store.delete('key'), false)
  })

  await test('overwriting moves the deadline, later and earlier', async (t, store) => {
    const soon = Date.now() + 50
    await store.set('longer', 'value', { expiresAt: soon, tags: ['tag'] })
    await store.set('longer', 'value', { expiresAt: soon + 60_000, tags: ['tag'] })
    await store.set('shorter', 'value', { expiresAt: soon + 60_000, tags: ['tag'] })
    await store.set('shorter', 'value', { expiresAt: soon, tags: ['tag'] })
    await store.set('replaced', 'old', { expiresAt: soon })
    await store.set('replaced', 'new', { expiresAt: soon + 60_000, if: 'old' })
    await reach(soon)
    t.equal(await store.get('longer'), 'value')
    t.equal(await store.get('shorter'), null)
    t.equal(await store.get('replaced'), 'new')
    t.strictSame((await store.find('tag')).keys, ['longer'])
  })

  await test('a deadline already past is accepted and unreadable', async (t, store) => {
    for (const expiresAt of [Date.now() - 1, Date.now() - 3_600_000, 1, 0, -1, -1_700_000_000_000]) {
      t.equal(await store.set('key', 'value', { expiresAt, tags: ['tag'] }), true, String(expiresAt))
      t.equal(await store.get('key'), null)
      t.strictSame((await store.find('tag')).keys, [])
      t.equal(await store.delete('key'), false)
    }
  })

  await test('a deadline already past ends the value that was there', async (t, store) => {
    await store.set('key', 'old', { expiresAt: inAMinute(), tags: ['tag'] })
    t.equal(await store.set('key', 'new', { expiresAt: Date.now() - 1 }), true)
    t.equal(await store.get('key'), null)
    t.strictSame((await store.find('tag')).keys, [])
  })

  await test('a deadline already past leaves the conditions as they are', async (t, store) => {
    const past = Date.now() - 1000
    t.equal(await store.set('key', 'value', { expiresAt: past, if: null }), true)
    t.equal(await store.get('key'), null)
    t.equal(await store.set('key', 'value', { expiresAt: past, if: 'other' }), false)
    await store.set('key', 'value', { expiresAt: inAMinute() })
    t.equal(await store.set('key', 'new', { expiresAt: past, if: null }), false)
    t.equal(await store.set('key', 'new', { expiresAt: past, if: 'other' }), false)
    t.equal(await store.get('key'), 'value')
    t.equal(await store.set('key', 'new', { expiresAt: past, if: 'value' }), true)
    t.equal(await store.get('key'), null)
  })

  await test('the last exact integer is a deadline', async (t, store) => {
    t.equal(await store.set('key', 'value', { expiresAt: Number.MAX_SAFE_INTEGER, tags: ['tag'] }), true)
    t.equal(await store.get('key'), 'value')
    t.strictSame((await store.find('tag')).keys, ['key'])
  })

  await test('a deadline that is no integer is refused and changes nothing', async (t, store) => {
    await store.set('key', 'value', { expiresAt: inAMinute() })
    for (const expiresAt of [inAMinute() + 0.5, NaN, Infinity, -Infinity, Number.MAX_SAFE_INTEGER + 1]) {
      await t.rejects(store.set('key', 'new', { expiresAt, tags: ['tag'] }), { name: 'TypeError', message: /`expiresAt`/ }, String(expiresAt))
    }
    t.equal(await store.get('key'), 'value')
    t.strictSame((await store.find('tag')).keys, [])
  })

  await test('find names the keys of a tag and no others', async (t, store) => {
    await store.set('a', '1', { expiresAt: inAMinute(), tags: ['user'] })
    await store.set('b', '2', { expiresAt: inAMinute(), tags: ['site', 'user', 'user'] })
    await store.set('c', '3', { expiresAt: inAMinute(), tags: ['site'] })
    await store.set('d', '4', { expiresAt: inAMinute() })
    t.strictSame(await all(store, 'user'), ['a', 'b'])
    t.strictSame(await all(store, 'site'), ['b', 'c'])
    t.strictSame(await store.find('use'), { keys: [], cursor: null })
  })

  await test('find goes by the tags of the value that stands', async (t, store) => {
    await store.set('key', 'one', { expiresAt: inAMinute(), tags: ['old', 'both'] })
    await store.set('key', 'two', { expiresAt: inAMinute(), tags: ['both', 'new'] })
    t.strictSame(await all(store, 'old'), [])
    t.strictSame(await all(store, 'both'), ['key'])
    t.strictSame(await all(store, 'new'), ['key'])
    await store.set('key', 'alike', { expiresAt: inAMinute(), tags: ['too old', 'older', 'bold'] })
    t.strictSame(await all(store, 'old'), [])
    await store.set('key', 'three', { expiresAt: inAMinute() })
    for (const tag of ['old', 'both', 'new']) t.strictSame(await all(store, tag), [])
    await store.set('key', 'four', { expiresAt: inAMinute(), tags: ['old'], if: 'three' })
    t.strictSame(await all(store, 'old'), ['key'])
    await store.delete('key')
    t.strictSame(await all(store, 'old'), [])
  })

  await test('a write that was refused does not tag the key', async (t, store) => {
    await store.set('key', 'value', { expiresAt: inAMinute(), tags: ['kept'] })
    await store.set('key', 'other', { expiresAt: inAMinute(), tags: ['refused'], if: null })
    await store.set('key', 'other', { expiresAt: inAMinute(), tags: ['refused'], if: 'wrong' })
    t.strictSame(await all(store, 'refused'), [])
    t.strictSame(await all(store, 'kept'), ['key'])
  })

  await test('the list of tags may be changed after the write', async (t, store) => {
    const tags = ['tag']
    await store.set('key', 'value', { expiresAt: inAMinute(), tags })
    tags[0] = 'other'
    t.strictSame(await all(store, 'tag'), ['key'])
    await store.set('key', 'value', { expiresAt: inAMinute() })
    t.strictSame(await all(store, 'tag'), [])
  })

  await test('find pages through 250 keys, each once', async (t, store) => {
    const expiresAt = inAMinute()
    const keys = range(250).map((index) => `key ${String(index).padStart(3, '0')}`)
    // Most share one deadline, as tokens do that were written in one millisecond.
    await Promise.all(keys.map((key, index) => store.set(key, key, { expiresAt: expiresAt + Number(index % 5 === 0), tags: ['tag'] })))
    for (const limit of [100, 7, 250, 5000]) {
      const pages = await pagesOf(store, 'tag', limit)
      t.equal(pages.every((page) => page.length <= limit), true)
      t.strictSame(pages.flat().sort(), keys, `pages of ${limit}`)
    }
    t.equal((await store.find('tag')).keys.length <= 100, true)
  })

  await test('what changes between two pages makes find miss no other key', async (t, store) => {
    const expiresAt = inAMinute()
    const keys = range(40).map((index) => `key ${String(index).padStart(2, '0')}`)
    for (const key of keys) await store.set(key, key, { expiresAt, tags: ['tag'] })
    const first = await store.find('tag', { limit: 10 })
    // The last of the page moves behind, others go, and newcomers appear.
    await store.set(first.keys.at(-1) ?? '', 'later', { expiresAt: expiresAt + 1, tags: ['tag'] })
    for (const key of first.keys.slice(0, 5)) await store.delete(key)
    for (const key of range(5)) await store.set(`newcomer ${key}`, '', { expiresAt: expiresAt + 2, tags: ['tag'] })
    const rest = await pagesOf(store, 'tag', 10, first.cursor)
    const seen = new Set([...first.keys, ...rest.flat()])
    t.strictSame(keys.filter((key) => !seen.has(key)), [])
  })

  await test('a page of one key at a time ends', async (t, store) => {
    for (const key of ['a', 'b', 'c']) await store.set(key, key, { expiresAt: inAMinute(), tags: ['tag'] })
    await store.delete('b')
    t.strictSame((await pagesOf(store, 'tag', 1)).flat().sort(), ['a', 'c'])
  })

  await test('a limit that is no positive integer is refused', async (t, store) => {
    for (const limit of [0, -1, 1.5, NaN, Infinity]) {
      await t.rejects(store.find('tag', { limit }), { name: 'TypeError', message: /`limit`/ }, String(limit))
    }
  })

  await test('a cursor that no page gave is refused', async (t, store) => {
    for (const cursor of ['', 'garbage', '-1', '1.5', 'NaN:', ':key', '__proto__', '12345678901234567890', '1e3:key']) {
      await t.rejects(store.find('tag', { cursor }), { name: 'TypeError', message: /`cursor`/ }, JSON.stringify(cursor))
    }
  })

  await test('keys, values and tags of any kind come back as they were', async (t, store) => {
    for (const [index, text] of AWKWARD.entries()) {
      const value = `${text}\n${index}`
      t.equal(await store.set(text, value, { expiresAt: inAMinute(), tags: [text], if: null }), true, `kind ${index}`)
      t.equal(await store.get(text), value)
      t.equal(await store.set(text, text, { expiresAt: inAMinute(), tags: [text], if: value }), true)
      t.equal(await store.get(text), text)
    }
    for (const [index, text] of AWKWARD.entries()) {
      t.equal(await store.get(text), text)
      t.strictSame(await store.find(text), { keys: [text], cursor: null }, `kind ${index}`)
    }
    for (const [index, text] of AWKWARD.entries()) {
      t.equal(await store.delete(text, { if: `${text}.` }), false)
      t.equal(await store.delete(text, { if: text }), true, `kind ${index}`)
      t.equal(await store.get(text), null)
    }
  })

  await test('awkward keys keep their pages apart', async (t, store) => {
    const expiresAt = inAMinute()
    for (const key of AWKWARD) await store.set(key, '', { expiresAt, tags: ['tag', ...AWKWARD] })
    t.strictSame((await pagesOf(store, 'tag', 3)).flat().sort(), [...AWKWARD].sort())
    t.strictSame((await pagesOf(store, '', 4)).flat().sort(), [...AWKWARD].sort())
    t.strictSame(await all(store, 'toString'), [])
  })

  await test('a value of 64 KiB is compared whole', async (t, store) => {
    const value = 'é\0\n'.repeat(16_384)
    await store.set('key', value, { expiresAt: inAMinute() })
    t.equal(await store.get('key'), value)
    t.equal(await store.set('key', 'new', { expiresAt: inAMinute(), if: value.slice(0, -1) }), false)
    t.equal(await store.set('key', 'new', { expiresAt: inAMinute(), if: value }), true)
  })

  await test('two stores share nothing', async (t, store) => {
    const other = createStore()
    await store.set('key', 'value', { expiresAt: inAMinute(), tags: ['tag'] })
    t.equal(await other.get('key'), null)
    t.strictSame(await all(other, 'tag'), [])
    t.equal(await other.set('key', 'other', { expiresAt: inAMinute(), if: null }), true)
    t.equal(await other.delete('key'), true)
    t.equal(await store.get('key'), 'value')
  })
}

const AWKWARD = [
  '', ' ', '\n', '\r\n', 'a\nb', '\0', 'a\0b', '__proto__', 'constructor', 'hasOwnProperty', 'tag:a', 'tag:', 'key:tag:a', 'key:', 'key',
  '%', '%20', 'a b', '"quoted"', '\\', '[]', '*', '{slot}', '日本語 👩‍💻', '\u{10ffff}\u2028é', '7:7', 'x'.repeat(10_240)
]

function inAMinute (): number {
  return Date.now() + 60_000
}

function range (length: number): number[] {
  return Array.from({ length }, (_, index) => index)
}

async function all (store: TokenStore, tag: string): Promise<string[]> {
  return (await pagesOf(store, tag, 100)).flat().sort()
}

async function pagesOf (store: TokenStore, tag: string, limit: number, from: string | null = null): Promise<string[][]> {
  const pages = []
  let cursor = from
  do {
    const page = await store.find(tag, cursor === null ? { limit } : { limit, cursor })
    pages.push(page.keys)
    cursor = page.cursor
  } while (cursor !== null)
  return pages
}

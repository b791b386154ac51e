import type { Test } from 'tap'
import { storeTests, type StoreTestsOptions } from '../../stores/conformance.ts'
import type { TokenStore } from '../../stores/token-store.ts'

/**
 * Runs the tests of the contract of `TokenStore`, and of the further promises that the stores of this package make. Leaves out the
 * tests of the contract whose titles match `without`.
 */
export async function testStore<Store extends TokenStore> (t: Test, name: string, options: StoreTestsOptions<Store>, without?: RegExp): Promise<void> {
  for (const { title, run } of storeTests(options).filter(({ title }) => without?.test(title) !== true)) await t.test(`${name}: ${title}`, async (t) => { await t.resolves(run()) })
  const { createStore, clock: { now } = Date } = options
  const inAMinute = (): number => now() + 60_000

  await t.test(`${name}: a deadline that is no integer is refused and changes nothing`, async (t) => {
    const store = await createStore()
    await store.set('key', 'value', { expiresAt: inAMinute() })
    for (const expiresAt of [inAMinute() + 0.5, NaN, Infinity, -Infinity, Number.MAX_SAFE_INTEGER + 1]) {
      await t.rejects(store.set('key', 'new', { expiresAt, tags: ['tag'] }), { name: 'TypeError', message: /`expiresAt`/ }, String(expiresAt))
    }
    t.equal(await store.get('key'), 'value')
    t.strictSame((await store.find('tag')).keys, [])
  })

  await t.test(`${name}: a limit that is no positive integer is refused`, async (t) => {
    const store = await createStore()
    for (const limit of [0, -1, 1.5, NaN, Infinity]) {
      await t.rejects(store.find('tag', { limit }), { name: 'TypeError', message: /`limit`/ }, String(limit))
    }
  })

  await t.test(`${name}: a cursor that no page gave is refused`, async (t) => {
    const store = await createStore()
    for (const cursor of ['', 'garbage', '-1', '1.5', 'NaN:', ':key', '__proto__', '12345678901234567890', '1e3:key']) {
      await t.rejects(store.find('tag', { cursor }), { name: 'TypeError', message: /`cursor`/ }, JSON.stringify(cursor))
    }
  })

  await t.test(`${name}: pages have 100 keys at most unless told otherwise, and the last one no cursor`, async (t) => {
    const store = await createStore()
    const expiresAt = inAMinute()
    for (let index = 0; index < 101; index++) await store.set(`key ${index}`, '', { expiresAt, tags: ['tag', `tag ${index}`] })
    const { keys, cursor } = await store.find('tag')
    t.ok(keys.length <= 100)
    t.type(cursor, 'string')
    t.strictSame(await store.find('tag 1'), { keys: ['key 1'], cursor: null })
    t.strictSame(await store.find('nothing'), { keys: [], cursor: null })
  })

  await t.test(`${name}: keys and tags of 10 KiB are kept exactly`, async (t) => {
    const store = await createStore()
    const text = 'x'.repeat(10_240)
    t.equal(await store.set(text, text, { expiresAt: inAMinute(), tags: [text, `${text}.`] }), true)
    t.equal(await store.get(text), text)
    t.equal(await store.get(`${text}.`), null)
    t.strictSame(await store.find(text), { keys: [text], cursor: null })
    t.equal(await store.delete(text, { if: text }), true)
  })
}

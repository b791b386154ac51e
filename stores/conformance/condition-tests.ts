import type { ContractTest } from './contract-test.ts'
import { ALIKE } from './texts.ts'
import { together } from './together.ts'

/**
 * Conditional writes and deletions, one call at a time.
 */
export const conditionTests: readonly ContractTest[] = [
  {
    title: 'if: null writes only while the key is unknown',
    async check ({ store }) {
      await store.writes('key', 'first', { if: null })
      await store.refuses('key', 'second', { if: null })
      await store.refuses('key', 'first', { if: null })
      await store.reads('key', 'first')
      await store.deletes('key')
      await store.writes('key', 'third', { if: null })
      await store.reads('key', 'third')
    }
  },
  {
    title: 'if: null treats an expired key as unknown',
    async check ({ store, clock }) {
      const expiresAt = clock.soon()
      await store.writes('key', 'old', { expiresAt, tags: ['old'] })
      await clock.reach(expiresAt)
      await store.writes('key', 'new', { tags: ['new'], if: null })
      await store.reads('key', 'new')
      await store.finds('old', [])
      await store.finds('new', ['key'])
      await store.refuses('key', 'newer', { if: null })
    }
  },
  {
    title: 'if: a string replaces exactly that value',
    async check ({ store }) {
      await store.refuses('key', 'two', { if: 'one' })
      await store.reads('key', null)
      await store.writes('key', 'one', { tags: ['tag'] })
      for (const other of ['', 'o', 'on', 'one1', 'tag \none', 'tag one', '\none', 'two', 'key', 'null']) {
        await store.refuses('key', 'two', { if: other })
      }
      await store.reads('key', 'one')
      await store.writes('key', 'two', { if: 'one' })
      await store.reads('key', 'two')
      await store.refuses('key', 'three', { if: 'one' })
      await store.writes('key', 'two', { if: 'two' })
      await store.reads('key', 'two')
    }
  },
  {
    title: 'if: a string never brings an expired value back',
    async check ({ store, clock }) {
      const expiresAt = clock.soon()
      await store.writes('key', 'one', { expiresAt })
      await clock.reach(expiresAt)
      await store.refuses('key', 'two', { if: 'one' })
      await store.reads('key', null)
      await store.refuses('key', 'one', { if: 'one' })
      await store.reads('key', null)
    }
  },
  {
    title: 'delete with if deletes exactly that value',
    async check ({ store }) {
      await store.deletesNothing('key', { if: 'value' })
      await store.writes('key', 'value', { tags: ['tag'] })
      for (const other of ['', 'v', 'valu', 'valve', 'values', 'tag \nvalue', 'key', 'null']) await store.deletesNothing('key', { if: other })
      await store.reads('key', 'value')
      await store.finds('tag', ['key'])
      await store.deletes('key', { if: 'value' })
      await store.reads('key', null)
      await store.finds('tag', [])
      await store.deletesNothing('key', { if: 'value' })
    }
  },
  {
    title: 'values that look alike are different values',
    async check ({ store }) {
      const cases = ALIKE.flatMap((family) => family.map((value) => ({ value, others: family.filter((text) => text !== value) })))
      await together(cases, async ({ value, others }, index) => {
        const key = `key ${index}`
        await store.writes(key, value)
        for (const other of others) {
          await store.refuses(key, 'new', { if: other })
          await store.deletesNothing(key, { if: other })
        }
        await store.reads(key, value)
        await store.writes(key, 'new', { if: value })
      })
    }
  },
  {
    title: 'a write that is refused changes neither value nor deadline nor tags',
    async check ({ store, clock }) {
      await store.writes('key', 'value', { tags: ['kept'] })
      for (const condition of [null, 'wrong']) {
        await store.refuses('key', 'other', { tags: ['refused'], if: condition })
        await store.refuses('key', 'value', { expiresAt: clock.past(), if: condition })
      }
      await store.refuses('unknown', 'other', { tags: ['refused'], if: 'wrong' })
      await store.reads('key', 'value')
      await store.reads('unknown', null)
      await store.finds('refused', [])
      await store.finds('kept', ['key'])
      // A later write that succeeds must not carry the tags of the refused ones.
      await store.writes('unknown', 'value', { tags: ['fresh'], if: null })
      await store.finds('refused', [])
      await store.finds('fresh', ['unknown'])
    }
  }
]

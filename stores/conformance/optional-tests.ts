import type { ContractTest } from './contract-test.ts'
import { AWKWARD, numbered } from './texts.ts'
import { together } from './together.ts'

/**
 * The optional methods `getSync` and `getMany`. A store without them passes.
 */
export const optionalTests: readonly ContractTest[] = [
  {
    title: 'getSync returns what get resolves with, or undefined',
    // `reads` calls get, and getSync before and after it.
    async check ({ store, clock }) {
      await store.reads('key', null)
      await store.writes('key', 'one')
      await store.reads('key', 'one')
      await store.writes('key', 'two')
      await store.reads('key', 'two')
      await store.refuses('key', 'three', { if: 'one' })
      await store.refuses('key', 'three', { if: null })
      await store.reads('key', 'two')
      await store.writes('key', 'three', { if: 'two' })
      await store.reads('key', 'three')
      await store.deletesNothing('key', { if: 'two' })
      await store.reads('key', 'three')
      await store.deletes('key', { if: 'three' })
      await store.reads('key', null)
      await store.writes('key', '', { if: null })
      await store.reads('key', '')
      const expiresAt = clock.soon()
      await store.writes('key', 'brief', { expiresAt })
      await store.get('key')
      await clock.reach(expiresAt)
      await store.reads('key', null)
    }
  },
  {
    title: 'getMany resolves with the value of each key in the order of the keys, null for unknown and expired keys',
    async check ({ store, twin, clock }) {
      const expiresAt = clock.soon()
      await store.writes('expired', 'value', { expiresAt })
      await store.writes('b', 'one', { tags: ['tag'] })
      await store.writes('empty', '')
      await store.get('b')
      await twin.writes('b', 'two', { tags: ['tag'] })
      await twin.writes('a', 'three')
      await clock.reach(expiresAt)
      await store.readsMany(['empty', 'b', 'unknown', 'a', 'expired', 'b', 'unknown', 'c'], ['', 'two', null, 'three', null, 'two', null, null])
      await store.deletes('a')
      await store.readsMany(['a'], [null])
      await store.readsMany(['b'], ['two'])
      await store.readsMany([], [])
    }
  },
  {
    title: 'getMany reads 1,000 keys at once, and keys of any characters',
    async check ({ store }) {
      const keys = [...AWKWARD, ...numbered(1000 - AWKWARD.length)]
      await together(keys, async (key, index) => { if (index % 7 !== 0) await store.writes(key, `value of ${key}`) })
      await store.readsMany(keys, keys.map((key, index) => index % 7 === 0 ? null : `value of ${key}`))
    }
  }
]

import type { ContractTest } from './contract-test.ts'

/**
 * Two connections to the same data, used in turn.
 */
export const sharedTests: readonly ContractTest[] = [
  {
    title: 'a change made over one connection is seen at once over another',
    async check ({ store, twin, clock }) {
      await twin.reads('key', null)
      await store.writes('key', 'one', { tags: ['tag'] })
      await store.reads('key', 'one')
      await twin.reads('key', 'one')
      await twin.finds('tag', ['key'])
      await twin.refuses('key', 'two', { if: null })
      await twin.writes('key', 'two', { tags: ['other'], if: 'one' })
      await store.reads('key', 'two')
      await store.readsMany(['key', 'other'], ['two', null])
      await store.finds('tag', [])
      await store.finds('other', ['key'])
      await store.deletesNothing('key', { if: 'one' })
      await store.deletes('key', { if: 'two' })
      await twin.reads('key', null)
      await twin.finds('other', [])
      await twin.writes('key', 'three', { if: null })
      await store.writes('key', 'four', { expiresAt: clock.past() })
      await twin.reads('key', null)
    }
  }
]

import type { ContractTest } from './contract-test.ts'

/**
 * Tests of deadlines on any clock. The clock of the store may differ a little, so these tests wait a little longer.
 */
export const deadlineTests: readonly ContractTest[] = [
  {
    title: 'a value ends at its deadline',
    async check ({ store, clock }) {
      const expiresAt = clock.soon()
      await store.writes('key', 'value', { expiresAt, tags: ['tag'] })
      await store.writes('later', 'value', { tags: ['tag'] })
      const value = await store.get('key')
      // On a busy machine the deadline may have passed meanwhile.
      if (clock.now() < expiresAt && value !== 'value') store.fails('the value was gone before its deadline')
      await clock.reach(expiresAt)
      await store.reads('key', null)
      await store.finds('tag', ['later'])
      await store.deletesNothing('key')
      await store.deletesNothing('key', { if: 'value' })
      await store.reads('later', 'value')
    }
  },
  {
    title: 'an expired key is unknown to find and delete, even if nobody has read it',
    async check ({ store, clock }) {
      const expiresAt = clock.soon()
      const keys = ['found', 'deleted', 'deleted if']
      for (const key of keys) await store.writes(key, 'value', { expiresAt, tags: [key] })
      await clock.reach(expiresAt)
      await store.finds('found', [])
      await store.deletesNothing('deleted')
      await store.deletesNothing('deleted if', { if: 'value' })
    }
  },
  {
    title: 'overwriting moves the deadline, later and earlier',
    async check ({ store, clock }) {
      const soon = clock.soon()
      const later = soon + 3_600_000
      await store.writes('longer', 'value', { expiresAt: soon, tags: ['tag'] })
      await store.writes('longer', 'value', { expiresAt: later, tags: ['tag'] })
      await store.writes('shorter', 'value', { expiresAt: later, tags: ['tag'] })
      await store.writes('shorter', 'value', { expiresAt: soon, tags: ['tag'] })
      await store.writes('replaced', 'old', { expiresAt: later, tags: ['tag'] })
      await store.writes('replaced', 'new', { expiresAt: soon, tags: ['tag'], if: 'old' })
      await clock.reach(soon)
      await store.reads('longer', 'value')
      await store.reads('shorter', null)
      await store.reads('replaced', null)
      await store.finds('tag', ['longer'])
    }
  },
  {
    title: 'a value with a deadline in the past is accepted, and cannot be read',
    async check ({ store, clock }) {
      const now = clock.now()
      for (const expiresAt of [clock.past(), now - 3_600_000, 1, 0, -1, -now]) {
        await store.writes('key', 'value', { expiresAt, tags: ['tag'] })
        await store.reads('key', null)
        await store.finds('tag', [])
        await store.deletesNothing('key')
      }
      await store.writes('key', 'value', { if: null })
    }
  },
  {
    title: 'a write with a deadline in the past ends the value that was there',
    async check ({ store, clock }) {
      await store.writes('key', 'old', { tags: ['tag'] })
      await store.writes('key', 'new', { expiresAt: clock.past() })
      await store.reads('key', null)
      await store.finds('tag', [])
      await store.deletesNothing('key')
    }
  },
  {
    title: 'a write with a deadline in the past obeys its condition',
    async check ({ store, clock }) {
      const expiresAt = clock.past()
      await store.writes('key', 'value', { expiresAt, if: null })
      await store.reads('key', null)
      await store.refuses('key', 'value', { expiresAt, if: 'value' })
      await store.writes('key', 'value')
      await store.refuses('key', 'new', { expiresAt, if: null })
      await store.refuses('key', 'new', { expiresAt, if: 'other' })
      await store.reads('key', 'value')
      await store.writes('key', 'new', { expiresAt, if: 'value' })
      await store.reads('key', null)
    }
  },
  {
    title: 'the largest exact integer is a deadline like any other',
    async check ({ store, clock }) {
      await store.writes('key', 'value', { expiresAt: Number.MAX_SAFE_INTEGER, tags: ['tag'] })
      // In Node, timers of more than 24 days fire at once: a store that uses timers would lose the value now.
      await clock.reach(clock.now() + 60)
      await store.reads('key', 'value')
      await store.finds('tag', ['key'])
      await store.writes('key', 'new', { expiresAt: Number.MAX_SAFE_INTEGER, if: 'value' })
      await store.reads('key', 'new')
    }
  }
]

/**
 * Deadlines to the millisecond, on a clock that only the test moves.
 */
export const clockTests: readonly ContractTest[] = [
  {
    title: 'a value is there until its deadline and gone in that very millisecond',
    async check ({ store, clock }) {
      // Not a whole number of seconds, so that a store that rounds to seconds fails.
      const expiresAt = clock.now() + 90_001
      const keys = ['read', 'deleted', 'deleted if', 'replaced', 'claimed']
      for (const key of keys) await store.writes(key, 'value', { expiresAt, tags: ['tag'] })
      await clock.reach(expiresAt - 1)
      await store.finds('tag', keys)
      for (const key of keys) await store.reads(key, 'value')
      await store.refuses('claimed', 'new', { if: null })
      await clock.reach(expiresAt)
      await store.finds('tag', [])
      await store.deletesNothing('deleted')
      await store.deletesNothing('deleted if', { if: 'value' })
      await store.refuses('replaced', 'new', { if: 'value' })
      await store.writes('claimed', 'new', { if: null })
      await store.reads('read', null)
    }
  },
  {
    title: 'a value can be replaced and deleted until the millisecond before its deadline',
    async check ({ store, clock }) {
      const expiresAt = clock.now() + 1_499
      for (const key of ['deleted', 'deleted if', 'replaced']) await store.writes(key, 'value', { expiresAt })
      await clock.reach(expiresAt - 1)
      await store.deletes('deleted')
      await store.deletes('deleted if', { if: 'value' })
      await store.writes('replaced', 'new', { if: 'value' })
      await clock.reach(expiresAt)
      await store.reads('replaced', 'new')
    }
  },
  {
    title: 'a deadline in the present millisecond is past',
    async check ({ store, clock }) {
      await store.writes('key', 'old', { tags: ['tag'] })
      await store.writes('key', 'new', { expiresAt: clock.now(), tags: ['tag'] })
      await store.reads('key', null)
      await store.finds('tag', [])
      await store.deletesNothing('key')
      await store.writes('key', 'claimed', { expiresAt: clock.now() + 1, if: null })
      await store.reads('key', 'claimed')
    }
  },
  {
    title: 'a write that is refused does not prolong the value',
    async check ({ store, clock }) {
      const expiresAt = clock.soon()
      await store.writes('key', 'value', { expiresAt })
      await store.refuses('key', 'value', { if: null })
      await store.refuses('key', 'value', { if: 'wrong' })
      await clock.reach(expiresAt)
      await store.reads('key', null)
    }
  },
  {
    title: 'reading does not prolong the value',
    async check ({ store, clock }) {
      const expiresAt = clock.now() + 1000
      await store.writes('key', 'value', { expiresAt, tags: ['tag'] })
      for (const instant of [300, 600, 900]) {
        await clock.reach(expiresAt - 1000 + instant)
        await store.reads('key', 'value')
        await store.finds('tag', ['key'])
      }
      await clock.reach(expiresAt)
      await store.reads('key', null)
    }
  },
  {
    title: 'a deadline of years is kept',
    async check ({ store, clock }) {
      const expiresAt = clock.now() + 20 * 365 * 86_400_000
      await store.writes('key', 'value', { expiresAt, tags: ['tag'] })
      await clock.reach(expiresAt - 1)
      await store.reads('key', 'value')
      await store.finds('tag', ['key'])
      await clock.reach(expiresAt)
      await store.reads('key', null)
    }
  }
]

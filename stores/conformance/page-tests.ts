import type { CheckedStore } from './checked-store.ts'
import type { ContractTest } from './contract-test.ts'
import { AWKWARD, numbered, range } from './texts.ts'
import { together } from './together.ts'

/**
 * The pages of `find`.
 */
export const pageTests: readonly ContractTest[] = [
  {
    title: 'find pages through 1,100 keys, each once, and no page is longer than its limit',
    async check ({ store, clock }) {
      const expiresAt = clock.now() + 3_600_000
      const keys = numbered(1100)
      // Most keys share one deadline, like tokens that were written in the same millisecond.
      await together(keys, (key, index) => store.writes(key, key, { expiresAt: expiresAt + Number(index % 5 === 0), tags: index % 11 === 0 ? ['tag', 'hundred'] : ['tag'] }))
      for (const limit of [100, 1000, 1099, 1100, 1101, 5000]) await store.finds('tag', keys, { limit })
      await store.finds('tag', keys)
      const hundred = keys.filter((_, index) => index % 11 === 0)
      for (const limit of [7, 99, 100, 101]) await store.finds('hundred', hundred, { limit })
    }
  },
  {
    title: 'a walk in pages of one key ends',
    async check ({ store }) {
      for (const key of ['a', 'b', 'c']) await store.writes(key, key, { tags: ['tag'] })
      await store.deletes('b')
      await store.finds('tag', ['a', 'c'], { limit: 1 })
      await store.deletes('c')
      await store.finds('tag', ['a'], { limit: 1 })
      await store.finds('nothing', [], { limit: 1 })
    }
  },
  {
    title: 'pages hold keys of any characters, each once',
    async check ({ store, clock }) {
      const expiresAt = clock.now() + 3_600_000
      await together(AWKWARD, (key) => store.writes(key, '', { expiresAt, tags: ['a tag', ''] }))
      await store.finds('a tag', AWKWARD, { limit: 1 })
      await store.finds('', AWKWARD, { limit: 50 })
    }
  },
  {
    title: 'walks through the pages of find at the same time do not disturb each other',
    async check ({ store }) {
      const keys = numbered(40)
      const even = keys.filter((_, index) => index % 2 === 0)
      await together(keys, (key, index) => store.writes(key, key, { tags: index % 2 === 0 ? ['tag', 'even'] : ['tag'] }))
      const walks = [{ tag: 'tag', named: keys, limit: 7 }, { tag: 'tag', named: keys, limit: 3 }, { tag: 'even', named: even, limit: 7 }]
      await together(walks, ({ tag, named, limit }) => store.finds(tag, named, { limit }))
    }
  },
  {
    title: 'keys that are added, deleted or changed between two pages make find skip no other key',
    async check ({ store, clock }) {
      const expiresAt = clock.now() + 3_600_000
      const keys = numbered(40)
      await together(keys, (key) => store.writes(key, key, { expiresAt, tags: ['tag'] }))
      const { seen, cursor } = await firstPage(store, 10)
      for (const key of seen.slice(-1)) await store.writes(key, 'later', { expiresAt: expiresAt + 1, tags: ['tag'] })
      await together(seen.slice(0, 5), (key) => store.deletes(key))
      await together(range(5), (key) => store.writes(`newcomer ${key}`, '', { expiresAt: expiresAt + 2, tags: ['tag'] }))
      missesNone(store, keys, [...seen, ...await rest(store, cursor)])
    }
  },
  {
    title: 'a page continues where the page before it ended, even if all keys of that page are gone',
    async check ({ store, clock }) {
      const keys = numbered(30)
      const deletes = (key: string): Promise<void> => store.deletes(key)
      const untags = (key: string): Promise<void> => store.writes(key, '')
      const expires = (key: string): Promise<void> => store.writes(key, '', { expiresAt: clock.past(), tags: ['tag'] })
      for (const end of [deletes, untags, expires]) {
        await together(keys, (key) => store.writes(key, key, { tags: ['tag'] }))
        const { seen, cursor } = await firstPage(store, 10)
        await together(seen, end)
        missesNone(store, keys, [...seen, ...await rest(store, cursor)])
      }
    }
  }
]

async function firstPage (store: CheckedStore, limit: number): Promise<{ seen: string[], cursor: string | null }> {
  const { keys, cursor } = await store.page('tag', { limit })
  return { seen: keys, cursor }
}

async function rest (store: CheckedStore, cursor: string | null): Promise<string[]> {
  return await store.walk('tag', { limit: 10, cursor })
}

function missesNone (store: CheckedStore, keys: readonly string[], seen: readonly string[]): void {
  const missed = keys.filter((key) => !seen.includes(key))
  if (missed.length > 0) store.fails(`the pages of find("tag") skipped ${missed.join(', ')}`)
}

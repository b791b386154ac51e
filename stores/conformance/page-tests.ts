import type { CheckedStore } from './checked-store.ts'
import type { ContractTest } from './contract-test.ts'
import { AWKWARD, numbered, range } from './texts.ts'

/**
 * The pages of find.
 */
export const pageTests: readonly ContractTest[] = [
  {
    title: 'find pages through 250 keys, each once, and no page is longer than its limit',
    async check ({ store, clock }) {
      const expiresAt = clock.now() + 3_600_000
      const keys = numbered(250)
      // Most share one deadline, as tokens do that were written in one millisecond.
      await Promise.all(keys.map((key, index) => store.writes(key, key, { expiresAt: expiresAt + Number(index % 5 === 0), tags: ['tag', `tag ${index % 2}`] })))
      for (const limit of [100, 7, 249, 250, 251, 5000]) await store.finds('tag', keys, { limit })
      await store.finds('tag', keys)
      await store.finds('tag 1', keys.filter((_, index) => index % 2 === 1), { limit: 10 })
    }
  },
  {
    title: 'pages of one key end',
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
      for (const key of AWKWARD) await store.writes(key, '', { expiresAt, tags: ['a tag', ''] })
      await store.finds('a tag', AWKWARD, { limit: 1 })
      await store.finds('a tag', AWKWARD, { limit: 7 })
      await store.finds('', AWKWARD, { limit: 50 })
    }
  },
  {
    title: 'keys that come, go and move between two pages make find miss no other',
    async check ({ store, clock }) {
      const expiresAt = clock.now() + 3_600_000
      const keys = numbered(40)
      for (const key of keys) await store.writes(key, key, { expiresAt, tags: ['tag'] })
      const { seen, cursor } = await firstPage(store, 10)
      for (const key of seen.slice(-1)) await store.writes(key, 'later', { expiresAt: expiresAt + 1, tags: ['tag'] })
      for (const key of seen.slice(0, 5)) await store.deletes(key)
      for (const key of range(5)) await store.writes(`newcomer ${key}`, '', { expiresAt: expiresAt + 2, tags: ['tag'] })
      missesNone(store, keys, [...seen, ...await rest(store, cursor)])
    }
  },
  {
    title: 'a page goes on where the one before ended, though all keys of that one are gone',
    async check ({ store, clock }) {
      const keys = numbered(30)
      const deletes = (key: string): Promise<void> => store.deletes(key)
      const untags = (key: string): Promise<void> => store.writes(key, '')
      const expires = (key: string): Promise<void> => store.writes(key, '', { expiresAt: clock.past(), tags: ['tag'] })
      for (const end of [deletes, untags, expires]) {
        for (const key of keys) await store.writes(key, key, { tags: ['tag'] })
        const { seen, cursor } = await firstPage(store, 10)
        for (const key of seen) await end(key)
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
  return cursor === null ? [] : (await store.pages('tag', { limit: 10, cursor })).flat()
}

function missesNone (store: CheckedStore, keys: readonly string[], seen: readonly string[]): void {
  const missed = keys.filter((key) => !seen.includes(key))
  if (missed.length > 0) store.fails(`the pages of find("tag") named all but ${missed.join(', ')}`)
}

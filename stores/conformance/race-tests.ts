import type { ContractTest, Subject } from './contract-test.ts'
import { shown } from './shown.ts'
import { range } from './texts.ts'
import { together } from './together.ts'

const WRITERS = 100
const ROUNDS = 10
const OVERWRITES = 30

/**
 * Calls at the same moment, over two connections if the suite was given `connect`.
 */
export const raceTests: readonly ContractTest[] = [
  {
    title: 'of a hundred simultaneous claims, exactly one succeeds',
    async check ({ store, twin }) {
      const claims = await atOnce({ store, twin }, (store, writer) => store.set('flow', `claim ${writer}`, { if: null }))
      await store.reads('flow', `claim ${store.onlyOne(claims, 'set("flow", …, { if: null })')}`)
    }
  },
  {
    title: 'of a hundred simultaneous claims of an expired key, exactly one succeeds',
    async check ({ store, twin, clock }) {
      const expiresAt = clock.soon()
      await store.writes('flow', 'old', { expiresAt })
      await clock.reach(expiresAt)
      const claims = await atOnce({ store, twin }, (store, writer) => store.set('flow', `claim ${writer}`, { if: null }))
      await store.reads('flow', `claim ${store.onlyOne(claims, 'set("flow", …, { if: null })')}`)
    }
  },
  {
    title: 'of a hundred simultaneous replacements, exactly one succeeds',
    async check ({ store, twin }) {
      await store.writes('key', 'old')
      const replaced = await atOnce({ store, twin }, (store, writer) => store.set('key', `new ${writer}`, { if: 'old' }))
      await store.reads('key', `new ${store.onlyOne(replaced, 'set("key", …, { if: "old" })')}`)
    }
  },
  {
    title: 'of a hundred simultaneous deletions, exactly one succeeds',
    async check ({ store, twin }) {
      for (const options of [{}, { if: 'value' }]) {
        await store.writes('key', 'value')
        const deleted = await atOnce({ store, twin }, (store) => store.delete('key', options))
        store.onlyOne(deleted, `delete("key", ${JSON.stringify(options)})`)
        await store.reads('key', null)
      }
    }
  },
  {
    title: 'when a replacement and a deletion of the same value run at the same time, exactly one succeeds',
    async check ({ store, twin }) {
      for (const round of range(ROUNDS)) {
        await together([true, false], async (isReplaceFirst) => {
          const key = `key ${round} ${isReplaceFirst}`
          await store.writes(key, 'old')
          const replace = (): Promise<boolean> => store.set(key, 'new', { if: 'old' })
          const remove = (): Promise<boolean> => twin.delete(key, { if: 'old' })
          const outcomes = await Promise.all(isReplaceFirst ? [replace(), remove()] : [remove(), replace()])
          const winner = store.onlyOne(outcomes, 'set(key, "new", { if: "old" }) and delete(key, { if: "old" })')
          await store.reads(key, (winner === 0) === isReplaceFirst ? 'new' : null)
        })
      }
    }
  },
  {
    title: 'when a renewal and a deletion run at the same time, the key is gone afterwards',
    async check ({ store, twin }) {
      for (const round of range(ROUNDS)) {
        await together([true, false], async (isDeleteFirst) => {
          const key = `key ${round} ${isDeleteFirst}`
          await store.writes(key, 'old', { tags: ['tag'] })
          const renew = (): Promise<boolean> => twin.set(key, 'new', { tags: ['tag'], if: 'old' })
          await Promise.all(isDeleteFirst ? [store.delete(key), renew()] : [renew(), store.delete(key)])
          await store.reads(key, null)
        })
        await store.finds('tag', [])
      }
    }
  },
  {
    title: 'when many writers set a key at the same time, its value and its tags come from the same writer',
    async check ({ store, twin }) {
      for (const round of range(5)) {
        await atOnce({ store, twin }, (store, writer) => store.set('key', `${round} ${writer}`, { tags: [`tag ${round} ${writer}`] }))
        const value = String(await store.get('key'))
        await store.finds(`tag ${value}`, ['key'])
      }
    }
  },
  {
    title: 'writers of many keys with the same tags do not block each other',
    async check ({ store, twin }) {
      const tags = range(8).map((tag) => `tag ${tag}`)
      const keys = range(10).map((key) => `key ${key}`)
      await atOnce({ store, twin }, async (store, writer) => {
        // Every writer has its tags in another order: a store that locks them one by one would end in a deadlock.
        const turned = [...tags.slice(writer % 8), ...tags.slice(0, writer % 8)]
        await store.writes(`key ${writer % 10}`, String(writer), { tags: writer % 3 === 0 ? turned : turned.reverse() })
        return true
      })
      await together(tags, (tag) => store.finds(tag, keys))
    }
  },
  {
    title: 'a key that is overwritten again and again reads as one of its values at any moment',
    async check ({ store, twin }) {
      await whileOverwritten(store, async () => {
        const value = await twin.get('key')
        if (!/^value \d+$/.test(String(value))) twin.fails(`get("key") resolved with ${shown(value)} while it was overwritten`)
      })
    }
  },
  {
    title: 'a key that is overwritten again and again is found at any moment by the tag that all its values have',
    async check ({ store, twin }) {
      await whileOverwritten(store, async () => {
        const found = await twin.walk('tag')
        if (!found.includes('key')) twin.fails(`find("tag") named ${shown(found)} while "key" was overwritten`)
      })
    }
  }
]

/** Starts a hundred calls at the same moment, every other one over the second connection. */
async function atOnce ({ store, twin }: Pick<Subject, 'store' | 'twin'>, call: (store: Subject['store'], writer: number) => Promise<boolean>): Promise<boolean[]> {
  return await Promise.all(range(WRITERS).map((writer) => call(writer % 2 === 0 ? store : twin, writer)))
}

/** Overwrites a key again and again, with and without `if`, and calls `look` meanwhile. */
async function whileOverwritten (store: Subject['store'], look: () => Promise<void>): Promise<void> {
  const valueOf = (round: number): string => `value ${round}`
  const left = range(OVERWRITES)
  const overwrite = async (): Promise<void> => {
    for (let round = left.shift(); round !== undefined; round = left.shift()) {
      const condition = round % 2 === 0 ? {} : { if: valueOf(round) }
      await store.writes('key', valueOf(round + 1), { tags: ['tag', `tag ${round}`], ...condition })
    }
  }
  const watch = async (): Promise<void> => {
    while (left.length > 0) {
      await look()
      // A store in memory answers in microtasks: without this pause the writer would never get a turn.
      await new Promise((resolve) => { setImmediate(resolve) })
    }
  }
  await store.writes('key', valueOf(0), { tags: ['tag'] })
  await together([overwrite, watch, watch, watch], (act) => act())
}

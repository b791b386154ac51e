import type { CheckedStore } from './checked-store.ts'
import type { ContractTest, Subject } from './contract-test.ts'
import { shown } from './shown.ts'
import { inTurn } from './together.ts'

// How long a call may take to reject, in milliseconds.
const PATIENCE = 5000

/**
 * A store that loses its connection, and gets it back.
 */
export const outageTests: readonly ContractTest[] = [
  {
    title: 'a store that cannot do its work rejects, and never resolves as if a key were unknown',
    async check (subject) {
      const { store } = subject
      await store.writes('key', 'value', { tags: ['tag'] })
      await whileCutOff(subject, async () => {
        await Promise.all([
          rejects(store, 'get("key")', () => store.get('key')),
          rejects(store, 'get("unknown")', () => store.get('unknown')),
          store.hasMany && rejects(store, 'getMany(["key"])', () => store.getMany(['key'])),
          rejects(store, 'find("tag")', () => store.page('tag')),
          rejects(store, 'find("unknown")', () => store.page('unknown')),
          rejects(store, 'set("a", "value")', () => store.set('a', 'value', { tags: ['tag'] })),
          rejects(store, 'set("b", "value", { if: null })', () => store.set('b', 'value', { if: null })),
          rejects(store, 'set("c", "value", { if: "old" })', () => store.set('c', 'value', { if: 'old' })),
          rejects(store, 'delete("d")', () => store.delete('d')),
          rejects(store, 'delete("e", { if: "value" })', () => store.delete('e', { if: 'value' }))
        ])
      })
    }
  },
  {
    title: 'values written before a lost connection are there when it is back',
    async check (subject) {
      const { store } = subject
      for (const key of ['kept', 'replaced', 'deleted']) await store.writes(key, 'value', { tags: ['tag'] })
      await whileCutOff(subject, async () => {
        await rejects(store, 'get("kept")', () => store.get('kept'))
      })
      await store.reads('kept', 'value')
      await store.finds('tag', ['kept', 'replaced', 'deleted'])
      await store.refuses('kept', 'new', { if: null })
      await store.refuses('replaced', 'new', { if: 'wrong' })
      await store.writes('replaced', 'new', { if: 'value' })
      await store.deletes('deleted', { if: 'value' })
      await store.writes('claimed', 'value', { if: null })
      await store.reads('replaced', 'new')
      await store.finds('tag', ['kept'])
    }
  }
]

async function whileCutOff ({ interrupt }: Subject, check: () => Promise<void>): Promise<void> {
  const restore = await interrupt()
  await inTurn([check, () => restore?.()])
}

async function rejects (store: CheckedStore, call: string, ask: () => Promise<unknown>): Promise<void> {
  const outcome = await within(PATIENCE, ask().then((answer) => `resolved with ${shown(answer)}`, () => null))
  if (outcome !== null) store.fails(`${call} ${outcome} while the connection was lost`)
}

async function within (milliseconds: number, outcome: Promise<string | null>): Promise<string | null> {
  let timer
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(resolve, milliseconds, `had neither resolved nor rejected after ${milliseconds / 1000} seconds`)
  })
  try {
    return await Promise.race([outcome, late])
  } finally {
    clearTimeout(timer)
  }
}

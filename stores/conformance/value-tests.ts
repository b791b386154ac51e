import type { ContractTest } from './contract-test.ts'
import { ALIKE, AWKWARD } from './texts.ts'
import { together } from './together.ts'

/**
 * A value is read exactly as it was written.
 */
export const valueTests: readonly ContractTest[] = [
  {
    title: 'a key that nobody has set reads as null',
    async check ({ store }) {
      await store.reads('key', null)
      await store.deletesNothing('key')
      await store.finds('tag', [])
    }
  },
  {
    title: 'a value reads as it was written until it is overwritten',
    async check ({ store }) {
      await store.writes('key', 'one')
      await store.reads('key', 'one')
      await store.writes('key', 'two')
      await store.reads('key', 'two')
      await store.reads('other', null)
    }
  },
  {
    title: 'delete removes the key and resolves whether it was there',
    async check ({ store }) {
      await store.writes('key', 'value')
      await store.writes('other', 'value')
      await store.deletes('key')
      await store.reads('key', null)
      await store.deletesNothing('key')
      await store.reads('other', 'value')
    }
  },
  {
    title: 'an empty string is a value, a key and a tag like any other',
    async check ({ store }) {
      await store.refuses('', 'value', { if: '' })
      await store.writes('', '', { tags: [''], if: null })
      await store.reads('', '')
      await store.finds('', [''])
      await store.refuses('', 'value', { if: null })
      await store.writes('', 'value', { tags: [''], if: '' })
      await store.refuses('', '', { if: '' })
      await store.deletesNothing('', { if: '' })
      await store.reads('', 'value')
      await store.writes('', '')
      await store.deletes('', { if: '' })
      await store.reads('', null)
    }
  },
  {
    title: 'keys, values and tags of any characters are kept exactly',
    async check ({ store }) {
      await together(AWKWARD, async (text) => {
        await store.writes(text, `${text}.`, { tags: [text], if: null })
        await store.reads(text, `${text}.`)
        await store.writes(text, text, { tags: [text], if: `${text}.` })
      })
      await together(AWKWARD, async (text) => {
        await store.reads(text, text)
        await store.finds(text, [text])
      })
      await together(AWKWARD, async (text) => {
        await store.deletesNothing(text, { if: `${text}.` })
        await store.deletes(text, { if: text })
        await store.reads(text, null)
      })
    }
  },
  {
    title: 'keys that look alike are different keys',
    async check ({ store }) {
      await together(ALIKE, async (family) => {
        await together(family, (key, index) => store.writes(key, `value ${index}`, { if: null }))
        await together(family, (key, index) => store.reads(key, `value ${index}`))
        for (const [index, key] of family.entries()) {
          await store.deletes(key)
          await together(family, (spared, other) => store.reads(spared, other <= index ? null : `value ${other}`))
        }
      })
    }
  },
  {
    title: 'a value of 512 KiB is kept and compared whole',
    async check ({ store }) {
      const texts = ['x'.repeat(524_286), '\u00e9\0\n'.repeat(131_071)]
      for (const text of texts) {
        const value = `${text}1`
        await store.writes('key', value)
        await store.reads('key', value)
        for (const other of [text, `${text}2`, `${value}1`]) {
          await store.refuses('key', 'new', { if: other })
          await store.deletesNothing('key', { if: other })
        }
        await store.writes('key', text, { if: value })
        await store.reads('key', text)
        await store.deletes('key', { if: text })
      }
    }
  },
  {
    title: 'two stores share nothing',
    async check ({ store, createStranger }) {
      const stranger = await createStranger()
      await store.writes('key', 'value', { tags: ['tag'] })
      await stranger.reads('key', null)
      await stranger.finds('tag', [])
      await stranger.deletesNothing('key')
      await stranger.writes('key', 'other', { tags: ['tag', 'others'], if: null })
      await store.reads('key', 'value')
      await store.finds('others', [])
      await stranger.deletes('key')
      await store.reads('key', 'value')
      await store.finds('tag', ['key'])

      // If the prefix of one store begins with the prefix of the other, some first letter of a key makes two keys collide.
      const letters = Array.from('0123456789abcdefghijklmnopqrstuvwxyz:/-_. \0')
      await together(letters, (letter) => store.writes(`${letter}key`, letter, { tags: [`${letter}tag`] }))
      await stranger.reads('key', null)
      await together(letters, (letter) => stranger.writes(`${letter}key`, 'other', { tags: [`${letter}tag`], if: null }))
      await together(letters, async (letter) => {
        await store.reads(`${letter}key`, letter)
        await store.finds(`${letter}tag`, [`${letter}key`])
      })
      await store.reads('key', 'value')
    }
  }
]

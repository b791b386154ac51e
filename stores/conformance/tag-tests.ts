import type { ContractTest } from './contract-test.ts'
import { ALIKE, range } from './texts.ts'
import { together } from './together.ts'

/**
 * Which keys `find` names for a tag.
 */
export const tagTests: readonly ContractTest[] = [
  {
    title: 'find names the keys of a tag and no others',
    async check ({ store }) {
      await store.writes('a', '1', { tags: ['user'] })
      await store.writes('b', '2', { tags: ['site', 'user', 'user'] })
      await store.writes('c', '3', { tags: ['site'] })
      await store.writes('d', '4')
      await store.finds('user', ['a', 'b'])
      await store.finds('site', ['b', 'c'])
      // Neither a key nor a value is a tag.
      for (const tag of ['use', 'users', 'site,user', 'a', '1', 'toString']) await store.finds(tag, [])
    }
  },
  {
    title: 'find uses the tags of the current value',
    async check ({ store }) {
      await store.writes('key', 'one', { tags: ['old', 'both'] })
      await store.writes('key', 'two', { tags: ['both', 'new'] })
      await store.finds('old', [])
      await store.finds('both', ['key'])
      await store.finds('new', ['key'])
      await store.writes('key', 'three', { tags: ['newest'], if: 'two' })
      for (const tag of ['old', 'both', 'new']) await store.finds(tag, [])
      await store.finds('newest', ['key'])
      await store.writes('key', 'four', { if: 'three' })
      await store.finds('newest', [])
      await store.writes('key', 'five', { tags: ['old'] })
      await store.finds('old', ['key'])
      await store.writes('key', 'six')
      await store.finds('old', [])
    }
  },
  {
    title: 'a deleted key is no longer found, and has no old tags when it is set again',
    async check ({ store }) {
      for (const options of [{}, { if: 'value' }]) {
        await store.writes('key', 'value', { tags: ['tag'] })
        await store.deletes('key', options)
        await store.finds('tag', [])
        await store.writes('key', 'value', { tags: ['other'], if: null })
        await store.finds('tag', [])
        await store.finds('other', ['key'])
      }
    }
  },
  {
    title: 'tags that look alike are different tags',
    async check ({ store }) {
      const tags = ALIKE.flat()
      await together(tags, (tag, index) => store.writes(`key ${index}`, 'value', { tags: [tag] }))
      await together(tags, (tag, index) => store.finds(tag, [`key ${index}`]))
    }
  },
  {
    title: 'the list of tags may be changed after the write',
    async check ({ store }) {
      const tags = ['tag']
      await store.writes('key', 'value', { tags })
      tags[0] = 'other'
      await store.finds('tag', ['key'])
      await store.finds('other', [])
      await store.writes('key', 'value')
      await store.finds('tag', [])
    }
  },
  {
    title: 'a value of 5,000 tags is found by each of them, and by none once it is overwritten',
    async check ({ store }) {
      const tags = range(5000).map((tag) => `tag ${tag}`)
      const sample = tags.filter((_, index) => index % 250 === 0 || index === tags.length - 1)
      await store.writes('key', 'one', { tags })
      await together(sample, (tag) => store.finds(tag, ['key']))
      await store.writes('key', 'two', { tags: ['other'], if: 'one' })
      await together(sample, (tag) => store.finds(tag, []))
      await store.finds('other', ['key'])
    }
  }
]

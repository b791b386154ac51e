import type { SetOptions, TokenStore } from '../../stores/token-store.ts'
import { ReferenceStore, type Decisions, type Row } from './reference-store.ts'

/** The clock of the stores in a test. */
export interface Clock {
  now: () => number
  advance: (milliseconds: number) => void
}

/** Makes a clock that only the test moves. */
export function createClock (): Clock {
  let instant = 1_800_000_000_123
  return { now: () => instant, advance: (milliseconds) => { instant += milliseconds } }
}

/**
 * A store whose calls go through a connection that a test can cut.
 */
export interface CutStore extends TokenStore {
  readonly reference: ReferenceStore
  isCut: boolean
}

/** A store with one fault. */
export interface WrongStore {
  name: string
  /** The titles of the tests that must catch the fault. */
  caughtBy: readonly string[]
  /** Makes a store. If the rows of another store are given, it uses them. */
  createStore: (clock: Clock, rows?: Map<string, Row>) => CutStore
  /** Whether no other store can share the rows. Defaults to false. */
  isAlone?: boolean
  /** Changes the store when its connection is restored. Defaults to no change. */
  restored?: (store: CutStore) => void
}

/** Makes a store that keeps the contract. `wrong` replaces methods while there is a connection, `wrongWhileCut` while there is none. */
export function createCutStore (reference: ReferenceStore, wrong: Partial<TokenStore> = {}, wrongWhileCut: Partial<TokenStore> = {}): CutStore {
  const lost = async () => { throw new Error('the connection was lost') }
  const connected: Required<Omit<TokenStore, 'isSynchronous'>> = {
    get: (key) => reference.get(key),
    getSync: (key) => reference.getSync(key),
    getMany: (keys) => reference.getMany(keys),
    set: (key, value, options) => reference.set(key, value, options),
    delete: (key, options) => reference.delete(key, options),
    find: (tag, options) => reference.find(tag, options),
    ...wrong
  }
  const cut: typeof connected = { get: lost, getSync: () => undefined, getMany: lost, set: lost, delete: lost, find: lost, ...wrongWhileCut }
  const store: CutStore = {
    reference,
    isCut: false,
    isSynchronous: wrong.isSynchronous ?? false,
    get: (key) => (store.isCut ? cut : connected).get(key),
    getSync: (key) => (store.isCut ? cut : connected).getSync(key),
    getMany: (keys) => (store.isCut ? cut : connected).getMany(keys),
    set: (key, value, options) => (store.isCut ? cut : connected).set(key, value, options),
    delete: (key, options) => (store.isCut ? cut : connected).delete(key, options),
    find: (tag, options) => (store.isCut ? cut : connected).find(tag, options)
  }
  return store
}

const decides = (name: string, decisions: Partial<Decisions>, ...caughtBy: string[]): WrongStore =>
  ({ name, caughtBy, createStore: ({ now }, rows) => createCutStore(new ReferenceStore(now, decisions, rows)) })

const answers = (name: string, wrong: (right: ReferenceStore) => Partial<TokenStore>, ...caughtBy: string[]): WrongStore => ({
  name,
  caughtBy,
  createStore ({ now }, rows) {
    const right = new ReferenceStore(now, {}, rows)
    return createCutStore(right, wrong(right))
  }
})

const answersWhileCutOff = (name: string, wrong: Partial<TokenStore>, ...caughtBy: string[]): WrongStore =>
  ({ name, caughtBy, createStore: ({ now }, rows) => createCutStore(new ReferenceStore(now, {}, rows), {}, wrong) })

const hasLost = (name: string, restored: (store: CutStore) => void, ...caughtBy: string[]): WrongStore =>
  ({ ...decides(name, {}, ...caughtBy), restored })

const shared = new WeakMap<Clock, Map<string, Row>>()

/** The rows of all stores of one test, by the clock of the test. */
function rowsOf (clock: Clock): Map<string, Row> {
  const rows = shared.get(clock) ?? new Map<string, Row>()
  shared.set(clock, rows)
  return rows
}

/** Makes an answer that the types forbid. A store in JavaScript may still give it. */
const unchecked = (value: unknown) => Object({ value }).value
const aTurn = (): Promise<void> => new Promise((resolve) => { setImmediate(resolve) })
const throughLetters = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
/** A write that deletes the old value first, and then inserts the new one. */
const replacing = (right: ReferenceStore, isSo: (options: SetOptions) => boolean): TokenStore['set'] => async (key, value, options) => {
  const current = await right.get(key)
  if (current === null || options.if === null || !isSo(options) || (options.if !== undefined && options.if !== current)) return await right.set(key, value, options)
  right.rows.delete(key)
  await aTurn()
  return await right.set(key, value, { expiresAt: options.expiresAt, tags: options.tags ?? [] })
}
/** Compares like LIKE in SQL. */
const isLike = (text: string, pattern: string): boolean => new RegExp(`^${throughLetters(pattern).replaceAll('%', '.*').replaceAll('_', '.').replaceAll('\\*', '*')}$`, 'su').test(text)
const untilNul = (text: string): string => text.split('\0', 1)[0] ?? ''

const toTheMillisecond = 'a value is there until its deadline and gone in that very millisecond'
const alikeKeys = 'keys that look alike are different keys'
const alikeValues = 'values that look alike are different values'
const alikeTags = 'tags that look alike are different tags'
const anyCharacters = 'keys, values and tags of any characters are kept exactly'
const emptyString = 'an empty string is a value, a key and a tag like any other'
const unknownKey = 'a key that nobody has set reads as null'
const reads = 'a value reads as it was written until it is overwritten'
const replaces = 'if: a string replaces exactly that value'
const claims = 'if: null writes only while the key is unknown'
const deletesIf = 'delete with if deletes exactly that value'
const refused = 'a write that is refused changes neither value nor deadline nor tags'
const standing = 'find uses the tags of the current value'
const eachOnce = 'find pages through 1,100 keys, each once, and no page is longer than its limit'
const pagesEnd = 'a walk in pages of one key ends'
const changing = 'keys that are added, deleted or changed between two pages make find skip no other key'
const goneBefore = 'a page continues where the page before it ended, even if all keys of that page are gone'
const nothingShared = 'two stores share nothing'
const whole = 'a value of 512 KiB is kept and compared whole'
const manyTags = 'a value of 5,000 tags is found by each of them, and by none once it is overwritten'
const twoWalks = 'walks through the pages of find at the same time do not disturb each other'
const readMeanwhile = 'a key that is overwritten again and again reads as one of its values at any moment'
const foundMeanwhile = 'a key that is overwritten again and again is found at any moment by the tag that all its values have'
const pastAccepted = 'a value with a deadline in the past is accepted, and cannot be read'
const pastEnds = 'a write with a deadline in the past ends the value that was there'
const pastConditions = 'a write with a deadline in the past obeys its condition'
const largest = 'the largest exact integer is a deadline like any other'
const moves = 'overwriting moves the deadline, later and earlier'
const ends = 'a value ends at its deadline'
const unread = 'an expired key is unknown to find and delete, even if nobody has read it'
const present = 'a deadline in the present millisecond is past'
const untilBefore = 'a value can be replaced and deleted until the millisecond before its deadline'
const cutOff = 'a store that cannot do its work rejects, and never resolves as if a key were unknown'
const atOnce = 'getSync returns what get resolves with, or undefined'
const inOrder = 'getMany resolves with the value of each key in the order of the keys, null for unknown and expired keys'
const thousand = 'getMany reads 1,000 keys at once, and keys of any characters'
const isBack = 'values written before a lost connection are there when it is back'

const oneClaim = 'of a hundred simultaneous claims, exactly one succeeds'
const oneReplacement = 'of a hundred simultaneous replacements, exactly one succeeds'
const oneDeletion = 'of a hundred simultaneous deletions, exactly one succeeds'
const oneOfBoth = 'when a replacement and a deletion of the same value run at the same time, exactly one succeeds'
const deletionStands = 'when a renewal and a deletion run at the same time, the key is gone afterwards'
const expiredClaim = 'of a hundred simultaneous claims of an expired key, exactly one succeeds'

/**
 * Stores that keep the contract except for one fault each.
 */
export const wrongStores: readonly WrongStore[] = [
  decides('looks, waits and then acts', { pause: aTurn }, oneClaim, expiredClaim, oneReplacement, oneDeletion, oneOfBoth, deletionStands),
  answers('looks, waits and then deletes', (right) => ({
    delete: async (key, options = {}) => {
      const value = await right.get(key)
      if (value === null || (options.if !== undefined && value !== options.if)) return false
      await aTurn()
      await right.delete(key)
      return true
    }
  }), oneDeletion, oneOfBoth),
  answers('claims an expired key by deleting it first', (right) => ({
    set: async (key, value, options) => {
      const row = right.rows.get(key)
      if (options.if !== null || row === undefined || row.expiresAt > right.now()) return await right.set(key, value, options)
      await aTurn()
      right.rows.delete(key)
      return await right.set(key, value, options)
    }
  }), expiredClaim),
  answers('overwrites by deleting first', (right) => ({ set: replacing(right, () => true) }), readMeanwhile, foundMeanwhile),
  answers('replaces a value by deleting it first', (right) => ({ set: replacing(right, (options) => typeof options.if === 'string') }), readMeanwhile, foundMeanwhile),
  answers('takes the key from its tags and gives it the new ones later', (right) => ({
    set: async (key, value, options) => {
      const isWritten = await right.set(key, value, { ...options, tags: [] })
      await aTurn()
      const row = right.rows.get(key)
      if (isWritten && row?.value === value) row.tags = [...options.tags ?? []]
      return isWritten
    }
  }), foundMeanwhile),
  answers('writes the value and then the tags', (right) => ({
    set: async (key, value, options) => {
      const isWritten = await right.set(key, value, options)
      // The write that began last ends first.
      for (let turn = Number(value.at(-1)); turn < 9; turn++) await aTurn()
      const row = right.rows.get(key)
      if (isWritten && row !== undefined) row.tags = [...options.tags ?? []]
      return isWritten
    }
  }), 'when many writers set a key at the same time, its value and its tags come from the same writer'),
  answers('locks its tags one by one', (right) => {
    const locked = new Set<string>()
    return {
      set: async (key, value, options) => {
        const tags = [...options.tags ?? []]
        if (tags.some((tag) => locked.has(tag))) throw new Error('deadlock detected')
        for (const tag of tags) locked.add(tag)
        await aTurn()
        for (const tag of tags) locked.delete(tag)
        return await right.set(key, value, options)
      }
    }
  }, 'writers of many keys with the same tags do not block each other'),

  answers('resolves with undefined for what is not there', (right) => ({ get: async (key) => unchecked(await right.get(key) ?? undefined) }), unknownKey),
  answers('resolves with the number of rows', (right) => ({
    set: async (key, value, options) => unchecked(Number(await right.set(key, value, options))),
    delete: async (key, options) => unchecked(Number(await right.delete(key, options)))
  }), unknownKey, reads, claims, oneDeletion),
  answers('resolves with OK', (right) => ({ set: async (key, value, options) => unchecked(await right.set(key, value, options) ? 'OK' : null) }), reads, oneClaim),
  answers('resolves with true for every deletion', (right) => ({ delete: async (key, options) => options?.if === undefined ? await right.delete(key).then(() => true) : await right.delete(key, options) }), unknownKey, 'delete removes the key and resolves whether it was there'),
  answers('resolves with true for every write', (right) => ({ set: async (key, value, options) => await right.set(key, value, options).then(() => true) }), claims, replaces),
  answers('resolves with no cursor at the end', (right) => ({
    find: async (tag, options) => {
      const { keys, cursor } = await right.find(tag, options)
      return unchecked(cursor === null ? { keys } : { keys, cursor })
    }
  }), unknownKey),
  answers('resolves with the keys alone', (right) => ({ find: async (tag, options) => unchecked((await right.find(tag, options)).keys) }), unknownKey),

  decides('takes if: null for no condition', { lets: (_current, options, right) => options.if === null || right }, claims, oneClaim, refused),
  decides('takes if: "" for no condition', { lets: (_current, options, right) => options.if === '' || right }, emptyString, replaces),
  decides('takes if: "" for if: null', { lets: (current, options, right) => options.if === '' ? current === undefined : right }, emptyString),
  decides('replaces what is unknown', { lets: (current, options, right) => right || (current === undefined && typeof options.if === 'string') }, replaces, 'if: a string never brings an expired value back'),
  answers('takes an empty value for none', (right) => ({ get: async (key) => await right.get(key) || null }), emptyString),
  answers('claims no key that has ever been set', (right) => ({ set: async (key, value, options) => options.if === null && right.rows.has(key) ? false : await right.set(key, value, options) }), 'if: null treats an expired key as unknown', expiredClaim),
  decides('deletes whatever if says', { forgets: (row, condition, right) => right || (condition !== undefined && row !== undefined) }, deletesIf),
  decides('deletes an expired key', { forgets: (row, condition, right) => right || (row !== undefined && (condition === undefined || row.value === condition)) }, ends, unread, present),
  decides('compares lengths', { same: (value, condition) => value.length === condition.length }, replaces, deletesIf, alikeValues),
  decides('compares beginnings', { same: (value, condition) => value.startsWith(condition) }, replaces, deletesIf),
  decides('compares without trailing spaces', { same: (value, condition) => value.trimEnd() === condition.trimEnd() }, alikeValues),
  decides('compares without case', { same: (value, condition) => value.toLowerCase() === condition.toLowerCase() }, alikeValues),
  decides('compares without accents', { same: (value, condition) => value.localeCompare(condition, 'en', { sensitivity: 'variant' }) === 0 }, alikeValues),
  decides('compares as numbers', { same: (value, condition) => value === condition || Number(value) === Number(condition) }, alikeValues),
  decides('compares up to a NUL', { same: (value, condition) => untilNul(value) === untilNul(condition) }, alikeValues),
  decides('compares the first 64 KiB', { same: (value, condition) => value.slice(0, 65_535) === condition.slice(0, 65_535) }, whole),

  answers('rejects a value of more than 65,537 bytes', (right) => ({
    set: async (key, value, options) => {
      if (Buffer.byteLength(value) > 65_537) throw new RangeError('the value is too long')
      return await right.set(key, value, options)
    }
  }), whole),
  decides('keeps 65,537 characters of a value', { kept: (value) => value.slice(0, 65_537) }, whole),
  decides('keeps 65,535 characters of a value', { kept: (value) => value.slice(0, 65_535) }, whole),
  decides('keeps a value up to a NUL', { kept: untilNul }, anyCharacters),
  decides('keeps a value without surrounding spaces', { kept: (value) => value.trim() }, anyCharacters, alikeValues),
  decides('keeps a value in Unicode\'s normal form', { kept: (value) => value.normalize() }, alikeValues),
  decides('keeps a value in Latin-1', { kept: (value) => Buffer.from(value, 'latin1').toString('latin1') }, anyCharacters, alikeValues),
  decides('keeps keys without surrounding spaces', { name: (key) => key.trim() }, alikeKeys, anyCharacters),
  decides('keeps keys without case', { name: (key) => key.toLowerCase() }, alikeKeys),
  decides('keeps keys in Unicode\'s normal form', { name: (key) => key.normalize() }, alikeKeys),
  decides('keeps keys up to a NUL', { name: untilNul }, alikeKeys, anyCharacters),
  decides('keeps 255 characters of a key', { name: (key) => key.slice(0, 255), kept: (value) => value.length === 513 ? value.slice(0, -1) : value }, anyCharacters),
  decides('keeps percent-encoded keys decoded', { name: (key) => key.replaceAll('%20', ' ') }, anyCharacters),
  answers('keeps its rows in a plain object', (right) => {
    const rows: Record<string, { value: string, expiresAt: number }> = {}
    return {
      get: async (key) => (rows[key]?.expiresAt ?? 0) > right.now() ? rows[key]?.value ?? null : null,
      set: async (key, value, options) => {
        const isWritten = await right.set(key, value, options)
        if (isWritten) rows[key] = { value, expiresAt: options.expiresAt }
        return isWritten
      },
      delete: async (key, options) => {
        const isGone = await right.delete(key, options)
        if (isGone) Reflect.deleteProperty(rows, key)
        return isGone
      }
    }
  }, anyCharacters),
  {
    name: 'shares its rows with every other',
    isAlone: true,
    caughtBy: [nothingShared],
    createStore: (clock) => createCutStore(new ReferenceStore(clock.now, {}, rowsOf(clock)))
  },
  {
    name: 'puts a prefix before its keys that begins that of another',
    isAlone: true,
    caughtBy: [nothingShared],
    createStore: (clock) => {
      const rows = rowsOf(clock)
      // A test writes to its stores in turn, and the store with the longer prefix is the second.
      const prefix = rows.has('a') ? 'ab' : 'a'
      rows.set('a', { key: '', value: '', tags: [], expiresAt: Infinity })
      return createCutStore(new ReferenceStore(clock.now, { name: (key) => prefix + key, tags: (tags) => tags.map((tag) => prefix + tag), tagged: (row, tag) => row.tags.includes(prefix + tag) }, rows))
    }
  },

  decides('lets a value live in the millisecond of its deadline', { over: (expiresAt, now) => expiresAt < now }, toTheMillisecond, present),
  decides('lets a value end a millisecond early', { over: (expiresAt, now) => expiresAt - 1 <= now }, toTheMillisecond, untilBefore),
  decides('keeps the rest of a life in whole seconds', { deadline: (expiresAt, now) => now + Math.floor((expiresAt - now) / 1000) * 1000 }, toTheMillisecond, untilBefore),
  decides('keeps the rest of a life in seconds, rounded up', { deadline: (expiresAt, now) => now + Math.ceil((expiresAt - now) / 1000) * 1000 }, ends, toTheMillisecond),
  decides('keeps a deadline in seconds', { deadline: (expiresAt) => Math.floor(expiresAt / 1000) * 1000 }, toTheMillisecond),
  decides('takes a deadline for seconds', { deadline: (expiresAt) => expiresAt * 1000 }, ends, toTheMillisecond),
  decides('takes a deadline for what is left', { deadline: (expiresAt, now) => now + expiresAt }, ends, pastAccepted),
  decides('takes a deadline already past for none', { deadline: (expiresAt, now) => expiresAt <= now ? Infinity : expiresAt }, pastAccepted, pastEnds, pastConditions, present),
  decides('takes zero and less for no deadline', { deadline: (expiresAt) => expiresAt <= 0 ? Infinity : expiresAt }, pastAccepted),
  answers('does nothing when a deadline is past', (right) => ({ set: async (key, value, options) => options.expiresAt <= right.now() || await right.set(key, value, options) }), pastEnds, pastConditions),
  answers('refuses a deadline that is past', (right) => ({ set: async (key, value, options) => options.expiresAt > right.now() && await right.set(key, value, options) }), pastAccepted, pastEnds),
  answers('rejects a deadline that is past', (right) => ({
    set: async (key, value, options) => {
      if (options.expiresAt <= right.now()) throw new RangeError('invalid expire time')
      return await right.set(key, value, options)
    }
  }), pastAccepted, pastEnds),
  answers('deletes at a deadline that is past, whatever if says', (right) => ({
    set: async (key, value, options) => {
      if (options.expiresAt > right.now()) return await right.set(key, value, options)
      await right.delete(key)
      return true
    }
  }), pastConditions, refused),
  decides('keeps the first deadline', { deadline: (expiresAt, _now, before) => before?.expiresAt ?? expiresAt }, moves),
  decides('keeps the later deadline', { deadline: (expiresAt, _now, before) => Math.max(expiresAt, before?.expiresAt ?? 0) }, moves, pastEnds),
  decides('has dates to the year 275760', { deadline: (expiresAt, now) => expiresAt > 8_640_000_000_000_000 ? now : expiresAt }, largest),
  decides('has timers of 24 days', { deadline: (expiresAt, now) => expiresAt - now > 2_147_483_647 ? now + 1 : expiresAt }, largest, 'a deadline of years is kept'),
  answers('prolongs a value that is read', (right) => ({
    get: async (key) => {
      const value = await right.get(key)
      const row = right.rows.get(key)
      if (value !== null && row !== undefined) row.expiresAt += 1000
      return value
    }
  }), 'reading does not prolong the value', toTheMillisecond),
  decides('prolongs a value at a write that is refused', {
    refused: (rows, name, options) => {
      const row = rows.get(name)
      if (row !== undefined) row.expiresAt = Math.max(row.expiresAt, options.expiresAt)
    }
  }, 'a write that is refused does not prolong the value'),
  decides('moves the deadline at a write that is refused', {
    refused: (rows, name, options) => {
      const row = rows.get(name)
      if (row !== undefined) row.expiresAt = options.expiresAt
    }
  }, refused, 'a write that is refused does not prolong the value'),

  decides('keeps the tags of a value that is overwritten', { tags: (tags, before) => [...tags, ...before?.tags ?? []] }, standing),
  decides('keeps the tags unless there are new ones', { tags: (tags, before) => tags.length === 0 ? before?.tags ?? [] : tags }, standing),
  decides('tags the key at a write that is refused', {
    refused: (rows, name, options) => {
      const row = rows.get(name)
      if (row !== undefined) row.tags = [...row.tags, ...options.tags ?? []]
    }
  }, refused),
  decides('keeps 16 tags of a value', { tags: (tags) => tags.slice(0, 16) }, manyTags),
  decides('keeps 1,000 tags of a value', { tags: (tags) => tags.slice(0, 1000) }, manyTags),
  decides('takes a key from 1,000 tags of the value before', { tags: (tags, before) => [...tags, ...before?.tags.slice(1000) ?? []] }, manyTags),
  decides('keeps the tags of a key that is deleted', {
    forget: (rows, name) => {
      const row = rows.get(name)
      if (row !== undefined) row.expiresAt = -Infinity
    },
    tags: (tags, before) => before?.expiresAt === -Infinity ? [...tags, ...before.tags] : tags
  }, 'a deleted key is no longer found, and has no old tags when it is set again'),
  decides('finds what is expired', { listed: () => true }, ends, unread, pastAccepted),
  decides('keeps the list of tags that it was given', { tags: (tags) => tags }, 'the list of tags may be changed after the write'),
  decides('finds tags by LIKE', { tagged: (row, tag) => row.tags.some((text) => isLike(text, tag)) }, alikeTags),
  decides('finds tags by their beginning', { tagged: (row, tag) => row.tags.some((text) => text.startsWith(tag)) }, alikeTags, 'find names the keys of a tag and no others'),
  decides('finds tags without case', { tagged: (row, tag) => row.tags.some((text) => text.toLowerCase() === tag.toLowerCase()) }, alikeTags),
  decides('keeps tags in one string with commas', { tagged: (row, tag) => row.tags.length > 0 && `,${row.tags.join(',')},`.includes(`,${tag},`) }, alikeTags, 'find names the keys of a tag and no others'),
  decides('has no empty tag', { tagged: (row, tag) => tag !== '' && row.tags.includes(tag) }, emptyString, anyCharacters),

  answers('counts the keys that were named', (right) => ({
    find: async (tag, { limit = 100, cursor = '0' } = {}) => {
      const keys = right.tagged(tag)
      const end = Number(cursor) + limit
      return { keys: keys.slice(Number(cursor), end), cursor: end < keys.length ? String(end) : null }
    }
  }), changing, goneBefore),
  answers('begins anew when the key of the cursor is gone', (right) => ({
    find: async (tag, { limit = 100, cursor } = {}) => {
      const keys = right.tagged(tag)
      const index = cursor === undefined ? 0 : keys.indexOf(cursor) + 1
      const page = cursor !== undefined && index === 0 ? [] : keys.slice(index, index + limit)
      return { keys: page, cursor: index + limit < keys.length && page.length > 0 ? page.at(-1) ?? null : null }
    }
  }), goneBefore),
  answers('has pages of one key too many', (right) => ({ find: async (tag, { limit = 100, cursor } = {}) => await right.find(tag, { limit: limit + 1, ...cursor === undefined ? {} : { cursor } }) }), eachOnce, pagesEnd),
  answers('has no pages', (right) => ({ find: async (tag) => ({ keys: right.tagged(tag), cursor: null }) }), eachOnce),
  answers('has only one page', (right) => ({ find: async (tag, options) => ({ keys: (await right.find(tag, options)).keys, cursor: null }) }), eachOnce, pagesEnd),
  answers('keeps 1,000 keys of a tag', (right) => ({
    find: async (tag, { limit = 100, cursor = '' } = {}) => {
      const keys = right.tagged(tag).slice(0, 1000).filter((key) => cursor === '' || key > cursor)
      const page = keys.slice(0, limit)
      return { keys: page, cursor: keys.length > limit ? page.at(-1) ?? null : null }
    }
  }), eachOnce),
  answers('remembers where the last walk is', (right) => {
    let last = ''
    return {
      find: async (tag, { limit = 100, cursor } = {}) => {
        const keys = right.tagged(tag).filter((key) => cursor === undefined || key > last)
        const page = keys.slice(0, limit)
        last = page.at(-1) ?? ''
        return { keys: page, cursor: keys.length > limit ? 'next' : null }
      }
    }
  }, twoWalks),
  answers('remembers where the last walk through each tag is', (right) => {
    const last = new Map<string, string>()
    return {
      find: async (tag, { limit = 100, cursor } = {}) => {
        const keys = right.tagged(tag).filter((key) => cursor === undefined || key > (last.get(tag) ?? ''))
        const page = keys.slice(0, limit)
        last.set(tag, page.at(-1) ?? '')
        return { keys: page, cursor: keys.length > limit ? 'next' : null }
      }
    }
  }, twoWalks),
  answers('names the last key of a page again', (right) => ({
    find: async (tag, { limit = 100, cursor = '' } = {}) => {
      const keys = right.tagged(tag).filter((key) => key >= cursor)
      const page = keys.slice(0, limit)
      return { keys: page, cursor: keys.length > limit ? page.at(-1) ?? null : null }
    }
  }), eachOnce, pagesEnd),
  answers('has a cursor behind the last page too', (right) => ({
    find: async (tag, options) => {
      const end = '\u{10ffff}'
      if (options?.cursor === end) return { keys: [], cursor: end }
      const { keys, cursor } = await right.find(tag, options)
      return { keys, cursor: cursor ?? end }
    }
  }), unknownKey, pagesEnd),
  answers('names a key once for each time that it was written', (right) => {
    const log: string[] = []
    return {
      set: async (key, value, options) => {
        const isWritten = await right.set(key, value, options)
        if (isWritten) log.push(key)
        return isWritten
      },
      find: async (tag, { limit = 100, cursor = '0' } = {}) => {
        const keys = right.tagged(tag)
        const page = log.slice(Number(cursor), Number(cursor) + limit)
        return { keys: page.filter((key) => keys.includes(key)), cursor: Number(cursor) + limit < log.length ? String(Number(cursor) + limit) : null }
      }
    }
  }, standing),
  answers('puts its cursor together with a colon', (right) => ({
    find: async (tag, { limit = 100, cursor } = {}) => {
      const [, after] = cursor?.split(':') ?? []
      const keys = right.tagged(tag).filter((key) => after === undefined || key > after)
      const page = keys.slice(0, limit)
      return { keys: page, cursor: keys.length > limit ? `after:${page.at(-1)}` : null }
    }
  }), 'pages hold keys of any characters, each once'),

  answers('remembers what it has read', (right) => {
    const read = new Map<string, string>()
    return {
      get: async (key) => {
        const value = await right.get(key)
        const seen = read.get(key) ?? value
        if (seen !== null) read.set(key, seen)
        return value === null ? null : seen
      },
      set: async (key, value, options) => {
        read.delete(key)
        return await right.set(key, value, options)
      },
      delete: async (key, options) => {
        read.delete(key)
        return await right.delete(key, options)
      }
    }
  }, 'a change made over one connection is seen at once over another'),

  answers('knows at once what get has read, after a change too', (right) => {
    const read = new Map<string, string>()
    return {
      getSync: (key) => read.get(key),
      get: async (key) => {
        const value = await right.get(key)
        if (value !== null) read.set(key, value)
        return value
      }
    }
  }, atOnce, reads, claims, deletesIf, ends),
  answers('knows at once what it has written, after a deletion too', (right) => {
    const written = new Map<string, string>()
    return {
      getSync: (key) => written.get(key),
      set: async (key, value, options) => {
        const isWritten = await right.set(key, value, options)
        if (isWritten) written.set(key, value)
        return isWritten
      }
    }
  }, atOnce, 'delete removes the key and resolves whether it was there', ends),
  answers('knows at once what was refused', (right) => {
    let [refusedKey, refusedValue] = ['', '']
    return {
      getSync: (key) => key === refusedKey ? refusedValue : undefined,
      set: async (key, value, options) => {
        const isWritten = await right.set(key, value, options)
        if (!isWritten) [refusedKey, refusedValue] = [key, value]
        return isWritten
      }
    }
  }, atOnce, replaces),
  answers('says at once that there is nothing, where get must be asked', () => ({ getSync: () => null }), atOnce, reads),
  answers('takes an empty value for none at once', (right) => ({ getSync: (key) => right.getSync(key) || null }), atOnce, emptyString),
  answers('does not answer at once, but says that it does', () => ({ isSynchronous: true, getSync: () => undefined }), atOnce, reads),
  answers('promises at once', (right) => ({ getSync: (key) => unchecked(right.get(key)) }), atOnce, unknownKey),
  answers('reads many in the order of its rows', (right) => ({ getMany: async (keys) => await right.getMany([...keys].sort()) }), inOrder),
  answers('leaves out what is not there from many', (right) => ({ getMany: async (keys) => (await right.getMany(keys)).filter((value) => value !== null) }), inOrder, thousand),
  answers('reads many with undefined for what is not there', (right) => ({ getMany: async (keys) => unchecked((await right.getMany(keys)).map((value) => value ?? undefined)) }), inOrder, thousand),
  answers('reads many with null for an empty value', (right) => ({ getMany: async (keys) => (await right.getMany(keys)).map((value) => value || null) }), inOrder),
  answers('reads each of many keys once', (right) => ({ getMany: async (keys) => await right.getMany([...new Set(keys)]) }), inOrder),
  answers('reads many as an object', (right) => ({ getMany: async (keys) => unchecked(Object.fromEntries(keys.map((key) => [key, right.getSync(key)]))) }), inOrder),
  answers('reads many expired keys', (right) => ({ getMany: async (keys) => keys.map((key) => right.rows.get(key)?.value ?? null) }), inOrder),
  answers('reads nothing for no keys', (right) => ({ getMany: async (keys) => keys.length === 0 ? unchecked(null) : await right.getMany(keys) }), inOrder),
  answers('reads 999 keys', (right) => ({ getMany: async (keys) => (await right.getMany(keys)).slice(0, 999) }), thousand),
  answers('reads nothing after 500 keys', (right) => ({ getMany: async (keys) => (await right.getMany(keys)).map((value, index) => index < 500 ? value : null) }), thousand),
  answers('joins many keys by commas', (right) => ({ getMany: async (keys) => await right.getMany(keys.join(',').split(',')) }), thousand),
  answers('reads many from what get has read', (right) => {
    const read = new Map<string, string>()
    return {
      getMany: async (keys) => keys.map((key) => read.get(key) ?? right.getSync(key)),
      get: async (key) => {
        const value = await right.get(key)
        if (value !== null) read.set(key, value)
        return value
      }
    }
  }, inOrder),

  answersWhileCutOff('reads many as nothing while it is cut off', { getMany: async (keys) => keys.map(() => null) }, cutOff),
  answersWhileCutOff('reads nothing while it is cut off', { get: async () => null }, cutOff, isBack),
  answersWhileCutOff('has written nothing while it is cut off', { set: async () => false }, cutOff),
  answersWhileCutOff('writes to nowhere while it is cut off', { set: async () => true }, cutOff),
  answersWhileCutOff('has deleted nothing while it is cut off', { delete: async () => false }, cutOff),
  answersWhileCutOff('finds nothing while it is cut off', { find: async () => ({ keys: [], cursor: null }) }, cutOff),
  hasLost('has lost its data when it is back', ({ reference }) => { reference.rows.clear() }, isBack),
  hasLost('has lost its tags when it is back', ({ reference }) => { for (const row of reference.rows.values()) row.tags = [] }, isBack)
]

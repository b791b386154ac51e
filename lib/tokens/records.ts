import type { FastifyBaseLogger } from 'fastify'
import { BoundedMap } from '../collections/bounded-map.ts'
import type { BackgroundTasks } from '../collections/background-tasks.ts'
import { toError } from '../errors.ts'
import type { Region } from '../options/regions.ts'
import type { Settings } from '../options/resolve.ts'
import type { WebflowToken } from '../options/webflow-token.ts'
import { unavailable } from '../storage/guarded-store.ts'
import type { SealedCallOptions, SealedStore } from '../storage/sealed-store.ts'
import type { IssuedToken } from '../webflow/answers.ts'
import type { Installation } from '../webflow/authorization.ts'
import { ProtectedToken, absorb, hasOvertaken, keepKnown, parseRecord, serializeRecord, type TokenRecord } from './record.ts'
import type { TagNames } from './tags.ts'

/** How many opened records are kept in memory. */
const maxOpened = 1000
/** How often a conditional write is tried. When several processes write at once, one succeeds, and the others read again. */
const maxTries = 10
const pageSize = 100
const largestPage = 1000
const prefix = 'token:'

/** A record as it was read from the store. A conditional write compares its sealed value with what the store holds. */
export interface StoredToken {
  tokenId: string
  sealed: string
  record: TokenRecord
}

/**
 * What a new token replaces: the record that the store held before the app asked Webflow for the token. `nothing`: the store
 * held none. `anything`: the token replaces whatever the store holds now, without a comparison.
 */
export type Replaced = StoredToken | 'nothing' | 'anything'

/** The tokens that have a tag. */
export interface FoundTokens {
  tokens: StoredToken[]
  /** The tokens that cannot be read, because this process does not know their secret: the error, by the id of the token. */
  unreadable: Map<string, Error>
}

/** A page of the tokens that have a tag. */
export interface TokenPage extends FoundTokens {
  /** Where the next page begins; null after the last page. */
  cursor: string | null
}

/** Reads and writes the token records in the store. Seals each record before it is stored, and renews a record that is used. */
export class TokenRecords {
  readonly tags: TagNames
  readonly #store: SealedStore
  readonly #region: Region
  /** The life of a record, in milliseconds. */
  readonly #maxAge: number
  readonly #log: FastifyBaseLogger
  readonly #opened = new BoundedMap<StoredToken>(maxOpened)
  readonly #updating = new Set<string>()
  readonly #background: BackgroundTasks
  /** The ids of the tokens whose deletion was reported as failed, for as long as nobody knows whether the store has deleted them. */
  readonly #maybeGone = new Set<string>()

  constructor (store: SealedStore, tags: TagNames, { region, sessionMaxAge }: Pick<Settings, 'region' | 'sessionMaxAge'>, log: FastifyBaseLogger, background: BackgroundTasks) {
    this.#store = store
    this.tags = tags
    this.#region = region
    this.#maxAge = sessionMaxAge * 1000
    this.#log = log
    this.#background = background
  }

  /** Creates the record of a token that Webflow has granted. `owner` is the app's user to whom it will belong. */
  create (issued: IssuedToken, requestedScope: readonly string[], now: number, owner: string | null = null): TokenRecord {
    const endsAt = issued.expiresIn === null ? null : now + Math.floor(issued.expiresIn * 1000)
    return {
      accessToken: issued.accessToken,
      tokenType: issued.tokenType,
      scope: issued.scope ?? requestedScope,
      createdAt: now,
      expiresAt: this.#deadline(now, endsAt),
      endsAt,
      authorization: null,
      user: null,
      owner,
      askedAt: 0,
      complete: false
    }
  }

  /**
   * Makes the public form of a token. The region is not in the record: the app has a client id for each region, and the client
   * id is part of every store key, so an instance of the plugin never reads a record of the other region.
   */
  present ({ tokenId, record }: Pick<StoredToken, 'tokenId' | 'record'>): WebflowToken {
    return new ProtectedToken(tokenId, record, this.#region)
  }

  /**
   * Writes a token, unless the store holds a newer one under this id. Resolves with the record that the store holds then.
   * The record that it replaces never counts as newer, even if a replica with a fast clock wrote it.
   * If the write is reported as failed but the store carries it out anyway, the write is taken back.
   * Webflow has already issued the token, so the store is called even while it rests.
   */
  async write (tokenId: string, record: TokenRecord, replaced: Replaced = 'anything'): Promise<StoredToken> {
    return await untilWritten(async (isRetry) => {
      // If the store is expected to hold nothing, the first try writes without reading.
      const current = replaced === 'nothing' && !isRetry ? null : await this.readSealed(tokenId, { whileResting: true })
      const existing = this.#openIfReadable(tokenId, current)
      // If the answer to a command is lost, ioredis sends the command again and the store refuses it, because the first command
      // has written this very record.
      if (existing !== null && isRetry && serializeRecord(existing.record) === serializeRecord(record)) return existing
      if (existing !== null && replaced !== 'anything' && hasOvertaken(existing.record, record, replaced === 'nothing' ? undefined : replaced.record)) return existing
      const merged = existing === null ? record : keepKnown(record, existing.record)
      const sealed = await this.#set(tokenId, merged, current, {
        whileResting: true,
        afterFailure: () => {
          // A record that cannot be read cannot be put back with its deadline and tags. Then the new token stays.
          if (current === null || existing !== null) this.#takeBack(tokenId, record.accessToken, existing)
        }
      })
      return sealed === null ? undefined : { tokenId, sealed, record: merged }
    })
  }

  /**
   * Writes an imported token, unless `stays` returns true for the record that the store holds. Resolves with the record that
   * the store holds then, and with whether it is new. Differs from `write` in three ways: it does not overwrite a record that
   * cannot be read, it does not call a store that rests, and it does not take back a write that was reported as failed,
   * because the app may repeat the import.
   */
  async add (tokenId: string, record: TokenRecord, stays: (existing: TokenRecord) => boolean): Promise<{ stored: StoredToken, isNew: boolean }> {
    return await untilWritten(async () => {
      const current = await this.readSealed(tokenId)
      const existing = this.#openUnexpired(tokenId, current)
      if (existing !== null && stays(existing.record)) return { stored: existing, isNew: false }
      const sealed = await this.#set(tokenId, record, current)
      return sealed === null ? undefined : { stored: { tokenId, sealed, record }, isNew: true }
    })
  }

  /** Reads the sealed value of a record. The caller opens it later, and only if it needs the token. */
  readSealed (tokenId: string, callOptions?: { whileResting: boolean }): Promise<string | null> {
    return this.#store.getSealed(storeKey(tokenId), callOptions)
  }

  /** Whether `readSealedSync` answers for every record. */
  get isSynchronous (): boolean {
    return this.#store.isSynchronous
  }

  /** Reads the sealed value of a record at once, if the store can; undefined when the caller must use `readSealed`. */
  readSealedSync (tokenId: string): string | null | undefined {
    return this.#store.getSealedSync(storeKey(tokenId))
  }

  /** Reads and opens a token; null when there is none. The token counts as used. */
  async read (tokenId: string): Promise<StoredToken | null> {
    return this.open(tokenId, await this.readSealed(tokenId))
  }

  /** Reads and opens a token; null when there is none. The token does not count as used. */
  async peek (tokenId: string): Promise<StoredToken | null> {
    return this.#openUnexpired(tokenId, await this.readSealed(tokenId))
  }

  /**
   * Opens a sealed value that was just read; null when there is none, the value was tampered with or its record has expired. The
   * token counts as used. Throws `WEBFLOW_OAUTH_STORE_UNAVAILABLE` when the value was sealed under a secret unknown to this process.
   */
  open (tokenId: string, sealed: string | null): StoredToken | null {
    const token = this.#openUnexpired(tokenId, sealed)
    if (token === null) return null
    if (this.#opened.get(tokenId) !== token) this.#opened.set(tokenId, token)
    this.renewIfDue(token)
    return token
  }

  /**
   * Renews a record in the background when half of its life is over. The write is conditional on the value that was read, so
   * it never overwrites a newer record.
   */
  renewIfDue (token: StoredToken): void {
    const { record } = token
    const now = Date.now()
    if (record.expiresAt - now >= this.#maxAge / 2) return
    const expiresAt = this.#deadline(now, record.endsAt)
    if (expiresAt > record.expiresAt) this.#update(token, { ...record, expiresAt })
  }

  /**
   * Names the owner of a token that was read for a user. Records of version 0.1 do not hold the owner: it is written into
   * the record in the background, on the same condition as a renewal.
   */
  withOwner (token: StoredToken, owner: string | null): StoredToken {
    if (owner === null || token.record.owner !== null) return token
    const record = { ...token.record, owner }
    this.#update(token, record)
    return { ...token, record }
  }

  /**
   * Changes the record of an access token. `edit` gets the current record and returns the new one; if it returns the same
   * object, nothing is written. Resolves with the record that the store holds then; null if there is no record, or the record
   * holds another access token.
   */
  async change (tokenId: string, accessToken: string, edit: (record: TokenRecord) => TokenRecord): Promise<StoredToken | null> {
    return await untilWritten(async () => {
      const current = await this.peek(tokenId)
      if (current === null || current.record.accessToken !== accessToken) return null
      const record = edit(current.record)
      if (record === current.record) return current
      const sealed = await this.#set(tokenId, record, current.sealed)
      return sealed === null ? undefined : { tokenId, sealed, record }
    })
  }

  /** Records what a token opens, as Webflow has answered. Resolves like `change`. */
  async learn (token: StoredToken, installation: Installation): Promise<StoredToken | null> {
    // Usually the answer holds nothing new, and the store need not be called.
    if (absorb(token.record, installation) === token.record) return token
    return await this.change(token.tokenId, token.record.accessToken, (record) => absorb(record, installation))
  }

  /** Reads a page of the tokens that have a tag, without the token `except`. The tokens do not count as used. */
  async page (tag: string, cursor: string | null, limit: number, except?: string): Promise<TokenPage> {
    const page = await this.#store.find(tag, { limit, ...cursor === null ? {} : { cursor } })
    const tokenIds = page.keys.flatMap((key) => key.startsWith(prefix) ? [key.slice(prefix.length)] : []).filter((tokenId) => tokenId !== except)
    const unreadable = new Map<string, Error>()
    const values = await this.#store.getManySealed(tokenIds.map(storeKey))
    const tokens = tokenIds.flatMap((tokenId, index) => {
      try {
        return this.#openUnexpired(tokenId, values[index] ?? null) ?? []
      } catch (error) {
        unreadable.set(tokenId, toError(error))
        return []
      }
    })
    return { tokens, unreadable, cursor: page.cursor }
  }

  /** Iterates over all tokens that have a tag, without the token `except`, a page at a time. */
  async * pages (tag: string, { limit = pageSize, except }: { limit?: number, except?: string } = {}): AsyncGenerator<TokenPage, void, undefined> {
    let cursor: string | null = null
    do {
      const page: TokenPage = await this.page(tag, cursor, limit, except)
      yield page
      cursor = page.cursor
    } while (cursor !== null)
  }

  /** Reads all tokens that have a tag, each once. The tokens do not count as used. */
  async all (tag: string): Promise<FoundTokens> {
    const tokens = new Map<string, StoredToken>()
    const unreadable = new Map<string, Error>()
    for await (const page of this.pages(tag, { limit: largestPage })) {
      for (const token of page.tokens) tokens.set(token.tokenId, token)
      for (const [tokenId, error] of page.unreadable) unreadable.set(tokenId, error)
    }
    return { tokens: [...tokens.values()], unreadable }
  }

  /**
   * Deletes the record of an access token, even if the record was renewed meanwhile. A record of another access token stays.
   * Resolves with whether there was such a record.
   * Calls `onGone` once the record has gone, before this resolves. If this rejects but the store deletes the record later,
   * `onGone` is called later too. `onGone` must not reject.
   */
  async forget (tokenId: string, accessToken: string, onGone: () => Promise<void>): Promise<boolean> {
    return await untilWritten(async () => {
      const token = this.#unseal(tokenId, await this.readSealed(tokenId))
      if (token === null || token.record.accessToken !== accessToken) return false
      const isGone = await this.#store.delete(storeKey(tokenId), { if: token.sealed }, {
        afterFailure: (answer) => { this.#followDeletion(token, answer, onGone) }
      })
      if (!isGone) return undefined
      this.#opened.delete(tokenId)
      this.#maybeGone.delete(tokenId)
      await onGone()
      return true
    })
  }

  /**
   * Deletes whatever record the store holds under an id. The deletion is conditional on the value that was read: if the store
   * carries it out late, it does not delete a newer record.
   */
  async drop (tokenId: string): Promise<void> {
    this.#opened.delete(tokenId)
    await untilWritten(async () => {
      const current = await this.readSealed(tokenId)
      return current === null || await this.#store.delete(storeKey(tokenId), { if: current }) ? true : undefined
    })
  }

  /** Writes a new version of a record in the background, unless another update of the record is under way. */
  #update ({ tokenId, sealed }: StoredToken, record: TokenRecord): void {
    if (this.#updating.has(tokenId)) return
    this.#updating.add(tokenId)
    this.#set(tokenId, record, sealed)
      .catch((err: unknown) => { this.#log.warn({ err }, 'webflow-oauth: a token could not be renewed; the next use tries again') })
      .finally(() => { this.#updating.delete(tokenId) })
  }

  #set (tokenId: string, record: TokenRecord, over: string | null, callOptions?: SealedCallOptions): Promise<string | null> {
    return this.#store.set(storeKey(tokenId), serializeRecord(record), { expiresAt: record.expiresAt, tags: this.tags.of(record), if: over }, callOptions)
  }

  /**
   * Takes back a write that was reported as failed: deletes the record of the access token, or puts back the record `before`.
   * It does so even if another process has renewed or completed the record meanwhile. A record of another access token stays.
   */
  #takeBack (tokenId: string, accessToken: string, before: StoredToken | null): void {
    // The store held the same access token before the write, so there is nothing to take back.
    if (before !== null && before.record.accessToken === accessToken) return
    const key = storeKey(tokenId)
    this.#background.insist(
      async () => {
        const sealed = await this.readSealed(tokenId, { whileResting: true })
        if (sealed === null || this.#unseal(tokenId, sealed)?.record.accessToken !== accessToken) return
        const isDone = before === null
          ? await this.#store.delete(key, { if: sealed }, { whileResting: true })
          : await this.#store.restore(key, before.sealed, { expiresAt: before.record.expiresAt, tags: this.tags.of(before.record), if: sealed })
        if (!isDone) throw unavailable('A token was changed while the plugin undid a write that had failed.')
      },
      (err) => { this.#log.warn({ tokenId, err }, 'webflow-oauth: a token whose write failed could not be removed from the store. If the store has written the token all the same, it stays there until it expires') }
    )
  }

  /**
   * Finds out whether the store has carried out a deletion that was reported as failed, and calls `onGone` if so. `answer` is
   * the late answer of the store, or null if the store rejected.
   */
  #followDeletion ({ tokenId, record: { accessToken } }: StoredToken, answer: boolean | null, onGone: () => Promise<void>): void {
    if (answer === false) return
    this.#maybeGone.add(tokenId)
    this.#background.insist(
      async () => {
        const sealed = answer === true ? null : await this.readSealed(tokenId)
        // Another process may have renewed the record meanwhile. The token has gone only if no record holds it any more.
        const isGone = this.#unseal(tokenId, sealed)?.record.accessToken !== accessToken
        // If a later call of `forget` has deleted the record, that call has run its own `onGone`, and this one must not run.
        const isFirst = this.#maybeGone.delete(tokenId)
        if (!isGone || !isFirst) return
        this.#opened.delete(tokenId)
        await onGone()
      },
      (err) => {
        this.#maybeGone.delete(tokenId)
        this.#log.warn({ tokenId, err }, 'webflow-oauth: it is not known whether the store has deleted a token. If it has, `onRevoke` or `onDisconnect` did not run for it')
      }
    )
  }

  #deadline (now: number, endsAt: number | null): number {
    return Math.min(now + this.#maxAge, endsAt ?? Infinity)
  }

  /** Opens a record that is about to be overwritten; null if there is none, it has expired, or it cannot be read for any reason. */
  #openIfReadable (tokenId: string, sealed: string | null): StoredToken | null {
    try {
      return this.#openUnexpired(tokenId, sealed)
    } catch {
      return null
    }
  }

  /**
   * Opens a sealed value, or takes the opened record from memory; null when there is no value, it is not ours or the record has
   * expired.
   */
  #openUnexpired (tokenId: string, sealed: string | null): StoredToken | null {
    const known = this.#opened.get(tokenId)
    const token = known !== undefined && known.sealed === sealed ? known : this.#unseal(tokenId, sealed)
    return token === null || token.record.expiresAt <= Date.now() ? null : token
  }

  /** Opens a sealed value, even of an expired record; null when there is no value, or it is not ours. */
  #unseal (tokenId: string, sealed: string | null): StoredToken | null {
    if (sealed === null) {
      // Another process may have deleted the record. Then it must not stay in memory.
      this.#opened.delete(tokenId)
      return null
    }
    const text = this.#store.unseal(storeKey(tokenId), sealed)
    const record = text === null ? null : parseRecord(text)
    return record === null ? null : { tokenId, sealed, record }
  }
}

/**
 * Repeats an attempt that reads a value and then writes on condition that nobody has changed the value in between. The
 * attempt resolves with undefined if the condition did not hold.
 */
async function untilWritten<T> (attempt: (isRetry: boolean) => Promise<T | undefined>): Promise<T> {
  for (let tries = 0; tries < maxTries; tries++) {
    const result = await attempt(tries > 0)
    if (result !== undefined) return result
  }
  throw unavailable(`The token store did not write or delete a token in ${maxTries} tries. Do its \`set\` and \`delete\` follow the contract for \`if\`?`)
}

function storeKey (tokenId: string): string {
  return prefix + tokenId
}

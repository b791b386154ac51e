import type { FastifyBaseLogger } from 'fastify'
import { BoundedMap } from '../collections/bounded-map.ts'
import type { UnderWay } from '../collections/under-way.ts'
import { toError } from '../errors.ts'
import { unavailable } from '../storage/guarded-store.ts'
import type { SealedCallOptions, SealedStore } from '../storage/sealed-store.ts'
import type { Grant } from '../webflow/answers.ts'
import type { Installation } from '../webflow/authorization.ts'
import { absorb, isNewer, parseRecord, serializeRecord, type TokenRecord } from './record.ts'
import type { TagNames } from './tags.ts'

const maxOpened = 1000
// Of several writers at once all but one have to read again, each time.
const maxTries = 10
const pageSize = 100
const largestPage = 1000
const prefix = 'token:'

/** A record as it was read: the sealed value is what conditional writes compare with. */
export interface StoredToken {
  tokenId: string
  sealed: string
  record: TokenRecord
}

/** The tokens under a tag, or a page of them. */
export interface FoundTokens {
  tokens: StoredToken[]
  /** Those that were sealed under a secret that this process does not know: by their ids, with the error. */
  unreadable: Map<string, Error>
  /** Where the next page begins; null after the last. */
  cursor: string | null
}

/**
 * The tokens in the store: sealed on the way in, opened on the way out, renewed by use, found by tags.
 */
export class TokenRecords {
  readonly #store: SealedStore
  readonly #tags: TagNames
  readonly #maxAge: number
  readonly #log: FastifyBaseLogger
  readonly #opened = new BoundedMap<StoredToken>(maxOpened)
  readonly #renewing = new Set<string>()
  readonly #underWay: UnderWay
  /** The ids of tokens of which nobody knows whether their deletion was carried out. */
  readonly #maybeGone = new Set<string>()

  /** `maxAge` is the life of a record, in seconds. */
  constructor (store: SealedStore, tags: TagNames, maxAge: number, log: FastifyBaseLogger, underWay: UnderWay) {
    this.#store = store
    this.#tags = tags
    this.#maxAge = maxAge * 1000
    this.#log = log
    this.#underWay = underWay
  }

  /** Makes the record of what Webflow granted. */
  create (grant: Grant, requestedScope: readonly string[], now: number): TokenRecord {
    const endsAt = grant.expiresIn === null ? null : now + Math.floor(grant.expiresIn * 1000)
    return {
      accessToken: grant.accessToken,
      tokenType: grant.tokenType,
      scope: grant.scope ?? requestedScope,
      createdAt: now,
      expiresAt: this.#deadline(now, endsAt),
      endsAt,
      authorization: null,
      user: null,
      askedAt: 0,
      told: false
    }
  }

  /**
   * Writes a token over whatever stands there, but over nothing newer: neither a slow callback nor a write
   * that is carried out late undoes what the user has done meanwhile. Resolves with the record that stands
   * there then. `replaced` is the one that stood there before the token was asked for, null for none; left
   * out, nothing counts as newer. A write that was reported as failed is taken back if the store has carried it out.
   * The store is called even in its rest: Webflow has issued the token already.
   */
  async write (tokenId: string, record: TokenRecord, replaced?: StoredToken | null): Promise<StoredToken> {
    for (let tries = 0; tries < maxTries; tries++) {
      // The first try does not read what is not expected to be there.
      const current = tries === 0 && replaced === null ? null : await this.readSealed(tokenId, { whileResting: true })
      const standing = current === null ? null : this.#standing(tokenId, current)
      // ioredis sends a command again whose answer was lost: what stands there may be this very record.
      if (standing !== null && tries > 0 && serializeRecord(standing.record) === serializeRecord(record)) return standing
      if (standing !== null && replaced !== undefined && hasOvertaken(standing.record, record, replaced)) return standing
      const merged = standing === null ? record : keepTold(record, standing.record)
      const sealed = await this.#set(tokenId, merged, current, {
        whileResting: true,
        afterFailure: () => {
          // What cannot be read cannot be put back with its deadline and tags: then the new token stays.
          if (current === null || standing !== null) this.#takeBack(tokenId, record.accessToken, standing)
        }
      })
      if (sealed !== null) return { tokenId, sealed, record: merged }
    }
    throw unavailable(`The token store did not write a token in ${maxTries} tries. Does its \`set\` follow the contract for \`if\`?`)
  }

  /** Reads the sealed value, to be opened when somebody asks for it. */
  async readSealed (tokenId: string, callOptions?: { whileResting: boolean }): Promise<string | null> {
    const sealed = await this.#store.getSealed(storeKey(tokenId), callOptions)
    // Revoked by another process, perhaps: then this one keeps it no longer either.
    if (sealed === null) this.#opened.delete(tokenId)
    return sealed
  }

  /** Reads the sealed value at once, if the store can; undefined when `readSealed` must be asked. */
  readSealedSync (tokenId: string): string | null | undefined {
    const sealed = this.#store.getSealedSync(storeKey(tokenId))
    if (sealed === null) this.#opened.delete(tokenId)
    return sealed
  }

  /** Reads and opens a token, which counts as use; null when there is none. */
  async read (tokenId: string): Promise<StoredToken | null> {
    const sealed = await this.readSealed(tokenId)
    return sealed === null ? null : this.open(tokenId, sealed)
  }

  /** Reads and opens a token without using it; null when there is none. */
  async peek (tokenId: string): Promise<StoredToken | null> {
    const sealed = await this.readSealed(tokenId)
    return sealed === null ? null : this.#living(tokenId, sealed)
  }

  /**
   * Opens a sealed value that was just read, and renews its record when half of its life is over.
   * Null when it was tampered with or has ended; throws `WEBFLOW_OAUTH_STORE_UNAVAILABLE` when it was
   * sealed under a secret that this process does not know, which is no logout.
   */
  open (tokenId: string, sealed: string): StoredToken | null {
    const token = this.#living(tokenId, sealed)
    if (token === null) return null
    if (this.#opened.get(tokenId) !== token) this.#opened.set(tokenId, token)
    this.renewIfDue(token)
    return token
  }

  /** Moves the deadline when half of its life is over; nobody waits for it, and it writes only over the very value that was read. */
  renewIfDue ({ tokenId, sealed, record }: StoredToken): void {
    const now = Date.now()
    if (record.expiresAt - now >= this.#maxAge / 2 || this.#renewing.has(tokenId)) return
    const expiresAt = this.#deadline(now, record.endsAt)
    if (expiresAt <= record.expiresAt) return
    this.#renewing.add(tokenId)
    this.#set(tokenId, { ...record, expiresAt }, sealed)
      .catch((err: unknown) => { this.#log.warn({ err }, 'webflow-oauth: a token could not be renewed; the next use tries again') })
      .finally(() => { this.#renewing.delete(tokenId) })
  }

  /**
   * Changes a record that still holds the access token, by writing over nothing but what was read.
   * Resolves with the record that stands there then; null when it has gone or holds a newer token.
   */
  async change (tokenId: string, accessToken: string, changed: (record: TokenRecord) => TokenRecord): Promise<StoredToken | null> {
    for (let tries = 0; tries < maxTries; tries++) {
      const current = await this.peek(tokenId)
      if (current === null || current.record.accessToken !== accessToken) return null
      const record = changed(current.record)
      if (record === current.record) return current
      const sealed = await this.#set(tokenId, record, current.sealed)
      if (sealed !== null) return { tokenId, sealed, record }
    }
    throw unavailable(`The token store did not change a token in ${maxTries} tries. Does its \`set\` follow the contract for \`if\`?`)
  }

  /** Records what Webflow told of a token; resolves with the record that stands there then, null when it has gone or holds a newer token. */
  async learn (token: StoredToken, installation: Installation): Promise<StoredToken | null> {
    // Mostly there is nothing new, and then nothing more to read.
    if (absorb(token.record, installation) === token.record) return token
    return await this.change(token.tokenId, token.record.accessToken, (record) => absorb(record, installation))
  }

  /** Reads a page of the tokens under a tag, without using them. */
  async page (tag: string, cursor: string | null, limit = pageSize): Promise<FoundTokens> {
    const page = await this.#store.find(tag, { limit, ...cursor === null ? {} : { cursor } })
    const tokenIds = page.keys.flatMap((key) => key.startsWith(prefix) ? [key.slice(prefix.length)] : [])
    const unreadable = new Map<string, Error>()
    const values = await this.#store.getManySealed(tokenIds.map(storeKey))
    const tokens = tokenIds.flatMap((tokenId, index) => {
      const sealed = values[index] ?? null
      try {
        return sealed === null ? [] : this.#living(tokenId, sealed) ?? []
      } catch (error) {
        unreadable.set(tokenId, toError(error))
        return []
      }
    })
    return { tokens, unreadable, cursor: page.cursor }
  }

  /** Reads all tokens under a tag, without using them; each once. */
  async all (tag: string): Promise<FoundTokens> {
    const tokens = new Map<string, StoredToken>()
    const unreadable = new Map<string, Error>()
    let cursor: string | null = null
    do {
      const page: FoundTokens = await this.page(tag, cursor, largestPage)
      for (const token of page.tokens) tokens.set(token.tokenId, token)
      for (const [tokenId, error] of page.unreadable) unreadable.set(tokenId, error)
      cursor = page.cursor
    } while (cursor !== null)
    return { tokens: [...tokens.values()], unreadable, cursor }
  }

  /**
   * Forgets a token that was revoked; resolves whether it was still there. A record that was renewed
   * meanwhile goes too, one that holds a newer token stays. `onGone` runs once when the record has gone: before this
   * resolves, or after it has rejected, if the store has carried the deletion out all the same. It must not reject.
   */
  async forget (tokenId: string, accessToken: string, onGone: () => Promise<void>, tried: string | null = null): Promise<boolean> {
    const sealed = await this.readSealed(tokenId)
    if (sealed === null) return false
    if (sealed === tried) throw unavailable('The token store did not delete a value, though the condition `if` named exactly that value. Does its `delete` follow the contract for `if`?')
    const token = this.#unseal(tokenId, sealed)
    if (token === null || token.record.accessToken !== accessToken) return false
    const isGone = await this.#store.delete(storeKey(tokenId), { if: sealed }, {
      afterFailure: (answer) => { this.#followDeletion(token, answer, onGone) }
    })
    if (!isGone) return await this.forget(tokenId, accessToken, onGone, sealed)
    this.#opened.delete(tokenId)
    this.#maybeGone.delete(tokenId)
    await onGone()
    return true
  }

  /** Drops what is kept under the id now; a deletion that is carried out late spares what is newer. */
  async drop (tokenId: string): Promise<void> {
    this.#opened.delete(tokenId)
    for (let tries = 0; tries < maxTries; tries++) {
      const current = await this.readSealed(tokenId)
      if (current === null || await this.#store.delete(storeKey(tokenId), { if: current })) return
    }
    throw unavailable(`The token store did not delete a token in ${maxTries} tries. Does its \`delete\` follow the contract for \`if\`?`)
  }

  #set (tokenId: string, record: TokenRecord, over: string | null, callOptions?: SealedCallOptions): Promise<string | null> {
    return this.#store.set(storeKey(tokenId), serializeRecord(record), { expiresAt: record.expiresAt, tags: this.#tags.of(record), if: over }, callOptions)
  }

  /**
   * Takes back a write that was reported as failed: puts back what stood there before. A record that others have renewed
   * or completed since is taken back too; one that holds another access token stays.
   */
  #takeBack (tokenId: string, accessToken: string, before: StoredToken | null): void {
    // The user holds the very same token anyway.
    if (before !== null && before.record.accessToken === accessToken) return
    const key = storeKey(tokenId)
    this.#underWay.insist(
      async () => {
        const sealed = await this.readSealed(tokenId, { whileResting: true })
        if (sealed === null || this.#unseal(tokenId, sealed)?.record.accessToken !== accessToken) return
        const isDone = before === null
          ? await this.#store.delete(key, { if: sealed }, { whileResting: true })
          : await this.#store.restore(key, before.sealed, { expiresAt: before.record.expiresAt, tags: this.#tags.of(before.record), if: sealed })
        if (!isDone) throw unavailable('A token was changed while the plugin undid a write that had failed.')
      },
      (err) => { this.#log.warn({ tokenId, err }, 'webflow-oauth: a token whose write failed could not be removed from the store. If the store has written it all the same, it stays there until it expires') }
    )
  }

  /** Finds out whether a deletion was carried out that was reported as failed, and then tells who asked for it. */
  #followDeletion ({ tokenId, record: { accessToken } }: StoredToken, answer: boolean | null, onGone: () => Promise<void>): void {
    if (answer === false) return
    this.#maybeGone.add(tokenId)
    this.#underWay.insist(
      async () => {
        const sealed = answer === true ? null : await this.readSealed(tokenId)
        // Others may have renewed the record meanwhile: only another token in its place means that the old one has gone.
        const isGone = sealed === null || this.#unseal(tokenId, sealed)?.record.accessToken !== accessToken
        // False where a later call has deleted the record, and has told who asked for that.
        const isUntold = this.#maybeGone.delete(tokenId)
        if (!isGone || !isUntold) return
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

  /** Opens what is about to be written over; null where it cannot be compared. */
  #standing (tokenId: string, sealed: string): StoredToken | null {
    try {
      return this.#living(tokenId, sealed)
    } catch {
      return null
    }
  }

  #living (tokenId: string, sealed: string): StoredToken | null {
    const known = this.#opened.get(tokenId)
    const token = known !== undefined && known.sealed === sealed ? known : this.#unseal(tokenId, sealed)
    return token === null || token.record.expiresAt <= Date.now() ? null : token
  }

  #unseal (tokenId: string, sealed: string): StoredToken | null {
    const text = this.#store.open(storeKey(tokenId), sealed)
    const record = text === null ? null : parseRecord(text)
    return record === null ? null : { tokenId, sealed, record }
  }
}

/** Chooses the newest of the tokens that have something in common, for each such group; the newest first. */
export function newestOfEach (tokens: readonly StoredToken[], nameOf: (record: TokenRecord) => string): StoredToken[] {
  const chosen = new Map<string, StoredToken>()
  for (const token of tokens.toSorted((a, b) => isNewer(a.record, b.record) ? -1 : isNewer(b.record, a.record) ? 1 : 0)) {
    const name = nameOf(token.record)
    if (!chosen.has(name)) chosen.set(name, token)
  }
  return [...chosen.values()]
}

/** Tells whether somebody else has written a newer record since. By the clocks of two replicas the one that is replaced may look newer. */
function hasOvertaken (standing: TokenRecord, record: TokenRecord, replaced: StoredToken | null): boolean {
  const isReplaced = standing.accessToken === replaced?.record.accessToken && standing.accessToken !== record.accessToken
  return !isReplaced && isNewer(standing, record)
}

/** Keeps what is known of the very same token, where Webflow told nothing this time; it is asked again. */
function keepTold (record: TokenRecord, { accessToken, authorization, user, askedAt }: TokenRecord): TokenRecord {
  return record.askedAt === 0 && record.accessToken === accessToken ? { ...record, authorization, user, askedAt } : record
}

function storeKey (tokenId: string): string {
  return prefix + tokenId
}

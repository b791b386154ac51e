import type { FastifyBaseLogger } from 'fastify'
import { unavailable } from './guarded-store.ts'
import type { SealedStore } from './sealed-store.ts'
import { parseRecord, serializeRecord, type TokenRecord } from './token.ts'
import type { Grant } from './webflow-answers.ts'

const maxOpened = 1000
const maxTries = 3

/** A record as it was read: the sealed value is what conditional writes compare with. */
export interface StoredToken {
  tokenId: string
  sealed: string
  record: TokenRecord
}

/**
 * The tokens in the store: sealed on the way in, opened on the way out, renewed by use.
 */
export class TokenRecords {
  readonly #store: SealedStore
  readonly #maxAge: number
  readonly #log: FastifyBaseLogger
  readonly #opened = new Map<string, StoredToken>()
  readonly #renewing = new Set<string>()

  /** `maxAge` is the life of a record, in seconds. */
  constructor (store: SealedStore, maxAge: number, log: FastifyBaseLogger) {
    this.#store = store
    this.#maxAge = maxAge * 1000
    this.#log = log
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
      endsAt
    }
  }

  /**
   * Writes a token over whatever stands there now, and over nothing newer: a write that is carried out
   * late, when the user has connected again meanwhile, changes nothing.
   */
  async write (tokenId: string, record: TokenRecord): Promise<void> {
    const text = serializeRecord(record)
    for (let tries = 0; tries < maxTries; tries++) {
      const current = await this.readSealed(tokenId)
      // ioredis sends a command again whose answer was lost: what stands there may be this very record.
      if (tries > 0 && current !== null && this.#store.open(storeKey(tokenId), current) === text) return
      if (await this.#store.set(storeKey(tokenId), text, { expiresAt: record.expiresAt, if: current }) !== null) return
    }
    throw unavailable('The token store did not write a token that it was given.')
  }

  /** Reads the sealed value, to be opened when somebody asks for it. */
  async readSealed (tokenId: string): Promise<string | null> {
    const sealed = await this.#store.getSealed(storeKey(tokenId))
    // Revoked by another process, perhaps: then this one keeps it no longer either.
    if (sealed === null) this.#opened.delete(tokenId)
    return sealed
  }

  /** Reads and opens a token; null when there is none. */
  async read (tokenId: string): Promise<StoredToken | null> {
    const sealed = await this.readSealed(tokenId)
    return sealed === null ? null : this.open(tokenId, sealed)
  }

  /**
   * Opens a sealed value that was just read, and renews its record when half of its life is over.
   * Null when it was tampered with or has ended; throws `WEBFLOW_OAUTH_STORE_UNAVAILABLE` when it was
   * sealed under a secret that this process does not know, which is no logout.
   */
  open (tokenId: string, sealed: string): StoredToken | null {
    const known = this.#opened.get(tokenId)
    const token = known !== undefined && known.sealed === sealed ? known : this.#unseal(tokenId, sealed)
    const now = Date.now()
    if (token === null || token.record.expiresAt <= now) return null
    this.#renewIfDue(token, now)
    return token
  }

  /**
   * Forgets a token that was revoked; resolves whether it was still there. A record that was renewed
   * meanwhile goes too, one that holds a newer token stays.
   */
  async forget (tokenId: string, accessToken: string, tried: string | null = null): Promise<boolean> {
    const sealed = await this.readSealed(tokenId)
    if (sealed === null) return false
    if (sealed === tried) throw unavailable('The token store keeps a value that it was told to delete.')
    const token = this.#unseal(tokenId, sealed)
    if (token === null || token.record.accessToken !== accessToken) return false
    if (!await this.#store.delete(storeKey(tokenId), { if: sealed })) return await this.forget(tokenId, accessToken, sealed)
    this.#opened.delete(tokenId)
    return true
  }

  /** Drops what is kept under the id now; a deletion that is carried out late spares what is newer. */
  async drop (tokenId: string): Promise<void> {
    this.#opened.delete(tokenId)
    for (let tries = 0; tries < maxTries; tries++) {
      const current = await this.readSealed(tokenId)
      if (current === null || await this.#store.delete(storeKey(tokenId), { if: current })) return
    }
    throw unavailable('The token store did not delete a token that it was told to.')
  }

  #deadline (now: number, endsAt: number | null): number {
    return Math.min(now + this.#maxAge, endsAt ?? Infinity)
  }

  #unseal (tokenId: string, sealed: string): StoredToken | null {
    const text = this.#store.open(storeKey(tokenId), sealed)
    const record = text === null ? null : parseRecord(text)
    if (record === null) return null
    const token = { tokenId, sealed, record }
    this.#remember(token)
    return token
  }

  #remember (token: StoredToken): void {
    this.#opened.delete(token.tokenId)
    const [oldest] = this.#opened.keys()
    if (oldest !== undefined && this.#opened.size >= maxOpened) this.#opened.delete(oldest)
    this.#opened.set(token.tokenId, token)
  }

  /** Moves the deadline; nobody waits for it, and it writes only over the very value that was read. */
  #renewIfDue ({ tokenId, sealed, record }: StoredToken, now: number): void {
    if (record.expiresAt - now >= this.#maxAge / 2 || this.#renewing.has(tokenId)) return
    const expiresAt = this.#deadline(now, record.endsAt)
    if (expiresAt <= record.expiresAt) return
    this.#renewing.add(tokenId)
    this.#store.set(storeKey(tokenId), serializeRecord({ ...record, expiresAt }), { expiresAt, if: sealed })
      .catch((err: unknown) => { this.#log.warn({ err }, 'webflow-oauth: a token could not be renewed; the next use tries again') })
      .finally(() => { this.#renewing.delete(tokenId) })
  }
}

function storeKey (tokenId: string): string {
  return `token:${tokenId}`
}

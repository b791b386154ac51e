/**
 * How a value is written.
 */
export interface SetOptions {
  /** When the value expires: an absolute time, an integer, in Unix milliseconds. */
  expiresAt: number
  /** The tags by which `find` names the key until the value expires or is replaced. Defaults to none. */
  tags?: readonly string[]
  /** Null: writes only while the key is unknown. A string: writes only while the value is exactly this string. Defaults to writing in any case. */
  if?: string | null
}

/**
 * Keeps what must outlive a request: sealed tokens, and flows that are under way.
 *
 * The plugin makes the keys, values and tags, and the store must not interpret them. A promise rejects when the store could
 * not do its work. A failure must never look like an unknown key.
 */
export interface TokenStore {
  /** Resolves with the value, or with null when the key is unknown or expired. */
  get (key: string): Promise<string | null>
  /**
   * Optional. Returns what `get` would resolve with, without a promise: the value, or null when there is none.
   * Returns undefined when the store does not know at once, so that the plugin must call `get`. Never waits for a network or a disk.
   */
  getSync? (key: string): string | null | undefined
  /**
   * Optional. True promises that `getSync` never returns undefined. The plugin then reads a token only when a route reads
   * `request.webflowToken`, not before. Defaults to false.
   */
  readonly isSynchronous?: boolean
  /**
   * Optional. Resolves with one entry for each key, in the order of the keys: the value, or null when the key is
   * unknown or expired. Never answers from a cache. The plugin uses it when it lists or searches tokens.
   */
  getMany? (keys: readonly string[]): Promise<Array<string | null>>
  /**
   * Writes value, deadline and tags together, and resolves whether it wrote.
   * With `if`, it writes only while the key is unknown (`null`) or its value is exactly that string.
   * A deadline that has passed is accepted: the write succeeds, and the key is unknown afterwards.
   */
  set (key: string, value: string, options: SetOptions): Promise<boolean>
  /**
   * Deletes the key, and resolves whether this call deleted a value. An expired value does not count.
   * With `if`, it deletes only while the value is exactly that string.
   */
  delete (key: string, options?: { if?: string }): Promise<boolean>
  /**
   * Resolves with a page of the keys whose current value was set with the tag, and with the cursor of the next page,
   * null after the last. A page may name a key whose value expires or changes meanwhile.
   */
  find (tag: string, options?: { limit?: number, cursor?: string }): Promise<{ keys: string[], cursor: string | null }>
}

/**
 * What a store may be told about a value when it is written.
 */
export interface SetOptions {
  /** When the value ends: absolute, an integer, in Unix milliseconds. */
  expiresAt: number
  /** The tags by which `find` names the key for as long as this value stands. Defaults to none. */
  tags?: readonly string[]
  /** Writes only while the key is unknown (`null`) or its value is exactly this string. Left out: always writes. */
  if?: string | null
}

/**
 * Where the plugin keeps what must outlive a request: sealed tokens and the flows that are under way.
 *
 * Keys, values and tags are opaque strings made by the plugin. A rejected promise means that the
 * store could not do its work; it must never stand for "not there".
 */
export interface TokenStore {
  /** Resolves with the value, or null when the key is unknown or expired. */
  get (key: string): Promise<string | null>
  /**
   * Writes value, deadline and tags together; resolves whether it wrote.
   * With `if`, only while the key is unknown (`null`) or its value is exactly that string.
   * A deadline already past is accepted and unreadable.
   */
  set (key: string, value: string, options: SetOptions): Promise<boolean>
  /** Forgets the key, with `if` only while its value is exactly that string; resolves whether it was there (expired is not there) and went. */
  delete (key: string, options?: { if?: string }): Promise<boolean>
  /** Keys whose current value was set with the tag, a page at a time; may name a key that ends meanwhile. */
  find (tag: string, options?: { limit?: number, cursor?: string }): Promise<{ keys: string[], cursor: string | null }>
}

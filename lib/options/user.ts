/** The longest id of a user, in bytes of UTF-8. */
export const maxUserLength = 255

/**
 * Tells whether a value can be the id of a user: a well-formed string of 1 to 255 bytes in UTF-8. Lone surrogates are
 * refused, because UTF-8 encodes all of them as the same character: two users could then share a token.
 */
export function isUser (value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.isWellFormed() && Buffer.byteLength(value) <= maxUserLength
}

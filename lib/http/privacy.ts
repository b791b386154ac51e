/** The headers that keep an answer out of caches, and its URL out of the `Referer` header of other sites. */
export const privacyHeaders = { 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' } as const

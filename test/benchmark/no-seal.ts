import type { createSealer as real } from '../../lib/storage/seal.ts'

/** Stands in for `lib/storage/seal.ts` where the cost of sealing is measured: everything goes through as it is. */
export const createSealer: typeof real = () => ({
  seal: (_place, text) => text,
  unseal: (_place, text) => ({ kind: 'unsealed', text })
})

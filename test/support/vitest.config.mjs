import { fileURLToPath } from 'node:url'

const root = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url))

// Vitest finds the package in its sources, as other programs of the tests do, and leaves nothing behind.
export default {
  root: root('examples/testing'),
  cacheDir: root('.tap/vitest'),
  resolve: { alias: { 'fastify-webflow-oauth': root('lib/index.ts') } },
  test: { include: ['vitest.test.ts'] }
}

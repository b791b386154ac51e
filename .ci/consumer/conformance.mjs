// Runs the suite for stores with node:test, or with Vitest if VITEST is set.
import { MemoryStore } from 'fastify-webflow-oauth/stores/memory'
import { storeTests } from 'fastify-webflow-oauth/stores/conformance'

const { test } = await import(process.env.VITEST ? 'vitest' : 'node:test')

for (const { title, run } of storeTests({ createStore: () => new MemoryStore() })) test(title, run)

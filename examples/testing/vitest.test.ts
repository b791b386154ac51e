// npx vitest run examples/testing/vitest.test.ts
import type { FastifyInstance } from 'fastify'
import { expect, test as base } from 'vitest'
import { buildApp } from './app.ts'

// Each test that names `app` gets an app in which ada is connected to Webflow.
const test = base.extend<{ app: FastifyInstance }>({
  // eslint-disable-next-line no-empty-pattern -- Vitest wants a pattern here
  app: async ({}, use) => {
    const app = await buildApp({ introspect: false })
    await app.webflowOAuth.importToken({ accessToken: 'token-of-ada', user: 'ada' })
    await use(app)
    await app.close()
  }
})

test('a connected user gets the report', async ({ app }) => {
  const report = await app.inject({ url: '/report', headers: { 'x-user': 'ada' } })
  expect(report.json()).toEqual({ by: 'ada' })
})

test('a user who has not connected is told so', async ({ app }) => {
  const report = await app.inject({ url: '/report', headers: { 'x-user': 'grace' } })
  expect(report.json()).toMatchObject({ code: 'WEBFLOW_OAUTH_TOKEN_REQUIRED' })
})

test('a connection without the scope is not enough', async ({ app }) => {
  await app.webflowOAuth.importToken({ accessToken: 'narrow-token-of-grace', user: 'grace', scope: ['sites:read'] })
  const report = await app.inject({ url: '/report', headers: { 'x-user': 'grace' } })
  expect(report.json()).toMatchObject({ code: 'WEBFLOW_OAUTH_SCOPE_MISSING' })
})

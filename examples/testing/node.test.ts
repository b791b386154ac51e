// node --import tsx --test examples/testing/node.test.ts
import assert from 'node:assert/strict'
import test from 'node:test'
import type { ImportTokenOptions } from 'fastify-webflow-oauth'
import { buildApp } from './app.ts'

/** An app in which ada is connected to Webflow. With `introspect: false` nothing asks Webflow about the made-up token. */
async function connectedApp (token: Partial<ImportTokenOptions> = {}) {
  const app = await buildApp({ introspect: false })
  await app.webflowOAuth.importToken({ accessToken: 'token-of-ada', user: 'ada', ...token })
  return app
}

test('a connected user gets the report', async (t) => {
  const app = await connectedApp()
  t.after(() => app.close())
  const report = await app.inject({ url: '/report', headers: { 'x-user': 'ada' } })
  assert.deepEqual(report.json(), { by: 'ada' })
})

test('a user who has not connected is told so', async (t) => {
  const app = await connectedApp()
  t.after(() => app.close())
  const report = await app.inject({ url: '/report', headers: { 'x-user': 'grace' } })
  assert.equal(report.json().code, 'WEBFLOW_OAUTH_TOKEN_REQUIRED')
})

test('a connection without the scope is not enough', async (t) => {
  const app = await connectedApp({ scope: ['sites:read'] })
  t.after(() => app.close())
  const report = await app.inject({ url: '/report', headers: { 'x-user': 'ada' } })
  assert.equal(report.json().code, 'WEBFLOW_OAUTH_SCOPE_MISSING')
})

// Does what the quick start of the README does, against the simulator, with only the package and Fastify installed.
import assert from 'node:assert/strict'
import Fastify from 'fastify'
import webflowOAuth, { MemoryStore, WebflowOAuthError, webflowOAuth as named } from 'fastify-webflow-oauth'
import { MemoryStore as FromSubpath } from 'fastify-webflow-oauth/stores/memory'
import { RedisStore } from 'fastify-webflow-oauth/stores/redis'
import { SqliteStore } from 'fastify-webflow-oauth/stores/sqlite'
import { createSimulator } from 'fastify-webflow-oauth/simulator'

assert.equal(webflowOAuth, named)
assert.equal(MemoryStore, FromSubpath)
assert.equal(typeof RedisStore, 'function', 'the Redis store loads without ioredis')
// node:sqlite is there from Node 22.13 on.
const openSqlite = async () => {
  const store = new SqliteStore({ path: ':memory:' })
  assert.equal(await store.set('key', 'value', { expiresAt: Date.now() + 60_000, if: null }), true)
  assert.equal(await store.get('key'), 'value')
  store.close()
}
if (process.getBuiltinModule('node:sqlite')) await openSqlite()
else await assert.rejects(openSqlite, { code: 'SQLITE_STORE_NEEDS_NODE' })

const app = { clientId: 'a'.repeat(64), clientSecret: 'b'.repeat(64), redirectUris: ['http://localhost/webflow/callback'], scope: ['sites:read'] }
const webflow = createSimulator({ app })
await webflow.listen()
const fastify = Fastify()
await fastify.register(webflowOAuth, {
  clientId: app.clientId,
  clientSecret: app.clientSecret,
  redirectUri: app.redirectUris[0],
  scope: app.scope,
  secret: 'c'.repeat(32),
  endpoints: webflow.endpoints
})
fastify.get('/', { preHandler: fastify.webflowOAuth.requireToken() }, async (request) => fastify.webflowOAuth.tokenOf(request).scope)
const cookie = (response) => response.cookies.filter(({ maxAge }) => maxAge !== 0).map(({ name, value }) => `${name}=${value}`).join('; ')
const begun = await fastify.inject('/webflow/authorize')
const back = new URL(await webflow.approve(begun.headers.location))
const connected = await fastify.inject({ url: back.pathname + back.search, headers: { cookie: cookie(begun) } })
assert.equal(connected.statusCode, 303)
assert.deepEqual((await fastify.inject({ url: '/', headers: { cookie: cookie(connected) } })).json(), ['sites:read'])
assert.equal((await fastify.inject('/')).statusCode, 401)
await assert.rejects(async () => { await Fastify().register(webflowOAuth, {}) }, WebflowOAuthError)
await fastify.close()
await webflow.close()
console.log('import: connects and guards')

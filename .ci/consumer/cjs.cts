// The same from a CommonJS module, through Node's `require(esm)`: compiled and run.
import assert = require('node:assert/strict')
import Fastify = require('fastify')
import plugin = require('fastify-webflow-oauth')
import simulator = require('fastify-webflow-oauth/simulator')
import conformance = require('fastify-webflow-oauth/stores/conformance')
import redis = require('fastify-webflow-oauth/stores/redis')
import sqlite = require('fastify-webflow-oauth/stores/sqlite')

const fastify = Fastify.fastify()
fastify.register(plugin.default, { clientId: 'a', clientSecret: 'b', redirectUri: 'https://app.example.com/webflow/callback', scope: ['sites:read'], secret: '0'.repeat(32) })
fastify.get('/', async (request) => {
  const token: plugin.WebflowToken | null = request.webflowToken
  return token?.id ?? plugin.WebflowOAuthError.name
})
assert.equal(plugin.default, plugin.webflowOAuth)
assert.equal(typeof redis.RedisStore, 'function')
assert.equal(typeof sqlite.SqliteStore, 'function')
assert.equal(typeof simulator.createSimulator, 'function')
assert.ok(conformance.storeTests({ createStore: () => new plugin.MemoryStore() }).length > 20)
fastify.inject('/').then(({ body }) => {
  assert.equal(body, 'WebflowOAuthError')
  console.log('require: loads and serves')
}, (error: unknown) => {
  console.error(error)
  process.exitCode = 1
})

import { Redis } from 'ioredis'
import t from 'tap'
import { RedisStore } from '../stores/redis.ts'
import { assertNothingLeaked, connect, createApp, startWebflow } from './support/app.ts'
import { Browser } from './support/browser.ts'
import { findRedis, startRedis, type RedisServer } from './support/redis-server.ts'

const present = findRedis() !== null

if (!present) {
  t.comment('No redis-server on PATH: replicas on a real Redis are left out')
  t.not(process.env.REQUIRE_REDIS, '1', 'a redis-server is not required')
}

if (present) {
  let redis: RedisServer
  t.before(async () => { redis = await startRedis() })
  t.teardown(() => redis.stop())

  /** Builds replicas of one app, each with a connection of its own. */
  const createReplicas = async (t: Parameters<typeof createApp>[0], webflow: Awaited<ReturnType<typeof startWebflow>>, { count, options = {} }: { count: number, options?: object }) => {
    return await Promise.all(Array.from({ length: count }, async () => {
      const client = new Redis(redis.port)
      client.on('error', () => {})
      t.teardown(() => client.disconnect())
      return await createApp(t, { webflow, options: { store: new RedisStore({ client }), ...options } })
    }))
  }

  t.test('any replica can begin and finish a flow, and use and revoke its token', async (t) => {
    const webflow = await startWebflow(t)
    const [one, two, three, four] = await createReplicas(t, webflow, { count: 4 })
    t.ok(one && two && three && four)
    if (one === undefined || two === undefined || three === undefined || four === undefined) return
    const browser = new Browser(one)
    const { location } = await browser.navigate('/webflow/authorize')
    const second = browser.clone(two)
    t.equal((await second.navigate(await webflow.approve(String(location)))).statusCode, 303)
    t.equal((await second.clone(three).get('/token')).json().connected, true)
    t.equal((await second.clone(four).request('/webflow/revoke', { method: 'POST' })).json().revoked, true)
    t.equal((await second.clone(one).get('/token')).json().connected, false)
  })

  t.test('of ten callbacks at the same moment on ten replicas one exchanges the code, and all give the same session', async (t) => {
    const webflow = await startWebflow(t)
    const replicas = await createReplicas(t, webflow, { count: 10 })
    const [first] = replicas
    if (first === undefined) return
    const browser = new Browser(first)
    const { location } = await browser.navigate('/webflow/authorize')
    const url = await webflow.approve(String(location))
    const answers = await Promise.all(replicas.map((replica) => browser.clone(replica).navigate(url)))
    t.strictSame(new Set(answers.map(({ statusCode }) => statusCode)), new Set([303]))
    t.equal(new Set(answers.map(({ cookies }) => cookies.find(({ name }) => name === '__Host-webflow')?.value)).size, 1)
    t.equal(webflow.requests.token.length, 1)
  })

  t.test('a reader of the Redis sees no token, no cookie and no state', async (t) => {
    const reader = new Redis(redis.port)
    t.teardown(() => reader.disconnect())
    // The tokens of other tests are unknown to this Webflow, and would be forgotten while the keys are read.
    await reader.flushall()
    const webflow = await startWebflow(t)
    const [app] = await createReplicas(t, webflow, { count: 1 })
    if (app === undefined) return
    const browser = new Browser(app)
    await connect(browser, webflow)
    const { accessToken } = (await browser.get('/token')).json()
    const keys = await reader.keys('*')
    const contents = keys.map(async (key) => await reader.type(key) === 'zset' ? (await reader.zrange(key, 0, -1)).join('\n') : String(await reader.get(key)))
    const dump = keys.concat(await Promise.all(contents)).join('\n')
    t.ok(keys.some((key) => key.startsWith('webflow:token:')) && keys.some((key) => key.startsWith('webflow:flow:')))
    t.ok(keys.some((key) => key.startsWith('webflow:tag:')))
    const [ada, engine] = ['545bbecb7bdd6769632504a7', '62f3b1f7eafac55d0c64ef91']
    for (const hidden of [accessToken, browser.cookies.get('__Host-webflow'), ada, engine]) t.notOk(dump.includes(String(hidden)))
    for (const key of keys) t.ok(await reader.pttl(key) > 0, 'everything ends by itself')
  })

  t.test('a frozen Redis is an outage, not a logout, and ends with the freeze', async (t) => {
    const webflow = await startWebflow(t)
    const [app] = await createReplicas(t, webflow, { count: 1, options: { storeTimeout: 250 } })
    if (app === undefined) return
    const browser = new Browser(app)
    await connect(browser, webflow)
    const { location } = await browser.navigate('/webflow/authorize')
    const url = await webflow.approve(String(location))
    redis.pause()
    t.teardown(() => redis.resume())
    t.equal((await browser.get('/token')).statusCode, 503)
    t.equal((await browser.get(url)).statusCode, 503)
    redis.resume()
    let answer = await browser.get('/token')
    for (let tries = 0; answer.statusCode === 503 && tries < 200; tries++) {
      await new Promise((resolve) => { setTimeout(resolve, 20) })
      answer = await browser.get('/token')
    }
    t.equal(answer.json().connected, true)
    t.equal((await browser.navigate(url)).statusCode, 303, 'the code was not spent')
  })

  t.test('a claim that Redis carries out after it was reported as failed does not use up the flow', async (t) => {
    const webflow = await startWebflow(t)
    const [app] = await createReplicas(t, webflow, { count: 1, options: { storeTimeout: 250 } })
    if (app === undefined) return
    const browser = new Browser(app)
    const { location } = await browser.navigate('/webflow/authorize')
    const url = await webflow.approve(String(location))
    redis.pause()
    t.teardown(() => redis.resume())
    t.equal((await browser.get(url)).statusCode, 503)
    redis.resume()
    let answer = await browser.navigate(url)
    for (let tries = 0; answer.statusCode === 503 && tries < 200; tries++) {
      await new Promise((resolve) => { setTimeout(resolve, 20) })
      answer = await browser.navigate(url)
    }
    t.equal(answer.statusCode, 303)
    t.equal(webflow.requests.token.length, 1)
  })

  t.test('such a claim does not use up the flow for another replica either', async (t) => {
    const webflow = await startWebflow(t)
    const [one, two] = await createReplicas(t, webflow, { count: 2, options: { storeTimeout: 250 } })
    if (one === undefined || two === undefined) return
    const browser = new Browser(one)
    const { location } = await browser.navigate('/webflow/authorize')
    const url = await webflow.approve(String(location))
    redis.pause()
    t.teardown(() => redis.resume())
    t.equal((await browser.clone(two).get(url)).statusCode, 503)
    redis.resume()
    t.equal((await browser.navigate(url)).statusCode, 303)
    t.equal(webflow.requests.token.length, 1)
  })

  t.test('a Redis that is gone is an outage', async (t) => {
    const webflow = await startWebflow(t)
    const client = new Redis({ port: 1, lazyConnect: true, maxRetriesPerRequest: 0, retryStrategy: () => null })
    client.on('error', () => {})
    const browser = new Browser(await createApp(t, { webflow, options: { store: new RedisStore({ client }) } }))
    const { location } = await browser.navigate('/webflow/authorize')
    const answer = await browser.get(await webflow.approve(String(location)))
    t.equal(answer.statusCode, 503)
    t.equal(answer.json().code, 'WEBFLOW_OAUTH_STORE_UNAVAILABLE')
    t.equal(webflow.requests.token.length, 0)
  })

  t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })
}

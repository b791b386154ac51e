import { setTimeout as sleep } from 'node:timers/promises'
import { Cluster, Redis } from 'ioredis'
import t, { type Test } from 'tap'
import type { Simulator } from '../../lib/simulator/index.ts'
import { RedisStore, type RedisClient } from '../../stores/redis.ts'
import { assertNothingLeaked, clientId, clientSecret, redirectUri, scope, secret, startWebflow } from '../support/app.ts'
import { RemoteBrowser, startChildApp, type ChildApp, type ChildConfig } from '../support/child-app.ts'
import { downAfter, startSentinel, type RedisSentinel } from '../support/redis-sentinel.ts'
import { nodeTimeout, startCluster, until, type RedisCluster, type RedisNode } from '../support/redis-cluster.ts'
import { findRedis } from '../support/redis-server.ts'
import { testStore } from '../support/strict-store-tests.ts'

const storeTimeout = 1000
/** The longest that a failover may take on a busy machine, in milliseconds. */
const patience = 40_000
const rows: string[] = []
let prefixes = 0

if (findRedis() === null) {
  if (process.env.REQUIRE_REDIS === '1') t.fail('REQUIRE_REDIS=1, but there is no redis-server on PATH')
  else t.comment('no redis-server on PATH: cluster and Sentinel were left out')
} else {
  t.test('on a cluster of three masters and three replicas', async (t) => {
    const cluster = await startCluster()
    t.teardown(() => cluster.stop())
    // Before anybody else: ioredis trips over what a node reports while it becomes a monitor.
    const spy = await watch(t, cluster)
    const client = new Cluster(cluster.ports.map((port) => ({ host: '127.0.0.1', port })))
    client.on('error', () => {})
    t.teardown(() => client.disconnect())
    await contract(t, 'Cluster', client)

    await t.test('every command goes to the node of its one key', async (t) => {
      const commands = await spy()
      const own = commands.filter(({ key }) => key.startsWith('contract '))
      t.ok(own.length > 1000, `${own.length} commands were seen`)
      t.equal(new Set(own.map(({ port }) => port)).size, 3, 'on all three masters')
      const served = new Map<string, Set<number>>()
      for (const { key, port } of own) served.set(key, (served.get(key) ?? new Set()).add(port))
      t.strictSame([...served.values()].filter((ports) => ports.size !== 1), [], 'no key on two nodes')
      t.strictSame(own.filter(({ keys }) => keys !== 1), [], 'no command with two keys')
      t.strictSame([...new Set(own.map(({ name }) => name))].sort(), ['del', 'eval', 'get', 'set'])
      rows.push(`| cluster: contract suite | green; ${own.length} commands on 3 masters, each with one key on the node of its slot |`)
    })

    await t.test('any process connects, uses and revokes', async (t) => {
      const { webflow, one, two } = await startPair(t, { redis: { nodes: cluster.ports } })
      await connectUseRevoke(t, webflow, one.url, two.url)
    })

    await t.test('a master that dies in the middle of traffic is an outage and no logout', async (t) => {
      const { webflow, one, two } = await startPair(t, { redis: { nodes: cluster.ports } })
      const people = await connectMany(webflow, [one.url, two.url], 40)
      const keys = people.map(({ key }) => key)
      const places = await Promise.all(keys.map((key) => cluster.masterOf(key)))
      const { master, replicas } = places[0] ?? await cluster.masterOf('any')
      const here = people.filter((_, index) => places[index]?.master === master)
      t.ok(here.length > 0 && here.length < people.length, `${here.length} of ${people.length} tokens are on the master that dies`)
      await settled(t, master, replicas)
      await outage(t, 'cluster', { webflow, apps: [one, two], people, kill: () => master.kill(), unaffected: people.filter((person) => !here.includes(person)) })
    })

    await t.test('and the contract holds on the cluster that is left', async (t) => {
      await contract(t, 'Cluster after a failover', client)
    })
  })

  t.test('behind Sentinel', async (t) => {
    const sentinel = await startSentinel()
    t.teardown(() => sentinel.stop())
    const client = clientOf(sentinel)
    client.on('error', () => {})
    t.teardown(() => client.disconnect())
    await contract(t, 'Sentinel', client)

    await t.test('any process connects, uses and revokes', async (t) => {
      const { webflow, one, two } = await startPair(t, { redis: { sentinels: sentinel.ports, name: sentinel.name } })
      await connectUseRevoke(t, webflow, one.url, two.url)
    })

    await t.test('a master that dies in the middle of traffic is an outage and no logout', async (t) => {
      const { webflow, one, two } = await startPair(t, { redis: { sentinels: sentinel.ports, name: sentinel.name } })
      const people = await connectMany(webflow, [one.url, two.url], 20)
      await settled(t, sentinel.master, [sentinel.replica])
      await outage(t, 'Sentinel', { webflow, apps: [one, two], people, kill: () => sentinel.master.kill(), unaffected: [] })
    })

    await t.test('and the contract holds on the replica that took over', async (t) => {
      await contract(t, 'Sentinel after a failover', client)
    })
  })

  t.test('nothing that was logged or answered holds a secret', async (t) => { assertNothingLeaked(t) })

  t.teardown(() => {
    t.comment('| what | outcome |')
    t.comment('| --- | --- |')
    for (const row of rows) t.comment(row)
  })
}

function clientOf ({ ports, name }: RedisSentinel): Redis {
  return new Redis({ sentinels: ports.map((port) => ({ host: '127.0.0.1', port })), name })
}

async function contract (t: Test, name: string, client: RedisClient): Promise<void> {
  await testStore(t, `RedisStore on ${name}`, { createStore: () => new RedisStore({ client, keyPrefix: `contract ${++prefixes}:` }) })
}

interface Command { port: number, name: string, key: string, keys: number }

/** Watches what clients send to every node; what scripts do inside is left out. */
async function watch (t: Test, { nodes }: RedisCluster): Promise<() => Promise<Command[]>> {
  const commands: Command[] = []
  const ends: string[] = []
  await Promise.all(nodes.map(async ({ client, port }) => {
    const monitor = await client.monitor()
    monitor.on('error', () => {})
    t.teardown(() => monitor.disconnect())
    monitor.on('monitor', (_time: string, [name = '', ...args]: string[], source: string) => {
      const word = name.toLowerCase()
      if (word === 'ping' && args[0] === 'end') ends.push(String(port))
      if (source === 'lua' || !['get', 'set', 'del', 'eval', 'evalsha', 'mget', 'mset', 'unlink', 'keys', 'scan'].includes(word)) return
      commands.push({ port, name: word, key: (word === 'eval' ? args[2] : args[0]) ?? '', keys: word === 'eval' ? Number(args[1]) : word === 'del' ? args.length : 1 })
    })
  }))
  return async () => {
    await Promise.all(nodes.map(({ client }) => client.ping('end')))
    await until('the last of the commands', async () => ends.length >= nodes.length)
    // A replica repeats what its master did.
    const roles = await Promise.all(nodes.map(async ({ client, port }) => ({ port, role: String(await client.info('replication')) })))
    return commands.filter(({ port }) => roles.some((node) => node.port === port && node.role.includes('role:master')))
  }
}

async function startPair (t: Test, config: Partial<ChildConfig>) {
  const webflow = await startWebflow(t)
  const options = { clientId, clientSecret, redirectUri, scope, secret, endpoints: webflow.endpoints, timeout: 3000, storeTimeout, ...config }
  const [one, two] = await Promise.all([startChildApp(t, options), startChildApp(t, options)])
  // The clients find their way first: until then the store is an outage.
  await Promise.all([one, two].map(({ url }) => until('an app that has found its master', async () => {
    const browser = new RemoteBrowser(url, { cookies: new Map([['__Host-webflow', 'a'.repeat(43)]]) })
    return (await browser.get('/token')).status === 200
  })))
  return { webflow, one, two }
}

async function connectUseRevoke (t: Test, webflow: Simulator, one: string, two: string): Promise<void> {
  const browser = new RemoteBrowser(one)
  const url = await browser.approve(webflow)
  const other = browser.at(two)
  t.equal((await other.get(url)).status, 303)
  t.equal((await other.at(one).get('/token')).json.connected, true)
  t.strictSame((await other.at(one).post('/webflow/revoke')).json, { revoked: true, upstream: 'revoked' })
  t.equal((await other.get('/token')).json.connected, false)
}

interface Person { browser: RemoteBrowser, accessToken: unknown, key: string }

async function connectOne (webflow: Simulator, url: string): Promise<Person | null> {
  const browser = new RemoteBrowser(url)
  const answer = await browser.connect(webflow)
  if (answer.status !== 303) return null
  const { json } = await browser.get('/token')
  return { browser, accessToken: json.accessToken, key: `webflow:token:${json.id}` }
}

async function connectMany (webflow: Simulator, urls: readonly string[], count: number): Promise<Person[]> {
  const people: Person[] = []
  for (let tries = 0; people.length < count && tries < 3 * count; tries++) {
    const person = await connectOne(webflow, urls[people.length % urls.length] ?? '')
    if (person !== null) people.push(person)
  }
  return people
}

/** Proves that all that a master has written so far is on its replicas. */
async function settled (t: Test, master: RedisNode, replicas: readonly RedisNode[]): Promise<void> {
  t.equal(replicas.length, 1)
  const offset = Number(/master_repl_offset:(\d+)/.exec(await master.client.info('replication'))?.[1])
  for (const { client } of replicas) {
    await until('a replica in step', async () => Number(/slave_repl_offset:(\d+)/.exec(await client.info('replication'))?.[1]) >= offset)
  }
}

interface Outage {
  webflow: Simulator
  apps: readonly ChildApp[]
  /** Those whose tokens are replicated. */
  people: readonly Person[]
  /** Those among them whose tokens are on masters that live. */
  unaffected: readonly Person[]
  kill: () => Promise<void>
}

/** Kills a master under traffic; tests what everybody sees until all tokens are served again. */
async function outage (t: Test, where: string, { webflow, apps, people, unaffected, kill }: Outage): Promise<void> {
  const seen = { served: 0, refused: 0, refusedElsewhere: 0, slowest: 0, connects: 0, refusedConnects: 0, lastRefusal: 0 }
  const wrong: unknown[] = []
  const fresh: Array<Person & { began: number }> = []
  const stop = new AbortController()
  const began = performance.now()

  const read = async (person: Person, index: number): Promise<void> => {
    const tabs = apps.map(({ url }) => person.browser.at(url))
    for (let round = index; !stop.signal.aborted; round++) {
      const { status, json, took } = await (tabs[round % tabs.length] ?? person.browser).get('/token')
      seen.slowest = Math.max(seen.slowest, took)
      if (status === 200 && json.connected === true && json.accessToken === person.accessToken) {
        seen.served++
      } else if (isOutage(status, json)) {
        seen.refused++
        if (unaffected.includes(person)) seen.refusedElsewhere++
        seen.lastRefusal = performance.now()
      } else {
        wrong.push({ reader: status, connected: json.connected, code: json.code })
      }
      await sleep(100)
    }
  }
  const connect = async (): Promise<void> => {
    for (let round = 0; !stop.signal.aborted; round++) {
      const browser = new RemoteBrowser(apps[round % apps.length]?.url ?? '')
      const url = await browser.approve(webflow)
      const began = performance.now()
      const { status, json } = await browser.get(url)
      seen.connects++
      if (status === 303) {
        const { json } = await browser.get('/token')
        fresh.push({ browser, began, accessToken: json.accessToken ?? null, key: '' })
      } else if (isOutage(status, json)) {
        seen.refusedConnects++
      } else {
        wrong.push({ newcomer: status, code: json.code })
      }
      await sleep(50)
    }
  }

  const traffic = Promise.all([...people.map(read), connect(), connect()])
  await sleep(1000)
  const refusedBefore = seen.refused
  const killed = performance.now()
  await kill()
  const dead = performance.now()
  // Until an outage was seen and nobody was refused for two seconds.
  while (performance.now() - began < patience && (seen.lastRefusal < killed || performance.now() - seen.lastRefusal < 2000)) await sleep(50)
  stop.abort()
  await traffic

  const lasted = Math.round(seen.lastRefusal - killed)
  t.equal(refusedBefore, 0, 'before, nobody is refused')
  t.strictSame(wrong, [], 'a token or STORE_UNAVAILABLE, nothing else, and never a logout')
  t.ok(seen.refused > 0, `${seen.refused} requests were refused`)
  t.ok(seen.slowest < storeTimeout + 3000, `the slowest answer came after ${Math.round(seen.slowest)} ms, the deadline is ${storeTimeout} ms`)
  t.ok(lasted < patience - 2000, `the outage lasted ${lasted} ms`)

  const kept = async ({ browser, accessToken }: Person): Promise<boolean> => {
    const { status, json } = await browser.get('/token')
    t.equal(status, 200)
    // Null: it could not be read when it was new.
    t.ok(json.connected === false || accessToken === null || json.accessToken === accessToken, 'nobody has the token of another')
    return json.connected === true
  }
  t.strictSame(await Promise.all(people.map(kept)), people.map(() => true), 'every token that was replicated before is there')
  const afterwards = fresh.filter(({ began }) => began > dead)
  t.ok(afterwards.length > 0)
  t.strictSame(await Promise.all(afterwards.map(kept)), afterwards.map(() => true), 'every token that was acknowledged after the death is there')
  // Redis acknowledges before it replicates: of what it took in its last moment it may lose some.
  const between = await Promise.all(fresh.filter(({ began }) => began <= dead).map(kept))
  const lost = between.filter((connected) => !connected).length

  // Whatever Webflow has issued was acknowledged, or the log names it.
  const said = apps.map((app) => app.output().split('a token that Webflow has issued could not be stored').length - 1).reduce((sum, lines) => sum + lines)
  t.equal(webflow.requests.token.length, people.length + fresh.length + said, `${webflow.requests.token.length} exchanges: ${people.length + fresh.length} acknowledged, ${said} in the log as not stored`)
  t.equal((await connectMany(webflow, apps.map(({ url }) => url), 1)).length, 1, 'and people connect again')
  rows.push(`| ${where}: master killed under traffic | ${seen.served} answers with the token, ${seen.refused} × 503 STORE_UNAVAILABLE (${seen.refusedElsewhere} of them for tokens on masters that lived), ${wrong.length} others |`)
  rows.push(`| ${where}: how long | ${lasted} ms to the last 503 (${where === 'cluster' ? `node timeout ${nodeTimeout}` : `down after ${downAfter}`} ms); slowest answer ${Math.round(seen.slowest)} ms with a \`storeTimeout\` of ${storeTimeout} ms |`)
  rows.push(`| ${where}: what is left | ${people.length} of ${people.length} replicated tokens, ${afterwards.length} of ${afterwards.length} acknowledged after the death, ${between.length - lost} of ${between.length} of the second before (not proven to be replicated) |`)
  rows.push(`| ${where}: connecting meanwhile | ${seen.connects} callbacks, ${seen.refusedConnects} × 503; ${said} tokens were issued and not stored, each in the log |`)
}

function isOutage (status: number, json: Record<string, unknown>): boolean {
  return status === 503 && json.code === 'WEBFLOW_OAUTH_STORE_UNAVAILABLE'
}

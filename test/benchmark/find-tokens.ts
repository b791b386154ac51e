/**
 * What `findTokens` costs at 10, 1,000 and 100,000 stored tokens on both stores: it must stay flat.
 *
 *   node --import tsx test/benchmark/find-tokens.ts     a minute or two
 *
 * Every round runs all contenders in a new order, and a ratio compares two runs of one round: what slows the machine
 * down for a while slows both. The control is a second instance of the smallest size; its ratios are nothing but noise.
 * At every size the same few sites are looked for. What "in turn" costs beyond that, with another site for each call,
 * is mostly the reading of memory that no cache of the processor holds.
 */
import { randomBytes } from 'node:crypto'
import { mock } from 'node:test'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import webflowOAuth, { MemoryStore, type TokenStore, type WebflowOAuthOptions } from '../../lib/index.ts'
import { RedisStore } from '../../stores/redis.ts'
import { freePort } from '../support/free-port.ts'
import { startRedis } from '../support/redis-server.ts'
import { createSecondInstance } from './second-instance.ts'

// Many short rounds: other work on the machine spoils some of them, and medians leave those out.
const rounds = 25
const callsOf = { MemoryStore: 1000, RedisStore: 120 }
const writtenAtOnce = 200
const flatBelow = 1.25

/** An instance of the plugin on a store of its own. */
type Subject = Awaited<ReturnType<typeof createSubject>>

/** A call that is measured. */
interface Contender {
  title: string
  subject: Subject
  /** How many tokens open a site. */
  found: 1 | 5
  site: (turn: number) => string
  /** By round: microseconds of a call, and those that Redis itself worked for it. */
  times: { call: number[], redis: number[] }
  /** What one call asks of the store, and of Redis. */
  asks: { store: string, redis: string }
}

const cleanups: Array<() => unknown> = []
// Nobody listens there: a call to Webflow would fail, and Webflow has told of all tokens, so that there is none.
const nowhere = `http://127.0.0.1:${await freePort()}`

async function createSubject (name: keyof typeof callsOf, size: number) {
  // A server for each size: the small one does not pay for what the large one holds.
  const server = name === 'RedisStore' ? await startRedis() : null
  const redis = server && new Redis(server.port, '127.0.0.1')
  cleanups.push(() => server?.stop(), () => redis?.disconnect())
  const asked = new Map<string, number>()
  const options: WebflowOAuthOptions = {
    clientId: 'c'.repeat(64),
    clientSecret: 'd'.repeat(64),
    secret: 's'.repeat(32),
    redirectUri: 'https://app.example.com/webflow/callback',
    scope: ['sites:read'],
    store: counting(redis === null ? new MemoryStore({ maxEntries: 2 * size }) : new RedisStore({ client: redis }), asked),
    endpoints: { authorize: `${nowhere}/authorize`, token: `${nowhere}/token`, revoke: `${nowhere}/revoke` }
  }
  const app = Fastify()
  await app.register(webflowOAuth, options)
  const { records, webflow } = await createSecondInstance(options, app.log)
  cleanups.push(() => app.close(), () => webflow.close())

  const write = async (number: number, siteId: string, tokenId = randomBytes(32).toString('base64url')) => {
    const created = records.create({ accessToken: `token-${number}`, tokenType: 'bearer', scope: null, expiresIn: null }, ['sites:read'], Date.now())
    const authorization = { id: idOf('a', number), siteIds: [siteId], workspaceIds: [], userIds: [idOf('b', number)], scope: created.scope, createdOn: new Date() }
    await records.write(tokenId, { ...created, authorization, askedAt: created.createdAt, complete: true })
    return tokenId
  }
  // Of every ten tokens five open a site of their own, and the five between them open one site together.
  for (let first = 0; first < size; first += writtenAtOnce) {
    const numbers = Array.from({ length: Math.min(writtenAtOnce, size - first) }, (_, index) => first + index)
    await Promise.all(numbers.map((number) => write(number, number % 2 === 0 ? ownSite(number) : sharedSite(number))))
  }
  return { name, redis, asked, records, write, find: app.webflowOAuth.findTokens }
}

/** Counts the calls to a store by their names. */
function counting (store: Required<Omit<TokenStore, 'isSynchronous'>>, asked: Map<string, number>): TokenStore {
  const count = (name: string) => asked.set(name, (asked.get(name) ?? 0) + 1)
  return {
    get: (key) => { count('get'); return store.get(key) },
    getSync: (key) => store.getSync(key),
    getMany: (keys) => { count('getMany'); return store.getMany(keys) },
    set: (key, value, options) => { count('set'); return store.set(key, value, options) },
    delete: (key, options) => { count('delete'); return store.delete(key, options) },
    find: (tag, options) => { count('find'); return store.find(tag, options) }
  }
}

const idOf = (kind: string, number: number) => kind + number.toString(16).padStart(23, '0')
const ownSite = (number: number) => idOf('c', number)
const sharedSite = (number: number) => idOf('d', Math.floor(number / 10))

/** Looks for the sites of the first so many tokens, by a prime stride through the store. */
function createContender (subject: Subject, title: string, found: Contender['found'], tokens = 10): Contender {
  const site = (turn: number) => found === 1 ? ownSite(turn * 7919 * 2 % tokens) : sharedSite(turn * 7919 * 10 % tokens)
  return { title, subject, found, site, times: { call: [], redis: [] }, asks: { store: '', redis: '' } }
}

async function runOnce ({ subject, site, found, times, asks }: Contender): Promise<void> {
  const { name, redis, asked, find } = subject
  const calls = callsOf[name]
  const siteIds = Array.from({ length: calls }, (_, turn) => site(times.call.length * calls + turn))
  const perCall = (counts: Iterable<readonly [string, number]>) => [...counts].map(([name, count]) => `${name} ${count / calls}`).sort().join(', ')
  asked.clear()
  await redis?.config('RESETSTAT')
  const started = performance.now()
  for (const siteId of siteIds) {
    const { length } = await find({ siteId })
    if (length !== found) throw new Error(`${name} found ${length} tokens instead of ${found}`)
  }
  times.call.push((performance.now() - started) * 1000 / calls)
  asks.store = perCall(asked)
  const lines = [...(await redis?.info('commandstats') ?? '').matchAll(/^cmdstat_(?!config|info)(.+?):calls=(\d+),usec=(\d+)/gm)]
  asks.redis = perCall(lines.map(([, command = '', count]) => [command, Number(count)] as const))
  // The time of `eval` includes that of the commands inside its script.
  const sent = lines.filter(([, command = '']) => ['eval', 'get', 'mget'].includes(command))
  times.redis.push(sent.reduce((sum, [, , , microseconds]) => sum + Number(microseconds), 0) / calls)
}

/** Measures contenders, all of them in each round. The first round only warms up. */
async function measure (contenders: readonly Contender[]): Promise<void> {
  for (let round = 0; round <= rounds; round++) {
    const order = contenders.map((contender) => ({ contender, at: Math.random() })).sort((a, b) => a.at - b.at)
    for (const { contender } of order) await runOnce(contender)
    if (round === 0) for (const { times } of contenders) times.call.length = times.redis.length = 0
  }
}

const quantile = (list: readonly number[], share = 0.5) => list.toSorted((a, b) => a - b)[Math.floor((list.length - 1) * share)] ?? NaN

/** Prints contenders against the first of them; the second is the control. */
function report ([base, control, ...others]: readonly Contender[]): void {
  if (base === undefined || control === undefined) throw new RangeError('nothing to compare with')
  const cell = (contender: Contender, kind: keyof Contender['times']) => {
    const ratiosOf = ({ times }: Contender) => times[kind].map((time, round) => time / (base.times[kind][round] ?? NaN))
    const ratios = ratiosOf(contender)
    const median = quantile(ratios)
    const verdict = contender === base ? '' : contender === control ? 'noise' : median < Math.max(flatBelow, quantile(ratiosOf(control), 0.75)) ? 'flat' : 'NOT FLAT'
    const range = [0.25, 0.75].map((share) => quantile(ratios, share).toFixed(2)).join('-')
    return `${quantile(contender.times[kind]).toFixed(0).padStart(5)} ${median.toFixed(2).padStart(5)} (${range}) ${verdict}`
  }
  for (const contender of [base, control, ...others]) {
    const { title, subject, found, asks } = contender
    const columns = [subject.name.padEnd(11), title.padEnd(22), String(found).padStart(5), cell(contender, 'call').padEnd(33), asks.store]
    if (subject.redis !== null) columns.push(cell(contender, 'redis').padEnd(33), asks.redis)
    console.log(columns.join('  '))
  }
}

try {
  console.log(`Medians of ${rounds} rounds, in parentheses the middle half of the ratios; flat is below ${flatBelow} or within that of the noise.
Redis commands besides eval, get and mget run inside the scripts.`)
  const groups: Contender[][] = []
  for (const name of ['MemoryStore', 'RedisStore'] as const) {
    const large = await createSubject(name, 100_000)
    const rows = [
      { title: '10', subject: await createSubject(name, 10) },
      { title: '10, control', subject: await createSubject(name, 10) },
      { title: '1,000', subject: await createSubject(name, 1000) },
      { title: '100,000', subject: large },
      { title: '100,000 in turn', subject: large, tokens: 100_000 }
    ]
    for (const found of [1, 5] as const) groups.push(rows.map(({ title, subject, tokens }) => createContender(subject, title, found, tokens)))
  }
  await measure(groups.flat())
  console.log(`\nfindTokens({ siteId }), against 10 tokens on the same store
store        stored tokens           found  µs a call, ratio                   store calls    µs of Redis, ratio                 Redis commands`)
  groups.forEach(report)

  const subject = await createSubject('RedisStore', 1000)
  const staleSite = idOf('e', 0)
  await subject.write(1000, staleSite)
  for (let number = 1001; number <= 1100; number++) {
    const tokenId = await subject.write(number, staleSite)
    // Half of them are written over by a token that opens another site, half have gone.
    await (number % 2 === 0 ? subject.write(number, ownSite(number), tokenId) : subject.records.drop(tokenId))
  }
  const compareStale = async (title: string) => {
    const clean = ['none stale', 'none stale, control'].map((title) => createContender(subject, title, 1))
    const group = [...clean, { ...createContender(subject, title, 1), site: () => staleSite }]
    await measure(group)
    report(group)
  }
  console.log('\nA site whose tag has 100 stale members, against other sites of the same 1,000 tokens')
  await compareStale('100 stale, not dropped')
  // What was stale a minute ago, too, goes with the next search.
  const later = Date.now() + 61_000
  const { mock: clock } = mock.method(Date, 'now', () => later)
  await subject.find({ siteId: staleSite })
  clock.restore()
  await compareStale('100 stale, dropped')
} finally {
  for (const cleanup of cleanups.reverse()) await cleanup()
}

import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import type { BehaviorOptions } from '../../lib/simulator/index.ts'
import { assertNothingLeaked, clientId, clientSecret, redirectUri, scope, secret, startWebflow } from '../support/app.ts'
import { RemoteBrowser, startChildApp, type ChildConfig } from '../support/child-app.ts'
import { findRedis, startRedis, type RedisServer } from '../support/redis-server.ts'

/** How long one kind of race is run, in milliseconds. `RACE_SECONDS` runs them for longer. */
const span = Number(process.env.RACE_SECONDS ?? 5) * 1000
const session = '__Host-webflow'
const rows: Array<{ race: string, rounds: number, outcomes: Map<string, number> }> = []

if (findRedis() === null) {
  if (process.env.REQUIRE_REDIS === '1') t.fail('REQUIRE_REDIS=1, but there is no redis-server on PATH')
  else t.comment('no redis-server on PATH: the races were left out')
} else {
  let redis: RedisServer
  let client: Redis
  t.before(async () => {
    redis = await startRedis()
    client = new Redis(redis.url)
  })
  t.teardown(async () => {
    client.disconnect()
    await redis.stop()
  })

  /** Starts two processes of one app on one Redis. */
  const startPair = async (t: Test, config: Partial<ChildConfig> = {}, behavior: BehaviorOptions = {}) => {
    await client.flushall()
    const webflow = await startWebflow(t, behavior)
    const options = { clientId, clientSecret, redirectUri, scope, secret, endpoints: webflow.endpoints, redis: { port: redis.port }, ...config }
    const [one, two] = await Promise.all([startChildApp(t, options), startChildApp(t, options)])
    return { webflow, one, two }
  }

  t.test('of the same callback on two processes at once one exchanges the code, and both give the same session', async (t) => {
    const { webflow, one, two } = await startPair(t)
    const wrong: unknown[] = []
    await race('the same callback on both', 4, async (round) => {
      const browser = new RemoteBrowser(one.url)
      const url = await browser.approve(webflow)
      const other = browser.at(two.url)
      const answers = await Promise.all([browser.get(url), pause(round).then(() => other.get(url))])
      const cookies = [browser.cookies.get(session), other.cookies.get(session)]
      const code = new URL(url).searchParams.get('code')
      const exchanges = webflow.requests.token.filter(({ parameters }) => parameters.code === code).length
      const connected = (await other.get('/token')).json.connected
      if (answers.some(({ status }) => status !== 303) || cookies[0] === undefined || cookies[0] !== cookies[1] || exchanges !== 1 || connected !== true) {
        wrong.push({ statuses: answers.map(({ status }) => status), sameCookie: cookies[0] === cookies[1], exchanges, connected })
      }
      return 'one exchange, one session'
    })
    t.strictSame(wrong, [])
  })

  for (const { path, title } of [
    { path: '/webflow/revoke', title: 'a token that is revoked while others read and renew it does not come back' },
    { path: '/logout', title: 'a token whose session is ended while others read and renew it does not come back' }
  ]) {
    t.test(title, async (t) => {
      const { webflow, one, two } = await startPair(t, { sessionMaxAge: 60 })
      // What it stores has less than half of the others' life left: their first use renews it.
      const third = await startChildApp(t, { clientId, clientSecret, redirectUri, scope, secret, endpoints: webflow.endpoints, redis: { port: redis.port }, sessionMaxAge: 20 })
      const wrong: unknown[] = []
      let renewed = 0
      let controls = 0
      await race(`${path} against reads that renew`, 3, async (round) => {
        const browser = new RemoteBrowser(third.url)
        await browser.connect(webflow)
        const tabs = [browser.at(one.url), browser.at(two.url), browser.at(two.url)]
        const ender = browser.at(one.url)
        // Some are only read, to see that there are renewals to race with.
        const isControl = round % 10 === 9
        const reads = tabs.map(async (tab, place) => {
          await sleep((round * (place + 2)) % 17)
          return await tab.get('/token')
        })
        const ended = isControl ? null : await ender.post(path)
        const seen = await Promise.all(reads)
        if (!isControl) await sleep(10)
        const last = await Promise.all(tabs.map((tab) => tab.get('/token')))
        if (ended === null) {
          controls++
          if (last.every(({ json }) => Date.parse(String(json.expiresAt)) > Date.now() + 30_000)) renewed++
          return 'control: renewed'
        }
        const done = ended.status === 200 && (path === '/logout' || ended.json.upstream === 'revoked')
        if (!done || seen.some(({ status }) => status !== 200) || last.some(({ status, json }) => status !== 200 || json.connected !== false)) {
          wrong.push({ ended: ended.status, body: ended.json, seen: seen.map(({ status }) => status), last: last.map(({ json }) => json.connected) })
        }
        return `${seen.filter(({ json }) => json.connected === true).length} of 3 reads came before`
      })
      t.strictSame(wrong, [])
      t.ok(renewed > 0 && renewed > controls / 2, `${renewed} of ${controls} tokens that were only read had been renewed`)
    })
  }

  t.test('a user who connects anew while the old token is revoked keeps the new one', async (t) => {
    const { webflow, one, two } = await startPair(t, { byUser: true })
    const wrong: unknown[] = []
    await race('reconnect against revoke', 1, async (round) => {
      const browser = new RemoteBrowser(one.url, { headers: { 'x-user': `user ${round}`, authorization: 'none' } })
      await browser.connect(webflow)
      const old = (await browser.get('/token')).json.accessToken
      const url = await browser.approve(webflow)
      const revocations = webflow.requests.revoke.length
      const [connected, revoked] = await Promise.all([pause(round + 3).then(() => browser.get(url)), pause(round).then(() => browser.at(two.url).post('/webflow/revoke'))])
      const [now, elsewhere] = await Promise.all([browser.get('/token'), browser.at(two.url).get('/token')])
      const target = webflow.requests.revoke.length > revocations || revocations === 1000 ? webflow.requests.revoke.at(-1)?.parameters.access_token : null
      const isOld = target === old
      const right = isOld
        ? now.json.connected === true && now.json.accessToken !== old && webflow.revokeToken(String(now.json.accessToken))
        : now.json.connected === false
      if (connected.status !== 303 || revoked.json.revoked !== true || elsewhere.json.accessToken !== now.json.accessToken || !right) {
        wrong.push({ round, connected: connected.status, revoked: revoked.json, isOld, now: now.json.connected })
      }
      return isOld ? 'the old one was revoked, the new one stands' : 'the new one was revoked'
    })
    t.strictSame(wrong, [])
  })

  t.test('of two connections of a user at once the one that is kept works', async (t) => {
    const { webflow, one, two } = await startPair(t, { byUser: true })
    const wrong: unknown[] = []
    await race('two reconnects of a user', 4, async (round) => {
      const browser = new RemoteBrowser(one.url, { headers: { 'x-user': `user ${round}` } })
      const other = browser.at(two.url)
      const urls = [await browser.approve(webflow), await other.approve(webflow)]
      const answers = await Promise.all([browser.get(urls[0] ?? ''), pause(round).then(() => other.get(urls[1] ?? ''))])
      const [now, elsewhere] = await Promise.all([browser.get('/token'), other.get('/token')])
      const alive = webflow.revokeToken(String(now.json.accessToken))
      if (answers.some(({ status }) => status !== 303) || now.json.accessToken !== elsewhere.json.accessToken || !alive) {
        wrong.push({ statuses: answers.map(({ status }) => status), same: now.json.accessToken === elsewhere.json.accessToken, alive })
      }
      return 'one token, the same on both'
    })
    t.strictSame(wrong, [])
  })

  t.test('of two connections of a browser at once each has its session, and the session before is gone', async (t) => {
    const { webflow, one, two } = await startPair(t)
    const wrong: unknown[] = []
    await race('two reconnects of a browser', 4, async (round) => {
      const browser = new RemoteBrowser(one.url)
      await browser.connect(webflow)
      const before = browser.at(one.url)
      const other = browser.at(two.url)
      const urls = [await browser.approve(webflow), await other.approve(webflow)]
      const answers = await Promise.all([browser.get(urls[0] ?? ''), pause(round).then(() => other.get(urls[1] ?? ''))])
      const seen = (await Promise.all([browser.at(two.url), other.at(one.url), before].map(async (tab) => (await tab.get('/token')).json.connected))).join()
      if (answers.some(({ status }) => status !== 303) || seen !== 'true,true,false') wrong.push({ statuses: answers.map(({ status }) => status), seen })
      return 'two sessions, the old one gone'
    })
    t.strictSame(wrong, [])
  })

  t.test('of two connections at once, of which one ends the other at Webflow, the living one stays', async (t) => {
    const { webflow, one, two } = await startPair(t, {}, { repeatedAuthorization: 'new-ends-old' })
    const wrong: unknown[] = []
    await race('two browsers of a user, one token', 1, async (round) => {
      webflow.signIn({ id: round.toString(16).padStart(24, 'a'), email: 'round@example.com', firstName: 'Round', lastName: String(round) })
      const browsers = [new RemoteBrowser(one.url), new RemoteBrowser(two.url)]
      const urls = await Promise.all(browsers.map((browser) => browser.approve(webflow)))
      const answers = await Promise.all(browsers.map(async (browser, place) => {
        if (place === 1) await sleep(round * 3 % 40)
        return await browser.get(urls[place] ?? '')
      }))
      const tokens = await Promise.all(browsers.map(async (browser) => (await browser.get('/token')).json))
      const left = tokens.filter(({ connected }) => connected === true).map(({ accessToken }) => webflow.revokeToken(String(accessToken)))
      // The dead one may have been stored after the check that the living one began: it goes when it is reported.
      if (answers.some(({ status }) => status !== 303) || left.filter((alive) => alive).length !== 1) {
        wrong.push({ round, statuses: answers.map(({ status }) => status), left })
      }
      return left.length === 1 ? 'the living one is left' : 'the dead one is left to be reported'
    })
    t.strictSame(wrong, [])
  })

  t.test('of two revocations at once both are answered, and one of them is the first', async (t) => {
    const { webflow, one, two } = await startPair(t)
    const wrong: unknown[] = []
    await race('revoke on both', 4, async (round) => {
      const browser = new RemoteBrowser(one.url)
      await browser.connect(webflow)
      const other = browser.at(two.url)
      const reader = browser.at(two.url)
      const answers = await Promise.all([browser.post('/webflow/revoke'), pause(round).then(() => other.post('/webflow/revoke'))])
      const upstream = answers.map(({ json }) => String(json.upstream ?? 'nothing left')).sort().join(' and ')
      const connected = (await reader.get('/token')).json.connected
      const expected = ['already_revoked and revoked', 'nothing left and revoked']
      if (answers.some(({ status }) => status !== 200) || !expected.includes(upstream) || connected !== false) wrong.push({ statuses: answers.map(({ status }) => status), upstream, connected })
      return upstream
    })
    t.strictSame(wrong, [])
  })

  t.test('nothing that was logged or answered holds a secret', async (t) => { assertNothingLeaked(t) })

  t.teardown(() => {
    t.comment('| race | rounds | outcomes |')
    t.comment('| --- | --- | --- |')
    for (const { race, rounds, outcomes } of rows) t.comment(`| ${race} | ${rounds} | ${[...outcomes].map(([outcome, times]) => `${outcome}: ${times}`).join('; ')} |`)
  })
}

/** Runs a race again and again, a few at a time, for the given span. */
async function race (title: string, atOnce: number, run: (round: number) => Promise<string>): Promise<void> {
  const until = performance.now() + span
  const outcomes = new Map<string, number>()
  let rounds = 0
  await Promise.all(Array.from({ length: atOnce }, async () => {
    while (performance.now() < until) {
      const outcome = await run(rounds++)
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
    }
  }))
  rows.push({ race: title, rounds, outcomes })
}

/** Staggers the racers from round to round, by up to nine milliseconds. */
async function pause (round: number): Promise<void> {
  if (round % 10 > 0) await sleep(round % 10)
}

import { Redis } from 'ioredis'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sqlite, { type Database } from 'node-sqlite3-wasm'
import t from 'tap'
import { RedisStore } from '../../stores/redis.ts'
import { assertNothingLeaked, clientId, clientSecret, connect, createApp, grantToken, redirectUri, secret, startWebflow } from '../support/app.ts'
import { Browser } from '../support/browser.ts'
import { runExample, startExample } from '../support/examples-process.ts'
import { identify } from '../support/installation.ts'
import { blocksOf } from '../support/markdown.ts'
import { findRedis, startRedis } from '../support/redis-server.ts'

t.test('the program of the guide imports a thousand tokens while the old app keeps running', { skip: findRedis() === null && process.env['REQUIRE_REDIS'] !== '1' ? 'no redis-server on the PATH' : false }, async (t) => {
  const server = await startRedis()
  t.teardown(() => server.stop())
  const client = new Redis(server.url)
  t.teardown(() => client.disconnect())
  const folder = mkdtempSync(join(tmpdir(), 'installs-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const webflow = await startWebflow(t)
  const newApp = await createApp(t, { webflow, options: { identify, store: new RedisStore({ client }) } })

  // The app that is left: it gets tokens by itself, and keeps them in a table.
  const installs = join(folder, 'installs.db')
  const inTable = (work: (database: Database) => void) => {
    const database = new sqlite.Database(installs)
    try {
      work(database)
    } finally {
      database.close()
    }
  }
  const connectOld = async (users: readonly number[], connectedAt: Date) => {
    const tokens: string[] = []
    for (let first = 0; first < users.length; first += 50) tokens.push(...await Promise.all(users.slice(first, first + 50).map(() => grantToken(webflow))))
    inTable((database) => {
      database.exec('BEGIN')
      for (const [index, user] of users.entries()) database.run('INSERT OR REPLACE INTO installs VALUES (?, ?, ?)', [user, tokens[index] ?? '', user % 4 === 0 ? null : connectedAt.toISOString()])
      database.exec('COMMIT')
    })
    return tokens
  }
  const accessTokenOf = async (user: number) => (await newApp.inject({ url: '/token', headers: { 'x-user': String(user) } })).json().accessToken
  const env = {
    INSTALLS: installs,
    WEBFLOW_URL: webflow.url,
    WEBFLOW_CLIENT_ID: clientId,
    WEBFLOW_CLIENT_SECRET: clientSecret,
    WEBFLOW_REDIRECT_URI: redirectUri,
    APP_SECRET: secret,
    REDIS_URL: server.url
  }
  const reader = { READ_INSTALLS: new URL('../support/read-installs.ts', import.meta.url).href }
  // The reader of the guide itself, where Node has SQLite.
  const guide = process.getBuiltinModule('node:sqlite') === undefined ? reader : {}

  inTable((database) => database.exec('CREATE TABLE installs (user_id INTEGER PRIMARY KEY, access_token TEXT NOT NULL, connected_at TEXT)'))
  const users = Array.from({ length: 1000 }, (_, index) => index + 1)
  const tokens = await connectOld(users, new Date())
  for (const accessToken of tokens.slice(0, 50)) webflow.revokeToken(accessToken)
  // Twenty try the new app before it is the only one.
  for (const user of users.slice(-20)) t.equal((await connect(new Browser(newApp), webflow, { headers: { 'x-user': String(user) } })).statusCode, 303)
  const connectedThere = await accessTokenOf(1000)

  const first = await startExample(t, 'examples/moving-over/import-tokens.ts', { env: { ...env, ...reader }, up: /^(1000) installs$/m })
  // The program has read the table. Meanwhile ten more users connect to the old app, and one connects again.
  const later = await connectOld([...users.slice(500, 501), ...users.slice(0, 10).map((user) => user + 1000)], new Date())
  const seconds = Number(await first.printed(/^930 imported, 20 kept, 50 revoked, 0 failed, in (\S+) s$/m))
  t.ok(seconds < 20, `a thousand installs took ${seconds} s`)
  t.equal(await accessTokenOf(501), tokens[500])

  const second = await runExample(t, 'examples/moving-over/import-tokens.ts', { ...env, ...guide })
  t.match(second.stdout, /^1010 installs\n[^]*\n11 imported, 949 kept, 50 revoked, 0 failed, in \S+ s\n$/)
  t.equal(second.exitCode, 0)
  t.notMatch(second.stderr, 'failed')
  t.strictSame(await Promise.all([501, 1001, 1010].map(accessTokenOf)), [later[0], later[1], later[10]])
  t.equal(await accessTokenOf(60), tokens[59])
  t.equal(await accessTokenOf(1000), connectedThere, 'who has connected there keeps that token')
  t.equal(await accessTokenOf(1), null)
  t.match(second.stdout, 'user 1 has uninstalled the app')
  const owners: string[] = []
  for await (const { owner } of newApp.webflowOAuth.listTokens()) owners.push(String(owner))
  t.equal(owners.length, 960)
  t.ok(['60', '1000', '1010'].every((user) => owners.includes(user)))

  inTable((database) => database.exec("INSERT INTO installs VALUES (2000, 'not a token', NULL)"))
  const third = await runExample(t, 'examples/moving-over/import-tokens.ts', { ...env, ...guide })
  t.match(third.stdout, /\n0 imported, 960 kept, 50 revoked, 1 failed, in /)
  t.match(third.stderr, /^user 2000 failed: `accessToken` must be a string of visible ASCII characters/m)
  t.equal(third.exitCode, 1)
  t.notOk([...tokens, ...later].some((accessToken) => [first.output, second, third].some(({ stdout, stderr }) => `${stdout}${stderr}`.includes(accessToken))), 'no token is printed')
})

t.test('the guide shows read-installs.mjs word for word', (t) => {
  const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
  const [block] = blocksOf(read('docs/moving-over.md')).filter(({ language }) => language === 'js')
  t.equal(read('examples/moving-over/read-installs.mjs').replace(/^(?:\/\/.*\n)+/, ''), block?.text)
  t.end()
})

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

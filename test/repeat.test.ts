import { mock } from 'node:test'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { MemoryStore, type TokenStore } from '../lib/index.ts'
import { assertNothingLeaked, createApp, startWebflow } from './support/app.ts'
import { Browser, type Answer } from './support/browser.ts'

const sessionCookie = '__Host-webflow'

function session ({ cookies }: Answer): string | undefined {
  return cookies.find(({ name }) => name === sessionCookie)?.value
}

/** Passes the calls on; `intercept` may fail or delay one by throwing or waiting first. */
function intercepted (store: TokenStore, intercept: (method: string, key: string) => unknown): TokenStore {
  return {
    async get (key) {
      await intercept('get', key)
      return await store.get(key)
    },
    async set (key, value, options) {
      await intercept('set', key)
      return await store.set(key, value, options)
    },
    async delete (key, options) {
      await intercept('delete', key)
      return await store.delete(key, options)
    },
    find: (tag, options) => store.find(tag, options)
  }
}

t.test('a callback that is loaded again gets the same answer with the same session', async (t) => {
  const calls: string[] = []
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, {
    webflow,
    options: {
      beforeStore: () => { calls.push('beforeStore') },
      onSuccess: () => { calls.push('onSuccess') }
    }
  }))
  const { location } = await browser.navigate('/webflow/authorize?returnTo=/here')
  const url = await webflow.approve(String(location))
  const discarded = browser.clone()
  const first = await discarded.navigate(url)
  const second = await browser.navigate(url)
  const third = await browser.navigate(`${url}&error=now`)
  t.equal(second.statusCode, 303)
  t.equal(second.location, 'https://app.example.com/here')
  t.equal(session(second), session(first))
  t.equal(third.statusCode, 400, 'what is no callback is none the second time either')
  t.equal((await browser.get('/token')).json().connected, true)
  t.strictSame(calls, ['beforeStore', 'onSuccess'])
  t.equal(webflow.requests.token.length, 1)
})

t.test('a repeated callback gets its answer even if its query has changed', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))
  const { location } = await browser.navigate('/webflow/authorize')
  const url = new URL(await webflow.approve(String(location)))
  const first = await browser.navigate(url.href)
  url.searchParams.delete('code')
  url.searchParams.set('error', 'access_denied')
  const second = await browser.navigate(url.href)
  t.equal(second.statusCode, 303)
  t.equal(session(second), session(first))
})

t.test('after a minute, or once the session has ended, the callback was used', async (t) => {
  mock.timers.enable({ apis: ['Date'], now: Date.now() })
  t.teardown(() => mock.timers.reset())
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow }))
  const { location } = await browser.navigate('/webflow/authorize')
  const url = await webflow.approve(String(location))
  await browser.navigate(url)
  mock.timers.tick(59_000)
  const late = await browser.navigate(url)
  t.equal(late.statusCode, 303)
  t.ok(late.cookies.some(({ name, attributes }) => name.includes('_flow_') && attributes.includes('Max-Age=1')), 'the minute is not stretched')
  mock.timers.tick(1000)
  t.equal((await browser.get(url)).json().reason, 'already_used')

  const again = await browser.navigate('/webflow/authorize')
  const second = await webflow.approve(String(again.location))
  await browser.navigate(second)
  await browser.request('/webflow/revoke', { method: 'POST' })
  const revived = await browser.get(second)
  t.equal(revived.json().reason, 'already_used')
  t.equal(session(revived), undefined)
})

t.test('a flow that was finished in its last second can still be repeated', async (t) => {
  mock.timers.enable({ apis: ['Date'], now: Date.now() })
  t.teardown(() => mock.timers.reset())
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { flowMaxAge: 100 } }))
  const { location } = await browser.navigate('/webflow/authorize')
  const url = await webflow.approve(String(location))
  mock.timers.tick(100_000)
  const first = await browser.navigate(url)
  const early = await browser.clone().navigate(url)
  t.equal(session(early), session(first))
  mock.timers.tick(59_999)
  const second = await browser.navigate(url)
  t.equal(second.statusCode, 303)
  t.equal(session(second), session(first))
  mock.timers.tick(1)
  t.equal((await browser.get(url)).json().reason, 'expired')
})

t.test('a flow that ended long ago and has expired since is reported as expired', async (t) => {
  mock.timers.enable({ apis: ['Date'], now: Date.now() })
  t.teardown(() => mock.timers.reset())
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { flowMaxAge: 100 } }))
  const url = await webflow.approve(String((await browser.navigate('/webflow/authorize')).location))
  t.equal((await browser.navigate(url)).statusCode, 303)
  mock.timers.tick(100_000)
  t.equal((await browser.get(url)).json().reason, 'already_used')
  mock.timers.tick(1)
  t.equal((await browser.get(url)).json().reason, 'expired')
})

t.test('an error is repeated with its status, code and reason, without its message, and `onFailure` runs each time', async (t) => {
  const seen: string[] = []
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, {
    webflow,
    options: {
      beforeStore () { throw Object.assign(new Error('only three sites on this plan'), { status: 402, code: 'PLAN_LIMIT', reason: 'plan' }) },
      onFailure (error) { seen.push(error.message) }
    }
  }))
  const { location } = await browser.navigate('/webflow/authorize')
  const url = await webflow.approve(String(location))
  for (const answer of [await browser.get(url), await browser.get(url)]) {
    t.equal(answer.statusCode, 402)
    t.match(answer.json(), { statusCode: 402, code: 'PLAN_LIMIT', error: 'Payment Required', reason: 'plan' })
    t.equal(session(answer), undefined)
  }
  t.match(seen, ['only three sites on this plan', /failed with this error before/])
  t.equal(webflow.requests.token.length, 1)
  t.equal(webflow.requests.revoke.length, 0)
})

t.test('an error without code and status is repeated as a 500', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { beforeStore: async () => { throw new Error('not today') } } }))
  const { location } = await browser.navigate('/webflow/authorize')
  const url = await webflow.approve(String(location))
  for (const answer of [await browser.get(url), await browser.get(url)]) {
    t.equal(answer.statusCode, 500)
    t.notOk('code' in answer.json())
  }
})

t.test('where `onSuccess` answered by itself, the repeat is the redirect', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { onSuccess: (_token, _request, reply) => reply.code(201).send('welcome') } }))
  const { location } = await browser.navigate('/webflow/authorize')
  const url = await webflow.approve(String(location))
  const first = await browser.navigate(url)
  t.equal(first.statusCode, 201)
  t.equal(first.body, 'welcome')
  t.type(session(first), 'string')
  const second = await browser.navigate(url)
  t.equal(second.statusCode, 303)
  t.equal(session(second), session(first))
})

t.test('while the store is down the code stays unspent', async (t) => {
  let down = false
  const webflow = await startWebflow(t)
  const store = intercepted(new MemoryStore(), () => { if (down) throw new Error('down') })
  const browser = new Browser(await createApp(t, { webflow, options: { store } }))
  const { location } = await browser.navigate('/webflow/authorize')
  const url = await webflow.approve(String(location))
  down = true
  const failed = await browser.get(url)
  t.equal(failed.statusCode, 503)
  t.equal(failed.json().code, 'WEBFLOW_OAUTH_STORE_UNAVAILABLE')
  t.equal((await new Browser(browser.app).get(url)).json().reason, 'cookie_missing', 'a reason is found without the store')
  t.equal(webflow.requests.token.length, 0)
  down = false
  t.equal((await browser.navigate(url)).statusCode, 303)
})

t.test('a callback recognises its own claim if ioredis sends the claim again after a lost answer', async (t) => {
  const webflow = await startWebflow(t)
  const memory = new MemoryStore()
  const store: TokenStore = {
    get: (key) => memory.get(key),
    async set (key, value, options) {
      if (options.if === null) await memory.set(key, value, options)
      return await memory.set(key, value, options)
    },
    delete: (key, options) => memory.delete(key, options),
    find: (tag, options) => memory.find(tag, options)
  }
  const browser = new Browser(await createApp(t, { webflow, options: { store } }))
  const { location } = await browser.navigate('/webflow/authorize')
  const url = await webflow.approve(String(location))
  for (let turn = 0; turn < 2; turn++) t.equal((await browser.navigate(url)).statusCode, 303)
  t.equal(webflow.requests.token.length, 1)
})

t.test('during a rotation of `secret`, replicas of both steps repeat the same session, and a replica that skipped a step repeats none', async (t) => {
  const webflow = await startWebflow(t)
  const store = new MemoryStore()
  const [before, after] = ['the old secret, of 32 bytes and more', 'the new secret, of 32 bytes and more']
  const [first, second, late] = await Promise.all([[before, after], [after, before], [before]].map((secret) => createApp(t, { webflow, options: { store, secret } })))
  if (first === undefined || second === undefined || late === undefined) return
  const browser = new Browser(first)
  const url = await webflow.approve(String((await browser.navigate('/webflow/authorize')).location))
  const tab = browser.clone(late)
  const answer = await browser.clone(second).navigate(url)
  t.equal(answer.statusCode, 303)
  const repeated = await browser.clone(first).navigate(url)
  t.equal(repeated.statusCode, 303)
  t.equal(session(repeated), session(answer))
  t.equal((await tab.get(url)).json().reason, 'already_used')
})

t.test('somebody who reads the records of flows in the store cannot open a session with them', async (t) => {
  const webflow = await startWebflow(t)
  const values: string[] = []
  const memory = new MemoryStore()
  const store: TokenStore = {
    get: (key) => memory.get(key),
    set: async (key, value, options) => {
      if (key.startsWith('flow:')) values.push(value)
      return await memory.set(key, value, options)
    },
    delete: (key, options) => memory.delete(key, options),
    find: (tag, options) => memory.find(tag, options)
  }
  const browser = new Browser(await createApp(t, { webflow, options: { store } }))
  const url = await webflow.approve(String((await browser.navigate('/webflow/authorize?returnTo=/private')).location))
  const id = session(await browser.navigate(url))
  t.match(values.map((value) => JSON.parse(value)), [{ kind: 'claimed', attempt: /^[\da-f-]{36}$/ }, { kind: 'done', outcome: { kind: 'connected', keyId: /^[\w-]{8}$/ }, endedAt: Number }])
  const { accessToken } = (await browser.get('/token')).json()
  for (const secret of [id, accessToken, new URL(url).searchParams.get('state'), new URL(url).searchParams.get('code'), 'private']) {
    t.type(secret, 'string')
    t.notMatch(values.join(), String(secret))
  }
})

t.test('a callback fails if the store does not write the token, but not if it does not record the outcome', async (t) => {
  const webflow = await startWebflow(t)
  const memory = new MemoryStore()
  let refused = 'token:'
  const store: TokenStore = {
    get: (key) => memory.get(key),
    set: async (key, value, options) => key.startsWith(refused) && (refused === 'token:' || options.if !== null) ? false : await memory.set(key, value, options),
    delete: (key, options) => memory.delete(key, options),
    find: (tag, options) => memory.find(tag, options)
  }
  const browser = new Browser(await createApp(t, { webflow, options: { store } }))
  const failed = await browser.get(await webflow.approve(String((await browser.navigate('/webflow/authorize')).location)))
  t.equal(failed.statusCode, 503)
  t.equal(session(failed), undefined)
  refused = 'flow:'
  t.equal((await browser.navigate(await webflow.approve(String((await browser.navigate('/webflow/authorize')).location)))).statusCode, 303)
  t.equal((await browser.get('/token')).json().connected, true)
})

t.test('callbacks that wait for another', { jobs: 4 }, async (t) => {
  t.test('waiting for another callback ends in time, even if the store is slow', { buffered: true }, async (t) => {
    const webflow = await startWebflow(t)
    let reads = 0
    let flowWrites = 0
    const store = intercepted(new MemoryStore(), async (method, key) => {
      if (method === 'set' && key.startsWith('flow:') && ++flowWrites === 2) throw new Error('down')
      if (method !== 'get' || !key.startsWith('flow:')) return
      reads++
      await new Promise((resolve) => { setTimeout(resolve, 100) })
    })
    const browser = new Browser(await createApp(t, { webflow, options: { store, timeout: 200, storeTimeout: 400 } }))
    const url = await webflow.approve(String((await browser.navigate('/webflow/authorize')).location))
    t.equal((await browser.navigate(url)).statusCode, 303)
    reads = 0
    t.equal((await browser.get(url)).json().reason, 'already_used')
    t.ok(reads > 1 && reads <= 10, 'one second has no room for more reads of a tenth of a second')
  })

  t.test('an outcome that cannot be recorded changes nothing for a callback that waits for it', { buffered: true }, async (t) => {
    let flowWrites = 0
    const webflow = await startWebflow(t)
    const store = intercepted(new MemoryStore(), (method, key) => {
      if (method === 'set' && key.startsWith('flow:') && ++flowWrites === 2) throw new Error('down')
    })
    const browser = new Browser(await createApp(t, { webflow, options: { store, timeout: 400, storeTimeout: 300 } }))
    const { location } = await browser.navigate('/webflow/authorize')
    const url = await webflow.approve(String(location))
    t.equal((await browser.navigate(url)).statusCode, 303)
    t.equal((await browser.get(url)).json().reason, 'already_used', 'a claim that never gets done is waited for in vain')
  })

  t.test('a record of a flow that was tampered with counts as used', { buffered: true }, async (t) => {
    const webflow = await startWebflow(t)
    const memory = new MemoryStore()
    const keys: string[] = []
    const store = intercepted(memory, (_method, key) => { keys.push(key) })
    const browser = new Browser(await createApp(t, { webflow, options: { store, timeout: 400, storeTimeout: 300 } }))
    const { location } = await browser.navigate('/webflow/authorize')
    const url = await webflow.approve(String(location))
    await browser.navigate(url)
    const key = String(keys.find((key) => key.startsWith('flow:')))
    await memory.set(key, 'v1.forged', { expiresAt: Date.now() + 60_000 })
    t.equal((await browser.get(url)).json().reason, 'already_used')
  })

  t.test('the same callback at the same moment on two replicas is exchanged once', { buffered: true }, async (t) => {
    const webflow = await startWebflow(t)
    const store = new MemoryStore()
    const one = await createApp(t, { webflow, options: { store } })
    const two = await createApp(t, { webflow, options: { store } })
    const browser = new Browser(one)
    const { location } = await browser.navigate('/webflow/authorize')
    const url = await webflow.approve(String(location))
    webflow.fail('token', { delay: 100, handled: true })
    const answers = await Promise.all([browser.clone(two).navigate(url), browser.clone().navigate(url), browser.clone(two).navigate(url), browser.navigate(url)])
    t.strictSame(answers.map(({ statusCode }) => statusCode), [303, 303, 303, 303])
    t.equal(new Set(answers.map(session)).size, 1)
    t.equal(webflow.requests.token.length, 1)
  })
})

t.test('a token that cannot be stored is answered with 503 and logged', async (t) => {
  const lines: string[] = []
  const webflow = await startWebflow(t)
  const store = intercepted(new MemoryStore(), (method, key) => { if (method === 'set' && key.startsWith('token:')) throw new Error('full') })
  const browser = new Browser(await createApp(t, { webflow, options: { store }, server: { logger: { level: 'error', stream: { write: (line: string) => lines.push(line) } } } }))
  const { location } = await browser.navigate('/webflow/authorize')
  const url = await webflow.approve(String(location))
  for (const answer of [await browser.get(url), await browser.get(url)]) {
    t.equal(answer.statusCode, 503)
    t.equal(answer.json().code, 'WEBFLOW_OAUTH_STORE_UNAVAILABLE')
    t.equal(session(answer), undefined)
  }
  t.equal(lines.filter((line) => line.includes('could not be stored')).length, 1)
  t.match(JSON.parse(lines.find((line) => line.includes('could not be stored')) ?? '{}'), { tokenId: /^[\w-]{43}$/, err: { code: 'WEBFLOW_OAUTH_STORE_UNAVAILABLE' } })
  t.equal(webflow.requests.revoke.length, 0, 'the plugin never revokes by itself')
})

t.test('outcomes that cannot be recorded and tokens that cannot be deleted are logged with the id of the token, and nothing else is logged', async (t) => {
  const lines: Array<Record<string, unknown>> = []
  const webflow = await startWebflow(t)
  let broken = false
  let flowWrites = 0
  const store = intercepted(new MemoryStore(), (method, key) => {
    if (broken && (method === 'delete' || (key.startsWith('flow:') && method === 'set' && ++flowWrites === 2))) throw new Error('down')
  })
  const server = { trustProxy: true, logger: { level: 'warn', stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } } }
  const browser = new Browser(await createApp(t, { webflow, options: { store }, server }))
  const connectAgain = async () => await browser.navigate(await webflow.approve(String((await browser.navigate('/webflow/authorize')).location)))
  await connectAgain()
  const { id } = (await browser.get('/token')).json()
  await connectAgain()
  t.strictSame(lines, [])
  broken = true
  const previous = (await browser.get('/token')).json().id
  t.equal((await connectAgain()).statusCode, 303)
  t.match(lines, [{ msg: /the store could not record how a flow ended/ }, { msg: /could not delete the token of the previous session/, tokenId: previous, err: { code: 'WEBFLOW_OAUTH_STORE_UNAVAILABLE' } }])
  t.equal(lines.length, 2)
  t.not(previous, id)
})

t.test('a new session works even if the old one cannot be deleted', async (t) => {
  const webflow = await startWebflow(t)
  const store = intercepted(new MemoryStore(), (method) => { if (method === 'delete') throw new Error('down') })
  const browser = new Browser(await createApp(t, { webflow, options: { store } }))
  for (let i = 0; i < 2; i++) {
    const { location } = await browser.navigate('/webflow/authorize')
    t.equal((await browser.navigate(await webflow.approve(String(location)))).statusCode, 303)
  }
  t.equal((await browser.get('/token')).json().connected, true)
})

t.test('an error of the plugin that `beforeStore` throws keeps its status when the callback is repeated', async (t) => {
  const webflow = await startWebflow(t)
  const app: FastifyInstance = await createApp(t, { webflow, options: { beforeStore: async () => { await app.webflowOAuth.findTokens({ siteId: 'none' }) } } })
  const browser = new Browser(app)
  const url = await webflow.approve(String((await browser.navigate('/webflow/authorize')).location))
  for (let time = 0; time < 2; time++) {
    const answer = await browser.get(url)
    t.equal(answer.statusCode, 400)
    t.equal(answer.json().code, 'WEBFLOW_OAUTH_INVALID_OPTION')
  }
})

t.test('`beforeStore` sees the token and the request, and the token is stored only if it agrees', async (t) => {
  const seen: unknown[] = []
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, {
    webflow,
    options: {
      beforeStore (token, request) { seen.push(token.id, token.scope, request.method) },
      onSuccess (token, request) { seen.push(token.id, request.webflowToken?.id) }
    }
  }))
  const { location } = await browser.navigate('/webflow/authorize')
  await browser.navigate(await webflow.approve(String(location)))
  const { id } = (await browser.get('/token')).json()
  t.strictSame(seen, [id, ['sites:read', 'cms:read'], 'GET', id, id])
})

t.test('closing waits for a running callback before the app closes its store', async (t) => {
  const events: string[] = []
  const webflow = await startWebflow(t)
  const app = await createApp(t, {
    webflow,
    server: { forceCloseConnections: true },
    options: { beforeStore: async () => { await new Promise((resolve) => { setTimeout(resolve, 50) }) }, onSuccess: () => { events.push('stored') } },
    after: (app) => { app.addHook('onClose', async () => { events.push('closed') }) }
  })
  const browser = new Browser(app)
  const { location } = await browser.navigate('/webflow/authorize')
  const answer = browser.navigate(await webflow.approve(String(location)))
  while (webflow.requests.token.length === 0) await new Promise((resolve) => { setTimeout(resolve, 5) })
  await app.close()
  t.strictSame(events, ['stored', 'closed'])
  t.equal((await answer).statusCode, 303)
})

t.test('a value other than an Error that `beforeStore` throws is answered with 500', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { beforeStore: async () => await Promise.reject('no') } })) // eslint-disable-line prefer-promise-reject-errors
  const { location } = await browser.navigate('/webflow/authorize')
  t.equal((await browser.get(await webflow.approve(String(location)))).statusCode, 500)
})

t.test('an error of `onSuccess` is logged and changes nothing', async (t) => {
  const webflow = await startWebflow(t)
  const browser = new Browser(await createApp(t, { webflow, options: { onSuccess: async () => { throw new Error('mail server down') } } }))
  const { location } = await browser.navigate('/webflow/authorize')
  const answer = await browser.navigate(await webflow.approve(String(location)))
  t.equal(answer.statusCode, 303)
  t.equal((await browser.get('/token')).json().connected, true)
})

t.test('nothing that was logged holds a secret', async (t) => { assertNothingLeaked(t) })

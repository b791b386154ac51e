import { startRedis } from '../../support/redis-server.ts'
import { createCertificate } from '../certificate.ts'
import { startChild } from '../child.ts'
import { always, wholeFlows, withSessions } from '../load.ts'
import { measure, profile, type Bench, type Contender, type Extent, type Measured, type Surroundings } from '../measure.ts'
import { limitRow, noiseOf, plainRatio, ratioRow, ratiosOf, type Findings, type Noise, type Row } from '../report.ts'

/** A group of contenders that are sent requests. The first is the plugin, the second its control. */
interface Comparison<Name extends string> {
  title: string
  contenders: Record<Name, Contender>
  extent: Extent
  secure?: boolean
  redis?: boolean
  notes?: string[]
  judge (of: (name: Name) => Measured, noise: Noise): Row[]
}

async function compare<Name extends string> (bench: Bench, { title, contenders, extent, secure = false, redis = false, notes = [], judge }: Comparison<Name>): Promise<Findings> {
  const certificate = secure ? createCertificate() : null
  const store = redis ? await startRedis() : null
  const webflow = await startChild<{ port: number }>(bench.build.program('upstream'), certificate === null ? [] : [certificate.key, certificate.chain])
  const around: Surroundings = {
    webflow: { port: webflow.started.port, secure, ask: () => webflow.ask('usage') },
    ...(store === null ? {} : { redis: store.url }),
    // For all contenders alike.
    ...(certificate === null ? {} : { env: { NODE_EXTRA_CA_CERTS: certificate.root } })
  }
  try {
    const measured = await measure(bench, Object.values<Contender>(contenders), around, extent)
    const of = (name: Name): Measured => {
      const found = measured.find(({ contender }) => contender === contenders[name])
      if (found === undefined) throw new RangeError(`${name} was not measured`)
      return found
    }
    const [ours, control] = measured
    if (ours === undefined || control === undefined) throw new RangeError('a group needs a control')
    const noise = noiseOf(ours, control)
    const rows = judge(of, noise)
    const profiles = new Map<string, Array<{ place: string, share: number }>>()
    for (const { goal, missed, culprit } of rows) {
      if (missed && culprit !== undefined && !bench.quick) profiles.set(goal, await profile(bench, culprit, around, extent))
    }
    return { title, rows, measured, noise, notes, profiles }
  } finally {
    await webflow.stop()
    await store?.stop()
    certificate?.remove()
  }
}

/** V8 goes on compiling a contender for about so many flows; until then each costs up to five times as much. */
const flowsUntilSteady = 4000

/** Those who connect a browser, over TLS or not. */
function flowContenders () {
  return {
    ours: { title: 'fastify-webflow-oauth, introspect: false', setup: { program: 'plugin' }, plan: wholeFlows() },
    control: { title: 'the same, control', setup: { program: 'plugin' }, plan: wholeFlows() },
    whole: { title: 'fastify-webflow-oauth as it comes, two calls', setup: { program: 'plugin', introspect: true }, plan: wholeFlows() },
    hand: { title: 'written by hand on a Pool', setup: { program: 'handWritten' }, plan: wholeFlows() },
    oauth2: { title: '@fastify/oauth2', setup: { program: 'oauth2' }, plan: wholeFlows() },
    grant: { title: 'grant on @fastify/session', setup: { program: 'grant' }, plan: wholeFlows('/connect/webflow') }
  }
}

/** Beginning a flow, which involves no store. */
export function authorize (bench: Bench): Promise<Findings> {
  const plan = always('/webflow/authorize')
  return compare(bench, {
    title: 'authorize',
    extent: bench.extent(1500, 6000),
    contenders: {
      ours: { title: 'fastify-webflow-oauth', setup: { program: 'plugin' }, plan },
      control: { title: 'fastify-webflow-oauth, control', setup: { program: 'plugin' }, plan },
      hand: { title: 'written by hand', setup: { program: 'handWritten' }, plan },
      oauth2: { title: '@fastify/oauth2', setup: { program: 'oauth2' }, plan },
      grant: { title: 'grant on @fastify/session', setup: { program: 'grant' }, plan: always('/connect/webflow') }
    },
    judge: (of, noise) => [
      ratioRow('authorize, against @fastify/oauth2', 1, 1.2, ratiosOf(of('ours'), of('oauth2')), noise, of('ours').contender),
      plainRatio('authorize, against a hand-written route (for information)', of('ours'), of('hand')),
      plainRatio('authorize, against grant (for information)', of('ours'), of('grant'))
    ]
  })
}

/** Connecting a browser: the authorize route, and the callback with its exchange. */
export function flow (bench: Bench): Promise<Findings> {
  return compare(bench, {
    title: 'flow',
    extent: bench.extent(400, flowsUntilSteady),
    contenders: flowContenders(),
    judge: (of, noise) => [
      ratioRow('whole flow, plain HTTP, against @fastify/oauth2', 1.2, 1.6, ratiosOf(of('ours'), of('oauth2')), noise, of('ours').contender),
      ratioRow('… against grant', 1, 1.25, ratiosOf(of('ours'), of('grant')), noise, of('ours').contender),
      limitRow('CPU of a flow as it comes, with introspection, against `introspect: false`', 1.5, 1.35, ratiosOf(of('ours'), of('whole')), ' times', 2),
      plainRatio('… against a hand-written handler on a Pool (for information)', of('ours'), of('hand'))
    ]
  })
}

/** The same with a Webflow that speaks TLS, as the real one does. */
export function tls (bench: Bench): Promise<Findings> {
  return compare(bench, {
    title: 'flow over TLS',
    extent: bench.extent(250, flowsUntilSteady),
    secure: true,
    notes: ['Each round is measured on connections that a few flows have opened just before. @fastify/oauth2 opens one for each exchange, and does so with a keep-alive agent in `credentials.http.agent`, too: its OAuth client works with a copy of it.'],
    contenders: flowContenders(),
    judge: (of, noise) => [
      ratioRow('whole flow over TLS, against @fastify/oauth2', 4, 8, ratiosOf(of('ours'), of('oauth2')), noise, of('ours').contender),
      limitRow('… new connections per 1,000 exchanges', 5, 0, of('ours').connections, ''),
      plainRatio('… against a hand-written handler on a Pool (for information)', of('ours'), of('hand')),
      plainRatio('… as it comes, with introspection, against @fastify/oauth2 (for information)', of('whole'), of('oauth2'))
    ]
  })
}

/** Requests with a session in memory, and those without. */
export function session (bench: Bench): Promise<Findings> {
  const plugin = { program: 'plugin' } as const
  const otherCookie = `id=${'a'.repeat(43)}`
  return compare(bench, {
    title: 'session',
    extent: bench.extent(1500, 6000),
    notes: ['1,000 sessions, as many as the plugin keeps opened. The hand-written program, too, opens its sessions by flows.'],
    contenders: {
      ours: { title: 'fastify-webflow-oauth, guard and tokenOf', setup: plugin, plan: withSessions('/me') },
      control: { title: 'the same, control', setup: plugin, plan: withSessions('/me') },
      peek: { title: 'fastify-webflow-oauth, reading webflowToken only', setup: plugin, plan: withSessions('/peek') },
      unsealed: { title: 'fastify-webflow-oauth without sealing', setup: plugin, plan: withSessions('/me'), sealed: false },
      unread: { title: 'fastify-webflow-oauth, route that does not look at the token', setup: plugin, plan: withSessions('/open') },
      open: { title: 'fastify-webflow-oauth, request without its cookie', setup: plugin, plan: always('/open', otherCookie) },
      optedOut: { title: 'fastify-webflow-oauth, route that opted out', setup: plugin, plan: withSessions('/opted-out') },
      bare: { title: 'bare Fastify', setup: { program: 'bare' }, plan: always('/me', `__Host-webflow=${'a'.repeat(43)}`) },
      bareOpen: { title: 'bare Fastify, control', setup: { program: 'bare' }, plan: always('/me', otherCookie) },
      usual: { title: 'signed cookie and Map', setup: { program: 'handWritten' }, plan: withSessions('/me') },
      session: { title: '@fastify/session, memory', setup: { program: 'session' }, plan: withSessions('/me', { opened: 'login' }) },
      secureSession: { title: '@fastify/secure-session', setup: { program: 'secureSession' }, plan: withSessions('/me', { opened: 'login' }) }
    },
    judge: (of, noise) => [
      ratioRow('request with a session, memory store, against bare Fastify', 0.62, 0.72, ratiosOf(of('ours'), of('bare')), noise, of('ours').contender),
      ratioRow('… against the usual signed-cookie-and-Map code', 1.1, 1.3, ratiosOf(of('ours'), of('usual')), noise, of('ours').contender),
      ratioRow('route that does not look at the token, against bare', 0.9, 0.97, ratiosOf(of('unread'), of('bare')), noise, of('unread').contender),
      ratioRow('request without our cookie, against bare', 0.96, 0.99, ratiosOf(of('open'), of('bareOpen')), noise, of('open').contender),
      plainRatio('request on a route that opted out, against bare (for information)', of('optedOut'), of('bare')),
      plainRatio('sealing on a hot session, against the same code without (for information)', of('ours'), of('unsealed')),
      plainRatio('reading webflowToken without a guard, against bare (for information)', of('peek'), of('bare')),
      plainRatio('bare Fastify against itself (for information)', of('bareOpen'), of('bare')),
      plainRatio('request with a session, against @fastify/session in memory (for information)', of('ours'), of('session')),
      plainRatio('request with a session, against @fastify/secure-session (for information)', of('ours'), of('secureSession'))
    ]
  })
}

/** Requests with a session in Redis. */
export function redis (bench: Bench): Promise<Findings> {
  return compare(bench, {
    title: 'redis',
    extent: bench.extent(1500, 6000),
    redis: true,
    notes: ['Time of the server process only; Redis works in its own. @fastify/session has its defaults, by which each request writes the session\'s new deadline.'],
    contenders: {
      ours: { title: 'fastify-webflow-oauth, introspect: false', setup: { program: 'plugin' }, plan: withSessions('/me') },
      control: { title: 'the same, control', setup: { program: 'plugin' }, plan: withSessions('/me') },
      whole: { title: 'fastify-webflow-oauth as it comes', setup: { program: 'plugin', introspect: true }, plan: withSessions('/me') },
      near: { title: 'fastify-webflow-oauth with the near cache, 50 sessions', setup: { program: 'plugin', store: 'near cache' }, plan: withSessions('/me', { browsers: 50 }) },
      memory: { title: 'fastify-webflow-oauth in memory, 50 sessions', setup: { program: 'plugin', store: 'memory' }, plan: withSessions('/me', { browsers: 50 }) },
      raw: { title: 'one raw GET', setup: { program: 'rawGet' }, plan: withSessions('/me', { opened: 'login' }) },
      session: { title: '@fastify/session with connect-redis', setup: { program: 'session' }, plan: withSessions('/me', { opened: 'login' }) }
    },
    judge: (of, noise) => [
      ratioRow('request with a session, Redis store, against one raw GET', 0.95, 1.1, ratiosOf(of('ours'), of('raw')), noise, of('ours').contender),
      ratioRow('… against @fastify/session with connect-redis', 3.5, 5, ratiosOf(of('ours'), of('session')), noise, of('ours').contender),
      ratioRow('hot session with the near cache, against memory', 0.95, 1, ratiosOf(of('near'), of('memory')), noise, of('near').contender),
      plainRatio('… as it comes, with installation data, against one raw GET (for information)', of('whole'), of('raw'))
    ]
  })
}

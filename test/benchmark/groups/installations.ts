import { randomBytes } from 'node:crypto'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import webflowOAuth, { type WebflowOAuthOptions } from '../../../lib/index.ts'
import { RedisStore } from '../../../stores/redis.ts'
import { startRedis } from '../../support/redis-server.ts'
import { startChild } from '../child.ts'
import type { Bench } from '../measure.ts'
import { limitRow, type Findings } from '../report.ts'
import { createSecondInstance } from '../second-instance.ts'
import { credentials, redirectUri, secret } from '../setup.ts'

const sessions = 1000
const siteId = 'c'.repeat(24)

/** Revoking everything that a site has, as an app does when the site's owner leaves. */
export async function revokeAll (bench: Bench): Promise<Findings> {
  const redis = await startRedis()
  const webflow = await startChild<{ port: number }>(bench.build.program('upstream'))
  const client = new Redis(redis.port, '127.0.0.1')
  const origin = `http://127.0.0.1:${webflow.started.port}`
  const options: WebflowOAuthOptions = {
    ...credentials,
    secret,
    redirectUri,
    scope: ['sites:read'],
    store: new RedisStore({ client }),
    endpoints: { token: `${origin}/oauth/access_token`, revoke: `${origin}/oauth/revoke_authorization` }
  }
  const app = Fastify()
  try {
    await app.register(webflowOAuth, options)
    const { identity, records } = await createSecondInstance(options, app.log)
    const seconds: number[] = []
    for (let round = 0; round < (bench.quick ? 2 : 5); round++) {
      await Promise.all(Array.from({ length: sessions }, async (_, number) => {
        const record = records.create({ accessToken: randomBytes(32).toString('hex'), tokenType: 'bearer', scope: null, expiresIn: null }, ['sites:read'], Date.now())
        const authorization = { id: number.toString(16).padStart(24, 'a'), siteIds: [siteId], workspaceIds: [], userIds: [], scope: record.scope, createdOn: new Date() }
        await records.write(identity.sessionTokenId(`${round} ${number}`), { ...record, authorization, askedAt: record.createdAt, complete: true }, 'nothing')
      }))
      const began = performance.now()
      const results = await app.webflowOAuth.revokeAll({ siteId })
      seconds.push((performance.now() - began) / 1000)
      const revoked = results.filter((result) => result.revoked).length
      if (revoked !== sessions) throw new Error(`${revoked} of ${sessions} sessions were revoked`)
    }
    return {
      title: 'revoke-all',
      measured: [],
      rows: [limitRow('`revokeAll` of 1,000 sessions with a token each, Redis, local Webflow', 5, 2, seconds, ' s', 2)]
    }
  } finally {
    await app.close()
    client.disconnect()
    await webflow.stop()
    await redis.stop()
  }
}

import { randomBytes } from 'node:crypto'
import type { FastifyBaseLogger } from 'fastify'
import type { WebflowOAuthOptions } from '../../lib/index.ts'
import { createSecondInstance } from './second-instance.ts'
import { sessionIdOf } from './setup.ts'

const writtenAtOnce = 200

/** Writes sealed tokens to a store as the plugin does, with installation data unless `introspect` is false; `createdAt` may shift some of them. */
export async function fill (options: WebflowOAuthOptions, tokens: number, log: FastifyBaseLogger, createdAt: (number: number) => number = Date.now): Promise<void> {
  const { identity, records, webflow } = await createSecondInstance(options, log)
  const write = async (number: number): Promise<void> => {
    const grant = { accessToken: randomBytes(32).toString('hex'), tokenType: 'bearer', scope: null, expiresIn: null }
    const record = records.create(grant, ['sites:read'], createdAt(number))
    const idOf = (kind: string) => kind + number.toString(16).padStart(23, '0')
    const authorization = { id: idOf('a'), siteIds: [idOf('c')], workspaceIds: [], userIds: [idOf('b')], scope: record.scope, createdOn: new Date(record.createdAt) }
    const known = options.introspect === false ? record : { ...record, authorization, askedAt: record.createdAt, complete: true }
    await records.write(identity.sessionTokenId(sessionIdOf(number)), known)
  }
  for (let first = 0; first < tokens; first += writtenAtOnce) {
    await Promise.all(Array.from({ length: Math.min(writtenAtOnce, tokens - first) }, (_, index) => write(first + index)))
  }
  await webflow.close()
}

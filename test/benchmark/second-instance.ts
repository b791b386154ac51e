import Fastify, { type FastifyBaseLogger } from 'fastify'
import { loadCookieCodec } from '../../lib/http/cookies.ts'
import type { WebflowOAuthOptions } from '../../lib/index.ts'
import { resolveOptions } from '../../lib/options/resolve.ts'
import { createParts } from '../../lib/context.ts'
import type { Parts } from '../../lib/routes/parts.ts'

/** Puts a second instance together, with these options. `fastify.webflowOAuth` keeps the parts of the app's own instance private. */
export async function createSecondInstance (options: WebflowOAuthOptions, log: FastifyBaseLogger): Promise<Parts> {
  return createParts(resolveOptions(options, ''), log, await loadCookieCodec(Fastify()))
}

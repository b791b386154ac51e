import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Context } from './context.ts'
import { diagnostics, type FlowTrigger } from './diagnostics.ts'

/** What an authorization may be begun with. */
export interface AuthorizationOptions {
  trigger: FlowTrigger
  /** Where to go in the end, or null for `successRedirect`. `Flows.begin` drops and logs one that is too long. */
  returnTo: string | null
  scope: readonly string[]
  /** The user for whom the app begins it, where the callback cannot tell. */
  user?: string | undefined
}

/** Begins a flow for the caller of a request; returns the URL at Webflow to go to. */
export async function beginAuthorization (context: Context, request: FastifyRequest, reply: FastifyReply, options: AuthorizationOptions): Promise<string> {
  const { callers, flows, identity, settings } = context
  const { returnTo, scope, trigger } = options
  const user = options.user ?? await callers.userOf(request)
  // Webflow learns no more of a guarded page than of the authorize route.
  reply.header('cache-control', 'no-store').header('referrer-policy', 'no-referrer')
  diagnostics.flowStart.publish({ clientId: settings.clientId, trigger })
  return flows.begin(request, reply, {
    returnTo,
    scope,
    user: user === null ? null : identity.hash(user),
    owner: options.user === undefined ? null : identity.userTokenId(options.user)
  })
}

import type { FastifyReply, FastifyRequest } from 'fastify'
import { diagnostics, type FlowTrigger } from '../diagnostics.ts'
import type { BrowserFlows } from '../flow/browser-flows.ts'
import type { CallerTokens } from './caller-tokens.ts'
import type { Identity } from './identity.ts'

/** What beginning an authorization takes. */
export interface BeginParts {
  callers: CallerTokens
  flows: BrowserFlows
  identity: Identity
  settings: { clientId: string }
}

/** What an authorization may be begun with. */
export interface AuthorizationOptions {
  trigger: FlowTrigger
  /** Where to go in the end, or null for `successRedirect`. */
  returnTo: string | null
  scope: readonly string[]
  /** The user for whom the app begins the flow, where the callback cannot find out who the user is. */
  user?: string | undefined
}

/** Begins a flow for the caller of a request; returns the URL at Webflow to go to. */
export async function beginAuthorization ({ callers, flows, identity, settings }: BeginParts, request: FastifyRequest, reply: FastifyReply, options: AuthorizationOptions): Promise<string> {
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

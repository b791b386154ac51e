import type { FastifyReply, FastifyRequest } from 'fastify'
import { diagnostics, type FlowTrigger } from '../diagnostics.ts'
import type { BrowserFlows } from '../flow/browser-flows.ts'
import { keepOpener } from '../http/popup.ts'
import { privacyHeaders } from '../http/privacy.ts'
import type { CallerTokens } from './caller-tokens.ts'
import type { Identity } from './identity.ts'

/** The parts of the plugin that begin an authorization. */
export interface BeginParts {
  callers: CallerTokens
  flows: BrowserFlows
  identity: Identity
  settings: { clientId: string }
}

/** The details of an authorization that begins. */
export interface AuthorizationOptions {
  /** What begins the flow, for the diagnostics. */
  trigger: FlowTrigger
  /** Where the browser goes in the end, or null for `successRedirect`. */
  returnTo: string | null
  scope: readonly string[]
  /** The user for whom the app begins the flow. The app names the user here if the callback request will not show who the user is. */
  user?: string | undefined
  /** Whether the flow ends in a page that closes itself. Defaults to false. */
  popup?: boolean
}

/** Begins a flow for the caller of a request. Returns the URL at Webflow to which the browser must go. */
export async function beginAuthorization ({ callers, flows, identity, settings }: BeginParts, request: FastifyRequest, reply: FastifyReply, options: AuthorizationOptions): Promise<string> {
  const { returnTo, scope, trigger, popup = false } = options
  const user = options.user ?? (identity.byUser ? await callers.userOf(request) : null)
  // Otherwise the `Referer` of the redirect could show Webflow the URL of the guarded page.
  reply.headers(privacyHeaders)
  if (popup) keepOpener(reply)
  diagnostics.flowStart.publish({ clientId: settings.clientId, trigger })
  return flows.begin(request, reply, {
    returnTo,
    scope,
    user: user === null ? null : identity.hash(user),
    owner: options.user ?? null,
    popup
  })
}

import { isObject, parseJson } from '../collections/json.ts'
import { mac, verifyMac, type DerivedKey } from '../storage/keyring.ts'

/** The content of a flow cookie: what the browser keeps about one authorization. */
export interface FlowCookie {
  /** Where the browser goes in the end, in the shortest spelling; empty for `successRedirect`. */
  returnTo: string
  /** The requested scope. */
  scope: readonly string[]
  /** When the flow began, in Unix milliseconds. */
  startedAt: number
  /** The keyed hash of the user who began the flow, or null. */
  user: string | null
  /** The sealed id of the user for whom the app began the flow, or null. */
  owner: string | null
  /** Whether the flow ends in a page that closes itself, because it was begun in a popup. */
  popup: boolean
  /** When the flow ended, in Unix milliseconds, or null while it is pending. */
  endedAt: number | null
  /**
   * 32 random bytes in base64url. The session id is derived from them and the state, so that somebody who only knows the
   * state cannot compute the session id.
   */
  seed: string
}

/**
 * Writes a flow cookie. The MAC also covers the state, which the cookie itself does not contain. A cookie is therefore
 * valid only together with its own state.
 */
export function createFlowCookie (keys: readonly DerivedKey[], state: string, flow: FlowCookie): string {
  const { returnTo, scope, startedAt, user, owner, popup, endedAt, seed } = flow
  const rest = JSON.stringify({ scope: scope.join(' '), startedAt, seed, user: user ?? undefined, owner: owner ?? undefined, popup: popup || undefined, endedAt: endedAt ?? undefined })
  // `returnTo` stands outside the JSON, because JSON escapes some characters with six bytes and a cookie has only 4,096.
  const payload = Buffer.from(`${rest}\n${returnTo}`).toString('base64url')
  return `${payload}.${mac(keys, `${payload}.${state}`)}`
}

/** Reads a flow cookie; null when the cookie is not ours or does not belong to the state. */
export function readFlowCookie (keys: readonly DerivedKey[], state: string, value: string): FlowCookie | null {
  const [, payload = '', tag = ''] = /^([\w-]+)\.([\w-]{43})$/.exec(value) ?? []
  return verifyMac(keys, `${payload}.${state}`, tag) ? parse(payload) : null
}

/**
 * Reads when the flow of a cookie began and ended. Does not verify the cookie, because that would need the state. The times are
 * used only to count flows and to find the oldest, so a browser that forges its own cookies harms only itself.
 */
export function peekFlowCookie (value: string): Pick<FlowCookie, 'startedAt' | 'endedAt'> {
  const [payload = ''] = value.split('.')
  return parse(payload) ?? { startedAt: 0, endedAt: null }
}

function parse (payload: string): FlowCookie | null {
  const [, json = '', returnTo = ''] = /^([^\n]*)\n([^]*)$/.exec(Buffer.from(payload, 'base64url').toString()) ?? []
  const flow = parseJson(json)
  if (!isObject(flow)) return null
  const { scope, startedAt, user = null, owner = null, popup = false, endedAt = null, seed } = flow
  if (typeof scope !== 'string' || typeof startedAt !== 'number' || typeof seed !== 'string') return null
  if ((user !== null && typeof user !== 'string') || (owner !== null && typeof owner !== 'string')) return null
  if (endedAt !== null && typeof endedAt !== 'number') return null
  return { returnTo, scope: scope.split(' '), startedAt, user, owner, popup: popup === true, endedAt, seed }
}

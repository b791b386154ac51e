import { isObject, parseJson } from '../collections/json.ts'
import { mac, verifyMac, type DerivedKey } from '../storage/keyring.ts'

/** What a browser holds of an authorization that is under way. */
export interface FlowCookie {
  /** Where to go in the end, in its shortest spelling; empty for `successRedirect`. */
  returnTo: string
  /** The requested scope. */
  scope: readonly string[]
  /** When the flow began, in Unix milliseconds. */
  startedAt: number
  /** A keyed hash of the user who began it, or null. */
  user: string | null
  /** The store id of the user for whom an app began it, or null. */
  owner: string | null
  /** When the flow ended, in Unix milliseconds, or null while it is pending. */
  endedAt: number | null
  /** 32 random bytes in base64url. With the state, the session id is derived from them: the state alone opens no session. */
  seed: string
}

/**
 * Writes a flow cookie. The MAC covers the state too, though the cookie does not hold it: a state
 * without its cookie opens nothing, nor does a cookie without its state.
 */
export function createFlowCookie (keys: readonly DerivedKey[], state: string, flow: FlowCookie): string {
  const { returnTo, scope, startedAt, user, owner, endedAt, seed } = flow
  const rest = JSON.stringify({ scope: scope.join(' '), startedAt, seed, user: user ?? undefined, owner: owner ?? undefined, endedAt: endedAt ?? undefined })
  // Outside of the JSON, which would write some characters as six: a cookie has 4,096 bytes.
  const payload = Buffer.from(`${rest}\n${returnTo}`).toString('base64url')
  return `${payload}.${mac(keys, `${payload}.${state}`).toString('base64url')}`
}

/** Reads a flow cookie that belongs to the state; null when it does not. */
export function readFlowCookie (keys: readonly DerivedKey[], state: string, value: string): FlowCookie | null {
  const [, payload = '', tag = ''] = /^([\w-]+)\.([\w-]{43})$/.exec(value) ?? []
  const bytes = Buffer.from(tag, 'base64url')
  // Base64 has several spellings for one end; only ours was made.
  const isOurs = bytes.toString('base64url') === tag && verifyMac(keys, `${payload}.${state}`, bytes)
  return isOurs ? parse(payload) : null
}

/**
 * Reads when the flow of a cookie began and ended, without its state and so unverified: good enough
 * to choose the oldest and to count, for a browser deceives only itself.
 */
export function peekFlowCookie (value: string): Pick<FlowCookie, 'startedAt' | 'endedAt'> {
  const [payload = ''] = value.split('.')
  return parse(payload) ?? { startedAt: 0, endedAt: null }
}

function parse (payload: string): FlowCookie | null {
  const [, json = '', returnTo = ''] = /^([^\n]*)\n([^]*)$/.exec(Buffer.from(payload, 'base64url').toString()) ?? []
  const flow = parseJson(json)
  if (!isObject(flow)) return null
  const { scope, startedAt, user = null, owner = null, endedAt = null, seed } = flow
  if (typeof scope !== 'string' || typeof startedAt !== 'number' || typeof seed !== 'string') return null
  if ((user !== null && typeof user !== 'string') || (owner !== null && typeof owner !== 'string')) return null
  if (endedAt !== null && typeof endedAt !== 'number') return null
  return { returnTo, scope: scope.split(' '), startedAt, user, owner, endedAt, seed }
}

import { channel } from 'node:diagnostics_channel'
import { WebflowOAuthError, isError, type ErrorCode } from './errors.ts'

/** What every message says: whose app it is about, for processes that serve several. */
interface Message {
  clientId: string
}

/** How a call ended, and how long it took. */
export interface CallEnd<Outcome extends string> extends Message {
  outcome: Outcome | 'failed'
  /** The code of the error; null without one, and for an error of the app's own. */
  code: ErrorCode | null
  /** In milliseconds. */
  duration: number
}

/** What begins a flow: the authorize route, a guard that redirects, `startAuthorization`, or an install that came without a `state`. */
export type FlowTrigger = 'authorize' | 'guard' | 'app' | 'install'

/** A flow has begun. */
export interface FlowStart extends Message {
  trigger: FlowTrigger
}

/**
 * A flow has ended, or a callback was refused, such as one with a foreign `state`: a flow that is refused unharmed may
 * still connect. A repeated callback that gets the same answer is no message.
 */
export interface FlowEnd extends CallEnd<'connected'> {
  /** The reason of the error, one of those that the documentation lists; null without. */
  reason: string | null
  /** How long ago the flow began, in milliseconds: mostly the time that a person took. Null where the browser has no such flow. */
  elapsed: number | null
}

/** A code was sent to Webflow. */
export type Exchange = CallEnd<'issued'>

/** A token was sent to Webflow to be revoked. */
export type Revoke = CallEnd<'revoked' | 'already_revoked'>

/** A call to the store failed. */
export interface StoreFailure extends Message {
  method: StoreMethod
  /** It rejected, did not answer in time, or was not made, since the store is given a second of rest after a timeout. */
  reason: 'error' | 'timeout' | 'resting'
  /** In milliseconds. */
  duration: number
}

/** The calls of a store. */
export type StoreMethod = 'get' | 'set' | 'delete' | 'find'

/**
 * Why Webflow ended a token: `revoked`, by the user or by Webflow; `superseded`, because the same user
 * has connected again.
 */
export type DisconnectReason = 'revoked' | 'superseded'

/** The plugin forgot a token that Webflow had ended: one message for each record. */
export interface Disconnect extends Message {
  reason: DisconnectReason
}

/** Is told what happens on a channel. An intersection, for which TypeScript lets Node's channel of `unknown` stand in. */
export type DiagnosticsListener<T> = ((message: T, name: string | symbol) => void) & object

/** A channel of `node:diagnostics_channel`, with the type of its messages. */
export interface DiagnosticsChannel<T> {
  readonly name: string | symbol
  readonly hasSubscribers: boolean
  subscribe (listener: DiagnosticsListener<T>): void
  unsubscribe (listener: DiagnosticsListener<T>): unknown
  publish (message: T): void
}

/** The channels on which the plugin tells what happens. */
export interface Diagnostics {
  readonly flowStart: DiagnosticsChannel<FlowStart>
  readonly flowEnd: DiagnosticsChannel<FlowEnd>
  readonly exchange: DiagnosticsChannel<Exchange>
  readonly revoke: DiagnosticsChannel<Revoke>
  readonly storeFailure: DiagnosticsChannel<StoreFailure>
  readonly disconnect: DiagnosticsChannel<Disconnect>
}

/**
 * The channels on which the plugin tells what happens, for metrics and traces. They belong to the process: all
 * instances publish on them. Messages hold no secret and no personal data, and all but numbers are words of short
 * lists. Whoever knows the names can use `node:diagnostics_channel` as well.
 */
export const diagnostics: Diagnostics = Object.freeze({
  flowStart: channel('fastify-webflow-oauth:flow:start'),
  flowEnd: channel('fastify-webflow-oauth:flow:end'),
  exchange: channel('fastify-webflow-oauth:exchange'),
  revoke: channel('fastify-webflow-oauth:revoke'),
  storeFailure: channel('fastify-webflow-oauth:store:failure'),
  disconnect: channel('fastify-webflow-oauth:disconnect')
})

/** The code of an error of ours; null for one of the app's. */
export function ownCode (error: unknown): ErrorCode | null {
  return isError(error) && error instanceof WebflowOAuthError ? error.code : null
}

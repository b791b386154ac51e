import { channel } from 'node:diagnostics_channel'
import { WebflowOAuthError, isError, type ErrorCode } from './errors.ts'

/** The base of every message. `clientId` names the app, because one process may serve several apps. */
interface Message {
  clientId: string
}

/** The base of messages about a call: how the call ended, and how long it took. */
export interface CallEnd<Outcome extends string> extends Message {
  outcome: Outcome | 'failed'
  /** The plugin's code of the error; null on success, and for an error of the app itself. */
  code: ErrorCode | null
  /** In milliseconds. */
  duration: number
}

/**
 * What began a flow. `authorize`: the authorize route. `guard`: a guard that redirects. `app`: `startAuthorization`.
 * `install`: a callback without `state`, after an install that began at Webflow.
 */
export type FlowTrigger = 'authorize' | 'guard' | 'app' | 'install'

/** A flow has begun. */
export interface FlowStart extends Message {
  trigger: FlowTrigger
}

/**
 * A flow has ended, or a callback was refused, for example because of a foreign `state`. A flow whose callback was refused
 * may still connect later. A repeated callback that gets the same answer publishes no message.
 */
export interface FlowEnd extends CallEnd<'connected'> {
  /** The reason of the error, from the list in the documentation; null when the error has none. */
  reason: string | null
  /**
   * How long ago the flow began, in milliseconds. Most of it is the time that a person took. Null when the browser has no
   * such flow.
   */
  elapsed: number | null
}

/** A call to Webflow that exchanged a code has ended. */
export type Exchange = CallEnd<'issued'>

/** A call to Webflow that revoked a token has ended. */
export type Revoke = CallEnd<'revoked' | 'already_revoked'>

/** A call to the store failed. */
export interface StoreFailure extends Message {
  method: StoreMethod
  /**
   * `error`: the store rejected. `timeout`: the store did not answer in time. `resting`: the plugin did not call the store,
   * because a call had timed out a moment ago.
   */
  reason: 'error' | 'timeout' | 'resting'
  /** In milliseconds. */
  duration: number
}

/** A method of the store, as the messages name it. */
export type StoreMethod = 'get' | 'set' | 'delete' | 'find'

/**
 * Why Webflow ended a token. `revoked`: the user or Webflow revoked it. `superseded`: the same user has connected again.
 */
export type DisconnectReason = 'revoked' | 'superseded'

/** The plugin forgot a token that Webflow had ended: one message for each record. */
export interface Disconnect extends Message {
  reason: DisconnectReason
}

/**
 * A function that receives the messages of a channel. The messages of Node's own channel type are `unknown`: without
 * `& object`, TypeScript would not accept such a channel as a `DiagnosticsChannel`.
 */
export type DiagnosticsListener<T> = ((message: T, name: string | symbol) => void) & object

/** A channel of `node:diagnostics_channel`, with the type of its messages. */
export interface DiagnosticsChannel<T> {
  readonly name: string | symbol
  readonly hasSubscribers: boolean
  subscribe (listener: DiagnosticsListener<T>): void
  unsubscribe (listener: DiagnosticsListener<T>): unknown
  publish (message: T): void
}

/** The diagnostics channels of the plugin. */
export interface Diagnostics {
  readonly flowStart: DiagnosticsChannel<FlowStart>
  readonly flowEnd: DiagnosticsChannel<FlowEnd>
  readonly exchange: DiagnosticsChannel<Exchange>
  readonly revoke: DiagnosticsChannel<Revoke>
  readonly storeFailure: DiagnosticsChannel<StoreFailure>
  readonly disconnect: DiagnosticsChannel<Disconnect>
}

/**
 * The channels on which the plugin publishes what happens, for metrics and traces. All instances in a process publish on
 * the same channels. Messages hold no secrets and no personal data; apart from `clientId` and numbers, all their values are
 * words from short lists. An app can also subscribe by name, with `node:diagnostics_channel`.
 */
export const diagnostics: Diagnostics = Object.freeze({
  flowStart: channel('fastify-webflow-oauth:flow:start'),
  flowEnd: channel('fastify-webflow-oauth:flow:end'),
  exchange: channel('fastify-webflow-oauth:exchange'),
  revoke: channel('fastify-webflow-oauth:revoke'),
  storeFailure: channel('fastify-webflow-oauth:store:failure'),
  disconnect: channel('fastify-webflow-oauth:disconnect')
})

/** Returns the code of an error of the plugin; null for any other value. */
export function ownCode (error: unknown): ErrorCode | null {
  return isError(error) && error instanceof WebflowOAuthError ? error.code : null
}

import type { Authorizations } from './authorizations.ts'
import type { IdTokens } from './id-tokens.ts'
import type { Config, User } from './options.ts'

/** The state of the simulated Webflow. All endpoints share it. */
export interface Webflow {
  readonly config: Config
  readonly authorizations: Authorizations
  readonly idTokens: IdTokens
  /** The signed-in user. */
  user: User
  /** The URL of each app's Designer Extension, by client id, as far as it is known. */
  readonly extensionUrls: Map<string, string>
  /** How the app answered the last webhook that a person has sent, in words; null if nobody has sent one. */
  delivered: string | null
}

import type { Authorizations } from './authorizations.ts'
import type { Config, User } from './options.ts'

/** The simulated Webflow behind its endpoints. */
export interface Webflow {
  readonly config: Config
  readonly authorizations: Authorizations
  /** Who is signed in. */
  user: User
}

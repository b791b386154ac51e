/** The errors the revocation endpoint is documented to give. */
export type RevocationErrorCode = 'invalid_client' | 'invalid_token' | 'invalid_request'

/**
 * What nobody outside Webflow knows for certain: one switch for each guess.
 * Run an app's tests under the other settings to learn what it silently relies on.
 */
export interface Behavior {
  /**
   * What a second authorization by the same user gives the app: a `new` token beside the old one, the `same` token
   * again, or a new one that ends the old (`new-ends-old`). Unknown; defaults to `new`.
   */
  readonly repeatedAuthorization: 'new' | 'same' | 'new-ends-old'
  /**
   * Whether a user who already consented to all that is asked is shown the consent page again (`show`) or is sent
   * straight back with a code (`skip`). Seen to vary; defaults to `show`.
   */
  readonly repeatedConsent: 'show' | 'skip'
  /**
   * Where the user is sent when the request names no `redirect_uri` and several are registered: to the `first`, or
   * to an error page (`refuse`). That it may be left out is seen, which one is taken is not; defaults to `first`.
   */
  readonly omittedRedirectUri: 'first' | 'refuse'
  /**
   * What a request without `scope` asks for: all that the app has `configured`, or nothing, which is an
   * `invalid_scope` error (`refuse`). Unknown; defaults to `configured`.
   */
  readonly omittedScope: 'configured' | 'refuse'
  /** The `error` of a user's denial. Near certain, not documented; defaults to `access_denied`. */
  readonly denialError: string
  /**
   * What the token endpoint says to wrong credentials: `invalid_grant` with status 400, as documented, or
   * `invalid_client` with status 401, as RFC 6749 section 5.2 has it. Defaults to `invalid_grant`.
   */
  readonly wrongCredentials: 'invalid_grant' | 'invalid_client'
  /**
   * Whether a code that is presented twice ends the token it was exchanged for, as RFC 6749 section 4.1.2
   * recommends. Unknown; defaults to false.
   */
  readonly reusedCodeEndsToken: boolean
  /** Whether the token response carries `scope`, space separated. Not documented; defaults to false. */
  readonly scopeInTokenResponse: boolean
  /**
   * Life of an access token, in seconds: sent as `expires_in`, and kept. Not documented; defaults to null, a token
   * that does not expire and an answer that does not say.
   */
  readonly expiresIn: number | null
  /** The member that tells of a successful revocation; an old SDK types `didRevoke`. Defaults to `did_revoke`. */
  readonly revokedMember: 'did_revoke' | 'didRevoke'
  /**
   * Statuses of the revocation endpoint's errors, which are documented without any.
   * Default to 401 for `invalid_client` and 400 for the others.
   */
  readonly revocationErrorStatus: Readonly<Record<RevocationErrorCode, number>>
  /** Whether revoking one token ends the user's other tokens of the app. Unknown; defaults to false. */
  readonly revocationEndsSiblings: boolean
  /**
   * What an authorization, with its id and its date, stands for in an introspection: one `token`, or the `grant` of a
   * user to an app, however many tokens it has. Unknown; defaults to `token`.
   */
  readonly authorizationOf: 'token' | 'grant'
  /** Whether an introspection names the user who made the grant; every field is optional. Defaults to true. */
  readonly introspectionListsUsers: boolean
  /** What stands between scopes in an introspection; both are seen. Defaults to a comma. */
  readonly introspectionScopeSeparator: ',' | ' '
  /**
   * Whether the introspection of a workspace grant names the workspace's sites in `siteIds` too.
   * That the list is empty is likely, not known; defaults to false.
   */
  readonly workspaceGrantListsSites: boolean
}

/** The switches a caller sets; what is left out keeps its default. */
export type BehaviorOptions = Partial<Omit<Behavior, 'revocationErrorStatus'>> & {
  readonly revocationErrorStatus?: Partial<Readonly<Record<RevocationErrorCode, number>>>
}

const defaults: Behavior = {
  repeatedAuthorization: 'new',
  repeatedConsent: 'show',
  omittedRedirectUri: 'first',
  omittedScope: 'configured',
  denialError: 'access_denied',
  wrongCredentials: 'invalid_grant',
  reusedCodeEndsToken: false,
  scopeInTokenResponse: false,
  expiresIn: null,
  revokedMember: 'did_revoke',
  revocationErrorStatus: { invalid_client: 401, invalid_token: 400, invalid_request: 400 },
  revocationEndsSiblings: false,
  authorizationOf: 'token',
  introspectionListsUsers: true,
  introspectionScopeSeparator: ',',
  workspaceGrantListsSites: false
}

/** What each switch can be set to. */
const choices: Readonly<Record<keyof Behavior, readonly unknown[] | ((value: unknown) => boolean)>> = {
  repeatedAuthorization: ['new', 'same', 'new-ends-old'],
  repeatedConsent: ['show', 'skip'],
  omittedRedirectUri: ['first', 'refuse'],
  omittedScope: ['configured', 'refuse'],
  denialError: (value) => typeof value === 'string' && value !== '',
  wrongCredentials: ['invalid_grant', 'invalid_client'],
  reusedCodeEndsToken: [true, false],
  scopeInTokenResponse: [true, false],
  expiresIn: (value) => value === null || (Number.isFinite(value) && Number(value) >= 0),
  revokedMember: ['did_revoke', 'didRevoke'],
  revocationErrorStatus: isStatuses,
  revocationEndsSiblings: [true, false],
  authorizationOf: ['token', 'grant'],
  introspectionListsUsers: [true, false],
  introspectionScopeSeparator: [',', ' '],
  workspaceGrantListsSites: [true, false]
}

/** Completes the switches; throws a TypeError for a name or a value that is none, since a misspelt switch would test nothing. */
export function completeBehavior (options: BehaviorOptions): Behavior {
  const given = Object.entries(options).filter(([, value]) => value !== undefined)
  for (const [name, value] of given) {
    if (!isSwitch(name)) throw new TypeError(`\`behavior.${name}\` is no switch of the simulator`)
    const choice = choices[name]
    const isChoice = typeof choice === 'function' ? choice(value) : choice.includes(value)
    if (!isChoice) throw new TypeError(`\`behavior.${name}\` cannot be ${JSON.stringify(value)}${typeof choice === 'function' ? '' : `: choose one of ${choice.join(', ')}`}`)
  }
  return Object.freeze({
    ...defaults,
    ...Object.fromEntries(given),
    revocationErrorStatus: { ...defaults.revocationErrorStatus, ...options.revocationErrorStatus }
  })
}

/** Some of the errors, each with a status that an answer can have. */
function isStatuses (value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.entries(value).every(([error, status]) =>
    Object.hasOwn(defaults.revocationErrorStatus, error) && Number.isInteger(status) && status >= 200 && status <= 599)
}

function isSwitch (name: string): name is keyof Behavior {
  return Object.hasOwn(defaults, name)
}

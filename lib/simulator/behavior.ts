/** The errors that Webflow documents for its revocation endpoint. */
export type RevocationErrorCode = 'invalid_client' | 'invalid_token' | 'invalid_request'

/**
 * How the simulator behaves where nobody outside Webflow knows Webflow's behavior for certain. There is one switch for each
 * guess. Run an app's tests with other settings too, to learn whether the app relies on a guess.
 */
export interface Behavior {
  /**
   * Which token the app gets when the same user authorizes it a second time: a `new` token beside the old one, the `same`
   * token again, or a new token that ends the old one (`new-ends-old`). Webflow's behavior is unknown. Defaults to `new`.
   */
  readonly repeatedAuthorization: 'new' | 'same' | 'new-ends-old'
  /**
   * What happens when the user has already consented to all requested scopes: the user sees the consent page again (`show`),
   * or goes straight back to the app with a code (`skip`). Webflow has been seen to do both. Defaults to `show`.
   */
  readonly repeatedConsent: 'show' | 'skip'
  /**
   * Where the user goes when the request names no `redirect_uri` and the app has registered several: to the `first` one, or
   * to an error page (`refuse`). Webflow has been seen to accept requests without `redirect_uri`, but nobody knows which
   * URI it then uses. Defaults to `first`.
   */
  readonly omittedRedirectUri: 'first' | 'refuse'
  /**
   * What a request without `scope` means: it asks for all scopes that the app has `configured`, or it is answered with the
   * error `invalid_scope` (`refuse`). Webflow's behavior is unknown. Defaults to `configured`.
   */
  readonly omittedScope: 'configured' | 'refuse'
  /** The `error` that the app gets when the user denies. Defaults to `access_denied`: almost certainly Webflow's, but not documented. */
  readonly denialError: string
  /**
   * How the token endpoint answers wrong credentials: with `invalid_grant` and status 400, as Webflow documents, or with
   * `invalid_client` and status 401, as RFC 6749 section 5.2 says. Defaults to `invalid_grant`.
   */
  readonly wrongCredentials: 'invalid_grant' | 'invalid_client'
  /**
   * Whether the token that was issued for a code ends when the code is presented again, as RFC 6749 section 4.1.2
   * recommends. Webflow's behavior is unknown. Defaults to false.
   */
  readonly reusedCodeEndsToken: boolean
  /** Whether the token response has the member `scope`, separated by spaces. Webflow does not document it. Defaults to false. */
  readonly scopeInTokenResponse: boolean
  /**
   * How long an access token lives, in seconds. The token response says so in `expires_in`. With null, tokens do not expire
   * and the response has no `expires_in`. Webflow does not document it. Defaults to null.
   */
  readonly expiresIn: number | null
  /** The member that reports a successful revocation. An old Webflow SDK declares `didRevoke`. Defaults to `did_revoke`. */
  readonly revokedMember: 'did_revoke' | 'didRevoke'
  /**
   * The HTTP statuses of the revocation endpoint's errors. Webflow documents the errors without a status.
   * Defaults to 401 for `invalid_client` and 400 for the others.
   */
  readonly revocationErrorStatus: Readonly<Record<RevocationErrorCode, number>>
  /**
   * The only host at which the region `eu` answers revocation requests. Webflow documents this host for the US only: it is
   * `webflow.com`. The switch matters only if requests name a host of Webflow, for example because a `dispatcher` leads them to
   * the simulator. Defaults to `eu.webflow.com`.
   */
  readonly euRevocationHost: 'eu.webflow.com' | 'api.eu.webflow.com'
  /** Whether revoking one token also ends the user's other tokens of the app. Webflow's behavior is unknown. Defaults to false. */
  readonly revocationEndsSiblings: boolean
  /**
   * Which id and date an introspection reports for the authorization: those of the `token`, or those of the `grant`, which
   * all tokens of one user for the app share. Webflow's behavior is unknown. Defaults to `token`.
   */
  readonly authorizationOf: 'token' | 'grant'
  /** Whether an introspection lists the user who made the grant. Webflow documents the field as optional. Defaults to true. */
  readonly introspectionListsUsers: boolean
  /** The separator between scopes in an introspection. Webflow has been seen to use both a comma and a space. Defaults to a comma. */
  readonly introspectionScopeSeparator: ',' | ' '
  /**
   * Whether the introspection of a workspace grant also lists the workspace's sites in `siteIds`.
   * Webflow probably leaves the list empty, but nobody knows. Defaults to false.
   */
  readonly workspaceGrantListsSites: boolean
  /**
   * Which access tokens can resolve an ID token: `any` token of the app, or only a token that opens the `site` of the ID token.
   * Both have been seen. Defaults to `site`.
   */
  readonly resolvingToken: 'any' | 'site'
  /** Whether the answer to a resolved ID token names the site. Webflow's specification has the field as optional. Defaults to true. */
  readonly resolveNamesSite: boolean
  /**
   * Whether resolving an ID token needs an access token with the scope `authorized_user:read`. If so, any other token gets 403
   * `missing_scopes`. This has been seen. Defaults to true.
   */
  readonly resolveNeedsScope: boolean
  /** The status with which Webflow refuses an ID token. It is undocumented. Defaults to 400. */
  readonly idTokenErrorStatus: 400 | 401 | 404 | 422
  /**
   * What a webhook carries when it is delivered again: the time of the repetition and a new signature (`signed-anew`), or
   * those of the first delivery (`same`). Webflow's behavior is unknown. Defaults to `signed-anew`.
   */
  readonly webhookRetries: 'signed-anew' | 'same'
}

/** The switches that a caller sets. The others keep their defaults. */
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
  euRevocationHost: 'eu.webflow.com',
  revocationEndsSiblings: false,
  authorizationOf: 'token',
  introspectionListsUsers: true,
  introspectionScopeSeparator: ',',
  workspaceGrantListsSites: false,
  resolvingToken: 'site',
  resolveNamesSite: true,
  resolveNeedsScope: true,
  idTokenErrorStatus: 400,
  webhookRetries: 'signed-anew'
}

/** The allowed values of each switch: a list, or a function that tests a value. */
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
  euRevocationHost: ['eu.webflow.com', 'api.eu.webflow.com'],
  revocationEndsSiblings: [true, false],
  authorizationOf: ['token', 'grant'],
  introspectionListsUsers: [true, false],
  introspectionScopeSeparator: [',', ' '],
  workspaceGrantListsSites: [true, false],
  resolvingToken: ['any', 'site'],
  resolveNamesSite: [true, false],
  resolveNeedsScope: [true, false],
  idTokenErrorStatus: [400, 401, 404, 422],
  webhookRetries: ['signed-anew', 'same']
}

/**
 * Fills in the defaults of the switches. Throws a TypeError for an unknown name or value: a test with a misspelt switch would
 * otherwise pass without testing anything.
 */
export function completeBehavior (options: BehaviorOptions): Behavior {
  const given = Object.entries(options).filter(([, value]) => value !== undefined)
  for (const [name, value] of given) {
    if (!isSwitch(name)) throw new TypeError(`The simulator has no switch \`behavior.${name}\`: choose among ${Object.keys(defaults).join(', ')}`)
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

/** Tells whether a value maps errors of the revocation endpoint to HTTP statuses. */
function isStatuses (value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.entries(value).every(([error, status]) =>
    Object.hasOwn(defaults.revocationErrorStatus, error) && Number.isInteger(status) && status >= 200 && status <= 599)
}

function isSwitch (name: string): name is keyof Behavior {
  return Object.hasOwn(defaults, name)
}

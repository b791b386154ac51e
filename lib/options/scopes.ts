/** Scopes that Webflow is known to have, sorted. */
export const knownScopes = [
  'agent_instructions:read',
  'ai:write',
  'app_subscriptions:read',
  'assets:read',
  'assets:write',
  'authorized_user:read',
  'branches:create',
  'branches:delete',
  'branches:merge',
  'branches:publish',
  'branches:read',
  'branches:update',
  'cms:read',
  'cms:write',
  'comments:read',
  'comments:write',
  'components:read',
  'components:write',
  'custom_code:read',
  'custom_code:write',
  'devlink_export:read',
  'ecommerce:read',
  'ecommerce:write',
  'forms:read',
  'forms:write',
  'page_client:write',
  'pages:read',
  'pages:write',
  'site_access:read',
  'site_activity:read',
  'site_config:read',
  'site_config:write',
  'sites:read',
  'sites:write',
  'users:read',
  'users:write',
  'workspace:read',
  'workspace:write',
  'workspace_members:write'
] as const

/** The scopes that Webflow is known to have: those it documents, and those its registry and its command line use. */
export type KnownScope = typeof knownScopes[number]

/** A scope: the known ones complete in an editor, any other string is taken too. */
export type Scope = KnownScope | (string & {})

/**
 * Tells whether a value can be asked for: a scope-token of RFC 6749, section 3.3, of at most 100 characters. Without a comma,
 * by which Webflow's introspection separates scopes.
 */
export function isScopeToken (value: unknown): value is Scope {
  return typeof value === 'string' && /^[\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]{1,100}$/.test(value)
}

/** Tells whether a value is spelled as all scopes of Webflow are, so that a message can name it: it holds no markup. */
export function isScope (value: unknown): value is Scope {
  return typeof value === 'string' && /^[\w.-]{1,99}:[\w.-]{1,99}$/.test(value)
}

/** Tells whether Webflow is known to have a scope. */
export function isKnownScope (scope: string): boolean {
  return knownScopes.some((known) => known === scope)
}

/** Finds the known scope that differs from a name in case, in a plural or in what is between words; null without. */
export function similarScope (scope: string): string | null {
  return knownScopes.find((known) => bareName(known) === bareName(scope)) ?? null
}

/** The words of a name, without their plurals: `branch` and `branches`, `pageClient` and `page_client` come out the same. */
function bareName (name: string): string {
  const words = name.replace(/([a-z])([A-Z])/g, '$1 $2').toLowerCase().split(/[^a-z]+/)
  return words.map((word) => word.replace(/e?s?$/, '')).join('')
}

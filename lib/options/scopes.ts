/** The scopes that the plugin knows: those in Webflow's documentation, its package registry and its command line. Sorted. */
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

/** A scope that the plugin knows. */
export type KnownScope = typeof knownScopes[number]

/** A scope. An editor suggests the known scopes, and TypeScript accepts any other string too. */
export type Scope = KnownScope | (string & {})

/**
 * Tells whether a value can be requested as a scope: a scope-token of RFC 6749, section 3.3, of at most 100 characters.
 * Commas are refused, because Webflow's introspection separates scopes by commas.
 */
export function isScopeToken (value: unknown): value is Scope {
  return typeof value === 'string' && /^[\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]{1,100}$/.test(value)
}

/** Tells whether a value has the form of Webflow's scopes, like `sites:read`. It then holds no markup, so a message may quote it. */
export function isScope (value: unknown): value is Scope {
  return typeof value === 'string' && /^[\w.-]{1,99}:[\w.-]{1,99}$/.test(value)
}

/** Tells whether the plugin knows a scope. */
export function isKnownScope (scope: string): boolean {
  return knownScopes.some((known) => known === scope)
}

/** Finds the known scope that differs from a name only in case, plural or the separators between words; null when there is none. */
export function similarScope (scope: string): string | null {
  return knownScopes.find((known) => bareName(known) === bareName(scope)) ?? null
}

/** Reduces a name to its words in the singular, so that `branch` equals `branches` and `pageClient` equals `page_client`. */
function bareName (name: string): string {
  const words = name.replace(/([a-z])([A-Z])/g, '$1 $2').toLowerCase().split(/[^a-z]+/)
  return words.map((word) => word.replace(/e?s?$/, '')).join('')
}

const knownScopes = [
  'app_subscriptions:read',
  'assets:read',
  'assets:write',
  'authorized_user:read',
  'cms:read',
  'cms:write',
  'comments:read',
  'comments:write',
  'components:read',
  'components:write',
  'custom_code:read',
  'custom_code:write',
  'ecommerce:read',
  'ecommerce:write',
  'forms:read',
  'forms:write',
  'pages:read',
  'pages:write',
  'site_activity:read',
  'site_config:read',
  'site_config:write',
  'sites:read',
  'sites:write',
  'users:read',
  'users:write',
  'workspace:read',
  'workspace:write'
] as const

/**
 * The scopes that Webflow documents; any other `name:read` or `name:write` is accepted too, since new ones appear.
 */
export type KnownScope = typeof knownScopes[number]

/** A scope: the known ones complete in an editor, any other string is taken too. */
export type Scope = KnownScope | (string & {})

/** Tells whether a value has the shape of a Webflow scope: `name:read` or `name:write`. */
export function isScope (value: unknown): value is Scope {
  return typeof value === 'string' && /^[\w.-]{1,64}:(?:read|write)$/.test(value)
}

/** Tells whether Webflow documents a scope. */
export function isKnownScope (scope: string): boolean {
  return knownScopes.some((known) => known === scope)
}

/** Finds the documented scope that differs from a name in case, in its plural or in what is between words; null without. */
export function similarScope (scope: string): string | null {
  const bare = (name: string) => name.toLowerCase().replace(/[^a-z:]|s(?=:)/g, '')
  return knownScopes.find((known) => bare(known) === bare(scope)) ?? null
}

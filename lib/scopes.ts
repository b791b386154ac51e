/**
 * The scopes that Webflow documents; any other `name:read` or `name:write` is accepted too, since new ones appear.
 */
export type KnownScope =
  | 'app_subscriptions:read'
  | 'assets:read'
  | 'assets:write'
  | 'authorized_user:read'
  | 'cms:read'
  | 'cms:write'
  | 'comments:read'
  | 'comments:write'
  | 'components:read'
  | 'components:write'
  | 'custom_code:read'
  | 'custom_code:write'
  | 'ecommerce:read'
  | 'ecommerce:write'
  | 'forms:read'
  | 'forms:write'
  | 'pages:read'
  | 'pages:write'
  | 'site_activity:read'
  | 'site_config:read'
  | 'site_config:write'
  | 'sites:read'
  | 'sites:write'
  | 'users:read'
  | 'users:write'
  | 'workspace:read'
  | 'workspace:write'

/** A scope: the known ones complete in an editor, any other string is taken too. */
export type Scope = KnownScope | (string & {})

/** Tells whether a value has the shape of a Webflow scope: `name:read` or `name:write`. */
export function isScope (value: unknown): value is Scope {
  return typeof value === 'string' && /^[\w.-]{1,64}:(?:read|write)$/.test(value)
}

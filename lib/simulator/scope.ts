const things: ReadonlyMap<string, string> = new Map([
  ['authorized_user', 'your name and email address'],
  ['app_subscriptions', 'your subscriptions to the app'],
  ['assets', 'assets'],
  ['cms', 'CMS collections and items'],
  ['comments', 'comments'],
  ['components', 'components'],
  ['custom_code', 'custom code'],
  ['ecommerce', 'products, orders and inventory'],
  ['forms', 'forms and their submissions'],
  ['pages', 'pages'],
  ['sites', 'sites'],
  ['site_activity', 'activity logs of sites'],
  ['site_config', 'settings of sites'],
  ['users', 'accounts of the users of sites'],
  ['workspace', 'the workspace']
])

const readOnly: ReadonlySet<string> = new Set(['authorized_user', 'app_subscriptions', 'site_activity'])

/** All scopes that Webflow documents. */
export const allScopes = [...things.keys()].flatMap((thing) => ['read', 'write'].map((action) => `${thing}:${action}`)).filter(isKnownScope)

/** Tells whether Webflow knows the scope. */
export function isKnownScope (scope: string): boolean {
  const [thing = '', action, ...rest] = scope.split(':')
  return rest.length === 0 && things.has(thing) && (action === 'read' || (action === 'write' && !readOnly.has(thing)))
}

/** Says in plain words what a list of scopes allows, one phrase for each thing. */
export function describeScope (scope: readonly string[]): string[] {
  const asked = new Set(scope)
  const names = new Set(scope.map((name) => name.replace(/:(?:read|write)$/, '')))
  return [...names].map((name) => {
    const thing = things.get(name) ?? name.replaceAll('_', ' ')
    if (!asked.has(`${name}:write`)) return `See ${thing}`
    return asked.has(`${name}:read`) ? `See and change ${thing}` : `Change ${thing}`
  })
}

const readWrite = ['read', 'write']

/** What the known scopes are about: each thing with its phrase for the consent page, and the verbs that its scopes have. */
const things: ReadonlyMap<string, { phrase: string, verbs: readonly string[] }> = new Map([
  ['authorized_user', { phrase: 'your name and email address', verbs: ['read'] }],
  ['app_subscriptions', { phrase: 'your subscriptions to the app', verbs: ['read'] }],
  ['agent_instructions', { phrase: 'instructions for agents', verbs: ['read'] }],
  ['ai', { phrase: 'content by AI', verbs: ['write'] }],
  ['assets', { phrase: 'assets', verbs: readWrite }],
  ['branches', { phrase: 'branches of pages', verbs: ['create', 'read', 'update', 'delete', 'merge', 'publish'] }],
  ['cms', { phrase: 'CMS collections and items', verbs: readWrite }],
  ['comments', { phrase: 'comments', verbs: readWrite }],
  ['components', { phrase: 'components', verbs: readWrite }],
  ['custom_code', { phrase: 'custom code', verbs: readWrite }],
  ['devlink_export', { phrase: 'components exported by DevLink', verbs: ['read'] }],
  ['ecommerce', { phrase: 'products, orders and inventory', verbs: readWrite }],
  ['forms', { phrase: 'forms and their submissions', verbs: readWrite }],
  ['page_client', { phrase: 'pages that are open in the Designer', verbs: ['write'] }],
  ['pages', { phrase: 'pages', verbs: readWrite }],
  ['site_access', { phrase: 'who has access to sites', verbs: ['read'] }],
  ['sites', { phrase: 'sites', verbs: readWrite }],
  ['site_activity', { phrase: 'activity logs of sites', verbs: ['read'] }],
  ['site_config', { phrase: 'settings of sites', verbs: readWrite }],
  ['users', { phrase: 'accounts of the users of sites', verbs: readWrite }],
  ['workspace', { phrase: 'the workspace', verbs: readWrite }],
  ['workspace_members', { phrase: 'members of the workspace', verbs: ['write'] }]
])

/** All scopes that the simulator knows. */
export const allScopes = [...things].flatMap(([name, { verbs }]) => verbs.map((verb) => `${name}:${verb}`))

/** Tells whether the simulator knows a scope. */
export function isKnownScope (scope: string): boolean {
  return allScopes.includes(scope)
}

/**
 * Tells whether a value can be a scope: a scope-token (RFC 6749, section 3.3) of at most 100 characters. Commas are refused,
 * because they separate scopes in an introspection.
 */
export function isScopeToken (value: unknown): value is string {
  return typeof value === 'string' && /^[\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]{1,100}$/.test(value)
}

/**
 * Says in plain words what a list of scopes allows. Reading and writing the same thing become one phrase; each other verb
 * has a phrase of its own.
 */
export function describeScope (scope: readonly string[]): string[] {
  const asked = new Set(scope)
  const described = scope.map((name) => {
    const [, thing = name, verb = 'use'] = /^(.+):([^:]+)$/.exec(name) ?? []
    const phrase = things.get(thing)?.phrase ?? thing.replaceAll('_', ' ')
    if (verb !== 'read' && verb !== 'write') return `${verb.charAt(0).toUpperCase()}${verb.slice(1)} ${phrase}`
    if (!asked.has(`${thing}:write`)) return `See ${phrase}`
    return asked.has(`${thing}:read`) ? `See and change ${phrase}` : `Change ${phrase}`
  })
  return [...new Set(described)]
}

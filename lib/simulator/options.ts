import type { FastifyServerOptions } from 'fastify'
import { completeBehavior } from './behavior.ts'
import type { Behavior, BehaviorOptions } from './behavior.ts'
import { isRegion } from './regions.ts'
import type { Region } from './regions.ts'
import { isScopeToken } from './scope.ts'

/** An app as registered with Webflow. */
export interface AppOptions {
  readonly clientId: string
  readonly clientSecret: string
  /** The name of the app. Defaults to `My Amazing App`. */
  readonly name?: string
  /**
   * The registered redirect URIs, compared exactly. Each is absolute, without a fragment, and https, or http on a loopback
   * host. A request that names no redirect URI gets the first one.
   */
  readonly redirectUris: readonly string[]
  /** The scopes that the app has configured. It cannot request others. */
  readonly scope: readonly string[]
  /**
   * The URL of the app's Designer Extension, which the simulator's Designer shows in a frame: https, or http on localhost or
   * 127.0.0.1. Defaults to none. A person can also enter one on the Designer's page.
   */
  readonly extensionUrl?: string
}

/** A person with a Webflow account. */
export interface User {
  readonly id: string
  readonly email: string
  readonly firstName: string
  readonly lastName: string
}

/** A site of a workspace. */
export interface Site {
  readonly id: string
  readonly displayName: string
  readonly shortName: string
}

/** A workspace and the sites in it. */
export interface Workspace {
  readonly id: string
  readonly displayName: string
  readonly sites: readonly Site[]
}

/** The options of `createSimulator`. */
export interface SimulatorOptions {
  /** The registered app. At least one app is required, here or in `apps`. */
  readonly app?: AppOptions
  /**
   * The region that the simulator plays. If a request names a host of the other region, the simulator answers like a Webflow
   * that knows neither the app nor its tokens. Defaults to `us`.
   */
  readonly region?: Region
  /** More registered apps. Each needs a `clientId` of its own. */
  readonly apps?: readonly AppOptions[]
  /** Who is signed in. Defaults to Ada Lovelace. */
  readonly user?: User
  /** The users that a person can choose on the simulator's pages to sign in, besides `user`. Defaults to Ada Lovelace and Grace Hopper. */
  readonly users?: readonly User[]
  /** The workspaces and sites that a user can pick. Defaults to one workspace with two sites and one with one site. */
  readonly workspaces?: readonly Workspace[]
  readonly behavior?: BehaviorOptions
  /** Returns the time in Unix milliseconds, by which codes and tokens expire. Defaults to `Date.now`. */
  readonly now?: () => number
  /** Fastify's option `logger`. Log lines hold the method and the path, but no parameters. Defaults to false. */
  readonly logger?: NonNullable<FastifyServerOptions['logger']>
}

/** The options after checking, with their defaults. */
export interface Config {
  readonly region: Region
  readonly apps: ReadonlyMap<string, App>
  /** The first app. `install` and `uninstall` use it when they are called without a `clientId`. */
  readonly defaultApp: App
  readonly user: User
  /** The users that a person can choose to sign in, by id. */
  readonly users: ReadonlyMap<string, User>
  readonly workspaces: readonly Workspace[]
  readonly behavior: Behavior
  readonly now: () => number
  readonly logger: NonNullable<FastifyServerOptions['logger']>
}

/** An app with its defaults. */
export type App = Required<Omit<AppOptions, 'extensionUrl'>> & { readonly defaultRedirectUri: string, readonly extensionUrl: string | null }

const optionNames: ReadonlySet<string> = new Set(['app', 'apps', 'user', 'users', 'workspaces', 'region', 'behavior', 'now', 'logger'])

const ada: User = {
  id: '545bbecb7bdd6769632504a7',
  email: 'ada@example.com',
  firstName: 'Ada',
  lastName: 'Lovelace'
}

const grace: User = {
  id: '545bbecb7bdd6769632504a8',
  email: 'grace@example.com',
  firstName: 'Grace',
  lastName: 'Hopper'
}

const studios: readonly Workspace[] = [
  {
    id: '52f3b1f7eafac55d0c64ef91',
    displayName: 'Analytical Studio',
    sites: [
      { id: '62f3b1f7eafac55d0c64ef91', displayName: 'Difference Engine', shortName: 'difference-engine' },
      { id: '62f3b1f7eafac55d0c64ef92', displayName: 'Notes by A. A. L.', shortName: 'notes-by-aal' }
    ]
  },
  {
    id: '52f3b1f7eafac55d0c64ef92',
    displayName: 'Ockham Park',
    sites: [
      { id: '62f3b1f7eafac55d0c64ef93', displayName: 'Ockham Gardens', shortName: 'ockham-gardens' }
    ]
  }
]

/** Checks the options and fills in the defaults. Throws a TypeError that names the wrong option. */
export function completeOptions (options: SimulatorOptions): Config {
  for (const name of Object.keys(options)) {
    if (!optionNames.has(name)) throw new TypeError(`The simulator has no option \`${name}\`: choose among ${[...optionNames].join(', ')}`)
  }
  const list = [...(options.app === undefined ? [] : [options.app]), ...(options.apps ?? [])].map(completeApp)
  const [defaultApp] = list
  if (defaultApp === undefined) throw new TypeError('`app` is missing: the simulator needs an app to authorize')
  const apps = new Map(list.map((app) => [app.clientId, app]))
  if (apps.size < list.length) throw new TypeError('Two apps have the same `clientId`: give each app its own')
  const { region = 'us', user = ada, users = [ada, grace], workspaces = studios } = options
  if (!isRegion(region)) throw new TypeError('`region` must be us or eu')
  assertUser(user)
  if (!Array.isArray(users)) throw new TypeError('`users` must be a list of users')
  for (const each of users) assertUser(each)
  assertWorkspaces(workspaces)
  return {
    region,
    apps,
    defaultApp,
    user,
    // `user` is given twice: the first time to be listed first, the second time to win over a user with the same id in `users`.
    users: new Map([user, ...users, user].map((each) => [each.id, each])),
    workspaces,
    behavior: completeBehavior(options.behavior ?? {}),
    now: options.now ?? Date.now,
    logger: options.logger ?? false
  }
}

function completeApp (app: AppOptions): App {
  if (typeof app.clientId !== 'string' || app.clientId === '') throw new TypeError('`clientId` of an app is missing')
  if (typeof app.clientSecret !== 'string' || app.clientSecret === '') throw new TypeError('`clientSecret` of an app is missing')
  if (!Array.isArray(app.redirectUris)) throw new TypeError('`redirectUris` of an app must be a list of URLs')
  if (!Array.isArray(app.scope)) throw new TypeError('`scope` of an app must be a list of scopes such as \'sites:read\'')
  if (!app.scope.every(isScopeToken)) throw new TypeError('`scope` of an app holds an entry that is not a scope: a scope is a string of at most 100 characters without white space, commas, quotes and backslashes, such as \'sites:read\'')
  const [defaultRedirectUri] = app.redirectUris
  if (defaultRedirectUri === undefined) throw new TypeError('`redirectUris` of an app is empty')
  for (const redirectUri of app.redirectUris) assertRedirectUri(redirectUri)
  const { extensionUrl = null } = app
  if (extensionUrl !== null && !isExtensionUrl(extensionUrl)) throw new TypeError('`extensionUrl` of an app must be a URL, https or http on localhost, such as \'http://localhost:1337\'')
  return { name: 'My Amazing App', ...app, defaultRedirectUri, extensionUrl }
}

/** Tells whether a value is the URL of an extension: https, or http on loopback. A content security policy cannot name [::1]. */
export function isExtensionUrl (value: unknown): value is string {
  if (typeof value !== 'string' || !URL.canParse(value)) return false
  const { hostname, protocol } = new URL(value)
  return protocol === 'https:' || (protocol === 'http:' && loopback.test(hostname) && !hostname.startsWith('['))
}

/** Throws a TypeError unless a value is a user. */
export function assertUser (user: unknown): asserts user is User {
  if (!hasStrings(user, ['id', 'email', 'firstName', 'lastName'])) throw new TypeError('A user must be an object with the strings `id`, `email`, `firstName` and `lastName`')
}

function assertWorkspaces (workspaces: unknown): asserts workspaces is Workspace[] {
  const list: unknown[] = Array.isArray(workspaces) ? workspaces : [null]
  const isWorkspace = (workspace: unknown): boolean => {
    const sites: unknown = hasStrings(workspace, ['id', 'displayName']) && Reflect.get(Object(workspace), 'sites')
    return Array.isArray(sites) && sites.every((site) => hasStrings(site, ['id', 'displayName', 'shortName']))
  }
  if (!list.every(isWorkspace)) throw new TypeError('`workspaces` must be a list of objects with `id`, `displayName` and `sites`, and each site needs `id`, `displayName` and `shortName`')
}

function hasStrings (value: unknown, names: readonly string[]): boolean {
  return typeof value === 'object' && value !== null && names.every((name) => typeof Reflect.get(value, name) === 'string')
}

const loopback = /^(?:.+\.)?localhost$|^127(?:\.\d+){3}$|^\[::1\]$/

function assertRedirectUri (redirectUri: string): void {
  const url = URL.canParse(redirectUri) ? new URL(redirectUri) : null
  const secure = url?.protocol === 'https:' || (url?.protocol === 'http:' && loopback.test(url.hostname))
  if (!secure || redirectUri.includes('#')) {
    throw new TypeError(`\`redirectUris\` holds ${JSON.stringify(redirectUri)}: Webflow accepts only https, or http on localhost, without a fragment`)
  }
}

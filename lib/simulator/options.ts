import type { FastifyServerOptions } from 'fastify'
import { completeBehavior } from './behavior.ts'
import type { Behavior, BehaviorOptions } from './behavior.ts'
import { isScopeToken } from './scope.ts'

/** An app as registered with Webflow. */
export interface AppOptions {
  readonly clientId: string
  readonly clientSecret: string
  /** Defaults to `My Amazing App`. */
  readonly name?: string
  /** Compared exactly; absolute, without a fragment, https or http on loopback. The first serves requests that name none. */
  readonly redirectUris: readonly string[]
  /** Scopes the app has configured; it cannot ask for others. */
  readonly scope: readonly string[]
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

/** What a simulated Webflow is made of. */
export interface SimulatorOptions {
  /** The one app registered; `apps` instead for several. */
  readonly app?: AppOptions
  readonly apps?: readonly AppOptions[]
  /** Who is signed in. Defaults to Ada Lovelace. */
  readonly user?: User
  /** Whom a person can sign in as on the simulator's pages, beside `user`. Defaults to Ada Lovelace and Grace Hopper. */
  readonly users?: readonly User[]
  /** What the user may pick from. Defaults to two workspaces, with two sites and one. */
  readonly workspaces?: readonly Workspace[]
  readonly behavior?: BehaviorOptions
  /** The time in Unix milliseconds, for codes and tokens to die by. Defaults to `Date.now`. */
  readonly now?: () => number
  /** Fastify's logger option. Lines name method and path, never a parameter. Defaults to false. */
  readonly logger?: NonNullable<FastifyServerOptions['logger']>
}

/** The options, checked and complete. */
export interface Config {
  readonly apps: ReadonlyMap<string, App>
  /** The app meant where none is named: the first. */
  readonly defaultApp: App
  readonly user: User
  /** Whom a person can sign in as, by id. */
  readonly users: ReadonlyMap<string, User>
  readonly workspaces: readonly Workspace[]
  readonly behavior: Behavior
  readonly now: () => number
  readonly logger: NonNullable<FastifyServerOptions['logger']>
}

/** An app, complete. */
export type App = Required<AppOptions> & { readonly defaultRedirectUri: string }

const optionNames: ReadonlySet<string> = new Set(['app', 'apps', 'user', 'users', 'workspaces', 'behavior', 'now', 'logger'])

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

/** Checks and completes the options; throws a TypeError that names the option at fault. */
export function completeOptions (options: SimulatorOptions): Config {
  for (const name of Object.keys(options)) {
    if (!optionNames.has(name)) throw new TypeError(`The simulator has no option \`${name}\`: choose among ${[...optionNames].join(', ')}`)
  }
  const list = [...(options.app === undefined ? [] : [options.app]), ...(options.apps ?? [])].map(completeApp)
  const [defaultApp] = list
  if (defaultApp === undefined) throw new TypeError('`app` is missing: the simulator needs an app to authorize')
  const apps = new Map(list.map((app) => [app.clientId, app]))
  if (apps.size < list.length) throw new TypeError('`apps` has two apps of one `clientId`')
  const { user = ada, users = [ada, grace], workspaces = studios } = options
  assertUser(user)
  if (!Array.isArray(users)) throw new TypeError('`users` is not a list')
  for (const each of users) assertUser(each)
  assertWorkspaces(workspaces)
  return {
    apps,
    defaultApp,
    user,
    // The one who is signed in comes first, and stands for all of that id.
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
  if (!Array.isArray(app.redirectUris)) throw new TypeError('`redirectUris` of an app is not a list')
  if (!Array.isArray(app.scope)) throw new TypeError('`scope` of an app is not a list')
  if (!app.scope.every(isScopeToken)) throw new TypeError('`scope` of an app is a list of scopes such as \'sites:read\', each at most 100 characters without blank, comma, quote or backslash')
  const [defaultRedirectUri] = app.redirectUris
  if (defaultRedirectUri === undefined) throw new TypeError('`redirectUris` of an app is empty')
  for (const redirectUri of app.redirectUris) assertRedirectUri(redirectUri)
  return { name: 'My Amazing App', ...app, defaultRedirectUri }
}

/** Throws a TypeError unless a value is a user. */
export function assertUser (user: unknown): asserts user is User {
  if (!hasStrings(user, ['id', 'email', 'firstName', 'lastName'])) throw new TypeError('A user is an object of `id`, `email`, `firstName` and `lastName`')
}

function assertWorkspaces (workspaces: unknown): asserts workspaces is Workspace[] {
  const list: unknown[] = Array.isArray(workspaces) ? workspaces : [null]
  const isWorkspace = (workspace: unknown): boolean => {
    const sites: unknown = hasStrings(workspace, ['id', 'displayName']) && Reflect.get(Object(workspace), 'sites')
    return Array.isArray(sites) && sites.every((site) => hasStrings(site, ['id', 'displayName', 'shortName']))
  }
  if (!list.every(isWorkspace)) throw new TypeError('`workspaces` is a list of `id`, `displayName` and `sites`, each with `id`, `displayName` and `shortName`')
}

function hasStrings (value: unknown, names: readonly string[]): boolean {
  return typeof value === 'object' && value !== null && names.every((name) => typeof Reflect.get(value, name) === 'string')
}

const loopback = /^(?:.+\.)?localhost$|^127(?:\.\d+){3}$|^\[::1\]$/

function assertRedirectUri (redirectUri: string): void {
  const url = URL.canParse(redirectUri) ? new URL(redirectUri) : null
  const secure = url?.protocol === 'https:' || (url?.protocol === 'http:' && loopback.test(url.hostname))
  if (!secure || redirectUri.includes('#')) {
    throw new TypeError(`\`redirectUris\` has ${JSON.stringify(redirectUri)}: Webflow takes https, or http on localhost, without a fragment`)
  }
}

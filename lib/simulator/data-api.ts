import { createHash } from 'node:crypto'
import { dataApiError, json } from './answer.ts'
import type { Answer } from './answer.ts'
import type { AccessToken, Grant } from './authorizations.ts'
import type { Call } from './call.ts'
import type { App, Config, Site, Workspace } from './options.ts'
import type { Webflow } from './webflow.ts'

/** Answers `GET /v2/token/introspect` with what a token opens. */
export function introspect (webflow: Webflow, call: Call): Answer {
  return withToken(webflow, call, null, (token) => {
    const { config } = webflow
    const { grant, scope, lastUsedAt } = token
    const { id, createdAt } = config.behavior.authorizationOf === 'grant' ? grant : token
    return {
      authorization: {
        id,
        createdOn: new Date(createdAt).toISOString(),
        lastUsed: new Date(lastUsedAt).toISOString(),
        grantType: 'authorization_code',
        rateLimit: 60,
        scope: [...scope].join(config.behavior.introspectionScopeSeparator),
        authorizedTo: {
          siteIds: siteIdsOf(grant, config),
          workspaceIds: [...grant.workspaceIds],
          userIds: config.behavior.introspectionListsUsers ? [grant.user.id] : []
        }
      },
      application: applicationOf(grant.app)
    }
  })
}

/** Answers `GET /v2/token/authorized_by` with the user who made the grant. */
export function authorizedBy (webflow: Webflow, call: Call): Answer {
  return withToken(webflow, call, 'authorized_user:read', ({ grant }) => {
    const { id, email, firstName, lastName } = grant.user
    return { id, email, firstName, lastName }
  })
}

/** Answers `GET /v2/sites` with the sites that a token opens. */
export function sites (webflow: Webflow, call: Call): Answer {
  return withToken(webflow, call, 'sites:read', ({ grant }) => ({ sites: sitesOf(grant, webflow.config) }))
}

/** Answers `GET /v2/sites/<id>` with one site, or with 404 for a site that the token does not open. */
export function site (webflow: Webflow, call: Call): Answer {
  const siteId = call.path.slice(call.path.lastIndexOf('/') + 1)
  return answerWithToken(webflow, call, 'sites:read', ({ grant }) => {
    const found = sitesOf(grant, webflow.config).find(({ id }) => id === siteId)
    return found === undefined ? dataApiError(404, 'resource_not_found', 'Requested resource not found') : json(200, found)
  })
}

function withToken (webflow: Webflow, call: Call, scope: string | null, read: (token: AccessToken) => object): Answer {
  return answerWithToken(webflow, call, scope, (token) => json(200, read(token)))
}

/** Answers a call that carries a living token with the scope. Answers 401 or 403 to any other call. */
export function answerWithToken (webflow: Webflow, call: Call, scope: string | null, answer: (token: AccessToken) => Answer): Answer {
  const value = /^Bearer +([^ ]+) *$/i.exec(call.authorization ?? '')?.[1]
  const token = value === undefined ? undefined : webflow.authorizations.find(value)
  if (token === undefined) return dataApiError(401, 'not_authorized', 'Request not authorized')
  token.lastUsedAt = webflow.config.now()
  if (scope !== null && !token.scope.has(scope)) {
    return dataApiError(403, 'missing_scopes', `OAuthForbidden: You are missing the following scopes - ${scope}`)
  }
  return answer(token)
}

/** Tells whether a grant opens a site: the site itself was picked, or its whole workspace. */
export function opensSite ({ siteIds, workspaceIds }: Grant, siteId: string, { workspaces }: Config): boolean {
  return workspaces.some((workspace) => workspace.sites.some(({ id }) => id === siteId && (siteIds.has(id) || workspaceIds.has(workspace.id))))
}

function sitesOf (grant: Grant, config: Config): Array<ReturnType<typeof siteResource>> {
  return config.workspaces.flatMap((workspace) => workspace.sites
    .filter(({ id }) => opensSite(grant, id, config))
    .map((site) => siteResource(site, workspace)))
}

function siteIdsOf ({ siteIds, workspaceIds }: Grant, { behavior, workspaces }: Config): string[] {
  const whole = workspaces.filter(({ id }) => behavior.workspaceGrantListsSites && workspaceIds.has(id))
  return [...new Set([...siteIds, ...whole.flatMap((workspace) => workspace.sites.map(({ id }) => id))])]
}

function applicationOf ({ clientId, name, defaultRedirectUri }: App): object {
  return {
    id: createHash('sha256').update(clientId).digest('hex').slice(0, 24),
    description: name,
    homepage: new URL(defaultRedirectUri).origin,
    displayName: name
  }
}

function siteResource ({ id, displayName, shortName }: Site, workspace: Workspace) {
  return {
    id,
    workspaceId: workspace.id,
    createdOn: '2024-01-15T09:00:00.000Z',
    displayName,
    shortName,
    lastPublished: '2024-06-01T12:00:00.000Z',
    lastUpdated: '2024-06-01T12:00:00.000Z',
    previewUrl: `https://screenshots.webflow.com/sites/${id}/preview.png`,
    timeZone: 'Europe/London',
    customDomains: [],
    locales: { primary: { id: `${id.slice(0, -4)}10ca`, cmsLocaleId: `${id.slice(0, -4)}10cb`, enabled: true, displayName: 'English', redirect: false, subdirectory: '', tag: 'en' }, secondary: [] },
    dataCollectionEnabled: false,
    dataCollectionType: 'always'
  }
}

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
  return withToken(webflow, call, 'sites:read', ({ grant }) => ({
    sites: webflow.config.workspaces.flatMap((workspace) => workspace.sites
      .filter((site) => grant.workspaceIds.has(workspace.id) || grant.siteIds.has(site.id))
      .map((site) => siteResource(site, workspace)))
  }))
}

function withToken (webflow: Webflow, call: Call, scope: string | null, read: (token: AccessToken) => object): Answer {
  const value = /^Bearer +([^ ]+) *$/i.exec(call.authorization ?? '')?.[1]
  const token = value === undefined ? undefined : webflow.authorizations.find(value)
  if (token === undefined) return dataApiError(401, 'not_authorized', 'Request not authorized')
  token.lastUsedAt = webflow.config.now()
  if (scope !== null && !token.scope.has(scope)) {
    return dataApiError(403, 'missing_scopes', `OAuthForbidden: You are missing the following scopes - ${scope}`)
  }
  return json(200, read(token))
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

function siteResource ({ id, displayName, shortName }: Site, workspace: Workspace): object {
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

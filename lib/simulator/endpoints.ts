/** The endpoints an app talks to. */
export const endpointNames = ['authorize', 'token', 'revoke', 'introspect', 'authorizedBy', 'sites'] as const

/** The name of an endpoint. */
export type EndpointName = typeof endpointNames[number]

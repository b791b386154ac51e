/** The names of the endpoints that an app calls. */
export const endpointNames = ['authorize', 'token', 'revoke', 'introspect', 'authorizedBy', 'sites', 'site', 'resolve'] as const

/** The name of an endpoint. */
export type EndpointName = typeof endpointNames[number]

/** Tells whether a text is the name of an endpoint. */
export function isEndpointName (name: unknown): name is EndpointName {
  return endpointNames.some((known) => known === name)
}

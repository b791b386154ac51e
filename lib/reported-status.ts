import { WebflowOAuthError } from './errors.ts'
import { isObject } from './json.ts'

/**
 * Reads the HTTP status with which a call to Webflow's Data API ended, from what the app's client threw or
 * returned: an error of Webflow's SDK, a response of fetch or undici, an error that holds a response. Null when there is none.
 */
export function reportedStatus (reported: unknown): number | null {
  // Our own 401 says nothing of Webflow.
  if (reported instanceof WebflowOAuthError || !isObject(reported)) return null
  const { response } = reported
  return statusIn(reported) ?? (isObject(response) ? statusIn(response) : null)
}

function statusIn ({ statusCode, status }: Record<string, unknown>): number | null {
  return [statusCode, status].find((value) => typeof value === 'number') ?? null
}

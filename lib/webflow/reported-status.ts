import { WebflowOAuthError, isError, readMember } from '../errors.ts'

/**
 * Reads the HTTP status with which a call to Webflow's Data API ended, from what the app's client threw or
 * returned: an error of Webflow's SDK, a response of fetch or undici, an error that holds a response. Null when there is none.
 */
export function reportedStatus (reported: unknown): number | null {
  // Our own 401 says nothing of Webflow.
  if (isError(reported) && reported instanceof WebflowOAuthError) return null
  return statusIn(reported) ?? statusIn(readMember(reported, 'response'))
}

function statusIn (value: unknown): number | null {
  return [readMember(value, 'statusCode'), readMember(value, 'status')].find((status) => typeof status === 'number') ?? null
}

import { WebflowOAuthError, isError, readMember } from '../errors.ts'

/**
 * Finds the HTTP status of a call to Webflow's Data API in the value that the app's client threw or returned. The value may
 * be an error of Webflow's SDK, a response of fetch or undici, or an error with a `response`. Null when it has no status.
 */
export function reportedStatus (reported: unknown): number | null {
  // The plugin's own errors have statuses too, such as 401. They say nothing about the Data API.
  if (isError(reported) && reported instanceof WebflowOAuthError) return null
  return statusIn(reported) ?? statusIn(readMember(reported, 'response'))
}

function statusIn (value: unknown): number | null {
  return [readMember(value, 'statusCode'), readMember(value, 'status')].find((status) => typeof status === 'number') ?? null
}

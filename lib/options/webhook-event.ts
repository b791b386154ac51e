/** A webhook of Webflow's whose signature was verified. */
export interface WebhookEvent {
  /** The hash of the timestamp and the body. It identifies one signed delivery. */
  readonly id: string
  /**
   * The hash of the body alone. It stays the same if Webflow delivers a webhook again with a new timestamp. An app that must not
   * handle a webhook twice remembers this hash.
   */
  readonly bodyId: string
  /** What happened, such as `form_submission`. */
  readonly triggerType: string
  /** The content of the webhook; null if the body has none. Its form depends on `triggerType`. */
  readonly payload: unknown
  /** The id of the site: `siteId` or `site` of the payload; null if neither is an id of 24 hexadecimal digits. */
  readonly siteId: string | null
  /** When Webflow signed the webhook. */
  readonly sentAt: Date
  /** The number of the secret that the signature was made with: 0 for `clientSecret`, n for the n-th of `webhookSecret`. */
  readonly secretIndex: number
}

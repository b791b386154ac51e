import t from 'tap'
import type { WebhookEvent } from '../lib/index.ts'
import { createApp, startWebflow } from './support/app.ts'

const siteId = '62f3b1f7eafac55d0c64ef91'
const submission = { triggerType: 'form_submission', payload: { name: 'Contact Us – ✓', siteId } }

t.test('a webhook that Webflow has signed reaches `onWebhook`, and is answered with 200 and an empty object', async (t) => {
  const webflow = await startWebflow(t)
  const events: WebhookEvent[] = []
  const app = await createApp(t, { webflow, options: { onWebhook: (event) => events.push(event) } })
  t.strictSame(await webflow.deliver(app, submission), { statusCode: 200, attempts: 1 })
  t.match(events, [{ triggerType: 'form_submission', payload: submission.payload, siteId, secretIndex: 0 }])
})

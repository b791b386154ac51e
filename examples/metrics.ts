// WEBFLOW_CLIENT_ID=… WEBFLOW_CLIENT_SECRET=… APP_SECRET=$(openssl rand -base64 32) npx tsx examples/metrics.ts
// Then open http://localhost:3000/webflow/authorize, and look at http://localhost:3000/metrics. In production, let no stranger read that.
// grafana-dashboard.json beside this file is a dashboard for these metrics: import it in Grafana.
import Fastify from 'fastify'
import { Counter, Histogram, register } from 'prom-client'
import webflowOAuth, { diagnostics } from 'fastify-webflow-oauth'
import { endpoints } from './webflow-url.ts'

const flowsStarted = new Counter({ name: 'webflow_flows_started_total', help: 'Flows that began', labelNames: ['trigger'] })
const flowsEnded = new Counter({ name: 'webflow_flows_ended_total', help: 'Callbacks by their outcome', labelNames: ['outcome', 'code', 'reason'] })
const calls = new Histogram({ name: 'webflow_call_seconds', help: 'Calls to Webflow', labelNames: ['call', 'outcome', 'code'] })
const storeFailures = new Counter({ name: 'webflow_store_failures_total', help: 'Calls to the token store that failed', labelNames: ['method', 'reason'] })
const disconnects = new Counter({ name: 'webflow_disconnects_total', help: 'Tokens that Webflow has ended', labelNames: ['reason'] })

// Known series begin with 0, because Prometheus sees no increase in a series that begins with 1: it would miss the first event.
flowsEnded.inc({ outcome: 'connected', code: '', reason: '' }, 0)
for (const trigger of ['authorize', 'guard', 'app', 'install']) flowsStarted.inc({ trigger }, 0)
for (const method of ['get', 'set', 'delete', 'find']) for (const reason of ['error', 'timeout', 'resting']) storeFailures.inc({ method, reason }, 0)
for (const reason of ['revoked', 'superseded']) disconnects.inc({ reason }, 0)

diagnostics.flowStart.subscribe(({ trigger }) => flowsStarted.inc({ trigger }))
diagnostics.flowEnd.subscribe(({ outcome, code, reason }) => flowsEnded.inc({ outcome, code: code ?? '', reason: reason ?? '' }))
// Prometheus counts in seconds, the plugin in milliseconds.
diagnostics.exchange.subscribe(({ outcome, code, duration }) => calls.observe({ call: 'exchange', outcome, code: code ?? '' }, duration / 1000))
diagnostics.revoke.subscribe(({ outcome, code, duration }) => calls.observe({ call: 'revoke', outcome, code: code ?? '' }, duration / 1000))
diagnostics.storeFailure.subscribe(({ method, reason }) => storeFailures.inc({ method, reason }))
diagnostics.disconnect.subscribe(({ reason }) => disconnects.inc({ reason }))

const { APP_SECRET, PORT = '3000', WEBFLOW_CLIENT_ID, WEBFLOW_CLIENT_SECRET, WEBFLOW_REDIRECT_URI } = process.env
const fastify = Fastify({ logger: true })

await fastify.register(webflowOAuth, {
  clientId: WEBFLOW_CLIENT_ID,
  clientSecret: WEBFLOW_CLIENT_SECRET,
  redirectUri: WEBFLOW_REDIRECT_URI ?? `http://localhost:${PORT}/webflow/callback`,
  scope: ['sites:read'],
  secret: APP_SECRET,
  successRedirect: '/metrics',
  endpoints
})

// It takes no token: with a cookie of the plugin's it costs no read of the store.
fastify.get('/metrics', { config: { webflowToken: false } }, async (_request, reply) => reply.type(register.contentType).send(await register.metrics()))

await fastify.listen({ port: Number(PORT) })

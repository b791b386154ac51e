// WEBFLOW_CLIENT_ID=… WEBFLOW_CLIENT_SECRET=… APP_SECRET=$(openssl rand -base64 32) npx tsx examples/tracing.ts
// Then open http://localhost:3000/webflow/authorize: each span is printed as it ends. An app of yours has an exporter of its own.
import { SpanStatusCode, trace, type Attributes } from '@opentelemetry/api'
import { BasicTracerProvider, ConsoleSpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
import Fastify from 'fastify'
import webflowOAuth, { diagnostics } from 'fastify-webflow-oauth'
import { endpoints } from './webflow-url.ts'

trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(new ConsoleSpanExporter())] }))
const tracer = trace.getTracer('fastify-webflow-oauth')

/**
 * Makes a span of what has just ended. The plugin publishes within the request that it is about, so that the span
 * has its parent there, where the app is instrumented.
 */
function record (name: string, duration: number, error: string | null, attributes: Attributes): void {
  const endTime = Date.now()
  const span = tracer.startSpan(name, { startTime: endTime - duration, attributes })
  if (error !== null) span.setAttribute('error.type', error).setStatus({ code: SpanStatusCode.ERROR })
  span.end(endTime)
}

diagnostics.flowEnd.subscribe(({ duration, code, outcome, reason }) => record('webflow callback', duration, outcome === 'failed' ? code ?? 'app' : null, { outcome, reason: reason ?? '' }))
diagnostics.exchange.subscribe(({ duration, code, outcome }) => record('webflow exchange', duration, code, { outcome }))
diagnostics.revoke.subscribe(({ duration, code, outcome }) => record('webflow revoke', duration, code, { outcome }))
diagnostics.storeFailure.subscribe(({ duration, method, reason }) => record('token store', duration, reason, { method }))

const { APP_SECRET, PORT = '3000', WEBFLOW_CLIENT_ID, WEBFLOW_CLIENT_SECRET, WEBFLOW_REDIRECT_URI } = process.env
const fastify = Fastify({ logger: true })

await fastify.register(webflowOAuth, {
  clientId: WEBFLOW_CLIENT_ID,
  clientSecret: WEBFLOW_CLIENT_SECRET,
  redirectUri: WEBFLOW_REDIRECT_URI ?? `http://localhost:${PORT}/webflow/callback`,
  scope: ['sites:read'],
  secret: APP_SECRET,
  endpoints
})

fastify.get('/', async (request) => ({ connected: Boolean(request.webflowToken) }))

await fastify.listen({ port: Number(PORT) })

// npx fastify-webflow-oauth simulator --extension http://localhost:1337
// WEBFLOW_URL=http://127.0.0.1:4000 WEBFLOW_CLIENT_ID=… WEBFLOW_CLIENT_SECRET=… APP_SECRET=$(openssl rand -base64 32) npx tsx examples/designer/main.ts
// Then open http://127.0.0.1:4000, and there a site in the Designer. The simulator prints the id and the secret.
// Without WEBFLOW_URL this talks to Webflow. Then put the files of extension/, but not the stub, into a project that
// `webflow extension init` has made, and name the app in `data-app` of index.html.
import { createBackend } from './backend.ts'
import { serveExtension } from './serve-extension.ts'
import { endpoints } from '../webflow-url.ts'

const { APP_SECRET, EXTENSION_ORIGIN = 'http://localhost:1337', PORT = '3000', WEBFLOW_CLIENT_ID, WEBFLOW_CLIENT_SECRET, WEBFLOW_REDIRECT_URI } = process.env
const redirectUri = WEBFLOW_REDIRECT_URI ?? `http://localhost:${PORT}/webflow/callback`

const app = await createBackend(EXTENSION_ORIGIN, {
  clientId: WEBFLOW_CLIENT_ID,
  clientSecret: WEBFLOW_CLIENT_SECRET,
  redirectUri,
  secret: APP_SECRET,
  endpoints
})

// Webflow's own Designer gets the extension from Webflow.
if (endpoints !== undefined) await serveExtension({ port: Number(new URL(EXTENSION_ORIGIN).port), appUrl: new URL(redirectUri).origin })
await app.listen({ port: Number(PORT), host: 'localhost' })

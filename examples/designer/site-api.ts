import cors from '@fastify/cors'
import type { FastifyInstance } from 'fastify'
import { WebflowClient, WebflowError, WebflowTimeoutError } from 'webflow-api'

/**
 * The routes that the extension calls. They are registered with a prefix, so that CORS is open for them alone. The plugin opens
 * its own route for the extension by itself.
 */
export async function siteApi (app: FastifyInstance, { origins }: { origins: string[] }): Promise<void> {
  await app.register(cors, { origin: origins, methods: ['GET'], allowedHeaders: ['authorization', 'content-type'], exposedHeaders: ['retry-after'] })

  // Without `webflowDesigner`, a session of the extension is nobody here.
  app.get('/site', { config: { webflowDesigner: true }, preHandler: app.webflowOAuth.requireToken() }, async (request, reply) => {
    const session = request.webflowDesigner
    // A visitor of the app itself, with a cookie. They have opened no site.
    if (session === null) return reply.code(403).send({ message: 'This route is for the Designer Extension.' })

    const token = app.webflowOAuth.tokenOf(request)
    const webflow = new WebflowClient({ accessToken: token.accessToken, baseUrl: app.webflowOAuth.apiUrl, maxRetries: 0, timeoutInSeconds: 5 })
    try {
      // The site of the session, and no id that the extension sends: the token may open other sites, too. Whether this person
      // may read or change something is for the app to decide by `session.user.id`. The token may be that of a colleague.
      const { displayName, shortName, lastPublished } = await webflow.sites.get(session.siteId)
      return { name: displayName, shortName, lastPublished, user: session.user.id }
    } catch (error) {
      if (!(error instanceof WebflowError || error instanceof WebflowTimeoutError)) throw error
      // The app was uninstalled at Webflow. The 401 makes the extension open a new session, and that tells it where to connect.
      if (await app.webflowOAuth.reportUnauthorized(token, error) === 'revoked') return reply.code(401).send({ message: 'Webflow has ended this connection.' })
      request.log.warn(`Webflow did not tell of the site: ${error.message}`)
      return reply.code(502).send({ message: 'Webflow does not answer.' })
    }
  })
}

import { readFile } from 'node:fs/promises'
import Fastify from 'fastify'

const files = { 'index.html': 'text/html', 'style.css': 'text/css', 'webflow-stub.js': 'text/javascript', 'extension.js': 'text/javascript' }

/** A server of the extension. */
export interface ExtensionServer {
  origin: string
  close (): Promise<void>
}

/** Serves the files of the extension during development, as `webflow extension serve` does. In production Webflow serves them. */
export async function serveExtension ({ port, appUrl }: { port: number, appUrl: string }): Promise<ExtensionServer> {
  const server = Fastify({ forceCloseConnections: true })
  for (const [name, type] of Object.entries(files)) {
    const text = await readFile(new URL(`extension/${name}`, import.meta.url), 'utf8')
    server.get(name === 'index.html' ? '/' : `/${name}`, async (_request, reply) => reply.type(type).header('cache-control', 'no-store').send(text.replace('http://localhost:3000', appUrl)))
  }
  const url = new URL(await server.listen({ port, host: 'localhost' }))
  return { origin: `http://localhost:${url.port}`, close: () => server.close() }
}

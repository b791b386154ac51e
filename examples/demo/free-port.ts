import { once } from 'node:events'
import { createServer } from 'node:net'

/** Resolves with the port, with any free one for 0, or with null when it is taken. */
export async function freePort (port: number): Promise<number | null> {
  // Without a host the probe also meets a server that has taken only the other half of localhost, 127.0.0.1 or ::1.
  const server = createServer().listen(port)
  try {
    await once(server, 'listening')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') return null
    throw error
  }
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address !== null ? address.port : null
}

import { once } from 'node:events'
import { createServer } from 'node:net'

// These ports are below those that a system gives to programs that ask for any port, so no other program gets one of them meanwhile.
const first = 10_000
// Test files run at the same time. Each process takes its ports from a block of its own.
const blockSize = 100
const blocks = 200
const start = first + (process.pid % blocks) * blockSize
let taken = 0

/** Finds a port of the loopback interface on which nobody listens. */
export async function freePort (): Promise<number> {
  for (let tries = 0; tries < blockSize; tries++) {
    const port = start + taken++ % blockSize
    if (await isFree(port)) return port
  }
  throw new Error(`None of the ports ${start} to ${start + blockSize - 1} is free`)
}

async function isFree (port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
  } catch {
    return false
  }
  server.close()
  await once(server, 'close')
  return true
}

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEnd } from './before-end.ts'
import { findProgram } from './find-program.ts'
import { freePort } from './free-port.ts'

/**
 * A Redis that a test has started, on loopback and without persistence.
 */
export interface RedisServer {
  port: number
  url: string
  pid: number
  /** Freezes the server: its connections stay open and nothing answers. */
  pause (): void
  /** Lets a frozen server continue. */
  resume (): void
  /** Ends the server, frozen or not, and removes its folder. Another call does nothing. */
  stop (): Promise<void>
}

/**
 * Finds the `redis-server` on PATH, or null.
 */
export function findRedis (): string | null {
  return findProgram('redis-server')
}

/**
 * Starts a Redis on a free port. Resolves once it answers, and rejects with its output if it does not start. With `cluster`, it is
 * a cluster of one node, which refuses commands across slots like any cluster. It ends with this process at the latest.
 */
export async function startRedis ({ cluster = false, port = 0 }: { cluster?: boolean, port?: number } = {}): Promise<RedisServer> {
  const program = findRedis()
  if (program === null) throw new Error('No redis-server on PATH: install Redis, or ask findRedis() first')
  // Another program may take the free port before Redis does, so several are tried. A port that the test has chosen is tried once.
  for (let attempt = port === 0 ? 1 : 3; ; attempt++) {
    try {
      return await startOn(program, port === 0 ? await freePort() : port, cluster)
    } catch (error) {
      if (attempt === 3) throw error
    }
  }
}

async function startOn (program: string, port: number, cluster: boolean): Promise<RedisServer> {
  const folder = mkdtempSync(join(tmpdir(), 'redis-server-'))
  const child = spawn(program, [
    '--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '', '--appendonly', 'no',
    // By default a node of a cluster also listens on its port plus 10,000, which may be taken.
    ...(cluster ? ['--cluster-enabled', 'yes', '--cluster-port', String(await freePort()), '--cluster-announce-ip', '127.0.0.1'] : [])
  ], { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const end = (): void => {
    child.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
  const stopListening = beforeEnd(end)
  const stop = async (): Promise<void> => {
    stopListening()
    child.kill('SIGKILL')
    await exited
    rmSync(folder, { recursive: true, force: true })
  }

  try {
    await ready(child)
    if (cluster) await formCluster(port)
  } catch (error) {
    await stop()
    throw error
  }
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    pid: child.pid ?? 0,
    pause: () => { child.kill('SIGSTOP') },
    resume: () => { child.kill('SIGCONT') },
    stop
  }
}

async function ready (child: ChildProcess): Promise<void> {
  let printed = ''
  for await (const chunk of child.stdout?.iterator({ destroyOnReturn: false }) ?? []) {
    printed += String(chunk)
    if (printed.includes('Ready to accept connections')) {
      child.stdout?.resume()
      return
    }
  }
  throw new Error(`redis-server did not start:\n${printed}`)
}

async function formCluster (port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1')
  socket.setEncoding('utf8').write('CLUSTER ADDSLOTSRANGE 0 16383\r\n')
  const asking = setInterval(() => { socket.write('CLUSTER INFO\r\n') }, 20)
  try {
    for await (const answer of socket) {
      if (String(answer).includes('cluster_state:ok')) return
    }
    throw new Error('redis-server formed no cluster')
  } finally {
    clearInterval(asking)
  }
}

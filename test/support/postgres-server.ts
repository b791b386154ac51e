import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, chownSync, constants, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { beforeEnd } from './before-end.ts'
import { freePort } from './free-port.ts'

/**
 * A PostgreSQL that a test has started, on loopback. It needs no password and does not wait for its disk.
 */
export interface PostgresServer {
  port: number
  /** Returns the URL of a database on this server. */
  urlOf (database: string): string
  /** Ends the server and removes its folder. Another call does nothing. */
  stop (): Promise<void>
}

const DEBIAN = '/usr/lib/postgresql'

/**
 * Finds the folder with `postgres` and `initdb`, on PATH or where Debian installs it; null if there is none.
 */
export function findPostgres (): string | null {
  const onPath = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '')
  return [...onPath, ...debianFolders()].find((folder) => isExecutable(join(folder, 'postgres')) && isExecutable(join(folder, 'initdb'))) ?? null
}

/**
 * Starts a PostgreSQL on a free port. Resolves once it answers, and rejects with its output if it does not start. It ends with
 * this process at the latest.
 */
export async function startPostgres (): Promise<PostgresServer> {
  const programs = findPostgres()
  if (programs === null) throw new Error('No PostgreSQL here: install it, or ask findPostgres() first')
  const user = unprivileged()
  const folder = mkdtempSync(join(tmpdir(), 'postgres-server-'))
  if (user.uid !== undefined && user.gid !== undefined) chownSync(folder, user.uid, user.gid)
  const remove = (): void => { rmSync(folder, { recursive: true, force: true, maxRetries: 5 }) }
  try {
    await initialize(join(programs, 'initdb'), folder, user)
    // Another program may take the free port before PostgreSQL does.
    for (let attempt = 1; ; attempt++) {
      try {
        return await startOn(join(programs, 'postgres'), await freePort(), { folder, user, remove })
      } catch (error) {
        if (attempt === 3) throw error
      }
    }
  } catch (error) {
    remove()
    throw error
  }
}

interface User { uid?: number, gid?: number }

interface Place {
  folder: string
  user: User
  /** Removes the folder, even if a server that is ending still writes in it. */
  remove: () => void
}

async function initialize (program: string, folder: string, user: User): Promise<void> {
  const child = spawn(program, ['--pgdata', folder, '--username', 'postgres', '--auth', 'trust', '--encoding', 'UTF8', '--no-locale', '--no-sync'], { ...user, cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
  const printed = printedBy(child)
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`initdb failed:\n${printed()}`)
}

async function startOn (program: string, port: number, { folder, user, remove }: Place): Promise<PostgresServer> {
  const child = spawn(program, ['-D', folder, '-h', '127.0.0.1', '-p', String(port), '-k', '', '-F'], { ...user, cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
  const exited = once(child, 'exit')
  // SIGQUIT also ends the server's child processes at once.
  const end = (): void => {
    child.kill('SIGQUIT')
    remove()
  }
  const stopListening = beforeEnd(end)
  const stop = async (): Promise<void> => {
    stopListening()
    child.kill('SIGQUIT')
    await exited
    remove()
  }

  const printed = printedBy(child)
  const ready = new Promise<void>((resolve) => {
    child.stderr.on('data', () => { if (printed().includes('ready to accept connections')) resolve() })
  })
  await Promise.race([ready, exited])
  if (child.exitCode !== null || child.signalCode !== null) {
    stopListening()
    throw new Error(`postgres did not start:\n${printed()}`)
  }
  return { port, urlOf: (database) => `postgres://postgres@127.0.0.1:${port}/${database}`, stop }
}

/** PostgreSQL refuses to run as root, so it runs as the user that its package has created. */
function unprivileged (): User {
  if (process.getuid?.() !== 0) return {}
  const [, , uid, gid] = readFileSync('/etc/passwd', 'utf8').split('\n').map((line) => line.split(':')).find(([name]) => name === 'postgres') ?? []
  if (uid === undefined || gid === undefined) throw new Error('PostgreSQL does not run as root, and there is no user postgres')
  return { uid: Number(uid), gid: Number(gid) }
}

function printedBy (child: ChildProcess): () => string {
  let text = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => { text += String(chunk) })
  return () => text
}

function debianFolders (): string[] {
  try {
    return readdirSync(DEBIAN).sort((a, b) => Number(b) - Number(a)).map((version) => join(DEBIAN, version, 'bin'))
  } catch {
    return []
  }
}

function isExecutable (path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

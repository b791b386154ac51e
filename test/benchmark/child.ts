import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { Ask, Usage } from './setup.ts'

/** A process of its own, with what it said when it was ready. */
export interface Child<Started> {
  started: Started
  ask (ask: Ask): Promise<Usage>
  stop (): Promise<void>
}

// Otherwise they would outlive an interrupt.
const running = new Set<ChildProcess>()
process.once('exit', () => { for (const child of running) child.kill('SIGKILL') })

/** Starts a compiled file as a process and waits for its first message; rejects if it ends before. */
export async function startChild<Started> (file: string, args: readonly string[] = [], { env = {}, execArgv = [] }: { env?: Record<string, string>, execArgv?: string[] } = {}): Promise<Child<Started>> {
  // The option of tsx that this process was started with is not for its children.
  const child = fork(file, args, { execArgv, env: { ...process.env, NODE_ENV: 'production', ...env } })
  const exited = once(child, 'exit').then(([code, signal]) => Promise.reject(new Error(`${file} ${args.join(' ')} ended with ${code ?? signal}`)))
  exited.catch(() => {})
  running.add(child)
  const message = async () => (await Promise.race([once(child, 'message'), exited]))[0]
  const started: Started = await message()
  return {
    started,
    async ask (ask) {
      child.send(ask)
      return await message()
    },
    async stop () {
      child.kill('SIGKILL')
      await exited.catch(() => {})
      running.delete(child)
    }
  }
}

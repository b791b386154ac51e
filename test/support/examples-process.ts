import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { beforeEnd } from './before-end.ts'
import { loader, spawnNode } from './node-process.ts'

/** What a program prints. */
export interface Output {
  stdout: string
  stderr: string
}

/** A running example. */
export interface Example {
  /** The text that the pattern's group matched when the example had started. */
  found: string
  /** Everything that the example has printed so far. */
  output: Output
  /** Resolves once its standard output matches, with the part that the pattern's group matched. Rejects after 30 seconds. */
  printed (pattern: RegExp): Promise<string>
  /** Asks the example to end. Resolves with its exit code, or with null if it had to be killed. */
  stop (): Promise<number | null>
}

/**
 * Runs a program of this repository until it is stopped or the test ends. Resolves once its standard output matches. Rejects
 * with its output if it ends first, or if nothing has matched after 30 seconds.
 */
export async function startExample (t: Test, file: string, { env = {}, up }: { env?: Record<string, string>, up: RegExp }): Promise<Example> {
  const { child, exited, kill, output } = launch(t, file, env)
  const printed = async (pattern: RegExp): Promise<string> => {
    const isThere = new Promise<string>((resolve) => {
      const look = (): void => {
        const match = pattern.exec(output.stdout)
        if (match === null) return
        child.stdout.off('data', look)
        resolve(match[1] ?? '')
      }
      child.stdout.on('data', look)
      look()
    })
    const found = await within(30_000, Promise.race([isThere, exited.then(() => null)]))
    if (found === null) throw new Error(`${file} did not print ${pattern.source}:\n${output.stdout}${output.stderr}`)
    return found
  }

  return {
    found: await printed(up),
    output,
    printed,
    async stop () {
      child.kill('SIGTERM')
      await within(10_000, exited)
      const { exitCode } = child
      kill()
      return exitCode
    }
  }
}

/** Runs a program of this repository to its end. Resolves with its output and its exit code, which is null if it had to be killed after 30 seconds. */
export async function runExample (t: Test, file: string, env: Record<string, string>): Promise<Output & { exitCode: number | null }> {
  const { child, exited, kill, output } = launch(t, file, env)
  await within(30_000, exited)
  kill()
  await exited
  return { exitCode: child.exitCode, ...output }
}

function launch (t: Test, file: string, env: Record<string, string>) {
  const child = spawnNode([...loader, file], { env })
  const exited = once(child, 'close')
  const kill = (): void => { child.kill('SIGKILL') }
  const forget = beforeEnd(kill)
  t.teardown(() => { kill(); forget() })

  const output: Output = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk) => { output.stdout += String(chunk) })
  child.stderr.on('data', (chunk) => { output.stderr += String(chunk) })
  return { child, exited, kill, output }
}

async function within<T> (milliseconds: number, outcome: Promise<T>): Promise<T | null> {
  const timer = new AbortController()
  const late = sleep(milliseconds, null, { signal: timer.signal }).catch(() => null)
  const first = await Promise.race([outcome, late])
  timer.abort()
  return first
}

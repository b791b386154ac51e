import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { root, spawnNode } from './node-process.ts'

/** Reads a file of this repository. */
export function read (file: string): string {
  return readFileSync(join(root, file), 'utf8')
}

/** A program that runs or has run. */
export interface Program {
  /** Everything that the program has printed so far. */
  printed: () => string
  /** Sends the program a signal. */
  kill: (signal: NodeJS.Signals) => void
  /** Resolves with its exit code, or with null if it was killed. */
  exited: Promise<number | null>
  /** Resolves once the output matches. Rejects if the program ends first, or takes longer than 30 seconds. */
  prints (pattern: RegExp): Promise<void>
}

/** Runs a program with Node. It is killed when the test ends. */
export function run (t: Test, args: readonly string[], options: { cwd?: string, env?: Record<string, string> } = {}): Program {
  const child = spawnNode(args, options)
  let text = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => { text += String(chunk) })
  const exited = once(child, 'close').then(() => child.exitCode)
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exited
  })
  return {
    printed: () => text,
    kill: (signal) => { child.kill(signal) },
    exited,
    prints: (pattern) => new Promise((resolve, reject) => {
      const fail = () => { reject(new Error(`${args.join(' ')} did not print ${String(pattern)}:\n${text}`)) }
      const timer = setTimeout(fail, 30_000)
      const look = () => {
        if (!pattern.test(text)) return
        clearTimeout(timer)
        resolve()
      }
      for (const stream of [child.stdout, child.stderr]) stream.on('data', look)
      exited.then(() => {
        clearTimeout(timer)
        fail()
      }, reject)
      look()
    })
  }
}

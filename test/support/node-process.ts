import { type ChildProcessByStdio, spawn } from 'node:child_process'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'

/** Makes Node run TypeScript, and find the package by its name in its sources. */
export const loader = ['--import', new URL('./typescript.mjs', import.meta.url).href, '--disable-warning=ExperimentalWarning'] as const

/** The folder of this repository. */
export const root = fileURLToPath(new URL('../../', import.meta.url))

/**
 * Starts Node with an environment of its own. By way of `env`, because tap adds options to the environment of every process:
 * with them it would record all that the process loads, which costs a quarter more time.
 */
export function spawnNode (args: readonly string[], { cwd = root, env = {} }: { cwd?: string, env?: Record<string, string> } = {}): ChildProcessByStdio<null, Readable, Readable> {
  return spawn('env', ['-u', 'NODE_OPTIONS', process.execPath, ...args], { cwd, env: { PATH: process.env['PATH'] ?? '', ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
}

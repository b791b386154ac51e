import { type ChildProcessByStdio, spawn } from 'node:child_process'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'

/** Makes Node run TypeScript, and makes imports of the package by its name load its sources. */
export const loader = ['--import', new URL('./typescript.mjs', import.meta.url).href, '--disable-warning=ExperimentalWarning'] as const

/** The folder of this repository. */
export const root = fileURLToPath(new URL('../../', import.meta.url))

/**
 * Starts Node with an environment of its own, through the program `env`. Otherwise tap would add its options to the environment
 * and record every module that the process loads, which takes a quarter more time.
 */
export function spawnNode (args: readonly string[], { cwd = root, env = {} }: { cwd?: string, env?: Record<string, string> } = {}): ChildProcessByStdio<null, Readable, Readable> {
  return spawn('env', ['-u', 'NODE_OPTIONS', process.execPath, ...args], { cwd, env: { PATH: process.env['PATH'] ?? '', ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
}

import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import type { WebflowOAuthOptions } from '../../lib/index.ts'
import { blocksOf, type Block } from './markdown.ts'
import { loader } from './node-process.ts'
import { read, run, type Program } from './readme-project.ts'

/** The variables that a snippet of the documentation relies on. */
export interface Surroundings {
  options: WebflowOAuthOptions
  fastify: FastifyInstance
  currentUser?: (request: { headers: Record<string, unknown> }) => Promise<{ id: string } | null>
}

// A snippet runs as a module of its own, and gets these variables from here.
const place = Symbol.for('snippets')

/** The code that is put before a snippet, by the name in its comment `<!-- with: name -->`. The check of its types uses the same names. */
const preambles: Readonly<Record<string, string>> = {
  app: 'import webflowOAuth from \'fastify-webflow-oauth\'; const { fastify, options, currentUser } = globalThis[Symbol.for(\'snippets\')]',
  options: 'import webflowOAuth from \'fastify-webflow-oauth\'; const options = { ...JSON.parse(process.env.OPTIONS), onWebhook: ({ triggerType }) => console.log(\'webhook:\', triggerType) }'
}

/** The snippets of a page under a heading, as modules that run. */
export function snippetsUnder (page: string, heading: string): string[] {
  const found = blocksOf(read(page)).filter((block) => block.heading === heading)
  if (found.length === 0) throw new Error(`${page} has no snippet under "${heading}"`)
  return found.map(withPreamble)
}

function withPreamble ({ preamble, text }: Block): string {
  return `${preambles[preamble ?? ''] ?? ''}\n${text}`
}

/** Runs a snippet in this process. Resolves with its exports. Only one snippet may run at a time. */
export async function runHere (t: Test, text: string, surroundings: Surroundings): Promise<Record<string, unknown>> {
  const folder = t.testdir({ 'snippet.ts': text })
  Reflect.set(globalThis, place, surroundings)
  try {
    return await import(pathToFileURL(join(folder, 'snippet.ts')).href)
  } finally {
    Reflect.deleteProperty(globalThis, place)
  }
}

/** Runs a snippet that is a whole program, in a process of its own. It prints the webhooks that it receives. */
export function runProgram (t: Test, text: string, options: WebflowOAuthOptions, env: Record<string, string> = {}): Program {
  const folder = t.testdir({ 'snippet.ts': text })
  return run(t, [...loader, join(folder, 'snippet.ts')], { env: { OPTIONS: JSON.stringify(options), ...env } })
}

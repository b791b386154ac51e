import Fastify, { type FastifyInstance } from 'fastify'
import { answerParent } from './answer-parent.ts'
import type { Setup } from './setup.ts'

/** Adds the routes of a program to an app. */
type Program = (app: FastifyInstance, setup: Setup) => Promise<void> | void

// Each process loads nothing but its own program.
const programs: Record<string, () => Promise<Program>> = {
  bare: async () => (await import('./programs/limits.ts')).bare,
  handWritten: async () => (await import('./programs/limits.ts')).handWritten,
  rawGet: async () => (await import('./programs/limits.ts')).rawGet,
  oauth2: async () => (await import('./programs/oauth2.ts')).oauth2,
  grant: async () => (await import('./programs/sessions.ts')).grant,
  session: async () => (await import('./programs/sessions.ts')).session,
  secureSession: async () => (await import('./programs/secure-session.ts')).secureSession,
  plugin: async () => (await import('./programs/plugin.ts')).plugin
}

const setup: Setup = JSON.parse(process.argv[2] ?? '')
const load = programs[setup.program]
if (load === undefined) throw new RangeError(`no program ${setup.program}`)
const program = await load()
// No connection of the load may end by itself between two rounds.
const app = Fastify({ keepAliveTimeout: 600_000 })
await program(app, setup)
answerParent({ port: Number(new URL(await app.listen({ port: 0, host: '127.0.0.1' })).port) })

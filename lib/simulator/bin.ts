#!/usr/bin/env node
import { runCommand } from './command.ts'

const { exitCode, simulator } = await runCommand(process.argv.slice(2), process.env)
process.exitCode = exitCode
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => { simulator?.close() })

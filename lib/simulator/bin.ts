#!/usr/bin/env node
import { runCommand } from './command.ts'

const running = runCommand(process.argv.slice(2), process.env)
// Before it is up: whoever reads that it is may end it at once.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, async () => { await (await running).simulator?.close() })
process.exitCode = (await running).exitCode

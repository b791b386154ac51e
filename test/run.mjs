// `npm test`: the whole suite, with full coverage. `npm test -- test/flow.test.ts`: some files, without coverage, which
// is a matter of all files together.
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const tap = fileURLToPath(import.meta.resolve('tap/package.json').replace(/package\.json$/, 'dist/esm/run.mjs'))
const args = process.argv.slice(2)
const namesFiles = args.some((arg) => !arg.startsWith('-'))
const child = spawn(process.execPath, [tap, ...(namesFiles ? ['--disable-coverage'] : []), ...args], { stdio: 'inherit' })
child.on('exit', (code) => { process.exitCode = code ?? 1 })

// `npm test`: the whole suite. `npm test -- test/flow.test.ts`: some files.
// `COVERAGE=1 npm test`: the whole suite, which must cover each line and branch. It takes a third longer, so only CI asks for it.
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const tap = fileURLToPath(import.meta.resolve('tap/package.json').replace(/package\.json$/, 'dist/esm/run.mjs'))
const args = process.argv.slice(2)
const child = spawn(process.execPath, [tap, ...(process.env.COVERAGE === '1' ? ['--jobs=3'] : ['--disable-coverage']), ...args], { stdio: 'inherit' })
child.on('exit', (code) => { process.exitCode = code ?? 1 })

import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const require = createRequire(import.meta.url)
const folder = new URL('../../.tap/compiled/', import.meta.url)
const { version } = require('typescript/package.json')
const { name, exports: entries } = require('../../package.json')
mkdirSync(folder, { recursive: true })

/** Leads the package's own name to its sources: examples and documentation run without a build. */
export async function resolve (specifier, context, nextResolve) {
  const built = specifier === name || specifier.startsWith(`${name}/`) ? entries[specifier.replace(name, '.')]?.default : undefined
  if (built === undefined) return await nextResolve(specifier, context)
  return { url: new URL(built.replace('./dist/', '../../').replace(/js$/, 'ts'), import.meta.url).href, shortCircuit: true }
}

/** Compiles the project's own TypeScript; leaves every other module to Node. */
export async function load (url, context, nextLoad) {
  const { protocol, pathname } = new URL(url)
  if (protocol !== 'file:' || !pathname.endsWith('.ts') || pathname.includes('/node_modules/')) return await nextLoad(url, context)
  const { source } = await nextLoad(url, { ...context, format: 'module' })
  return { format: 'module', source: compile(url, String(source)), shortCircuit: true }
}

function compile (url, source) {
  const file = new URL(`${createHash('sha256').update(`${version}\0${url}\0${source}`).digest('hex')}.js`, folder)
  try {
    return readFileSync(file, 'utf8')
  } catch {
    const compiled = transpile(url, source)
    // Renamed into place: another process may look for the same file, and must not read half of it.
    const written = new URL(`${process.pid}.part`, folder)
    writeFileSync(written, compiled)
    renameSync(written, file)
    return compiled
  }
}

function transpile (url, source) {
  const ts = require('typescript')
  const { outputText, sourceMapText } = ts.transpileModule(source, {
    fileName: fileURLToPath(url),
    // The decorators of NestJS, in the documentation, are the experimental ones.
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true, sourceMap: true, experimentalDecorators: true }
  })
  const map = JSON.stringify({ ...JSON.parse(sourceMapText), sources: [url] })
  return outputText.replace(/\/\/# sourceMappingURL=.*\s*$/, `//# sourceMappingURL=data:application/json;base64,${Buffer.from(map).toString('base64')}\n`)
}

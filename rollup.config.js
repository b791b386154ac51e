import { dirname, relative, resolve } from 'node:path'
import { dts } from 'rollup-plugin-dts'
import ts from 'typescript'

// Each entry point becomes one file, with its map and its declarations.
const entries = ['lib/index', 'lib/simulator/index', 'lib/simulator/bin', 'stores/memory', 'stores/redis', 'stores/sqlite', 'stores/conformance']
// Imported from their own file instead of being copied into others, so that a class is the same wherever it is imported from.
const shared = new Map([
  ['stores/memory.ts', 'stores/memory'],
  // The program that runs the simulator.
  ['lib/simulator/simulator.ts', 'lib/simulator/index']
])

/** Leaves packages, Node's modules and the entry points that are shared to their own files. */
const external = (entry) => ({
  name: 'external',
  resolveId (specifier, importer) {
    if (importer === undefined) return null
    if (!specifier.startsWith('.')) return { id: specifier, external: true }
    const owner = shared.get(relative('.', resolve(dirname(importer), specifier)))
    if (owner === undefined || owner === entry) return null
    const path = relative(dirname(entry), owner)
    return { id: `${path.startsWith('.') ? path : `./${path}`}.js`, external: 'relative' }
  }
})

/** Takes the types away. Comments go too: they are in the declarations, and the map holds the sources. */
const stripTypes = {
  name: 'strip-types',
  transform (source, fileName) {
    const { outputText, sourceMapText } = ts.transpileModule(source, {
      fileName,
      compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true, removeComments: true, sourceMap: true }
    })
    return { code: outputText.replace(/^\/\/# sourceMappingURL=.*$/m, ''), map: sourceMapText }
  }
}

const onwarn = (warning) => { throw new Error(warning.message) }

const code = entries.map((entry) => ({
  input: `${entry}.ts`,
  output: { file: `dist/${entry}.js`, sourcemap: true },
  plugins: [external(entry), stripTypes],
  onwarn
}))

const declarations = entries.filter((entry) => entry !== 'lib/simulator/bin').map((entry) => ({
  input: `${entry}.ts`,
  output: { file: `dist/${entry}.d.ts` },
  plugins: [external(entry), dts()],
  onwarn
}))

// Programs that only run, as in the tests and `npm start`, need no declarations: `rollup --config --configCode`.
export default ({ configCode }) => configCode ? code : [...code, ...declarations]

import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** The plugin and the programs as plain JavaScript, file by file. `bundle` makes the files that are published. */
export interface Build {
  /** Finds the compiled file of a program; the one without sealing, if asked for. */
  program (name: string, how?: { sealed?: boolean }): string
  /** Bundles the plugin as it is published, and finds its entry point. */
  bundle (): string
  remove (): void
}

/** Compiles into a folder of its own below `node_modules`, where imports of packages work. */
export function build (): Build {
  const cache = join(root, 'node_modules/.cache')
  mkdirSync(cache, { recursive: true })
  const folder = mkdtempSync(join(cache, 'bench-'))
  const [sealed, unsealed] = ['sealed', 'unsealed'].map((name) => join(folder, name))
  const remove = () => rmSync(folder, { recursive: true, force: true })
  const { status, stdout } = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', join(root, 'test/benchmark/tsconfig.json'), '--outDir', sealed ?? ''], { encoding: 'utf8' })
  if (status !== 0) {
    remove()
    throw new Error(`tsc failed:\n${stdout}`)
  }
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  cpSync(sealed ?? '', unsealed ?? '', { recursive: true })
  writeFileSync(join(unsealed ?? '', 'lib/storage/seal.js'), 'export * from \'../../test/benchmark/no-seal.js\'\n')
  process.once('exit', remove)
  return {
    program: (name, how = {}) => join((how.sealed === false ? unsealed : sealed) ?? '', 'test/benchmark', `${name}.js`),
    bundle () {
      const { status, stderr } = spawnSync(process.execPath, [join(root, 'node_modules/rollup/dist/bin/rollup'), '--config', join(root, 'rollup.config.js'), '--configCode', '--silent'], { cwd: root, encoding: 'utf8' })
      if (status !== 0) throw new Error(`rollup failed:\n${stderr}`)
      return join(root, 'dist/lib/index.js')
    },
    remove
  }
}

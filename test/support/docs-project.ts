import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Diagnostic } from 'typescript'
import { root } from './node-process.ts'

/**
 * Makes a folder with the programs of the documentation, once for all runs with the same programs. The programs import the
 * package by its name and get its sources, so nothing needs a build. The folder is inside this repository, so that the programs
 * find the other packages that they import.
 */
export function createDocsProject (programs: Record<string, string>): string {
  const files = {
    // Without a package.json here, Node would use that of the repository, and look for a build.
    'package.json': JSON.stringify({ private: true, type: 'module' }),
    'tsconfig.json': JSON.stringify({
      extends: join(root, 'test/tsconfig.json'),
      compilerOptions: { rootDir: root, noUnusedLocals: false, allowJs: true, noPropertyAccessFromIndexSignature: false, experimentalDecorators: true },
      include: [],
      files: Object.keys(programs)
    }),
    ...programs
  }
  const folder = join(root, '.tap/docs', digest(JSON.stringify(files)))
  if (existsSync(folder)) return folder
  // The finished folder is renamed, so that another run in this clone never finds half of it.
  const written = `${folder}.${process.pid}`
  mkdirSync(written, { recursive: true })
  for (const [name, text] of Object.entries(files)) writeFileSync(join(written, name), text)
  try {
    renameSync(written, folder)
  } catch {
    rmSync(written, { recursive: true })
  }
  return folder
}

/**
 * Checks the types of the programs, but not again those of the sources. Resolves with the output of the compiler, which is empty
 * if all is well. The folder remembers with which sources and packages the programs have passed, so that the compiler runs only
 * after a change.
 */
export async function typeErrors (folder: string): Promise<string> {
  const sources = ['lib', 'stores'].flatMap((name) => readdirSync(join(root, name), { recursive: true, encoding: 'utf8' }).sort().map((file) => join(root, name, file)))
  const settings = ['tsconfig.json', 'test/tsconfig.json', 'node_modules/.package-lock.json'].map((file) => join(root, file))
  const known = join(folder, `right-${digest([...sources, ...settings].map((file) => statSync(file).isFile() ? `${file}\n${readFileSync(file, 'utf8')}` : '').join('\n'))}`)
  if (existsSync(known)) return ''

  const { default: ts } = await import('typescript')
  const host = { ...ts.sys, onUnRecoverableConfigFileDiagnostic: ({ messageText }: Diagnostic) => { throw new Error(String(messageText)) } }
  const config = ts.getParsedCommandLineOfConfigFile(join(folder, 'tsconfig.json'), {}, host)
  const program = ts.createProgram(config?.fileNames ?? [], config?.options ?? {})
  const checked = (config?.fileNames ?? []).map((name) => program.getSourceFile(name))
  const diagnostics = [...program.getConfigFileParsingDiagnostics(), ...program.getOptionsDiagnostics(), ...program.getGlobalDiagnostics(),
    ...checked.flatMap((file) => [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)])]
  if (diagnostics.length === 0) writeFileSync(known, '')
  return ts.formatDiagnostics(diagnostics, { getCanonicalFileName: (name) => name, getCurrentDirectory: () => folder, getNewLine: () => '\n' })
}

function digest (text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 32)
}

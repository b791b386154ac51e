import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** Makes Node run TypeScript, and find the package by the `paths` of the project. */
export const loader = ['--import', 'tsx'] as const

/**
 * Lays out a folder with the programs of the documentation. They find the package by its name, in its sources:
 * nothing has to be built. Inside this repository, so that the other packages that they import are found.
 */
export function createDocsProject (t: Test, files: Record<string, string>): string {
  // Each run has a folder of its own, in case two runs go on in one clone.
  t.testdirName += `-${process.pid}`
  return t.testdir({
    // Ends the scope of the repository's own package.json, by which Node would look for a build.
    'package.json': JSON.stringify({ private: true, type: 'module' }),
    'tsconfig.json': JSON.stringify({
      extends: join(root, 'test/tsconfig.json'),
      compilerOptions: { rootDir: root, noUnusedLocals: false, allowJs: true, noPropertyAccessFromIndexSignature: false },
      include: [],
      files: Object.keys(files)
    }),
    ...files
  })
}

import { readdir, readFile } from 'node:fs/promises'
import { isBuiltin } from 'node:module'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import ts from 'typescript'

const root = fileURLToPath(new URL('..', import.meta.url))

interface Source {
  path: string
  /** What it imports: packages by name, files by their path from the root. */
  imports: string[]
}

async function readSources (directory: string): Promise<Source[]> {
  const names = await readdir(join(root, directory), { recursive: true })
  const paths = names.map((name) => posix.join(directory, name.replaceAll('\\', '/'))).filter((path) => path.endsWith('.ts')).sort()
  return await Promise.all(paths.map(async (path) => {
    const { importedFiles } = ts.preProcessFile(await readFile(join(root, path), 'utf8'), true, true)
    return { path, imports: importedFiles.map(({ fileName }) => fileName.startsWith('.') ? posix.join(dirname(path), fileName) : fileName) }
  }))
}

const lib = await readSources('lib')
const stores = await readSources('stores')
const all = [...lib, ...stores]
const known = new Set(all.map(({ path }) => path))

/** The package that a specifier names, without what is taken from it; null for a file of ours or a module of Node's. */
function packageOf (specifier: string): string | null {
  if (known.has(specifier) || isBuiltin(specifier)) return null
  return /^(?:@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? specifier
}

const importersOf = (name: string) => all.filter(({ imports }) => imports.some((specifier) => packageOf(specifier) === name)).map(({ path }) => path)

t.test('the test finds sources and the imports in them', async (t) => {
  t.ok(lib.length > 20 && stores.length > 3)
  t.ok(all.some(({ path, imports }) => path === 'lib/index.ts' && imports.includes('lib/options/options.ts')), 'type imports included')
  t.ok(all.some(({ path, imports }) => path === 'lib/index.ts' && imports.includes('stores/memory.ts')), 'and re-exports')
})

/** The rooms of `lib/`, from the top of the house down. Rooms on one floor know nothing of each other. */
const floors: ReadonlyArray<readonly string[]> = [
  ['index.ts', 'api.ts', 'context.ts'],
  ['routes'],
  ['caller'],
  ['flow', 'tokens'],
  ['webflow', 'storage'],
  ['options'],
  ['http'],
  ['errors.ts', 'diagnostics.ts', 'collections']
]

/** The room of a file of `lib/`, and its floor; -1 for none. */
function roomOf (path: string): { room: string, floor: number } {
  const [, room = ''] = path.split('/')
  return { room, floor: floors.findIndex((rooms) => rooms.includes(room)) }
}

t.test('imports run downwards through the folders of lib/, type imports included', async (t) => {
  for (const { path, imports } of lib.filter(({ path }) => !path.startsWith('lib/simulator/'))) {
    const { room, floor } = roomOf(path)
    t.ok(floor >= 0, `${path} is in a room`)
    // The first floor and the last are one room each.
    const isOneRoom = floor === 0 || floor === floors.length - 1
    const upwards = imports.filter((specifier) => {
      if (!specifier.startsWith('lib/')) return false
      const target = roomOf(specifier)
      return target.floor < floor || (target.floor === floor && target.room !== room && !isOneRoom)
    })
    t.strictSame(upwards, [], path)
  }
})

t.test('no imports form a circle, type imports included', async (t) => {
  const importsOf = new Map(all.map(({ path, imports }) => [path, imports.filter((specifier) => known.has(specifier))]))
  const finished = new Set<string>()
  const findCircle = (path: string, trail: readonly string[]): readonly string[] | null => {
    if (finished.has(path)) return null
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path]
    for (const next of importsOf.get(path) ?? []) {
      const circle = findCircle(next, [...trail, path])
      if (circle !== null) return circle
    }
    finished.add(path)
    return null
  }
  for (const path of known) t.equal(findCircle(path, []), null, path)
})

t.test('a store imports nothing but stores and Node', async (t) => {
  for (const { path, imports } of stores) {
    t.strictSame(imports.filter((specifier) => !specifier.startsWith('stores/') && !isBuiltin(specifier)), [], path)
  }
})

t.test('only the plugin\'s entry imports fastify-plugin', async (t) => {
  t.strictSame(importersOf('fastify-plugin'), ['lib/index.ts'])
})

t.test('only the Webflow client imports undici', async (t) => {
  t.strictSame(importersOf('undici'), ['lib/webflow/client.ts'])
})

t.test('only the cookie module imports @fastify/cookie', async (t) => {
  t.strictSame(importersOf('@fastify/cookie'), ['lib/http/cookies.ts'])
})

t.test('no source imports ioredis: a client is recognised by its methods', async (t) => {
  t.strictSame(importersOf('ioredis'), [])
})

t.test('the simulator imports nothing from the plugin, and the plugin nothing from the simulator', async (t) => {
  const within = ({ path }: Source) => path.startsWith('lib/simulator/')
  for (const { path, imports } of lib.filter(within)) {
    t.strictSame(imports.filter((specifier) => known.has(specifier) && !specifier.startsWith('lib/simulator/')), [], path)
  }
  for (const { path, imports } of all.filter((source) => !within(source))) {
    t.strictSame(imports.filter((specifier) => specifier.startsWith('lib/simulator/')), [], path)
  }
})

t.test('every imported package is a dependency of the plugin', async (t) => {
  const manifest: unknown = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  const names = ['dependencies', 'peerDependencies'].flatMap((member) => Object.keys(Object(manifest)[member]))
  const imported = new Set(all.flatMap(({ imports }) => imports.flatMap((specifier) => packageOf(specifier) ?? [])))
  t.strictSame([...imported].filter((name) => !names.includes(name)), [])
})

t.test('Node\'s modules are imported by their full names', async (t) => {
  for (const { path, imports } of all) {
    t.strictSame(imports.filter((specifier) => isBuiltin(specifier) && !specifier.startsWith('node:')), [], path)
  }
})

// Files that no test imports would not be counted by the coverage.
t.test('every source can be imported by itself', async (t) => {
  // A program does not wait to be asked.
  for (const path of known) if (path !== 'lib/simulator/bin.ts') t.type(await import(new URL(`../${path}`, import.meta.url).href), 'object', path)
})

#!/usr/bin/env node
/**
 * Breaks lib/ and stores/ in some thousand places, one at a time, and lists the changes that no test noticed (Stryker).
 * Takes an hour or more, in a copy under a temporary folder; prints the scores and fails below 90 %.
 *
 *   node .ci/mutation.mjs                             all groups
 *   node .ci/mutation.mjs stores                      a group, see below
 *   node .ci/mutation.mjs records lib/storage/seal.ts:10-20   only these places, with the tests of the group `records`
 *
 * MUTATION_LOGS=<folder> keeps Stryker's reports; MUTATION_JOBS=<n> is how many run at once.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'

// Each file is broken under the tests that are about it, in this order, because all tests would take days.
// A change that these tests do not notice is tried again under all other tests.
const groups = {
  options: {
    files: ['lib/options/*.ts', 'lib/http/return-to.ts'],
    tests: ['options', 'return-to', 'flow', 'properties']
  },
  client: {
    files: ['lib/webflow/{client,answers}.ts', 'lib/collections/json.ts', 'lib/http/redirect.ts'],
    tests: ['failure', 'flow', 'webflow-client', 'installations']
  },
  errors: { files: ['lib/errors.ts'], tests: ['guarded-store', 'options', 'token', 'repeat', 'failure'] },
  records: {
    files: ['lib/storage/*.ts', 'lib/tokens/records.ts', 'lib/flow/{records,outcome}.ts', 'lib/collections/bounded-map.ts'],
    tests: ['guarded-store', 'token', 'flow', 'repeat', 'properties']
  },
  flow: {
    files: ['lib/flow/{browser-flows,cookie,state,state-errors}.ts', 'lib/http/{cookies,query,navigation,popup}.ts', 'lib/caller/begin.ts', 'lib/routes/*.ts'],
    tests: ['flow', 'failure', 'revoke', 'repeat', 'return-to', 'cookie-plugin', 'popup', 'sign-in-redirect']
  },
  callers: {
    files: ['lib/{api,context,index}.ts', 'lib/caller/*.ts', 'lib/http/page.ts', 'lib/tokens/record.ts'],
    tests: ['token', 'identify', 'revoke', 'failure', 'flow', 'options', 'popup', 'sign-in-redirect']
  },
  installations: {
    files: ['lib/tokens/{earlier,ended,holders,introspector,query,revocation,search,status,tags}.ts', 'lib/webflow/{authorization,reported-status,token-checks}.ts', 'lib/collections/{limit,under-way}.ts'],
    tests: ['installations', 'disconnect', 'guarded-store']
  },
  stores: { files: ['stores/*.ts'], tests: ['stores'] },
  simulator: { files: ['lib/simulator/!(style).ts'], tests: ['simulator', 'flow', 'webflow-client'] }
}
// Sentences for people are left alone: the tests look for a code, a reason and a name in them, not for every word.
const prose = `
import { PluginKind, declareValuePlugin } from '@stryker-mutator/api/plugin'
const sentence = /[a-z]{2}[a-z’',]* [a-z’'\`]+ [a-z]{2}/i
export const strykerPlugins = [declareValuePlugin(PluginKind.Ignore, 'prose', {
  shouldIgnore ({ node }) {
    const text = node.type === 'StringLiteral' ? node.value : node.type === 'TemplateLiteral' ? node.quasis.map(({ value }) => value.raw).join('x') : ''
    return sentence.test(text) ? 'prose' : undefined
  }
})]
`
const all = ['guarded-store', 'token', 'identify', 'failure', 'revoke', 'flow', 'options', 'return-to', 'cookie-plugin', 'webflow-client', 'repeat', 'properties', 'installations', 'disconnect', 'simulator', 'stores', 'popup', 'sign-in-redirect']
const counted = ['Killed', 'Timeout', 'Survived', 'NoCoverage']

const [group, ...places] = process.argv.slice(2)
if (group !== undefined && groups[group] === undefined) throw new Error(`There is no group "${group}": there are ${Object.keys(groups).join(', ')}`)
const work = mkdtempSync(join(tmpdir(), 'mutation-'))
const project = join(work, 'project')
const logs = resolve(process.env.MUTATION_LOGS ?? join(work, 'logs'))
process.on('exit', () => rmSync(work, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1))

const root = dirname(import.meta.dirname)
const reports = []
prepare()
for (const [name, { files, tests }] of Object.entries(groups)) {
  if (group !== undefined && group !== name) continue
  const report = breakFiles(name, places.length > 0 ? places : files, tests)
  const survivors = survivorsOf(report)
  const others = all.filter((test) => !tests.includes(test))
  reports.push(survivors.length === 0 ? report : merge(report, breakFiles(`${name}-again`, survivors, others)))
}
tell(reports)

/** Copies the project, installs what the lock file names, and adds Stryker. */
function prepare () {
  mkdirSync(logs, { recursive: true })
  for (const file of execFileSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], { cwd: root, encoding: 'utf8' }).split('\0')) {
    if (file !== '') cpSync(join(root, file), join(project, file))
  }
  const quiet = ['--no-audit', '--no-fund', '--silent']
  run('npm', ['ci', ...quiet])
  run('npm', ['install', '--no-save', '--legacy-peer-deps', '--ignore-scripts', ...quiet, '@stryker-mutator/core@9.6.1', '@stryker-mutator/tap-runner@9.6.1'])
  writeFileSync(join(project, 'prose.mjs'), prose)
}

function run (command, args, output = 'inherit') {
  const { status } = spawnSync(command, args, { cwd: project, stdio: ['ignore', output, output], env: { ...process.env, NODE_COMPILE_CACHE: join(work, 'compiled') } })
  if (status !== 0) throw new Error(`${command} ${args[0]} ended with ${status}; see ${logs}`)
}

/** Breaks files under some tests; the report. */
function breakFiles (name, files, tests) {
  const started = Date.now()
  // Tests are bundled once, as a start through tsx takes longer than most of them; they run in the order of their names.
  const entries = tests.map((test, place) => `bundled/${place}-${test}.test=test/${test}.test.ts`)
  const report = join(logs, `${name}.json`)
  writeFileSync(join(project, 'stryker.json'), JSON.stringify({
    mutate: files,
    plugins: ['@stryker-mutator/tap-runner', './prose.mjs'],
    ignorers: ['prose'],
    testRunner: 'tap',
    tap: { testFiles: tests.map((test, place) => `bundled/${place}-${test}.test.mjs`), nodeArgs: ['-r', '{{hookFile}}', '{{testFile}}'], forceBail: true },
    buildCommand: `esbuild ${entries.join(' ')} --bundle --splitting --keep-names --packages=external --platform=node --format=esm --out-extension:.js=.mjs --outdir=. --log-level=error`,
    coverageAnalysis: 'perTest',
    concurrency: Number(process.env.MUTATION_JOBS ?? 4),
    timeoutMS: 20_000,
    reporters: ['json'],
    jsonReporter: { fileName: report },
    allowConsoleColors: false
  }))
  run('npx', ['--no-install', 'stryker', 'run', 'stryker.json'], openSync(join(logs, `${name}.log`), 'w'))
  console.log(`${name}: ${Math.round((Date.now() - started) / 1000)} s`)
  return JSON.parse(readFileSync(report, 'utf8'))
}

/** The places of the mutants that nobody noticed, as Stryker takes them: with columns from 0, while it tells them from 1. */
function survivorsOf ({ files }) {
  return Object.entries(files).flatMap(([name, { mutants }]) => mutants
    .filter(({ status }) => status === 'Survived' || status === 'NoCoverage')
    .map(({ location: { start, end } }) => `${name}:${start.line}:${start.column - 1}-${end.line}:${end.column - 1}`))
}

/** Takes over from a second report what was noticed there. */
function merge (first, second) {
  const id = (name, { location, mutatorName, replacement }) => JSON.stringify([name, location, mutatorName, replacement])
  const noticed = new Map(Object.entries(second.files).flatMap(([name, { mutants }]) => mutants
    .filter(({ status }) => status === 'Killed' || status === 'Timeout')
    .map((mutant) => [id(name, mutant), mutant.status])))
  for (const [name, { mutants }] of Object.entries(first.files)) {
    for (const mutant of mutants) {
      if (mutant.status !== 'Killed' && mutant.status !== 'Timeout') mutant.status = noticed.get(id(name, mutant)) ?? mutant.status
    }
  }
  return first
}

/** Lists what survived, and the scores. */
function tell (reports) {
  const sum = Object.fromEntries(counted.map((status) => [status, 0]))
  for (const { files } of reports) {
    for (const [name, { source, mutants }] of Object.entries(files)) {
      const counts = Object.fromEntries(counted.map((status) => [status, 0]))
      for (const { status, mutatorName, replacement, location: { start, end } } of mutants) {
        if (!counted.includes(status)) continue
        counts[status]++
        sum[status]++
        if (status === 'Killed' || status === 'Timeout') continue
        const line = source.split('\n')[start.line - 1]
        const was = line.slice(start.column - 1, start.line === end.line ? end.column - 1 : undefined)
        console.log(`${name}:${start.line}:${start.column} ${mutatorName}: ${shorten(was)} -> ${shorten(replacement)}`)
      }
      console.log(line(name, counts))
    }
  }
  console.log(line('all', sum))
  if (score(sum) < 90) process.exitCode = 1
}

function score ({ Killed, Timeout, Survived, NoCoverage }) {
  const noticed = Killed + Timeout
  return noticed / Math.max(1, noticed + Survived + NoCoverage) * 100
}

function line (name, counts) {
  return `${name.padEnd(40)} ${score(counts).toFixed(1).padStart(5)} %  ${counted.map((status) => `${status} ${counts[status]}`).join(', ')}`
}

function shorten (code) {
  const text = code.replaceAll(/\s+/g, ' ')
  return text.length > 100 ? `${text.slice(0, 100)} ...` : text
}

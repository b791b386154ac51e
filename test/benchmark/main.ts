/**
 * What the plugin costs, against peers, against the limits of what is possible, and against itself.
 *
 *   npm run bench                        everything, about a quarter of an hour
 *   npm run bench session redis          some groups
 *   npm run bench find-tokens            the one that is left out otherwise: searches at several sizes of the store
 *   npm run bench -- --quick             less of everything, about three minutes
 *
 * Each server is a process of its own, and is started anew several times, because two processes of one program differ by more
 * than two rounds of one process. Every round runs all contenders of a group in a new order, and a ratio compares two runs of
 * one round: what slows the machine down for a while slows both. A ratio is the speed of the plugin over that of the peer, by
 * processor time of the server for each request. The control is a second process of the same program; its ratios are nothing
 * but noise.
 */
import { spawnSync } from 'node:child_process'
import { cpus, loadavg, release, type } from 'node:os'
import { fileURLToPath } from 'node:url'
import { findRedis } from '../support/redis-server.ts'
import { build } from './build.ts'
import { coldStart, memory, redisMemory } from './groups/footprint.ts'
import { revokeAll } from './groups/installations.ts'
import { authorize, flow, redis, session, tls } from './groups/requests.ts'
import { quantile, type Bench } from './measure.ts'
import { middleHalf, printMeasured, printRows, printTable, type Findings } from './report.ts'

const groups: Record<string, (bench: Bench) => Promise<Findings>> = {
  authorize, flow, tls, session, redis, memory, 'redis-memory': redisMemory, 'revoke-all': revokeAll, 'cold-start': coldStart
}
const names = [...Object.keys(groups), 'find-tokens']

const args = process.argv.slice(2)
const quick = args.includes('--quick')
const asked = args.filter((arg) => arg !== '--quick')
const unknown = asked.filter((name) => !names.includes(name))
if (unknown.length > 0) throw new RangeError(`no group ${unknown.join(', ')}: there are ${names.join(', ')}, and --quick`)
const chosen = asked.length > 0 ? asked : Object.keys(groups)

// Only then are processes and folders taken away.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))
const bench: Bench = {
  build: build(),
  quick,
  extent: (requests, warmUp) => quick ? { generations: 2, warmUp: warmUp / 2, rounds: 2, requests: requests / 2 } : { generations: 8, warmUp, rounds: 3, requests }
}
const began = performance.now()
const seconds = (since: number) => `${((performance.now() - since) / 1000).toFixed(0)} s`
const loadOf = () => loadavg().map((load) => load.toFixed(1)).join(', ')
const loadBefore = loadOf()
const findings: Findings[] = []
for (const name of chosen) {
  const group = groups[name]
  if (group === undefined) continue
  console.log(`## ${name}\n`)
  const groupBegan = performance.now()
  const found = await group(bench)
  findings.push(found)
  printRows(found.rows)
  if (found.measured.length > 0) printMeasured(found)
  console.log(`${[...found.notes ?? [], `Took ${seconds(groupBegan)}.`].join(' ')}\n`)
}
bench.build.remove()

console.log('## Goals\n')
printRows(findings.flatMap(({ rows }) => rows.filter(({ least }) => least !== '')))
console.log('A ratio is the speed of the plugin over that of the peer, by processor time of the server process; the median of the rounds.\n')

const controls = findings.flatMap(({ title, noise }) => noise === undefined ? [] : [{ title, noise }])
if (controls.length > 0) {
  console.log('## The noise: the same program twice\n')
  printTable(['group', 'control (middle half)', 'band'], controls.map(({ title, noise }) => [title, `${quantile(noise.ratios).toFixed(2)} (${middleHalf(noise.ratios, 2)})`, `± ${(noise.band * 100).toFixed(0)} %`]))
}
for (const { profiles = new Map<string, never>() } of findings) {
  for (const [goal, profile] of profiles) {
    console.log(`## Missed: ${goal}\n`)
    printTable(['share', 'function'], profile.map(({ place, share }) => [`${(share * 100).toFixed(1)} %`, place]))
  }
}
// Contenders that wait for a core find its caches cold, and the threads of the garbage collector spin while they wait.
const loadAfter = loadavg()[1] ?? 0
if (loadAfter > 1.5 * cpus().length) console.log(`The machine was busy: ${loadAfter.toFixed(0)} processes wanted its ${cpus().length} cores. A verdict that is near its bound proves nothing: measure again when nothing else runs.\n`)
const redisProgram = findRedis()
const redisVersion = redisProgram === null ? 'none' : /v=([\d.]+)/.exec(spawnSync(redisProgram, ['--version'], { encoding: 'utf8' }).stdout)?.[1]
console.log(`Machine: ${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, ${type()} ${release()}, Node ${process.version}, Redis ${redisVersion}; load ${loadBefore} before and ${loadOf()} after; took ${seconds(began)}.\n`)

if (chosen.includes('find-tokens')) {
  console.log('## find-tokens\n')
  spawnSync(process.execPath, ['--import', 'tsx', fileURLToPath(new URL('find-tokens.ts', import.meta.url))], { stdio: 'inherit' })
}

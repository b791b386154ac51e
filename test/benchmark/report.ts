import { quantile, type Contender, type Measured } from './measure.ts'
import type { Usage } from './setup.ts'

/** A line of the table of goals. */
export interface Row {
  goal: string
  least: string
  aim: string
  measured: string
  verdict: string
  /** Whether the goal was missed. */
  missed: boolean
  /** What a profile would explain it by. */
  culprit?: Contender
}

/** What a group found out. */
export interface Findings {
  title: string
  rows: Row[]
  /** Contenders, for the table of what each of them costs. */
  measured: Measured[]
  /** The control of the group: two processes of one program. */
  noise?: Noise
  notes?: string[]
  /** Where the time goes, for each goal that was missed. */
  profiles?: Map<string, Usage['profile']>
}

/** What two runs of the same program differ by: ratios that are nothing but noise. */
export interface Noise {
  ratios: number[]
  /** The farthest that a quartile or the median lies from 1. */
  band: number
}

/** Ratios of speed, round by round: how much of the peer's time for one of ours. */
export function ratiosOf (ours: Measured, peer: Measured): number[] {
  return ours.cpu.map((time, round) => (peer.cpu[round] ?? NaN) / time)
}

/** Judges the control. */
export function noiseOf (one: Measured, same: Measured): Noise {
  const ratios = ratiosOf(one, same)
  return { ratios, band: Math.max(...[0.25, 0.5, 0.75].map((share) => Math.abs(quantile(ratios, share) - 1))) }
}

/** A goal that is a ratio of speed: at least so much, the noise left aside. */
export function ratioRow (goal: string, least: number, aim: number, ratios: readonly number[], noise: Noise, culprit: Contender): Row {
  const median = quantile(ratios)
  // What the control varies by, and what the ratios themselves do.
  const lowest = Math.min(quantile(ratios, 0.25), median / (1 + noise.band))
  const highest = Math.max(quantile(ratios, 0.75), median * (1 + noise.band))
  const isDoubtful = (bound: number) => lowest < bound && bound < highest
  const kind = median >= aim ? 'aim' : median >= least ? 'met' : 'missed'
  const nearest = kind === 'aim' ? aim : kind === 'missed' ? least : isDoubtful(least) ? least : aim
  return {
    goal,
    least: least.toFixed(2),
    aim: aim.toFixed(2),
    measured: `${median.toFixed(2)} (${middleHalf(ratios, 2)})`,
    verdict: isDoubtful(nearest) ? `${kind}, ${nearest} is inside the noise` : kind,
    missed: kind === 'missed',
    culprit
  }
}

/** A goal that is a limit: at most so much. */
export function limitRow (goal: string, least: number, aim: number, values: readonly number[], unit: string, digits = 0): Row {
  const median = quantile(values)
  const kind = median <= aim ? 'aim' : median <= least ? 'met' : 'missed'
  const range = values.length > 1 ? ` (${middleHalf(values, digits)})` : ''
  return { goal, least: `≤ ${least}${unit}`, aim: `≤ ${aim}${unit}`, measured: `${median.toFixed(digits)}${unit}${range}`, verdict: kind, missed: kind === 'missed' }
}

/** A comparison that is no goal. */
export function plainRow (goal: string, measured: string): Row {
  return { goal, least: '', aim: '', measured, verdict: '', missed: false }
}

/** A ratio of speed that is no goal. */
export function plainRatio (goal: string, ours: Measured, peer: Measured): Row {
  const ratios = ratiosOf(ours, peer)
  return plainRow(goal, `${quantile(ratios).toFixed(2)} (${middleHalf(ratios, 2)})`)
}

/** The quartiles of a list. */
export function middleHalf (list: readonly number[], digits: number): string {
  return [0.25, 0.75].map((share) => quantile(list, share).toFixed(digits)).join('–')
}

/** Prints the goals of some groups. */
export function printRows (rows: readonly Row[]): void {
  printTable(['goal', 'at least', 'aim', 'measured (middle half)', 'verdict'], rows.map(({ goal, least, aim, measured, verdict }) => [goal, least, aim, measured, verdict]))
}

/** Prints what the contenders of a group cost. */
export function printMeasured ({ title, measured }: Findings): void {
  printTable([title, 'CPU µs a request (middle half)', 'p50 ms', 'p99 ms', 'new connections per 1,000'], measured.map(({ contender, cpu, p50, p99, connections }) => [
    contender.title, `${quantile(cpu).toFixed(1)} (${middleHalf(cpu, 1)})`, quantile(p50).toFixed(2), quantile(p99).toFixed(2), quantile(connections).toFixed(0)
  ]))
}

/** Prints a table in Markdown. */
export function printTable (head: readonly string[], lines: readonly string[][]): void {
  const widths = head.map((cell, column) => Math.max(cell.length, ...lines.map((line) => line[column]?.length ?? 0)))
  const format = (cells: readonly string[]) => `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`
  console.log([format(head), format(widths.map((width) => '-'.repeat(width))), ...lines.map(format), ''].join('\n'))
}

import { mkdirSync, openSync, writeSync } from 'node:fs'
import { Transform } from 'node:stream'

const result = /^( *)(not )?ok \d+(?: - (.*?))?(?: # time=([\d.]+)ms)?(?: # (?:SKIP|TODO).*)?$/
const setAside = / # (SKIP|TODO)\b/
const totals = /^# (?:\{|time=)/

/**
 * A reporter for tap: the parts that failed in full, what was skipped, the slowest files and the totals.
 * Everything that the tests printed is in `.tap/output.tap`.
 */
export default class Reporter extends Transform {
  #rest = ''
  #files = 0
  /** What the current file printed and did not pass, line by line. */
  #kept = []
  /** Where the parts of the current file that are under way begin in `#kept`, by their indentation. */
  #begins = new Map()
  #skipped = []
  #times = []
  #totals = []
  #output

  constructor () {
    super()
    mkdirSync('.tap', { recursive: true })
    this.#output = openSync('.tap/output.tap', 'w')
  }

  _transform (chunk, _encoding, done) {
    writeSync(this.#output, chunk)
    const lines = (this.#rest + String(chunk)).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) this.#read(line)
    done()
  }

  _flush (done) {
    if (this.#rest !== '') this.#read(this.#rest)
    for (const line of this.#kept) if (line.trim() !== '') this.push(`${line}\n`)
    const slowest = this.#times.sort(([, one], [, other]) => other - one).slice(0, 5)
    if (this.#files > 1) this.push(`# ${this.#files} files; the slowest: ${slowest.map(([name, time]) => `${name} ${seconds(time)}`).join(', ')}\n`)
    for (const [reason, count] of countOf(this.#skipped)) this.push(`# skipped ${count}: ${reason}\n`)
    for (const line of this.#totals) this.push(`${line}\n`)
    done()
  }

  #read (line) {
    if (totals.test(line)) {
      this.#totals.push(line)
      return
    }
    const match = result.exec(line)
    if (match === null) {
      const indentation = /^( *)# Subtest/.exec(line)?.[1]
      if (indentation !== undefined) this.#begins.set(indentation.length, this.#kept.length)
      this.#kept.push(line)
      return
    }
    const [, { length: indentation }, failed, name = '', time] = match
    const begin = this.#begins.get(indentation) ?? this.#kept.length
    this.#begins.delete(indentation)
    if (setAside.test(line)) this.#skipped.push(line.slice(line.search(setAside) + 3))
    else if (failed !== undefined) this.#kept.push(line)
    if (failed === undefined || setAside.test(line)) this.#kept.length = begin
    if (indentation === 0) this.#finish(name, failed !== undefined, Number(time))
  }

  /** Prints what failed in a file, as soon as the file has ended. */
  #finish (name, failed, time) {
    this.#files++
    if (Number.isFinite(time)) this.#times.push([name, time])
    if (failed) {
      this.push(this.#kept.filter((line) => line.trim() !== '').join('\n') + '\n')
      // The diagnostics of the file itself follow: its command and its exit code.
    } else if (this.#files % 10 === 0) this.push(`# ${this.#files} files\n`)
    this.#kept = []
    this.#begins.clear()
  }
}

const seconds = (milliseconds) => `${(milliseconds / 1000).toFixed(1)} s`

function countOf (values) {
  const counts = new Map()
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1)
  return counts
}

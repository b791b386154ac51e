/** Applies a unified diff of one file. Throws unless the lines, their places and the counts of each hunk fit exactly. */
export function applyDiff (text: string, diff: string): string {
  const old = linesOf(text)
  const [from = '', to = '', ...rest] = linesOf(diff)
  if (!from.startsWith('--- ') || !to.startsWith('+++ ')) throw new Error('The diff does not begin with the names of two files')

  const result: string[] = []
  let taken = 0
  for (let at = 0; at < rest.length;) {
    const header = rest[at++] ?? ''
    const numbers = /^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@/.exec(header)
    if (numbers === null) throw new Error(`This is no hunk: ${header}`)
    const [, oldStart, oldCount = '1', newStart, newCount = '1'] = numbers
    const oldEnd = Number(oldStart) - 1 + Number(oldCount)
    const newEnd = Number(newStart) - 1 + Number(newCount)

    if (Number(oldStart) - 1 < taken) throw new Error(`Hunks overlap: ${header}`)
    result.push(...old.slice(taken, Number(oldStart) - 1))
    taken = Number(oldStart) - 1
    if (result.length !== Number(newStart) - 1) throw new Error(`The hunk is in another place: ${header}`)

    for (; at < rest.length && rest[at]?.startsWith('@@') === false; at++) {
      const line = rest[at] ?? ''
      const content = line.slice(1)
      if (!/^[ +-]/.test(line)) throw new Error(`This is no line of a diff: ${line}`)
      if (line[0] !== '+' && old[taken++] !== content) throw new Error(`Line ${taken} is not: ${content}`)
      if (line[0] !== '-') result.push(content)
    }
    if (taken !== oldEnd || result.length !== newEnd) throw new Error(`The hunk has another length: ${header}`)
  }
  return [...result, ...old.slice(taken)].map((line) => `${line}\n`).join('')
}

function linesOf (text: string): string[] {
  if (!text.endsWith('\n')) throw new Error('The text does not end with a line')
  return text.slice(0, -1).split('\n')
}

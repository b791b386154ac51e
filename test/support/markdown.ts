/** A code block of a Markdown text. */
export interface Block {
  language: string
  text: string
  /** The line on which it begins, counted from 1. */
  line: number
  /** The nearest heading above it. */
  heading: string
  /** The name in a comment `<!-- with: name -->` right above the block. It names the declarations that the block relies on. */
  preamble: string | null
}

/** Finds the code blocks of a Markdown text. */
export function blocksOf (markdown: string): Block[] {
  const blocks: Block[] = []
  let heading = ''
  let preamble: string | null = null
  let open: Block | null = null
  for (const [index, line] of markdown.split('\n').entries()) {
    if (open !== null) {
      if (line === '```') open = null
      else open.text += `${line}\n`
      continue
    }
    const language = /^```(\w*)$/.exec(line)?.[1]
    if (language !== undefined) {
      open = { language, text: '', line: index + 2, heading, preamble }
      blocks.push(open)
    }
    heading = /^#+ (.+)$/.exec(line)?.[1] ?? heading
    preamble = /^<!-- with: (\w+) -->$/.exec(line)?.[1] ?? null
  }
  return blocks
}

/** Finds the text below a heading, up to the next heading of any level. */
export function sectionOf (markdown: string, heading: string): string {
  const [, below = ''] = markdown.split(`# ${heading}\n`)
  return below.split(/^#+ /m)[0] ?? ''
}

/** Reads the rows of the tables in a text: the words in code style of the first cell, and the other cells. */
export function rowsOf (text: string): Array<{ names: string[], cells: string[] }> {
  return text.split('\n').filter((line) => line.startsWith('| `')).map((line) => {
    const [first = '', ...cells] = line.slice(2, -2).split(' | ')
    return { names: [...first.matchAll(/`(\w+)/g)].map(([, name = '']) => name), cells }
  })
}

/** The names that GitHub gives to the headings of a text. */
export function anchorsOf (markdown: string): Set<string> {
  const headings = [...markdown.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) => heading)
  return new Set(headings.map((heading) => heading.toLowerCase().replace(/[^\w\- ]/g, '').replaceAll(' ', '-')))
}

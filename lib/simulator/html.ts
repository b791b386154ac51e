/** Markup that is already escaped. */
export interface Html {
  readonly text: string
}

/** Builds markup from a template. Strings in the template are escaped; markup and lists of markup are inserted unchanged. */
export function html (parts: TemplateStringsArray, ...values: ReadonlyArray<string | Html | readonly Html[]>): Html {
  return { text: String.raw({ raw: parts }, ...values.map(markup)) }
}

function markup (value: string | Html | readonly Html[]): string {
  if (typeof value === 'string') return value.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
  return 'text' in value ? value.text : value.map(markup).join('')
}

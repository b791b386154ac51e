/** A query or body by name: form fields that repeat are lists, JSON values are whatever they are. */
export type Fields = Readonly<Record<string, unknown>>

/** What a body holds, or why it could not be read; it then has no fields. */
export type Body =
  | { readonly kind: 'fields', readonly fields: Fields }
  | { readonly kind: 'malformed', readonly fields: Fields, readonly description: string }

/** The named parameters, or which of them is at fault. Those that are absent or empty are left out (RFC 6749 section 3.2). */
export type Parameters<Name extends string> =
  | { readonly kind: 'parameters', readonly values: Readonly<Partial<Record<Name, string>>> }
  | { readonly kind: 'malformed', readonly description: string }

/** Reads the body of an OAuth request, JSON or form. */
export function readBody (contentType: string | undefined, text: string): Body {
  const [type = ''] = (contentType ?? '').split(';')
  switch (type.trim().toLowerCase()) {
    case 'application/json': return readJson(text)
    case 'application/x-www-form-urlencoded': return { kind: 'fields', fields: readForm(new URLSearchParams(text)) }
    default: return malformed('The body must be JSON or a form')
  }
}

/** Collects the fields of a query or form. */
export function readForm (form: URLSearchParams): Fields {
  return Object.fromEntries([...new Set(form.keys())].map((name) => {
    const values = form.getAll(name)
    return [name, values.length > 1 ? values : values.join()]
  }))
}

function readJson (text: string): Body {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return malformed('The body is not valid JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return malformed('The body must be a JSON object')
  return { kind: 'fields', fields: Object.fromEntries(Object.entries(value)) }
}

function malformed (description: string): Body {
  return { kind: 'malformed', fields: {}, description }
}

/** Takes the named parameters out of the fields; each must be one string, others are ignored. */
export function readParameters<Name extends string> (fields: Fields, names: readonly Name[]): Parameters<Name> {
  const values: Partial<Record<Name, string>> = {}
  for (const name of names) {
    // Own fields only: a body has no `constructor` unless somebody sent one.
    const value = Object.hasOwn(fields, name) ? fields[name] : undefined
    if (value === undefined || value === '') continue
    if (typeof value !== 'string') return { kind: 'malformed', description: `The parameter ${name} must be one string` }
    values[name] = value
  }
  return { kind: 'parameters', values }
}

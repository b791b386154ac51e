/** The fields of a query or body, by name. A form field that is repeated is a list. A JSON value keeps its type. */
export type Fields = Readonly<Record<string, unknown>>

/** The fields of a body, or a description of why the body could not be read. In the second case, `fields` is empty. */
export type Body =
  | { readonly kind: 'fields', readonly fields: Fields }
  | { readonly kind: 'malformed', readonly fields: Fields, readonly description: string }

/** The values of the named parameters, or which one is wrong. Absent and empty parameters are left out (RFC 6749 section 3.2). */
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

/** Reads the named parameters from the fields. Each must be a single string. Other fields are ignored. */
export function readParameters<Name extends string> (fields: Fields, names: readonly Name[]): Parameters<Name> {
  const values: Partial<Record<Name, string>> = {}
  for (const name of names) {
    // Without `hasOwn`, inherited members such as `constructor` would count as fields that somebody has sent.
    const value = Object.hasOwn(fields, name) ? fields[name] : undefined
    if (value === undefined || value === '') continue
    if (typeof value !== 'string') return { kind: 'malformed', description: `The parameter ${name} must be one string` }
    values[name] = value
  }
  return { kind: 'parameters', values }
}

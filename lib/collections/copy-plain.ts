/**
 * Copies plain objects and lists at any depth. Functions and instances of classes in them are passed as they are. An object
 * that occurs several times, or holds itself, is copied once.
 */
export function copyPlain (value: object, copies = new Map<object, object>()): object {
  const known = copies.get(value)
  if (known !== undefined) return known
  const copy: object = Array.isArray(value) ? [] : Object.create(Object.getPrototypeOf(value))
  copies.set(value, copy)
  for (const [key, member] of entriesOf(value)) {
    // Defined rather than assigned, because an assignment to `__proto__` would change the prototype.
    Object.defineProperty(copy, key, {
      value: Array.isArray(member) || isPlainObject(member) ? copyPlain(member, copies) : member,
      writable: true,
      enumerable: true,
      configurable: true
    })
  }
  return copy
}

/** Tells whether a value is an object that no class has made. Objects of another realm, such as a test runner's, count too. */
export function isPlainObject (value: unknown): value is object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

/** The enumerable members of an object, those with a symbol as their name included. */
function entriesOf (value: object): Array<[string | symbol, unknown]> {
  const own = { ...value }
  return Reflect.ownKeys(own).map((key) => [key, Reflect.get(own, key)])
}

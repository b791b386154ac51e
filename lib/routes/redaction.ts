import { inspect } from 'node:util'

const hidden = '[hidden]'
/** Shorter values of `code` and `state` would be part of ordinary words. */
const shortestSecret = 8
const hiddenNames = new Set<unknown>(['authorization', 'cookie', 'cookies', 'proxy-authorization', 'set-cookie'])

function isHiddenName (name: unknown): boolean {
  return hiddenNames.has(typeof name === 'string' ? name.toLowerCase() : name)
}

/** The URLs that a raw request has: Fastify keeps the one before `rewriteUrl` under a name of its own. */
export interface RawUrls {
  readonly url?: string | undefined
  readonly originalUrl?: string | undefined
}

/**
 * Makes the function that takes secrets out of the texts that are logged about one request:
 * the values of its `code` and `state`, the query of every URL, and cookies in a block of headers.
 */
export function createCleaner (request: RawUrls): (text: string) => string {
  let secrets: readonly string[] | undefined
  return (text) => {
    let clean = text
    if (text.length >= shortestSecret) {
      secrets ??= findSecrets(request)
      for (const secret of secrets) clean = clean.replaceAll(secret, hidden)
    }
    if (clean.includes('?')) clean = clean.replace(/\?[^\s"'`]+/g, '')
    if (clean.includes('\r\n')) clean = clean.replace(/^((?:set-)?cookie|(?:proxy-)?authorization):.*$/gim, `$1: ${hidden}`)
    return clean
  }
}

/** Finds `code` and `state` in the URLs of a request, decoded and as they were written. */
function findSecrets ({ url = '', originalUrl = '' }: RawUrls): readonly string[] {
  const text = `${url}&${originalUrl}`
  const query = new URLSearchParams(text.replaceAll(/[?;#]/g, '&'))
  const decoded = [...query.getAll('code'), ...query.getAll('state')]
  const written = [...text.matchAll(/[?&;](?:code|state)=([^&;#]*)/g)].map(([, value = '']) => value)
  return [...new Set([...decoded, ...decoded.map(encodeURIComponent), ...written])].filter((value) => value.length >= shortestSecret)
}

/** What `util.inspect` prints for a view: it looks past a Proxy, at the object that the Proxy was made for. */
const inspectable = {
  [inspect.custom] (): object {
    // Getters are copied as such: `inspect` does not call them, and one of Fastify's throws before the server listens.
    const plain = plains.get(this) ?? Object.defineProperties({}, Object.getOwnPropertyDescriptors(this))
    // The same object each time, so that `inspect` recognises a circle.
    plains.set(this, plain)
    return plain
  }
}
const plains = new WeakMap<object, object>()

/**
 * Shows what one line of the log is made of without its secrets.
 *
 * Plain objects, lists and errors are copied, with all that they hold: a logger may clone them, and prints their names
 * too. An instance of any other class is shown by a view, a Proxy that reads the original when it is asked. Serializers
 * and formatters of the app thus find every member that they look for, however deep. What they write stays in the copy
 * or the view: a redaction that writes back what it has read would otherwise change the request itself.
 */
export class Redaction {
  readonly #clean: (text: string) => string
  /** The copies and views by their originals, so that circles stay circles. */
  readonly #shown = new Map<object, unknown>()

  constructor (clean: (text: string) => string) {
    this.#clean = clean
  }

  /** Returns what may be logged in place of a value. */
  show (value: unknown): unknown {
    if (typeof value === 'string') return this.#clean(value)
    if (typeof value !== 'object' || value === null || value instanceof Date) return value
    const known = this.#shown.get(value)
    if (known !== undefined) return known
    if (Array.isArray(value)) return this.#copyList(value)
    if (value instanceof Error) return this.#copyError(value)
    const prototype: object | null = Object.getPrototypeOf(value)
    return prototype === null || prototype === Object.prototype ? this.#copyPlain(value, prototype) : this.#view(value)
  }

  /** Shows a member of an object; a method is called on the original, and its result is shown. */
  showMember (name: unknown, value: unknown, owner: object): unknown {
    if (typeof value === 'function') {
      if (name === 'constructor') return value
      return new Proxy(value, {
        // `getHeader('cookie')` is as good as a member of that name.
        apply: (method, _view, args) => this.showMember(args[0], Reflect.apply(method, owner, args), owner)
      })
    }
    if (value === undefined || value === null || typeof value === 'boolean') return value
    if (isHiddenName(name)) return hidden
    return name === 'query' && typeof value === 'object' ? {} : this.show(value)
  }

  /** Describes a member of an object as it is shown. A getter is called when the member is read. */
  describe (owner: object, key: PropertyKey): PropertyDescriptor {
    const { value, get, set, enumerable = false }: PropertyDescriptor = Object(Reflect.getOwnPropertyDescriptor(owner, key))
    if (get === undefined) return { value: this.showMember(key, value, owner), writable: true, enumerable, configurable: true }
    // From Node 24 on, `stack` is such a member of each error. The original's own setter would change the original.
    const write = function (this: object, written: unknown): void {
      Object.defineProperty(this, key, { value: written, writable: true, enumerable, configurable: true })
    }
    return { get: () => this.showMember(key, Reflect.apply(get, owner, []), owner), ...set !== undefined && { set: write }, enumerable, configurable: true }
  }

  #copyList (list: readonly unknown[]): unknown[] {
    const copy: unknown[] = []
    this.#shown.set(list, copy)
    // Node lists the headers of a request as name, value, name, value.
    for (const [i, value] of list.entries()) copy.push(this.showMember(list[i - 1], value, list))
    return copy
  }

  #copyPlain (original: object, prototype: object | null): object {
    const copy: object = Object.create(prototype)
    this.#shown.set(original, copy)
    this.#copyMembers(original, copy)
    return copy
  }

  /** Copies an error into one that Node made: `util.inspect` and `structuredClone` know those, and no others. */
  #copyError (original: Error): Error {
    const copy = new Error()
    this.#shown.set(original, copy)
    Reflect.deleteProperty(copy, 'stack')
    this.#copyMembers(original, copy)
    // Members that the class has are read from the original: a getter may look for a private member, which no copy has.
    let owner: object = Object.getPrototypeOf(original)
    Object.setPrototypeOf(copy, owner)
    for (; owner !== Error.prototype; owner = Object.getPrototypeOf(owner)) {
      for (const key of Reflect.ownKeys(owner)) {
        if (key === 'constructor' || Object.hasOwn(copy, key)) continue
        Object.defineProperty(copy, key, { get: () => this.showMember(key, Reflect.get(original, key), original), configurable: true })
      }
    }
    return copy
  }

  #copyMembers (original: object, copy: object): void {
    for (const key of Reflect.ownKeys(original)) {
      Object.defineProperty(copy, typeof key === 'string' ? this.#clean(key) : key, this.describe(original, key))
    }
  }

  #view (original: object): object {
    const members: object = Object.create(inspectable)
    const view = new Proxy(members, new View(original, members, this))
    this.#shown.set(original, view)
    return view
  }
}

/**
 * Reads an original through a redaction. Once something is written, the view has members of its own.
 * The Proxy is made for those, and not for the original: a Proxy must show what is frozen as it is.
 */
class View implements ProxyHandler<object> {
  readonly #original: object
  readonly #members: object
  readonly #redaction: Redaction
  #copied = false

  constructor (original: object, members: object, redaction: Redaction) {
    this.#original = original
    this.#members = members
    this.#redaction = redaction
  }

  /** Copies the original's own members, as they are shown. */
  #copy (): void {
    if (this.#copied) return
    for (const key of Reflect.ownKeys(this.#original)) Object.defineProperty(this.#members, key, this.#redaction.describe(this.#original, key))
    this.#copied = true
  }

  get (members: object, key: PropertyKey): unknown {
    if (Object.hasOwn(members, key)) return Reflect.get(members, key)
    return this.#redaction.showMember(key, Reflect.get(this.#source, key, this.#original), this.#original)
  }

  has (members: object, key: PropertyKey): boolean {
    return Object.hasOwn(members, key) || Reflect.has(this.#source, key)
  }

  getPrototypeOf (): object | null {
    return Object.getPrototypeOf(this.#original)
  }

  ownKeys (members: object): Array<string | symbol> {
    return Reflect.ownKeys(this.#copied ? members : this.#original)
  }

  getOwnPropertyDescriptor (members: object, key: PropertyKey): PropertyDescriptor | undefined {
    return this.#copied || !Object.hasOwn(this.#original, key) ? Reflect.getOwnPropertyDescriptor(members, key) : this.#redaction.describe(this.#original, key)
  }

  defineProperty (members: object, key: PropertyKey, descriptor: PropertyDescriptor): boolean {
    this.#copy()
    return Reflect.defineProperty(members, key, descriptor)
  }

  deleteProperty (members: object, key: PropertyKey): boolean {
    this.#copy()
    return Reflect.deleteProperty(members, key)
  }

  /** Where the members are that the view does not have itself. */
  get #source (): object {
    return this.#copied ? Object.getPrototypeOf(this.#original) : this.#original
  }
}

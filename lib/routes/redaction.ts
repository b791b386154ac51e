import type { IncomingHttpHeaders } from 'node:http'
import { inspect } from 'node:util'

/** Removes the secrets from a text. */
export type Cleaner = (text: string) => string

const hidden = '[hidden]'
/** Shorter values of `code` and `state` are not hidden, because ordinary words may contain them. */
const shortestSecret = 8
const hiddenNames = new Set<unknown>([
  'authorization', 'cookie', 'cookies', 'proxy-authorization', 'set-cookie', 'x-webflow-signature',
  // A request that was made with Fastify's `inject` keeps its body in `_lightMyRequest`.
  '_lightmyrequest'
])

function isHiddenName (name: unknown): boolean {
  return hiddenNames.has(typeof name === 'string' ? name.toLowerCase() : name)
}

/** The parts of a raw request that hold secrets. `originalUrl` is the URL before Fastify's option `rewriteUrl` has changed it. */
export interface RawParts {
  readonly url?: string | undefined
  readonly originalUrl?: string | undefined
  readonly headers?: IncomingHttpHeaders | undefined
}

/**
 * Makes the cleaner for all texts that are logged about one request. It removes the values of the request's `code` and
 * `state`, the signature of a webhook, the query of every URL, and credentials and cookies in raw header lines.
 */
export function createCleaner (request: RawParts): Cleaner {
  let known: { queries: readonly string[], secrets: readonly string[] } | undefined
  return (text) => {
    let clean = text
    if (text.length >= shortestSecret) {
      known ??= { queries: findQueries(request), secrets: findSecrets(request) }
      // The request's own query is removed as a whole: it may contain characters that end a URL in other texts.
      for (const query of known.queries) clean = clean.replaceAll(query, '')
      for (const secret of known.secrets) clean = clean.replaceAll(secret, hidden)
    }
    if (clean.includes('?')) clean = clean.replace(/\?[^\s"'`]+/g, '')
    if (clean.includes('\r\n')) clean = clean.replace(/^((?:set-)?cookie|(?:proxy-)?authorization):.*$/gim, `$1: ${hidden}`)
    return clean
  }
}

/** Finds the queries of a request's URLs, as they were written. */
function findQueries ({ url = '', originalUrl = '' }: RawParts): readonly string[] {
  return [url, originalUrl].flatMap((text) => /\?.*$/s.exec(text)?.[0] ?? []).filter((query) => query.length >= shortestSecret)
}

/** Finds the values of `code` and `state` in the URLs of a request, and the signature of a webhook. */
function findSecrets (request: RawParts): readonly string[] {
  const signatures = [request.headers?.['x-webflow-signature'] ?? []].flat().flatMap((value) => value.split(', '))
  return [...new Set([...findCodes(request), ...signatures])].filter((value) => value.length >= shortestSecret)
}

/** Finds the values of `code` and `state`: decoded, encoded again, and as they were written. */
function findCodes ({ url = '', originalUrl = '' }: RawParts): readonly string[] {
  const text = `${url}&${originalUrl}`
  // Most URLs have neither parameter. The name of a parameter may be percent-encoded.
  if (!/code|state|%/.test(text)) return []
  const query = new URLSearchParams(text.replaceAll(/[?;#]/g, '&'))
  const decoded = [...query.getAll('code'), ...query.getAll('state')]
  const written = [...text.matchAll(/[?&;](?:code|state)=([^&;#]*)/g)].map(([, value = '']) => value)
  return [...decoded, ...decoded.map(encodeURIComponent), ...written]
}

/**
 * Lets `util.inspect` print a view of `Redaction`. `util.inspect` does not use the traps of a Proxy. It only looks for
 * `inspect.custom` in the target of the Proxy, and calls it with the Proxy as `this`. So this object is the prototype of
 * the targets of all views.
 */
const inspectable = {
  [inspect.custom] (): object {
    // Getters are copied without calling them: a getter of Fastify throws before the server listens.
    const plain = plains.get(this) ?? Object.defineProperties({}, Object.getOwnPropertyDescriptors(this))
    plains.set(this, plain)
    return plain
  }
}
/** The plain objects that `inspect` prints for the views. Each view has only one, so that `inspect` recognises circular references. */
const plains = new WeakMap<object, object>()

/**
 * Removes secrets from the arguments of one log line.
 *
 * Plain objects, arrays and errors are copied deeply, because loggers clone and print them. An instance of any other class
 * becomes a view: a Proxy that reads a member of the original only when somebody reads that member. So the serializers and
 * formatters of the app find every member, however deep. What they write stays in the copy or the view, and never reaches the
 * request.
 */
export class Redaction {
  readonly #clean: Cleaner
  /** The copies and views by their originals, so that circular references stay circular. */
  readonly #shown = new Map<object, unknown>()

  constructor (clean: Cleaner) {
    this.#clean = clean
  }

  /** Returns what may be logged in place of a value. */
  show (value: unknown): unknown {
    if (typeof value === 'string') return this.#clean(value)
    if (typeof value !== 'object' || value === null || value instanceof Date) return value
    // Bytes may be a part of the body.
    if (ArrayBuffer.isView(value)) return hidden
    const known = this.#shown.get(value)
    if (known !== undefined) return known
    if (Array.isArray(value)) return this.#copyList(value)
    if (value instanceof Error) return this.#copyError(value)
    const prototype: object | null = Object.getPrototypeOf(value)
    return prototype === null || prototype === Object.prototype ? this.#copyPlain(value, prototype) : this.#view(value)
  }

  /** Returns what may be logged in place of a member of `owner`. A method still runs on the original; its result is redacted. */
  #showMember (name: unknown, value: unknown, owner: object): unknown {
    if (typeof value === 'function') {
      if (name === 'constructor') return value
      return new Proxy(value, {
        // The first argument counts as a name, because `getHeader('cookie')` returns the same secret as `headers.cookie`.
        apply: (method, _view, args) => this.#showMember(args[0], Reflect.apply(method, owner, args), owner)
      })
    }
    if (value === undefined || value === null || typeof value === 'boolean') return value
    if (isHiddenName(name)) return hidden
    return name === 'query' && typeof value === 'object' ? {} : this.show(value)
  }

  /** Returns the descriptor of a member without secrets. A getter stays a getter, and runs on the original. */
  #describe (owner: object, key: PropertyKey): PropertyDescriptor {
    const { value, get, set, enumerable = false }: PropertyDescriptor = Object(Reflect.getOwnPropertyDescriptor(owner, key))
    if (get === undefined) return { value: this.#showMember(key, value, owner), writable: true, enumerable, configurable: true }
    // The setter of the original would change the original. So a write to the copy replaces the getter with the written value.
    // From Node 24 on, the `stack` of an error is such a getter.
    const write = function (this: object, written: unknown): void {
      Object.defineProperty(this, key, { value: written, writable: true, enumerable, configurable: true })
    }
    return { get: () => this.#showMember(key, Reflect.apply(get, owner, []), owner), ...set !== undefined && { set: write }, enumerable, configurable: true }
  }

  #copyList (list: readonly unknown[]): unknown[] {
    const copy: unknown[] = []
    this.#shown.set(list, copy)
    // Node's `rawHeaders` is an array of name, value, name, value. So the previous element counts as the name of an element.
    for (const [i, value] of list.entries()) copy.push(this.#showMember(list[i - 1], value, list))
    return copy
  }

  #copyPlain (original: object, prototype: object | null): object {
    const copy: object = Object.create(prototype)
    this.#shown.set(original, copy)
    this.#copyMembers(original, copy)
    return copy
  }

  /** Copies an error. The copy is a native error, because `util.inspect` and `structuredClone` treat no other object as an error. */
  #copyError (original: Error): Error {
    const copy = new Error()
    this.#shown.set(original, copy)
    Reflect.deleteProperty(copy, 'stack')
    this.#copyMembers(original, copy)
    // Getters and methods of the class run on the original: they may use a private member, which the copy does not have.
    let owner: object = Object.getPrototypeOf(original)
    Object.setPrototypeOf(copy, owner)
    for (; owner !== Error.prototype; owner = Object.getPrototypeOf(owner)) {
      for (const key of Reflect.ownKeys(owner)) {
        if (key === 'constructor' || Object.hasOwn(copy, key)) continue
        Object.defineProperty(copy, key, { get: () => this.#showMember(key, Reflect.get(original, key), original), configurable: true })
      }
    }
    return copy
  }

  #copyMembers (original: object, copy: object): void {
    for (const key of Reflect.ownKeys(original)) {
      Object.defineProperty(copy, typeof key === 'string' ? this.#clean(key) : key, this.#describe(original, key))
    }
  }

  #view (original: object): object {
    // The Proxy's target is an object of copies, not the original: a Proxy must return frozen members of its target unchanged.
    const copies: object = Object.create(inspectable)
    let isCopied = false
    // Nothing is copied until somebody lists, describes or changes the own members of the view.
    const copied = (): object => {
      if (!isCopied) this.#copyMembers(original, copies)
      isCopied = true
      return copies
    }
    // Once the own members are copied, only inherited members are read from the original, so that a deleted member stays deleted.
    const source = (): object => isCopied ? Object.getPrototypeOf(original) : original
    const view = new Proxy(copies, {
      get: (_copies, key) => Object.hasOwn(copies, key) ? Reflect.get(copies, key) : this.#showMember(key, Reflect.get(source(), key, original), original),
      has: (_copies, key) => Object.hasOwn(copies, key) || Reflect.has(source(), key),
      getPrototypeOf: () => Object.getPrototypeOf(original),
      ownKeys: () => Reflect.ownKeys(copied()),
      getOwnPropertyDescriptor: (_copies, key) => Reflect.getOwnPropertyDescriptor(copied(), key),
      defineProperty: (_copies, key, descriptor) => Reflect.defineProperty(copied(), key, descriptor),
      deleteProperty: (_copies, key) => Reflect.deleteProperty(copied(), key)
    })
    this.#shown.set(original, view)
    return view
  }
}

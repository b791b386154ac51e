import { inspect } from 'node:util'

const hidden = '[hidden]'
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
    secrets ??= findSecrets(request)
    let clean = text
    for (const secret of secrets) clean = clean.replaceAll(secret, hidden)
    if (clean.includes('?')) clean = clean.replace(/\?[^\s"'`]+/g, '')
    if (clean.includes('\r\n')) clean = clean.replace(/^((?:set-)?cookie|(?:proxy-)?authorization):.*$/gim, `$1: ${hidden}`)
    return clean
  }
}

/** Finds `code` and `state` in the URLs of a request, decoded and as they were written. Shorter values would be part of ordinary words. */
function findSecrets ({ url = '', originalUrl = '' }: RawUrls): readonly string[] {
  const text = `${url}&${originalUrl}`
  const query = new URLSearchParams(text.replaceAll(/[?;#]/g, '&'))
  const decoded = [...query.getAll('code'), ...query.getAll('state')]
  const written = [...text.matchAll(/[?&;](?:code|state)=([^&;#]*)/g)].map(([, value = '']) => value)
  return [...new Set([...decoded, ...decoded.map(encodeURIComponent), ...written])].filter((value) => value.length >= 8)
}

/** What `util.inspect` prints for a view: it looks past a Proxy, at the object that the Proxy was made for. */
const inspectable = {
  [inspect.custom] (): object {
    const plain = plains.get(this) ?? { ...this }
    // The same object each time, so that `inspect` recognises a circle.
    plains.set(this, plain)
    return plain
  }
}
const plains = new WeakMap<object, object>()

/**
 * Shows what one line of the log is made of without its secrets.
 *
 * An object is shown by a view, a Proxy that reads the original when it is asked. Serializers and formatters of the
 * app thus find every member that they look for, however deep. What they write stays in the view: a redaction that
 * writes back what it has read would otherwise change the request itself.
 */
export class Redaction {
  readonly #clean: (text: string) => string
  /** The views by their originals, so that circles stay circles. */
  readonly #views = new Map<object, unknown>()

  constructor (clean: (text: string) => string) {
    this.#clean = clean
  }

  /** Returns what may be logged in place of a value. */
  show (value: unknown): unknown {
    if (typeof value === 'string') return this.#clean(value)
    if (typeof value !== 'object' || value === null || value instanceof Date) return value
    return this.#views.get(value) ?? (Array.isArray(value) ? this.#copy(value) : this.#view(value))
  }

  #copy (list: readonly unknown[]): unknown[] {
    const copy: unknown[] = []
    this.#views.set(list, copy)
    // Node lists the headers of a request as name, value, name, value.
    for (const [i, value] of list.entries()) copy.push(this.#member(list[i - 1], value, list))
    return copy
  }

  /** Shows a member of an object; a method is called on the original, and its result is shown. */
  #member (name: unknown, value: unknown, owner: object): unknown {
    if (name === 'constructor') return value
    if (typeof value === 'function') {
      return new Proxy(value, {
        // `getHeader('cookie')` is as good as a member of that name.
        apply: (method, _view, args) => this.#member(args[0], Reflect.apply(method, owner, args), owner)
      })
    }
    if (value === undefined || value === null || typeof value === 'boolean') return value
    if (isHiddenName(name)) return hidden
    return name === 'query' && typeof value === 'object' ? {} : this.show(value)
  }

  #view (original: object): object {
    // The Proxy is made for another object than the original: what is frozen there could not be shown otherwise.
    const own: object = Object.create(original instanceof Error ? Error.prototype : inspectable)
    let copied = false
    const copyOwn = () => {
      if (copied) return
      for (const key of Reflect.ownKeys(original)) {
        const enumerable = Object.prototype.propertyIsEnumerable.call(original, key)
        Object.defineProperty(own, key, { value: this.#member(key, Reflect.get(original, key), original), writable: true, enumerable, configurable: true })
      }
      copied = true
    }
    /** Where the members are that the view does not have itself. */
    const source = (): object => copied ? Object.getPrototypeOf(original) ?? Object.create(null) : original

    const view = new Proxy(own, {
      get: (_own, key) => Object.hasOwn(own, key) ? Reflect.get(own, key) : this.#member(key, Reflect.get(source(), key, original), original),
      has: (_own, key) => Object.hasOwn(own, key) || Reflect.has(source(), key),
      getPrototypeOf: () => Object.getPrototypeOf(original),
      ownKeys: () => Reflect.ownKeys(copied ? own : original),
      getOwnPropertyDescriptor: (_own, key) => {
        if (copied || !Object.hasOwn(original, key)) return Reflect.getOwnPropertyDescriptor(own, key)
        const enumerable = Object.prototype.propertyIsEnumerable.call(original, key)
        return { value: this.#member(key, Reflect.get(original, key), original), writable: true, enumerable, configurable: true }
      },
      defineProperty: (_own, key, descriptor) => {
        copyOwn()
        return Reflect.defineProperty(own, key, descriptor)
      },
      deleteProperty: (_own, key) => {
        copyOwn()
        return Reflect.deleteProperty(own, key)
      }
    })
    this.#views.set(original, view)
    // `util.inspect` looks past the Proxy and prints errors in its own way.
    if (original instanceof Error) copyOwn()
    return view
  }
}

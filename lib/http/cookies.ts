import fastifyCookie from '@fastify/cookie'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'

/** How long a browser keeps the session cookie, in seconds. A session usually ends earlier, when its record in the store expires. */
const sessionCookieMaxAge = 400 * 24 * 60 * 60

const sessionIdFormat = /^[\w-]{43}$/

/** The cookie names of one instance of the plugin. */
export interface CookieNames {
  session: string
  /** The prefix of the name of every flow cookie. */
  flowPrefix: string
  restart: string
}

/** The cookies of a request, by name. */
export type RequestCookies = Readonly<Record<string, string | undefined>>

/** The parser and the serializer of @fastify/cookie. */
export interface CookieCodec {
  parseCookie (header: string): RequestCookies
  serializeCookie (name: string, value: string, attributes: { httpOnly: boolean, maxAge: number, path: string, sameSite: 'lax', secure: boolean }): string
}

/**
 * Loads the parser and the serializer of @fastify/cookie, which provides them only when it is registered.
 * It is registered on a stand-in object that inherits from the Fastify instance and keeps all decorators to itself.
 * The app may therefore register @fastify/cookie too, at any time and with any options.
 */
export async function loadCookieCodec (fastify: FastifyInstance): Promise<CookieCodec> {
  const ignored = { value: () => standIn }
  const standIn: FastifyInstance = Object.create(fastify, {
    decorate: { value: (name: PropertyKey, value: unknown) => Object.defineProperty(standIn, name, { value }) },
    decorateRequest: ignored,
    decorateReply: ignored,
    addHook: ignored
  })
  // Up to version 11.1.4, @fastify/cookie calls the callback. From 11.1.5 on, it returns a promise, and its functions fail
  // before that promise has resolved.
  await new Promise((resolve) => { resolve(Reflect.apply(fastifyCookie, undefined, [standIn, {}, resolve])) })
  // The two functions are returned in a new object, so that the stand-in can be freed.
  const { parseCookie, serializeCookie } = standIn
  return { parseCookie, serializeCookie }
}

/** Reads and writes the cookies of one instance of the plugin. */
export class Cookies {
  readonly names: CookieNames
  readonly #codec: CookieCodec
  readonly #secure: boolean
  readonly #parsed = new WeakMap<FastifyRequest, RequestCookies>()
  /** The attributes of a cookie, by its life in seconds. */
  readonly #attributes = new Map<number, string>()

  /** With `secure`, the names begin with `__Host-`, so that no other host can plant such a cookie. */
  constructor (codec: CookieCodec, baseName: string, secure: boolean) {
    this.#codec = codec
    const name = secure ? `__Host-${baseName}` : baseName
    this.names = { session: name, flowPrefix: `${name}_flow_`, restart: `${name}_restart` }
    this.#secure = secure
  }

  /** Reads all cookies of a request. */
  read (request: FastifyRequest): RequestCookies {
    const header = request.headers.cookie
    if (header === undefined) return {}
    const known = this.#parsed.get(request)
    if (known !== undefined) return known
    const cookies = this.#codec.parseCookie(header)
    this.#parsed.set(request, cookies)
    return cookies
  }

  /** Reads the session id; null when there is none. Runs for every request, so it parses only an unusual header. */
  readSession (request: FastifyRequest): string | null {
    const header = request.headers.cookie
    if (header === undefined) return null
    const { session } = this.names
    const plain = findPlain(header, session)
    if (plain === null) return null
    // An unusual value goes to the parser, which decodes escapes and chooses among several cookies of one name.
    const id = sessionIdFormat.test(plain) ? plain : this.read(request)[session]
    return id !== undefined && sessionIdFormat.test(id) ? id : null
  }

  setSession (reply: FastifyReply, id: string): void {
    this.set(reply, this.names.session, id, sessionCookieMaxAge)
  }

  /** Deletes the session cookie in the browser, if the browser sent one. */
  endSession (request: FastifyRequest, reply: FastifyReply): void {
    if (this.read(request)[this.names.session] !== undefined) this.end(reply, this.names.session)
  }

  /** Sets a cookie for `maxAge` seconds. Its name and its value must need no escaping. */
  set (reply: FastifyReply, name: string, value: string, maxAge: number): void {
    reply.header('set-cookie', `${name}=${value}${this.attributes(maxAge)}`)
  }

  /** Returns the attributes of a cookie that lives for `maxAge` seconds, as they follow its value in the header. */
  attributes (maxAge: number): string {
    // Serializing each cookie anew would cost a tenth of an authorization request. There are only a few lifetimes.
    const known = this.#attributes.get(maxAge)
    if (known !== undefined) return known
    const attributes = this.#codec.serializeCookie('name', '', { httpOnly: true, maxAge, path: '/', sameSite: 'lax', secure: this.#secure }).slice('name='.length)
    this.#attributes.set(maxAge, attributes)
    return attributes
  }

  /** Deletes a cookie in the browser. */
  end (reply: FastifyReply, name: string): void {
    this.set(reply, name, '', 0)
  }
}

/** Finds the value of a cookie without parsing the others; null when there is none, and the empty string if the parser must decide. */
function findPlain (header: string, name: string): string | null {
  for (let start = header.indexOf(name); start >= 0; start = header.indexOf(name, start + 1)) {
    const equals = start + name.length
    const next = header[equals]
    if (next === ' ' || next === '\t') return ''
    // The text found is part of a value or of a longer name, such as that of a flow cookie.
    if (next !== '=') continue
    if (start > 0 && !header.startsWith('; ', start - 2)) return ''
    const end = header.indexOf(';', equals)
    return header.slice(equals + 1, end < 0 ? header.length : end)
  }
  return null
}

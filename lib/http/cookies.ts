import fastifyCookie from '@fastify/cookie'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'

/** How long a browser keeps the session cookie, in seconds. A session usually ends earlier, when its record in the store expires. */
const sessionCookieMaxAge = 400 * 24 * 60 * 60

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
  /** The beginning of a session cookie in the `Cookie` header. No browser puts a blank before the `=`. */
  readonly #sessionStart: string

  /** With `secure`, the names begin with `__Host-`, so that no other host can plant such a cookie. */
  constructor (codec: CookieCodec, baseName: string, secure: boolean) {
    this.#codec = codec
    const name = secure ? `__Host-${baseName}` : baseName
    this.names = { session: name, flowPrefix: `${name}_flow_`, restart: `${name}_restart` }
    this.#secure = secure
    this.#sessionStart = `${name}=`
  }

  read (request: FastifyRequest): RequestCookies {
    const header = request.headers.cookie
    return header === undefined ? {} : this.#codec.parseCookie(header)
  }

  /** Tells, without parsing the header, whether a request may have a session cookie. This is cheap enough for every request. */
  mayHaveSession (request: FastifyRequest): boolean {
    return request.headers.cookie?.includes(this.#sessionStart) ?? false
  }

  /** Reads the session id; null when there is none. */
  readSession (request: FastifyRequest): string | null {
    const header = request.headers.cookie
    if (header === undefined || !this.mayHaveSession(request)) return null
    const id = this.#codec.parseCookie(header)[this.names.session]
    return id !== undefined && /^[\w-]{43}$/.test(id) ? id : null
  }

  setSession (reply: FastifyReply, id: string): void {
    this.set(reply, this.names.session, id, sessionCookieMaxAge)
  }

  /** Deletes the session cookie in the browser, if the browser sent one. */
  endSession (request: FastifyRequest, reply: FastifyReply): void {
    if (this.read(request)[this.names.session] !== undefined) this.end(reply, this.names.session)
  }

  /** Sets a cookie for `maxAge` seconds. */
  set (reply: FastifyReply, name: string, value: string, maxAge: number): void {
    reply.header('set-cookie', this.#codec.serializeCookie(name, value, {
      httpOnly: true,
      maxAge,
      path: '/',
      sameSite: 'lax',
      secure: this.#secure
    }))
  }

  end (reply: FastifyReply, name: string): void {
    this.set(reply, name, '', 0)
  }
}

import fastifyCookie from '@fastify/cookie'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'

/** How long a browser keeps the session cookie, in seconds. What ends a session is its record. */
const sessionCookieMaxAge = 400 * 24 * 60 * 60

/** The names of an instance's cookies. */
export interface CookieNames {
  session: string
  /** What the name of every flow cookie starts with. */
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
 * Loads the parser and the serializer, which @fastify/cookie hands out only when it is registered.
 * It is registered on a stand-in, which inherits from the instance and keeps what is decorated to itself.
 * Whether, when and how the app registers @fastify/cookie therefore makes no difference.
 */
export async function loadCookieCodec (fastify: FastifyInstance): Promise<CookieCodec> {
  const ignored = { value: () => standIn }
  const standIn: FastifyInstance = Object.create(fastify, {
    decorate: { value: (name: PropertyKey, value: unknown) => Object.defineProperty(standIn, name, { value }) },
    decorateRequest: ignored,
    decorateReply: ignored,
    addHook: ignored
  })
  // Up to 11.1.4 the plugin calls back. Since 11.1.5 it is asynchronous, and its functions fail before it has loaded its parser.
  await new Promise((resolve) => { resolve(Reflect.apply(fastifyCookie, undefined, [standIn, {}, resolve])) })
  // Only the two functions are kept, and not the stand-in.
  const { parseCookie, serializeCookie } = standIn
  return { parseCookie, serializeCookie }
}

/** Reads and writes the cookies of one instance of the plugin. */
export class Cookies {
  readonly names: CookieNames
  readonly #codec: CookieCodec
  readonly #secure: boolean
  /** What a session cookie begins with: no browser puts a blank before the `=`. */
  readonly #sessionStart: string

  /** With `secure`, the names get `__Host-`: no other host can plant such a cookie. */
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

  /** Tells, for next to nothing, whether it is worth looking for a session id. */
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

  /** Ends the session cookie where the browser sent one. */
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

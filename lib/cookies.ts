import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify'
import fastifyCookie from '@fastify/cookie'

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
interface CookieCodec {
  parseCookie (header: string): RequestCookies
  serializeCookie (name: string, value: string, attributes: { httpOnly: boolean, maxAge: number, path: string, sameSite: 'lax', secure: boolean }): string
}

let codec: CookieCodec | undefined

/**
 * Loads the parser and the serializer, which @fastify/cookie hands out only when it is registered.
 * It is registered in an instance of its own, so that whether, when and how the app registers it
 * makes no difference.
 */
export async function loadCookieCodec (): Promise<CookieCodec> {
  if (codec !== undefined) return codec
  const instance = Fastify()
  instance.register(fastifyCookie)
  await instance.ready()
  codec = instance
  return instance
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

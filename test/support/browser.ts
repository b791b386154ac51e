import type { FastifyInstance } from 'fastify'
import { rememberSecrets } from './logs.ts'

/** A cookie as it was set. */
export interface SetCookie {
  name: string
  value: string
  attributes: string[]
}

/** An answer as a browser sees it. */
export interface Answer {
  statusCode: number
  headers: Record<string, string | string[] | number | undefined>
  location: string | null
  body: string
  json: () => Record<string, unknown>
  cookies: SetCookie[]
}

interface RequestOptions {
  method?: 'GET' | 'HEAD' | 'POST' | 'DELETE' | 'PUT'
  headers?: Record<string, string>
  body?: string
}

/** The headers that a browser sends when a person navigates to a page. */
export const navigation = { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document', 'sec-fetch-site': 'none', accept: 'text/html' }

/** A browser without a screen: it keeps cookies, and does not follow redirects by itself. */
export class Browser {
  readonly app: FastifyInstance
  readonly cookies = new Map<string, string>()

  constructor (app: FastifyInstance) {
    this.app = app
  }

  /** Makes a second browser with a copy of the cookies, like a tab whose answers the first browser does not see. */
  clone (app = this.app): Browser {
    const copy = new Browser(app)
    for (const [name, value] of this.cookies) copy.cookies.set(name, value)
    return copy
  }

  async request (url: string, { method = 'GET', headers = {}, body }: RequestOptions = {}): Promise<Answer> {
    const { pathname, search, host } = new URL(url, 'https://app.example.com')
    rememberSecrets(...new URLSearchParams(search).getAll('code'), ...new URLSearchParams(search).getAll('state'))
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await this.app.inject({
      method,
      url: pathname + search,
      headers: { host, ...(cookie === '' ? {} : { cookie }), ...headers },
      ...(body === undefined ? {} : { payload: body })
    })
    const cookies = [response.headers['set-cookie'] ?? []].flat().map(parseSetCookie)
    for (const { name, value, attributes } of cookies) {
      rememberSecrets(value)
      if (attributes.includes('Max-Age=0')) this.cookies.delete(name)
      else this.cookies.set(name, value)
    }
    return {
      statusCode: response.statusCode,
      headers: response.headers,
      location: response.headers.location ?? null,
      body: response.body,
      json: () => response.json(),
      cookies
    }
  }

  get (url: string, headers: Record<string, string> = {}): Promise<Answer> {
    return this.request(url, { headers })
  }

  navigate (url: string, headers: Record<string, string> = {}): Promise<Answer> {
    return this.request(url, { headers: { ...navigation, ...headers } })
  }
}

function parseSetCookie (header: string): SetCookie {
  const [pair = '', ...attributes] = header.split('; ')
  const [name = '', value = ''] = pair.split('=')
  return { name, value, attributes }
}

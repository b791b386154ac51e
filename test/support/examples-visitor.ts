import { request } from 'undici'

/** A page as its visitor sees it. */
export interface Page {
  url: string
  status: number
  headers: Record<string, string | string[] | undefined>
  html: string
  /** The text of the page. */
  text: string
}

interface Visit {
  method: 'GET' | 'POST' | 'DELETE'
  body?: string
  /** The page from which the request comes. */
  from?: string
  /** Whether a script of that page sends the request, instead of the browser that opens another page. */
  script?: true
}

/** A person with a browser without scripts: follows redirects, keeps cookies, clicks links and presses buttons. */
export class Visitor {
  /** The cookies by host name, because cookies ignore ports. */
  readonly #cookies = new Map<string, Map<string, string>>()
  /** Every URL that was requested, oldest first. */
  readonly trail: string[] = []
  page: Page = { url: 'about:blank', status: 0, headers: {}, html: '', text: '' }
  readonly #headers: Record<string, string>

  /** With `reconnects`, each request has a connection of its own, so that any of several workers may get it. */
  constructor ({ reconnects = false }: { reconnects?: boolean } = {}) {
    this.#headers = reconnects ? { connection: 'close' } : {}
  }

  /** Opens a URL as if it were typed in. */
  async open (url: string): Promise<Page> {
    return this.#go(url, { method: 'GET' })
  }

  /** Clicks the link that has the text. */
  async click (text: string): Promise<Page> {
    const link = [...this.page.html.matchAll(/<a\b([^>]*)>(.*?)<\/a>/gs)].find(([, , content]) => visible(content ?? '') === text)
    if (link === undefined) throw new Error(`There is no link "${text}" on:\n${this.page.text}`)
    return this.#go(new URL(attribute(link[1] ?? '', 'href'), this.page.url).href, { method: 'GET', from: this.page.url })
  }

  /** Presses the button that has the text, and sends the form of the button. */
  async press (text: string): Promise<Page> {
    for (const [, opening = '', content = ''] of this.page.html.matchAll(/<form\b([^>]*)>(.*?)<\/form>/gs)) {
      const button = [...content.matchAll(/<button\b([^>]*)>(.*?)<\/button>/gs)].find(([, , label]) => visible(label ?? '') === text)
      if (button === undefined) continue
      const fields = new URLSearchParams()
      const pressed = [button[1] ?? '', ...[...content.matchAll(/<input\b([^>]*)>/g)].flatMap(([, input = '']) => / checked\b/.test(input) ? [input] : [])]
      for (const control of pressed) if (attribute(control, 'name') !== '') fields.append(attribute(control, 'name'), attribute(control, 'value'))
      for (const [, select = '', options = ''] of content.matchAll(/<select\b([^>]*)>(.*?)<\/select>/gs)) {
        // What is selected unless somebody picks something else.
        const [, option = '', label = ''] = /<option\b([^>]*)>(.*?)<\/option>/s.exec(options) ?? []
        fields.append(attribute(select, 'name'), attribute(option, 'value') || visible(label))
      }
      return this.#go(new URL(attribute(opening, 'action'), this.page.url).href, { method: 'POST', body: fields.toString(), from: this.page.url })
    }
    throw new Error(`There is no button "${text}" on:\n${this.page.text}`)
  }

  /** Requests a path with a method, as a script of this page does. The answer becomes the page. */
  async fetch (method: 'GET' | 'DELETE', path: string): Promise<Page> {
    return this.#go(new URL(path, this.page.url).href, { method, from: this.page.url, script: true })
  }

  /** The headers with which a program can send this person's cookies. */
  cookiesFor (url: string): { cookie: string } {
    return { cookie: [...this.#cookies.get(new URL(url).hostname) ?? []].map((pair) => pair.join('=')).join('; ') }
  }

  async #go (url: string, visit: Visit): Promise<Page> {
    for (let redirects = 0; redirects < 10; redirects++) {
      this.trail.push(url)
      const { hostname } = new URL(url)
      const jar = this.#cookies.get(hostname) ?? new Map<string, string>()
      this.#cookies.set(hostname, jar)
      const { statusCode, headers, body } = await request(url, {
        method: visit.method,
        headers: {
          ...this.#headers,
          ...visit.script
            ? { accept: '*/*', 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty' }
            : { accept: 'text/html', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' },
          'sec-fetch-site': visit.from === undefined ? 'none' : new URL(visit.from).origin === new URL(url).origin ? 'same-origin' : 'cross-site',
          ...this.cookiesFor(url),
          ...(visit.body !== undefined && { 'content-type': 'application/x-www-form-urlencoded' })
        },
        body: visit.body ?? null,
        headersTimeout: 10_000,
        bodyTimeout: 10_000
      })
      for (const cookie of [headers['set-cookie'] ?? []].flat()) keep(jar, cookie)
      const html = await body.text()
      if (headers.location === undefined) {
        this.page = { url, status: statusCode, headers, html, text: visible(html) }
        return this.page
      }
      url = new URL(String(headers.location), url).href
      visit = { ...visit, method: 'GET' }
      delete visit.body
    }
    throw new Error(`The redirects do not end: ${this.trail.slice(-3).join(' ')}`)
  }
}

function keep (jar: Map<string, string>, cookie: string): void {
  const [pair = '', ...attributes] = cookie.split('; ')
  const [name = '', value = ''] = pair.split('=')
  if (attributes.includes('Max-Age=0')) jar.delete(name)
  else jar.set(name, value)
}

function attribute (tag: string, name: string): string {
  return unescape(new RegExp(` ${name}="([^"]*)"`).exec(tag)?.[1] ?? '')
}

function visible (html: string): string {
  return unescape(html.replace(/<(style|title)>.*?<\/\1>/gs, ' ').replace(/<[^>]*>/g, ' ')).replace(/\s+/g, ' ').trim()
}

function unescape (html: string): string {
  return html
    .replace(/&#(\d+);/g, (_, code) => String.fromCharCode(Number(code)))
    .replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&quot;', '"').replaceAll('&amp;', '&')
}

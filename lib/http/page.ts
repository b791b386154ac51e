import { createHash } from 'node:crypto'
import type { FastifyReply } from 'fastify'
import { passGate } from './reply-gate.ts'

const style = `
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
body { margin: 0; min-height: 100vh; min-height: 100svh; display: grid; grid-template-columns: minmax(0, 36rem); place-content: center; background: Canvas; color: CanvasText }
main { padding: 2rem clamp(1.25rem, 6vw, 2rem); overflow-wrap: anywhere }
h1 { margin: 0 0 .5rem; font-size: 1.5rem; line-height: 1.25 }
a { display: inline-block; margin-top: 1rem; padding: .625rem 1.25rem; border-radius: .5rem; background: #146ef5; color: #fff; text-decoration: none; font-weight: 600 }
a:focus-visible { outline: 3px solid; outline-offset: 3px }
small { display: block; margin-top: 2rem; font-size: .75rem; opacity: .7 }
`
const policy = [
  'default-src \'none\'',
  `style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'`,
  'base-uri \'none\'',
  'form-action \'none\'',
  'frame-ancestors \'none\''
].join('; ')

/**
 * The content of a page. Nothing in it comes from the request, except that `tryAgain` may hold the `returnTo` of a verified
 * flow.
 */
export interface Page {
  status: number
  title: string
  text: string
  /** A small line at the end, such as the code and the reason of the error, which the user can pass on when asking for help. */
  note?: string | undefined
  /** The target of the link "Try again": an absolute URL, or the empty string for the URL of this page. */
  tryAgain?: string | undefined
  /** Whether the page reloads its own URL at once. Defaults to false. */
  reloads?: boolean
}

/** Sends a small static page with a strict content security policy. */
export function sendPage (reply: FastifyReply, page: Page): FastifyReply {
  return passGate(reply, () => reply.code(page.status).headers(pageHeaders).send(renderPage(page)))
}

/** The headers of a page. */
export const pageHeaders = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': policy,
  'x-content-type-options': 'nosniff'
}

/** Writes the HTML of a page. */
export function renderPage ({ title, text, note, tryAgain, reloads = false }: Page): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
${reloads ? '<meta http-equiv="refresh" content="0">\n' : ''}<title>${escapeHtml(title)}</title>
<style>${style}</style>
</head>
<body>
<main>
<h1>${escapeHtml(title)}</h1>
<p>${escapeHtml(text)}</p>
${tryAgain === undefined ? '' : `<a href="${escapeHtml(tryAgain)}">Try again</a>\n`}${note === undefined ? '' : `<small>${escapeHtml(note)}</small>\n`}</main>
</body>
</html>
`
}

function escapeHtml (text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}

import { createHash } from 'node:crypto'
import type { FastifyReply } from 'fastify'
import { popupScript, type PopupNews } from './popup.ts'
import { passGate } from './reply-gate.ts'

const style = `
:root { color-scheme: light dark; --ink: #16181d; --soft: #59606b; --line: #dde1e8; --paper: #fff; --back: #f2f4f8; --good: #0b7a43; --good-tint: #e4f6ec; --bad: #a8200d; --bad-tint: #fdece9 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #f1f3f7; --soft: #a9b0bc; --line: #363b45; --paper: #1a1d23; --back: #101216; --good: #6fd9a0; --good-tint: #14301f; --bad: #ff9d8f; --bad-tint: #3a1a15 }
}
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; min-height: 100svh; padding: 1rem; display: grid; grid-template-columns: minmax(0, 30rem); place-content: center; background: var(--back); color: var(--ink); font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; overflow-wrap: anywhere }
main { padding: clamp(1.5rem, 6vw, 2.5rem); background: var(--paper); border: 1px solid var(--line); border-radius: 1rem; box-shadow: 0 1px 2px #0000000d, 0 8px 24px #0000000a }
main::before { display: grid; place-items: center; width: 3rem; height: 3rem; margin-bottom: 1.25rem; border-radius: 50%; font-size: 1.375rem; font-weight: 700 }
.good::before { content: "\\2713" / ""; background: var(--good-tint); color: var(--good) }
.bad::before { content: "!" / ""; background: var(--bad-tint); color: var(--bad) }
h1 { margin: 0 0 .5rem; font-size: clamp(1.375rem, 5vw, 1.625rem); line-height: 1.2; letter-spacing: -.015em; text-wrap: balance }
p { margin: 0; text-wrap: pretty }
a { display: inline-flex; align-items: center; justify-content: center; min-height: 2.75rem; margin-top: 1.5rem; padding: .5rem 1.5rem; border-radius: .625rem; background: #146ef5; color: #fff; text-decoration: none; font-weight: 600 }
a:hover { background: #0f57c4 }
a:focus-visible { outline: 3px solid; outline-offset: 3px }
small { display: block; margin-top: 1.5rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--soft); font: clamp(.625rem, 3.2vw, .75rem)/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
@media (max-width: 28rem) { a { display: flex } }
`

/**
 * The content of a page. Nothing in it comes from the request, except that `link` may hold the `returnTo` of a verified
 * flow.
 */
export interface Page {
  status: number
  title: string
  text: string
  /** A small line at the end. It holds the code and the reason of an error, which users can pass on when they ask for help. */
  note?: string | undefined
  /** The page's link. Its target is an absolute URL, or the empty string for the URL of this page. */
  link?: { href: string, text: string } | undefined
  /** Whether the page reloads its own URL at once. Defaults to false. */
  reloads?: boolean
  /** The message to the window that has opened the page. After sending it, the page closes itself. Defaults to no message. */
  news?: PopupNews | undefined
}

/** Sends a small static page with a strict content security policy. */
export function sendPage (reply: FastifyReply, page: Page): FastifyReply {
  return passGate(reply, () => reply.code(page.status).headers(pageHeaders(page)).send(renderPage(page)))
}

const hashOf = (source: string) => `'sha256-${createHash('sha256').update(source).digest('base64')}'`
const createPolicy = (scripts: readonly string[]) => [
  'default-src \'none\'',
  ...scripts,
  `style-src ${hashOf(style)}`,
  'base-uri \'none\'',
  'form-action \'none\'',
  'frame-ancestors \'none\''
].join('; ')
const policy = createPolicy([])
const popupPolicy = createPolicy([`script-src ${hashOf(popupScript)}`])

/** Returns the headers of a page. */
export function pageHeaders ({ news }: Page): Record<string, string> {
  return {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': news === undefined ? policy : popupPolicy,
    'x-content-type-options': 'nosniff'
  }
}

/** Writes the HTML of a page. */
export function renderPage (page: Page): string {
  const { title, text, note, link, reloads = false, news } = page
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
${reloads ? '<meta http-equiv="refresh" content="0">\n' : ''}<title>${escapeHtml(title)}</title>
<style>${style}</style>
</head>
<body${news === undefined ? '' : ` data-message="${escapeHtml(JSON.stringify(news.message))}" data-origins="${escapeHtml(JSON.stringify(news.origins))}"`}>
<main${markOf(page)}>
<h1>${escapeHtml(title)}</h1>
<p>${escapeHtml(text)}</p>
${link === undefined ? '' : `<a href="${escapeHtml(link.href)}">${escapeHtml(link.text)}</a>\n`}${note === undefined ? '' : `<small>${escapeHtml(note)}</small>\n`}</main>
${news === undefined ? '' : `<script>${popupScript}</script>\n`}</body>
</html>
`
}

/** Returns the CSS class of a failure or of a success. A page that reloads is neither, and has no class. */
function markOf ({ status, reloads }: Page): string {
  if (status >= 400) return ' class="bad"'
  return reloads === true ? '' : ' class="good"'
}

function escapeHtml (text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}

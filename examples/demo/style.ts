import { createHash } from 'node:crypto'

/** The style sheet of every page. */
export const style = `
:root { color-scheme: light dark; --ink: #16181d; --soft: #59606b; --line: #dde1e8; --paper: #fff; --back: #f2f4f8; --key: #1259d6; --tint: #e8f0fe; --good: #0b7a43; --good-tint: #e4f6ec; --bad: #a8200d; --bad-tint: #fdece9 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #f1f3f7; --soft: #a9b0bc; --line: #363b45; --paper: #1a1d23; --back: #101216; --key: #7db0ff; --tint: #1c2b47; --good: #6fd9a0; --good-tint: #14301f; --bad: #ff9d8f; --bad-tint: #3a1a15 }
}
* { box-sizing: border-box }
body { margin: 0; padding: clamp(1rem, 6vh, 5rem) 1rem 2rem; background: var(--back); color: var(--ink); font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; overflow-wrap: anywhere }
header, main, footer { width: 100%; max-width: 36rem; margin: 0 auto }
header { display: flex; align-items: center; gap: .625rem; margin-bottom: 1rem; font-weight: 600 }
header a { color: inherit; text-decoration: none }
header svg { flex: none; display: block }
main { padding: clamp(1.25rem, 5vw, 2.5rem); background: var(--paper); border: 1px solid var(--line); border-radius: 1rem; box-shadow: 0 1px 2px #0000000d, 0 8px 24px #0000000a }
h1 { margin: 0 0 .5rem; font-size: clamp(1.5rem, 5vw, 1.75rem); line-height: 1.2; letter-spacing: -.015em; text-wrap: balance }
h2 { margin: 0 0 .5rem; font-size: 1rem }
p { margin: 0 0 .75rem; text-wrap: pretty }
main > :first-child { margin-top: 0 }
main > :last-child { margin-bottom: 0 }
a { color: var(--key) }
:focus-visible { outline: 3px solid var(--key); outline-offset: 2px }
.soft, footer { color: var(--soft); font-size: .875rem }
.actions { display: flex; flex-wrap: wrap; gap: .75rem; margin-top: 1.5rem }
.actions form { display: contents }
.button { display: inline-flex; align-items: center; justify-content: center; min-height: 2.75rem; padding: .5rem 1.25rem; border: 1px solid var(--line); border-radius: .625rem; background: none; color: inherit; font: inherit; font-weight: 600; text-decoration: none; cursor: pointer }
.button:hover { border-color: currentColor }
.primary { border-color: #146ef5; background: #146ef5; color: #fff }
.primary:hover { border-color: #0f57c4; background: #0f57c4 }
.note { padding: .75rem 1rem; margin: 1rem 0 1.25rem; border-radius: .625rem; background: var(--bad-tint); color: var(--bad) }
.state { display: inline-flex; align-items: center; gap: .5rem; margin-bottom: .75rem; padding: .125rem .75rem; border-radius: 1rem; background: var(--tint); color: var(--key); font-size: .875rem; font-weight: 600 }
.state::before { content: ""; width: .5rem; height: .5rem; border-radius: 50%; background: currentColor }
.good { background: var(--good-tint); color: var(--good) }
.bad { background: var(--bad-tint); color: var(--bad) }
.sites { margin: 1.25rem 0; padding: 0; list-style: none; border: 1px solid var(--line); border-radius: .75rem }
.sites li { display: flex; align-items: center; gap: .875rem; padding: .75rem 1rem }
.sites li + li { border-top: 1px solid var(--line) }
.sites strong, .sites span { display: block; line-height: 1.35 }
.sites .initial { flex: none; width: 2.5rem; border-radius: .5rem; background: var(--tint); color: var(--key); font-weight: 700; line-height: 2.5rem; text-align: center }
.try { margin-top: 2rem; padding-top: 1.5rem; border-top: 1px solid var(--line) }
.try ul { margin: 0; padding-left: 1.125rem }
.try li + li { margin-top: .5rem }
footer { margin-top: 1rem }
code { font: .875em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
@media (max-width: 28rem) { .actions .button { flex: 1 1 100% } }
`

/** The style sheet's source expression for a content security policy. */
export const styleSource = `'sha256-${createHash('sha256').update(style).digest('base64')}'`

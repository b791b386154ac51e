import { createHash } from 'node:crypto'

/** The style sheet of every page. */
export const style = `
:root { color-scheme: light dark; --ink: #171717; --soft: #5c5c5c; --line: #d4d4d4; --paper: #fff; --back: #f3f4f6; --key: #146ef5; --bad: #b42318 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #f5f5f5; --soft: #b0b0b0; --line: #484848; --paper: #1e1e1e; --back: #121212; --key: #4f93ff; --bad: #ff9c92 }
}
* { box-sizing: border-box }
body { margin: 0; padding: 1rem; min-height: 100vh; min-height: 100svh; display: grid; place-items: center; background: var(--back); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif }
main { width: 100%; max-width: 34rem; padding: clamp(1.25rem, 5vw, 2.5rem); background: var(--paper); border: 1px solid var(--line); border-radius: 0.75rem; overflow-wrap: anywhere }
h1 { margin: 0 0 0.5rem; font-size: clamp(1.25rem, 6vw, 1.5rem); line-height: 1.25; text-wrap: balance }
h2 { margin: 1.5rem 0 0.5rem; font-size: 1rem }
p { margin: 0.5rem 0 }
ul, ol { margin: 0.5rem 0; padding-left: 1.25rem }
fieldset { margin: 0.75rem 0; padding: 0.5rem 1rem 0.75rem; border: 1px solid var(--line); border-radius: 0.5rem }
legend { padding: 0 0.25rem; font-weight: 600 }
label { padding: 0.375rem 0; display: flex; gap: 0.75rem; align-items: center; min-height: 2.75rem; cursor: pointer }
input { flex: none; width: 1.25rem; height: 1.25rem; margin: 0; accent-color: var(--key) }
.actions { display: flex; flex-wrap: wrap; gap: 0.75rem; margin: 1.5rem 0 1rem }
h2 + .actions, p + .actions { margin-top: 0.75rem }
.actions select { flex: none }
.actions label { flex: 1 1 12rem; flex-direction: column; gap: 0.25rem; align-items: stretch; padding: 0 }
.actions label ~ button { align-self: end }
.sites .button { flex-basis: auto }
.actions .wide { flex-basis: 100% }
form.actions + .actions { margin-top: 0 }
button, select, .button { flex: 1 1 8rem; min-height: 2.75rem; padding: 0.5rem 1rem; border: 1px solid var(--line); border-radius: 0.5rem; background: none; color: inherit; font: inherit; font-weight: 600; text-align: center; text-decoration: none; cursor: pointer }
select { font-weight: 400; text-align: left; background: var(--paper) }
.primary { border-color: #146ef5; background: #146ef5; color: #fff }
a { color: var(--key) }
:focus-visible { outline: 3px solid var(--key); outline-offset: 2px }
input[type=url] { flex: auto; width: 100%; height: auto; min-height: 2.75rem; padding: 0.5rem 0.75rem; border: 1px solid var(--line); border-radius: 0.5rem; background: var(--paper); color: inherit; font: inherit }
iframe { display: block; width: 100%; height: 22rem; margin: 1rem 0; border: 1px solid var(--line); border-radius: 0.5rem }
.soft { color: var(--soft); font-size: 0.875rem }
[role=alert], [role=status] { margin: 1rem 0; padding: 0.75rem 1rem; border: 1px solid currentColor; border-radius: 0.5rem; color: var(--bad) }
[role=status] { color: var(--key) }
@media (scripting: enabled) { .without-scripts { display: none } }
@media (scripting: none) { iframe { display: none } }
code { font: 0.875rem ui-monospace, monospace }
[role=alert] code { white-space: nowrap }
footer { margin-top: 1.5rem; padding-top: 0.75rem; border-top: 1px solid var(--line) }
`

/** The source expression that allows the style sheet in a content security policy. */
export const styleSource = `'sha256-${createHash('sha256').update(style).digest('base64')}'`

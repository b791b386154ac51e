// Runs TypeScript in the processes of the tests: `--import ./test/support/typescript.mjs`.
// Tap's own loader starts the compiler in each process. This one keeps what TypeScript made of a file in
// `.tap/compiled`, so that most processes never load the compiler. Coverage needs its source maps: tsx puts a whole file
// on one line, and every line of it would count as covered.
import { register } from 'node:module'

register('./typescript-hooks.mjs', import.meta.url)

import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'

const found = (process.env['PATH'] ?? '').split(delimiter).some((folder) => existsSync(join(folder, 'curl')))

/** Why the tests that need curl are skipped; false where they run, and where they must, with `REQUIRE_CURL=1`. */
export const withoutCurl: string | false = found || process.env['REQUIRE_CURL'] === '1' ? false : 'there is no curl on PATH'

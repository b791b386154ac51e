import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'

const found = (process.env['PATH'] ?? '').split(delimiter).some((folder) => existsSync(join(folder, 'curl')))

/** Why the tests that need curl are skipped. False if curl is there, or if the tests must run because of `REQUIRE_CURL=1`. */
export const withoutCurl: string | false = found || process.env['REQUIRE_CURL'] === '1' ? false : 'there is no curl on PATH'

/**
 * Keys, values and tags that adapters are known to get wrong, all different.
 * The plugin's own keys are hashes, and easier to keep.
 */
export const AWKWARD: readonly string[] = [
  '', ' ', '\t', '\n', '\r\n', 'a\nb', '\0', 'a\0b', 'a', 'b', '__proto__', 'constructor', 'hasOwnProperty', 'null', 'undefined', '0', '-1', '1e3',
  'tag:a', 'tag:', 'key:tag:a', 'key:', 'key', ':', '7:7', 'a,b', '{a,b}', '{}', '[]', '["a"]', '"quoted"', '\'', '\'\'', '`', '\\', '\\x41', '\\0', '$1', '?', ';--',
  '%', '%20', '%25', '_', '*', '{slot}', 'a b', 'a+b', '/', '../a', '#', '&amp;', '日本語 👩‍💻', '\u{10ffff}\u2028\u00e9', '\ufeff', '\u200b', 'x'.repeat(512)
]

/**
 * Families of texts that some collation, normalisation, cast or pattern treats as equal.
 */
export const ALIKE: ReadonlyArray<readonly string[]> = [
  ['case', 'Case', 'CASE'],
  ['end', 'end ', 'end  ', ' end', 'end\n', 'end\t', 'end\0', 'end\0\0', 'end\u00a0', 'e nd'],
  ['caf\u00e9', 'cafe\u0301', 'cafe', 'CAF\u00c9'],
  ['stra\u00dfe', 'strasse', 'STRASSE'],
  ['\u212b', '\u00c5', 'A\u030a'],
  ['\ufb01', 'fi'],
  ['i', 'I', '\u0131', '\u0130'],
  ['\uff21', 'A', '\u0391'],
  ['1', '01', '1.0', '+1', '1 '],
  ['under_score', 'underXscore', 'under%', 'under', 'under*', 'under?score'],
  ['one', 'one,two', 'two', 'one two', '"one"', '{one}', 'one\\'],
  ['\ud83d\ude00', '\ud83d\ude01', '?', '\ufffd'],
  ['a\u200bb', 'ab', 'a\u00adb']
]

/** Lists the numbers from 0 to `length` - 1. */
export function range (length: number): number[] {
  return Array.from({ length }, (_, index) => index)
}

/** Lists keys with padded numbers, so that they sort in the order of the numbers. */
export function numbered (length: number): string[] {
  return range(length).map((index) => `key ${String(index).padStart(4, '0')}`)
}

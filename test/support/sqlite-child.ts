// A process that uses the store on a file, for the tests of several processes: `sqlite-child.ts <path> <what to do> <name>`.
import { setImmediate } from 'node:timers/promises'
import { SqliteStore } from '../../stores/sqlite.ts'

const [, , path = '', task, name = ''] = process.argv
const expiresAt = Date.now() + 3_600_000
const store = new SqliteStore({ path })

/** A value that shows when a part of it is missing. */
export function wholeValue (key: string): string {
  return `${key} `.repeat(200)
}

if (task === 'count') {
  // Each process increases one number by conditional writes. If an update is lost, the sum is too small.
  for (let added = 0; added < 200;) {
    const current = await store.get('count')
    if (await store.set('count', String(Number(current) + 1), { expiresAt, tags: ['numbers'], if: current })) {
      await store.set(`${name} ${added++}`, name, { expiresAt, tags: ['steps', name] })
    }
    await setImmediate()
  }
  store.close()
}

if (task === 'fill') {
  // Prints a key once its write has resolved.
  for (let index = 0; ; index++) {
    const key = `${name} ${index}`
    try {
      await store.set(key, wholeValue(key), { expiresAt, tags: ['filled'] })
    } catch (error) {
      console.log(error instanceof Error ? error.message : error)
      process.exit(1)
    }
    console.log(key)
    await setImmediate()
  }
}

import sqlite from 'node-sqlite3-wasm'

/** Replaces `examples/moving-over/read-installs.mjs` on a Node without node:sqlite. */
export async function readInstalls (): Promise<object[]> {
  const database = new sqlite.Database(process.env['INSTALLS'], { readOnly: true })
  try {
    return database.all('SELECT user_id, access_token, connected_at FROM installs')
  } finally {
    database.close()
  }
}

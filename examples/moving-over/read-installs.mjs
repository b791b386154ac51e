// Reads the table of the app that you leave, with node:sqlite (Node 22.13 or later). The program import-tokens.ts calls it.
// For another database, put a function of your own in its place: it returns rows with these three columns.
import { DatabaseSync } from 'node:sqlite'

export async function readInstalls () {
  const database = new DatabaseSync(process.env.INSTALLS, { readOnly: true })
  try {
    return database.prepare('SELECT user_id, access_token, connected_at FROM installs').all()
  } finally {
    database.close()
  }
}

import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { answerParent } from './answer-parent.ts'

let issued = 0
let connections = 0

// As cheap as it gets: whatever is asked is granted or revoked, and every token has a user and a site of its own.
const answer: RequestListener = (request, response) => {
  request.resume()
  request.on('end', () => {
    const body = request.method === 'POST' ? issue() : introspect(request.headers.authorization ?? '')
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length }).end(body)
  })
}

function issue (): string {
  return JSON.stringify({ access_token: createHash('sha256').update(String(issued++)).digest('hex'), token_type: 'bearer', did_revoke: true })
}

function introspect (authorization: string): string {
  const id = authorization.slice(-23)
  return JSON.stringify({
    authorization: { id: `a${id}`, createdOn: '2026-01-01T00:00:00.000Z', lastUsed: '2026-01-01T00:00:00.000Z', grantType: 'authorization_code', rateLimit: 60, scope: 'sites:read', authorizedTo: { siteIds: [`c${id}`], workspaceIds: [], userIds: [`b${id}`] } },
    application: { id: `d${id}`, description: '', homepage: 'https://app.example.com', displayName: 'Benchmark' }
  })
}

const [, , key, certificate] = process.argv
const secure = key !== undefined && certificate !== undefined
const server = secure ? createSecureServer({ key: readFileSync(key), cert: readFileSync(certificate) }, answer) : createServer(answer)
server.on(secure ? 'secureConnection' : 'connection', () => { connections++ })
server.listen(0, '127.0.0.1')
await once(server, 'listening')
const address = server.address()
answerParent({ port: typeof address === 'object' ? address?.port : 0 }, () => connections)

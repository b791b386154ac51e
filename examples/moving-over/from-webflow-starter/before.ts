// What Webflow's Fastify starter does, written anew. Not to be imitated: see ../from-webflow-starter.md
import Fastify from 'fastify'
import { WebflowClient } from 'webflow-api'
import { baseUrl, endpoints } from '../../webflow-url.ts'

const { WEBFLOW_CLIENT_ID = '', WEBFLOW_SECRET = '', PORT = '3000' } = process.env
const server = Fastify({ logger: true })

// The starter keeps this in a Level database.
const data = new Map<string, string>()

function installUrl (): string {
  const parameters = { response_type: 'code', client_id: WEBFLOW_CLIENT_ID, scope: 'sites:read' }
  return `${endpoints?.authorize ?? 'https://webflow.com/oauth/authorize'}?${new URLSearchParams(parameters)}`
}

async function install (code: string): Promise<string> {
  const response = await fetch(endpoints?.token ?? 'https://api.webflow.com/oauth/token', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ grant_type: 'authorization_code', code, client_id: WEBFLOW_CLIENT_ID, client_secret: WEBFLOW_SECRET })
  })
  if (!response.ok) throw new Error(`Webflow gave no token: ${response.status}`)
  const answer: { access_token: string } = JSON.parse(await response.text())
  return answer.access_token
}

server.get('/', async (_request, reply) => {
  return reply.type('text/html; charset=utf-8').send('<p><a href="/auth">Connect Webflow</a></p>')
})

server.get<{ Querystring: { code?: string } }>('/auth', async (request, reply) => {
  const { code } = request.query
  if (code === undefined) return reply.redirect(installUrl())
  const token = await install(code)
  data.set('token', token)
  console.log(token)
  return reply.type('text/html; charset=utf-8').send('<p>Webflow is connected. <a href="/sites">List the sites</a></p>')
})

server.get('/sites', async () => {
  const accessToken = data.get('token')
  if (accessToken === undefined) throw new Error('There is no token')
  return new WebflowClient({ accessToken, baseUrl }).sites.list()
})

await server.listen({ port: Number(PORT), host: 'localhost' })

import { createHash } from 'node:crypto'
import { parseArgs } from 'node:util'
import { allScopes, isScopeToken } from './scope.ts'
import { isRegion } from './regions.ts'
import type { Region } from './regions.ts'
import { createSimulator } from './simulator.ts'
import type { Simulator } from './simulator.ts'

const usage = `Usage: fastify-webflow-oauth simulator [options]

Runs a simulated Webflow on this machine. An app can connect to it, and a person can click through its pages.

  --port <number>         where to listen; 0 for any free port (default 4000)
  --host <address>        the address to listen on (default 127.0.0.1)
  --redirect-uri <uri>    a redirect URI of the app; may be repeated
                          (default http://localhost:3000/webflow/callback)
  --extension <url>       where the app's Designer Extension is served, such as http://localhost:1337
  --scope <names>         the app's scopes, separated by spaces or commas (default all known scopes)
  --name <text>           the app's name (default My Amazing App)
  --region <us|eu>        the region of Webflow that it plays (default us)
  --behavior <name=value> how the simulator behaves where Webflow's behavior is unknown; may be repeated
  --verbose               prints each request: method, path and status
  -h, --help

The environment may set WEBFLOW_CLIENT_ID and WEBFLOW_CLIENT_SECRET. Without them, the command makes up credentials and
prints them. They are the same at every start.
`

/** The result of a command. */
export interface Command {
  readonly exitCode: number
  /** The running simulator, which the caller must close; null if none was started. */
  readonly simulator: Simulator | null
}

/** The functions with which a command prints. */
export interface Output {
  readonly log: (text: string) => void
  readonly error: (text: string) => void
}

/** Runs the command line `fastify-webflow-oauth`. Its only command is `simulator`. Prints errors and never throws. */
export async function runCommand (args: readonly string[], env: Readonly<Record<string, string | undefined>>, output: Output = console): Promise<Command> {
  try {
    const { values, positionals } = parse(args)
    if (values.help === true) {
      output.log(usage)
      return { exitCode: 0, simulator: null }
    }
    const [command, ...more] = positionals
    if (command !== 'simulator') throw new TypeError('the only command is `simulator`')
    if (more.length > 0) throw new TypeError(`\`${more.join(' ')}\` is not an option`)
    return { exitCode: 0, simulator: await start(values, env, output) }
  } catch (error) {
    output.error(`fastify-webflow-oauth: ${String(error).replace(/^\w*Error(?: \[\w+\])?: /, '')}\nTry: fastify-webflow-oauth simulator --help`)
    return { exitCode: 2, simulator: null }
  }
}

function parse (args: readonly string[]) {
  return parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      port: { type: 'string', default: '4000' },
      host: { type: 'string', default: '127.0.0.1' },
      'redirect-uri': { type: 'string', multiple: true, default: ['http://localhost:3000/webflow/callback'] },
      extension: { type: 'string' },
      scope: { type: 'string', default: allScopes.join(' ') },
      name: { type: 'string', default: 'My Amazing App' },
      region: { type: 'string', default: 'us' },
      behavior: { type: 'string', multiple: true, default: [] },
      verbose: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false }
    }
  })
}

async function start (values: ReturnType<typeof parse>['values'], env: Readonly<Record<string, string | undefined>>, { log }: Output): Promise<Simulator> {
  const port = Number(values.port)
  const scope = values.scope.split(/[\s,]+/).filter((name) => name !== '')
  const wrong = scope.find((name) => !isScopeToken(name))
  if (scope.length === 0 || wrong !== undefined) throw new TypeError(`\`--scope\` ${wrong === undefined ? 'is empty' : `holds ${wrong}, which is not a scope`}: pass scopes such as ${allScopes.join(' ')}`)
  if (values.host === '') throw new TypeError('`--host` is empty: leave it out for 127.0.0.1')
  if (!/^\d{1,5}$/.test(values.port) || port > 65_535) throw new TypeError('`--port` must be a number from 0 to 65535')
  const { extension, region } = values
  if (!isRegion(region)) throw new TypeError('`--region` must be us or eu')
  const { WEBFLOW_CLIENT_ID, WEBFLOW_CLIENT_SECRET } = env
  const clientId = WEBFLOW_CLIENT_ID || madeUp('client id', region)
  const clientSecret = WEBFLOW_CLIENT_SECRET || madeUp('client secret', region)
  const simulator = createSimulator({
    app: { clientId, clientSecret, redirectUris: values['redirect-uri'], scope, name: values.name, ...extension !== undefined && { extensionUrl: extension } },
    region,
    behavior: Object.fromEntries(values.behavior.map(readSwitch)),
    logger: values.verbose
  })
  try {
    await simulator.listen({ port, host: values.host })
  } catch (error) {
    throw String(error).includes('EADDRINUSE') ? new Error(`port ${port} is in use: choose another one with \`--port\`, or 0 for any free port`) : error
  }
  const { authorize, token, revoke } = simulator.endpoints
  const regionLine = region === 'us' ? '' : `\n  region: '${region}',`
  log(`Open ${simulator.url}

The registered app:
  WEBFLOW_CLIENT_ID=${WEBFLOW_CLIENT_ID ? '(as in the environment)' : clientId}
  WEBFLOW_CLIENT_SECRET=${WEBFLOW_CLIENT_SECRET ? '(as in the environment)' : clientSecret}
  redirect URI  ${values['redirect-uri'].join('\n                ')}${extension === undefined ? '' : `\n  extension     ${extension}`}

Options of the plugin:${regionLine}
  endpoints: {
    authorize: '${authorize}',
    token: '${token}',
    revoke: '${revoke}'
  }
Options of Webflow's SDK:
  baseUrl: '${simulator.url}/v2'
`)
  return simulator
}

/**
 * Makes up a credential. It is the same at every start, so that the app's settings need not change. Each region has
 * credentials of its own.
 */
function madeUp (what: string, region: Region): string {
  return createHash('sha256').update(`the ${what} of a simulator${region === 'us' ? '' : ` in ${region}`}`).digest('hex')
}

function readSwitch (text: string): [string, unknown] {
  const [name = '', value = ''] = text.split(/=(.*)/s)
  try {
    return [name, JSON.parse(value)]
  } catch {
    return [name, value]
  }
}

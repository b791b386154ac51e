import { Server as TlsServer } from 'node:tls'
import type { FastifyInstance } from 'fastify'
import { createSafeLogger } from '../collections/safe-logger.ts'
import type { WebflowOAuthOptions } from './options.ts'
import { regionOf } from './regions.ts'
import type { Settings } from './resolve.ts'
import { isKnownScope, similarScope } from './scopes.ts'
import { isLoopback } from './urls.ts'

/** Looks for settings that work now but cause trouble later. Logs one line for each of them, with the remedy. */
export function checkSetup (fastify: FastifyInstance, settings: Settings, options: WebflowOAuthOptions): void {
  const log = createSafeLogger(fastify.log)
  const warn = (line: string) => { log.warn(`webflow-oauth: ${line}`) }
  for (const line of findHazards(fastify, settings, options)) warn(line)
  fastify.addHook('onListen', async () => {
    const line = findPortHazard(settings, fastify.addresses().flatMap((address) => typeof address === 'string' ? [] : [address.port]))
    if (line !== null) warn(line)
  })
}

function findHazards (fastify: FastifyInstance, settings: Settings, options: WebflowOAuthOptions): string[] {
  const { redirectUri, secure } = settings
  const isProduction = process.env.NODE_ENV === 'production'
  const speaksTls = fastify.server instanceof TlsServer
  const { hostname, pathname } = new URL(redirectUri)
  const lines: string[] = []

  if (options.store === undefined && isProduction) {
    lines.push('tokens are kept in memory and are lost when this process ends: set `store` to a RedisStore, or on one machine to a SqliteStore')
  }
  if (!secure && (speaksTls || isProduction)) {
    lines.push(`\`redirectUri\` is ${new URL(redirectUri).origin}${pathname} though ${speaksTls ? 'this server speaks https' : 'NODE_ENV is production'}: browsers on other machines cannot reach it, and cookies are neither \`Secure\` nor \`__Host-\`. Set \`redirectUri\` to the public https URL, and register that URL with Webflow`)
  }
  if (!pathname.endsWith(settings.paths.callback)) {
    lines.push(`\`redirectUri\` leads to ${pathname}, but the callback route is ${settings.paths.callback}: callbacks reach this route only if a proxy rewrites the first path into the second. If no proxy does, leave out \`callbackPath\``)
  }
  // Fastify defines `request.ips` only with `trustProxy`.
  if (secure && !speaksTls && !isLoopback(hostname) && !fastify.hasRequestDecorator('ips')) {
    lines.push('`redirectUri` is https but this server speaks http, so a proxy must stand in front of it, and Fastify\'s `trustProxy` is not set: `request.ip` and `request.host` describe the proxy instead of the client, which misleads rate limits, logs and the reason `host_mismatch`. Set `trustProxy` to the proxy\'s address')
  }
  for (const scope of settings.scope.filter((scope) => !isKnownScope(scope))) {
    const similar = similarScope(scope)
    lines.push(`\`scope\` holds ${scope}, which is not a known scope: Webflow answers \`invalid_scope\` to a scope that it does not have. ${similar === null ? 'Is it misspelled?' : `Is ${similar} meant?`}`)
  }
  if (settings.secrets.some(looksMadeUp)) {
    lines.push('`secret` looks like a placeholder, which others can guess: make a random secret with `openssl rand -base64 32`')
  }
  for (const [name, url] of Object.entries(settings.endpoints)) {
    const { hostname, origin, protocol } = new URL(url)
    if (protocol === 'http:' && !isLoopback(hostname)) lines.push(`\`endpoints.${name}\` is at ${origin}: tokens and the client secret cross the network unencrypted. Use https`)
  }
  const elsewhere = Object.entries(settings.endpoints).filter(([, url]) => ![undefined, settings.region].includes(regionOf(new URL(url).hostname)))
  if (elsewhere.length > 0) {
    lines.push(`\`region\` is ${settings.region}, but these members of \`endpoints\` are at hosts of the other region: ${elsewhere.map(([name, url]) => `${name} (${new URL(url).hostname})`).join(', ')}. Each region refuses the credentials and tokens of the other. Correct \`region\`, or leave these endpoints out`)
  }
  return lines
}

/**
 * Warns when `redirectUri` names a loopback host but another port than the server listens on. On a loopback host there is
 * rarely a proxy that would forward requests from one port to the other.
 */
function findPortHazard ({ redirectUri }: Settings, ports: readonly number[]): string | null {
  const { host, hostname, port, protocol } = new URL(redirectUri)
  const wanted = Number(port || (protocol === 'https:' ? 443 : 80))
  if (!isLoopback(hostname) || ports.length === 0 || ports.includes(wanted)) return null
  return `\`redirectUri\` names ${host}, but this server listens on port ${ports[0]}: after the consent page, Webflow sends browsers to port ${wanted}. Use the same port in both places, unless a proxy forwards requests from one to the other`
}

// These words are long enough that a random secret does not contain one of them by chance.
const placeholderWords = /secret|change[-_ ]?me|replace|example|password|placeholder|insert|todo[-_ ]|keyboard cat|qwerty|your[-_ ]|1234567|abcdefg/i

/** Tells whether a secret looks made up by a person: it contains a typical word or has fewer than seven different bytes. */
function looksMadeUp (secret: Buffer): boolean {
  return placeholderWords.test(secret.toString('latin1')) || new Set(secret).size < 7
}

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** The files of a server's certificate. */
export interface Certificate {
  key: string
  /** The certificate of the server and the one that signed it, as public servers send them. */
  chain: string
  /** The certificate that clients trust. */
  root: string
  remove: () => void
}

/** Makes a certificate for loopback with OpenSSL 3. A root has signed an intermediate certificate, which has signed the server's. */
export function createCertificate (): Certificate {
  const folder = mkdtempSync(join(tmpdir(), 'bench-certificate-'))
  const file = (name: string): string => join(folder, name)
  const create = (name: string, signer: string | null, extension: string): void => {
    execFileSync('openssl', [
      'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', `/CN=${name}`,
      '-addext', extension, '-keyout', file(`${name}.key`), '-out', file(`${name}.pem`),
      ...signer === null ? [] : ['-CA', file(`${signer}.pem`), '-CAkey', file(`${signer}.key`)]
    ], { stdio: ['ignore', 'ignore', 'pipe'] })
  }
  create('root', null, 'keyUsage=keyCertSign')
  create('intermediate', 'root', 'keyUsage=keyCertSign')
  create('localhost', 'intermediate', 'subjectAltName=DNS:localhost,IP:127.0.0.1')
  writeFileSync(file('chain.pem'), readFileSync(file('localhost.pem'), 'utf8') + readFileSync(file('intermediate.pem'), 'utf8'))
  return { key: file('localhost.key'), chain: file('chain.pem'), root: file('root.pem'), remove: () => rmSync(folder, { recursive: true, force: true }) }
}

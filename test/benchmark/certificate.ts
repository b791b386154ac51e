import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Makes a key and a certificate for loopback with openssl, in files; `remove` takes them away. */
export function createCertificate (): { key: string, certificate: string, remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'bench-certificate-'))
  const [key, certificate] = ['key.pem', 'certificate.pem'].map((name) => join(folder, name))
  if (key === undefined || certificate === undefined) throw new RangeError('no files')
  execFileSync('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', key, '-out', certificate
  ], { stdio: 'ignore' })
  return { key, certificate, remove: () => rmSync(folder, { recursive: true, force: true }) }
}

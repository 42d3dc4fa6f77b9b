/** Keys of a transmitter, fetched over real TLS: cached, bounded, and never from somewhere else. */
import { spawnSync } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cleanUp, makeDirectory, runProgram } from '../e2e/process.ts'

const hasOpenssl = spawnSync('openssl', ['version']).status === 0
const REVOKED = 'https://schemas.openid.net/secevent/caep/event-type/session-revoked'

describe.skipIf(!hasOpenssl)('keys', () => {
  let directory: string
  let server: Server
  let url: string
  let keys: CryptoKeyPair
  let requests: string[] = []
  let answer: () => { status: number; body: string; location?: string }

  beforeAll(async () => {
    directory = await makeDirectory()
    const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')]
    const request = [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-days',
      '1',
    ]
    const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost']
    const made = spawnSync('openssl', [...request, '-keyout', key, '-out', cert, ...names])
    if (made.status !== 0) throw new Error(String(made.stderr))
    await writeFile(join(directory, 'token'), 'a-token-of-some-length')
    keys = (await generateKeyPair('ES256')) as CryptoKeyPair
    server = createServer({ key: await readFile(key), cert: await readFile(cert) }, (request, response) => {
      requests.push(request.url!)
      const { status, body, location } = answer()
      response.writeHead(status, { ...(location && { location }) })
      response.end(body)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    url = `https://localhost:${(server.address() as AddressInfo).port}`
  }, 60_000)
  afterAll(async () => {
    server?.close()
    await cleanUp()
  })

  const jwks = async () => JSON.stringify({ keys: [{ ...(await exportJWK(keys.publicKey)), kid: 'k1' }] })
  const sign = (jti: string) =>
    new SignJWT({
      iss: 'https://idp.example',
      aud: 'https://collector.example',
      iat: 1_790_000_000,
      jti,
      events: { [REVOKED]: {} },
    })
      .setProtectedHeader({ alg: 'ES256', kid: 'k1', typ: 'secevent+jwt' })
      .sign(keys.privateKey)

  /** What a process that trusts the certificate, or does not, says of each token. */
  async function taken(sets: readonly string[], isTrusted = true): Promise<string[]> {
    requests = []
    const child = join(import.meta.dirname, 'keys.child.ts')
    const args = ['--conditions=source', child, `${url}/keys`, join(directory, 'token'), ...sets]
    const env = isTrusted ? { NODE_EXTRA_CA_CERTS: join(directory, 'cert.pem') } : {}
    const { code, stdout, stderr } = await runProgram(process.execPath, args, { env })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    return stdout.trim().split('\n')
  }

  const UNAVAILABLE = 'unavailable: the keys of the issuer cannot be read now'

  test('are fetched once for many tokens', async () => {
    const body = await jwks()
    answer = () => ({ status: 200, body })
    expect(await taken([await sign('a'), await sign('b'), await sign('c')])).toEqual(['202', '202', '202'])
    expect(requests).toEqual(['/keys'])
  })

  test('are not taken from whom nobody vouches for', async () => {
    const body = await jwks()
    answer = () => ({ status: 200, body })
    expect(await taken([await sign('a')], false)).toEqual([UNAVAILABLE])
    expect(requests).toEqual([])
  })

  test('are not looked for where a redirect says', async () => {
    answer = () => ({ status: 302, body: '', location: '/other' })
    expect(await taken([await sign('a')])).toEqual([UNAVAILABLE])
    expect(requests).toEqual(['/keys'])
  })

  test.each<[string, () => { status: number; body: string }]>([
    ['an error', () => ({ status: 500, body: '{}' })],
    ['no JSON', () => ({ status: 200, body: 'keys' })],
    ['no key set', () => ({ status: 200, body: '{"keys":5}' })],
    ['more than there can be', () => ({ status: 200, body: `{"keys":[]}${' '.repeat(256 * 1024)}` })],
  ])('that are %s leave the token with its transmitter', async (_, answered) => {
    answer = answered
    expect(await taken([await sign('a')])).toEqual([UNAVAILABLE])
  })

  test('without the one that signed refuse the token', async () => {
    const other = await exportJWK(((await generateKeyPair('ES256')) as CryptoKeyPair).publicKey)
    answer = () => ({ status: 200, body: JSON.stringify({ keys: [{ ...other, kid: 'k9' }] }) })
    expect(await taken([await sign('a')])).toEqual(['malformed: the signature is by none of the known keys'])
  })
})

/**
 * Certificates for tests of TLS, made by hand: X.509 v3 in DER with ECDSA on P-256 (RFC 5280, RFC 5758). A day long.
 */
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'

export interface Certificate {
  /** In PEM. */
  readonly certificate: string
  readonly key: string
}

export interface Authority extends Certificate {
  /** A certificate of this authority for servers at 127.0.0.1 and localhost, and for clients. */
  issue(name: string): Certificate
}

const DAY_MILLIS = 24 * 3600 * 1000

/** An authority that nobody knows but who is given its certificate. */
export function createAuthority(name: string): Authority {
  const { privateKey, publicKey } = pair()
  const own = certify({ subject: name, issuer: name, publicKey, signer: privateKey, isAuthority: true })
  return {
    certificate: own,
    key: pem(privateKey),
    issue(subject) {
      const made = pair()
      const certificate = certify({
        subject,
        issuer: name,
        publicKey: made.publicKey,
        signer: privateKey,
        isAuthority: false,
      })
      return { certificate, key: pem(made.privateKey) }
    },
  }
}

interface Request {
  readonly subject: string
  readonly issuer: string
  readonly publicKey: KeyObject
  readonly signer: KeyObject
  readonly isAuthority: boolean
}

function certify({ subject, issuer, publicKey, signer, isAuthority }: Request): string {
  const algorithm = sequence(oid('2a8648ce3d040302')) // ecdsa-with-SHA256
  const now = Date.now()
  const names = sequence(
    der(0x82, Buffer.from('localhost')), // dNSName
    der(0x87, Buffer.from([127, 0, 0, 1])), // iPAddress
  )
  const extensions = sequence(
    extension('551d13', sequence(...(isAuthority ? [der(0x01, Buffer.from([0xff]))] : []))), // basicConstraints
    ...(isAuthority ? [] : [extension('551d11', names)]), // subjectAltName
  )
  const content = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))), // version 3
    der(0x02, Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    algorithm,
    nameOf(issuer),
    sequence(time(now - DAY_MILLIS / 24), time(now + DAY_MILLIS)),
    nameOf(subject),
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, extensions),
  )
  const signature = Buffer.concat([Buffer.from([0]), sign('sha256', content, signer)])
  const text = sequence(content, algorithm, der(0x03, signature)).toString('base64')
  return `-----BEGIN CERTIFICATE-----\n${text.replace(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`
}

function pair(): { publicKey: KeyObject; privateKey: KeyObject } {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' })
}

function pem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }) as string
}

function der(tag: number, content: Uint8Array): Buffer {
  const { length } = content
  const head = length < 128 ? [tag, length] : [tag, 0x82, length >> 8, length & 255]
  return Buffer.concat([Buffer.from(head), content])
}

function sequence(...parts: Uint8Array[]): Buffer {
  return der(0x30, Buffer.concat(parts))
}

function oid(hex: string): Buffer {
  return der(0x06, Buffer.from(hex, 'hex'))
}

function extension(id: string, value: Uint8Array): Buffer {
  return sequence(oid(id), der(0x04, value))
}

/** A distinguished name of nothing but a common name. */
function nameOf(text: string): Buffer {
  return sequence(der(0x31, sequence(oid('550403'), der(0x0c, Buffer.from(text)))))
}

function time(millis: number): Buffer {
  const text = new Date(millis).toISOString().replace(/[-:T]|\.\d+/g, '')
  return der(0x18, Buffer.from(text))
}

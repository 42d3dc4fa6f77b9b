/**
 * The way to the collector by each protocol, plain and behind TLS with certificates on both sides: the gate opens, the
 * spool empties, and whom the service does not know gets nothing.
 */
import { readdir, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect } from 'node:net'
import { join } from 'node:path'
import { createServer, type Server, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cleanUp, makeDirectory, waitFor } from '../e2e/process.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import { type Authority, type Certificate, createAuthority } from '../support/certificates.ts'
import {
  type Answer,
  recordsOf,
  select,
  startApplication,
  startCode,
  startQuickCollector,
} from './support.ts'

const FILE = 'evidence.app.mjs'

let collector: CollectorProcess
let authority: Authority
/** Certificates and keys as files, by name. */
let files: string

beforeAll(async () => {
  collector = await startQuickCollector()
  authority = createAuthority('an authority')
  files = await makeDirectory()
  const put = (name: string, text: string): Promise<void> => writeFile(join(files, name), text)
  const client = authority.issue('shop')
  await put('ca', authority.certificate)
  await put('other-ca', createAuthority('another authority').certificate)
  await put('client', client.certificate)
  await put('client-key', client.key)
})

afterAll(async () => {
  await collector?.stop()
  await cleanUp()
})

interface TlsFront {
  readonly port: number
  /** Common names of the clients that came through. */
  readonly clients: Set<string>
  close(): Promise<void>
}

/** TLS in front of one of the collector's receivers, for clients with a certificate of the authority. */
async function startTls(target: string): Promise<TlsFront> {
  const { key, certificate }: Certificate = authority.issue('collector')
  const clients = new Set<string>()
  const sockets = new Set<TLSSocket>()
  const options = { key, cert: certificate, ca: authority.certificate, requestCert: true }
  const server: Server = createServer({ ...options, ALPNProtocols: ['h2', 'http/1.1'] }, (socket) => {
    sockets.add(socket)
    clients.add(String(socket.getPeerCertificate().subject.CN))
    const inner = connect(Number(new URL(target).port), '127.0.0.1')
    socket.pipe(inner).pipe(socket)
    for (const [one, other] of [
      [socket, inner],
      [inner, socket],
    ] as const)
      one.on('error', () => other.destroy()).on('close', () => other.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    clients,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}

const withFiles = (of: Record<string, string>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(of).map(([name, file]) => [`OTEL_EXPORTER_OTLP_${name}`, join(files, file)]),
  )
const GOOD = { CERTIFICATE: 'ca', CLIENT_CERTIFICATE: 'client', CLIENT_KEY: 'client-key' }

/** The gate's verification, whose target is a place in the journal that the collector knows. */
async function expectGate(answer: Answer): Promise<void> {
  expect(answer.status).toBe(200)
  const records = await recordsOf(collector, answer)
  const [check] = select(records, 'verification', { 'verification.method': 'gate' })
  expect(check!.claims['verification.result']).toBe('pass')
  const position = check!.claims['verification.target.id']
  const response = await fetch(`${collector.api}/api/v1/receipts/${position}`)
  expect(await response.json()).toMatchObject({ state: 'committed' })
}

test('over gRPC without TLS: gate and spool', async () => {
  const directory = await makeDirectory()
  const service = await startApplication(collector, FILE, {
    OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.grpc,
    ROOTSPAN_SPOOL: directory,
  })
  const answer = await service.request('/gated')
  await expectGate(answer)
  const { stderr } = await service.stop()
  expect(stderr).not.toContain('rootspan: warning')
  expect(await readdir(directory)).toEqual([])
  const records = await recordsOf(collector, answer, { spans: 3 })
  expect(select(records, 'action', { 'action.outcome': 'success' })).toHaveLength(1)
})

test('over gRPC: a program that ends is not kept, and what it recorded is sent before', async () => {
  const code = `
    import { recordDecision, withExecution } from '@rootspan/instrumentation'
    import { trace } from '@opentelemetry/api'
    withExecution({ name: 'short', kind: 'job' }, () => {
      recordDecision({ outcome: 'allow', engine: 'test' })
      console.log('trace', trace.getActiveSpan().spanContext().traceId)
    })
  `
  const program = startCode(collector, code, {
    OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.grpc,
  })
  const [, traceId] = await program.says(/^trace (\w+)$/m)
  expect(await program.ends()).toMatchObject({ code: 0, stderr: '' })
  expect(select(await recordsOf(collector, { traceId: traceId! }), 'decision')).toHaveLength(1)
})

describe.each([
  ['http/protobuf', () => collector.http],
  ['grpc', () => collector.grpc],
])('%s behind TLS', (protocol, target) => {
  let tls: TlsFront

  beforeAll(async () => {
    tls = await startTls(target())
  })

  afterAll(async () => {
    await tls?.close()
  })

  const start = (env: Record<string, string>) =>
    startApplication(collector, FILE, {
      OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
      OTEL_EXPORTER_OTLP_ENDPOINT: `https://127.0.0.1:${tls.port}`,
      ...env,
    })

  test('with the certificates of both sides the gate opens', async () => {
    const service = await start(withFiles(GOOD))
    await expectGate(await service.request('/gated'))
    const { stderr } = await service.stop()
    expect(stderr).not.toContain('rootspan: warning')
    expect([...tls.clients]).toEqual(['shop'])
  })

  test.each([
    ['an authority that the service does not know', { ...GOOD, CERTIFICATE: 'other-ca' }],
    ['a client without a certificate', { CERTIFICATE: 'ca' }],
  ])('%s: nothing is taken, nothing is lost', async (_, of) => {
    const directory = await makeDirectory()
    const service = await start({ ...withFiles(of), ROOTSPAN_SPOOL: directory })
    const closed = await service.request('/gated?millis=1500')
    expect(closed.status).toBe(503)
    const { stderr } = await service.stop()
    expect(stderr).toContain('rootspan: warning')
    expect(stderr).not.toContain('BEGIN')
    expect((await readdir(directory)).length).toBeGreaterThan(0)

    const put = await start({ ...withFiles(GOOD), ROOTSPAN_SPOOL: directory })
    const records = await recordsOf(collector, closed, { spans: 3 })
    expect(select(records, 'verification', { 'verification.method': 'gate' })[0]!.claims).toMatchObject({
      'verification.result': 'fail',
      'verification.reason.code': 'not_acknowledged',
    })
    await waitFor('the spool to be empty', async () => {
      const others = new Set((await readdir(directory)).map((name) => name.split('.')[0]))
      return others.size === 1 ? true : undefined
    })
    await put.stop()
    expect(await readdir(directory)).toEqual([])
  })
})

/**
 * Two real services under the real OpenTelemetry SDK, with no code of ours in them: every span that the SDK says it
 * exported is a record under its parent's, and the evidence verifies offline with the policy that `init` printed.
 */
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { formatHex } from '@rootspan/lineage/bytes'
import { formatBundle, parseBundle } from '@rootspan/lineage/evidence/bundle'
import { isSpanBorn, Parent } from '@rootspan/lineage/record/entry'
import type { Policy } from '@rootspan/lineage/tlog/policy'
import { type VerifiedExecution, verify } from '@rootspan/lineage/verify'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cleanUp, makeDirectory } from './process.ts'
import {
  COMPRESSIONS,
  type ExportedSpan,
  type Exporting,
  PROTOCOLS,
  readOutput,
  startService,
  tap,
} from './sdk.ts'
import {
  type CollectorProcess,
  downloadEvidence,
  initialise,
  readMetrics,
  runVerifier,
  startCollectorProcess,
  waitForTrace,
} from './support.ts'
import { parentsOf } from './tree.ts'

let collector: CollectorProcess
let policy: Policy
let policyFile: string

beforeAll(async () => {
  const directory = await makeDirectory()
  const made = await initialise(directory)
  policy = made.policy
  policyFile = join(directory, 'auditor.policy')
  await writeFile(policyFile, made.text)
  collector = await startCollectorProcess({ directory, init: false, quietPeriod: '1s' })
}, 120_000)

afterAll(async () => {
  await collector?.stop()
  await cleanUp()
})

/** A caller's own span, which is never sent: what it calls is a local root of its trace. */
interface Caller {
  readonly traceId: string
  readonly id: string
}

/** Both services, five requests, and an orderly end. */
async function exercise(
  exporting: Exporting,
  caller: Caller,
): Promise<{ spans: ExportedSpan[]; noise: string[] }> {
  const stock = await startService('stock', exporting)
  const orders = await startService('orders', exporting, { STOCK_URL: stock.url })
  const statusOf = async (path: string, init: RequestInit = {}): Promise<number> => {
    const response = await fetch(orders.url + path, { ...init, signal: AbortSignal.timeout(30_000) })
    await response.arrayBuffer()
    return response.status
  }
  expect(await statusOf('/orders/tea')).toBe(200)
  expect(await statusOf('/orders/coffee')).toBe(404)
  expect(await statusOf('/orders', { method: 'POST' })).toBe(500)
  expect(await statusOf('/nowhere')).toBe(404)
  const traceparent = `00-${caller.traceId}-${caller.id}-01`
  expect(await statusOf('/orders/tea', { headers: { traceparent } })).toBe(200)
  const said = [
    { name: 'orders', ...(await orders.stop()) },
    { name: 'stock', ...(await stock.stop()) },
  ]
  const read = said.map(({ name, stdout, stderr }) => readOutput(name, stdout, stderr))
  return { spans: read.flatMap(({ spans }) => spans), noise: read.flatMap(({ noise }) => noise) }
}

/** Parent ids by span id, as the SDK has them; empty where no span of the trace has that id. */
function expectedTree(spans: readonly ExportedSpan[]): Record<string, string> {
  const ids = new Set(spans.map(({ id }) => id))
  return Object.fromEntries(spans.map(({ id, parent }) => [id, ids.has(parent) ? parent : '']))
}

/** What every record says of its span beside the parent. */
function verifiedSpans(execution: VerifiedExecution): Record<string, { name: string; parent: string }> {
  return Object.fromEntries(
    execution.records
      .filter(({ entry }) => isSpanBorn(entry))
      .map(({ entry, span }) => [
        formatHex(entry.spanId),
        { name: span!.name, parent: formatHex(entry.parentSpanId) },
      ]),
  )
}

const RUNS = PROTOCOLS.flatMap((protocol) =>
  COMPRESSIONS.map((compression) => ({ protocol, compression }) as const),
)

describe.each(RUNS)('$protocol, compression $compression', ({ protocol, compression }) => {
  test('every span is a record under its parent’s', { timeout: 180_000 }, async () => {
    const before = await readMetrics(collector)
    const wire = await tap(protocol === 'grpc' ? collector.grpc : collector.http)
    const caller = { traceId: randomBytes(16).toString('hex'), id: randomBytes(8).toString('hex') }
    const { spans, noise } = await exercise({ endpoint: wire.url, protocol, compression }, caller)
    await wire.close()

    expect(noise).toEqual([])
    expect(new Set(spans.map(({ service }) => service))).toEqual(new Set(['orders', 'stock']))
    const remote = spans.filter(({ parent, isParentRemote }) => parent !== caller.id && isParentRemote)
    expect(remote.length).toBe(4)

    for (const [traceId, exported] of Map.groupBy(spans, ({ traceId }) => traceId)) {
      await waitForTrace(collector, traceId, exported.length)
      const execution = verify(await downloadEvidence(collector, traceId), policy)
      expect(formatHex(execution.traceId)).toBe(traceId)
      expect(verifiedSpans(execution)).toEqual(
        Object.fromEntries(exported.map(({ id, name, parent }) => [id, { name, parent }])),
      )
      expect(parentsOf(execution)).toEqual(expectedTree(exported))
      const [root] = execution.roots
      expect(root!.record.entry.parent).toBe(traceId === caller.traceId ? Parent.remote : Parent.root)
    }

    // The settings were obeyed: what was on the wire was compressed, or was not.
    const sent = wire.sent()
    expect(sent.includes(Buffer.of(0x1f, 0x8b, 0x08))).toBe(compression === 'gzip')
    expect(sent.includes('service.name')).toBe(compression === 'none')
    if (protocol !== 'grpc') expect(sent.includes('application/json')).toBe(protocol === 'http/json')

    const after = await readMetrics(collector)
    for (const signal of ['traces', 'metrics', 'logs'])
      expect(change(before, after, `rootspan_requests_accepted_total{signal="${signal}"}`), signal).not.toBe(
        0,
      )
    expect(change(before, after, 'rootspan_spans_accepted_total')).toBe(spans.length)
    expect(change(before, after, 'rootspan_spans_quarantined_total')).toBe(0)
    for (const [name] of after)
      if (name.startsWith('rootspan_requests_refused_total'))
        expect(change(before, after, name), name).toBe(0)
  })
})

function change(
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
  name: string,
): number {
  expect([...after.keys()]).toContain(name)
  return after.get(name)! - (before.get(name) ?? 0)
}

test('an exporter that meets errors says so: the check above sees it', { timeout: 120_000 }, async () => {
  const nobody = { endpoint: 'http://127.0.0.1:1', protocol: 'http/json', compression: 'none' } as const
  const stock = await startService('stock', nobody, { OTEL_EXPORTER_OTLP_TIMEOUT: '500' })
  await (await fetch(`${stock.url}/stock/tea`)).arrayBuffer()
  const { stdout, stderr } = await stock.stop()
  const { spans, noise } = readOutput('stock', stdout, stderr)
  expect(spans.length).toBeGreaterThan(0)
  expect(noise.join('\n')).toMatch(/ECONNREFUSED|timed out|timeout/i)
})

describe('the evidence of one request', () => {
  let evidence: Uint8Array
  let execution: VerifiedExecution
  let file: string

  beforeAll(async () => {
    const answer = await fetch(`${collector.api}/api/v1/executions?service=stock&limit=200`)
    const { executions } = (await answer.json()) as { executions: { traceId: string; services: string[] }[] }
    const bundles: Uint8Array[] = []
    for (const { traceId, services } of executions)
      if (services.length === 2) bundles.push(await downloadEvidence(collector, traceId))
    evidence = bundles.reduce((least, one) => (one.length < least.length ? one : least))
    execution = verify(evidence, policy)
    file = join(collector.directory, 'small.rootspan')
    await writeFile(file, evidence)
  })

  test('is verified by the command, offline', async () => {
    const { code, stdout, stderr } = await runVerifier(
      ['verify', file, '--policy', policyFile],
      collector.directory,
    )
    expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain(formatHex(execution.traceId))
  })

  test('is refused by the command when a byte is changed, or when the policy is another log’s', async () => {
    const changed = join(collector.directory, 'changed.rootspan')
    const at = Buffer.from(evidence).indexOf('"payload":"') + 100
    await writeFile(changed, Uint8Array.from(evidence).with(at, evidence[at] === 65 ? 66 : 65))
    expect((await runVerifier(['verify', changed, '--policy', policyFile], collector.directory)).code).toBe(1)

    const other = join(collector.directory, 'other.policy')
    await writeFile(other, (await initialise(await makeDirectory())).text)
    const { code } = await runVerifier(['verify', file, '--policy', other], collector.directory)
    expect(code).not.toBe(0)
  })

  test('fails, or is the same execution with the byte named, for every byte', { timeout: 180_000 }, () => {
    expect(changeEveryByte(evidence)).toEqual({ failed: evidence.length, named: 0, wrong: [] })
  })

  test('names the bytes that nobody vouches for: a signature by an unknown key', { timeout: 180_000 }, () => {
    const bundle = parseBundle(evidence)
    const line = `— example.com/witness ${Buffer.alloc(68, 7).toString('base64')}\n`
    const signed = formatBundle({ ...bundle, checkpoint: bundle.checkpoint + line })
    execution = verify(signed, policy)
    const from = Buffer.from(signed).indexOf(line.slice(0, -1))
    const to = from + Buffer.byteLength(line) + 1
    const { failed, named, wrong } = changeEveryByte(signed, from - 2, to)
    expect(wrong).toEqual([])
    expect(named).toBeGreaterThan(50)
    expect(failed + named).toBe(to - from + 2)
  })

  /** Changes bytes one at a time to another value; `wrong` are the offsets at which nobody noticed. */
  function changeEveryByte(
    bytes: Uint8Array,
    from = 0,
    to = bytes.length,
  ): { failed: number; named: number; wrong: number[] } {
    const copy = Uint8Array.from(bytes)
    const { notChecked: listed, ...same } = execution
    const counts = { failed: 0, named: 0, wrong: [] as number[] }
    for (let at = from; at < to; at++) {
      const value = bytes[at]!
      // Any other value, a different one from byte to byte; half of them keep to base64 and digits.
      copy[at] = at % 2 === 0 ? value ^ (1 + ((at * 7) % 255)) : other(value)
      let outcome: VerifiedExecution | undefined
      try {
        outcome = verify(copy, policy)
      } catch (error) {
        expect((error as Error).name, `byte ${at}`).toBe('VerificationError')
        counts.failed++
      }
      copy[at] = value
      if (outcome === undefined) continue
      const { notChecked, ...rest } = outcome
      const news = notChecked.filter((one) => !listed.includes(one))
      if (news.length > 0 && JSON.stringify(plain(rest)) === JSON.stringify(plain(same))) counts.named++
      else counts.wrong.push(at)
    }
    return counts
  }
})

/** Another byte of the same sort, so that a change gets past the parsers. */
function other(value: number): number {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'
  const place = alphabet.indexOf(String.fromCharCode(value))
  return place < 0 ? value ^ 1 : alphabet.charCodeAt((place + 1) % alphabet.length)
}

/** Spells bigints and bytes, which JSON lacks. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_, one) =>
      typeof one === 'bigint' ? `${one}n` : one instanceof Uint8Array ? formatHex(one) : one,
    ),
  )
}

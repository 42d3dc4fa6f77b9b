/**
 * What the hooks' tests share: a real application under the register flag, a real collector, and the verified records
 * of a request as plain objects.
 */
import { createHmac, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { formatHex } from '@rootspan/lineage/bytes'
import { factsOf } from '@rootspan/lineage/governance/facts'
import { Kind } from '@rootspan/lineage/governance/kind'
import { decodeResource, type Span } from '@rootspan/lineage/otlp/decode'
import { type AnyValue, encodeValue } from '@rootspan/lineage/otlp/value'
import { isSpanBorn, nameOf, Persistence } from '@rootspan/lineage/record/entry'
import { parseVerifierKey } from '@rootspan/lineage/tlog/key'
import { policyOfLogs } from '@rootspan/lineage/tlog/policy'
import { type ExecutionNode, type VerifiedRecord, verify } from '@rootspan/lineage/verify'
import { onTestFailed } from 'vitest'
import { root } from '../../scripts/workspace.ts'
import { type Ended, type Running, startProgram, waitFor } from '../e2e/process.ts'
import {
  type CollectorProcess,
  downloadEvidence,
  type ExecutionSummary,
  startCollectorProcess,
} from '../e2e/support.ts'

const REGISTER = join(root, 'packages/instrumentation/src/register.ts')

/** The key that applications run with. */
const KEY = 'a key of sixteen bytes or more'

/** Fingerprint of a token or identity as it should be, computed apart from the code under test. */
export function fingerprint(value: string): string {
  return `hmac-sha256:${createHmac('sha256', KEY).update(value).digest('hex')}`
}

/** A collector that commits a trace soon after its last span. */
export function startQuickCollector(): Promise<CollectorProcess> {
  return startCollectorProcess({ quietPeriod: '400ms' })
}

export interface Answer {
  readonly status: number
  readonly body: string
  readonly traceId: string
}

/** An application that runs. */
export interface Application {
  readonly url: string
  readonly process: Running
  /** One request in a trace of its own. `sampled: false` sends a `traceparent` that says not to record. */
  request(path: string, init?: RequestInit & { sampled?: boolean }): Promise<Answer>
  /** SIGTERM, and all that it said. */
  stop(): Promise<Ended>
}

/** A program to run under the register flag, with its own packages or those of the workspace. */
export interface Service {
  readonly name: string
  readonly file: string
  readonly args?: readonly string[]
  /** Arguments for Node in the place of the register flag. */
  readonly flags?: readonly string[] | undefined
  /** Path of another Node than this one. */
  readonly node?: string | undefined
  readonly cwd?: string | undefined
  readonly env?: Readonly<Record<string, string>>
  /** Where it says that it listens; the first group is its URL, unless `url` is given. */
  readonly listening?: RegExp
  readonly url?: string
}

/** Arguments for Node that start a program under the register flag. */
export const UNDER_FLAG: readonly string[] = ['--import', REGISTER]

/**
 * Starts `apps/<file>` under the register flag. Not under the condition `source`: packages of others have it too, and
 * theirs leads to TypeScript that Node refuses. An application that uses the API imports it by its path.
 * It must print `listening on http://...` and should end on SIGTERM by
 * itself or by default.
 */
export async function startApplication(
  collector: Pick<CollectorProcess, 'http'>,
  file: string,
  env: Readonly<Record<string, string>> = {},
): Promise<Application> {
  const path = join(import.meta.dirname, 'apps', file)
  return startService(collector, { name: file.split('.')[0]!, file: path, env })
}

/** Starts any program as {@link startApplication} does. */
export async function startService(
  collector: Pick<CollectorProcess, 'http'>,
  {
    name,
    file,
    args = [],
    cwd,
    env = {},
    flags,
    node,
    listening = /listening on (http:\S+)$/m,
    url: known,
  }: Service,
): Promise<Application> {
  const child = startUnderFlag(collector, { name, file, args, cwd, env, flags, node })
  const said = await child.says(listening)
  const url = known ?? said[1]!
  return {
    url,
    process: child,
    async request(path, { sampled = true, headers, ...init } = {}) {
      const traceId = randomBytes(16).toString('hex')
      const traceparent = `00-${traceId}-${randomBytes(8).toString('hex')}-${sampled ? '01' : '00'}`
      const sent = new Headers(headers)
      sent.set('traceparent', traceparent)
      const response = await fetch(url + path, {
        ...init,
        headers: sent,
        signal: AbortSignal.timeout(30_000),
      })
      return { status: response.status, body: await response.text(), traceId }
    },
    async stop() {
      child.signal('SIGTERM')
      return child.ends()
    },
  }
}

/** Starts `apps/<file>` under the register flag, whatever it is. */
export function startApp(
  collector: Pick<CollectorProcess, 'http'>,
  file: string,
  env: Readonly<Record<string, string>> = {},
): Running {
  const path = join(import.meta.dirname, 'apps', file)
  return startUnderFlag(collector, { name: file.split('.')[0]!, file: path, env })
}

/** Starts an ES module that is given as text, as {@link startApp} does. */
export function startCode(
  collector: Pick<CollectorProcess, 'http'>,
  code: string,
  env: Readonly<Record<string, string>> = {},
): Running {
  const path = JSON.stringify(join(root, 'packages/instrumentation/src/index.ts'))
  const own = code.replaceAll("'@rootspan/instrumentation'", path)
  return startUnderFlag(collector, {
    name: 'code',
    file: '--input-type=module',
    args: ['--eval', own],
    env: { ROOTSPAN_LOG_LEVEL: 'warn', ...env },
  })
}

function startUnderFlag(
  collector: Pick<CollectorProcess, 'http'>,
  {
    name,
    file,
    args = [],
    cwd,
    env = {},
    flags = UNDER_FLAG,
    node = process.execPath,
  }: Omit<Service, 'listening'>,
): Running {
  return startProgram(node, [...flags, file, ...args], {
    name,
    ...(cwd !== undefined && { cwd }),
    env: {
      OTEL_SERVICE_NAME: name,
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.http,
      OTEL_METRICS_EXPORTER: 'none',
      OTEL_LOGS_EXPORTER: 'none',
      OTEL_BSP_SCHEDULE_DELAY: '100',
      OTEL_NODE_RESOURCE_DETECTORS: 'env',
      ROOTSPAN_FINGERPRINT_KEY: KEY,
      ...env,
    },
  })
}

export type Plain = string | number | boolean | Plain[] | undefined

/** A verified record. */
export interface Shown {
  /** `request`, `action`, `span`, `authorization`, `verification`, `decision`, `transition`; `joined` and the like. */
  readonly kind: string
  /** Name of its span. */
  readonly span: string
  /** In hex; absent where there is no span. */
  readonly traceId?: string
  readonly spanId?: string
  /** By attribute name without `governance.`. Values are what the payload opens to. */
  readonly claims: Readonly<Record<string, Plain>>
  /** Records that it names as its causes; of a join, the action and the decision. */
  readonly causes: readonly Shown[]
  /** The record of the parent span; facts have that of their own span. */
  readonly above: Shown | undefined
  /** All attributes of its span. */
  readonly attributes: Readonly<Record<string, Plain>>
  /** All attributes of its resource. */
  readonly resource: Readonly<Record<string, Plain>>
}

/**
 * Waits until the trace of an answer is committed, downloads its evidence, verifies it, and shows its records, in the
 * log's order. They are printed if the test fails, unless `isQuiet`. `spans` is the least number to wait for: needed only where spans
 * end long after others.
 */
export async function recordsOf(
  collector: CollectorProcess,
  { traceId }: Pick<Answer, 'traceId'>,
  { spans = 1, isQuiet = false }: { spans?: number; isQuiet?: boolean } = {},
): Promise<Shown[]> {
  await waitFor(`trace ${traceId} to be committed and signed`, async () => {
    const response = await fetch(`${collector.api}/api/v1/executions/${traceId}`)
    if (!response.ok) return undefined
    const found = (await response.json()) as ExecutionSummary
    return found.spans >= spans && found.signedSegments === found.segments ? found : undefined
  })
  const evidence = await downloadEvidence(collector, traceId)
  const { records, roots } = verify(evidence, policyOfLogs(parseVerifierKey(collector.vkey)))
  const shown = new Map<string, Shown>()
  for (const node of roots) showNode(node, undefined, shown)
  for (const record of records)
    if (record.entry.kind === Kind.persistence)
      shown.set(formatHex(record.leaf), {
        kind: nameOf(Persistence, record.entry.persistence),
        span: '',
        claims: {},
        causes: [],
        above: undefined,
        attributes: {},
        resource: {},
      })
  const all = records.flatMap(({ leaf, entry }) => {
    const one = shown.get(formatHex(leaf))
    if (one === undefined) return []
    const causes = entry.causes.map((cause) => shown.get(formatHex(cause.leaf)))
    Object.assign(one, { causes: causes.filter((cause) => cause !== undefined) })
    return [one]
  })
  if (!isQuiet) onTestFailed(() => console.log(listing(all)))
  return all
}

/** Those of a kind whose claims contain the given ones. */
export function select(records: readonly Shown[], kind: string, claims: Shown['claims'] = {}): Shown[] {
  const wanted = Object.entries(claims)
  return records.filter(
    (one) =>
      one.kind === kind &&
      wanted.every(([key, value]) => JSON.stringify(one.claims[key]) === JSON.stringify(value)),
  )
}

/** A readable list, printed when a test fails. */
function listing(records: readonly Shown[]): string {
  const line = (one: Shown): string =>
    `${one.kind} (${one.span}) ${JSON.stringify(one.claims)} <- ${one.causes.map(({ kind, span }) => `${kind} (${span})`).join(', ')}`
  return records.map(line).join('\n')
}

function showNode(node: ExecutionNode, above: Shown | undefined, shown: Map<string, Shown>): void {
  const span = node.record.span!
  const { claims, facts } = factsOf(span)
  const values = valuesOf(span)
  const attributes = plainAttributes(span.attributes)
  const { source, resourceStart, resourceEnd } = node.record.input!
  const resource = plainAttributes(
    decodeResource(source.body.subarray(resourceStart, resourceEnd)).attributes,
  )
  const show = (
    record: VerifiedRecord,
    claims: readonly { key: string; value: Uint8Array }[],
    over?: Shown,
  ) => {
    const kind = nameOf(Kind, record.entry.kind)
    const plain = claims.map(({ key, value }) => [
      key.replace(/^governance\./, ''),
      values.get(formatHex(value)),
    ])
    const one = {
      kind,
      span: span.name,
      traceId: formatHex(span.traceId),
      spanId: formatHex(span.spanId),
      claims: Object.fromEntries(plain),
      causes: [],
      above: over,
      attributes,
      resource,
    }
    shown.set(formatHex(record.leaf), one)
    return one
  }
  if (!isSpanBorn(node.record.entry)) throw new Error('a node is not born of a span')
  const own = show(node.record, claims, above)
  for (const [at, fact] of node.facts.entries()) show(fact, facts[at]!.claims, own)
  for (const child of node.children) showNode(child, own, shown)
}

/** Plain values by their encodings, for everything that a claim of this span can be. */
function valuesOf(span: Span): Map<string, Plain> {
  const all = [...span.attributes, ...span.events.flatMap(({ attributes }) => attributes)].map(
    ({ value }) => value,
  )
  const names = span.events.map(({ name }): AnyValue => ({ type: 'string', value: name }))
  return new Map([...all, ...names].map((value) => [formatHex(encodeValue(value)), plainOf(value)]))
}

function plainAttributes(attributes: Span['attributes']): Record<string, Plain> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, plainOf(value)]))
}

function plainOf(value: AnyValue): Plain {
  switch (value.type) {
    case 'array':
      return value.value.map(plainOf)
    case 'int':
      return Number(value.value)
    case 'string':
    case 'bool':
    case 'double':
      return value.value
    default:
      return undefined
  }
}

/** Asks an application under test something, and gives its answer with the records and the claims of its decisions. */
export async function askForDecisions(
  collector: CollectorProcess,
  application: Application,
  path: string,
): Promise<{ body: string; records: Shown[]; decisions: Shown['claims'][] }> {
  const answer = await application.request(path)
  const records = await recordsOf(collector, answer)
  return { body: answer.body, records, decisions: select(records, 'decision').map(({ claims }) => claims) }
}

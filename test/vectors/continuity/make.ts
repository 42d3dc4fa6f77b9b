/** Turns the specs in `specs/` into the vectors that lie beside: `npm run generate`. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type Attributes,
  BEGIN,
  INSTRUMENTED,
  numberSpans,
  PUSHED_PATH,
  sha256,
  spanIdOf,
  type Vector,
  type VectorSpan,
} from './spec.ts'

/** From the repository's root. */
export const VECTORS = 'test/vectors/continuity'

/** All vectors, by rule and name. A file of `specs/` exports arrays of them. */
export async function readSpecs(): Promise<Vector[]> {
  const directory = join(import.meta.dirname, 'specs')
  const vectors: Vector[] = []
  for (const file of (await readdir(directory)).sort()) {
    if (!file.endsWith('.ts')) continue
    const module = (await import(join(directory, file))) as Record<string, readonly Vector[]>
    for (const one of Object.values(module)) vectors.push(...one)
  }
  const paths = vectors.map(pathOf)
  const twice = paths.find((path, at) => paths.indexOf(path) !== at)
  if (twice !== undefined) throw new Error(`${twice} is there twice`)
  return vectors.sort((a, b) => (pathOf(a) < pathOf(b) ? -1 : 1))
}

/** Path from the repository's root, without `.json`. */
export function pathOf({ rule, name }: Pick<Vector, 'rule' | 'name'>): string {
  return `${VECTORS}/${rule}/${name}`
}

/** Texts of the files of a vector by their paths. */
export function filesOf(vector: Vector): Map<string, string> {
  const path = pathOf(vector)
  const traceOf = (trace: number): string => traceIdOf(vector, trace)
  const all = vector.requests.flatMap((spans) => (spans === 'settle' ? [] : spans))
  const numbered = numberSpans(all, traceOf)
  let next = 0
  const requests = vector.requests.flatMap((spans): unknown[] => {
    if (spans === 'settle') return [{ settle: true }]
    const from = next
    next += spans.length
    const sent = numbered.slice(from, next)
    const pushed = sent.filter((span) => span.pushed !== undefined)
    const request = requestOf(
      vector,
      sent.filter((span) => span.pushed === undefined),
    )
    return pushed.length === 0 ? [request] : [request, { opa: pushed.map((span) => entryOf(vector, span)) }]
  })
  const isOne = all.every(({ trace = 0 }) => trace === 0)
  const findings = vector.findings.map(({ rule, severity, spans, detail, trace = 0 }) => ({
    ...(!isOne && { traceId: traceIdOf(vector, trace) }),
    rule,
    severity,
    spans: spans.map((span) => spanName(vector, span)),
    detail,
  }))
  const files = new Map([
    [`${path}.json`, pretty(requests)],
    [`${path}.findings.json`, pretty(findings)],
  ])
  if (vector.unknown !== undefined)
    files.set(
      `${path}.unknown.json`,
      pretty(
        vector.unknown.map(({ trace = 0, ...one }) => ({
          ...(!isOne && { traceId: traceIdOf(vector, trace) }),
          ...one,
        })),
      ),
    )
  return files
}

function pretty(value: unknown): string {
  return `${JSON.stringify(value, undefined, 1)}\n`
}

/** Trace id of the first, second and so on execution of a vector, in hex. */
export function traceIdOf({ rule, name }: Pick<Vector, 'rule' | 'name'>, trace: number): string {
  return sha256(`${rule}/${name}/${trace}`).slice(0, 32)
}

/** `2` is a span of the execution, `1/2` one of the second execution. */
function spanName(vector: Vector, name: number | string): string {
  if (typeof name === 'number') return spanIdOf(name)
  const [trace, span] = name.split('/').map(Number)
  return `${traceIdOf(vector, trace!)}/${spanIdOf(span!)}`
}

/** An ExportTraceServiceRequest: one resource for each run of spans of one service. */
function requestOf(vector: Vector, spans: readonly VectorSpan[]): unknown {
  const runs: { service: string; spans: VectorSpan[] }[] = []
  for (const span of spans) {
    const { service = 'api' } = span
    const last = runs.at(-1)
    if (last?.service === service) last.spans.push(span)
    else runs.push({ service, spans: [span] })
  }
  return {
    resourceSpans: runs.map(({ service, spans }) => ({
      resource: {
        attributes: attributesOf({
          'service.name': service,
          ...(vector.services?.[service]?.resource ?? INSTRUMENTED),
        }),
      },
      scopeSpans: [{ scope: { name: 'vector' }, spans: spans.map((span) => spanOf(vector, span)) }],
    })),
  }
}

/** An entry of OPA's decision log, as OPA writes it. */
function entryOf(vector: Vector, { id, trace = 0, at = id / 100, pushed }: VectorSpan): unknown {
  return {
    labels: { id: 'opa-1', version: '1.9.0' },
    decision_id: pushed!.id,
    trace_id: traceIdOf(vector, trace),
    span_id: spanIdOf(id),
    path: PUSHED_PATH,
    result: pushed!.result,
    timestamp: new Date((BEGIN + at) * 1000).toISOString(),
  }
}

const KINDS = ['', 'internal', 'server', 'client', 'producer', 'consumer']

function spanOf(vector: Vector, span: VectorSpan): unknown {
  const { id, parent, trace = 0, kind = 'internal', at = id / 100, takes = 0.005 } = span
  const traceId = traceIdOf(vector, trace)
  return {
    traceId,
    spanId: spanIdOf(id),
    ...(parent !== undefined && { parentSpanId: spanIdOf(parent) }),
    ...(span.traceState !== undefined && { traceState: span.traceState }),
    name: span.name ?? `${kind} ${id}`,
    kind: KINDS.indexOf(kind),
    startTimeUnixNano: timeOf(at),
    endTimeUnixNano: timeOf(at + takes),
    ...(span.attributes !== undefined && { attributes: attributesOf(span.attributes) }),
    ...(span.dropped !== undefined && { droppedAttributesCount: span.dropped }),
    ...(span.events !== undefined && {
      events: span.events.map((event) => ({
        timeUnixNano: timeOf(event.at ?? at),
        name: event.name,
        attributes: attributesOf(event.attributes),
      })),
    }),
    ...(span.links !== undefined && {
      links: span.links.map((link) => ({
        traceId,
        spanId: spanIdOf(link),
        ...(span.linksRemote !== undefined && { flags: flagsOf(span.linksRemote) }),
      })),
    }),
    ...(span.failed === true && { status: { code: 2 } }),
    ...(span.remote !== undefined && { flags: flagsOf(span.remote) }),
  }
}

function flagsOf(remote: boolean): number {
  return remote ? 0x300 : 0x100
}

/** Nanoseconds as text; whole microseconds, so that no fraction is lost. */
function timeOf(seconds: number): string {
  return String((BigInt(BEGIN) * 1_000_000n + BigInt(Math.round(seconds * 1e6))) * 1000n)
}

function attributesOf(attributes: Attributes): unknown[] {
  return Object.entries(attributes).map(([key, value]) => ({ key, value: valueOf(value) }))
}

function valueOf(value: Attributes[string]): unknown {
  if (typeof value === 'string') return { stringValue: value }
  if (typeof value === 'boolean') return { boolValue: value }
  if (typeof value === 'number')
    return Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value }
  return { arrayValue: { values: value.map((one) => ({ stringValue: one })) } }
}

/** The continuity vectors as files, and a collector's findings about them in the same form. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { formatHex } from '@rootspan/lineage/bytes'
import { Kind } from '@rootspan/lineage/governance/kind'
import type { VerifiedExecution } from '@rootspan/lineage/verify'
import { root } from '../../scripts/workspace.ts'
import { VECTORS } from '../vectors/continuity/make.ts'
import { BEGIN } from '../vectors/continuity/spec.ts'

export interface FindingFile {
  readonly traceId?: string
  readonly rule: string
  readonly severity: string
  readonly spans: readonly string[]
  readonly detail: string
}

export interface VectorFiles {
  /** `GC-N01/violating` */
  readonly name: string
  /** Bodies of OTLP/JSON requests, and of uploads as `{ opa }`, in groups: each is committed before the next is sent. */
  readonly groups: readonly (readonly string[])[]
  /** Spans of each trace after each group; what is sent twice is one. */
  readonly spans: readonly ReadonlyMap<string, number>[]
  readonly findings: readonly FindingFile[]
  readonly unknown: readonly { readonly traceId?: string; readonly rule: string; readonly missing: string }[]
}

/** Entries of OPA's decision log. */
export interface Upload {
  readonly opa: readonly { readonly trace_id: string; readonly span_id: string }[]
}

interface Request {
  readonly resourceSpans: readonly {
    readonly resource: unknown
    readonly scopeSpans: readonly { readonly spans: readonly { readonly traceId: string }[] }[]
  }[]
}

export async function readVectors(): Promise<VectorFiles[]> {
  const directory = join(root, VECTORS)
  const read = async (path: string): Promise<unknown> =>
    JSON.parse(await readFile(join(directory, path), 'utf8'))
  const vectors: VectorFiles[] = []
  const files = (await readdir(directory, { recursive: true })).sort()
  for (const file of files) {
    const name = /^(.*\/(?:violating|clean|unknown)[^.]*)\.json$/.exec(file)?.[1]
    if (name === undefined) continue
    const requests = (await read(file)) as (Request | Upload | { settle: true })[]
    const groups: string[][] = [[]]
    const sent = new Map<string, Set<string>>()
    const spans = [new Map<string, number>()]
    for (const request of requests) {
      if ('settle' in request) {
        groups.push([])
        spans.push(new Map(spans.at(-1)))
        continue
      }
      groups.at(-1)!.push(JSON.stringify(request))
      if ('opa' in request) {
        for (const entry of request.opa) {
          const known = sent.get(entry.trace_id) ?? new Set()
          sent.set(entry.trace_id, known.add(JSON.stringify(entry)))
          spans.at(-1)!.set(entry.trace_id, known.size)
        }
        continue
      }
      for (const { resource, scopeSpans } of request.resourceSpans)
        for (const span of scopeSpans.flatMap((scope) => scope.spans)) {
          const known = sent.get(span.traceId) ?? new Set()
          sent.set(span.traceId, known.add(JSON.stringify([resource, span])))
          spans.at(-1)!.set(span.traceId, known.size)
        }
    }
    vectors.push({
      name,
      groups,
      spans,
      findings: (await read(`${name}.findings.json`)) as FindingFile[],
      unknown: files.includes(`${name}.unknown.json`)
        ? ((await read(`${name}.unknown.json`)) as VectorFiles['unknown'])
        : [],
    })
  }
  return vectors
}

/**
 * A body whose times are moved by whole seconds: those of spans and events, and those of artifacts and policies that are
 * anywhere near the beginning of the vectors.
 */
export function moveTimes(body: string, seconds: number): string {
  return body
    .replaceAll(/("(?:start|end)?[tT]imeUnixNano":")(\d+)"/g, (_, name, nanos) => {
      return `${name}${BigInt(nanos) + BigInt(seconds) * 1_000_000_000n}"`
    })
    .replaceAll(/("timestamp":")([^"]+)"/g, (_, name, at) => {
      return `${name}${new Date(Date.parse(at) + seconds * 1000).toISOString()}"`
    })
    .replaceAll(
      /("governance\.[\w.]+(?:_at|not_before)","value":\{"intValue":")(\d+)"/g,
      (_, name, at) => `${name}${Number(at) + seconds}"`,
    )
}

/** Seconds from the beginning of the vectors to `now`, in milliseconds since 1970. */
export function secondsSince(now: number): number {
  return Math.floor(now / 1000) - BEGIN
}

/** The findings of an execution, with the ids of the spans that their records are of. */
export function findingsOf({ judgement, records, traceId }: VerifiedExecution): FindingFile[] {
  const spanOf = new Map(records.map(({ leaf, entry }) => [formatHex(leaf), formatHex(entry.spanId)]))
  return judgement.findings.map(({ rule, severity, detail, subjects }) => ({
    traceId: formatHex(traceId),
    rule,
    severity,
    // Several facts of one span are one span; a record of another execution is known by its leaf alone.
    spans: [...new Set(subjects.map((leaf) => spanOf.get(formatHex(leaf)) ?? 'elsewhere'))],
    detail,
  }))
}

/** Records of findings in the log: for each the leaf hashes that it names, in hex. */
export function findingRecordsOf({ records }: VerifiedExecution): string[][] {
  return records
    .filter(({ entry }) => entry.kind === Kind.verification && entry.spanId.length === 0)
    .map(({ entry }) => entry.causes.map(({ leaf }) => formatHex(leaf)))
}

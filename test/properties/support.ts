/**
 * Spans through the collector's own scan and assembler, into records: what the property tests are made of.
 *
 * Salts come from the bytes of a request alone, so that the same requests in another order give the same bytes.
 */
import { createHash } from 'node:crypto'
import { formatHex, utf8 } from '@rootspan/lineage/bytes'
import { Kind } from '@rootspan/lineage/governance/kind'
import { decodeValue } from '@rootspan/lineage/otlp/encoded-value'
import { scanTraces } from '@rootspan/lineage/otlp/scan'
import { decodeText } from '@rootspan/lineage/otlp/text'
import { type AnyValue, formatValue } from '@rootspan/lineage/otlp/value'
import { Committer } from '@rootspan/lineage/record/commitment'
import {
  type Entry,
  isSpanBorn,
  nameOf,
  Parent,
  Persistence,
  parseEntry,
  Role,
} from '@rootspan/lineage/record/entry'
import type { Source, SpanInput } from '@rootspan/lineage/record/order'
import { encodeReceipt } from '@rootspan/lineage/record/receipt'
import { leafHash } from '@rootspan/lineage/tlog/merkle'
import { WireWriter } from '@rootspan/lineage/wire'
import { Assembler, type OpenFrame, type OpenSpan } from '../../packages/collector/src/assembler.ts'
import { START } from '../../packages/collector/src/store/cursor.ts'
import { EPOCH, encodeSpan, type SpanSpec, traceIdOf } from '../support/executions.ts'

/** A span as somebody sends it: its message, under a resource with this service's name. */
export interface Sent {
  readonly span: Uint8Array
  readonly service: string
}

export const TRACE = 1

export function send(spec: SpanSpec, trace = TRACE): Sent {
  return { span: encodeSpan(trace, spec), service: spec.service ?? 'checkout' }
}

/** An `ExportTraceServiceRequest` of these spans, in this order within each service. */
function requestOf(spans: readonly Sent[]): Uint8Array {
  const groups = new Map<string, WireWriter>()
  for (const { span, service } of spans) {
    let group = groups.get(service)
    if (group === undefined) {
      group = new WireWriter(1024).bytes(1, new WireWriter().string(1, 'test').finish())
      groups.set(service, group)
    }
    group.bytes(2, span)
  }
  const out = new WireWriter(1024)
  for (const [service, group] of groups) {
    const value = new WireWriter().string(1, service).finish()
    const name = new WireWriter().string(1, 'service.name').bytes(2, value).finish()
    const resource = new WireWriter().bytes(1, name).finish()
    out.bytes(1, new WireWriter(1024).bytes(1, resource).bytes(2, group.finish()).finish())
  }
  return out.finish()
}

export const RECEIPT = encodeReceipt({
  receiver: 'otlp/grpc',
  peer: '',
  tenant: '',
  receivedAt: EPOCH,
  tracked: false,
})

export function seedOf(body: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha256').update(body).digest())
}

/** The collector's assembler, fed request by request. */
export class Feed {
  readonly assembler = new Assembler(
    { quietMillis: 1, maxAgeMillis: 1000, maxSegmentSpans: 1_000_000 },
    START,
  )
  readonly #committer = new Committer()
  readonly #bodies = new Map<number, Uint8Array>()

  deliver(body: Uint8Array): void {
    const position = this.assembler.nextPosition
    this.#bodies.set(position, body)
    const frame = { position, seed: seedOf(body), receipt: RECEIPT, body }
    this.assembler.add(frame as Parameters<Assembler['add']>[0], '', false, scanTraces(body), 0)
  }

  /** The open spans of the one open trace, which are decided by that. */
  take(trace = TRACE): OpenSpan[] {
    const [open, ...others] = this.assembler.all(0)
    if (open === undefined || others.length > 0) throw new Error('bad feed: not one trace')
    const sources = new Map<OpenFrame, Source>()
    const spans = this.assembler.spans(open, (frame) => {
      let source = sources.get(frame)
      if (source === undefined) {
        const seed = this.#committer.traceSeed(frame.seed, utf8(''), traceIdOf(trace))
        const body = this.#bodies.get(frame.position)!
        source = { receipt: frame.receipt, seed, body, contexts: frame.contexts }
        sources.set(frame, source)
      }
      return source
    })
    this.assembler.decide(open)
    this.#bodies.clear()
    return spans
  }

  /** Delivers these requests and takes their spans. */
  through(requests: readonly (readonly Sent[])[]): SpanInput[] {
    for (const request of requests) this.deliver(requestOf(request))
    return this.take()
  }
}

/** Commits as any other, and keeps what it commits to. */
export class TellingCommitter extends Committer {
  /** Of each record with claims, in record order. */
  readonly told: (readonly string[])[] = []
  #claims: string[] = []

  override claim(...of: Parameters<Committer['claim']>): Uint8Array {
    const [, , , key, value] = of
    this.#claims.push(`${decodeText(key)}=${formatValue(withoutDigests(decodeValue(value)))}`)
    return super.claim(...of)
  }

  override claims(commitments: Uint8Array[]): Uint8Array {
    this.told.push(this.#claims)
    this.#claims = []
    return super.claims(commitments)
  }
}

/** A seal without the digests of what names leaves: these have the salts in them. */
function withoutDigests(value: AnyValue): AnyValue {
  if (value.type !== 'kvlist') return value
  return { ...value, value: value.value.filter(({ key }) => key !== 'judgement' && key !== 'context') }
}

/**
 * Records without what salts are in: one line each, in which leaves have their numbers in `entries`. With the claims
 * that {@link TellingCommitter} kept, where there are any.
 *
 *     4 action 0000000000000005 linked>2 decision>3 +claims
 */
export function draw(entries: readonly Uint8Array[], told?: readonly (readonly string[])[]): string[] {
  let next = 0
  const numbers = new Map(entries.map((entry, at) => [formatHex(leafHash(entry)), at]))
  const leaf = (hash: Uint8Array): string => String(numbers.get(formatHex(hash)) ?? '?')
  return entries.map((bytes, at) => {
    const entry = parseEntry(bytes)
    return [
      at,
      entry.kind === Kind.persistence
        ? nameOf(Persistence, entry.persistence)
        : `${isSpanBorn(entry) ? '' : '*'}${nameOf(Kind, entry.kind)}`,
      ...(entry.spanId.length === 0 ? [] : [shortId(entry.spanId)]),
      ...parentOf(entry, leaf),
      ...entry.causes.map((cause) => `${nameOf(Role, cause.role)}>${leaf(cause.leaf)}`),
      ...(entry.claims.length === 0 ? [] : [told === undefined ? '+claims' : `{${told[next++]}}`]),
      ...(entry.persistence === Persistence.sealed ? [`#${entry.segment} closes ${entry.leaves}`] : []),
    ].join(' ')
  })
}

function parentOf(entry: Entry, leaf: (hash: Uint8Array) => string): string[] {
  switch (entry.parent) {
    case Parent.none:
      return []
    case Parent.linked:
      return [`under ${leaf(entry.parentLeaf)}`]
    case Parent.root:
      return ['root']
    default:
      return [`${nameOf(Parent, entry.parent)} ${shortId(entry.parentSpanId)}`]
  }
}

function shortId(id: Uint8Array): string {
  return formatHex(id).replace(/^0+(?=.)/, '')
}

export function* permutations<T>(items: readonly T[]): Generator<T[]> {
  if (items.length <= 1) return yield [...items]
  for (const [at, item] of items.entries())
    for (const rest of permutations(items.filter((_, other) => other !== at))) yield [item, ...rest]
}

/** Every way to cut a list into runs. */
export function* cuts<T>(items: readonly T[]): Generator<T[][]> {
  for (let set = 0; set < 2 ** Math.max(0, items.length - 1); set++) {
    const runs: T[][] = [[]]
    for (const [at, item] of items.entries()) {
      runs.at(-1)!.push(item)
      if (at < items.length - 1 && Math.floor(set / 2 ** at) % 2 === 1) runs.push([])
    }
    yield runs
  }
}

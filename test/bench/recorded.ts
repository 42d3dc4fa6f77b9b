/**
 * Traffic that two instrumented services really sent (`record.ts`), for load: each round with new ids, times and numbers.
 *
 * Every trace in it is governed: authorized, decided on and judged. The spans are as the instrumentation made them, but every
 * request is another process of its service, whose numbers and links go on from round to round, since an exporter has one
 * request on its way.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { putU32 } from '@rootspan/lineage/bytes'
import { FIRST_LINK, linkAfter } from '@rootspan/lineage/continuity/emitter'
import { decodeResource, decodeSpan } from '@rootspan/lineage/otlp/decode'
import {
  PARENT_ID,
  RESOURCE_END,
  RESOURCE_START,
  SCOPE_END,
  SCOPE_START,
  SPAN_END,
  SPAN_ID,
  SPAN_START,
  scanTraces,
  TRACE_ID,
  WORDS_PER_SPAN,
} from '@rootspan/lineage/otlp/scan'
import { WireReader, WireWriter } from '@rootspan/lineage/wire'
import { putLittle, Random, type TrafficOptions, type TrafficRequest } from './traffic.ts'

export const RECORDED = join(import.meta.dirname, 'recorded/shop.otlp')

const SEQ = 'governance.emitter.seq'
const LINK = 'governance.emitter.prev'
const EMITTER = 'governance.emitter.id'
/** Numbers are written with all their bytes, so that others fit over them. */
const SEQ_BYTES = 5

interface Template {
  readonly bytes: Buffer
  readonly service: number
  readonly scope: string
  /** In its trace; -1 where the parent is none of it. */
  readonly above: number
  /** Of ids, number and link, in `bytes`; 0 where there is none. */
  readonly trace: number
  readonly span: number
  readonly parent: number
  readonly seq: number
  readonly link: number
  /** Of each time in `bytes`, and how long after the trace's beginning it is: nanoseconds, under 4 s. */
  readonly times: readonly { readonly at: number; readonly after: number }[]
}

interface Service {
  readonly resource: Uint8Array
  readonly emitter: string
}

interface Recording {
  readonly services: readonly Service[]
  readonly scopes: ReadonlyMap<string, Uint8Array>
  readonly traces: readonly (readonly Template[])[]
}

interface Place {
  readonly template: Template
  /** In the round. */
  readonly request: number
  readonly body: Buffer
  readonly start: number
}

interface Draft {
  readonly service: number
  readonly spans: { readonly template: Template; readonly places: Place[]; readonly at: number }[]
}

/** As `Traffic`, of what was recorded. */
export class RecordedTraffic {
  readonly requests: readonly TrafficRequest[]
  readonly spans: number
  readonly bytes: number
  readonly #traces: Place[][] = []
  readonly #random: Random
  /** By request, each of which is from a process of its own. */
  readonly #seqs: number[]
  readonly #links: string[]
  readonly #emitters: string[]

  constructor({ seed, requests, spansPerRequest }: TrafficOptions) {
    this.#random = new Random(seed)
    const recording = readRecording()
    const open = recording.services.map((_, service): Draft => ({ service, spans: [] }))
    const full: Draft[] = []
    for (let number = 0; full.length < requests; number++) {
      const trace = recording.traces[number % recording.traces.length]!
      const places: Place[] = []
      this.#traces.push(places)
      for (const [at, template] of trace.entries()) {
        const draft = open[template.service]!
        draft.spans.push({ template, places, at })
        if (draft.spans.length < spansPerRequest) continue
        full.push(draft)
        open[template.service] = { service: template.service, spans: [] }
      }
    }
    for (const draft of open) if (draft.spans.length > 0) full.push(draft)
    this.#seqs = full.map(() => 0)
    this.#links = full.map(() => FIRST_LINK)
    this.#emitters = full.map(({ service }, number) =>
      (seed * 0x10000 + number).toString(16).padStart(recording.services[service]!.emitter.length, '0'),
    )
    this.requests = full.map((draft, number) =>
      encodeRequest(draft, recording, number, this.#emitters[number]!),
    )
    this.spans = this.requests.reduce((sum, request) => sum + request.spans, 0)
    this.bytes = this.requests.reduce((sum, request) => sum + request.body.length, 0)
    this.refresh(BigInt(Date.now()) * 1_000_000n)
  }

  /** Puts new ids, times and numbers into all requests, in place: none of them may be on its way. */
  refresh(now: bigint): void {
    const random = this.#random
    const low = Number(now & 0xffff_ffffn)
    const high = Number(now >> 32n)
    const id = new Uint32Array(4)
    let ids = new Uint32Array(64)
    for (const places of this.#traces) {
      for (let i = 0; i < id.length; i++) id[i] = random.next()
      if (ids.length < places.length * 2) ids = new Uint32Array(places.length * 4)
      for (let i = 0; i < places.length * 2; i++) ids[i] = random.next()
      for (let i = 0; i < places.length; i++) {
        const { template, body, start } = places[i]!
        for (let word = 0; word < id.length; word++)
          putU32(body, start + template.trace + word * 4, id[word]!)
        putId(body, start + template.span, ids, i)
        if (template.parent !== 0 && template.above !== -1)
          putId(body, start + template.parent, ids, template.above)
        for (const { at, after } of template.times) {
          const time = low + after
          putLittle(body, start + at, time >>> 0)
          putLittle(body, start + at + 4, time > 0xffff_ffff ? high + 1 : high)
        }
        if (template.seq !== 0) this.#number(places[i]!)
      }
    }
  }

  /** As the instrumentation does (docs/instrument/continuity.md). */
  #number({ template, request, body, start }: Place): void {
    const seq = this.#seqs[request]!++
    const prev = this.#links[request]!
    body.set(varint(seq), start + template.seq)
    body.write(prev, start + template.link, 'latin1')
    const id = (at: number, size: number): string => body.toString('hex', start + at, start + at + size)
    const span = { seq: BigInt(seq), prev, traceId: id(template.trace, 16), spanId: id(template.span, 8) }
    this.#links[request] = linkAfter(this.#emitters[request]!, [span])
  }
}

function putId(body: Buffer, at: number, ids: Uint32Array, which: number): void {
  putU32(body, at, ids[which * 2]!)
  putU32(body, at + 4, ids[which * 2 + 1]!)
}

function varint(value: number): number[] {
  return Array.from(
    { length: SEQ_BYTES },
    (_, at) => (Math.floor(value / 128 ** at) & 0x7f) | (at < SEQ_BYTES - 1 ? 0x80 : 0),
  )
}

/** Spans of one scope lie together, as exporters send them. */
function encodeRequest(
  { service, spans }: Draft,
  recording: Recording,
  number: number,
  own: string,
): TrafficRequest {
  const { resource, emitter } = recording.services[service]!
  const ordered = [...Map.groupBy(spans, ({ template }) => template.scope).values()]
  const group = new WireWriter().bytes(1, resource)
  for (const some of ordered) {
    const scope = new WireWriter().bytes(1, recording.scopes.get(some[0]!.template.scope)!)
    for (const { template } of some) scope.bytes(2, template.bytes)
    group.bytes(2, scope.finish())
  }
  const body = Buffer.from(new WireWriter().bytes(1, group.finish()).finish())
  let from = 0
  for (const { template, places, at } of ordered.flat()) {
    const start = body.indexOf(template.bytes, from)
    from = start + template.bytes.length
    places[at] = { template, request: number, body, start }
  }
  for (let at = body.indexOf(emitter); at !== -1; at = body.indexOf(emitter, at))
    body.write(own, at, 'latin1')
  return { service: String(service), body, spans: spans.length }
}

/** The traces of requests: those of the processes' own, their signs of life and what they do at the start, are left out. */
function readRecording(): Recording {
  const body = readFileSync(RECORDED)
  const { words, count } = scanTraces(body)
  const services: Service[] = []
  const places = new Map<string, number>()
  const scopes = new Map<string, Uint8Array>()
  const traces = new Map<
    string,
    { id: string; parent: string; template: Omit<Template, 'above'>; begin: bigint }[]
  >()
  for (let row = 0; row < count; row++) {
    const word = (field: number): number => words[row * WORDS_PER_SPAN + field]!
    const slice = (from: number, to: number): Buffer => body.subarray(word(from), word(to))
    const id = (at: number, size: number): string => body.toString('hex', word(at), word(at) + size)
    const resource = slice(RESOURCE_START, RESOURCE_END)
    const span = decodeSpan(slice(SPAN_START, SPAN_END))
    const emitter = textOf(span.attributes, EMITTER)
    if (emitter === id(TRACE_ID, 16)) continue
    const name = textOf(decodeResource(resource).attributes, 'service.name')!
    const service = places.get(name) ?? services.push({ resource, emitter: emitter ?? '' }) - 1
    places.set(name, service)
    if (emitter !== undefined) services[service] = { resource, emitter }
    const scope = slice(SCOPE_START, SCOPE_END)
    scopes.set(scope.toString('latin1'), scope)
    const known = traces.get(id(TRACE_ID, 16)) ?? []
    traces.set(id(TRACE_ID, 16), known)
    known.push({
      id: id(SPAN_ID, 8),
      parent: word(PARENT_ID) === 0 ? '' : id(PARENT_ID, 8),
      template: templateOf(slice(SPAN_START, SPAN_END), service, scope.toString('latin1')),
      begin: span.startTimeUnixNano,
    })
  }
  return {
    services,
    scopes,
    traces: [...traces.values()].filter(isGoverned).map((spans) => {
      const [begin] = spans.map((one) => one.begin).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
      return spans.map(({ parent, template }) => ({
        ...template,
        above: spans.findIndex(({ id }) => id === parent),
        times: template.times.map(({ at }) => ({
          at,
          after: Number(template.bytes.readBigUInt64LE(at) - begin!),
        })),
      }))
    }),
  }
}

function isGoverned(spans: readonly { readonly template: { readonly seq: number } }[]): boolean {
  return spans.some(({ template }) => template.seq !== 0)
}

function textOf(attributes: ReturnType<typeof decodeSpan>['attributes'], key: string): string | undefined {
  const value = attributes.find((one) => one.key === key)?.value
  return value?.type === 'string' ? value.value : undefined
}

/** A recorded span with room for its number and its link, and where in it is what changes. */
function templateOf(span: Uint8Array, service: number, scope: string): Omit<Template, 'above'> {
  const out = new WireWriter()
  for (const reader = new WireReader(span); reader.next(); ) {
    const key = reader.field === 9 ? keyOf(reader.value()) : ''
    if (key === LINK) continue
    if (key === SEQ) {
      const number = Uint8Array.of(0x18, ...varint(0))
      out.bytes(9, new WireWriter().string(1, SEQ).bytes(2, number).finish())
      const link = new WireWriter().string(1, FIRST_LINK).finish()
      out.bytes(9, new WireWriter().string(1, LINK).bytes(2, link).finish())
    } else out.raw(span.subarray(reader.tagStart, reader.end))
  }
  const bytes = Buffer.from(out.finish())
  const places = { trace: 0, span: 0, parent: 0 }
  const times: { at: number; after: number }[] = []
  for (const reader = new WireReader(bytes); reader.next(); ) {
    if (reader.field === 1) places.trace = reader.start
    else if (reader.field === 2) places.span = reader.start
    else if (reader.field === 4) places.parent = reader.start
    else if (reader.field === 7 || reader.field === 8) times.push({ at: reader.start, after: 0 })
    else if (reader.field === 11)
      for (const event = new WireReader(bytes, reader.start, reader.end); event.next(); )
        if (event.field === 1) times.push({ at: event.start, after: 0 })
  }
  const key = bytes.indexOf(SEQ)
  const seq = key === -1 ? 0 : key + SEQ.length + 3 // tag and length of the value, tag of the int
  const link = key === -1 ? 0 : bytes.indexOf(LINK) + LINK.length + 4 // and of the text
  return { bytes, service, scope, ...places, seq, link, times }
}

function keyOf(attribute: Uint8Array): string {
  const reader = new WireReader(attribute)
  while (reader.next()) if (reader.field === 1) return Buffer.from(reader.value()).toString()
  return ''
}

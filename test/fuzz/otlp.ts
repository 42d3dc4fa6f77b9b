/**
 * OTLP written down a second time, for tests: decoded messages to protobuf and to OTLP/JSON, random ones, and the
 * same bytes said differently. Shares no code with the decoder and the JSON reader except the types.
 */
import type {
  AnyValue,
  EntityRef,
  KeyValue,
  Resource,
  Scope,
  Span,
  SpanEvent,
  SpanLink,
  UnknownFields,
} from '@rootspan/lineage/otlp/decode'
import { WireReader, WireWriter } from '@rootspan/lineage/wire'
import fc from 'fast-check'

export interface ScopeGroup {
  scope: Scope | undefined
  spans: Span[]
}

export interface ResourceGroup {
  resource: Resource | undefined
  scopes: ScopeGroup[]
}

// ---- protobuf

export function encodeRequest(groups: readonly ResourceGroup[]): Uint8Array {
  const out = new WireWriter()
  for (const group of groups) {
    const inner = new WireWriter()
    if (group.resource) inner.bytes(1, encodeResource(group.resource))
    for (const { scope, spans } of group.scopes) {
      const inmost = new WireWriter()
      if (scope) inmost.bytes(1, encodeScope(scope))
      for (const span of spans) inmost.bytes(2, encodeSpan(span))
      inner.bytes(2, inmost.finish())
    }
    out.bytes(1, inner.finish())
  }
  return out.finish()
}

export function encodeResource(resource: Resource): Uint8Array {
  const out = new WireWriter()
  attributes(out, 1, resource.attributes)
  count(out, 2, resource.droppedAttributesCount)
  for (const ref of resource.entityRefs) out.bytes(3, encodeEntityRef(ref))
  return finish(out, resource.unknown)
}

function encodeEntityRef(ref: EntityRef): Uint8Array {
  const out = new WireWriter()
  text(out, 1, ref.schemaUrl)
  text(out, 2, ref.type)
  for (const key of ref.idKeys) out.string(3, key)
  for (const key of ref.descriptionKeys) out.string(4, key)
  return finish(out, ref.unknown)
}

export function encodeScope(scope: Scope): Uint8Array {
  const out = new WireWriter()
  text(out, 1, scope.name)
  text(out, 2, scope.version)
  attributes(out, 3, scope.attributes)
  count(out, 4, scope.droppedAttributesCount)
  return finish(out, scope.unknown)
}

export function encodeSpan(span: Span): Uint8Array {
  const out = new WireWriter()
  bytes(out, 1, span.traceId)
  bytes(out, 2, span.spanId)
  text(out, 3, span.traceState)
  bytes(out, 4, span.parentSpanId)
  text(out, 5, span.name)
  count(out, 6, span.kind)
  if (span.startTimeUnixNano !== 0n) out.fixed64(7, span.startTimeUnixNano)
  if (span.endTimeUnixNano !== 0n) out.fixed64(8, span.endTimeUnixNano)
  attributes(out, 9, span.attributes)
  count(out, 10, span.droppedAttributesCount)
  for (const event of span.events) out.bytes(11, encodeEvent(event))
  count(out, 12, span.droppedEventsCount)
  for (const link of span.links) out.bytes(13, encodeLink(link))
  count(out, 14, span.droppedLinksCount)
  const status = new WireWriter()
  text(status, 2, span.status.message)
  count(status, 3, span.status.code)
  bytes(out, 15, finish(status, span.status.unknown))
  if (span.flags !== 0) out.fixed32(16, span.flags)
  return finish(out, span.unknown)
}

function encodeEvent(event: SpanEvent): Uint8Array {
  const out = new WireWriter()
  if (event.timeUnixNano !== 0n) out.fixed64(1, event.timeUnixNano)
  text(out, 2, event.name)
  attributes(out, 3, event.attributes)
  count(out, 4, event.droppedAttributesCount)
  return finish(out, event.unknown)
}

function encodeLink(link: SpanLink): Uint8Array {
  const out = new WireWriter()
  bytes(out, 1, link.traceId)
  bytes(out, 2, link.spanId)
  text(out, 3, link.traceState)
  attributes(out, 4, link.attributes)
  count(out, 5, link.droppedAttributesCount)
  if (link.flags !== 0) out.fixed32(6, link.flags)
  return finish(out, link.unknown)
}

export function encodeKeyValue(item: KeyValue): Uint8Array {
  const out = new WireWriter()
  text(out, 1, item.key)
  if (item.value.type !== 'empty' || item.value.unknown) out.bytes(2, encodeAnyValue(item.value))
  return finish(out, item.unknown)
}

export function encodeAnyValue(value: AnyValue): Uint8Array {
  const out = new WireWriter()
  if (value.type === 'string') out.string(1, value.value)
  else if (value.type === 'bool') out.varint(2, value.value ? 1 : 0)
  else if (value.type === 'int') out.varint(3, value.value)
  else if (value.type === 'double')
    if (value.bits === undefined) out.double(4, value.value)
    else out.fixed64(4, value.bits)
  else if (value.type === 'bytes') out.bytes(7, value.value)
  else if (value.type === 'array') {
    const list = new WireWriter()
    for (const item of value.value) list.bytes(1, encodeAnyValue(item))
    out.bytes(5, finish(list, value.listUnknown))
  } else if (value.type === 'kvlist') {
    const list = new WireWriter()
    for (const item of value.value) list.bytes(1, encodeKeyValue(item))
    out.bytes(6, finish(list, value.listUnknown))
  }
  return finish(out, value.unknown)
}

function attributes(out: WireWriter, field: number, list: readonly KeyValue[]): void {
  for (const item of list) out.bytes(field, encodeKeyValue(item))
}

function text(out: WireWriter, field: number, value: string): void {
  if (value !== '') out.string(field, value)
}

function bytes(out: WireWriter, field: number, value: Uint8Array): void {
  if (value.length > 0) out.bytes(field, value)
}

function count(out: WireWriter, field: number, value: number): void {
  if (value !== 0) out.varint(field, value)
}

function finish(out: WireWriter, unknown: UnknownFields | undefined): Uint8Array {
  for (const field of unknown ?? []) out.raw(field)
  return out.finish()
}

// ---- OTLP/JSON

/** How to spell what JSON lets one spell in several ways. */
export interface Spelling {
  snake: boolean
  upperHex: boolean
  numbers: boolean
  names: boolean
}

const KINDS = ['UNSPECIFIED', 'INTERNAL', 'SERVER', 'CLIENT', 'PRODUCER', 'CONSUMER']
const CODES = ['UNSET', 'OK', 'ERROR']

/** OTLP/JSON text. Numbers are put in by hand, since JSON.stringify has none of 64 bits. */
export function formatJson(groups: readonly ResourceGroup[], spelling: Spelling): string {
  const long = (value: bigint) => (spelling.numbers ? value.toString() : `"${value}"`)
  const id = (value: Uint8Array) => {
    const digits = Buffer.from(value).toString('hex')
    return `"${spelling.upperHex ? digits.toUpperCase() : digits}"`
  }
  const object = (members: Record<string, string | undefined>) =>
    `{${Object.entries(members)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => `"${spelling.snake ? snake(key) : key}": ${value}`)
      .join(', ')}}`
  const array = (items: readonly string[]) => `[${items.join(',')}]`
  const any = (value: AnyValue): string => {
    if (value.type === 'string') return object({ stringValue: JSON.stringify(value.value) })
    if (value.type === 'bool') return object({ boolValue: String(value.value) })
    if (value.type === 'int') return object({ intValue: long(value.value) })
    if (value.type === 'double')
      return object({
        doubleValue: Number.isFinite(value.value)
          ? Object.is(value.value, -0)
            ? '-0.0'
            : String(value.value)
          : `"${value.value}"`,
      })
    if (value.type === 'bytes')
      return object({ bytesValue: JSON.stringify(Buffer.from(value.value).toString('base64')) })
    if (value.type === 'array') return object({ arrayValue: object({ values: array(value.value.map(any)) }) })
    if (value.type === 'kvlist') return object({ kvlistValue: object({ values: keyValues(value.value) }) })
    return '{}'
  }
  const keyValues = (list: readonly KeyValue[]): string =>
    array(
      list.map((item) =>
        object({
          key: JSON.stringify(item.key),
          value: item.value.type === 'empty' ? undefined : any(item.value),
        }),
      ),
    )
  const span = (each: Span): string =>
    object({
      traceId: id(each.traceId),
      spanId: id(each.spanId),
      traceState: JSON.stringify(each.traceState),
      parentSpanId: id(each.parentSpanId),
      name: JSON.stringify(each.name),
      kind: spelling.names && KINDS[each.kind] ? `"SPAN_KIND_${KINDS[each.kind]}"` : String(each.kind),
      startTimeUnixNano: long(each.startTimeUnixNano),
      endTimeUnixNano: long(each.endTimeUnixNano),
      attributes: keyValues(each.attributes),
      droppedAttributesCount: String(each.droppedAttributesCount),
      events: array(
        each.events.map((event) =>
          object({
            timeUnixNano: long(event.timeUnixNano),
            name: JSON.stringify(event.name),
            attributes: keyValues(event.attributes),
            droppedAttributesCount: String(event.droppedAttributesCount),
          }),
        ),
      ),
      droppedEventsCount: String(each.droppedEventsCount),
      links: array(
        each.links.map((link) =>
          object({
            traceId: id(link.traceId),
            spanId: id(link.spanId),
            traceState: JSON.stringify(link.traceState),
            attributes: keyValues(link.attributes),
            droppedAttributesCount: String(link.droppedAttributesCount),
            flags: String(link.flags),
          }),
        ),
      ),
      droppedLinksCount: String(each.droppedLinksCount),
      status:
        each.status.message === '' && each.status.code === 0
          ? 'null'
          : object({
              message: JSON.stringify(each.status.message),
              code:
                spelling.names && CODES[each.status.code]
                  ? `"STATUS_CODE_${CODES[each.status.code]}"`
                  : String(each.status.code),
            }),
      flags: String(each.flags),
      noSuchField: '{"traceId": ["ignored", 1e999, null, true]}',
    })
  const strings = (list: readonly string[]) => array(list.map((each) => JSON.stringify(each)))
  return object({
    resourceSpans: array(
      groups.map(({ resource, scopes }) =>
        object({
          resource:
            resource &&
            object({
              attributes: keyValues(resource.attributes),
              droppedAttributesCount: String(resource.droppedAttributesCount),
              entityRefs: array(
                resource.entityRefs.map((ref) =>
                  object({
                    schemaUrl: JSON.stringify(ref.schemaUrl),
                    type: JSON.stringify(ref.type),
                    idKeys: strings(ref.idKeys),
                    descriptionKeys: strings(ref.descriptionKeys),
                  }),
                ),
              ),
            }),
          scopeSpans: array(
            scopes.map(({ scope, spans }) =>
              object({
                scope:
                  scope &&
                  object({
                    name: JSON.stringify(scope.name),
                    version: JSON.stringify(scope.version),
                    attributes: keyValues(scope.attributes),
                    droppedAttributesCount: String(scope.droppedAttributesCount),
                  }),
                spans: array(spans.map(span)),
              }),
            ),
          ),
        }),
      ),
    ),
  })
}

function snake(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}

// ---- random messages

const anyText = fc.string({ unit: 'grapheme', maxLength: 12 })
const anyBytes = fc.uint8Array({ maxLength: 12 })
const uint32 = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff_ffff }))
const uint64 = fc.oneof(fc.constant(0n), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }))
const someKey = fc.oneof(anyText, fc.constantFrom('governance.decision.outcome', 'governance', 'http.route'))
const none: UnknownFields = []

export const anyValues: fc.Arbitrary<AnyValue> = fc.letrec<{ value: AnyValue; item: KeyValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    fc.constant({ type: 'empty' as const }),
    fc.record({ type: fc.constant('string' as const), value: anyText }),
    fc.record({ type: fc.constant('bool' as const), value: fc.boolean() }),
    fc.record({
      type: fc.constant('int' as const),
      value: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    }),
    fc.record({ type: fc.constant('double' as const), value: fc.double() }),
    fc.record({ type: fc.constant('bytes' as const), value: anyBytes }),
    fc.record({ type: fc.constant('array' as const), value: fc.array(tie('value'), { maxLength: 3 }) }),
    fc.record({ type: fc.constant('kvlist' as const), value: fc.array(tie('item'), { maxLength: 3 }) }),
  ),
  item: fc.record({ key: someKey, value: tie('value') }),
})).value

const keyValues = fc.array(fc.record({ key: someKey, value: anyValues }), { maxLength: 4 })
const traceId = fc.oneof(
  { weight: 9, arbitrary: fc.uint8Array({ minLength: 16, maxLength: 16 }) },
  { weight: 1, arbitrary: anyBytes },
)
const spanId = fc.oneof(
  { weight: 9, arbitrary: fc.uint8Array({ minLength: 8, maxLength: 8 }) },
  { weight: 1, arbitrary: anyBytes },
)

export const anySpans: fc.Arbitrary<Span> = fc.record({
  traceId,
  spanId,
  traceState: anyText,
  parentSpanId: fc.oneof(fc.constant(new Uint8Array(0)), spanId),
  name: anyText,
  kind: fc.oneof(fc.integer({ min: 0, max: 5 }), fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })),
  startTimeUnixNano: uint64,
  endTimeUnixNano: uint64,
  attributes: keyValues,
  droppedAttributesCount: uint32,
  events: fc.array(
    fc.record({
      timeUnixNano: uint64,
      name: someKey,
      attributes: keyValues,
      droppedAttributesCount: uint32,
      unknown: fc.constant(none),
    }),
    { maxLength: 2 },
  ),
  droppedEventsCount: uint32,
  links: fc.array(
    fc.record({
      traceId,
      spanId,
      traceState: anyText,
      attributes: keyValues,
      droppedAttributesCount: uint32,
      flags: uint32,
      unknown: fc.constant(none),
    }),
    { maxLength: 2 },
  ),
  droppedLinksCount: uint32,
  status: fc.record({ message: anyText, code: fc.integer({ min: 0, max: 2 }), unknown: fc.constant(none) }),
  flags: uint32,
  unknown: fc.constant(none),
})

export const anyResources: fc.Arbitrary<Resource> = fc.record({
  attributes: keyValues,
  droppedAttributesCount: uint32,
  entityRefs: fc.array(
    fc.record({
      schemaUrl: anyText,
      type: anyText,
      idKeys: fc.array(anyText, { maxLength: 2 }),
      descriptionKeys: fc.array(anyText, { maxLength: 2 }),
      unknown: fc.constant(none),
    }),
    { maxLength: 2 },
  ),
  unknown: fc.constant(none),
})

export const anyScopes: fc.Arbitrary<Scope> = fc.record({
  name: anyText,
  version: anyText,
  attributes: keyValues,
  droppedAttributesCount: uint32,
  unknown: fc.constant(none),
})

export const anyRequests: fc.Arbitrary<ResourceGroup[]> = fc.array(
  fc.record({
    resource: fc.option(anyResources, { nil: undefined }),
    scopes: fc.array(
      fc.record({
        scope: fc.option(anyScopes, { nil: undefined }),
        spans: fc.array(anySpans, { maxLength: 3 }),
      }),
      { maxLength: 2 },
    ),
  }),
  { maxLength: 2 },
)

// ---- the same message, encoded differently

/** Which fields of a message are messages themselves; `attributes` are free in their order. */
export interface Nesting {
  readonly children: ReadonlyMap<number, () => Nesting>
  readonly attributes?: number
}

const nesting = (children: [number, () => Nesting][], attributes?: number): Nesting =>
  attributes === undefined ? { children: new Map(children) } : { children: new Map(children), attributes }

const plain = nesting([])
const keyValue: Nesting = nesting([[2, () => value]])
const value: Nesting = nesting([
  [5, () => nesting([[1, () => value]])],
  [6, () => nesting([[1, () => keyValue]])],
])
export const RESOURCE_NESTING = nesting(
  [
    [1, () => keyValue],
    [3, () => plain],
  ],
  1,
)
export const SCOPE_NESTING = nesting([[3, () => keyValue]], 3)
export const SPAN_NESTING = nesting(
  [
    [9, () => keyValue],
    [11, () => nesting([[3, () => keyValue]], 3)],
    [13, () => nesting([[4, () => keyValue]], 4)],
    [15, () => plain],
  ],
  9,
)

/**
 * The same content in other bytes: fields in another order (that of a repeated field is kept, except that of
 * attributes), tags, lengths and varints longer than they need to be. `random` gives numbers in [0, 1).
 */
export function reencode(message: Uint8Array, shape: Nesting, random: () => number): Uint8Array {
  const fields: { rank: number; bytes: number[] }[] = []
  const ranks = new Map<number, number>()
  const reader = new WireReader(message)
  while (reader.next()) {
    const { field, type } = reader
    const base = ranks.get(field) ?? random()
    ranks.set(field, base)
    const bytes = padded(BigInt(field * 8 + type), random)
    if (type === 0) bytes.push(...padded(reader.uint64(), random))
    else {
      const child = shape.children.get(field)
      const inner = child ? reencode(reader.value(), child(), random) : reader.value()
      if (type === 2) bytes.push(...padded(BigInt(inner.length), random))
      for (const byte of inner) bytes.push(byte)
    }
    fields.push({ rank: field === shape.attributes ? random() : base, bytes })
  }
  fields.sort((a, b) => a.rank - b.rank)
  return Uint8Array.from(fields.flatMap((each) => each.bytes))
}

/** A varint with up to two bytes more than it needs. */
function padded(value: bigint, random: () => number): number[] {
  const out: number[] = []
  let rest = value
  while (rest > 0x7fn) {
    out.push(Number(rest & 0x7fn) | 0x80)
    rest >>= 7n
  }
  out.push(Number(rest))
  for (let extra = Math.floor(random() * 3); extra > 0 && out.length < 9; extra--) {
    out[out.length - 1]! |= 0x80
    out.push(0)
  }
  return out
}

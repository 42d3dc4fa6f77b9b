/**
 * OTLP/JSON read a second time, slowly and by the page alone (docs/formats/otlp.md), for what the converter accepts; and
 * mutations of JSON by its structure. Shares no code with the converter: what the protobuf says is read by the decoder.
 */
import { decodeResource, decodeScope, decodeSpan } from '@rootspan/lineage/otlp/decode'
import {
  RESOURCE_END,
  RESOURCE_START,
  SCOPE_END,
  SCOPE_START,
  SPAN_END,
  SPAN_START,
  type SpanTable,
  WORDS_PER_SPAN,
} from '@rootspan/lineage/otlp/scan'
import { below, MAX_INPUT, mutate, pick, type Random } from './mutate.ts'

/** JSON as it is written: members in their order, numbers as their text. */
type Node =
  | { readonly kind: 'object'; readonly members: readonly (readonly [key: string, value: Node])[] }
  | { readonly kind: 'array'; readonly items: readonly Node[] }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'literal'; readonly text: string }

const NULL: Node = { kind: 'literal', text: 'null' }

/** Parses what `JSON.parse` takes. */
function parse(text: string): Node {
  const tokens = [...text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/gs)].map(([token]) => token)
  let at = 0
  const list = <T>(end: string, item: () => T): T[] => {
    const items: T[] = []
    at++
    while (tokens[at] !== end) {
      items.push(item())
      if (tokens[at] === ',') at++
    }
    at++
    return items
  }
  const string = (): string => JSON.parse(tokens[at++]!)
  const node = (): Node => {
    const token = tokens[at]!
    if (token === '{')
      return {
        kind: 'object',
        members: list('}', () => {
          const key = string()
          at++
          return [key, node()] as const
        }),
      }
    if (token === '[') return { kind: 'array', items: list(']', node) }
    if (token.startsWith('"')) return { kind: 'string', value: string() }
    at++
    return { kind: 'literal', text: token }
  }
  return node()
}

function print(node: Node): string {
  if (node.kind === 'object')
    return `{${node.members.map(([key, value]) => `${JSON.stringify(key)}:${print(value)}`).join()}}`
  if (node.kind === 'array') return `[${node.items.map(print).join()}]`
  return node.kind === 'string' ? JSON.stringify(node.value) : node.text
}

// ---- what a request says

type Read = (node: Node) => unknown
type Shape = Readonly<Record<string, Read>>

const text: Read = (node) => (node.kind === 'string' ? node.value.toWellFormed() : bad())
const hex: Read = (node) => (node.kind === 'string' ? node.value.toLowerCase() : bad())
const source = (node: Node): string =>
  node.kind === 'string' ? node.value : node.kind === 'literal' ? node.text : bad()
/** Of a numeral with a fraction and an exponent, exactly. */
const integer: Read = (node) => {
  const [, sign, whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i.exec(source(node)) ?? bad()
  const digits = whole + fraction
  const places = Number(exponent) - fraction.length
  const value = places >= 0 ? digits + '0'.repeat(places) : digits.padStart(1 - places, '0').slice(0, places)
  return BigInt(`${/[1-9]/.test(value) ? sign : ''}${value}`.replace('-', '')) * (sign === '-' ? -1n : 1n)
}
const small: Read = (node) => Number(integer(node))
const enumeration =
  (prefix: string, names: readonly string[]): Read =>
  (node) =>
    node.kind === 'string' ? names.indexOf(node.value.slice(prefix.length)) : small(node)
const listOf =
  (read: Read): Read =>
  (node) =>
    node.kind === 'array' ? node.items.map(read) : bad()

function bad(): never {
  throw new Error('accepted, and not of the type of its member')
}

/** The members of a message that are said, the last that is said of each; null takes back what was said. */
function said(node: Node, shape: Shape): Record<string, unknown> {
  if (node.kind !== 'object') return bad()
  const out: Record<string, unknown> = {}
  for (const [key, value] of node.members) {
    const name = Object.keys(shape).find((one) => one === key || snake(one) === key)
    if (name === undefined) continue
    // As a member of a oneof, what is said last has to be last.
    delete out[name]
    if (value.kind !== 'literal' || value.text !== 'null') out[name] = shape[name]!(value)
  }
  return out
}

const snake = (key: string): string => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
/** What a message says, with its defaults. */
const message =
  (shape: Shape, defaults: Readonly<Record<string, unknown>>): Read =>
  (node) => ({ ...defaults, ...said(node, shape) })

const any: Read = (node) => {
  const last = Object.entries(said(node, ANY)).at(-1)
  return last === undefined ? 'empty' : { [last[0]]: last[1] }
}
const keyValue = message({ key: text, value: (node) => any(node) }, { key: '', value: 'empty' })
const valuesOf =
  (read: Read): Read =>
  (node) =>
    said(node, { values: listOf(read) }).values ?? []
const ANY: Shape = {
  stringValue: text,
  boolValue: (node) => source(node),
  intValue: integer,
  doubleValue: (node) => double(Number(source(node))),
  arrayValue: valuesOf(any),
  kvlistValue: valuesOf(keyValue),
  bytesValue: (node) => Buffer.from(source(node), 'base64').toString('hex'),
}
const double = (value: number): string => (Object.is(value, -0) ? '-0' : String(value))

const attributes = { attributes: listOf(keyValue), droppedAttributesCount: small }
const noAttributes = { attributes: [], droppedAttributesCount: 0 }
const strings = listOf(text)
const ENTITY = message(
  { schemaUrl: text, type: text, idKeys: strings, descriptionKeys: strings },
  { schemaUrl: '', type: '', idKeys: [], descriptionKeys: [] },
)
const RESOURCE = message({ ...attributes, entityRefs: listOf(ENTITY) }, { ...noAttributes, entityRefs: [] })
const SCOPE = message(
  { name: text, version: text, ...attributes },
  { name: '', version: '', ...noAttributes },
)
const EVENT = message(
  { timeUnixNano: integer, name: text, ...attributes },
  { timeUnixNano: 0n, name: '', ...noAttributes },
)
const ids = { traceId: hex, spanId: hex, traceState: text }
const noIds = { traceId: '', spanId: '', traceState: '' }
const LINK = message({ ...ids, ...attributes, flags: small }, { ...noIds, ...noAttributes, flags: 0 })
const STATUS = message(
  { message: text, code: enumeration('STATUS_CODE_', ['UNSET', 'OK', 'ERROR']) },
  { message: '', code: 0 },
)
const KINDS = ['UNSPECIFIED', 'INTERNAL', 'SERVER', 'CLIENT', 'PRODUCER', 'CONSUMER']
const SPAN = message(
  {
    ...ids,
    parentSpanId: hex,
    name: text,
    kind: enumeration('SPAN_KIND_', KINDS),
    startTimeUnixNano: integer,
    endTimeUnixNano: integer,
    ...attributes,
    events: listOf(EVENT),
    droppedEventsCount: small,
    links: listOf(LINK),
    droppedLinksCount: small,
    status: STATUS,
    flags: small,
  },
  {
    ...noIds,
    parentSpanId: '',
    name: '',
    kind: 0,
    startTimeUnixNano: 0n,
    endTimeUnixNano: 0n,
    ...noAttributes,
    events: [],
    droppedEventsCount: 0,
    links: [],
    droppedLinksCount: 0,
    status: { message: '', code: 0 },
    flags: 0,
  },
)

interface SpanNodes {
  readonly resource: Node
  readonly scope: Node
  readonly span: Node
}

/** Resource, scope and span of each span of the request, in order. */
function spansIn(node: Node): SpanNodes[] {
  const nothing: Node = { kind: 'object', members: [] }
  const itself: Read = (one) => one
  const lists = (of: Node, name: string, member: string) => {
    const { [member]: value, [name]: items } = said(of, { [name]: listOf(itself), [member]: itself })
    return { of: (value as Node | undefined) ?? nothing, items: (items as Node[] | undefined) ?? [] }
  }
  return lists(node, 'resourceSpans', '').items.flatMap((group) => {
    const { of: resource, items } = lists(group, 'scopeSpans', 'resource')
    return items.flatMap((inner) => {
      const { of: scope, items: spans } = lists(inner, 'spans', 'scope')
      return spans.map((span) => ({ resource, scope, span }))
    })
  })
}

/** The same of decoded messages: without what only protobuf has. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex')
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  if ('type' in value && !('idKeys' in value)) return plainValue(value as { type: string; value?: unknown })
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key]) => key !== 'unknown')
      .map(([key, one]) => [key, plain(one)]),
  )
}

function plainValue({ type, value }: { type: string; value?: unknown }): unknown {
  if (type === 'empty') return 'empty'
  if (type === 'bool') return { boolValue: String(value) }
  if (type === 'double') return { doubleValue: double(value as number) }
  return { [`${type}Value`]: plain(value) }
}

const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, one) =>
    typeof one === 'bigint'
      ? `${one}n`
      : typeof one === 'object' && one !== null && !Array.isArray(one)
        ? Object.fromEntries(Object.entries(one).sort(([a], [b]) => (a < b ? -1 : 1)))
        : one,
  )

/** Of a request of thousands of spans these are looked at, and the number of all. */
const MAX_SPANS = 64

/** Throws unless the protobuf that JSON became says the same, span by span. `table` is of a scan of `body`. */
export function checkConverted(json: string, body: Uint8Array, { words, count }: SpanTable): void {
  const expected = spansIn(parse(json))
  if (expected.length !== count) throw new Error(`${expected.length} spans became ${count}`)
  for (const [at, nodes] of expected.slice(0, MAX_SPANS).entries()) {
    const one = { resource: RESOURCE(nodes.resource), scope: SCOPE(nodes.scope), span: SPAN(nodes.span) }
    const part = (start: number, end: number): Uint8Array =>
      body.subarray(words[at * WORDS_PER_SPAN + start]!, words[at * WORDS_PER_SPAN + end]!)
    const found = {
      resource: plain(decodeResource(part(RESOURCE_START, RESOURCE_END))),
      scope: plain(decodeScope(part(SCOPE_START, SCOPE_END))),
      span: plain(decodeSpan(part(SPAN_START, SPAN_END))),
    }
    if (canonical(found) !== canonical(one))
      throw new Error(`span ${at} became another one: ${canonical(one)} became ${canonical(found)}`)
  }
}

// ---- mutations

const KEYS = [
  ...['resourceSpans', 'scopeSpans', 'spans', 'resource', 'scope', 'attributes', 'key', 'value', 'values'],
  ...[
    'traceId',
    'spanId',
    'parentSpanId',
    'name',
    'kind',
    'flags',
    'status',
    'code',
    'events',
    'links',
    'message',
  ],
  ...[
    'startTimeUnixNano',
    'endTimeUnixNano',
    'timeUnixNano',
    'droppedAttributesCount',
    'entityRefs',
    'idKeys',
  ],
  ...['stringValue', 'boolValue', 'intValue', 'doubleValue', 'arrayValue', 'kvlistValue', 'bytesValue'],
  ...['__proto__', 'constructor', 'unknown', ''],
]
const LITERALS = [
  'null',
  'true',
  'false',
  '0',
  '-0',
  '-1',
  '1.0',
  '1e3',
  '1E-2',
  '25e-1',
  '1e400',
  '4294967295',
]
const NUMERALS = ['4294967296', '9007199254740993', '-9223372036854775808', '18446744073709551615', '5e-324']
const STRINGS = [
  '',
  'x',
  'abcd',
  'ABCDEF0123456789',
  '12',
  '1e2',
  'NaN',
  '-Infinity',
  'SPAN_KIND_SERVER',
  '_-8',
  '\ud800',
]

/** A member of an AnyValue of each type. */
const VALUES: readonly (readonly [string, Node])[] = [
  ['stringValue', { kind: 'string', value: 's' }],
  ['boolValue', { kind: 'literal', text: 'true' }],
  ['intValue', { kind: 'literal', text: '7' }],
  ['doubleValue', { kind: 'literal', text: '0.5' }],
  ['arrayValue', { kind: 'object', members: [] }],
  ['kvlistValue', { kind: 'object', members: [] }],
  ['bytesValue', { kind: 'string', value: 'AAE' }],
]

/** Short requests: in the long ones a change that means something is rare. */
export const SHORT_REQUESTS: readonly string[] = VALUES.map(([key, value], at) => {
  const any = `{"${key}":${print(value)}}`
  const attributes = `"attributes":[{"key":"a","value":${any}}],"droppedAttributesCount":${at}`
  const id = `"traceId":"5b8efff798038103d269b633813fc60${at}"`
  const span = `{${id},"spanId":"eee19b7ec3c1b17${at}","name":"n","kind":${at},"startTimeUnixNano":"1${at}",${attributes}}`
  return `{"resourceSpans":[{"resource":{${attributes}},"scopeSpans":[{"scope":{"name":"s"},"spans":[${span}]}]}]}`
})

/** One change of a JSON text by its structure, its members in whatever order. What does not parse is mutated as text. */
export function mutateJson(input: Uint8Array, corpus: readonly Uint8Array[], random: Random): Uint8Array {
  let node: Node
  try {
    const json = new TextDecoder('utf-8', { fatal: true }).decode(input)
    JSON.parse(json)
    node = parse(json)
  } catch {
    return mutate(input, corpus, [], random)
  }
  const out = new TextEncoder().encode(print(change(node, random)))
  return out.length > MAX_INPUT ? input : out
}

/** Changes one of all nodes, each as likely. */
function change(node: Node, random: Random): Node {
  const changeAt = (one: Node, place: number): Node => {
    if (place === 0) return changed(one, random)
    let left = place - 1
    const inside = (child: Node): Node => {
      const size = sizeOf(child)
      const here = left >= 0 && left < size ? changeAt(child, left) : child
      left -= size
      return here
    }
    if (one.kind === 'object')
      return { ...one, members: one.members.map(([key, value]) => [key, inside(value)] as const) }
    return one.kind === 'array' ? { ...one, items: one.items.map(inside) } : one
  }
  return changeAt(node, below(sizeOf(node), random))
}

const childrenOf = (node: Node): readonly Node[] =>
  node.kind === 'object' ? node.members.map(([, value]) => value) : node.kind === 'array' ? node.items : []

const sizeOf = (node: Node): number => childrenOf(node).reduce((sum, child) => sum + sizeOf(child), 1)

function changed(node: Node, random: Random): Node {
  const inside = childrenOf(node).length
  if (inside === 0 || random() < 0.3) return other(node, random)
  const list: unknown[] = node.kind === 'object' ? [...node.members] : [...childrenOf(node)]
  const at = below(inside, random)
  const step = below(node.kind === 'object' ? 6 : 3, random)
  if (step === 0) list.splice(at, 1)
  else if (step === 1) list.splice(below(inside, random), 0, list[at])
  else if (step === 2) list.splice(below(inside, random), 0, ...list.splice(at, 1))
  else {
    const [key, value] = list[at] as readonly [string, Node]
    if (step === 3) list[at] = [random() < 0.5 ? snake(key) : pick(KEYS, random), value]
    else if (step === 4) list.push([random() < 0.5 ? snake(key) : key, change(value, random)])
    else list.push(key in ANY ? pick(VALUES, random) : [pick(KEYS, random), other(value, random)])
  }
  return node.kind === 'object'
    ? { kind: 'object', members: list as [string, Node][] }
    : { kind: 'array', items: list as Node[] }
}

function other(node: Node, random: Random): Node {
  switch (below(6, random)) {
    case 0:
      return { kind: 'literal', text: pick([...LITERALS, ...NUMERALS], random) }
    case 1:
      return { kind: 'string', value: pick([...STRINGS, ...NUMERALS], random) }
    case 2:
      return { kind: 'array', items: [node] }
    case 3:
      return { kind: 'object', members: [[pick(KEYS, random), node]] }
    case 4: // an integer as a string, and back
      if (node.kind === 'literal') return { kind: 'string', value: node.text }
      return node.kind === 'string' && /^-?\d+$/.test(node.value)
        ? { kind: 'literal', text: node.value }
        : NULL
    default:
      return NULL
  }
}

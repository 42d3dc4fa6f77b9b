/**
 * Which executions an erasure is about. All that is asked for has to hold of one execution; what the index cannot tell
 * is looked for in the payloads, in the order of the log.
 */
import { copyBytes, formatHex, utf8 } from '@rootspan/lineage/bytes'
import { type AnyValue, decodeResource, decodeScope, type KeyValue } from '@rootspan/lineage/otlp/decode'
import { decodeValue } from '@rootspan/lineage/otlp/encoded-value'
import { decodeEither } from '@rootspan/lineage/otlp/log-record'
import { encodeText } from '@rootspan/lineage/otlp/text'
import type { Selector } from '@rootspan/lineage/record/about-log'
import { type AnyPayload, parseAnyPayload } from '@rootspan/lineage/record/opened'
import type { SpanInput } from '@rootspan/lineage/record/order'
import type { PackReader } from '../pack.ts'
import { MAX_BLOCK_BYTES } from '../pack.ts'
import * as keys from '../store/keys.ts'
import type { LogReader } from '../store/log-store.ts'
import { encodeName, isErased, parseCommit, parseRows, type SegmentRow } from '../store/rows.ts'

/** Attributes that say on whose behalf something was done (docs/operate/erasure.md). */
const SUBJECT_KEYS: ReadonlySet<string> = new Set([
  'governance.authorization.subject',
  'governance.authorization.client.id',
  'governance.authorization.actor.chain',
  'governance.decision.subject.id',
  'governance.approval.approver.id',
  'governance.delegation.root',
  'enduser.id',
  'enduser.pseudo.id',
  'user.id',
  'user.hash',
  'user.name',
  'user.full_name',
  'user.email',
  'client.user.id',
  'db.user',
])

/** What is to be erased. What is absent is not asked for; attributes erase what has one of these keys and no more. */
export interface Selection {
  /** 16 bytes. */
  readonly trace?: Uint8Array
  readonly subject?: string
  readonly service?: string
  /** Nanoseconds since 1970: executions whose last span ended before. */
  readonly before?: bigint
  readonly attributes?: readonly string[]
}

/** The kinds of what is asked for: all that the log says of it. */
export function selectorsOf(selection: Selection): Selector[] {
  return [
    ...(selection.trace === undefined ? [] : (['trace'] as const)),
    ...(selection.subject === undefined ? [] : (['subject'] as const)),
    ...(selection.attributes === undefined ? [] : (['attribute'] as const)),
    ...(selection.service === undefined ? [] : (['service'] as const)),
    ...(selection.before === undefined ? [] : (['age'] as const)),
  ]
}

/** An execution that was found, with all its rows. */
export interface Found {
  readonly key: Uint8Array
  readonly rows: readonly SegmentRow[]
}

/**
 * Finds the executions that have something left to erase. Cost: a look at every row; where a subject or attributes
 * are asked for, a read of every payload that the rest of the selection lets through.
 */
export async function findExecutions(
  reader: LogReader,
  packs: Pick<PackReader, 'readSync'>,
  selection: Selection,
  onProgress: (segments: number) => void = () => {},
): Promise<Found[]> {
  const found = new Map<string, Found>()
  const blocks = new LastBlock(packs)
  const isIn = payloadFilter(selection)
  let segments = 0
  for await (const rowsOfCommit of committedRows(reader)) {
    for (const { key, rows, segment } of rowsOfCommit) {
      segments++
      const name = formatHex(key)
      const row = rows[segment]!
      if (found.has(name) || isErased(row) || !isInIndex(selection, rows)) continue
      if (isIn === undefined || isIn(blocks.payload(row))) found.set(name, { key, rows })
    }
    onProgress(segments)
  }
  return [...found.values()]
}

/** The rows of all segments in log order, a commit at a time, each with all rows of its trace. */
async function* committedRows(
  reader: LogReader,
): AsyncGenerator<{ key: Uint8Array; rows: SegmentRow[]; segment: number }[], void, undefined> {
  const range = { gte: Uint8Array.of(keys.Prefix.commit), lt: Uint8Array.of(keys.Prefix.commit + 1) }
  for await (const value of reader.database.values({ ...range, highWaterMarkBytes: 1024 * 1024 })) {
    const segments = parseCommit(value).commit.rows.filter(({ traceId }) => traceId.length > 0)
    const traceKeys = segments.map((row) => keys.traceKey(keys.traceId(encodeName(row.tenant), row.traceId)))
    const values = await reader.database.getMany(traceKeys)
    yield segments.flatMap(({ segment }, at) =>
      values[at] === undefined ? [] : [{ key: traceKeys[at]!, rows: parseRows(values[at]), segment }],
    )
  }
}

function isInIndex({ trace, service, before }: Selection, rows: readonly SegmentRow[]): boolean {
  if (trace !== undefined && !Buffer.from(trace).equals(rows[0]!.traceId)) return false
  if (service !== undefined && !rows.some(({ services }) => services.includes(service))) return false
  return before === undefined || rows.every(({ end }) => end < before)
}

/** Whether an encoded payload names the subject. */
export function mentionsSubject(subject: string): (payload: Uint8Array) => boolean {
  return payloadFilter({ subject })!
}

function payloadFilter({ subject, attributes }: Selection): ((payload: Uint8Array) => boolean) | undefined {
  if (subject === undefined && attributes === undefined) return undefined
  const value = subject === undefined ? undefined : Buffer.from(encodeText(subject))
  const names = attributes?.map((key) => Buffer.from(utf8(key)))
  return (bytes) => {
    const payload = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    // A search for the bytes is a hundred times faster than decoding.
    if (value !== undefined && !payload.includes(value)) return false
    if (names !== undefined && !names.some((name) => payload.includes(name))) return false
    const parsed = parseAnyPayload(bytes)
    const hasSubject = subject === undefined || mentions(parsed, isSubject(subject))
    return hasSubject && (attributes === undefined || mentions(parsed, hasKey(attributes)))
  }
}

type Test = (attribute: KeyValue) => boolean

/** Whether an attribute says that this is the subject: the value as it is, in one of {@link SUBJECT_KEYS}. */
function isSubject(subject: string): Test {
  return ({ key, value }) => SUBJECT_KEYS.has(key) && isValue(value, subject)
}

function isValue(value: AnyValue, text: string): boolean {
  if (value.type === 'array') return value.value.some((item) => isValue(item, text))
  if (value.type === 'int') return value.value.toString() === text
  return value.type === 'string' && value.value === text
}

/** Whether an attribute has one of the keys, itself or in a map inside of it. */
function hasKey(names: readonly string[]): Test {
  const inValue = (value: AnyValue): boolean =>
    value.type === 'kvlist' ? value.value.some(test) : value.type === 'array' && value.value.some(inValue)
  const test: Test = ({ key, value }) => names.includes(key) || inValue(value)
  return test
}

function mentions(payload: AnyPayload, test: Test): boolean {
  const spans = payload.form === 'whole' ? payload.spans : payload.spans.map(({ input }) => input)
  if (spans.some(spanTest(test))) return true
  if (payload.form === 'whole') return false
  return payload.records.some(({ claims }) =>
    claims.some(
      (claim) =>
        'key' in claim && test({ key: Buffer.from(claim.key).toString(), value: decodeValue(claim.value) }),
    ),
  )
}

/** Whether an attribute of a span, of what is in it, or of its resource or scope passes. */
function spanTest(test: Test): (span: SpanInput) => boolean {
  const contexts = new Map<string, boolean>()
  return (input) => {
    const { source, resourceStart, resourceEnd, scopeStart, scopeEnd } = input
    const { body } = source
    const context = `${body.byteOffset}/${resourceStart}/${scopeStart}`
    let isIn = contexts.get(context)
    if (isIn === undefined) {
      isIn =
        decodeResource(body.subarray(resourceStart, resourceEnd)).attributes.some(test) ||
        decodeScope(body.subarray(scopeStart, scopeEnd)).attributes.some(test)
      contexts.set(context, isIn)
    }
    if (isIn) return true
    const span = decodeEither(input.kind, body.subarray(input.spanStart, input.spanEnd))
    return (
      span.attributes.some(test) ||
      span.events.some((event) => event.attributes.some(test)) ||
      span.links.some((link) => link.attributes.some(test))
    )
  }
}

/** What attributes with these keys take with them: spans that have one, and the claims. */
export function cutOf(names: readonly string[]): {
  hasSpan: (span: SpanInput) => boolean
  hasClaim: (key: Uint8Array) => boolean
} {
  const encoded = names.map((name) => Buffer.from(utf8(name)))
  return {
    hasSpan: spanTest(hasKey(names)),
    hasClaim: (key) => encoded.some((name) => name.equals(key)),
  }
}

/** Payloads out of blocks, the last of which is kept: rows in log order mostly share it. */
export class LastBlock {
  readonly #packs: Pick<PackReader, 'readSync'>
  #key = ''
  #block: Uint8Array = new Uint8Array(0)

  constructor(packs: Pick<PackReader, 'readSync'>) {
    this.#packs = packs
  }

  /** A copy, so that offsets into it stay small and it outlives the block. */
  payload(row: Pick<SegmentRow, 'block' | 'at' | 'size'>): Uint8Array {
    const key = `${row.block.pack}/${row.block.offset}`
    if (key !== this.#key) {
      this.#block = this.#packs.readSync(row.block, MAX_BLOCK_BYTES)
      this.#key = key
    }
    return copyBytes(this.#block, row.at, row.at + row.size)
  }
}

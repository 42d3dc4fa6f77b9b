/** Facts that others push, written as an `ExportLogsServiceRequest`: from then on that is the evidence. */
import { createHash } from 'node:crypto'
import { utf8 } from '@rootspan/lineage/bytes'
import { WireWriter } from '@rootspan/lineage/wire'

/** Strings, whole numbers, flags and lists of strings; what is undefined is left out. */
export type Attributes = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>

/** One log record about governance. */
export interface PushedRecord {
  readonly eventName: string
  /** Nanoseconds since 1970. */
  readonly time: bigint
  readonly ids: SpanIds
  readonly attributes: Attributes
  /** What was pushed, verbatim, where it is kept. */
  readonly body?: string | undefined
}

export interface SpanIds {
  readonly traceId: Uint8Array
  readonly spanId: Uint8Array
}

/** `source` is the name of the system, `resource` what it says of itself. */
export function encodeLogRequest(
  source: string,
  resource: Attributes,
  records: readonly PushedRecord[],
): Uint8Array {
  const scope = new WireWriter(4096).bytes(1, new WireWriter().string(1, `rootspan.${source}`).finish())
  for (const record of records) scope.bytes(2, encodeRecord(record))
  const about = new WireWriter()
  for (const attribute of encodeAttributes(resource)) about.bytes(1, attribute)
  const group = new WireWriter(4096).bytes(1, about.finish()).bytes(2, scope.finish()).finish()
  return new WireWriter(group.length + 16).bytes(1, group).finish()
}

function encodeRecord({ eventName, time, ids, attributes, body }: PushedRecord): Uint8Array {
  const out = new WireWriter(1024)
  if (time !== 0n) out.fixed64(1, time)
  if (body !== undefined) out.bytes(5, new WireWriter(body.length + 16).string(1, body).finish())
  for (const attribute of encodeAttributes(attributes)) out.bytes(6, attribute)
  return out.bytes(9, ids.traceId).bytes(10, ids.spanId).string(12, eventName).finish()
}

function* encodeAttributes(attributes: Attributes): Generator<Uint8Array> {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined) continue
    yield new WireWriter().string(1, key).bytes(2, encodeValue(value)).finish()
  }
}

function encodeValue(value: NonNullable<Attributes[string]>): Uint8Array {
  const out = new WireWriter()
  if (typeof value === 'string') return out.string(1, value).finish()
  if (typeof value === 'boolean') return out.varint(2, value ? 1 : 0).finish()
  if (typeof value === 'number') return out.varint(3, value).finish()
  const list = new WireWriter()
  for (const item of value) list.bytes(1, new WireWriter().string(1, item).finish())
  return out.bytes(5, list.finish()).finish()
}

/**
 * Ids for a fact that comes without: from the SHA-256 of a tag and what names the fact, each name behind its 32-bit
 * length, so that the same fact has the same ids however often it is pushed.
 */
export function idsOf(source: string, ...names: readonly string[]): SpanIds {
  const hash = createHash('sha256').update(`rootspan/${source}/v0\n`)
  for (const name of names) {
    const bytes = utf8(name)
    const length = Buffer.alloc(4)
    length.writeUInt32BE(bytes.length)
    hash.update(length).update(bytes)
  }
  const digest = new Uint8Array(hash.digest())
  return { traceId: digest.slice(0, 16), spanId: digest.slice(16, 24) }
}

/** A JSON value that is an object. */
export type Fields = Readonly<Record<string, unknown>>

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A string of JSON that is not empty and not over `max` characters. */
export function textOf(value: unknown, max = 4096): string | undefined {
  return typeof value === 'string' && value !== '' && value.length <= max ? value : undefined
}

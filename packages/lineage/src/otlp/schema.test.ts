/** The tables in code against proto/otlp.proto. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { BYTES, FIXED32, FIXED64, VARINT } from '../wire.ts'
import * as schema from './schema.ts'

const WIRE_TYPES: Readonly<Record<string, number>> = {
  bool: VARINT,
  int32: VARINT,
  int64: VARINT,
  uint32: VARINT,
  fixed64: FIXED64,
  double: FIXED64,
  fixed32: FIXED32,
}

/** Wire types by message and field number. Nested messages are found by their own names. */
function parseProto(): Map<string, Map<number, number>> {
  const source = readFileSync(new URL('../../../../proto/otlp.proto', import.meta.url), 'utf8').replace(
    /\/\/.*/g,
    '',
  )
  const out = new Map<string, Map<number, number>>()
  const open: Map<number, number>[] = []
  for (const [, message, block, type, number, close] of source.matchAll(
    /message (\w+) {|(oneof \w+ {)|(?:repeated )?(\w+) \w+ = (\d+);|(})/g,
  )) {
    if (message) {
      open.push(new Map())
      out.set(message, open.at(-1)!)
    } else if (block) open.push(open.at(-1)!)
    else if (close) open.pop()
    else open.at(-1)!.set(Number(number), WIRE_TYPES[type!] ?? BYTES)
  }
  return out
}

test('every message has the fields that the schema file gives it', () => {
  const proto = parseProto()
  const tables: [string, schema.Fields][] = [
    ['ExportTraceServiceRequest', schema.REQUEST_FIELDS],
    ['ResourceSpans', schema.RESOURCE_SPANS_FIELDS],
    ['ScopeSpans', schema.SCOPE_SPANS_FIELDS],
    ['ExportLogsServiceRequest', schema.REQUEST_FIELDS],
    ['ResourceLogs', schema.RESOURCE_SPANS_FIELDS],
    ['ScopeLogs', schema.SCOPE_SPANS_FIELDS],
    ['LogRecord', schema.LOG_RECORD_FIELDS],
    ['Resource', schema.RESOURCE_FIELDS],
    ['EntityRef', schema.ENTITY_REF_FIELDS],
    ['InstrumentationScope', schema.SCOPE_FIELDS],
    ['Span', schema.SPAN_FIELDS],
    ['Event', schema.EVENT_FIELDS],
    ['Link', schema.LINK_FIELDS],
    ['Status', schema.STATUS_FIELDS],
    ['KeyValue', schema.KEY_VALUE_FIELDS],
    ['AnyValue', schema.ANY_VALUE_FIELDS],
    ['ArrayValue', schema.LIST_FIELDS],
    ['KeyValueList', schema.LIST_FIELDS],
  ]
  expect(proto.size).toBe(tables.length + 2) // the response and its part
  for (const [name, fields] of tables) {
    const wanted = proto.get(name)!
    expect(wanted.size, name).toBeGreaterThan(0)
    for (let field = 1; field < 40; field++) {
      expect(schema.isKnown(fields, field), `${name} ${field}`).toBe(wanted.has(field))
      for (const type of [VARINT, FIXED64, BYTES, FIXED32])
        expect(schema.fitsSchema(fields, field, type)).toBe((wanted.get(field) ?? type) === type)
    }
  }
})

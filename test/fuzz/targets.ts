/**
 * What is fuzzed. A target takes any bytes and may refuse them with a MalformedError or a VerificationError; any
 * other error is a find, and so is a run that takes too long. Add a target by adding it to the list.
 */
import { MalformedError } from '@rootspan/lineage/errors'
import { factsOf } from '@rootspan/lineage/governance/facts'
import { contentDigest, logContentDigest } from '@rootspan/lineage/otlp/content'
import { decodeResource, decodeScope, decodeSpan, type KeyValue } from '@rootspan/lineage/otlp/decode'
import { logsFromJson, tracesFromJson } from '@rootspan/lineage/otlp/json'
import { decodeLogSpan } from '@rootspan/lineage/otlp/log-record'
import {
  RESOURCE_END,
  RESOURCE_START,
  SCOPE_END,
  SCOPE_START,
  SPAN_END,
  SPAN_START,
  scanTraces,
  WORDS_PER_SPAN,
} from '@rootspan/lineage/otlp/scan'
import { encodeValue, formatValue } from '@rootspan/lineage/otlp/value'
import fc from 'fast-check'
import { checkConverted, mutateJson, SHORT_REQUESTS } from './json.ts'
import { logTargets } from './log.ts'
import { anyLogs, encodeLogs, scanLogsChecked } from './logs.ts'
import { mutateProtobuf, type Random, randomOf } from './mutate.ts'
import {
  anyRequests,
  anyResources,
  anyScopes,
  anySpans,
  encodeRequest,
  encodeResource,
  encodeScope,
  encodeSpan,
  formatJson,
  RESOURCE_NESTING,
  reencode,
  SCOPE_NESTING,
  SPAN_NESTING,
} from './otlp.ts'
import { scanChecked } from './otlp-check.ts'
import { pushTargets } from './push.ts'
import { recordTargets } from './records.ts'

export interface Target {
  readonly name: string
  /** Good inputs to start from, made by code, the same each time. */
  seeds(): Uint8Array[]
  /** Takes any input. May throw only a MalformedError or a VerificationError. */
  run(bytes: Uint8Array): void
  /** The longest that one input of up to 64 KiB may take. */
  readonly maxMillis: number
  /** Words of the format, for text. */
  readonly tokens?: readonly string[]
  /** A mutation of the format's own, used half of the time. */
  mutate?(bytes: Uint8Array, corpus: readonly Uint8Array[], random: Random): Uint8Array
}

const SAMPLES = { seed: 1, numRuns: 24 }

const JSON_TOKENS = [
  ...[
    'null',
    'true',
    'false',
    '{}',
    '[]',
    '{"',
    '":',
    ',',
    '-',
    '1e999',
    '0.5',
    '"\\ud800"',
    '"NaN"',
    '"Infinity"',
  ],
  ...[
    '"18446744073709551616"',
    '9007199254740993',
    '"resourceSpans":[',
    '"scope_spans":[',
    '"spans":[{',
    '"kind":',
  ],
  ...[
    '"attributes":[{"key":"k","value":{',
    '"arrayValue":{"values":[',
    '"kvlistValue":{"values":[',
    '"bytesValue":',
  ],
  ...['"traceId":"', '"spanId":"', '"status":{"code":', '"SPAN_KIND_CLIENT"', '"__proto__":', '"events":[{'],
]

const LOG_TEXTS = [
  '{}',
  '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","eventName":"governance.execution.started","timeUnixNano":"1767323045000000000","observedTimeUnixNano":"1767323045000000001","severityNumber":9,"severityText":"INFO","body":{"stringValue":"begun"},"attributes":[{"key":"governance.execution.id","value":{"stringValue":"e"}}],"flags":1}]}]}]}',
  '{"resource_logs":[{"resource":{},"scope_logs":[{"scope":{"name":"s"},"log_records":[{"severity_number":"SEVERITY_NUMBER_WARN3","body":{"kvlistValue":{"values":[]}},"attributes":[{"key":"event.name","value":{"stringValue":"governance.x"}}],"dropped_attributes_count":2}]}],"schemaUrl":"u"}]}',
]

const otlpTargets: readonly Target[] = [
  {
    name: 'scan',
    maxMillis: 1000,
    seeds: () => fc.sample(anyRequests, SAMPLES).map(encodeRequest),
    mutate: mutateProtobuf,
    run: (bytes) => {
      scanChecked(bytes)
    },
  },
  {
    name: 'logs',
    maxMillis: 2000,
    seeds: () => fc.sample(anyLogs, SAMPLES).map(encodeLogs),
    mutate: mutateProtobuf,
    run: (bytes) => {
      const { words, count } = scanLogsChecked(bytes).table
      for (let row = 0; row < Math.min(count, 8) * WORDS_PER_SPAN; row += WORDS_PER_SPAN) {
        const at = (column: number) => words[row + column]!
        const part = (start: number, end: number) => bytes.subarray(at(start), at(end))
        const resource = part(RESOURCE_START, RESOURCE_END)
        const record = part(SPAN_START, SPAN_END)
        logContentDigest(resource, part(SCOPE_START, SCOPE_END), record)
        factsOf(decodeLogSpan(record))
      }
    },
  },
  {
    name: 'json logs',
    maxMillis: 1000,
    seeds: () => LOG_TEXTS.map((text) => new TextEncoder().encode(text)),
    tokens: [
      ...JSON_TOKENS,
      '"logRecords":[{',
      '"eventName":"governance.x"',
      '"SEVERITY_NUMBER_INFO2"',
      '"body":{',
    ],
    mutate: mutateJson,
    run: (bytes) => {
      const body = logsFromJson(bytes)
      try {
        scanLogsChecked(body)
      } catch (error) {
        throw new Error('accepted JSON is not sound', { cause: error })
      }
    },
  },
  {
    name: 'decode',
    maxMillis: 1000,
    seeds: () => [
      ...fc.sample(anySpans, SAMPLES).map(encodeSpan),
      ...fc.sample(anyResources, SAMPLES).map(encodeResource),
      ...fc.sample(anyScopes, SAMPLES).map(encodeScope),
    ],
    mutate: mutateProtobuf,
    run: (bytes) => {
      const refusals: MalformedError[] = []
      for (const decode of [decodeSpan, decodeResource, decodeScope])
        try {
          useValues(decode(bytes).attributes)
        } catch (error) {
          if (!(error instanceof MalformedError)) throw error
          refusals.push(error)
        }
      if (refusals.length === 3) throw refusals[0]
    },
  },
  {
    name: 'json',
    maxMillis: 1000,
    seeds: () =>
      [
        ...SHORT_REQUESTS,
        ...fc.sample(anyRequests, SAMPLES).map((groups, index) =>
          formatJson(groups, {
            snake: index % 2 === 1,
            upperHex: index % 3 === 1,
            numbers: index % 4 === 1,
            names: index % 5 === 1,
          }),
        ),
      ].map((text) => new TextEncoder().encode(text)),
    tokens: JSON_TOKENS,
    mutate: mutateJson,
    run: (bytes) => {
      const body = tracesFromJson(bytes)
      try {
        const table = scanChecked(body)
        const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
        JSON.parse(text)
        checkConverted(text, body, table)
      } catch (error) {
        throw new Error('accepted JSON is not sound', { cause: error })
      }
    },
  },
  {
    name: 'content',
    maxMillis: 2000,
    seeds: () => fc.sample(anyRequests, SAMPLES).map(encodeRequest),
    mutate: mutateProtobuf,
    run: (bytes) => {
      const { words, count } = scanTraces(bytes)
      const random = randomOf(bytes.length)
      for (let index = 0; index < Math.min(count, 8); index++) {
        const row = words.subarray(index * WORDS_PER_SPAN)
        const resource = bytes.subarray(row[RESOURCE_START]!, row[RESOURCE_END]!)
        const scope = bytes.subarray(row[SCOPE_START]!, row[SCOPE_END]!)
        const span = bytes.subarray(row[SPAN_START]!, row[SPAN_END]!)
        const digest = contentDigest(resource, scope, span)
        const again = contentDigest(
          reencode(resource, RESOURCE_NESTING, random),
          reencode(scope, SCOPE_NESTING, random),
          reencode(span, SPAN_NESTING, random),
        )
        if (!digest.every((byte, i) => byte === again[i]))
          throw new Error('the digest depends on the encoding')
      }
    },
  },
]

export const targets: readonly Target[] = [...otlpTargets, ...recordTargets, ...logTargets, ...pushTargets]

function useValues(attributes: readonly KeyValue[]): void {
  for (const { value } of attributes) {
    encodeValue(value)
    formatValue(value)
  }
}

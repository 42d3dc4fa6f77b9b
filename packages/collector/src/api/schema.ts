/**
 * Parameters and answers of the API, in zod: requests are checked against them, the types come from them, and the
 * OpenAPI description is made of them. Nothing is coerced: a number has one spelling.
 */
import { parseDecimal64 } from '@rootspan/lineage/bytes'
import { CONTINUITIES } from '@rootspan/lineage/continuity/judgement'
import { SEVERITIES } from '@rootspan/lineage/continuity/rule'
import { TIERS } from '@rootspan/lineage/continuity/tier'
import { BASES, QUESTIONS } from '@rootspan/lineage/continuity/why'
import { Kind } from '@rootspan/lineage/governance/kind'
import type { FastifyTypeProvider } from 'fastify'
import { z } from 'zod'
import { parsePlace } from './executions.ts'

/** Types of a route's parameters, for Fastify: what its zod schemas give. */
export interface ZodTypes extends FastifyTypeProvider {
  validator: this['schema'] extends z.ZodType ? z.output<this['schema']> : unknown
  serializer: unknown
}

/** A decimal without sign or leading zeros. */
function decimal(minimum: number, maximum: number): z.ZodType<number, string> {
  return z
    .string()
    .regex(/^(?:0|[1-9][0-9]{0,15})$/, 'must be a whole number')
    .transform(Number)
    .refine((value) => value >= minimum && value <= maximum, `must be from ${minimum} to ${maximum}`)
    .meta({ type: 'integer', minimum, maximum, pattern: undefined })
}

function hex(bytes: number, description: string): z.ZodType<string, string> {
  return z
    .string()
    .regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`), `must be ${bytes * 2} lower-case hex digits`)
    .meta({ description })
}

const safeInteger = () => z.number().int().min(0).max(Number.MAX_SAFE_INTEGER)
const nanos = (of?: string) =>
  z.string().meta({
    description: of === undefined ? 'nanoseconds since 1970' : `${of}, nanoseconds since 1970`,
    format: 'uint64',
  })
const LISTED_BY =
  'earliest start in its first segment: what lists are ordered and filtered by; later segments do not move it'

/** ISO 8601 with a zone, or nanoseconds since 1970. */
const time = z
  .union([z.iso.datetime({ offset: true }), z.string().regex(/^(?:0|[1-9][0-9]{0,18})$/)])
  .transform(parseTime)
  .meta({ description: 'ISO 8601 with a zone, or nanoseconds since 1970' })

/** Nanoseconds since 1970 of a time in either spelling; digits of a second past the ninth are dropped. */
function parseTime(text: string): bigint {
  if (/^[0-9]+$/.test(text)) return parseDecimal64(text)
  const fraction = /\.([0-9]+)/.exec(text)?.[1] ?? ''
  const seconds = Date.parse(text.replace(/\.[0-9]+/, '')) / 1000
  const value = BigInt(seconds) * 1_000_000_000n + BigInt(fraction.slice(0, 9).padEnd(9, '0'))
  return value < 0n ? 0n : value
}

const KINDS = Object.keys(Kind) as [keyof typeof Kind, ...(keyof typeof Kind)[]]

export const TraceParams = z.strictObject({ traceId: hex(16, 'trace id') })
export const SpanParams = z.strictObject({ traceId: hex(16, 'trace id'), spanId: hex(8, 'span id') })
export const SizeParams = z.strictObject({ size: decimal(0, Number.MAX_SAFE_INTEGER) })
export const RecordParams = z.strictObject({
  traceId: hex(16, 'trace id'),
  leafIndex: decimal(0, Number.MAX_SAFE_INTEGER),
})
export const PositionParams = z.strictObject({ position: decimal(0, Number.MAX_SAFE_INTEGER) })

export const CheckpointsQuery = z.strictObject({
  from: decimal(0, Number.MAX_SAFE_INTEGER).optional().meta({ description: 'smallest tree size, default 0' }),
  limit: decimal(1, 10_000).optional().meta({ description: 'sizes on a page, default 1000' }),
})
export const ExecutionsQuery = z.strictObject({
  service: z
    .string()
    .min(1)
    .max(255)
    .optional()
    .meta({ description: 'a service that took part, by its service.name' }),
  from: time.optional(),
  to: time.optional(),
  limit: decimal(1, 200).optional().meta({ description: 'executions on a page, default 50' }),
  cursor: z
    .string()
    .max(400)
    .transform((text, context) => {
      const place = parsePlace(text)
      if (place === undefined) context.addIssue({ code: 'custom', message: 'is not the next of a page' })
      return place ?? z.NEVER
    })
    .optional()
    .meta({ description: 'next of the page before' }),
})
export const FindingsQuery = ExecutionsQuery.extend({
  rule: z
    .string()
    .regex(/^[A-Z0-9-]{1,32}$/, 'must be the id of a rule')
    .optional()
    .meta({ description: 'id of a rule, e.g. GC-A01' }),
  severity: z.enum(SEVERITIES).optional().meta({ description: 'this or more severe, default low' }),
  limit: decimal(1, 200).optional().meta({ description: 'executions with findings on a page, default 50' }),
})
export const RecordsQuery = z.strictObject({
  from: decimal(0, Number.MAX_SAFE_INTEGER)
    .optional()
    .meta({ description: 'number of the first record to show' }),
  limit: decimal(1, 2000).optional().meta({ description: 'records on a page, default 500' }),
})
export const EvidenceQuery = z.strictObject({
  disclose: z
    .string()
    .max(4096)
    .regex(/^[^,]+(?:,[^,]+){0,63}$/, 'must be 1 to 64 claim keys, with commas between them')
    .transform((text) => text.split(','))
    .optional()
    .meta({
      description: 'keys of the claims to show, with commas between them; everything else is withheld',
    }),
})
export const ProofQuery = z.strictObject({
  kind: z
    .enum(KINDS)
    .optional()
    .meta({ description: 'the first record of this kind, not the one of the span itself' }),
})

export const Failure = z.strictObject({
  error: z.strictObject({
    code: z.string().meta({ description: 'stable, for programs' }),
    message: z.string(),
    next: z.string().meta({ description: 'what to do about it' }),
  }),
})
export const Checkpoints = z.strictObject({
  sizes: z.array(safeInteger()),
  next: safeInteger().optional().meta({ description: 'from of the next page' }),
})
const TIERED = {
  tier: z.enum(TIERS).optional().meta({
    description:
      'evidence tier of a fact, or the lowest of those that something rests on; absent where there is no fact, and in lists of executions with over 10,000 records',
  }),
  standing: z.string().optional().meta({ description: 'the tier in words' }),
}
const Summary = z.strictObject({
  traceId: z.string(),
  tenant: z.string(),
  name: z.string().meta({ description: 'name of its first span' }),
  services: z.array(z.string()),
  startTimeUnixNano: nanos(LISTED_BY),
  earliestTimeUnixNano: nanos('earliest start in all its segments'),
  endTimeUnixNano: nanos('latest end in all its segments'),
  durationNanos: z.string().meta({ description: 'from the earliest start to the latest end' }),
  spans: safeInteger(),
  records: safeInteger().meta({ description: 'leaves of the log that are about it' }),
  firstLeaf: safeInteger(),
  segments: safeInteger(),
  signedSegments: safeInteger().meta({ description: 'segments under the latest checkpoint' }),
  closed: z.string().meta({
    description:
      'why its last segment was closed: settled, cut, drained, or reviewed: judged again though nothing had come',
  }),
  continuity: z.enum(CONTINUITIES).meta({ description: 'how it was judged with its last segment' }),
  rules: z.array(z.string()).meta({ description: 'ids of the rules with a finding in that judgement' }),
})
export const Executions = z.strictObject({
  executions: z.array(Summary),
  next: z.string().optional().meta({ description: 'cursor of the next page' }),
})
export const Execution = Summary.extend({
  findings: z.strictObject({
    critical: safeInteger(),
    high: safeInteger(),
    medium: safeInteger(),
    low: safeInteger(),
  }),
  checkpointSize: safeInteger(),
  segmentList: z.array(
    z.strictObject({
      segment: safeInteger(),
      first: safeInteger().meta({ description: 'index of its first leaf' }),
      count: safeInteger().meta({ description: 'its leaves, the seal last' }),
      spans: safeInteger(),
      startTimeUnixNano: nanos(),
      endTimeUnixNano: nanos(),
      closed: z.string(),
      signed: z.boolean(),
      erasures: z
        .array(safeInteger())
        .optional()
        .meta({ description: 'leaves of the erased records about it' }),
    }),
  ),
  recordList: z.array(
    z.strictObject({
      leafIndex: safeInteger(),
      leafHash: z.string(),
      segment: safeInteger(),
      kind: z.enum(KINDS),
      statement: z.string().optional().meta({ description: 'what a persistence record states' }),
      spanId: z.string().optional(),
      parent: z.string().optional().meta({ description: 'root, linked, awaiting or remote' }),
      parentSpanId: z.string().optional(),
      parentLeaf: z.string().optional().meta({ description: "leaf hash of the parent's record" }),
      name: z.string().optional(),
      service: z.string().optional(),
      startTimeUnixNano: nanos().optional(),
      endTimeUnixNano: nanos().optional(),
      erased: z.literal(true).optional().meta({ description: 'the span was erased' }),
      ...TIERED,
    }),
  ),
  next: safeInteger().optional().meta({ description: 'from of the next page of records' }),
})
const Subject = z.strictObject({
  leafHash: z.string(),
  leafIndex: safeInteger()
    .optional()
    .meta({ description: 'absent for a record that cannot be told any more' }),
  spanId: z.string().optional(),
})
export const Findings = z.strictObject({
  findings: z.array(
    z.strictObject({
      rule: z.string(),
      severity: z.enum(SEVERITIES),
      title: z.string(),
      detail: z.string(),
      traceId: z.string(),
      name: z.string().meta({ description: "name of the execution's first span" }),
      services: z.array(z.string()),
      startTimeUnixNano: nanos(LISTED_BY),
      signed: z.boolean().meta({ description: 'the latest checkpoint covers the whole execution' }),
      subjects: z.array(Subject).meta({ description: 'records that it is about, the offending one first' }),
    }),
  ),
  next: z.string().optional().meta({ description: 'cursor of the next page' }),
})
export const Why = z.strictObject({
  traceId: z.string(),
  checkpointSize: safeInteger(),
  continuity: z.enum(CONTINUITIES),
  answers: z.array(
    z.strictObject({
      question: z.enum(QUESTIONS),
      title: z.string(),
      clauses: z.array(
        z.strictObject({
          text: z.string(),
          basis: z.enum(BASES).meta({ description: 'whether a record says it, it is inferred, or unknown' }),
          ...TIERED,
          records: z.array(
            Subject.extend({ proof: z.string().optional().meta({ description: 'path of its proof' }) }),
          ),
        }),
      ),
    }),
  ),
})
export const Receipt = z.strictObject({
  position: safeInteger(),
  state: z.enum(['unknown', 'journalled', 'committed']),
  leaves: z.array(
    z.strictObject({
      span: safeInteger().meta({ description: 'place in the request' }),
      leaf: safeInteger(),
    }),
  ),
  treeSize: safeInteger().meta({ description: 'leaves below are committed' }),
  checkpointSize: safeInteger().meta({ description: 'leaves below are under a signed checkpoint' }),
})
export const Live = z.strictObject({ status: z.literal('live') })
export const Ready = z.strictObject({ status: z.enum(['ready', 'not ready']), reasons: z.array(z.string()) })

/** A zod schema as OpenAPI 3.1 has schemas. */
export function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): object {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, target: 'draft-2020-12' })
  return rest
}

/** An answer in JSON, as a route describes it. */
export function json(schema: z.ZodType, description: string): object {
  return { description, content: { 'application/json': { schema: jsonSchema(schema, 'output') } } }
}

/** An answer that is text or bytes. */
export function content(type: string, description: string): object {
  const schema = type.startsWith('text/') ? { type: 'string' } : { type: 'string', format: 'binary' }
  return { description, content: { [type]: { schema } } }
}

/** The errors that a route may answer with. */
export function failures(...statuses: readonly (keyof typeof FAILURES)[]): Record<string, object> {
  const schema = { $ref: '#/components/schemas/Failure' }
  const of = (status: keyof typeof FAILURES) => ({
    description: FAILURES[status],
    content: { 'application/json': { schema } },
  })
  return Object.fromEntries(statuses.map((status) => [status, of(status)]))
}

const FAILURES = {
  400: 'a parameter is not what it must be',
  404: 'there is no such thing, or not yet',
  409: 'it is committed and not signed yet: come again',
  422: 'it is too large for one file',
  503: 'busy or not ready: come again',
} as const

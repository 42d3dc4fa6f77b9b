/** `/api/v1`: executions, their evidence and proofs, and durability receipts. */
import { Readable } from 'node:stream'
import { formatHex, parseHex } from '@rootspan/lineage/bytes'
import { Kind } from '@rootspan/lineage/governance/kind'
import { traceId as traceIdOf } from '../store/keys.ts'
import type { LogReader } from '../store/log-store.ts'
import type { SegmentRow } from '../store/rows.ts'
import { ApiError } from './errors.ts'
import { bundlePieces, erasuresOf, findRecord, isTooLarge, proveRecord, segmentsUnder } from './evidence.ts'
import { findExecutions, isFact, listRecords, summarize, summarizeSegment, withTiers } from './executions.ts'
import { countFindings, judgementOf } from './findings.ts'
import type { Published } from './published.ts'
import { lookUpReceipt } from './receipts.ts'
import {
  content,
  EvidenceQuery,
  Execution,
  Executions,
  ExecutionsQuery,
  failures,
  json,
  PositionParams,
  ProofQuery,
  Receipt,
  RecordsQuery,
  SpanParams,
  TraceParams,
} from './schema.ts'
import type { Api, ApiServer } from './server.ts'
import { findTiers } from './why.ts'
import { notSigned } from './witnesses.ts'

const EVIDENCE_TYPE = 'application/vnd.rootspan.evidence+json'

/** Bundles that are written at once: each holds a decompressed block. */
const MAX_BUNDLES = 8
const EXECUTIONS_PAGE = 50
const RECORDS_PAGE = 500
/** The one tenant there is so far. */
const TENANT = new Uint8Array(0)

export function executionRoutes(app: ApiServer, api: Api): void {
  const { reader, board, published, payloads } = api

  app.get(
    '/api/v1/executions',
    {
      schema: {
        tags: ['executions'],
        operationId: 'listExecutions',
        summary: 'Committed executions, newest first',
        description:
          'By startTimeUnixNano, which is that of the first segment and stays: `from` and later, before `to`.',
        querystring: ExecutionsQuery,
        response: { 200: json(Executions, 'one page of executions'), ...failures(400) },
      },
    },
    async ({ query }) => {
      const latest = await published.latest()
      const { service, from, to, cursor: after, limit = EXECUTIONS_PAGE } = query
      return findExecutions(reader, { service, from, to, after, limit }, latest?.size ?? 0)
    },
  )

  app.get(
    '/api/v1/executions/:traceId',
    {
      schema: {
        tags: ['executions'],
        operationId: 'getExecution',
        summary: 'An execution, its segments and its records',
        description: 'For looking around. What is to be relied on is the evidence, verified.',
        params: TraceParams,
        querystring: RecordsQuery,
        response: {
          200: json(Execution, 'the execution and one page of its records'),
          ...failures(400, 404),
        },
      },
    },
    async ({ params, query: { from = 0, limit = RECORDS_PAGE } }) => {
      const size = (await published.latest())?.size ?? 0
      const rows = await committedRows(reader, params.traceId)
      const summary = summarize(rows, size)
      const next = from + limit
      const findings = countFindings(await judgementOf(payloads, rows))
      const records = await listRecords(reader, payloads, rows, from, limit)
      const tiers = records.some(isFact) ? await findTiers(reader, payloads, rows) : undefined
      return {
        ...summary,
        findings,
        checkpointSize: size,
        segmentList: rows.map((row) => summarizeSegment(row, size)),
        recordList: tiers === undefined ? records : withTiers(records, tiers),
        ...(next < summary.records && { next }),
      }
    },
  )

  let bundles = 0
  app.get(
    '/api/v1/executions/:traceId/evidence',
    {
      schema: {
        tags: ['executions'],
        operationId: 'getEvidence',
        summary: 'The evidence bundle of an execution',
        description:
          'All its segments under the latest checkpoint, to be verified offline by rootspan-verify. With `disclose`, only the claims with these keys are shown, and everything else is withheld.',
        params: TraceParams,
        querystring: EvidenceQuery,
        response: { 200: content(EVIDENCE_TYPE, 'the bundle'), ...failures(400, 404, 409, 422, 503) },
      },
    },
    async ({ params: { traceId }, query: { disclose }, method }, reply) => {
      const { rows, latest } = await signedRows(api, traceId)
      if (erasuresOf(rows).some((leaf) => leaf >= latest.size)) throw notSigned('something of this execution')
      if (isTooLarge(rows))
        throw new ApiError(
          422,
          'too_large',
          'the evidence of this execution does not fit into one bundle',
          'Audit the log instead: rootspan-verify audit checks all of it.',
        )
      reply
        .type(EVIDENCE_TYPE)
        .header('content-disposition', `attachment; filename="${traceId}.rootspan"`)
        .header('rootspan-checkpoint-size', String(latest.size))
      if (method === 'HEAD') return reply.send()
      if (bundles >= MAX_BUNDLES)
        throw new ApiError(503, 'busy', 'other bundles are being written', 'Come again in a second.', 1)
      const pieces = bundlePieces(reader, payloads, latest, rows, disclose)
      bundles++
      const done = (): void => void bundles--
      try {
        const first = await pieces.next()
        const body = Readable.from(chain(first.value!, pieces), { objectMode: false })
        body.once('close', done)
        return reply.send(body)
      } catch (error) {
        done()
        throw error
      }
    },
  )

  app.get(
    '/api/v1/executions/:traceId/spans/:spanId/proof',
    {
      schema: {
        tags: ['executions'],
        operationId: 'getProof',
        summary: "The inclusion proof of a span's record",
        description:
          'c2sp.org/tlog-proof, under the latest checkpoint. The leaf index and hash are in rootspan-leaf-index and rootspan-leaf-hash.',
        params: SpanParams,
        querystring: ProofQuery,
        response: { 200: content('text/plain', 'the proof'), ...failures(400, 404, 409) },
      },
    },
    async ({ params: { traceId, spanId }, query: { kind } }, reply) => {
      const { rows, latest } = await signedRows(api, traceId)
      const wanted = kind === undefined ? undefined : Kind[kind]
      const record = await findRecord(reader, rows, parseHex(spanId), wanted)
      if (record === undefined)
        throw new ApiError(
          404,
          'no_record',
          `the signed segments of this execution hold no such record of span ${spanId}`,
          `GET /api/v1/executions/${traceId} lists its records.`,
        )
      return reply
        .type('text/plain; charset=utf-8')
        .header('content-disposition', `attachment; filename="${traceId}-${spanId}.tlog-proof"`)
        .header('rootspan-leaf-index', String(record.index))
        .header('rootspan-leaf-hash', formatHex(record.leaf))
        .send(await proveRecord(reader, latest, record.index))
    },
  )

  app.get(
    '/api/v1/receipts/:position',
    {
      schema: {
        tags: ['receipts'],
        operationId: 'getReceipt',
        summary: 'Whether the request at a journal position was committed, and where',
        description: 'The position is what the rootspan-receipt header of an OTLP response said.',
        params: PositionParams,
        response: { 200: json(Receipt, 'what became of the request'), ...failures(400) },
      },
    },
    async ({ params }) =>
      lookUpReceipt(reader, board, params.position, (await published.latest())?.size ?? 0),
  )
}

async function* chain(
  first: Buffer,
  rest: AsyncGenerator<Buffer, void, undefined>,
): AsyncGenerator<Buffer, void, undefined> {
  yield first
  yield* rest
}

async function committedRows(reader: LogReader, traceId: string): Promise<SegmentRow[]> {
  const [rows = []] = await reader.traces([traceIdOf(TENANT, parseHex(traceId))])
  if (rows.length === 0)
    throw new ApiError(
      404,
      'no_execution',
      `no execution with trace id ${traceId} is committed`,
      'Spans are committed when their trace has been quiet for a while: come again, or check the trace id.',
    )
  return rows
}

/** The segments of an execution under the latest checkpoint, at least one, and that checkpoint. */
export async function signedRows(
  { reader, published }: Api,
  traceId: string,
): Promise<{ rows: SegmentRow[]; latest: Published }> {
  const latest = await published.latest()
  const rows = segmentsUnder(await committedRows(reader, traceId), latest?.size ?? 0)
  if (latest === undefined || rows.length === 0)
    throw new ApiError(
      409,
      'not_signed',
      'this execution is committed, and no checkpoint covers it yet',
      'Come again in a second: a checkpoint is signed every second in which the log grew.',
      1,
    )
  return { rows, latest }
}

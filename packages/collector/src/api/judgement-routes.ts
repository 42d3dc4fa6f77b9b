/** `/api/v1`: what the continuity rules found, and the five answers about an execution. */
import { formatHex } from '@rootspan/lineage/bytes'
import { readSegment } from '../sequencer.ts'
import { ApiError } from './errors.ts'
import { isTooLarge, proveRecord } from './evidence.ts'
import { signedRows } from './execution-routes.ts'
import { findFindings } from './findings.ts'
import { content, Findings, FindingsQuery, failures, json, RecordParams, TraceParams, Why } from './schema.ts'
import type { Api, ApiServer } from './server.ts'
import { answerWhy, MAX_WHY_LEAVES } from './why.ts'

const FINDINGS_PAGE = 50
/** Answers and pages of findings that are made at once: each decodes whole executions. */
const MAX_AT_ONCE = 4

export function judgementRoutes(app: ApiServer, api: Api): void {
  const { reader, published, payloads } = api
  let running = 0
  const bounded = async <T>(work: () => Promise<T>): Promise<T> => {
    if (running >= MAX_AT_ONCE)
      throw new ApiError(503, 'busy', 'other questions are being answered', 'Come again in a second.', 1)
    running++
    try {
      return await work()
    } finally {
      running--
    }
  }

  app.get(
    '/api/v1/findings',
    {
      schema: {
        tags: ['continuity'],
        operationId: 'listFindings',
        summary: 'Findings of the continuity rules, those of the newest execution first',
        description:
          'As of the last judgement of each execution. `service`, `from` and `to` choose executions as in the list of executions. A page ends with an execution and may be empty in spite of a next one.',
        querystring: FindingsQuery,
        response: { 200: json(Findings, 'one page of findings'), ...failures(400, 503) },
      },
    },
    async ({ query }) => {
      const { rule, severity, service, from, to, cursor: after, limit = FINDINGS_PAGE } = query
      const size = (await published.latest())?.size ?? 0
      const search = { rule, severity, service, from, to, after, limit }
      return bounded(() => findFindings(reader, payloads, search, size))
    },
  )

  app.get(
    '/api/v1/executions/:traceId/why',
    {
      schema: {
        tags: ['continuity'],
        operationId: 'getWhy',
        summary:
          'Why it ran, who authorized it, what permitted it, how trust persisted, whether it stayed continuous',
        description:
          'Sentences built from the records of the segments under the latest checkpoint. What is to be relied on is rootspan-verify why on the evidence.',
        params: TraceParams,
        response: { 200: json(Why, 'the five answers'), ...failures(400, 404, 409, 422, 503) },
      },
    },
    async ({ params: { traceId } }) => {
      const { rows, latest } = await signedRows(api, traceId)
      const leaves = rows.reduce((sum, { count }) => sum + count, 0)
      if (leaves > MAX_WHY_LEAVES || isTooLarge(rows))
        throw new ApiError(
          422,
          'too_large',
          `this execution has ${leaves} records: too many to answer for here`,
          `Download its evidence and ask rootspan-verify why.`,
        )
      return bounded(() => answerWhy(reader, payloads, rows, latest.size))
    },
  )

  app.get(
    '/api/v1/executions/:traceId/records/:leafIndex/proof',
    {
      schema: {
        tags: ['executions'],
        operationId: 'getRecordProof',
        summary: 'The inclusion proof of a record of the execution',
        description:
          'c2sp.org/tlog-proof, under the latest checkpoint. The leaf index and hash are in rootspan-leaf-index and rootspan-leaf-hash.',
        params: RecordParams,
        response: { 200: content('text/plain', 'the proof'), ...failures(400, 404, 409) },
      },
    },
    async ({ params: { traceId, leafIndex } }, reply) => {
      const { rows, latest } = await signedRows(api, traceId)
      if (!rows.some(({ first, count }) => leafIndex >= first && leafIndex < first + count))
        throw new ApiError(
          404,
          'no_record',
          `the signed segments of this execution do not hold leaf ${leafIndex}`,
          `GET /api/v1/executions/${traceId} lists its records.`,
        )
      const { leaves } = await readSegment(reader, { first: leafIndex, count: 1 })
      return reply
        .type('text/plain; charset=utf-8')
        .header('content-disposition', `attachment; filename="${traceId}-${leafIndex}.tlog-proof"`)
        .header('rootspan-leaf-index', String(leafIndex))
        .header('rootspan-leaf-hash', formatHex(leaves))
        .send(await proveRecord(reader, latest, leafIndex))
    },
  )
}
